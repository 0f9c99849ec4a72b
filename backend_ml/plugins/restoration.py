"""Campaigns of restoration: a picture as it was observed and as it was restored, and a decoder that learns which."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from backend_ml import signing
from backend_ml.acquisition.uncertainty import entropy, margin
from backend_ml.kinds.answers import choice_words, percent
from backend_ml.kinds.evaluation import Evaluation
from backend_ml.kinds.kind import Labels, Options, Report, refuse_detector
from backend_ml.kinds.models import Answers, Model, Stamp, Stores, Weights
from backend_ml.kinds.results import ResultKind
from backend_ml.label_studio.regions.choices import (
    ASIDE,
    CONTROLS,
    LabelConfigError,
    Region,
    choice_region,
    chosen,
    find_choices,
    note_result,
)
from backend_ml.label_studio.regions.objects import ReadObjects, find_object_controls, object_result, read_objects
from backend_ml.labels import set_aside
from backend_ml.networks.decoders import (
    SIDE,
    JudgedStamp,
    decoder_folder,
    fidelity,
    finetuned,
    forget_older,
    keep_decoder,
    load_restorer,
    on_picture,
    restore_shown,
    restored_files,
    restored_stamps,
)
from backend_ml.plugins.choices import OURS
from backend_ml.settings import Settings
from backend_ml.store.encoders import encoder_folder
from backend_ml.store.records import PICTURE_SIZES, Campaign, CampaignError, ModelVersion
from lvm_training.errors import CheckpointError
from lvm_training.objects.instances import Instances, bounding_boxes
from lvm_training.params import FinetuneParams
from lvm_training.tables.snapshot import Snapshot

if TYPE_CHECKING:
    from lvm_training.restoration.restorer import Restorer

BETTER, WORSE, ARTEFACT = CLASSES = ("better", "worse", "artefact")
FEWEST = 4  # judged stamps
# lumps of sound restorations of Legacy Surveys cutouts reach 10 standard deviations, 14 in bright arms; a saturated
# star's wings made one of 84
SOUND, EVEN, STEP = 10.0, 16.0, 3.0
WORSE_SHARE = 0.15  # of what is no artefact: nobody has said yet, and nothing measured tells


def guess(lump: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (N, 3) of `CLASSES`, by the largest lump (N,) that a restoration took away or put in."""
    artefact = expit((lump - EVEN) / STEP)
    return np.stack([(1 - artefact) * (1 - WORSE_SHARE), (1 - artefact) * WORSE_SHARE, artefact], axis=1)


class RestorationAnswers(Answers):
    """What a decoder thinks of its own restorations.

    Parameters
    ----------
    lumps : sequence of ndarray (SIDE, SIDE)
        What was taken away or put in, in standard deviations, on the picture.
    side : int
        Of the pictures that people see.
    """

    probabilities: NDArray[np.float64]

    def __init__(self, lumps: Sequence[NDArray[np.float32]], classes: tuple[str, ...], side: int) -> None:
        self._lumps, self._side, self.classes = lumps, side, classes
        self._worst = np.array([float(np.abs(one).max()) for one in lumps])
        found = dict(zip(CLASSES, guess(self._worst).T, strict=True))
        self.probabilities = np.stack([found[name] for name in classes], axis=1)

    def result(self, index: int, label_config: str) -> list[Region]:
        """The likeliest choice; where that is an artefact, also where."""
        control = find_choices(label_config, CONTROLS["restoration"])
        scores = self.scores(index)
        best = max(scores, key=scores.__getitem__)
        if best not in control.choices:
            return []
        regions = [choice_region(control, best, scores[best])]
        mask = np.abs(self._lumps[index]) > SOUND
        if best == ARTEFACT and mask.any():
            found = Instances((ARTEFACT,), bounding_boxes(mask[None]), mask[None], np.array([scores[best]]))
            regions += object_result(find_object_controls(label_config), found, width=self._side, height=self._side)
        return [*regions, *note_result(label_config, f"Model: {best} {percent(scores[best])}")]

    def scores(self, index: int) -> dict[str, float]:
        """As `Answers.scores`."""
        return {name: float(p) for name, p in zip(self.classes, self.probabilities[index], strict=True)}

    def words(self, index: int) -> str:
        """As `Answers.words`."""
        return (
            f"{choice_words(self.scores(index))} The largest lump of light that the restoration took away or put in"
            f" is {self._worst[index]:.0f} standard deviations of what noise does."
        )

    def heat_words(self, index: int) -> str:
        """As `Answers.heat_words`."""
        return "There is no heat map for restorations: the task shows what was taken away."

    def measures(self, index: int) -> dict[str, float]:
        """As `Answers.measures`."""
        p = self.probabilities[index : index + 1]
        return {"margin": float(margin(p)[0]), "entropy": float(entropy(p)[0]), "probability": float(p[0].max())}


