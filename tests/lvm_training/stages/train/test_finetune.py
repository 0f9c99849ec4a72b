"""The stage that trains an encoder on labels: what it makes, and labels that it refuses."""

import csv
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
import yaml

from lvm_training.errors import LabelError
from lvm_training.model.encoder import Encoder, load_checkpoint
from lvm_training.paths import FINETUNE_CURVE, FINETUNE_METRICS, FINETUNED, FROZEN_LABELS
from lvm_training.stages.train import finetune
from lvm_training.stamps.render import render_set
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.frozen_labels import Answer, FrozenLabels
from lvm_training.tables.snapshot import Snapshot
from tests.backend_ml.sky import write_stamps
from tests.backend_ml.whole import CLASSES, RENDERING, truth, write_encoder

ROOT = Path(__file__).parents[4]
SETS = "the stamps"


def labels_of(rows: Sequence[tuple[str, int]]) -> Snapshot:
    return Snapshot([name for name, _ in rows], [row for _, row in rows], [truth(row) for _, row in rows])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml, a tiny encoder, two stamp sets, and frozen labels of both."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / SETS).mkdir()
    for name in ("sky", "more"):
        write_stamps(tmp_path / SETS, 6, name)
    write_encoder(tmp_path / "start")
    stamps = [(name, row) for name in ("sky", "more") for row in range(6)]
    at = datetime(2026, 1, 1, tzinfo=UTC)
    answers = [Answer(*one, at, "person 1", truth(one[1]), truth(one[1]), 1, 1, "training", "") for one in stamps]
    frozen = FrozenLabels("morphology", CLASSES, "majority", tuple(answers))
    path = FROZEN_LABELS / frozen.file_name("both")
    frozen.write(path)
    document = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    document["quick"]["finetune"] = {"steps": 3, "seed": 1}
    document |= {"labels": f"labels/{path.name}", "encoder": "start", "stamps": SETS}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return tmp_path


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_encoder_learns_the_labels_that_params_name(project: Path) -> None:
    finetune.main()
    start, made = Encoder.load(project / "start"), Encoder.load(FINETUNED)
    _, card = load_checkpoint(FINETUNED)
    assert made.digest != start.digest and card.parent == load_checkpoint(project / "start")[1].encoder
    assert made.rendering == start.rendering and card.params["steps"] == 3
    metrics = json.loads(FINETUNE_METRICS.read_text())
    with FINETUNE_CURVE.open(newline="") as stream:
        curve = list(csv.DictReader(stream))
    assert [row["step"] for row in curve] == ["1", "2", "3"]
    # a layer that begins at zero finds both classes as likely
    assert float(curve[0]["loss"]) == pytest.approx(math.log(2), abs=1e-3)
    assert metrics == {"labels": 12, "classes": 2, "train_loss": float(curve[-1]["loss"])}


def test_pictures_are_those_of_the_labelled_stamps(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetune, "READ", 2)
    rows = [("sky", 5), ("more", 0), ("sky", 1), ("more", 3), ("more", 4)]
    known = labels_of(rows).sorted()
    pictures, digests = finetune.labelled_pictures(known, Path(SETS), RENDERING)
    for picture, name, row in zip(pictures, known.stamp_set, known.stamp_id, strict=True):
        with StampSet(Path(SETS) / f"{name}.h5") as stamps:
            assert torch.equal(picture, render_set(stamps, slice(row, row + 1), RENDERING)[0])
    with StampSet(Path(SETS) / "more.h5") as more, StampSet(Path(SETS) / "sky.h5") as sky:
        assert digests == [more.digest, sky.digest]


@pytest.mark.parametrize(
    ("rows", "said"),
    [([("sky", 0), ("other", 1)], "labels of the stamp set other"), ([("sky", 0), ("sky", 6)], "of stamp 6.*has 6")],
)
def test_labels_of_stamps_that_are_not_there_are_refused(project: Path, rows: list[tuple[str, int]], said: str) -> None:
    with pytest.raises(LabelError, match=said):
        finetune.labelled_pictures(labels_of(rows).sorted(), Path(SETS), RENDERING)
