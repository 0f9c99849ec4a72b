"""`galaxyloop model describe`: what it prints, and what it says of a preset that is not there."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from backend_ml.cli.main import app
from lvm_training.model.describe import describe_model
from lvm_training.model.lvm import PRESETS

KEYS = [
    "preset",
    "parameters",
    "encoder_parameters",
    "decoder_parameters",
    "input_shape",
    "feature_width",
    "stages",
    "flops",
    "flops_restoration",
]


def test_a_preset_that_looks_like_markup_is_named_as_it_is() -> None:
    result = CliRunner().invoke(app, ["model", "describe", "[bold]x"])
    assert result.exit_code == 1 and "There is no preset '[bold]x'." in result.stderr


@pytest.mark.parametrize("preset", ["nano", "paper"])
def test_json(preset: str) -> None:
    result = CliRunner().invoke(app, ["model", "describe", preset, "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert list(figures) == KEYS
    assert all(list(stage) == ["channels", "grid", "blocks", "heads"] for stage in figures["stages"])
    assert figures == json.loads(describe_model(PRESETS[preset]).model_dump_json())
    assert figures["input_shape"] == [3, PRESETS[preset].size, PRESETS[preset].size]


def test_table() -> None:
    result = CliRunner().invoke(app, ["model", "describe", "small"])
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.replace("│", " ").splitlines()]
    assert ["parameters", "30.31", "M"] in lines
    assert ["input", "shape", "3", "x", "128", "x", "128"] in lines
    assert ["flops", "2.49", "G", "a", "stamp"] in lines
    assert ["4", "768", "4", "2", "24"] in lines


def test_an_unknown_preset() -> None:
    result = CliRunner().invoke(app, ["model", "describe", "large"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "There is no preset 'large'." in result.stderr
    assert "Presets are: nano, nano-96, small, paper." in result.stderr


def test_only_the_command_imports_torch() -> None:
    code = "import sys, backend_ml.cli.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
