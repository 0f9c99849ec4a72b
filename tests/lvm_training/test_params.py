"""Parameters: the profiles in the repository are whole, and a slip in one is named."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from lvm_training.model.lvm import PRESETS
from lvm_training.params import FinetuneParams, ParamsError, load_params

ROOT = Path(__file__).parents[2]


def document() -> dict[str, dict[str, dict[str, object]]]:
    loaded: dict[str, dict[str, dict[str, object]]] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return loaded


def write(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("profile", [name for name, section in document().items() if isinstance(section, dict)])
def test_every_profile_is_whole(tmp_path: Path, profile: str) -> None:
    params = load_params(write(tmp_path, document() | {"profile": profile}))
    assert params.profile == profile
    assert params.pretrain.preset in PRESETS
    assert params.simulate.n == document()[profile]["simulate"]["n"]


def test_quick_is_the_default() -> None:
    assert load_params(ROOT / "params.yaml").profile == "quick"


@pytest.mark.parametrize(
    ("section", "name", "value", "message"),
    [
        ("pretrain", "step", 3, "pretrain.step: Extra inputs"),
        ("pretrain", "steps", "many", "pretrain.steps: Input should be a valid integer"),
        ("pretrain", "mask_ratio", 1.0, "pretrain.mask_ratio: Input should be less than 1"),
        ("simulate", "n", 0, "simulate.n: Input should be greater"),
    ],
)
def test_a_slip_is_named(tmp_path: Path, section: str, name: str, value: object, message: str) -> None:
    content = document()
    content["quick"][section][name] = value
    with pytest.raises(ParamsError, match=message):
        load_params(write(tmp_path, content))


def test_missing_parts(tmp_path: Path) -> None:
    content = document()
    del content["quick"]["pretrain"]["steps"]
    with pytest.raises(ParamsError, match=r"pretrain\.steps: Field required"):
        load_params(write(tmp_path, content))
    with pytest.raises(ParamsError, match="no profile 'fast'") as raised:
        load_params(write(tmp_path, document() | {"profile": "fast"}))
    assert "quick, nano" in raised.value.hint or "nano, quick" in raised.value.hint
    with pytest.raises(ParamsError, match="no profile None"):
        load_params(write(tmp_path, {}))
    with pytest.raises(ParamsError, match="cannot be used"):
        load_params(write(tmp_path, document() | {"quick": {"profile": "nano"}}))


@pytest.mark.parametrize(("text", "message"), [("- 1\n", "not a mapping"), ("a: [1\n", "not YAML")])
def test_files_that_are_no_parameters(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError, match=message):
        load_params(path)
    with pytest.raises(ParamsError, match="no parameter file"):
        load_params(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("content", [b"\x89HDF\r\n\x1a\n\xff\xfe", b"a: \x00"])
def test_a_binary_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(ParamsError, match=r"params\.yaml is not YAML"):
        load_params(tmp_path / "params.yaml")
    with pytest.raises(ParamsError, match="cannot be read"):
        load_params(tmp_path)


@pytest.mark.parametrize(
    ("goals", "message"),
    [
        ({"classification": 0.8, "restoration": 11.0}, "no goal of reconstruction"),
        ({"classification": 0.8, "restoration": 11.0, "reconstruction": 0}, r"goals\.reconstruction: .*greater than 0"),
        ({}, "no goal of classification, restoration, reconstruction"),
    ],
)
def test_every_task_has_a_goal(tmp_path: Path, goals: dict[str, float], message: str) -> None:
    content = document()
    content["quick"]["multitask"]["goals"] = goals
    with pytest.raises(ParamsError, match=message):
        load_params(write(tmp_path, content))


@pytest.mark.parametrize(
    ("replay", "labelled", "replayed"),
    [(1.0, 10, 64), (1.0, 100, 100), (2.0, 100, 200), (1.0, 9000, 512), (0.25, 300, 75), (0.0, 300, 0)],
)
def test_replayed_pictures_are_limited(replay: float, labelled: int, replayed: int) -> None:
    assert FinetuneParams(replay=replay).replayed(labelled) == replayed


def test_limits_of_replayed_pictures_are_ordered() -> None:
    with pytest.raises(ValidationError, match="above `most_replayed`"):
        FinetuneParams(fewest_replayed=9, most_replayed=8)
