"""`galaxyloop measure`: magnitude, size, form, angle and redshift of a stamp set's galaxies."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend_ml.cli.options import Force, Json
from backend_ml.console import reported, show, tell
from lvm_training.paths import CARD, RELEASED_LVM, RELEASED_PARAMETERS
from lvm_training.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from backend_ml.catalogue.tables.columns import Fact
    from lvm_training.parameters.head import ParameterHead
    from lvm_training.parameters.oriented import OrientedEncoder
    from lvm_training.parameters.released import ParametersCard
    from lvm_training.parameters.truth import Given, Truth
    from lvm_training.stamps.stampset import StampSet

MADE_BY = "galaxyloop measure"
MOST_LEARNED = 2000  # stamps with known values that are learned from
BATCH = 64
SHOW_NOTHING = "stamps with known values show no galaxy and teach nothing"


def measure(
    stamps: Annotated[Path, typer.Argument(help="A stamp set (HDF5); `galaxyloop data import` makes one.")],
    out: Annotated[Path, typer.Option(help="The table: .fits, .vot, .ecsv, .csv or .parquet.")],
    head: Annotated[Path, typer.Option(help="Folder of the head of parameters.")] = RELEASED_PARAMETERS,
    encoder: Annotated[Path, typer.Option(help="Folder of the encoder that the head reads.")] = RELEASED_LVM,
    truth: Annotated[
        list[str] | None,
        typer.Option(
            help="Correct the head by a column of the set: COLUMN=PARAMETER:UNIT, e.g. R50=half_light_radius:pix."
        ),
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep the corrected head in this folder, for --head.")] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Measure magnitude, half-light radius, Sersic index, axis ratio, position angle and redshift of every galaxy.

    Each number has an error that covers the truth 68 times in a hundred, as measured on simulated galaxies. Stamps that
    show nothing get no numbers; the column `flag` says so, and of others what is wrong with them.
    """
    from backend_ml.catalogue.formats import check_out
    from lvm_training.errors import OutputError
    from lvm_training.parameters.truth import parse_given

    with reported():
        check_out(out, force=force)
        given = [parse_given(text) for text in truth or ()]
        if keep is not None and not given:
            raise OutputError(
                "There is no corrected head to keep.", "Say what corrects it: --truth COLUMN=PARAMETER:UNIT."
            )
        if keep is not None and (keep / CARD).exists() and not force:
            raise OutputError(f"{keep} holds a model already.", "Name another folder, or write over it with --force.")
        values, notes = _measure(stamps, out, head, encoder, given, keep)
    show(values, as_json=as_json)
    tell(notes)


def _measure(
    path: Path, out: Path, folder: Path, checkpoint: Path, given: list[Any], keep: Path | None
) -> tuple[dict[str, Any], list[str]]:
    from backend_ml.catalogue.formats import write_sheets
    from backend_ml.catalogue.tables.parameters import measured_sheet
    from lvm_training.model.encoder import Encoder
    from lvm_training.parameters.measure import measure_set, remarks
    from lvm_training.parameters.oriented import OrientedEncoder
    from lvm_training.parameters.released import check_encoder, load_parameters
    from lvm_training.parameters.truth import truth_of
    from lvm_training.stamps.stampset import StampSet

    # whatever is wrong is said before anything is computed
    model, card = load_parameters(folder)
    with StampSet(path) as stamps:
        known = truth_of(stamps, given) if given else None
        encoder = OrientedEncoder(Encoder.load(checkpoint))
        check_encoder(card, encoder)
        notes = [*(() if known is None else known.notes), *remarks(stamps, model)]
        if known is not None:
            model, left_out = _corrected(stamps, encoder, model, known, given)
            notes += left_out
            if keep is not None:
                _keep(keep, model, card, stamps)
        flagged: dict[str, int] = {}

        def batches() -> Any:
            for batch in measure_set(stamps, encoder, model, progress=progress):
                for flag in filter(None, (flag for flags in batch.flags for flag in flags.split(";"))):
                    flagged[flag] = flagged.get(flag, 0) + 1
                yield batch

        with progress_bar("Measuring galaxies") as progress:
            write_sheets(out, [measured_sheet(stamps, batches, model.classes, _facts(stamps, encoder, folder, notes))])
        told = {"table": str(out), "galaxies": len(stamps), "parameters": ", ".join(model.classes), "flagged": flagged}
    return told, notes


