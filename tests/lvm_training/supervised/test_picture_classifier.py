"""Networks trained whole, on pictures small enough to train in seconds."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from lvm_training.errors import CheckpointError, LabelError, StampError
from lvm_training.model.lvm import LVM, Preset
from lvm_training.params import ParamsError
from lvm_training.stamps.symmetries import symmetry
from lvm_training.supervised import labelled_pictures
from lvm_training.supervised.labelled_pictures import BATCH, LabelledPictures
from lvm_training.supervised.picture_classifier import LVMClassifier, PictureClassifier, Recipe
from lvm_training.supervised.training import default_steps, fit_lvm, fit_resnet18

CLASSES = ("blue", "red", "grey")


def toy(count: int, *, seed: int = 0, size: int = 32) -> tuple[torch.Tensor, list[str]]:
    """Noise on a blue or a red ground."""
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.random((count, 3, size, size), dtype=np.float32)) * 0.3
    images[::2, 2] += 0.7
    images[1::2, 0] += 0.7
    return images, [CLASSES[row % 2] for row in range(count)]


@pytest.fixture(scope="module")
def trained() -> PictureClassifier:
    """A classifier of the toy pictures."""
    return fit_resnet18(*toy(6), CLASSES, seed=1, steps=30)


def test_it_learns_a_separable_set(trained: PictureClassifier) -> None:
    images, labels = toy(20, seed=5)
    found = trained.predict(images)
    assert found.dtype == np.float64
    assert found.shape == (20, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert [CLASSES[code] for code in found.argmax(axis=1)] == labels


def test_predictions_average_the_symmetries_and_so_do_not_depend_on_them(trained: PictureClassifier) -> None:
    images, _ = toy(3, seed=6)
    found = trained.predict(images)
    for kind in range(8):
        np.testing.assert_allclose(trained.predict(symmetry(images, kind)), found, atol=1e-5)
    with torch.inference_mode():
        each = [trained.network(symmetry(images, kind)).double().softmax(1).numpy() for kind in range(8)]
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-6)


def test_the_same_seed_gives_the_same_weights() -> None:
    images, labels = toy(6)
    before = torch.get_rng_state()
    first, again, other = (fit_resnet18(images, labels, CLASSES, seed=seed, steps=2) for seed in (2, 2, 3))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert not torch.equal(first.state_dict()["network.conv1.weight"], other.state_dict()["network.conv1.weight"])
    assert torch.equal(torch.get_rng_state(), before)


def test_it_starts_from_given_weights() -> None:
    images, labels = toy(6)
    torch.manual_seed(9)
    state = timm.create_model("resnet18", num_classes=7).state_dict()
    given, headless = state["layer4.1.conv2.weight"], {k: v for k, v in state.items() if not k.startswith("fc.")}
    # Adam's first step moves no weight by more than the learning rate
    for start, near in ((state, True), (headless, True), (None, False)):
        fitted = fit_resnet18(images, labels, CLASSES, seed=2, steps=1, encoder_state=start).network.state_dict()
        moved = (fitted["layer4.1.conv2.weight"] - given).abs().max()
        assert (0 < moved < 1.1e-3) == near
        assert fitted["fc.weight"].shape == (3, 512)


def test_weights_of_another_network_are_refused() -> None:
    images, labels = toy(4)
    state = timm.create_model("resnet18", num_classes=2).state_dict()
    for wrong, first in (
        ({}, "bn1.bias"),
        (state | {"conv1.weight": torch.zeros(64, 1, 7, 7)}, "conv1.weight"),
        (state | {"layer9.weight": torch.zeros(1)}, "layer9.weight"),
    ):
        with pytest.raises(CheckpointError, match=f"differ, first {first}"):
            fit_resnet18(images, labels, CLASSES, seed=0, steps=1, encoder_state=wrong)


def test_the_lvm_is_trained_whole_from_its_weights_and_itself_stays_as_it_is(lvm: LVM) -> None:
    images, labels = toy(6, size=lvm.preset.size)
    before = {name: tensor.clone() for name, tensor in lvm.state_dict().items()}
    first, again = (fit_lvm(images, labels, CLASSES, lvm, seed=1, steps=30) for _ in range(2))
    assert all(torch.equal(tensor, before[name]) for name, tensor in lvm.state_dict().items()) and not lvm.training
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in first.state_dict().items())
    assert isinstance(first.network, LVMClassifier)
    trained = first.network.lvm.state_dict()
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, trained[name])}
    # what makes features; Adam moves a weight by no more than the rate a step
    assert moved == {name for name in before if name.startswith("encoder.")} - {
        name for name in before if name.endswith(("relative_position_index", "attn_mask"))
    }
    assert all((trained[name] - before[name]).abs().max() < 30 * 2.5e-4 for name in moved)
    seen, truth = toy(20, seed=5, size=lvm.preset.size)
    assert [CLASSES[code] for code in first.predict(seen).argmax(axis=1)] == truth


def test_the_lvm_s_head_begins_with_no_opinion(lvm: LVM) -> None:
    network = LVMClassifier(lvm, 3).eval()
    assert torch.equal(network(toy(2, size=lvm.preset.size)[0]), torch.zeros(2, 3))


def test_training_whole_draws_dropped_paths(tiny: Preset, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[bool] = []
    features = LVM.features

    def watched(model: LVM, images: torch.Tensor) -> torch.Tensor:
        modes.append(all(module.training for module in model.modules()))
        return features(model, images)

    monkeypatch.setattr(LVM, "features", watched)
    images, labels = toy(4, size=tiny.size)
    fit_lvm(images, labels, CLASSES, LVM(tiny).eval(), seed=0, steps=2).predict(images)
    assert modes == [True] * 2 + [False] * 8


def test_batches_hold_each_picture_once_an_epoch_whichever_way_up() -> None:
    count, steps = 100, 25
    images = torch.zeros(count, 3, 2, 2)
    images += torch.arange(count)[:, None, None, None]
    images[:, :, 0, 0] += 0.5
    kept = images.clone()
    batches = LabelledPictures(images, torch.arange(count), steps, 4)
    assert len(batches) == steps
    drawn = [batches[index] for index in range(steps)]
    assert all(len(pictures) == BATCH for pictures, _ in drawn)
    order = torch.cat([codes for _, codes in drawn])
    for epoch in torch.split(order, count):
        assert len(set(epoch.tolist())) == len(epoch)
    corners = set()
    for pictures, codes in drawn:
        assert torch.equal(pictures.floor(), codes[:, None, None, None].expand(-1, 3, 2, 2).float())
        corners |= {tuple(place) for place in (pictures[:, 0] % 1 == 0.5).nonzero()[:, 1:].tolist()}
    assert corners == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert torch.equal(images, kept)
    again = LabelledPictures(images, torch.arange(count), steps, 4)[7]
    assert torch.equal(again[0], drawn[7][0])


def test_default_steps() -> None:
    assert [default_steps(count) for count in (2, 900, 961, 2000, 100_000)] == [300, 300, 320, 640, 3000]
    assert Recipe(300, 1e-3).warmup == 30


def test_bad_pictures_and_labels_are_refused() -> None:
    images, labels = toy(4)
    broken = images.clone()
    broken[1, 2, 3, 4] = torch.nan
    with pytest.raises(StampError, match="finite"):
        fit_resnet18(broken, labels, CLASSES, seed=0)
    for shape in ((4, 32, 32), (4, 1, 32, 32), (4, 3, 32, 16), (0, 3, 32, 32)):
        with pytest.raises(StampError, match=r"pictures \(N, 3, S, S\)"):
            fit_resnet18(torch.zeros(shape), labels, CLASSES, seed=0)
    with pytest.raises(LabelError, match="3 labels for 4 pictures"):
        fit_resnet18(images, labels[1:], CLASSES, seed=0)
    with pytest.raises(LabelError, match="only 'red'"):
        fit_resnet18(images, ["red"] * 4, CLASSES, seed=0)
    with pytest.raises(ParamsError, match="0 steps"):
        fit_resnet18(images, labels, CLASSES, seed=0, steps=0)
    with pytest.raises(LabelError, match="outside the classes: green"):
        fit_resnet18(images, ["green", *labels[1:]], CLASSES, seed=0)


def test_predicting_refuses_bad_pictures(trained: PictureClassifier) -> None:
    with pytest.raises(StampError, match=r"not \(2, 4, 32, 32\)"):
        trained.predict(torch.zeros(2, 4, 32, 32))


class Stopped(Exception):  # noqa: N818 - it is no error
    """Raised in the midst of a training, as a kill ends it."""


def test_a_training_that_was_stopped_goes_on_and_ends_the_same(
    lvm: LVM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelled_pictures, "EPOCH_STEPS", 2)
    images, labels = toy(6)
    told: list[int] = []

    def train(resume: Path | None, stop: int = 0) -> PictureClassifier:
        told.clear()

        def progress(done: int, total: int) -> None:
            assert total == 5
            told.append(done)
            if done == stop:
                raise Stopped

        return fit_lvm(images, labels, CLASSES, lvm, seed=2, steps=5, resume=resume, progress=progress)

    whole = train(None).state_dict()
    assert told == [1, 2, 3, 4, 5]
    for stop in (3, 5):
        with pytest.raises(Stopped):
            train(tmp_path, stop)
    for steps in ([5], []):
        resumed = train(tmp_path).state_dict()
        assert told == steps, "what was done is not done again"
        assert all(torch.equal(tensor, whole[name]) for name, tensor in resumed.items())


def test_where_memory_does_not_suffice_halves_are_added_up_and_the_steps_stay(
    lvm: LVM, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = toy(12)
    features, sizes, said, told = LVM.features, list[int](), list[str](), list[int]()

    def scarce(model: LVM, pictures: torch.Tensor) -> torch.Tensor:
        if len(pictures) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        sizes.append(len(pictures))
        return features(model, pictures)

    monkeypatch.setattr(LVM, "features", scarce)

    def progress(done: int, total: int) -> None:
        told.append(done)

    fit_lvm(images, labels, CLASSES, lvm, seed=2, steps=3, progress=progress, say=said.append)
    assert said == [f"Memory ran out: {at} pictures at a time from here on." for at in (6, 3)]
    assert sizes == [3] * 12 and told[-1] == 3, "four parts make a step"


def test_what_fits_by_no_means_is_an_error(lvm: LVM, monkeypatch: pytest.MonkeyPatch) -> None:
    def scarce(model: LVM, pictures: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(LVM, "features", scarce)
    said: list[str] = []
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        fit_lvm(*toy(6), CLASSES, lvm, seed=2, steps=1, say=said.append)
    assert len(said) == 1, "three pictures, and no fewer than two"


def test_parts_of_a_batch_make_the_batch() -> None:
    images, _ = toy(10)
    codes = torch.arange(10)
    whole, parts = (LabelledPictures(images, codes, steps=3, seed=1, parts=number) for number in (1, 4))
    assert (len(whole), len(parts)) == (3, 12)
    for step in range(3):
        both = [torch.cat(column) for column in zip(*(parts[4 * step + part] for part in range(4)), strict=True)]
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(both, whole[step], strict=True))
