"""Feature files: the encoder's own numbers, made once, gone on with after a kill."""

import json
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from lvm_training.errors import StampError
from lvm_training.model.encoder import Encoder, save_checkpoint
from lvm_training.model.lvm import LVM, Preset
from lvm_training.pool.embedding import embed_set, embed_to, features_path
from lvm_training.pool.features import Features, FeaturesError
from lvm_training.stamps.render import render_set
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet
from tests import forked

MakeStamps = Callable[..., Path]


def embed_slowly(stamps: Path, checkpoint: Path, folder: Path, told: Connection) -> None:
    """Embed in batches of four; say after each how many rows are done."""
    torch.set_num_threads(1)

    def report(done: int, total: int) -> None:
        told.send(done)
        time.sleep(0.2)

    embed_set(StampSet(stamps), Encoder.load(checkpoint), folder, batch=4, progress=report)


def test_rows_are_the_encoders_features(tmp_path: Path, make_stamps: MakeStamps, encoder: Encoder) -> None:
    with StampSet(make_stamps(23)) as stamps:
        seen: list[tuple[int, int]] = []
        features = embed_set(stamps, encoder, tmp_path, batch=5, progress=lambda *done: seen.append(done))
        expected = encoder.features(render_set(stamps, slice(None), encoder.rendering)).numpy()
        assert features.path == tmp_path / f"blobs-{stamps.digest}-{encoder.digest}.npy"
        assert (features.name, features.stamps, features.encoder) == ("blobs", stamps.digest, encoder.digest)
    assert features.matrix.shape == (23, 32) and features.matrix.dtype == np.float16
    assert isinstance(features.matrix, np.memmap)
    assert features.origin.unobserved == 0
    assert "unobserved" not in json.loads(features.path.with_suffix(".json").read_text())
    np.testing.assert_allclose(features.matrix, expected, atol=2e-3)
    assert seen == [(5, 23), (10, 23), (15, 23), (20, 23), (23, 23)]
    chosen = features.rows([7, 0, 7])
    assert chosen.dtype == np.float32
    np.testing.assert_array_equal(chosen, features.matrix[[7, 0, 7]].astype(np.float32))


