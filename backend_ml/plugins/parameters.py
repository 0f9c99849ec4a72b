"""Campaigns of parameters: numbers that a head fills in and people mend."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from backend_ml.acquisition.policy import fitting
from backend_ml.kinds.evaluation import Evaluation, Measure
from backend_ml.kinds.kind import Labels, Options, Report, refuse_detector
from backend_ml.kinds.models import Answers, Model, Quantity, Stamp, Stores, Weights, catalogued, head_of
from backend_ml.kinds.results import ResultKind
from backend_ml.label_studio.regions.choices import LabelConfigError, Region, note_result
from backend_ml.label_studio.regions.numbers import (
    NumberControl,
    NumberError,
    find_numbers,
    given_numbers,
    number_regions,
)
from backend_ml.labels import set_aside
from backend_ml.plugins.choices import OURS
from backend_ml.store.encoders import stored_card
from backend_ml.store.records import Campaign, CampaignError, ModelVersion
from lvm_training.evaluation.parameters import OUTLIER, parameter_metrics
from lvm_training.parameters.head import FEWEST, FEWEST_CORRECTIONS, Measured, ParameterHead
from lvm_training.parameters.measure import leave_out_sizes
from lvm_training.parameters.number_table import NumberTable
from lvm_training.parameters.parameter import ANGLE, PARAMETERS, Parameter, difference, find_parameter
from lvm_training.parameters.released import load_parameters
from lvm_training.parameters.truth import UNITS, converted
from lvm_training.paths import RELEASED_PARAMETERS

UNTAUGHT = 5.0  # errors from which on one teaches nothing, unless people and model disagree as a rule
AS_A_RULE = 0.2  # share of the numbers that lie so far from the model
TENTH = 0.1  # magnitudes, or share of a number: how far off it is half right for the gate
UNMEASURED = 10.0  # such distances of a number that the model does not know
LIKE_UNIT = 0.15  # relative difference up to which a number looks like one of another unit
OUTLIERS = "outliers"
MEASURES = (
    ("measured", "measured", True),
    ("rmse", "RMSE", False),
    ("bias", "bias", False),
    ("scatter", "scatter", False),
    ("outliers", "off by over 3 errors", True),
    ("coverage", "within 1 error (should be 68 %)", True),
)


class NumberAnswers(Answers):
    """What a head measures of some stamps.

    Parameters
    ----------
    measured : Measured
        Values and errors (N, P).
    names : tuple of str
        The parameters.
    known : ndarray (N, P)
        What columns of the stamp sets, or people, say of them; NaN where nobody does.
    """

    quantities: NDArray[np.float64]
    deviation: NDArray[np.float64]

    def __init__(self, measured: Measured, names: tuple[str, ...], known: NDArray[np.float64]) -> None:
        self.classes, self.measured, self._known = names, measured, known
        self.quantities = np.stack([measured.values, measured.errors], axis=2).reshape(len(known), -1)
        self._off = deviations(known, measured, names)
        columns = zip(names, measured.values.T, measured.errors.T, strict=True)
        relative = [_relative(PARAMETERS[name], value, error) for name, value, error in columns]
        unsure = np.nan_to_num(np.stack(relative, axis=1)).max(axis=1, initial=0)
        worst = np.nan_to_num(self._off).max(axis=1, initial=0)
        # what nobody knows is ranked by how little the model does, behind all that is known and does not fit
        self.deviation = np.where(worst > OUTLIER, worst, unsure / (1 + unsure))

    def result(self, index: int, label_config: str) -> list[Region]:
        """The numbers within the limits of the tags, and their errors in words."""
        regions = number_regions([_bounded(one) for one in find_numbers(label_config)], self.scores(index))
        return [*regions, *note_result(label_config, f"Model: {self._said(index)}")] if regions else []

    def scores(self, index: int) -> dict[str, float]:
        """The value of each parameter that is known."""
        values = zip(self.classes, self.measured.values[index].tolist(), strict=True)
        return {name: round(value, PARAMETERS[name].digits) for name, value in values if np.isfinite(value)}

    def words(self, index: int) -> str:
        """As `Answers.words`: numbers with their errors, and what does not fit them."""
        said = self._said(index)
        if not said:
            return "The model measures nothing of this galaxy."
        far = [
            f"{PARAMETERS[name].words} {known:.4g} is {off:.1f} errors away"
            for name, known, off in zip(self.classes, self._known[index], self._off[index], strict=True)
            if off > OUTLIER
        ]
        doubt = f" What is known of it does not fit: {'; '.join(far)}." if far else ""
        return f"The model measures: {said}.{doubt}"

    def heat_words(self, index: int) -> str:
        """As `Answers.heat_words`."""
        return "There is no heat map for numbers: their errors say how sure the model is."

    def measures(self, index: int) -> dict[str, float]:
        """As `Answers.measures`."""
        return {"deviation": float(self.deviation[index])}

    def _said(self, index: int) -> str:
        parts = []
        for name, value in self.scores(index).items():
            one, error = PARAMETERS[name], self.measured.errors[index, self.classes.index(name)]
            parts.append(f"{one.words} {one.told(value, error)}")
        return ", ".join(parts)


def _relative(parameter: Parameter, value: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Errors as shares of what a parameter may well be, so that those of several can be compared."""
    if parameter.scale == "log":
        return np.asarray(error / value)
    return np.asarray(error / (1 + value) if parameter.scale == "log1p" else error)


