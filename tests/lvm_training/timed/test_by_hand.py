"""Parts of the timed training against plain loops: losses on cells, views of pictures, sizes, packs, few labels."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from lvm_training.errors import StampError
from lvm_training.model.lvm import LVM, Preset
from lvm_training.params import ParamsError
from lvm_training.scenes.scenes import draw_scenes
from lvm_training.scenes.structure import draw_structure
from lvm_training.scenes.truth import TruthScale, truth
from lvm_training.timed import judging, real
from lvm_training.timed.drawing import drawn_scenes, seen_truth, shares_of_batch
from lvm_training.timed.loop import rate
from lvm_training.timed.objective import SKY_WEIGHT, LossWeights, Objective, parts_loss
from lvm_training.timed.pack import read_pack, write_pack
from lvm_training.timed.recipe import DEFAULT_BATCH, TimedRecipe, read_sweep


@torch.no_grad()
def test_tokens_name_the_cells_that_they_cover(tiny: Preset) -> None:
    torch.manual_seed(0)
    parts = 2
    made = Objective(LVM(tiny).eval(), 4, parts, LossWeights(0.8, 0.1, 0.1, dense_tokens=0.5))
    side = tiny.grid // 2 ** (len(tiny.depths) - 1)
    c = made.cells
    assert side * c * 4 == tiny.size, "cells of four pixels fill the picture"
    tokens = torch.randn(3, side, side, (parts + 1) * c * c)
    named = made._named(tokens)
    assert named.shape == (3, parts + 1, side * c, side * c)
    for row in range(side):
        for column in range(side):
            for part in range(parts + 1):
                for down in range(c):
                    for right in range(c):
                        expected = tokens[:, row, column, part * c * c + down * c + right]
                        assert torch.equal(named[:, part, row * c + down, column * c + right], expected)


def test_the_loss_of_parts_is_a_weighted_divergence() -> None:
    rng = np.random.default_rng(2)
    parts = rng.dirichlet([0.5, 0.5, 2.0], (2, 4, 4)).transpose(0, 3, 1, 2)[:, :2].copy()
    parts[0, :, 0, 0] = 0  # a pixel of nothing but sky
    logits = rng.normal(size=(2, 3, 4, 4))
    whole = np.concatenate([parts, 1 - parts.sum(1, keepdims=True)], axis=1)
    weights, missed, trivial = 0.0, 0.0, 0.0
    mean = np.zeros(3)
    places = [(n, i, j) for n in range(2) for i in range(4) for j in range(4)]
    for n, i, j in places:
        weight = 1 - whole[n, 2, i, j] + SKY_WEIGHT
        weights += weight
        mean += weight * whole[n, :, i, j]
    mean /= weights
    for n, i, j in places:
        weight, true = 1 - whole[n, 2, i, j] + SKY_WEIGHT, whole[n, :, i, j]
        likely = np.exp(logits[n, :, i, j]) / np.exp(logits[n, :, i, j]).sum()
        missed += weight * sum(t * math.log(t / q) for t, q in zip(true, likely, strict=True) if t > 0)
        trivial += weight * sum(t * math.log(t / q) for t, q in zip(true, mean, strict=True) if t > 0)
    found = float(parts_loss(torch.from_numpy(logits), torch.from_numpy(parts)))
    assert found == pytest.approx(missed / trivial, rel=1e-6)


@pytest.fixture
def plain_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views that are turned and mirrored alone."""
    for name in ("ZOOM", "SHIFT", "TINT", "GAMMA", "NOISE"):
        monkeypatch.setattr(real, name, 0.0)


def spots(count: int, side: int = 65) -> torch.Tensor:
    """Two spots on grey, the brighter one to the right of the middle and a fainter one a quarter turn further."""
    steps = np.arange(side) - side // 2
    x, y = np.meshgrid(steps, steps)
    light = 0.6 * np.exp(-0.5 * ((x - 16) ** 2 + y**2) / 6) + 0.3 * np.exp(-0.5 * (x**2 + (y - 16) ** 2) / 6)
    return torch.from_numpy((0.05 + light).astype(np.float32))[None, None].expand(count, 3, side, side)


