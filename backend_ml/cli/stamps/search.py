"""`galaxyloop search`: the stamps of a pool that look most like a given one."""

import re
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from backend_ml.cli.encoder import AnyEncoder, chosen
from backend_ml.cli.options import Json, Where
from backend_ml.cli.simulated import measured_of, most_like_simulated
from backend_ml.cli.unusual import most_unusual
from backend_ml.console import errors, print_json, reported, show_rows, tell
from lvm_training.errors import GalaxyLoopError
from lvm_training.paths import CARD, RELEASED_LVM
from lvm_training.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lvm_training.index.pool_index import PoolIndex
    from lvm_training.index.queries import QueryImage
    from lvm_training.model.encoder import Encoder
    from lvm_training.pool.features import Features
    from lvm_training.pool.shards import Shards
    from lvm_training.stamps.rendering import Rendering
    from lvm_training.stamps.stampset import StampSet

    Sets = Mapping[str, StampSet]  # by digest

Tile = TypeVar("Tile")  # a picture, or the words below it

KEPT_ROWS = 200_000  # a smaller pool is indexed in a moment
ACROSS, TILE = 6, 160  # of the picture: tiles in a row, and pixels of a tile
DIGITS = {
    "similarity": "{:.4f}",
    "unusual": "{:.2f}",
    "probability": "{:.3f}",
    "ra": "{:.5f}",
    "dec": "{:+.5f}",
    "z_spec": "{:.4f}",
    "z_phot_mean": "{:.3f}",
    "mag_r": "{:.2f}",
    "half_light_radius": "{:.2f}",
}
ROW = re.compile(r"(?:(.+):)?(\d+)")


class SearchError(GalaxyLoopError):
    """A search that is not understood."""

    code = "bad_search"


class Query(NamedTuple):
    """What is searched for: a row of the pool, an image, what the simulator draws of a concept, or what is unusual."""

    name: str
    row: int = -1
    image: "QueryImage | None" = None
    concept: str = ""
    unusual: bool = False