def deviations(known: NDArray[np.float64], measured: Measured, names: Sequence[str]) -> NDArray[np.float64]:
    """By how many errors known values (N, P) lie from measured ones; NaN where either is missing."""
    pairs = zip(names, known.T, measured.values.T, strict=True)
    off = [difference(PARAMETERS[name], one, other) for name, one, other in pairs]
    return np.abs(np.stack(off, axis=1)) / measured.errors


class NumberModel(Model):
    """A head of parameters on the campaign's features.

    Parameters
    ----------
    said : mapping
        What people said of stamps where it does not fit, by stamp and parameter.
    """

    def __init__(self, head: ParameterHead, stores: Stores, said: Mapping[Stamp, Mapping[str, float]]) -> None:
        self.head, self._stores, self._said = head, stores, said

    def check(self, stamp: Stamp) -> None:
        """As `Model.check`."""
        self._stores.features.rows([stamp])

    def answer(self, stamps: Sequence[Stamp]) -> NumberAnswers:
        """As `Model.answer`."""
        measured, names = self.head.predict(self._stores.features.rows(stamps)), self.head.classes
        known = np.full(measured.values.shape, np.nan)
        for stamp_set in {name for name, _ in stamps}:
            places = [place for place, (name, _) in enumerate(stamps) if name == stamp_set]
            rows = np.array([stamps[place][1] for place in places])
            pictures = self._stores.sets.find(stamp_set)
            if not np.isfinite(pictures.pixel_scale):
                leave_out_sizes(measured, names, places)
            for name, column in catalogued(pictures).items():
                if name in names:
                    known[places, names.index(name)] = column[rows]
        for place, stamp in enumerate(stamps):
            for name, value in self._said.get(stamp, {}).items():
                known[place, names.index(name)] = value
        return NumberAnswers(measured, names, known)

    @cached_property
    def quantities(self) -> tuple[Quantity, ...]:
        """As `Model.quantities`: each parameter and its error."""
        found = []
        for one in map(find_parameter, self.head.classes):
            found.append(Quantity("", one.name, one.about, one.unit, one.ucd))
            found.append(
                Quantity("err", one.name, f"Error of {one.name}, of 68 % coverage", one.unit, f"stat.error;{one.ucd}")
            )
        return tuple(found)