def test_features_that_are_there_are_not_made_again(
    tmp_path: Path, make_stamps: MakeStamps, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StampSet(make_stamps(9)) as stamps:
        first = embed_set(stamps, encoder, tmp_path)

        def never(images: torch.Tensor) -> torch.Tensor:
            raise AssertionError("embedded again")

        monkeypatch.setattr(encoder, "features", never)
        again = embed_set(stamps, encoder, tmp_path)
    np.testing.assert_array_equal(first.matrix, again.matrix)


def test_each_encoder_and_set_has_its_own_file(
    tmp_path: Path, make_stamps: MakeStamps, encoder: Encoder, tiny: Preset, rendering: Rendering
) -> None:
    torch.manual_seed(9)
    other = Encoder(LVM(tiny), rendering)
    with StampSet(make_stamps(9)) as stamps, StampSet(make_stamps(9, name="more", seed=1)) as more:
        paths = {features_path(s, e, tmp_path) for s in (stamps, more) for e in (encoder, other)}
    assert len(paths) == 4


def test_a_file_of_another_encoder_is_replaced(
    tmp_path: Path, make_stamps: MakeStamps, encoder: Encoder, tiny: Preset, rendering: Rendering
) -> None:
    path = tmp_path / "morphology.npy"
    torch.manual_seed(9)
    other = Encoder(LVM(tiny), rendering)
    with StampSet(make_stamps(9)) as stamps:
        old = np.array(embed_to(path, stamps, other).matrix)
        new = embed_to(path, stamps, encoder)
    assert new.encoder == encoder.digest
    assert not np.array_equal(old, new.matrix)
    assert sorted(item.name for item in tmp_path.glob("morphology*")) == ["morphology.json", "morphology.npy"]


def test_a_killed_run_goes_on(tmp_path: Path, make_stamps: MakeStamps, lvm: LVM, rendering: Rendering) -> None:
    path, checkpoint, folder = make_stamps(40), tmp_path / "lvm", tmp_path / "features"
    save_checkpoint(checkpoint, lvm, rendering, data="", code="", params={}, metrics={})
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = forked.start(embed_slowly, path, checkpoint, folder, theirs)
    while ours.recv() < 12:
        pass
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not list(folder.glob("*.npy"))
    encoder = Encoder.load(checkpoint)
    with StampSet(path) as stamps:
        done: list[int] = []
        resumed = embed_set(stamps, encoder, folder, batch=4, progress=lambda rows, _: done.append(rows))
        whole = embed_set(stamps, encoder, tmp_path / "whole", batch=4)
    assert 16 <= done[0] <= 24 and done[-1] == 40, "what was on disk before the kill is kept"
    np.testing.assert_array_equal(resumed.matrix, whole.matrix)
    assert sorted(item.suffix for item in folder.iterdir()) == [".json", ".npy"]


def test_two_who_ask_for_the_same_features_embed_them_once(
    tmp_path: Path, make_stamps: MakeStamps, encoder: Encoder
) -> None:
    """Two campaigns of one stamp set change to one encoder at the same time."""
    found: list[Features] = []
    embedded: list[int] = []
    with StampSet(make_stamps(12)) as stamps:

        def ask() -> None:
            found.append(embed_set(stamps, encoder, tmp_path, batch=4, progress=lambda done, _: embedded.append(done)))

        other = threading.Thread(target=ask)

        def meanwhile(done: int, total: int) -> None:
            if done == 4:
                other.start()
                other.join(0.5)  # without a lock it is done before this one goes on

        found.append(embed_set(stamps, encoder, tmp_path, batch=4, progress=meanwhile))
        other.join()
        expected = encoder.features(render_set(stamps, slice(None), encoder.rendering)).numpy()
        path = features_path(stamps, encoder, tmp_path)
    assert embedded == [] and len(found) == 2
    for features in found:
        np.testing.assert_allclose(features.matrix, expected, atol=1e-2)
    assert sorted(tmp_path.glob(f"{path.stem}*")) == [path.with_suffix(".json"), path]


@pytest.mark.parametrize("state", ["{", '{"done": 8, "origin": {}}', ""])
def test_an_unusable_unfinished_file_is_started_again(
    tmp_path: Path, make_stamps: MakeStamps, encoder: Encoder, state: str
) -> None:
    path = tmp_path / "m.npy"
    (tmp_path / "m.npy.partial").write_bytes(b"\x93NUMPY torn")
    (tmp_path / "m.npy.partial.json").write_text(state)
    with StampSet(make_stamps(9)) as stamps:
        done: list[int] = []
        embed_to(path, stamps, encoder, batch=9, progress=lambda rows, _: done.append(rows))
    assert done == [9]
    assert len(Features.open(path).matrix) == 9


def test_pictures_as_delivered_are_embedded_with_a_warning(
    tmp_path: Path, make_stamps: MakeStamps, encoder: Encoder
) -> None:
    with StampSet(make_stamps(6, delivered=True)) as stamps:
        features = embed_set(stamps, encoder, tmp_path)
    assert "as delivered" in json.loads(features.path.with_suffix(".json").read_text())["warning"]
    assert np.isfinite(features.matrix).all()


def blanked(path: Path, rows: list[int]) -> Path:
    """The set with stamps that nothing was observed of."""
    with h5py.File(path, "r+") as file:
        images = file["images"][:]
        images[rows] = np.nan
        images[rows[-1], 0] = np.inf
        images[-1, :, ::2] = np.nan
        file["images"][:] = images
        del file.attrs["sha256"]
    return path


@pytest.mark.parametrize("rows", [[1, 2, 7], list(range(9))])
def test_stamps_that_show_nothing_are_counted(
    tmp_path: Path, make_stamps: MakeStamps, encoder: Encoder, rows: list[int]
) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with StampSet(blanked(make_stamps(10), rows)) as stamps:
        assert embed_set(stamps, encoder, tmp_path / "whole", batch=4).origin.unobserved == len(rows)
        with pytest.raises(KeyboardInterrupt):
            embed_set(stamps, encoder, tmp_path, batch=4, progress=stop)
        features = embed_set(stamps, encoder, tmp_path, batch=4)
        assert features.origin.unobserved == len(rows), "a run that goes on counts those before it"
        again = embed_set(stamps, encoder, tmp_path, batch=4)
    assert again.origin == features.origin
    assert json.loads(features.path.with_suffix(".json").read_text())["unobserved"] == len(rows)


def test_a_set_without_stamps(tmp_path: Path, make_stamps: MakeStamps, encoder: Encoder) -> None:
    with StampSet(make_stamps(0)) as stamps, pytest.raises(StampError, match=r"blobs\.h5 holds no stamps"):
        embed_set(stamps, encoder, tmp_path)
    assert not list(tmp_path.glob("*.npy*"))


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_made(tmp_path: Path, make_stamps: MakeStamps, encoder: Encoder, place: str) -> None:
    (tmp_path / "file").write_text("")
    with StampSet(make_stamps(9)) as stamps, pytest.raises(FeaturesError, match="could not be written") as raised:
        embed_set(stamps, encoder, tmp_path / place)
    assert "the right to write there" in raised.value.hint


def test_a_full_disk_leaves_the_earlier_features(small_disk: Path, make_stamps: MakeStamps, encoder: Encoder) -> None:
    path = small_disk / "m.npy"
    with StampSet(make_stamps(9)) as stamps:
        old = np.array(embed_to(path, stamps, encoder).matrix)
    card = path.with_suffix(".json").read_bytes()
    pages = os.statvfs(small_disk)
    # the new ones take four pages; a sparse file would be made, and its third page end the process
    (small_disk / "other").write_bytes(b"x" * (pages.f_bavail - 2) * pages.f_bsize)
    with StampSet(make_stamps(200, name="more")) as stamps:
        with pytest.raises(FeaturesError, match="No space left on device") as raised:
            embed_to(path, stamps, encoder)
        assert "0.0 MB of free space" in raised.value.hint
        np.testing.assert_array_equal(Features.open(path).matrix, old)
        assert path.with_suffix(".json").read_bytes() == card
        assert sorted(file.name for file in small_disk.iterdir()) == ["m.json", "m.npy", "other"]
        (small_disk / "other").unlink()
        assert len(embed_to(path, stamps, encoder).matrix) == 200


def test_a_file_that_may_not_grow_leaves_the_earlier_features(
    tmp_path: Path, make_stamps: MakeStamps, encoder: Encoder
) -> None:
    path = tmp_path / "m.npy"
    with StampSet(make_stamps(9)) as stamps:
        embed_to(path, stamps, encoder)
    before, (soft, hard) = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    with StampSet(make_stamps(200, name="more")) as stamps:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
        try:
            with pytest.raises(FeaturesError, match="could not be written"):
                embed_to(path, stamps, encoder)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.glob("m.*")) == ["m.json", "m.npy"]