class RestorationModel(Model):
    """A decoder on pictures of registered stamp sets; what a file holds is not restored again."""

    def __init__(self, restorer: "Restorer", stores: Stores) -> None:
        self.restorer, self.stores = restorer, stores

    def check(self, stamp: Stamp) -> None:
        """As `Model.check`."""
        self.stores.sets.holding(*stamp)

    def answer(self, stamps: Sequence[Stamp]) -> RestorationAnswers:
        """As `Model.answer`."""
        campaign, found = self.stores.campaign, dict[int, NDArray[np.float32]]()
        for name in {name for name, _ in stamps}:
            places = [place for place, stamp in enumerate(stamps) if stamp[0] == name]
            rows = [stamps[place][1] for place in places]
            opened = self.stores.sets.holding(name, max(rows))
            for place, one in zip(
                places, restored_stamps(self.stores.folder, opened, self.restorer, rows), strict=True
            ):
                found[place] = on_picture(opened, one.lumps, campaign.rendering)
        lumps = [found[place] for place in range(len(stamps))]
        return RestorationAnswers(lumps, campaign.classes, campaign.picture_size)


class Restoration(ResultKind[tuple[JudgedStamp, ...], RestorationModel]):
    """Restored pictures beside the observed ones: better, worse, or with an artefact; the newest annotation counts."""

    name = "restoration"
    folder = OURS
    # a guess has no posterior, and no features stand behind it
    policies = ("margin", "entropy", "random")
    slow = True
    goes_on = True
    shows_whole = False
    limits: ClassVar[tuple[str, ...]] = (
        "It takes noise away; it does not sharpen what the seeing has blurred.",
        "Errors of its pixels are measured on simulated stamps of the Legacy Surveys; of others nobody checked them.",
    )
    needed = f"{FEWEST} judged stamps, outside the audit slice"
    finetuning: ClassVar[FinetuneParams] = FinetuneParams()

    def part(self, label_config: str, adopted: str) -> str:
        """As `Kind.part`: tasks of others show no restored pictures."""
        raise LabelConfigError(
            "A project that is there shows no restored pictures.", "Create a campaign: --kind restoration."
        )

    def offered(self, label_config: str) -> tuple[str, ...]:
        """As `Kind.offered`.

        Raises
        ------
        LabelConfigError
            Also if it offers something else than `CLASSES`.
        """
        classes = find_choices(label_config, CONTROLS[self.name]).classes
        if set(classes) != set(CLASSES):
            raise LabelConfigError(
                f"Restorations are {', '.join(CLASSES)}, not {', '.join(classes)}.", "Mend the choices."
            )
        return classes

    def instruction(self, label_config: str, examples: Mapping[str, Sequence[str]]) -> str:
        """As `Kind.instruction`: the keys and what they stand for."""
        root = ElementTree.fromstring(label_config)  # noqa: S314 - ours, or what a leader made of it
        keys = [
            f"<li><b>{html.escape(one.get('hotkey', ''))} · {html.escape(one.get('value', ''))}</b>:"
            f" {html.escape(one.get('hint', ''))}</li>"
            for tag in ("Choices", "BrushLabels")
            for control in root.iter(tag)
            for one in control
            if one.get("hint")
        ]
        return (
            "<p>Left is a galaxy as it was observed, right as the model restored it, below what was taken away, where"
            " grey is nothing: noise alone shows no forms there. Is the restored picture better? Press its number, then"
            " Ctrl+Enter. Paint artefacts on the restored picture where you can: what is painted counts four times."
            " Some galaxies are shown without the model's guess on purpose.</p>"
            f"<ul>{''.join(keys)}</ul>"
        )

    def check(self, options: Options) -> None:
        """As `Kind.check`: the encoder needs a decoder, and what tasks show is restored first."""
        from lvm_training.backbones.card import BackboneCard
        from lvm_training.model.encoder import folder_card

        refuse_detector(options, "restoration")
        if isinstance(folder_card(options.encoder), BackboneCard):
            raise CampaignError(
                f"The encoder in {options.encoder} has no decoder, so it restores nothing.",
                "Name a checkpoint of ours: --encoder models/lvm-nano-2.",
            )
        if options.tasks is not None:
            raise CampaignError(
                "A campaign of restoration restores its galaxies first, and takes none from a pool.",
                "Leave --tasks out; with --limit fewer are restored and shown.",
            )
        if options.labels is not None:
            raise CampaignError("A campaign of restoration starts from no labels.", "Leave them out.")
        if options.consensus != "majority":
            raise CampaignError("The newest annotation of a restored stamp counts.", "Leave the consensus out.")

    def task_data(self, stamp: Stamp, campaign: Campaign, settings: Settings) -> Mapping[str, str]:
        """As `Kind.task_data`: the restored picture, and what was taken away."""
        base = settings.public_url.rstrip("/")
        views: tuple[Literal["restored", "residual"], ...] = ("restored", "residual")
        return {view: base + signing.restored_path(view, *stamp, campaign.links, settings) for view in views}

    def begin(self, model: Path | None, stores: Stores, report: Report) -> Weights | None:
        """As `Kind.begin`: the decoder behind the campaign's encoder, which restores its stamps first."""
        digest = keep_decoder(stores.folder, encoder_folder(stores.folder, stores.campaign.encoder))
        restorer = load_restorer(stores.folder, digest)
        restore_shown(restorer, stores, report)
        return Weights(detector=digest)

    def labels_of(
        self, rows: Sequence[Mapping[str, Any]], campaign: Campaign, first: ModelVersion | None
    ) -> Labels[tuple[JudgedStamp, ...]]:
        """As `ResultKind.labels_of`: what was chosen, and what was painted, by set and row."""
        config = campaign.label_config or self.label_config(campaign.classes)
        kept: dict[bool | None, list[JudgedStamp]] = {True: [], False: [], None: []}
        notes = list[str]()
        judged, odd = set_aside.read_results(rows, lambda result: self._judged(result, config))
        for row, (said, drawn) in judged:
            painted = np.asarray(drawn.instances.masks.any(axis=0), dtype=bool)
            digest = first.detector or "" if first else ""
            one = JudgedStamp((row["stamp_set"], row["stamp_id"]), said or ASIDE[0], painted, digest)
            kept[row["audit"] if said in CLASSES else None].append(one)
            notes += [f"Annotation {row['annotation_id']}: {note}" for note in drawn.notes]
        training, audit, untaught = (tuple(sorted(kept[one], key=lambda one: one.stamp)) for one in (False, True, None))
        return Labels(0, training, audit, untaught, tuple(notes), odd)

    def _judged(self, result: Any, config: str) -> tuple[str | None, ReadObjects]:
        """What an annotation chose, and what was painted."""
        drawn = read_objects(result, find_object_controls(config), width=SIDE, height=SIDE, shown=PICTURE_SIZES)
        return chosen(result, CONTROLS[self.name], CLASSES), drawn

    def fits(self, labels: Labels[tuple[JudgedStamp, ...]], campaign: Campaign, *, seen: bool) -> bool:
        """As `Kind.fits`."""
        return len(labels.training) >= FEWEST and labels.first is not None and labels.first.detector is not None

    def fit(self, labels: Labels[tuple[JudgedStamp, ...]], stores: Stores, seed: int, report: Report) -> Weights | None:
        """As `Kind.fit`: fine-tune the first decoder, and restore the campaign's stamps with it."""
        if not self.fits(labels, stores.campaign, seen=stores.seen):
            return None
        params = self.finetuning.model_copy(update={"steps": stores.steps, "seed": seed})
        digest = finetuned(labels.training, params, stores, report)
        restore_shown(load_restorer(stores.folder, digest), stores, report)
        forget_older(load_restorer(stores.folder, labels.training[0].first), stores)
        counts = {name: sum(one.said == name for one in labels.training) for name in CLASSES}
        return Weights(detector=digest, metrics={"judged": counts})

    def model_folder(self, store: Path, digest: str) -> Path:
        """As `Kind.model_folder`."""
        return decoder_folder(store, digest)

    def drawn_from(self, store: Path, first: str) -> Sequence[Path]:
        """As `Kind.drawn_from`: also what that decoder restored, which people judged."""
        return [self.model_folder(store, first), *restored_files(store, first)]

    def load(self, version: ModelVersion, stores: Stores) -> RestorationModel:
        """As `Kind.load`."""
        if version.detector is None:
            raise CheckpointError(f"The version {version.version} has no decoder.", "Let the campaign learn again.")
        return RestorationModel(load_restorer(stores.folder, version.detector), stores)

    def right(self, model: RestorationModel, labels: tuple[JudgedStamp, ...]) -> NDArray[np.float64]:
        """As `Kind.right`: how like what people wanted a worse exposure is restored (`decoders.fidelity`)."""
        return fidelity(labels, model.restorer, model.stores)

    def evaluate(self, model: RestorationModel, labels: tuple[JudgedStamp, ...]) -> Evaluation:
        """As `Kind.evaluate`: fidelity, and whether the guess was what people said."""
        answers = model.answer(self.stamps(labels))
        best = tuple(answers.classes[place] for place in answers.probabilities.argmax(axis=1).tolist())
        said = tuple(one.said for one in labels)
        return Evaluation(self.right(model, labels), said, best, answers.classes, answers.probabilities)

    def stamps(self, labels: tuple[JudgedStamp, ...]) -> list[Stamp]:
        """As `Kind.stamps`."""
        return [one.stamp for one in labels]

    def export(
        self,
        labels: Labels[tuple[JudgedStamp, ...]],
        campaign: Campaign,
        sets: Mapping[str, Path],
        *,
        training: bool,
    ) -> Snapshot:
        """As `Kind.export`: what was chosen, a row a stamp."""
        found = labels.training if training else (*labels.training, *labels.audit, *(labels.untaught or ()))
        return Snapshot([one.stamp[0] for one in found], [one.stamp[1] for one in found], [one.said for one in found])