class Parameters(ResultKind[NumberTable, NumberModel]):
    """Numbers by the `Number` tags of a label config, each named as a parameter (`PARAMETERS`).

    The newest annotation of a stamp counts. The position angle is none of them: a campaign's features are the same
    however a galaxy lies.
    """

    name = "parameters"
    folder = OURS
    policies = (
        "outliers",
        *(name for name in fitting(boxes=False, searching=False, numbers=True) if name != "outliers"),
    )
    limits: ClassVar[tuple[str, ...]] = (
        "An error says how sure the head is of galaxies like those that it learned from; of other surveys, seeing or"
        " depth nobody checked it.",
        "Blended, saturated and cut off galaxies are measured as if they were whole.",
    )
    takes_columns = True
    needed = f"{FEWEST_CORRECTIONS} numbers of a parameter, outside the audit slice; {FEWEST} without the released head"

    def offered(self, label_config: str) -> tuple[str, ...]:
        """As `Kind.offered`: the names of the tags.

        Raises
        ------
        LabelConfigError
            Also if one is no parameter, or needs to know how a galaxy lies.
        """
        names = tuple(one.name for one in find_numbers(label_config))
        foreign = [name for name in names if name not in PARAMETERS or name == ANGLE]
        if foreign:
            known = ", ".join(name for name in PARAMETERS if name != ANGLE)
            raise LabelConfigError(
                f"No head measures {', '.join(foreign)} in a campaign.", f"Name a <Number>: {known}."
            )
        return names

    def instruction(self, label_config: str, examples: Mapping[str, Sequence[str]]) -> str:
        """As `Kind.instruction`: each number, its unit and its limits."""
        lines = []
        for control in map(_bounded, find_numbers(label_config)):
            one = find_parameter(control.name)
            unit = f" [{one.unit}]" if one.unit else ""
            lines.append(
                f"<li><b>{html.escape(one.words)}{unit}</b>: {html.escape(one.about)}; "
                f"{control.least:g} to {control.most:g}</li>"
            )
        return (
            "<p>Mend the numbers of the galaxy <b>in the centre</b> that are wrong, empty those that cannot be told:"
            " they become 0, which is no answer. Then press Submit: no key submits while one types. Where all are"
            " right, Ctrl+Enter is enough. Write a decimal point: the page drops a comma, and 1,5 becomes 15."
            " Radii are in arcsec, not in pixels; magnitudes are AB, not fluxes. Skip what is no galaxy. Some galaxies"
            f" are shown without numbers on purpose: give those that you can measure.</p><ul>{''.join(lines)}</ul>"
        )

    def check(self, options: Options) -> None:
        """As `Kind.check`."""
        refuse_detector(options, "parameters")
        if options.labels is not None:
            raise CampaignError(
                "A campaign of parameters cannot start from labels of classes.",
                "Put known values into columns of the stamp set: docs/howto/measure-parameters.md says how.",
            )
        if options.consensus != "majority":
            raise CampaignError("Numbers have no consensus: the newest annotation of a stamp counts.", "Leave it out.")

    def begin(self, model: Path | None, stores: Stores, report: Report) -> Weights | None:
        """As `Kind.begin`: the released head, where it reads the campaign's encoder."""
        head = self._released(stores)
        return None if head is None else Weights(head=head.save(), metrics={OUTLIERS: []})

    def _released(self, stores: Stores) -> ParameterHead | None:
        """The released head of the campaign's parameters; None where it does not read what the campaign's heads do."""
        if not RELEASED_PARAMETERS.is_dir() or stores.campaign.columns:
            return None
        head, card = load_parameters(RELEASED_PARAMETERS)
        stored = stored_card(stores.folder, stores.campaign.encoder)
        fits = stored is not None and stored.encoder == card.encoder
        return head.only(stores.campaign.classes) if fits else None

    def labels_of(
        self, rows: Sequence[Mapping[str, Any]], campaign: Campaign, first: ModelVersion | None
    ) -> Labels[NumberTable]:
        """As `ResultKind.labels_of`: the numbers of each stamp; an annotation with one that cannot be read is aside."""
        controls = find_numbers(campaign.label_config or self.label_config())
        kept: dict[bool, list[tuple[Stamp, dict[str, float], int]]] = {True: [], False: []}
        said, odd = set_aside.read_results(rows, lambda result: read_numbers(result, controls))
        for row, numbers in said:
            kept[row["audit"]].append(((row["stamp_set"], row["stamp_id"]), numbers, row["annotator"] or 0))
        return Labels(0, _table(campaign.classes, kept[False]), _table(campaign.classes, kept[True]), odd=odd)

    def fits(self, labels: Labels[NumberTable], campaign: Campaign, *, seen: bool) -> bool:
        """As `Kind.fits`."""
        counts = np.isfinite(labels.training.values).sum(axis=0)
        return bool((counts >= FEWEST_CORRECTIONS).any())

    def fit(self, labels: Labels[NumberTable], stores: Stores, seed: int, report: Report) -> Weights | None:
        """As `Kind.fit`: the released head corrected by people's numbers, or a head of these alone.

        Numbers that lie far from what the head says, while others do not, teach nothing; they are kept in the metrics,
        `outliers`, where the queue and `model show` find them.
        """
        table, prior = labels.training, self._released(stores)
        counts = np.isfinite(table.values).sum(axis=0)
        if not (counts >= (FEWEST if prior is None else FEWEST_CORRECTIONS)).any():
            return None
        report("fitting", 0, 1)
        features = stores.features.rows(self.stamps(table))

        def fitted(values: NDArray[np.float64]) -> ParameterHead:
            return ParameterHead.fit(features, values, names=table.names, seed=seed, prior=prior)

        head = fitted(table.values)
        far = deviations(table.values, head.predict(features), table.names) > UNTAUGHT
        # without them a parameter that nothing else knows may have too few numbers, and would not be measured at all
        left = counts - far.sum(axis=0) >= (FEWEST if prior is None else 0)
        rare = (far.sum(axis=0) <= AS_A_RULE * counts) & left
        if (far & rare).any():
            head = fitted(np.where(far & rare, np.nan, table.values))
        return Weights(head=head.save(), metrics={OUTLIERS: _outliers(table, head.predict(features), stores)})

    def load(self, version: ModelVersion, stores: Stores) -> NumberModel:
        """As `Kind.load`."""
        head = ParameterHead.load(head_of(version))
        said: dict[Stamp, dict[str, float]] = {}
        for one in version.metrics.get(OUTLIERS, ()):
            said.setdefault((one["stamp_set"], one["stamp_id"]), {})[one["parameter"]] = one["number"]
        return NumberModel(head, stores, said)

    def right(self, model: NumberModel, labels: NumberTable) -> NDArray[np.float64]:
        """As `Kind.right`: 1 / (1 + d), d the mean distance of a galaxy's numbers from the model's.

        Distances are in units that no model has a say in (`_relative` of the people's numbers, over a tenth), so that a
        head cannot pass by larger errors of its own.
        """
        return _nearness(labels, model.answer(self.stamps(labels)).measured.values)

    def evaluate(self, model: NumberModel, labels: NumberTable) -> Evaluation:
        """As `Kind.evaluate`: numbers in words, and the measures of each parameter."""
        answers = model.answer(self.stamps(labels))
        said = [_numbers_words(zip(labels.names, row, strict=True)) for row in labels.values.tolist()]
        answered = tuple(_numbers_words(answers.scores(place).items()) for place in range(len(labels)))
        right = _nearness(labels, answers.measured.values)
        return Evaluation(right, tuple(said), answered, measures=_measured(labels, answers.measured))

    def stamps(self, labels: NumberTable) -> list[Stamp]:
        """As `Kind.stamps`."""
        return list(labels.stamps)

    def export(
        self, labels: Labels[NumberTable], campaign: Campaign, sets: Mapping[str, Path], *, training: bool
    ) -> NumberTable:
        """As `Kind.export`."""
        return labels.training if training else labels.training.joined(labels.audit)


