"""`galaxyloop encoder`: which encoders there are, another one, and how they compare on labels of one's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from backend_ml.cli.options import ClassColumn, ClassTable, Json, Missing, PixelScale, Views, declared_missing
from backend_ml.console import console, reported, show, show_rows, tell
from lvm_training.paths import RELEASED_LVM
from lvm_training.progress import progress_bar

if TYPE_CHECKING:
    from backend_ml.settings import Settings
    from lvm_training.model.encoder import Encoder

app = typer.Typer(help="Encoders: ours, timm's, the hub's, ONNX files.", no_args_is_help=True)

WORK = Path("build/compare")
COLUMNS = ["name", "encoder", "network", "width", "size", "field", "campaigns", "source"]
AnyEncoder = Annotated[
    str,
    typer.Option(
        help="A name of `encoder list`, a digest, a checkpoint's or detector's folder, timm:NAME, hf_hub:OWNER/NAME."
    ),
]


def chosen(said: str, settings: "Settings") -> Path:
    """The folder of the encoder that a command was asked for.

    Raises
    ------
    CheckpointError
        As `named_encoders.chosen_folder`.
    """
    from backend_ml.store.named_encoders import chosen_folder

    return chosen_folder(settings.store_folder, said, progress_bar)


@app.command()
def add(
    source: Annotated[
        str,
        typer.Argument(help="timm:NAME, hf_hub:OWNER/NAME, a folder of ours, a detector's or the hub's, or ONNX."),
    ],
    name: Annotated[str | None, typer.Option(help="What you call it; default: the last part of the source.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of its pictures, pixels; default: what it says.")] = None,
    field: Annotated[float | None, typer.Option(help="Arcsec that they show; default: 25 or its own.", min=0.1)] = None,
    mean: Annotated[str | None, typer.Option(help="Of its channels, with commas; default: what it says.")] = None,
    std: Annotated[str | None, typer.Option(help="Likewise; with --mean 0, 0.00392 means pixels of 0 to 255.")] = None,
    channels: Annotated[
        Literal["rgb", "bgr", "grey"] | None, typer.Option(help="Their order; default: what it says.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="The weights of timm:NAME, such as a .safetensors.")] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Weights of timm:NAME drawn at random, for comparison.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look at an encoder and keep it in the store, so that campaigns can use it without a network."""
    from backend_ml.settings import Settings

    with reported():
        store = Settings().store_folder
        numbers = {"mean": _numbers(mean, "--mean"), "std": _numbers(std, "--std")}
        from backend_ml.store.encoders import encoder_folder, stored_card
        from backend_ml.store.named_encoders import add as keep
        from backend_ml.store.named_encoders import named, unseen_field
        from lvm_training.backbones.sources import Wanted

        wanted = Wanted(
            source,
            size=size,
            field=field,
            channels=channels,
            weights=weights,
            random=random_weights,
            **numbers,
        )
        encoder = keep(store, wanted, name, progress_bar)
        card = stored_card(store, encoder)
        called = [one for one, found in named(store).items() if found.encoder == encoder]
    known: dict[str, Any] = {"name": called, "encoder": encoder}
    if card is not None:
        known |= {"network": card.network, "width": card.width, "size": card.rendering.size}
    known |= {"folder": str(encoder_folder(store, encoder))}
    warning = unseen_field(card) if card is not None else ""
    show(known | ({"warning": warning} if warning else {}), as_json=as_json)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """The encoders of the store: what they are called, what they read, where they came from, and who uses them."""
    from backend_ml.settings import Settings

    with reported():
        from backend_ml.store.named_encoders import listed

        found = listed(Settings().store_folder)
    if not found:
        tell(["The store has no encoder yet: `galaxyloop encoder add` keeps one, and each campaign keeps its own."])
    users = _users()
    if users is None and found:
        tell(["No database runs here, so who uses them is not known."])
    rows = [
        {
            "name": ", ".join(one.names) or None,
            "encoder": one.encoder,
            "network": one.card.network,
            "width": one.card.width,
            "size": one.card.rendering.size,
            "field": one.card.rendering.field,
            "campaigns": None if users is None else users.get(one.encoder, []),
            "source": one.source or None,
        }
        for one in found
    ]
    if rows or as_json:
        show_rows(rows, COLUMNS, as_json=as_json)