def search(
    like: Annotated[
        str | None, typer.Option(help="A row (NAME:ROW in several shards), an image, or RA,DEC in either form.")
    ] = None,
    like_simulated: Annotated[
        str | None, typer.Option(help="What the simulator draws, such as ring; a wrong one lists all.")
    ] = None,
    unusual: Annotated[
        bool, typer.Option("--unusual", help="What is most unlike all others; with --stamps only what shows a galaxy.")
    ] = False,
    features: Annotated[
        Path | None,
        typer.Argument(help="A feature shard (.npy), or a folder of them; default: what `galaxyloop embed` kept."),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many stamps.", min=1)] = 20,
    encoder: AnyEncoder = str(RELEASED_LVM),
    stamps: Annotated[list[Path] | None, typer.Option(help="The stamp set of a shard; may be repeated.")] = None,
    index: Annotated[
        Path | None, typer.Option(help="Folder that keeps the index; beside FEATURES for pools over 200,000 rows.")
    ] = None,
    where: Where = None,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Leave out what people labelled, in any campaign or search.")
    ] = False,
    pixel_scale: Annotated[float | None, typer.Option(help="arcsec, for an image that does not say.")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG of the query and the results; needs --stamps.")] = None,
    as_json: Json = False,
) -> None:
    """Find the stamps that look most like a stamp, an image, a position or the simulated, or like no other."""
    from backend_ml.settings import Settings
    from lvm_training.files import refuse_others
    from lvm_training.index.queries import matching_encoder
    from lvm_training.pool.shards import Shards
    from lvm_training.stamps.stampset import StampSet

    with reported(), ExitStack() as opened:
        if picture is not None:
            refuse_others(picture, b"Matplotlib")
        features = features or Settings().features_folder
        # searches by row need no encoder, and outside the repository ours is not there
        folder = Path(encoder) if encoder == str(RELEASED_LVM) else chosen(encoder, Settings())
        given = [opened.enter_context(StampSet(path)) for path in stamps or []]
        shards = Shards(_shards(features, folder, {one.digest for one in given}))
        sets = _stamp_sets(given, shards)
        query = _query(like, like_simulated, unusual, shards, sets, pixel_scale)
        allowed = _allowed(where or [], unlabelled, shards, sets)
        only_rows = query.image is None and not query.concept and picture is None
        model = None if only_rows else matching_encoder(folder, shards.encoder)
        about: dict[str, Any] = {} if allowed is None else {"searched": int(allowed.sum())}
        rows, values, how = _ranked(query, k, allowed, shards, sets, model, partial(_index, shards, features, index))
        about |= how
        if query.concept:
            about["measured"] = measured_of(folder, query.concept)
        tell(_remarks(rows, shards))
        measure = "probability" if query.concept else "unusual" if query.unusual else "similarity"
        found = _results(rows.tolist(), values.tolist(), shards, sets, measure)
        if picture is not None and model is not None:
            _draw(picture, query, rows.tolist(), values.tolist(), shards, sets, model.rendering)
    if as_json:
        drawn = {} if picture is None else {"picture": str(picture)}
        print_json({"like": query.name, "encoder": shards.encoder, **about, "stamps": found, **drawn})
    else:
        _show(query, about, found)


def _show(query: Query, about: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> None:
    """What was found, as a table below how sure the search is."""
    if query.concept:
        errors().print(f"{query.name}: {about['measured']}", highlight=False, markup=False)
    show_rows([_written(one) for one in found], _columns(found), as_json=False)


def _shards(path: Path, encoder: Path, stamps: Set[str]) -> "list[Features]":
    """The shards meant; in a folder with those of several encoders, the ones that `encoder` made, of these stamps."""
    from lvm_training.index.queries import digests_of
    from lvm_training.pool.features import Features, FeaturesError

    if path.suffix == ".npy":
        return [Features.open(path)]
    shards, files = [], sorted(path.glob("*.npy"))
    for file in files:
        try:
            shards.append(Features.open(file))
        except FeaturesError as error:
            if len(files) == 1:
                raise
            tell([f"{error.message} It was left out."])
    if not shards:
        raise SearchError(f"There are no features in {path}.", "Make some with `galaxyloop embed`.")
    makers = sorted({shard.encoder for shard in shards})
    if len(makers) == 1:
        return shards
    made = digests_of(encoder) if (encoder / CARD).is_file() else []
    there = [digest for digest in made if digest in makers]
    # a checkpoint with one view is another encoder than with eight: a large pool is the former, a small set the latter
    embedded = {digest: {shard.stamps for shard in shards if shard.encoder == digest} for digest in there}
    wanted = next((digest for digest in there if stamps <= embedded[digest]), next(iter(there), None))
    if wanted is None:
        raise SearchError(
            f"{path} has features of the encoders {', '.join(makers)}; that of {encoder} is none of them.",
            "Name the folder of one of them with --encoder, or one shard.",
        )
    return [shard for shard in shards if shard.encoder == wanted]


def _stamp_sets(given: "Sequence[StampSet]", shards: "Shards") -> "Sets":
    known = {shard.stamps: shard.name for shard in shards.features}
    sets = {}
    for stamps in given:
        if stamps.digest not in known:
            wanted = ", ".join(f"{name} ({digest})" for digest, name in known.items())
            raise SearchError(
                f"{stamps.path.name} is stamp set {stamps.digest}; the features are of {wanted}.",
                "Give the set that was embedded, or embed this one.",
            )
        sets[stamps.digest] = stamps
    return sets


def _query(
    like: str | None,
    like_simulated: str | None,
    unusual: bool,
    shards: "Shards",
    sets: "Sets",
    pixel_scale: float | None,
) -> Query:
    from lvm_training.images.pictures import PICTURES
    from lvm_training.importing.folder import FITS
    from lvm_training.index.queries import read_image, stamp_at
    from lvm_training.scenes.simulated_classes import find_concept
    from lvm_training.tables.positions import read_position

    if (like is not None) + (like_simulated is not None) + unusual != 1:
        raise SearchError("A search is for one thing.", "Give one of --like, --like-simulated and --unusual.")
    if unusual:
        return Query("unusual", unusual=True)
    if like_simulated is not None:
        find_concept(like_simulated)
        return Query(f"simulated {like_simulated}", concept=like_simulated)
    assert like is not None  # noqa: S101 - for mypy
    if like.lower().endswith((*FITS, *PICTURES)):
        delivered = [one.pixel_scale for one in sets.values() if one.rendering == "as-delivered"]
        if pixel_scale is None and like.lower().endswith(PICTURES):
            # a picture does not say its scale; those it is compared with were shown with theirs
            pixel_scale = next((scale for scale in delivered if scale == scale), None)
        whites = {one.about("import").get("white") for one in sets.values()} - {None}
        query = read_image(Path(like), pixel_scale, whites.pop() if len(whites) == 1 else None)
        tell([f"{Path(like).name}: {note}" for note in query.image.notes])
        return Query(Path(like).name, image=query)
    if position := read_position(like):
        if not sets:
            raise SearchError("A position needs the catalogue of a stamp set.", "Give the set with --stamps.")
        if position.reading:
            tell([f"{like} is read as {position.reading}: {position.ra:.5f}, {position.dec:+.5f} degrees."])
        row = stamp_at(position.ra, position.dec, shards, sets)
        shard, place = shards.locate(row)
        return Query(f"{shard.name}:{place}", row)
    if named := ROW.fullmatch(like.strip()):
        return _named_row(named[1], int(named[2]), shards)
    raise SearchError(
        f"{like!r} is no row, image or position.",
        "Give 17, NAME:17, a .fits, .jpg or .png file, 150.1,-1.5 or 10:00:24,-01:30:00.",
    )


def _named_row(name: str | None, row: int, shards: "Shards") -> Query:
    names = [shard.name for shard in shards.features]
    if name is None and len(names) > 1:
        raise SearchError(f"Row {row} of which shard: {', '.join(names)}?", f"Name it, as in {names[0]}:{row}.")
    if name is not None and names.count(name) != 1:
        many = "none" if name not in names else "more than one"
        raise SearchError(f"Of the shards {', '.join(names)} {many} is called {name}.", "Give one shard as FEATURES.")
    place = 0 if name is None else names.index(name)
    shards.features[place].rows([row])  # its error names the rows there are
    return Query(f"{names[place]}:{row}", int(shards.starts[place]) + row)


def _allowed(where: Sequence[str], unlabelled: bool, shards: "Shards", sets: "Sets") -> "NDArray[np.bool_] | None":
    """Which rows of the pool are searched, shape (N,); None for all."""
    import numpy as np

    from lvm_training.stamps.conditions import fitting

    if not where and not unlabelled:
        return None
    labelled = _labelled() if unlabelled else {}
    allowed = np.ones(len(shards), dtype=bool)
    for shard, start in zip(shards.features, shards.starts.tolist(), strict=False):
        mine = allowed[start : start + len(shard.matrix)]
        if where and shard.stamps not in sets:
            raise SearchError(f"A condition needs the catalogue of {shard.name}.", "Give its stamp set with --stamps.")
        if where:
            mine &= fitting(sets[shard.stamps], where)
        mine[[row for row in labelled.get(shard.name, ()) if row < len(mine)]] = False
    if not allowed.any():
        raise SearchError(
            f"No stamp of the pool fits {' and '.join([*map(repr, where), *['--unlabelled'] * unlabelled])}.",
            "Ask for less.",
        )
    return allowed


def _labelled() -> Mapping[str, list[int]]:
    """The stamps that people labelled, by the name of their set."""
    from backend_ml.local import data_folder
    from backend_ml.settings import Settings
    from backend_ml.store.database import Database

    found: dict[str, list[int]] = {}
    with Database(data_folder.database_url(Settings())) as database:
        for row in database.rows("labelled_stamps"):
            found.setdefault(row["stamp_set"], []).append(row["stamp_id"])
    return found


def _ranked(
    query: Query,
    k: int,
    allowed: "NDArray[np.bool_] | None",
    shards: "Shards",
    sets: "Sets",
    model: "Encoder | None",
    index: "Callable[[], PoolIndex]",
) -> "tuple[NDArray[np.int64], NDArray[np.float32], dict[str, Any]]":
    """The `k` stamps that fit a query best, their scores, and what is told of how they were found."""
    if query.concept and model is not None:
        likely = most_like_simulated(query.concept, shards, model, k, allowed)
        return likely.rows, likely.scores, {}
    if query.unusual:
        unusual = most_unusual(shards, sets, k, allowed)
        if unusual.set_apart:
            tell([f"{unusual.set_apart} show no galaxy, or were hardly observed: left out."])
        return unusual.rows, unusual.scores, {"set_apart": unusual.set_apart}
    if allowed is not None:
        return *_most_similar(query, shards, model, k, allowed), {}
    pool = index()
    if query.image is not None and model is not None:
        rows, values = (part[0] for part in pool.search(query.image.features(model)[None], k))
    else:
        rows, values = pool.nearest_to(query.row, k)
    return rows, values, {"index": pool.plan.kind}


def _most_similar(
    query: Query, shards: "Shards", model: "Encoder | None", k: int, allowed: "NDArray[np.bool_]"
) -> "tuple[NDArray[np.int64], NDArray[np.float32]]":
    """The `k` allowed stamps that are most similar, of all that are allowed: an index would lose some."""
    from lvm_training.index.scan import best, cosine

    if query.image is not None and model is not None:
        wanted = query.image.features(model)
    else:
        shard, place = shards.locate(query.row)
        wanted = shard.rows([place])[0]
        allowed = allowed.copy()
        allowed[query.row] = False
    with progress_bar(f"Ranking {int(allowed.sum()):,} stamps") as progress:
        found = best(shards, cosine(wanted), k, allowed=allowed, progress=progress)
    return found.rows, found.scores


def _remarks(rows: "NDArray[np.int64]", shards: "Shards") -> list[str]:
    """What a reader should know of the pool, and of what was found in it."""
    remarks = [f"{said} They were left out." for shard in shards.features if (said := shard.not_finite())]
    names: dict[bytes, list[str]] = {}
    for row in rows.tolist():
        shard, place = shards.locate(row)
        names.setdefault(shard.matrix[place].tobytes(), []).append(f"{shard.name}:{place}")
    twins = [" and ".join(same) for same in names.values() if len(same) > 1]
    return remarks + [f"{same} have the same features: the same picture twice." for same in twins]


def _index(shards: "Shards", features: Path, folder: Path | None) -> "PoolIndex":
    from lvm_training.index.files import index_pool
    from lvm_training.index.pool_index import build_index

    with progress_bar(f"Indexing {len(shards):,} stamps") as progress:
        if folder is None and len(shards) <= KEPT_ROWS:
            return build_index(shards.features, progress=progress)
        home = folder or (features / "index" if features.is_dir() else features.with_suffix(".index"))
        return index_pool(shards.features, home, progress=progress)


def _results(
    rows: list[int], values: list[float], shards: "Shards", sets: "Sets", measure: str
) -> list[dict[str, Any]]:
    """Each stamp found, and what its set's catalogue says of it."""
    from backend_ml.label_studio.labelling import catalogue_columns

    catalogues = {digest: catalogue_columns(stamps) for digest, stamps in sets.items()}
    found = []
    for rank, (row, measured) in enumerate(zip(rows, values, strict=True), start=1):
        shard, place = shards.locate(row)
        columns = {name: float(column[place]) for name, column in catalogues.get(shard.stamps, {}).items()}
        # surveys write -99 where a value is missing; JSON has no NaN
        known = {name: value if -90 <= value < float("inf") else None for name, value in columns.items()}
        found.append({"rank": rank, "set": shard.name, "row": place, measure: measured, **known})
    return found


def _columns(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the table shows; JSON has the other columns as well."""
    several = len({one["set"] for one in found}) > 1
    names = dict.fromkeys(name for one in found for name in one if name in DIGITS)
    return ["rank", *(["set"] if several else []), "row", *names]


def _written(found: Mapping[str, Any]) -> dict[str, Any]:
    """A result with each value in the digits it is measured to."""
    return {
        name: DIGITS[name].format(value) if name in DIGITS and value is not None else value
        for name, value in found.items()
    }


def _draw(
    path: Path,
    query: Query,
    rows: list[int],
    similarities: list[float],
    shards: "Shards",
    sets: "Sets",
    rendering: "Rendering",
) -> None:
    """Write the query and the stamps found as a grid of pictures."""
    import numpy as np
    import torch

    from lvm_training.evaluation.plots import picture_grid
    from lvm_training.simulated.portraits import portrait
    from lvm_training.stamps.render import render_set

    large = rendering.sized(TILE)

    def stamp(row: int) -> torch.Tensor:
        shard, place = shards.locate(row)
        if shard.stamps not in sets:
            raise SearchError(f"The picture needs the stamp set of {shard.name}.", "Give it with --stamps.")
        if np.isnan(sets[shard.stamps].pixel_scale):
            raise SearchError(f"The pixel scale of {shard.name} is unknown.", "Import it with --pixel-scale.")
        return render_set(sets[shard.stamps], np.array([place]), large)[0]

    words = [f"{rank} · {one:.3f}" for rank, one in enumerate(similarities, start=1)]
    tiles = [stamp(row) for row in rows]
    if query.concept:
        words, tiles = [query.name, *words], [portrait(query.concept, TILE), *tiles]
    elif not query.unusual:
        first = stamp(query.row) if query.image is None else query.image.render(large)
        words, tiles = [query.name, *words], [first, *tiles]
    pictures = _lines(tiles, torch.zeros(3, TILE, TILE))
    picture_grid(
        pictures,
        [""] * len(pictures[0]),
        path,
        title="Most unusual" if query.unusual else f"Most similar to {query.name}",
        field=rendering.field,
        captions=_lines(words, ""),
    )


def _lines(tiles: list[Tile], empty: Tile) -> list[list[Tile]]:
    """Lines of at most `ACROSS` tiles, the last one filled up."""
    across = min(ACROSS, len(tiles))
    filled = [*tiles, *[empty] * (-len(tiles) % across)]
    return [filled[start : start + across] for start in range(0, len(filled), across)]