def _corrected(
    stamps: "StampSet", encoder: "OrientedEncoder", model: "ParameterHead", known: "Truth", given: "Sequence[Given]"
) -> tuple["ParameterHead", list[str]]:
    """The head, corrected by what is known of the first stamps of the set that have values, and notes on these."""
    import numpy as np

    from lvm_training.parameters.head import ParameterHead
    from lvm_training.parameters.measure import split_features
    from lvm_training.parameters.truth import doubtful_unit

    rows = np.flatnonzero(np.isfinite(known.values).any(axis=1))[:MOST_LEARNED]
    notes = _too_few(known.values[rows], known.names, model)
    shown, found = _look(stamps, encoder, rows)
    if not shown.all():
        notes = [*_too_few(known.values[rows[shown]], known.names, model), f"{int((~shown).sum())} {SHOW_NOTHING}"]
    names = tuple(dict.fromkeys((*model.classes, *known.names)))
    truth = np.full((len(found), len(names)), np.nan)
    truth[:, [names.index(name) for name in known.names]] = known.values[rows[shown]]
    features, oriented = split_features(found)
    measured = dict(zip(model.classes, model.predict(features, oriented).values.T, strict=True))
    for one in (one for one in given if one.name in measured):
        raw = np.asarray(stamps.column(one.column), dtype=np.float64)[rows[shown]]
        notes.append(doubtful_unit(one, raw, measured[one.name], stamps.pixel_scale))
    notes = list(filter(None, notes))
    return ParameterHead.fit(features, truth, names=names, seed=0, oriented=oriented, prior=model), notes


def _look(
    stamps: "StampSet", encoder: "OrientedEncoder", rows: "NDArray[np.int64]"
) -> tuple["NDArray[np.bool_]", "NDArray[np.float32]"]:
    """Which of some stamps show a galaxy, and what the encoder makes of these."""
    import numpy as np

    from lvm_training.parameters.flags import show_galaxies
    from lvm_training.stamps.render import render_pixels

    shown, parts = np.zeros(len(rows), dtype=bool), [np.empty((0, encoder.width), dtype=np.float32)]
    with progress_bar("Looking at galaxies with known values") as progress:
        for start in range(0, len(rows), BATCH):
            pixels, _ = stamps.intact_pixels(rows[start : start + BATCH])
            sound = show_galaxies(pixels)
            shown[start : start + BATCH] = sound
            if sound.any():
                parts.append(encoder.features(render_pixels(stamps, pixels[sound], encoder.rendering)).numpy())
            progress(min(start + BATCH, len(rows)), len(rows))
    return shown, np.concatenate(parts)


def _too_few(values: "NDArray[np.float64]", names: "Sequence[str]", model: "ParameterHead") -> list[str]:
    """Which parameters have too few known values to be corrected.

    Raises
    ------
    ParameterError
        If all have.
    """
    import numpy as np

    from lvm_training.parameters.head import FEWEST, FEWEST_CORRECTIONS
    from lvm_training.parameters.parameter import ParameterError

    counts = dict(zip(names, np.isfinite(values).sum(axis=0).tolist(), strict=True))
    needed = {name: FEWEST_CORRECTIONS if name in model.classes else FEWEST for name in names}
    few = [f"{name}, {n} of {needed[name]} that are needed" for name, n in counts.items() if n < needed[name]]
    if len(few) == len(names):
        raise ParameterError(f"Too few known values correct nothing: {'; '.join(few)}.", "Give more, or no --truth.")
    return [f"too few known values: {one}" for one in few]


def _keep(folder: Path, head: "ParameterHead", card: "ParametersCard", stamps: "StampSet") -> None:
    from lvm_training.parameters.released import save_parameters
    from lvm_training.revision import code_revision

    changed = {"parameters": head.classes, "data": stamps.digest, "code": code_revision(), "metrics": {}}
    save_parameters(folder, head, card.model_copy(update=changed))


def _facts(stamps: "StampSet", encoder: "OrientedEncoder", folder: Path, notes: list[str]) -> "list[Fact]":
    from importlib.metadata import version as installed

    from backend_ml.catalogue.tables.columns import Fact, clean_text
    from lvm_training.parameters.flags import MEANINGS
    from lvm_training.revision import code_revision

    facts = [
        Fact("DATE", "date", datetime.now(UTC).isoformat(timespec="seconds")),
        Fact("CREATOR", "creator", f"{MADE_BY} {installed('galaxyloop')}"),
        Fact("REVISION", "software_revision", code_revision() or "unknown"),
        Fact("STAMPSET", "stamp_sets", stamps.name),
        Fact("HEAD", "head", folder.name),
        Fact("ENCODER", "encoder", encoder.plain),
        Fact("FLAGS", "flags", "; ".join(f"{name}: {meaning}" for name, meaning in MEANINGS.items())),
    ]
    facts += [Fact("NOTES", "notes", "; ".join(notes))] if notes else []
    return [Fact(one.keyword, one.name, clean_text(one.text)) for one in facts]
