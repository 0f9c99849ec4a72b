"""The detector: it learns, goes on after a stop, and its answers lie on the picture."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch

from lvm_training.detection.data import DetectionBatch, DetectionData, TurnedPictures, turned_targets
from lvm_training.detection.design import DetectorDesign
from lvm_training.detection.detector import PREDICTION_BATCH, Detector, DetectorTraining, train_detector
from lvm_training.detection.detectron import Targets, resnet50_state
from lvm_training.errors import CheckpointError, LabelError, StampError
from lvm_training.model.lvm import LVM
from lvm_training.model.precision import VARIABLE
from lvm_training.objects.instances import Instances, bounding_boxes, box_overlaps
from lvm_training.params import ParamsError
from lvm_training.stamps.symmetries import SYMMETRIES, symmetry
from tests.lvm_training.detection.detection_pictures import (
    CLASSES,
    FOUR_STAGES,
    ON_LVM,
    ON_RESNET,
    SIDE,
    Recipe,
    labelled,
    negatives,
)

LOSSES = {f"train/loss{part}" for part in ("", "_cls", "_box_reg", "_mask", "_rpn_cls", "_rpn_loc")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Detector, dict[str, float]]:
    """A detector of the four pictures, and what its training logged last."""
    images, truths = labelled(4)
    detector = Detector.start(ON_LVM, seed=0)
    params = Recipe(steps=100, batch=4, learning_rate=2e-3, warmup=20, epoch_steps=50, seed=1)
    resume = tmp_path_factory.mktemp("resume")
    return detector, train_detector(detector, images, truths, params, resume, held_out=(images, truths))


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> list[str]:
    return [name for name in before if not torch.equal(before[name], after[name])]


def test_it_learns_what_lies_where(trained: tuple[Detector, dict[str, float]]) -> None:
    detector, metrics = trained
    images, truths = labelled(4)
    for found, truth in zip(detector.predict(images, threshold=0.5), truths, strict=True):
        assert found.classes[0] == truth.classes[0]
        assert box_overlaps(found.boxes, truth.boxes)[0, 0] > 0.5
        shared, union = (found.masks[0] & truth.masks[0]).sum(), (found.masks[0] | truth.masks[0]).sum()
        assert shared / union > 0.5
    assert metrics["validation/completeness"] == 1
    assert 0.5 <= metrics["validation/purity"] <= 1
    assert 0.7 <= metrics["validation/f1"] <= 1
    assert metrics.keys() == LOSSES | {f"validation/{name}" for name in ("completeness", "purity", "f1")}
    assert metrics["train/loss"] == pytest.approx(sum(metrics[name] for name in LOSSES - {"train/loss"}), rel=1e-5)


def test_answers_lie_on_the_picture_and_the_best_comes_first(trained: tuple[Detector, dict[str, float]]) -> None:
    images = torch.cat([labelled(4, seed=2)[0], negatives(2)[0], torch.rand(2, 3, SIDE, SIDE)])
    found = trained[0].predict(images, threshold=0.0)
    assert len(found) == 8 and sum(map(len, found)) > 20
    for one in found:
        assert one.shape == (SIDE, SIDE) and len(one) <= ON_LVM.detections
        assert (one.boxes >= 0).all() and (one.boxes <= SIDE).all()
        assert (np.diff(one.scores) <= 0).all() and ((one.scores > 0) & (one.scores <= 1)).all()
        assert one.masks.any(axis=(1, 2)).all()
        assert set(one.classes) <= set(CLASSES)
        # a mask is pasted into its box, and a pixel belongs to a box that holds its centre
        for box, mask in zip(one.boxes, one.masks, strict=True):
            rows, columns = np.nonzero(mask)
            assert columns.min() + 1 >= box[0] and rows.min() + 1 >= box[1]
            assert columns.max() <= box[2] and rows.max() <= box[3]


def test_a_threshold_drops_what_is_below(trained: tuple[Detector, dict[str, float]]) -> None:
    images, _ = labelled(4)
    every, some = (trained[0].predict(images, threshold=threshold) for threshold in (0.0, 0.3))
    for all_found, found in zip(every, some, strict=True):
        kept = all_found.rows(all_found.scores > 0.3)
        assert kept.classes == found.classes
        np.testing.assert_allclose(kept.boxes, found.boxes, atol=1e-4)


def test_a_picture_has_the_same_answer_in_any_company(trained: tuple[Detector, dict[str, float]]) -> None:
    images = labelled(PREDICTION_BATCH + 3, seed=4)[0]
    together = trained[0].predict(images)
    alone = trained[0].predict(images[-1:])[0]
    assert len(together) == len(images)
    np.testing.assert_allclose(together[-1].boxes, alone.boxes, atol=1e-3)
    assert trained[0].predict(images[:0]) == []


def test_predicting_refuses_bad_pictures(trained: tuple[Detector, dict[str, float]]) -> None:
    for shape in ((3, SIDE, SIDE), (1, 1, SIDE, SIDE), (1, 3, 64, 64)):
        with pytest.raises(StampError, match=r"pictures \(N, 3, 32, 32\)"):
            trained[0].predict(torch.zeros(shape))
    with pytest.raises(StampError, match="not finite"):
        trained[0].predict(torch.full((1, 3, SIDE, SIDE), torch.nan))


def test_it_starts_from_what_it_is_given() -> None:
    before = torch.get_rng_state()
    first, again, other = (Detector.start(ON_LVM, seed=seed).state_dict() for seed in (1, 1, 2))
    assert moved(first, again) == [] and moved(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    lvm = LVM(FOUR_STAGES)
    given = Detector.start(ON_LVM, seed=1, lvm=lvm).state_dict()
    assert moved(first, given) and all(".lvm.encoder." in name for name in moved(first, given))
    patches = "encoder.patch_embed.proj.weight"
    assert torch.equal(given[f"network.backbone.bottom_up.lvm.{patches}"], lvm.state_dict()[patches])
    state = resnet50_state(timm.create_model("resnet50").state_dict())
    resnet = Detector.start(ON_RESNET, seed=1, resnet50=state).state_dict()
    assert torch.equal(resnet["network.backbone.bottom_up.res5.2.conv2.weight"], state["res5.2.conv2.weight"])
    with pytest.raises(CheckpointError):
        Detector.start(ON_LVM, seed=1, resnet50=state)


@pytest.mark.parametrize("design", [ON_LVM, ON_RESNET], ids=["lvm", "resnet50"])
def test_negatives_alone_can_be_trained_on(design: object, tmp_path: Path) -> None:
    detector = Detector.start(ON_LVM if design is ON_LVM else ON_RESNET, seed=0)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    params = Recipe(steps=2)
    metrics = train_detector(detector, *negatives(4), params, tmp_path, held_out=negatives(2))
    assert metrics["train/loss_mask"] == metrics["train/loss_box_reg"] == 0 < metrics["train/loss_cls"]
    assert metrics["validation/completeness"] == 0
    assert moved(before, detector.state_dict())


def test_a_run_that_was_stopped_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    images, truths = labelled(5)

    def run(folder: str, stop_at: int = 0) -> dict[str, torch.Tensor]:
        def stop(done: int, _: int) -> None:
            if done == stop_at:
                raise KeyError("stopped")

        detector = Detector.start(ON_LVM, seed=4)
        train_detector(detector, images, truths, Recipe(), tmp_path / folder, progress=stop)
        return detector.state_dict()

    whole = run("whole")
    with pytest.raises(KeyError):
        run("parts", stop_at=3)
    assert moved(whole, run("parts")) == []


@pytest.mark.parametrize("design", [ON_LVM, ON_RESNET], ids=["lvm", "resnet50"])
@pytest.mark.parametrize(("asked", "kind"), [("bf16", torch.bfloat16), ("float32", torch.float32)])
def test_it_trains_in_the_precision_asked_for_and_answers_in_float32(
    asked: str, kind: torch.dtype, design: DetectorDesign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, asked)
    detector = Detector.start(design, seed=0)
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}

    def watch(module: torch.nn.Module, _: object, found: torch.Tensor) -> None:
        seen[module.training].add(found.dtype)

    next(one for one in detector.network.modules() if type(one) is torch.nn.Conv2d).register_forward_hook(watch)
    next(one for one in detector.network.modules() if type(one) is torch.nn.Linear).register_forward_hook(watch)
    images, truths = labelled(3)
    metrics = train_detector(detector, images, truths, Recipe(steps=2), tmp_path, held_out=(images, truths))
    assert seen == {True: {kind}, False: {torch.float32}}
    assert np.isfinite(metrics["train/loss"]) and {one.dtype for one in detector.parameters()} == {torch.float32}


def f1_by_counting(found: list[Instances], truths: list[Instances]) -> float:
    """The mean over the classes that are there, or are found, of twice the right ones over all."""
    scores = []
    for name in CLASSES:
        right = every = 0
        for one, truth in zip(found, truths, strict=True):
            ours = [box for box, c in zip(one.boxes, one.classes, strict=True) if c == name]
            theirs = [box for box, c in zip(truth.boxes, truth.classes, strict=True) if c == name]
            every += len(ours) + len(theirs)
            for some, others in ((ours, theirs), (theirs, ours)):
                right += sum(any(box_overlaps(a[None], b[None])[0, 0] >= 0.5 for b in others) for a in some)
        scores += [right / every] if every else []
    return sum(scores) / len(scores) if scores else 0.0


def test_what_a_training_is_stopped_by_is_the_mean_f1_of_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    images, truths = labelled(5)
    square, disc = truths[0], truths[1]
    shifted = Instances(disc.classes, disc.boxes + 2.0, disc.masks, disc.scores)
    twice = Instances(("disc", "square"), np.concatenate([disc.boxes] * 2), disc.masks.repeat(2, 0), np.ones(2))
    nothing = Instances.empty((SIDE, SIDE))
    detector = Detector.start(ON_LVM, seed=0)
    logged: dict[str, float] = {}
    training = DetectorTraining(detector, Recipe())
    monkeypatch.setattr(training, "log_dict", lambda values, **_: logged.update(values))
    for found, known in (
        ([square, shifted, nothing, twice, square], truths),
        ([nothing] * 5, truths),
        ([square] * 2, [square, nothing]),
        ([nothing], [nothing]),
    ):
        monkeypatch.setattr(detector, "predict", lambda pictures, threshold, found=found: found)
        made = DetectionData(images[: len(known)], known, ON_LVM, Recipe())
        training.validation_step(DetectionBatch(made.images, made.targets), 0)
        assert logged["validation/f1"] == pytest.approx(f1_by_counting(found, known))


def test_each_epoch_may_have_pictures_of_its_own() -> None:
    made = DetectionData(*labelled(7), ON_LVM, Recipe(), fresh=lambda epoch: labelled(3, seed=epoch))
    for epoch, (images, truths) in enumerate([labelled(7), labelled(3, seed=1), labelled(3, seed=2)]):
        made.trainer = SimpleNamespace(global_rank=0, world_size=1, current_epoch=epoch)  # type: ignore[assignment]
        wanted = DetectionData(images, truths, ON_LVM, Recipe())
        numbers = range(2 * epoch, 2 * epoch + 2)
        turned = TurnedPictures(images, wanted.targets, 3, Recipe().seed, numbers)
        for batch, number in zip(made.train_dataloader(), range(2), strict=True):
            assert torch.equal(batch.images, turned[number].images)
            for one, other in zip(batch.targets, turned[number].targets, strict=True):
                assert torch.equal(one.boxes, other.boxes)


def test_a_training_that_cannot_be_judged_cannot_end_early(tmp_path: Path) -> None:
    detector = Detector.start(ON_LVM, seed=0)
    with pytest.raises(ParamsError, match="without held-out pictures"):
        train_detector(detector, *labelled(3), Recipe(), tmp_path, patience=1)
    assert not list(tmp_path.iterdir())


def data(seed: int = 3, *, rank: int = 0, world: int = 1, epoch: int = 0) -> DetectionData:
    made = DetectionData(*labelled(7), ON_LVM, Recipe(seed=seed))
    made.trainer = SimpleNamespace(global_rank=rank, world_size=world, current_epoch=epoch)  # type: ignore[assignment]
    return made


def pictures(made: DetectionData) -> list[torch.Tensor]:
    return [batch.images for batch in made.train_dataloader()]


def test_a_batch_depends_on_the_seed_and_its_number_alone() -> None:
    images, targets = data().images, data().targets
    whole = TurnedPictures(images, targets, 3, 3, range(6))
    for start in (0, 2, 5):
        part = TurnedPictures(images, targets, 3, 3, range(start, 6))
        assert torch.equal(part[0].images, whole[start].images)
        for found, wanted in zip(part[0].targets, whole[start].targets, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert not torch.equal(TurnedPictures(images, targets, 3, 4, range(6))[0].images, whole[0].images)
    epochs = [image for epoch in range(3) for image in pictures(data(epoch=epoch))]
    assert torch.equal(torch.stack(epochs), torch.stack([whole[number].images for number in range(6)]))


def test_processes_share_out_the_batches() -> None:
    every = TurnedPictures(data().images, data().targets, 3, 3, range(8))
    whole = [every[number].images for number in range(8)]
    for epoch in (0, 1):
        first, second = (pictures(data(rank=rank, world=2, epoch=epoch)) for rank in (0, 1))
        assert torch.equal(torch.stack([first[0], second[0], first[1], second[1]]), torch.stack(whole[4 * epoch :][:4]))


def test_every_picture_is_seen_once_a_round_and_every_way_up() -> None:
    count = 7
    images = torch.arange(count)[:, None, None, None].expand(count, 3, SIDE, SIDE).clone().float()
    images[:, :, 0, 1] += 0.5
    turned = TurnedPictures(images, data().targets, 3, 0, range(70))
    batches = [turned[number] for number in range(len(turned))]
    order = torch.cat([batch.images[:, 0, 5, 5].long() for batch in batches])
    for around in torch.split(order, count):
        assert sorted(around.tolist()) == list(range(count))
    marks = torch.cat([(batch.images[:, 0] % 1 == 0.5).nonzero()[:, 1:] for batch in batches])
    assert len({tuple(mark) for mark in marks.tolist()}) == SYMMETRIES


@pytest.mark.parametrize("kind", range(SYMMETRIES))
def test_masks_turn_with_their_pixels_and_boxes_follow(kind: int) -> None:
    """Every pixel of a mask is marked on the picture, and found again after turning both."""
    rng = np.random.default_rng(kind)
    masks = np.zeros((3, SIDE, SIDE), dtype=bool)
    masks[0, 3:9, 20:31] = rng.random((6, 11)) < 0.4
    masks[0, 3, 20] = True
    masks[1, 10:12, 4:5] = True
    # a box drawn without a mask is a mask that fills it
    masks[2, 17:30, 2:13] = True
    image = torch.from_numpy(masks.astype(np.float32))
    drawn = torch.tensor([True, True, False])
    boxes = torch.from_numpy(bounding_boxes(masks)).float()
    targets = turned_targets(Targets(torch.tensor([1, 0, 1]), boxes, torch.from_numpy(masks), drawn), kind)
    assert torch.equal(symmetry(image[None], kind)[0] > 0, targets.masks)
    assert targets.codes.tolist() == [1, 0, 1] and torch.equal(targets.drawn, drawn)
    for mask, box in zip(targets.masks, targets.boxes.tolist(), strict=True):
        rows, columns = zip(*mask.nonzero().tolist(), strict=True)
        assert box == [min(columns), min(rows), max(columns) + 1, max(rows) + 1]
    x0, y0, x1, y1 = (int(edge) for edge in targets.boxes[2])
    assert targets.masks[2, y0:y1, x0:x1].all() and targets.masks[2].sum() == (y1 - y0) * (x1 - x0) == 13 * 11


def test_a_picture_without_objects_turns() -> None:
    nothing = torch.zeros(0, dtype=torch.bool)
    turned = turned_targets(Targets(torch.zeros(0), torch.zeros(0, 4), nothing.reshape(0, SIDE, SIDE), nothing), 5)
    assert turned.boxes.shape == (0, 4) and turned.masks.shape == (0, SIDE, SIDE)


def test_truths_that_do_not_fit_their_pictures() -> None:
    images, truths = labelled(3)
    star = Instances.of_masks(("star",), truths[0].masks)
    large = Instances.of_masks(("disc",), np.ones((1, 64, 64), dtype=bool))
    for given, message in (
        (truths[1:], "2 truths for 3 pictures"),
        ([star, *truths[1:]], "outside the classes: star"),
        ([*truths[1:], large], r"Masks of \(64, 64\) pixels lie on pictures of 32"),
    ):
        with pytest.raises(LabelError, match=message):
            DetectionData(images, given, ON_LVM, Recipe())
        with pytest.raises(LabelError, match=message):
            DetectionData(images, truths, ON_LVM, Recipe(), (images, given))
    with pytest.raises(LabelError, match="0 truths"):
        DetectionData(images[:0], [], ON_LVM, Recipe())
    with pytest.raises(StampError, match="not finite"):
        DetectionData(images / 0, truths, ON_LVM, Recipe())