@app.command()
def compare(
    stamps: Annotated[Path, typer.Argument(help="A labelled set: a folder of images, or a stamp set (HDF5).")],
    column: ClassColumn,
    labels: ClassTable = None,
    missing: Missing = None,
    encoder: Annotated[
        list[str] | None, typer.Option(help="One to compare, as in `campaign create`; repeat. Default: all with names.")
    ] = None,
    sizes: Annotated[str, typer.Option(help="Numbers of labels, with commas.")] = "10,50,200",
    draws: Annotated[int, typer.Option(help="How often labels are drawn.", min=1)] = 10,
    seed: Annotated[int, typer.Option(help="What they are drawn from.")] = 0,
    views: Views = 8,
    pixel_scale: PixelScale = None,
    out: Annotated[Path, typer.Option("--json", help="The JSON; a plot is written beside it.")] = WORK
    / "encoders.json",
) -> None:
    """Compare encoders, ours among them, by the labels that a head on their features needs; on a labelled set.

    The test half is fixed by the hash of the file name. All are given the same labels, drawn as they come. Features are
    kept where campaigns find them; a comparison that was killed goes on.
    """
    with reported():
        from lvm_training.files import refuse_others, write_json

        numbers = _sizes(sizes)
        refuse_others(out, b'"comparison"')
        refuse_others(out.with_suffix(".png"), b"Matplotlib")
        from backend_ml.replay.comparison import ComparisonPlan, compare, comparison_document, comparison_rows
        from backend_ml.replay.labelled_sets import labelled_stamps
        from backend_ml.settings import Settings
        from lvm_training.evaluation.plots import few_shot_figure

        settings, plan = Settings(), ComparisonPlan(numbers, draws, seed)
        encoders = _compared(encoder, settings, views)
        reading = labelled_stamps(
            stamps,
            labels=labels,
            column=column,
            steps=progress_bar,
            missing=declared_missing(missing),
            pixel_scale=pixel_scale,
        )
        with reading as known:
            found = compare(known, encoders, plan, settings.features_folder, progress_bar)
            about = {"set": stamps.name, "column": column, "draws": draws, "seed": seed, "views": views}
            about |= {"images": len(known.labels), "test": int(known.test.sum()), "unlabelled": known.unlabelled}
        document = comparison_document(found, about)
        write_json(out, document)
        title = f"{stamps.stem}, {column}"
        plot = few_shot_figure({name: one.curve for name, one in found.items()}, out.with_suffix(".png"), title=title)
    tell([*known.notes, *([f"{known.unlabelled} images have no label and are left out"] if known.unlabelled else [])])
    rows = comparison_rows(document)
    show_rows(rows, list(rows[0]), as_json=False)
    console().print(f"{out} and {plot}", highlight=False, markup=False)


def _compared(said: list[str] | None, settings: "Settings", views: int) -> "dict[str, Encoder]":
    """The encoders that are compared, by what they were called: ours first."""
    from backend_ml.store.named_encoders import named
    from lvm_training.model.encoder import Encoder

    found: dict[str, Encoder] = {}
    for name in [str(RELEASED_LVM), *(said or named(settings.store_folder))]:
        encoder = Encoder.load(chosen(name, settings), views)
        # ours may have been added under a name of its own
        if encoder.digest not in {one.digest for one in found.values()}:
            found[Path(name).name if Path(name).is_dir() else name] = encoder
    return found


def _sizes(said: str) -> tuple[int, ...]:
    """Numbers of labels in ascending order.

    Raises
    ------
    LabelError
        If they are none.
    """
    from lvm_training.errors import LabelError

    try:
        numbers = tuple(sorted({int(part) for part in said.split(",")}))
    except ValueError:
        numbers = ()
    if not numbers or numbers[0] < 2:
        raise LabelError(f"--sizes {said} are no numbers of labels.", "Write them as 10,50,200.")
    return numbers


def _users() -> dict[str, list[str]] | None:
    """Names of the campaigns, by the digest of the encoder that they use; None without a database."""
    from backend_ml.local.data_folder import database_url
    from backend_ml.settings import Settings, SettingsError
    from backend_ml.store.campaigns import all_campaigns
    from backend_ml.store.database import Database

    try:
        url = database_url(Settings())
    except SettingsError:
        return None
    users: dict[str, list[str]] = {}
    with reported(), Database(url) as database, database.transaction() as connection:
        for campaign in all_campaigns(connection):
            users.setdefault(campaign.encoder, []).append(campaign.name)
    return users


def _numbers(said: str | None, option: str) -> tuple[float, ...] | None:
    """Numbers with commas between them.

    Raises
    ------
    CheckpointError
        If they are none.
    """
    from lvm_training.errors import CheckpointError

    try:
        return None if said is None else tuple(float(part) for part in said.split(","))
    except ValueError as error:
        raise CheckpointError(f"{option} {said} is no list of numbers.", "Write it as 0.485,0.456,0.406.") from error
