"""Whether a version could serve: what it reads is there."""

from pathlib import Path

from backend_ml.campaign.encoders import made_again
from backend_ml.kinds.installed import kind_of
from backend_ml.store.database import Connection, query
from backend_ml.store.features import FeatureError, FeatureStore
from backend_ml.store.records import Campaign
from backend_ml.store.versions import VersionError
from lvm_training.pool.features import FeaturesError


def check_servable(connection: Connection, campaign: Campaign, version: str, store: Path) -> None:
    """Raise a VersionError if what a version answers from is gone: its detector or decoder, or features.

    Parameters
    ----------
    store : Path
        Where encoders, detectors and decoders are kept.
    """
    for row in query(connection, "versions", campaign=campaign.id):
        if row["version"] != version:
            continue
        if row["detector"] is not None:
            _check_model(campaign, version, kind_of(campaign).model_folder(store, row["detector"]))
        if row["encoder"] != campaign.encoder:
            _check_features(connection, campaign, version, row["encoder"], store)


def _check_model(campaign: Campaign, version: str, folder: Path) -> None:
    if not folder.is_dir():
        raise VersionError(
            f"The model that {version} of {campaign.name!r} answers with is gone.",
            f"Copy its folder (model.safetensors, card.json) to {folder}.",
        )


def _check_features(connection: Connection, campaign: Campaign, version: str, encoder: str, store: Path) -> None:
    """Look into every stamp set that is shown: some may have been added when another encoder served."""
    features = FeatureStore.from_database(connection, encoder)
    shown = {row["stamp_set"] for row in query(connection, "campaign_sets", campaign=campaign.id)}
    for name in sorted({campaign.stamp_set, *shown}):
        try:
            features.shard(name)
        except (FeatureError, FeaturesError) as error:
            raise VersionError(
                f"The features of {name} that {version} reads are gone, those of encoder {encoder}.",
                made_again(connection, campaign, encoder, store),
            ) from error