def _nearness(labels: NumberTable, found: NDArray[np.float64]) -> NDArray[np.float64]:
    """As `Parameters.right`, of values (N, P)."""
    off = []
    for name, said, value in zip(labels.names, labels.values.T, found.T, strict=True):
        one = PARAMETERS[name]
        away = _relative(one, said, np.abs(difference(one, value, said))) / TENTH
        off.append(np.where(np.isfinite(said) & ~np.isfinite(away), UNMEASURED, away))
    distance = np.stack(off, axis=1)
    known = np.isfinite(distance)
    mean = np.where(known, distance, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.asarray(1 / (1 + mean))


def _numbers_words(values: Iterable[tuple[str, float]]) -> str:
    """Numbers by parameter as people read them; what is not known is left out."""
    known = ((PARAMETERS[name], value) for name, value in values if np.isfinite(value))
    return ", ".join(f"{one.words} {value:.4g}{f' {one.unit}' if one.unit else ''}" for one, value in known)


def _measured(labels: NumberTable, measured: Measured) -> list[Measure]:
    """The measures of each parameter that people gave."""
    values = parameter_metrics(labels.values, measured.values, measured.errors, labels.names)
    known = np.isfinite(labels.values)
    both = (known & np.isfinite(measured.values)).sum(axis=0).tolist()
    found = []
    for name, given, compared in zip(labels.names, known.sum(axis=0).tolist(), both, strict=True):
        for key, title, is_share in MEASURES:
            if given and f"{name}_{key}" in values:
                n, unit = given if key == "measured" else compared, "" if is_share else PARAMETERS[name].unit
                found.append(Measure(PARAMETERS[name].words, title, values[f"{name}_{key}"], n, unit, is_share))
    return found


def read_numbers(result: Sequence[Mapping[str, Any]], controls: Sequence[NumberControl]) -> dict[str, float]:
    """The numbers of an annotation, within the limits of their tags and of what a parameter can be.

    Raises
    ------
    NumberError
        As `given_numbers`; with what unit a number would fit, where it does not fit its own.
    """
    try:
        return given_numbers(result, [_bounded(one) for one in controls])
    except NumberError as error:
        hint = _other_unit(result)
        raise NumberError(error.message, f"{error.hint} {hint}".strip()) from error


def _bounded(control: NumberControl) -> NumberControl:
    """A tag that takes no number which its parameter cannot be: those of people's own label configs may."""
    one = PARAMETERS.get(control.name)
    if one is None:
        return control
    return replace(control, least=max(control.least, one.least), most=min(control.most, one.most))


def _other_unit(result: Sequence[Mapping[str, Any]]) -> str:
    """What unit a magnitude outside its limits may have been given in."""
    for region in result:
        value = region.get("value")
        said = value.get("number") if isinstance(value, Mapping) else None
        parameter = PARAMETERS.get(str(region.get("from_name")))
        if parameter is None or isinstance(said, bool) or not isinstance(said, int | float):
            continue
        for unit in list(UNITS[parameter.name])[1:]:
            number = converted(np.array([float(said)]), parameter, unit, 1.0)
            if unit != "pix" and not parameter.inside(np.array([said]))[0] and parameter.inside(number)[0]:
                return f"If {said:g} is in {unit}, it is {number[0]:.4g} {parameter.unit}."
    return ""


def _table(names: tuple[str, ...], rows: Sequence[tuple[Stamp, dict[str, float], int]]) -> NumberTable:
    ordered = sorted((row for row in rows if row[1]), key=lambda row: row[0])
    values = np.array([[row[1].get(name, np.nan) for name in names] for row in ordered]).reshape(-1, len(names))
    return NumberTable(names, [row[0] for row in ordered], values, [row[2] for row in ordered])


def _outliers(table: NumberTable, measured: Measured, stores: Stores) -> list[dict[str, Any]]:
    """The numbers that lie more than `OUTLIER` errors from the model's, the farthest first."""
    off = deviations(table.values, measured, table.names)
    found = []
    for row, place in np.argwhere(off > OUTLIER).tolist():
        (stamp_set, stamp_id), parameter = table.stamps[row], PARAMETERS[table.names[place]]
        number, value = float(table.values[row, place]), float(measured.values[row, place])
        scale = stores.sets.find(stamp_set).pixel_scale
        found.append(
            {
                "stamp_set": stamp_set,
                "stamp_id": stamp_id,
                "parameter": parameter.name,
                "number": number,
                "measured": round(value, parameter.digits),
                "errors": round(float(off[row, place]), 1),
                "perhaps": "in pixels" if parameter.unit == "arcsec" and _is_in_pixels(number, value, scale) else "",
            }
        )
    return sorted(found, key=lambda one: -one["errors"])


def _is_in_pixels(number: float, value: float, scale: float) -> bool:
    return bool(np.isfinite(scale) and abs(number * scale / value - 1) < LIKE_UNIT)