def places(view: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Places of the brighter and the fainter spot from the middle."""
    grey = view.mean(0).numpy() - 0.06
    steps = np.arange(len(grey)) - len(grey) // 2
    x, y = np.meshgrid(steps, steps)
    row, column = np.unravel_index(grey.argmax(), grey.shape)
    near = np.hypot(x - steps[column], y - steps[row]) < 7
    found = []
    for mask in (near, ~near):
        light = np.where(mask, grey, 0).clip(0)
        found.append(np.array([(light * x).sum(), (light * y).sum()]) / light.sum())
    return found[0], found[1]


def test_views_are_turned_by_any_angle_and_half_are_mirrored(plain_views: None) -> None:
    views = real.seen(spots(60), torch.Generator().manual_seed(4))
    angles, mirrored = [], 0
    for view in views:
        bright, faint = places(view)
        assert np.hypot(*bright) == pytest.approx(16, abs=0.7) and np.hypot(*faint) == pytest.approx(16, abs=0.7)
        turn = bright[0] * faint[1] - bright[1] * faint[0]
        assert abs(turn) == pytest.approx(256, rel=0.08), "a quarter turn stays one"
        mirrored += turn < 0
        angles.append(np.arctan2(bright[1], bright[0]))
    assert 15 <= mirrored <= 45
    assert np.histogram(angles, bins=6, range=(-np.pi, np.pi))[0].min() >= 2


def test_views_are_as_much_larger_or_smaller_as_was_drawn(plain_views: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "ZOOM", 0.3)
    steps = np.arange(65) - 32
    # a disc in the middle, so that nothing is at the edge, where pictures are reflected
    disc = torch.from_numpy((np.hypot(*np.meshgrid(steps, steps)) < 15).astype(np.float32)).expand(30, 3, 65, 65)
    areas = real.seen(disc, torch.Generator().manual_seed(6)).mean((1, 2, 3)) / disc.mean()
    assert 0.45 < areas.min() < 0.75 and 1.35 < areas.max() < 1.75, "0.7 and 1.3, squared"


def test_the_size_is_told_as_a_part_of_the_field() -> None:
    recipe = TimedRecipe()
    names = tuple(truth(draw_scenes(1, np.random.default_rng(0), size=8, field=25.0), pixel=25 / 8))
    scale = TruthScale(names, np.zeros(len(names), np.float32), np.full(len(names), 2.0, np.float32))
    place = names.index("size")
    structure = draw_structure(12, np.random.default_rng(1))
    found = []
    for field in (recipe.field, 2 * recipe.field):
        grown = structure.changed(radius=structure.radius * field / recipe.field)
        grown = grown.changed(companion=np.zeros(12), disturbance=np.zeros(12))
        scenes = draw_scenes(12, np.random.default_rng(2), size=recipe.rendering.size, field=field, structure=grown)
        found.append(seen_truth(scenes, scale, field, recipe)[:, place].numpy())
    # the same picture, but for a cusp that the survey's pixels soften
    np.testing.assert_allclose(found[0], found[1], atol=0.12)


def test_drawn_fields_lie_between_their_limits_and_are_as_often_small_as_large() -> None:
    recipe = TimedRecipe(fields=(5.0, 125.0), realism=0.3)
    rng = np.random.default_rng(0)
    drawn = [drawn_scenes(1, recipe, rng, torch.device("cpu"), parts=False)[1:] for _ in range(40)]
    sides = np.array([field for field, _ in drawn])
    assert sides.min() >= 5 and sides.max() <= 125
    assert 11 <= (sides < 25).sum() <= 29, "25 is the middle in its logarithm"
    assert 4 <= sum(realistic for _, realistic in drawn) <= 21


@pytest.mark.parametrize("preset", ["nano", "small", "paper"])
def test_the_batch_is_that_of_the_preset_unless_one_is_asked_for(preset: str) -> None:
    assert TimedRecipe(preset=preset).stamps == DEFAULT_BATCH[preset]
    assert TimedRecipe(preset=preset, batch=48).stamps == 48
    shares = shares_of_batch(TimedRecipe(preset=preset), 100)
    assert (shares.read, shares.restored, shares.masked, shares.pairs) == (84, 8, 8, 0)


def test_the_rate_is_a_line_and_then_a_cosine() -> None:
    recipe = TimedRecipe(learning_rate=1.0, warmup=0.2)
    assert [rate(recipe, at) for at in (0.1, 0.2, 0.6, 1.0, 1.5)] == pytest.approx([0.5, 1.0, 0.5, 0.0, 0.0])
    assert 0 < rate(recipe, 0.0) == rate(recipe, 0.001), "the first step learns something"
    assert rate(recipe, 0.4) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))


def test_few_labels_are_judged_as_scikit_learn_would_by_hand() -> None:
    rng = np.random.default_rng(7)
    labels = np.array(["a", "b", "c"])[rng.integers(3, size=150)]
    labels[::17] = ""
    splits = np.where(np.arange(150) % 2 == 0, "fit", "test")
    matrix = (rng.normal(size=(150, 5)) + np.eye(5)[np.searchsorted(["a", "b", "c"], labels) % 5]).astype(np.float32)
    fit = [row for row in range(150) if labels[row] and splits[row] == "fit"]
    test = [row for row in range(150) if labels[row] and splits[row] == "test"]
    means = []
    for draw in range(3):
        rows = np.random.default_rng((9, draw)).permutation(fit)[:12]
        model = LogisticRegression(C=0.01, max_iter=100).fit(matrix[rows], labels[rows])
        scores = dict(zip(model.classes_, model.predict_proba(matrix[test]).T, strict=True))
        nothing = np.zeros(len(test))
        means.append(np.mean([roc_auc_score(labels[test] == one, scores.get(one, nothing)) for one in "abc"]))
    found = judging._few("forms", matrix, labels, splits, (12, 1000), 9, 3)
    assert found == {"few/forms/12": pytest.approx(np.mean(means))}


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def test_a_pack_gives_back_the_pixels_that_were_packed(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pixels = [rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(4)]
    pixels.append(rng.integers(0, 256, (16, 16), dtype=np.uint8))
    splits = ["fit", "test", "unlabelled", "fit", "test"]
    labels = {"ring": ["1", "0", "", "0", "1"], "bar": ["", "1", "", "", ""]}
    write_pack(tmp_path / "made/pack.npz", [encoded(one) for one in pixels], list("aabba"), splits, labels)
    pack = read_pack(tmp_path / "made/pack.npz", 16)
    assert pack.pictures.shape == (5, 3, 16, 16) and pack.pictures.dtype == torch.uint8
    for found, given in zip(pack.pictures.numpy(), pixels, strict=True):
        expected = given if given.ndim == 3 else np.repeat(given[..., None], 3, axis=2)
        np.testing.assert_array_equal(found.transpose(1, 2, 0), expected)
    assert pack.sets.tolist() == list("aabba") and pack.splits.tolist() == splits
    assert {task: column.tolist() for task, column in pack.labels.items()} == labels
    assert torch.equal(pack.unlabelled(), pack.pictures[[0, 2, 3]]), "what judges is not learned from"
    assert read_pack(tmp_path / "made/pack.npz", 8).pictures.shape == (5, 3, 8, 8)


@pytest.mark.parametrize("lacking", ["set", "split", "label/ring"])
def test_a_pack_whose_columns_differ_in_length_is_refused(tmp_path: Path, lacking: str) -> None:
    columns = {"set": list("ab"), "split": ["fit", "test"], "label/ring": ["1", "0"]}
    columns[lacking].pop()
    one = encoded(np.zeros((4, 4, 3), np.uint8))
    write_pack(tmp_path / "p.npz", [one, one], columns["set"], columns["split"], {"ring": columns["label/ring"]})
    with pytest.raises(StampError, match="differ in length"):
        read_pack(tmp_path / "p.npz", 4)


def test_variants_of_a_sweep_change_what_they_name(tmp_path: Path) -> None:
    text = (
        '{"seconds": 5, "base": {"batch": 8, "seed": 3}, "variants": {"plain": {}, "dense": {"dense": 0.3, "seed": 4}}}'
    )
    (tmp_path / "sweep.json").write_text(text)
    plain, dense = read_sweep(tmp_path / "sweep.json").recipes
    assert (plain.name, plain.batch, plain.seed, plain.dense) == ("plain", 8, 3, 0.0)
    assert (dense.name, dense.batch, dense.seed, dense.dense) == ("dense", 8, 4, 0.3)
    for wrong in ('{"variants": {"a": {"fields": [30, 10]}}}', '{"variants": {"a": {"preset": "huge"}}}'):
        (tmp_path / "sweep.json").write_text(wrong)
        with pytest.raises(ParamsError):
            read_sweep(tmp_path / "sweep.json")
