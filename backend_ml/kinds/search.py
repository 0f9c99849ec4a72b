"""Searches: a yes or a no, whether a galaxy is what someone looks for."""

from collections.abc import Sequence

from backend_ml.acquisition.policy import fitting
from backend_ml.kinds.choices import OURS, ChoiceKind
from backend_ml.kinds.kind import Stores
from backend_ml.label_studio.choices import LabelConfigError
from lvm_training.heads.preference import NO, YES, PreferenceHead
from lvm_training.heads.snapshot import Snapshot
from lvm_training.heads.training import train_preference


class Search(ChoiceKind):
    """A few of one kind against everything else: a preference head, with the stamp set as background."""

    name = "interest"
    folder = OURS
    head = PreferenceHead
    policies = ("loop", *(name for name in fitting(boxes=False, searching=True) if name != "loop"))
    wanted = YES
    # a few of one kind among millions: there are no hundreds of labels, and pictures it began with keep their features
    trains_encoder = False
    question = "Say whether the galaxy <b>in the centre</b> is what is looked for"

    def with_classes(self, label_config: str, classes: Sequence[str]) -> str:
        """As `Kind.with_classes`: none but yes and no."""
        raise LabelConfigError(
            f"A search answers {NO} and {YES}, not {', '.join(classes)}.",
            "Leave the classes out, or use the kind `morphology`.",
        )

    def enough(self, labels: Snapshot) -> bool:
        """As `ChoiceKind.enough`: one yes will do."""
        return YES in labels.label

    def train(self, labels: Snapshot, stores: Stores, seed: int) -> PreferenceHead:
        """As `ChoiceKind.train`."""
        shards = {name: stores.features.shard(name) for name in set(labels.stamp_set)}
        background = stores.features.shard(stores.campaign.stamp_set).matrix
        return train_preference(shards, labels, background, seed=seed)
