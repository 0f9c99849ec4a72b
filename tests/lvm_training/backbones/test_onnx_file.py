"""Encoders from ONNX files, and files that are none."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lvm_training.backbones.card import BackboneCard, read_card
from lvm_training.backbones.sources import Wanted, write_backbone
from lvm_training.errors import CheckpointError
from lvm_training.model.encoder import Encoder
from lvm_training.progress import progress_bar
from tests.other_encoders import SIZE, write_onnx

PICTURES = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(4))


def added(path: Path, folder: Path, **said: Any) -> BackboneCard:
    return write_backbone(Wanted(str(path), **said), folder, folder / "downloads", progress_bar)


def test_without_onnxruntime_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    (tmp_path / "e.onnx").write_bytes(b"anything")
    with pytest.raises(CheckpointError, match="not installed") as found:
        added(tmp_path / "e.onnx", tmp_path / "made")
    assert "galaxyloop[onnx]" in found.value.hint


class TestFiles:
    """With the packages of the extra `onnx`, and `onnx` itself to write files."""

    @pytest.fixture(autouse=True)
    def _packages(self) -> None:
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnx")

    def test_it_gives_what_the_file_computes(self, tmp_path: Path) -> None:
        card = added(write_onnx(tmp_path / "means.onnx"), tmp_path / "made", mean=(0.5, 0.4, 0.3), std=(0.5,))
        (tmp_path / "means.onnx").unlink()
        encoder = Encoder.load(tmp_path / "made")
        inputs = (PICTURES - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / 0.5
        means = inputs.mean(dim=(2, 3))
        torch.testing.assert_close(encoder.features(PICTURES), torch.cat([means, means**2], dim=1))
        assert (card.width, card.architecture, encoder.precision) == (6, "means", "float32")
        assert encoder.digest == card.encoder and encoder.rendering.size == SIZE
        other = added(write_onnx(tmp_path / "means.onnx", weight=2.0), tmp_path / "other")
        assert other.encoder != card.encoder

    def test_grey_and_any_size(self, tmp_path: Path) -> None:
        path = write_onnx(tmp_path / "grey.onnx", channels=1, size="side")
        card = added(path, tmp_path / "made", size=48)
        assert (card.rendering.size, card.preprocessing.channels, card.width) == (48, "grey", 2)
        assert added(path, tmp_path / "default").rendering.size == 224

    @pytest.mark.parametrize(
        ("about", "said", "expected"),
        [
            ({"batch": 1}, {}, "exactly 1 pictures"),
            ({"inputs": 2}, {}, "2 inputs (pictures, pictures1)"),
            ({"channels": 5}, {}, "5 channels"),
            ({"half": True}, {}, "not pictures of float32"),
            ({}, {"channels": "grey"}, "3 channels, and grey"),
            ({}, {"size": 64}, "32 pixels, not 64"),
            ({"weight": float("nan")}, {}, "not finite"),
            ({"weight": 0.0}, {}, "empty sky"),
            ({"of_batch": True}, {}, "other features beside another picture"),
            ({}, {"random": True}, "weights inside"),
        ],
    )
    def test_what_is_no_encoder_is_refused(
        self, tmp_path: Path, about: dict[str, Any], said: dict[str, Any], expected: str
    ) -> None:
        path = write_onnx(tmp_path / "e.onnx", **about)
        with pytest.raises(CheckpointError) as found:
            added(path, tmp_path / "made", **said)
        assert expected in found.value.message and found.value.hint
        assert read_card(tmp_path / "made") is None

    def test_weights_in_a_second_file_are_not_taken_from_where_one_stands(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write_onnx(tmp_path / "e.onnx", weights_in="e.onnx.data")
        # the store keeps one file, and a worker stands elsewhere
        monkeypatch.chdir(tmp_path)
        with pytest.raises(CheckpointError, match="cannot read") as found:
            added(path, tmp_path / "made")
        assert "Those in a second file are not read" in found.value.hint

    def test_a_file_of_anything_else_is_refused(self, tmp_path: Path) -> None:
        path = write_onnx(tmp_path / "e.onnx")
        path.write_bytes(path.read_bytes()[:-50])
        with pytest.raises(CheckpointError, match="cannot read"):
            added(path, tmp_path / "made")
        with pytest.raises(CheckpointError, match="no ONNX file"):
            added(tmp_path / "none.onnx", tmp_path / "made")