def test_broken_feature_files_say_so(tmp_path: Path, make_stamps: MakeStamps, encoder: Encoder) -> None:
    with StampSet(make_stamps(9)) as stamps:
        path = embed_set(stamps, encoder, tmp_path).path
    whole, card = path.read_bytes(), path.with_suffix(".json")
    for size in (0, 20, len(whole) - 64):
        path.write_bytes(whole[:size])
        with pytest.raises(FeaturesError, match="truncated or no feature file") as raised:
            Features.open(path)
        assert "dvc repro embed" in raised.value.hint
    np.save(path, np.zeros((9, 32)))
    with pytest.raises(FeaturesError, match="not what its JSON says"):
        Features.open(path)
    path.write_bytes(whole)
    card.write_text("{}")
    with pytest.raises(FeaturesError, match="truncated or no feature file"):
        Features.open(path)
    card.unlink()
    with pytest.raises(FeaturesError, match="no complete features"):
        Features.open(path)


@pytest.mark.parametrize("row", [-1, 9])
def test_a_stamp_outside_the_set(tmp_path: Path, make_stamps: MakeStamps, encoder: Encoder, row: int) -> None:
    with StampSet(make_stamps(9)) as stamps:
        features = embed_set(stamps, encoder, tmp_path)
    with pytest.raises(FeaturesError, match=f"stamps 0 to 8; stamp {row} was asked for"):
        features.rows([0, row])
