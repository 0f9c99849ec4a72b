"""Checkpoints of encoders in the store: whole, found by digest, never another in its place."""

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import torch

from backend_ml.store.encoders import encoder_folder, keep_checkpoint, stored_card, stored_encoder, working_encoder
from lvm_training.errors import CheckpointError
from lvm_training.index.queries import QueryError
from lvm_training.model.encoder import save_checkpoint
from lvm_training.model.lvm import LVM, Preset
from lvm_training.stamps.rendering import Rendering
from tests.conftest import REPOSITORY
from tests.small_disk import on_small_disk

SMALL = Preset(
    name="small-test",
    size=32,
    patch=4,
    embed=8,
    depths=(1, 1),
    heads=(1, 2),
    decoder_depths=(1,),
    window=4,
    drop_path=0.0,
)


def write(folder: Path, seed: int) -> str:
    """A checkpoint; the digest of its encoder."""
    torch.manual_seed(seed)
    return save_checkpoint(folder, LVM(SMALL), Rendering(size=32), data="", code="", params={}, metrics={}).encoder


def test_what_is_kept_is_found_by_its_digest_and_stays(tmp_path: Path) -> None:
    store, made = tmp_path / "store", tmp_path / "made"
    digest = write(made, 1)
    keep_checkpoint(made, encoder_folder(store, digest))
    shutil.rmtree(made)
    card = stored_card(store, digest)
    assert card is not None and card.encoder == digest
    assert stored_encoder(store, digest) is stored_encoder(store, digest)
    alone = working_encoder(store, digest)
    assert alone is not stored_encoder(store, digest) and alone.digest == digest
    write(made, 2)
    keep_checkpoint(made, encoder_folder(store, digest))
    assert stored_card(store, digest) == card, "one that is there is not replaced"


def test_half_a_copy_is_no_checkpoint(tmp_path: Path) -> None:
    store, made = tmp_path / "store", tmp_path / "made"
    digest = write(made, 1)
    kept = encoder_folder(store, digest)
    torn = kept.with_name(f"{digest}.part")
    torn.mkdir(parents=True)
    (torn / "card.json").write_text("{")
    assert stored_card(store, digest) is None
    keep_checkpoint(made, kept)
    assert stored_encoder(store, digest).digest == digest
    assert [path.name for path in kept.parent.iterdir()] == [digest]


def test_a_full_disk_is_told_and_keeps_no_half_copy(tmp_path: Path) -> None:
    disk, made = tmp_path / "disk", tmp_path / "made"
    disk.mkdir()
    digest = write(made, 1)
    assert sum(path.stat().st_size for path in made.iterdir()) > 20_000
    code = "import sys; from pathlib import Path; from backend_ml.store.encoders import keep_checkpoint as keep\n"
    code += "try: keep(Path(sys.argv[1]), Path(sys.argv[2]))\nfinally: print(*Path(sys.argv[2]).parent.iterdir())"
    command = [sys.executable, "-c", code, made, disk / digest]
    done = on_small_disk(disk, "16k", command, {**os.environ, "PYTHONPATH": str(REPOSITORY)})
    assert done.returncode == 1 and done.stdout.strip() == ""
    said = done.stderr.splitlines()[-1]
    assert f"CheckpointError: {made} could not be copied to {disk / digest}: [Errno 28]" in said and "space" in said


def test_who_keeps_the_same_at_once_keeps_it_once(tmp_path: Path) -> None:
    store, made, many = tmp_path / "store", tmp_path / "made", Barrier(8)
    digest = write(made, 1)

    def keep(_: int) -> bool:
        many.wait()
        keep_checkpoint(made, encoder_folder(store, digest))
        return sorted(path.name for path in encoder_folder(store, digest).iterdir()) == sorted(
            path.name for path in made.iterdir()
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(keep, range(8))), "whole for whoever kept it"
    assert [path.name for path in (store / "encoders").iterdir()] == [digest]


@pytest.mark.parametrize("read", [stored_encoder, working_encoder])
def test_an_encoder_that_is_not_there_says_where_to_put_it(tmp_path: Path, read: object) -> None:
    assert stored_card(tmp_path, "0" * 12) is None and callable(read)
    with pytest.raises(CheckpointError, match="no encoder 000000000000") as found:
        read(tmp_path, "0" * 12)
    assert str(encoder_folder(tmp_path, "0" * 12)) in found.value.hint


def test_another_encoder_in_its_folder_is_refused(tmp_path: Path) -> None:
    digest = write(tmp_path / "made", 1)
    kept = encoder_folder(tmp_path / "store", "f" * 12)
    keep_checkpoint(tmp_path / "made", kept)
    with pytest.raises(QueryError, match=digest):
        working_encoder(tmp_path / "store", "f" * 12)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    digest = write(tmp_path / "made", 1)
    kept = encoder_folder(tmp_path / "store", digest)
    keep_checkpoint(tmp_path / "made", kept)
    weights = kept / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError):
        working_encoder(tmp_path / "store", digest)
