"""`galaxyloop embed`: the features of stamp sets, by this process, by several, or by workers on several hosts."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend_ml.cli.encoder import AnyEncoder, chosen
from backend_ml.cli.options import Json, Views
from backend_ml.console import print_json, reported, show, show_rows
from lvm_training.paths import RELEASED_LVM
from lvm_training.progress import progress_bar

if TYPE_CHECKING:
    from lvm_training.model.encoder import Encoder
    from lvm_training.stamps.stampset import StampSet

COLUMNS = ["features", "stamps", "unobserved", "damaged"]


def embed(
    stamps: Annotated[list[Path], typer.Argument(help="Stamp sets (HDF5), or their addresses in a bucket, s3://...")],
    encoder: AnyEncoder = str(RELEASED_LVM),
    out: Annotated[
        Path | None, typer.Option(help="Folder of the feature shards; default: where campaigns and searches read them.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Stamps a forward pass.", min=1)] = 128,
    views: Views = 8,
    processes: Annotated[
        int | None, typer.Option(help="Processes on this host; default: one for each graphics card, or one.", min=1)
    ] = None,
    jobs: Annotated[
        bool, typer.Option("--jobs", help="Leave it to workers of any host that shares GALAXYLOOP_STORE and the sets.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it will take, from some hundred stamps, and stop.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compute the features of every stamp of some sets; goes on where an interrupted run stopped.

    `unobserved` counts stamps without a finite pixel: their features are those of empty sky. `damaged` are rows whose
    part of the file cannot be read. The same command, started again or on another host that shares the folder, takes a
    part of what is left.
    """
    from backend_ml.buckets import BucketError, fetched, in_bucket
    from backend_ml.settings import Settings
    from lvm_training.model.encoder import Encoder
    from lvm_training.stamps.stampset import StampSet

    with reported(), ExitStack() as held:
        stamps = [fetched(path) for path in stamps]
        sets = [held.enter_context(StampSet(path)) for path in stamps]
        settings = Settings()
        if jobs and settings.store is not None and in_bucket(settings.store):
            raise BucketError(
                "Workers of several hosts fill one file of features, which they cannot in a bucket.",
                "Leave out --jobs; or let GALAXYLOOP_STORE be a folder that all of them mount.",
            )
        checkpoint = chosen(encoder, settings)
        model = Encoder.load(checkpoint, views)
        folder = (out or settings.features_folder).absolute()
        if dry_run:
            show(_estimate(sets, model, folder, batch), as_json=as_json)
            return
        if jobs:
            show(_defer(sets, model, checkpoint, folder, batch), as_json=as_json)
            return
        with _Helpers(stamps, checkpoint, views, folder, batch, processes):
            made = [_embedded(one, model, folder, batch) for one in sets]
    if len(made) == 1:
        show(made[0], as_json=as_json)
    elif as_json:
        print_json({"sets": made})
    else:
        show_rows(made, COLUMNS, as_json=False)


def _embedded(stamps: "StampSet", encoder: "Encoder", folder: Path, batch: int) -> dict[str, Any]:
    from backend_ml.store.features import share_features
    from lvm_training.pool.embedding import embed_set, features_path
    from lvm_training.stamps.damaged import spans

    with progress_bar(f"Embedding {stamps.name}") as progress:
        made = embed_set(stamps, encoder, folder, batch=batch, progress=progress)
    share_features(made.path)
    origin = made.origin
    told = {"features": str(features_path(stamps, encoder, folder)), "stamps": origin.rows, "width": origin.width}
    told |= {"encoder": origin.encoder, "unobserved": origin.unobserved}
    told |= {"damaged": spans(origin.damaged)} if origin.damaged else {}
    return told | ({"warning": origin.warning} if origin.warning else {})


def _estimate(sets: "Sequence[StampSet]", encoder: "Encoder", folder: Path, batch: int) -> dict[str, Any]:
    from lvm_training.pool.embedding import features_path, ranges_left
    from lvm_training.pool.estimate import estimate

    left = sum(sum(ranges_left(features_path(one, encoder, folder), one, encoder).values()) for one in sets)
    found = estimate(sets, left, encoder, batch=batch)._asdict()
    numbers = {name: value if isinstance(value, int) else round(value, 1) for name, value in found.items()}
    return {"encoder": encoder.digest, "precision": encoder.precision, **numbers}


def _defer(
    sets: "Sequence[StampSet]", encoder: "Encoder", checkpoint: Path, folder: Path, batch: int
) -> dict[str, Any]:
    from backend_ml.campaign.defer import defer_embedding
    from backend_ml.local import data_folder
    from backend_ml.settings import Settings
    from backend_ml.store.database import Database
    from backend_ml.store.encoders import encoder_folder, keep_checkpoint
    from backend_ml.store.registration import embedding
    from lvm_training.pool.embedding import features_path, ranges_left

    settings, left = Settings(), 0
    keep_checkpoint(checkpoint, encoder_folder(settings.store_folder, encoder.digest))
    ranges = 0
    with (
        Database(data_folder.database_url(settings)) as database,
        # ranges that are there already must be there when the job of the others has ended
        embedding(database, encoder.digest),
        database.transaction() as connection,
    ):
        for one in sets:
            path = features_path(one, encoder, folder)
            for start, rows in ranges_left(path, one, encoder).items():
                defer_embedding(connection, one.path.absolute(), path, encoder.digest, start, batch)
                left, ranges = left + rows, ranges + 1
    return {"encoder": encoder.digest, "stamps_left": left, "ranges_left": ranges, "queue": "embed"}


class _Helpers:
    """Further processes that do a part of the same; they end by themselves when nothing is left."""

    def __init__(
        self, stamps: Sequence[Path], encoder: Path, views: int, folder: Path, batch: int, processes: int | None
    ) -> None:
        import multiprocessing

        import torch

        cards = torch.cuda.device_count()
        count = processes or max(cards, 1)
        threads = max((os.cpu_count() or 1) // count, 1)
        if count > 1:
            torch.set_num_threads(threads)
        # a forked process could not use the graphics card of its parent
        start = multiprocessing.get_context("spawn").Process
        work = (list(stamps), encoder, views, folder, batch, threads)
        self._started = [
            start(target=_help, args=(number % cards if cards else None, *work), daemon=True)
            for number in range(1, count)
        ]

    def __enter__(self) -> None:
        for process in self._started:
            process.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for process in self._started:
            if kind is not None:
                process.terminate()
            process.join()


def _help(
    card: int | None, stamps: Sequence[Path], encoder: Path, views: int, folder: Path, batch: int, threads: int
) -> None:
    if card is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(card)
    import torch

    from lvm_training.model.encoder import Encoder
    from lvm_training.pool.embedding import embed_set
    from lvm_training.stamps.stampset import StampSet

    torch.set_num_threads(threads)
    model = Encoder.load(encoder, views)
    for path in stamps:
        with StampSet(path) as opened:
            embed_set(opened, model, folder, batch=batch)
