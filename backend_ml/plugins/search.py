"""Searches: a yes or a no, whether a galaxy is what someone looks for."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from backend_ml.acquisition.policy import fitting
from backend_ml.kinds.kind import Labels, Report
from backend_ml.kinds.models import Stores, Weights
from backend_ml.kinds.simulated import PRIOR_SHARE, mean_share, wanted_prior_of
from backend_ml.label_studio.regions.choices import CONTROLS, LabelConfigError, find_choices
from backend_ml.plugins.choices import OURS, ChoiceKind
from lvm_training.heads.preference import NO, YES, PreferenceHead
from lvm_training.heads.prior import AlignedPrior
from lvm_training.heads.training import train_preference
from lvm_training.scenes.simulated_classes import ConceptError, find_concept
from lvm_training.tables.snapshot import Snapshot


class Search(ChoiceKind):
    """A few of one kind against everything else: a preference head, with the stamp set as background."""

    name = "interest"
    folder = OURS
    head = PreferenceHead
    policies = ("loop", *(name for name in fitting(boxes=False, searching=True) if name != "loop"))
    wanted = YES
    # a few of one kind among millions: there are no hundreds of labels, and pictures it began with keep their features
    trains_encoder = False
    # the background that it is told from are pictures alone
    takes_columns = False
    limits: ClassVar[tuple[str, ...]] = (
        "It was taught by galaxies that were looked for, not by a fair sample: its probabilities rank, and say little"
        " of how frequent such galaxies are. The catalogue's fractions do.",
    )
    question = "Say whether the galaxy <b>in the centre</b> is what is looked for"

    def instruction(self, label_config: str, examples: Mapping[str, Sequence[str]]) -> str:
        """As `Kind.instruction`: also the keys of the search page."""
        keys = "<p><b>n</b>, <b>y</b> and <b>u</b> say no, yes and unsure too, as on the search page.</p>"
        return super().instruction(label_config, examples) + keys

    def with_classes(self, label_config: str, classes: Sequence[str]) -> str:
        """As `Kind.with_classes`: none but yes and no."""
        raise LabelConfigError(
            f"A search answers {NO} and {YES}, not {', '.join(classes)}.",
            "Leave the classes out, or use the kind `morphology`.",
        )

    def simulated(self, label_config: str) -> Mapping[str, str]:
        """As `Kind.simulated`: one concept, of what is looked for."""
        found = dict(find_choices(label_config, CONTROLS[self.name]).simulated)
        others = sorted(set(found) - {YES})
        if others:
            raise ConceptError(
                f"A search begins with what the simulator draws of {YES!r}, not of {', '.join(map(repr, others))}.",
                "Leave the others out: all else is a no.",
            )
        for concept in found.values():
            find_concept(concept)
        return found

    def enough(self, labels: Snapshot) -> bool:
        """As `ChoiceKind.enough`: one yes will do."""
        return YES in labels.label

    def fit(self, labels: Labels[Snapshot], stores: Stores, seed: int, report: Report) -> Weights | None:
        """As `Kind.fit`; a search for what the simulator draws needs no label."""
        prior = wanted_prior_of(stores, report)
        if prior is None:
            return super().fit(labels, stores, seed, report)
        report("fitting", 0, 1)
        head = self._trained(labels.training, stores, seed, prior)
        return Weights(head=head.save(), metrics={PRIOR_SHARE: mean_share(head, stores)})

    def train(self, labels: Snapshot, stores: Stores, seed: int) -> PreferenceHead:
        """As `ChoiceKind.train`."""
        return self._trained(labels, stores, seed, None)

    def _trained(self, labels: Snapshot, stores: Stores, seed: int, prior: AlignedPrior | None) -> PreferenceHead:
        background = self._background(stores)
        return train_preference(self._shards(labels, stores), labels, background, seed=seed, prior=prior)

    def _background(self, stores: Stores) -> NDArray[np.float16]:
        """As `ChoiceKind._background`: the pool that is searched."""
        return stores.features.shard(stores.campaign.stamp_set).matrix
