"""Writes a campaign as a catalogue: reads, answers and writes in that order, so that what is wrong is said first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path

from backend_ml.catalogue.formats import MADE_BY, write_sheets
from backend_ml.catalogue.tables import objects
from backend_ml.catalogue.tables.columns import Fact, Sheet, clean_text
from backend_ml.catalogue.tables.galaxies import Galaxies, read_galaxies
from backend_ml.catalogue.tables.probabilities import Probabilities, probabilities_of
from backend_ml.catalogue.tables.table import (
    Answers,
    Measured,
    NoAnswers,
    Places,
    Probable,
    Scored,
    galaxy_sheet,
    opened,
    own_columns,
)
from backend_ml.kinds.checked import CheckedModel
from backend_ml.kinds.installed import load_model
from backend_ml.learning.learn import answering_version, stores_of
from backend_ml.store.database import Database, query
from backend_ml.store.records import Campaign
from backend_ml.store.stamps import StampSets
from lvm_training.errors import GalaxyLoopError
from lvm_training.progress import Steps
from lvm_training.revision import code_revision

MENDED = (
    "was mended or replaced since the campaign was made: labels are of its old pixels, names and positions of the new"
)
CITATION = (
    "Galaxy Loop; Fu et al. 2024, Chinese Physics C 48, 095001, arXiv:2405.10890: a versatile framework for analyzing"
    " galaxy image data by incorporating Human-in-the-loop in a large vision model"
)
ERRORS = (
    "standard deviation, about the probability, of 32 heads drawn from the Laplace approximation of the head's"
    " posterior, tempered on labels that were held out; the calibration's own error is left out"
)


@dataclass(frozen=True)
class Source:
    """What a catalogue and its summary are made of, all of one moment.

    Attributes
    ----------
    galaxies : Galaxies
    sets : StampSets
    model : CheckedModel or None
        The version that serves; None where nothing was learned yet, or labels alone are asked for.
    probabilities : Probabilities or None
        Where the model answers from features.
    notes : tuple of str
        What is odd about them.
    """

    galaxies: Galaxies
    sets: StampSets
    model: CheckedModel | None
    probabilities: Probabilities | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """What was written.

    Attributes
    ----------
    files : sequence of Path
    galaxies, labelled : int
        Rows, and those with a label.
    objects : int or None
        Rows of the table of objects; None where people draw nothing.
    notes : sequence of str
        What a reader should know.
    """

    files: Sequence[Path]
    galaxies: int
    labelled: int
    objects: int | None
    notes: Sequence[str]


def read_source(database: Database, campaign: Campaign, store: Path, *, answers: bool) -> Source:
    """A campaign's galaxies, and the model that answers for them.

    Parameters
    ----------
    store : Path
        Folder of detectors and what they found.
    answers : bool
        Whether the model is asked at all.

    Raises
    ------
    StampError, UnknownStampError
        If its stamp set is gone, or another one is in its place.
    FeatureError, FeaturesError, CheckpointError, KindError
        If features or model are gone.
    """
    sets, stores = database.stamp_sets, stores_of(database, campaign, store)
    stamps = opened(sets, campaign.stamp_set)
    try:
        with database.transaction() as connection:
            registered = {row["name"]: row["digest"] for row in query(connection, "stamp_sets")}
            version = answering_version(connection, stores) if answers else None
            galaxies = read_galaxies(connection, campaign, total=len(stamps), version=version)
        model = None if version is None else load_model(version, stores)
        probabilities = probabilities_of(galaxies, stores)
    except GalaxyLoopError as error:
        error.hint = f"{error.hint} Or leave the model's answers out: --no-answers.".strip()
        raise
    mended = stamps.digest != registered[campaign.stamp_set]
    return Source(galaxies, sets, model, probabilities, (f"{campaign.stamp_set} {MENDED}",) if mended else ())


def publish(database: Database, source: Source, out: Path, steps: Steps) -> Published:
    """Write a campaign's catalogue to a file that `check_out` lets pass.

    Raises
    ------
    GalaxyLoopError
        If a stamp set is gone, the model fails, or the file cannot be written; nothing is written then.
    """
    galaxies, notes = source.galaxies, list(source.notes)
    places, facts = Places(galaxies, source.sets), _facts(source)
    sheets, controls = list[Sheet](), objects.controls_of(galaxies)
    if controls is not None:
        with database.transaction() as connection:
            found, odd = objects.drawn(connection, galaxies, controls)
        notes += odd
        if source.model is not None:
            with steps("Reading detections") as progress:
                found += objects.detected(galaxies, source.model, controls, progress)
        sheets.append(objects.object_sheet(galaxies, found, places, source.sets, facts))
    answers = _answers(source)
    notes += answers.notes if isinstance(answers, Measured) else ()
    with steps("Writing galaxies") as progress:
        first = galaxy_sheet(galaxies, places, answers, facts, progress)
        files = write_sheets(out, [first, *sheets])
    labelled = galaxies.labelled
    rows = sheets[0].rows if sheets else None
    return Published(files, len(galaxies), labelled, rows, [*notes, *_remarks(source, places)])


def _answers(source: Source) -> Answers:
    classes, model = source.galaxies.classes, source.model
    if model is None:
        return NoAnswers()
    if source.probabilities is not None:
        first: Answers = Probable(source.probabilities, classes)
    else:
        # what measures numbers has no scores
        first = NoAnswers() if model.quantities else Scored(model, classes)
    return Measured(first, model, own_columns(source.galaxies)) if model.quantities else first


def _facts(source: Source) -> list[Fact]:
    galaxies, probabilities = source.galaxies, source.probabilities
    campaign, served = galaxies.campaign, galaxies.version
    facts = [
        Fact("CAMPAIGN", "campaign", campaign.name),
        Fact("KIND", "kind", campaign.kind),
        Fact("STATE", "state", campaign.state),
        Fact("DATE", "date", datetime.now(UTC).isoformat(timespec="seconds")),
        Fact("CREATOR", "creator", f"{MADE_BY} {installed('galaxyloop')}"),
        Fact("REVISION", "software_revision", code_revision() or "unknown"),
        Fact("STAMPSET", "stamp_sets", ", ".join(galaxies.rows)),
        Fact("CLASSES", "classes", ", ".join(galaxies.classes)),
        Fact("CONSENS", "consensus", campaign.consensus),
        Fact("POLICY", "policy", campaign.policy),
        Fact("AUDITFR", "audit_fraction", f"{campaign.audit_fraction:g}"),
        Fact("LASTEVT", "last_event", str(galaxies.last_event)),
        Fact("MODELVER", "model_version", served.version if served else "none"),
        Fact("ENCODER", "encoder", served.encoder if served else campaign.encoder),
        Fact("CITATION", "citation", CITATION),
    ]
    if probabilities is not None:
        errors = ERRORS if probabilities.posterior is not None else "none: nobody can say of this head"
        facts += [
            Fact("CALIB", "calibration", probabilities.calibration.words),
            Fact("PROBERR", "probability_errors", errors),
        ]
    if galaxies.examples:
        facts.append(Fact("EXAMPLES", "examples", ", ".join(galaxies.examples)))
    facts += [Fact("NOTES", "notes", "; ".join(source.notes))] if source.notes else []
    return [Fact(one.keyword, one.name, clean_text(one.text)) for one in facts]


def _remarks(source: Source, places: Places) -> list[str]:
    """What a reader should know who looks for something in vain."""
    galaxies = source.galaxies
    found = [] if galaxies.labelled else ["nobody has labelled yet"]
    if source.model is None:
        found.append("no model answered: there are no probabilities")
    if galaxies.foreign:
        names = ", ".join(map(clean_text, galaxies.foreign))
        found.append(f"people labelled what the campaign does not offer, which is kept as it is: {names}")
    nameless = [name for name, column in places.named.items() if not column]
    return found + [f"{name} has no file names" for name in nameless]
