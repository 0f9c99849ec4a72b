"""The encoders of a campaign: which there are, what they take, whether a newer one is released, and asking for one."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backend_ml.buckets import here
from backend_ml.store.campaigns import all_campaigns
from backend_ml.store.database import Connection, query
from backend_ml.store.encoders import encoder_folder, encoders_folder, is_ours, keep_checkpoint
from backend_ml.store.named_encoders import named
from backend_ml.store.records import Campaign, CampaignError
from lvm_training.errors import CheckpointError
from lvm_training.files import json_object
from lvm_training.paths import CARD, EARLIER_LVM, RELEASED_LVM

RELEASES = (EARLIER_LVM, RELEASED_LVM)


def newer(connection: Connection, campaign: Campaign, store: Path, releases: Sequence[Path] = RELEASES) -> Path | None:
    """The newest released checkpoint, where a campaign began with an older one; who brought their own keeps it.

    Cards are compared alone: `campaign status` answers within a second, and weights take longer to read.

    Parameters
    ----------
    store : Path
        Where encoders are kept.
    releases : sequence of Path
        Folders of the released checkpoints, the oldest first.
    """
    base = query(connection, "base_encoder", campaign=campaign.id)[0]["base"]
    there = [folder for folder in releases if (folder / CARD).is_file()]
    own = _name(encoder_folder(store, base))
    older = [_name(folder) for folder in there[:-1]]
    return there[-1] if own is not None and own in older else None


def called(encoder: str, store: Path, releases: Sequence[Path] = RELEASES) -> str:
    """An encoder's names in the store, or that of the released checkpoint which it is, before its digest."""
    try:
        names = [name for name, one in named(store).items() if one.encoder == encoder]
    except CheckpointError:  # whoever adds an encoder is told
        names = []
    own = _name(encoder_folder(store, encoder))
    names = names or [folder.name for folder in releases if own is not None and _name(folder) == own]
    return f"{', '.join(names)} ({encoder})" if names else encoder


def listed(connection: Connection, campaign: Campaign, store: Path) -> list[dict[str, Any]]:
    """The encoders that a campaign has or had, oldest first, as JSON values.

    Each with how many labels it was trained on (None for one that was not), the versions that read its features, and
    the megabytes of these.
    """
    used = Counter(row["encoder"] for row in query(connection, "versions", campaign=campaign.id))
    trained = _trained(connection, campaign)
    base = query(connection, "base_encoder", campaign=campaign.id)[0]["base"]
    folders = _folders(connection)
    return [
        {
            "in_use": "*" if encoder == campaign.encoder else "",
            "encoder": encoder,
            "trained_on": trained.get(encoder),
            "versions": used[encoder],
            "features_mb": round(sum(path.stat().st_size for path in _features(folders, encoder)) / 1e6, 1),
            "checkpoint": str(encoder_folder(store, encoder)),
        }
        for encoder in dict.fromkeys([base, *used, *trained])
    ]


def ask(connection: Connection, campaign: Campaign, store: Path, folder: Path | None) -> str:
    """Have a worker change a campaign to the encoder of a checkpoint; its digest.

    Parameters
    ----------
    folder : Path or None
        Of the checkpoint, which is copied into the store; None has the campaign's own trained on its labels.

    Raises
    ------
    CampaignError
        If the campaign is closed, reads no features, has that encoder, or has no labels to fit a head on.
    CheckpointError
        If it cannot be read.
    """
    # kinds and jobs take a second to import, and `campaign status` asks for `newer` alone
    from backend_ml.campaign.defer import defer_encoder
    from backend_ml.kinds.installed import kind_of

    if campaign.is_closed or campaign.project is None or not kind_of(campaign).trains_encoder:
        raise CampaignError(
            f"The encoder of {campaign.name!r} stays as it is.",
            "Only open campaigns of choices change theirs: a search keeps the pictures it began with, and a campaign of"
            " objects has a detector.",
        )
    if campaign.state == "paused":
        raise CampaignError(
            f"{campaign.name!r} is paused, so its encoder stays as it is.", "`galaxyloop campaign resume` it first."
        )
    base = query(connection, "base_encoder", campaign=campaign.id)[0]["base"]
    if folder is None and not is_ours(store, base):
        raise CampaignError(
            f"{campaign.name!r} began with encoder {base}, which is no model of ours: it is not trained on labels.",
            f"Change to one of ours first, with --use, such as {RELEASED_LVM}.",
        )
    kind = kind_of(campaign)
    if not kind.fits(kind.read(connection, campaign), campaign, seen=folder is None):
        raise CampaignError(
            f"No head can be fitted for {campaign.name!r}, so no encoder can take over.",
            "Label some galaxies first, until there are labels of two classes.",
        )
    encoder = "" if folder is None else _kept(folder, store)
    if encoder == campaign.encoder:
        raise CampaignError(f"{campaign.name!r} has that encoder already, {encoder}.", "There is nothing to change.")
    defer_encoder(connection, campaign, encoder)
    return encoder


