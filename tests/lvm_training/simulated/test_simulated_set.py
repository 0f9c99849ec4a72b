"""Simulated stamps that teach: drawn once, the same each time, whole after a kill, and judged on other stamps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lvm_training.backbones.sources import Wanted, write_backbone
from lvm_training.model.encoder import Encoder
from lvm_training.progress import progress_bar
from lvm_training.scenes.simulated_classes import CONCEPTS, SIMULATED, UNKNOWN
from lvm_training.simulated import simulated_set as module
from lvm_training.simulated.drawing import BATCH, LENSES, draw_stamps
from lvm_training.simulated.simulated_set import SimulatedSet, kept_set, set_path, simulated_set, standardised
from lvm_training.simulated.zero_label import zero_label_auc
from lvm_training.stamps.rendering import Rendering
from tests.other_encoders import NETWORK


@pytest.fixture
def quick(encoder: Encoder) -> Encoder:
    """The tiny encoder with a look at each stamp."""
    return Encoder(encoder.lvm, encoder.rendering, views=1)


def same(one: SimulatedSet, other: SimulatedSet) -> bool:
    """Whether two sets hold the same stamps."""
    columns = vars(one.drawn.structure)
    return (
        np.array_equal(one.features, other.features)
        and np.array_equal(one.drawn.lens, other.drawn.lens)
        and all(
            np.array_equal(values, vars(other.drawn.structure)[name], equal_nan=True)
            for name, values in columns.items()
        )
    )


def test_a_batch_is_the_same_each_time_and_holds_lenses(rendering: Rendering) -> None:
    one, again, other = (draw_stamps(number, rendering) for number in (1, 1, 2))
    assert one.pictures.shape == (BATCH, 3, rendering.size, rendering.size)
    assert one.pictures.min() >= 0 and one.pictures.max() <= 1
    assert (one.pictures == again.pictures).all()
    assert not (one.pictures == other.pictures).all()
    assert one.drawn.lens.sum() == LENSES
    assert (one.drawn.structure.kind[one.drawn.lens] == UNKNOWN).all()


def test_all_concepts_are_drawn(rendering: Rendering) -> None:
    drawn = [draw_stamps(number, rendering.sized(8)).drawn for number in range(10)]
    for name, concept in CONCEPTS.items():
        assert sum(concept.shown(one).sum() for one in drawn) >= 5, name


def test_stamps_are_drawn_once(quick: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    made = simulated_set(quick, tmp_path, stamps=100, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(60, 100), (100, 100)]
    assert len(made) == 100 and made.features.shape[1] == quick.width

    def drawn_again(*_: object, **__: object) -> None:
        raise AssertionError("they were drawn already")

    monkeypatch.setattr(module, "draw_stamps", drawn_again)
    assert same(simulated_set(quick, tmp_path, stamps=100), made)
    assert same(simulated_set(quick, tmp_path, stamps=30), made.first(30))
    kept = kept_set(tmp_path, quick.digest, 100)
    assert kept is not None and same(kept, made)
    assert kept_set(tmp_path, quick.digest, 121) is None
    assert kept_set(tmp_path, "another", 100) is None


def test_a_run_that_was_killed_goes_on(quick: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAVED_EVERY", 1)
    whole = simulated_set(quick, tmp_path / "whole", stamps=180)

    def killed(done: int, _: int) -> None:
        if done > 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulated_set(quick, tmp_path, stamps=180, progress=killed)
    seen: list[int] = []
    assert same(simulated_set(quick, tmp_path, stamps=180, progress=lambda done, _: seen.append(done)), whole)
    assert seen == [120, 180]


@pytest.mark.parametrize("content", [b"", b"no safetensors", None])
def test_a_broken_file_is_drawn_again(quick: Encoder, tmp_path: Path, content: bytes | None) -> None:
    made = simulated_set(quick, tmp_path, stamps=60)
    path = set_path(tmp_path, quick.digest)
    path.write_bytes(path.read_bytes()[:-9] if content is None else content)
    assert kept_set(tmp_path, quick.digest, 60) is None
    assert same(simulated_set(quick, tmp_path, stamps=60), made)


def test_rows_of_a_concept(quick: Encoder, tmp_path: Path) -> None:
    made = simulated_set(quick, tmp_path, stamps=120)
    lenses = made.showing("lens")
    assert made.drawn.lens[lenses].all() and len(lenses) == made.drawn.lens.sum()
    assert set(made.labels(SIMULATED["lens"])[lenses]) == {"1"}
    assert (made.labels(SIMULATED["lens"])[made.showing("no-lens")] == "0").all()
    assert np.allclose(made.standard().mean(0), 0, atol=1e-4)


def test_features_that_hardly_vary_stay_small() -> None:
    matrix = np.random.default_rng(0).normal(3, [1, 2, 1e-6], (50, 3)).astype(np.float32)
    found = standardised(matrix)
    assert np.allclose(found[:, :2].std(0), 1, atol=1e-4)
    assert np.abs(found[:, 2]).max() < 1e-4


def test_what_simulated_stamps_teach_is_judged_on_others(quick: Encoder, tmp_path: Path) -> None:
    made = simulated_set(quick, tmp_path, stamps=480)
    # features that say what was drawn, and "real" ones that say it in other units
    rng = np.random.default_rng(2)
    labels = made.labels(SIMULATED["lens"])
    features = rng.normal(0, 1, made.features.shape).astype(np.float32)
    features[:, 0] += 6 * (labels == "1")
    told = SimulatedSet(features, made.drawn, made.encoder)
    real = rng.normal(0, 1, (300, features.shape[1])).astype(np.float32)
    lens = np.arange(300) % 10 == 0
    real[lens, 0] += 6
    truth = np.where(lens, "1", "0")
    truth[200:] = ""
    aucs = zero_label_auc(told, SIMULATED["lens"], standardised(100 * real + 7), truth)
    assert set(aucs) == {"0", "1"}
    assert min(aucs.values()) > 0.9
    assert aucs["0"] == pytest.approx(aucs["1"])
    assert zero_label_auc(told, SIMULATED["lens"], standardised(real), np.full(300, "")) == {}
    assert zero_label_auc(told, {}, standardised(real), truth) == {}


def test_for_an_encoder_of_larger_pictures_they_are_drawn_as_sharp_as_a_survey_and_enlarged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = Wanted(f"timm:{NETWORK}", size=48, random=True)
    write_backbone(about, tmp_path / "other", tmp_path / "downloads", progress_bar)
    larger = Encoder.load(tmp_path / "other", views=1)
    monkeypatch.setattr(module, "SHARPEST", 16)
    made = simulated_set(larger, tmp_path, stamps=BATCH)
    drawn = draw_stamps(0, larger.rendering.sized(16), device=larger.device)
    enlarged = torch.nn.functional.interpolate(drawn.pictures, (48, 48), mode="bilinear", antialias=True)
    assert np.array_equal(made.features, larger.features(enlarged).numpy())
    assert np.array_equal(made.drawn.lens, drawn.drawn.lens)
