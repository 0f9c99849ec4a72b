"""The stages that fit and measure a head of parameters, on a tiny encoder and galaxies of Gaussian light."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml

from lvm_training.errors import CheckpointError
from lvm_training.model.encoder import Encoder, load_checkpoint
from lvm_training.parameters.released import check_encoder, load_parameters
from lvm_training.paths import (
    LVM_FOLDER,
    PARAMETERS_FIGURE,
    PARAMETERS_FOLDER,
    PARAMETERS_MEASURED,
    PARAMETERS_METRICS,
    STAMP_FILE,
)
from lvm_training.stages.evaluate import parameters as evaluate_parameters
from lvm_training.stages.train import parameters as train_parameters
from lvm_training.stamps.rendering import Rendering
from tests.lvm_training.parameters.skies import write_galaxies
from tests.tiny_encoder import TINY, tiny_lvm, write_tiny

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after both stages."""
    folder = tmp_path_factory.mktemp("pipeline")
    shutil.copy(ROOT / "params.yaml", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_tiny(LVM_FOLDER, Rendering(size=TINY.size, field=16.0))
        STAMP_FILE.parent.mkdir(parents=True)
        write_galaxies(STAMP_FILE, 180)
        train_parameters.main()
        evaluate_parameters.main()
    return folder


def test_the_head_measures_stamps_that_it_did_not_see(build: Path) -> None:
    metrics = json.loads((build / PARAMETERS_METRICS).read_text())
    assert metrics["stamps"] == 60 and metrics["mag_r_measured"] == 1
    # random weights tell how bright, how large and how a Gaussian lies; guessing has .58 mag and 52 degrees
    assert metrics["mag_r_rmse"] < 0.45 and metrics["position_angle_scatter"] < 20
    # three standard deviations of a share of 60, and of the 120 that errors were scaled on
    assert 0.4 < metrics["mag_r_coverage"] < 0.96
    _, card = load_parameters(build / PARAMETERS_FOLDER)
    assert card.stamps == 120
    assert card.metrics == {name: value for name, value in metrics.items() if name != "stamps"}


def test_truth_and_measured_are_told_of_each_parameter(build: Path) -> None:
    with (build / PARAMETERS_MEASURED).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 60 * 6 and {row["parameter"] for row in rows} == set(
        load_parameters(build / PARAMETERS_FOLDER)[0].classes
    )
    assert all(float(row["error"]) > 0 for row in rows)
    assert (build / PARAMETERS_FIGURE).read_bytes().startswith(b"\x89PNG")


def test_a_second_run_makes_the_same_bytes(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(build)
    before = {path.name: path.read_bytes() for path in PARAMETERS_FOLDER.iterdir()}
    train_parameters.main()
    assert {path.name: path.read_bytes() for path in PARAMETERS_FOLDER.iterdir()} == before


def test_a_head_reads_the_features_of_its_encoder_alone(build: Path) -> None:
    _, card = load_parameters(build / PARAMETERS_FOLDER)
    lvm, made = load_checkpoint(build / LVM_FOLDER)
    check_encoder(card, Encoder(lvm, made.rendering, precision="bf16"))
    with pytest.raises(CheckpointError, match="reads features of the encoder"):
        check_encoder(card, Encoder(tiny_lvm(5), made.rendering))


def test_the_pipeline_has_the_stages(build: Path) -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for stage in ("train_parameters", "evaluate_parameters"):
        for out in stages[stage].get("outs", []):
            assert (build / out).is_file()


@pytest.mark.parametrize("name", ["card.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_no_head(build: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(build / PARAMETERS_FOLDER, tmp_path / "head")
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=r"no complete head of parameters.*parameters-nano"):
        load_parameters(folder)