def clean(connection: Connection, campaign: Campaign) -> list[str]:
    """Delete the features of encoders trained for a campaign that serve nobody; the digests of these.

    The checkpoints stay, a few megabytes each, so that the features can be made again. So do features by which a stamp
    set is registered: whatever else reads the set looks for its own beside them.

    Raises
    ------
    CampaignError
        If a worker is at another encoder for any campaign at this moment: it may change to one that was trained here.
        Or if somebody embeds with one of them.
    """
    for one in all_campaigns(connection):
        if not query(connection, "encoder_is_free", campaign=one.id)[0]["taken"]:
            raise CampaignError(
                f"A worker is at another encoder for {one.name!r}.", "Clean up when `campaign status` says it is done."
            )
    trained = list(_trained(connection, campaign))
    for encoder in trained:
        if not query(connection, "features_are_free", encoder=encoder)[0]["taken"]:
            raise CampaignError(
                f"Somebody embeds stamps with encoder {encoder}, for a campaign or a search that begins.",
                "Clean up when that is done.",
            )
    # not before: who embedded has named it by now
    needed = {row["encoder"] for row in query(connection, "needed_encoders")}
    registered = [here(row["features"]) for row in query(connection, "stamp_sets") if row["features"]]
    kept = {path.with_suffix(suffix) for path in registered for suffix in (".npy", ".json")}
    folders, cleaned = _folders(connection), []
    for encoder in trained:
        found = [] if encoder in needed else [path for path in _features(folders, encoder) if path not in kept]
        for path in found:
            path.unlink()
        cleaned += [encoder] if found else []
    return cleaned


def made_again(connection: Connection, campaign: Campaign, encoder: str, store: Path) -> str:
    """How to get features of an encoder again, or what to do where the encoder is gone as well."""
    folder, change = encoder_folder(store, encoder), f"`galaxyloop campaign encoder '{campaign.name}'"
    if folder.is_dir():
        return f"{change} --use {folder}` makes them again, and a version of it."
    gone = f"Its folder {folder} is gone as well."
    try:
        sources = {name: one.source for name, one in named(store).items() if one.encoder == encoder}
    except CheckpointError:  # whoever adds an encoder is told
        sources = {}
    for name, source in sources.items():
        return f"{gone} `galaxyloop encoder add {source} --name {name}` adds it again, then {change} --use {name}`."
    if encoder in _trained(connection, campaign):
        return f"{gone} {change} --train` trains one on the labels of now."
    return f"{gone} Put it back from a backup, or choose another version of `galaxyloop model list '{campaign.name}'`."


def _trained(connection: Connection, campaign: Campaign) -> dict[str, int]:
    """The encoders that were trained for a campaign, oldest first, and on how many labels each."""
    rows = query(connection, "encoder_trainings", campaign=campaign.id)
    return {row["encoder"]: row["labels"] for row in rows if row["encoder"] is not None}


def _folders(connection: Connection) -> set[Path]:
    """Where features are kept."""
    return {here(row["features"]).parent for row in query(connection, "stamp_sets")}


def _features(folders: set[Path], encoder: str) -> list[Path]:
    """The files of an encoder's features, unfinished ones among them."""
    return [path for folder in folders for path in folder.glob(f"*-{encoder}.*")]


def _kept(folder: Path, store: Path) -> str:
    """Digest of a checkpoint's encoder, which is then in the store."""
    if folder.resolve().parent == encoders_folder(store).resolve() and (folder / CARD).is_file():
        return folder.name
    # reading weights is for whoever asks for a change alone
    from lvm_training.model.encoder import Encoder

    digest = Encoder.load(folder).digest
    keep_checkpoint(folder, encoder_folder(store, digest))
    return digest


def _name(folder: Path) -> str | None:
    """What a checkpoint's card calls its encoder, the same whatever reads it; None without a card."""
    name = json_object(folder / CARD).get("encoder")
    return None if name is None else str(name)
