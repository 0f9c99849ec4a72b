"""Pretraining: batches that depend on their place alone, the loss, and runs that go on after a kill."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from lvm_training.errors import CheckpointError, StampError
from lvm_training.model.lvm import LVM, Preset
from lvm_training.params import ParamsError, PretrainParams
from lvm_training.pretraining.data import Batch, PretrainingBatches, PretrainingData, _standardised
from lvm_training.pretraining.simulated_data import SimulatedPretraining
from lvm_training.pretraining.training import Pretraining, pretrain
from lvm_training.stamps.render import render_set
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

MakeStamps = Callable[..., Path]


def batches(path: Path, rendering: Rendering, params: PretrainParams, seed: tuple[int, ...]) -> PretrainingBatches:
    with StampSet(path) as stamps:
        rows = np.arange(len(stamps))
    catalogue = np.stack([rows, -rows], axis=1).astype(np.float32)
    return PretrainingBatches([path], rows, catalogue, rendering, params, 4, seed)


def symmetries(picture: torch.Tensor) -> list[torch.Tensor]:
    turned = [torch.rot90(picture, turns, (1, 2)) for turns in range(4)]
    return turned + [one.flip(2) for one in turned]


def test_a_batch_depends_on_seed_epoch_and_place_alone(
    make_stamps: MakeStamps, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    path = make_stamps()
    first, again = (batches(path, rendering, pretrain_params, (5, 2)) for _ in range(2))
    backwards = [again[index] for index in reversed(range(len(again)))][::-1]
    for index in range(len(first)):
        assert all(torch.equal(a, b) for a, b in zip(first[index][:4], backwards[index][:4], strict=True))
        assert first[index].second is None
    other = batches(path, rendering, pretrain_params, (5, 3))
    assert not torch.equal(first[0].clean, other[0].clean)


def test_shapes_and_share_of_the_mask(
    make_stamps: MakeStamps, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    batch = batches(make_stamps(), rendering, pretrain_params, (1,))[0]
    assert batch.degraded.shape == batch.clean.shape == (8, 3, 32, 32)
    assert batch.mask.shape == (8, 8, 8)
    assert (batch.mask.sum(dim=(1, 2)) == 32).all()
    blocks = batch.mask.reshape(8, 4, 2, 4, 2)
    assert torch.equal(blocks.any(4).any(2), blocks.all(4).all(2)), "blocks of 8 pixels are hidden whole"
    assert len({tuple(mask.flatten().tolist()) for mask in batch.mask}) > 1
    some = batches(make_stamps(), rendering, pretrain_params.model_copy(update={"masked_share": 0.25}), (1,))[0]
    assert some.mask.sum(dim=(1, 2)).tolist() == [0, 0, 0, 32, 0, 0, 0, 32]


def test_clean_pictures_are_the_rendering_turned_or_mirrored(
    make_stamps: MakeStamps, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    path = make_stamps(8)
    with StampSet(path) as stamps:
        rendered = render_set(stamps, slice(None), rendering)
    batch = batches(path, rendering, pretrain_params.model_copy(update={"steps": 1}), (4,))[0]
    found = set()
    for clean in batch.clean:
        hits = [
            (row, kind)
            for row, picture in enumerate(rendered)
            for kind, turned in enumerate(symmetries(picture))
            if torch.equal(clean, turned)
        ]
        assert len(hits) == 1
        found.add(hits[0])
    assert {row for row, _ in found} == set(range(8))
    assert len({kind for _, kind in found}) > 2


def test_the_degraded_picture_is_turned_with_the_clean_one(
    make_stamps: MakeStamps, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    batch = batches(make_stamps(), rendering, pretrain_params, (1,))[0]
    for clean, degraded in zip(batch.clean, batch.degraded, strict=True):
        gaps = [float((one - degraded).abs().mean()) for one in symmetries(clean)]
        assert gaps.index(min(gaps)) == 0
    assert not torch.equal(batch.clean, batch.degraded)


def test_pictures_as_delivered_are_degraded_too(
    make_stamps: MakeStamps, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    batch = batches(make_stamps(delivered=True), rendering, pretrain_params, (1,))[0]
    change = (batch.clean - batch.degraded).abs().mean(dim=(1, 2, 3))
    assert (change > 0).all() and (change < 0.2).all()
    assert batch.degraded.min() >= 0 and batch.degraded.max() <= 1


def test_the_test_split_is_never_read(
    make_stamps: MakeStamps, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    data = PretrainingData(make_stamps(50), rendering, pretrain_params, 4)
    used = np.concatenate([data.training_rows, data.validation_rows])
    assert sorted(used.tolist()) == [row for row in range(50) if row % 5]
    assert len(data.validation_rows) == 4


def test_stamps_and_blocks_that_cannot_be_used(
    make_stamps: MakeStamps, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    with pytest.raises(StampError, match="no stamp outside its test split"):
        PretrainingData(make_stamps(1), rendering, pretrain_params, 4)
    for side in (6, 12, 64):
        params = pretrain_params.model_copy(update={"mask_patch": side, "catalogue": ()})
        with pytest.raises(ParamsError, match="do not tile"):
            PretrainingData(make_stamps(9), rendering, params, 4)
        with pytest.raises(ParamsError, match="do not tile"):
            SimulatedPretraining(rendering, params, 4)


def test_each_picture_comes_with_its_own_catalogue_row(
    make_stamps: MakeStamps, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    path = make_stamps(8)
    with StampSet(path) as stamps:
        rendered = render_set(stamps, slice(None), rendering)
    batch = batches(path, rendering, pretrain_params, (4,))[0]
    for clean, (row, minus) in zip(batch.clean, batch.catalogue.tolist(), strict=True):
        assert minus == -row
        assert any(torch.equal(clean, turned) for turned in symmetries(rendered[int(row)]))


def test_the_catalogue_is_standardised_on_the_training_rows(
    make_stamps: MakeStamps, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    path = make_stamps(60)
    data = PretrainingData(path, rendering, pretrain_params, 4)
    used = data.catalogue[data.training_rows]
    np.testing.assert_allclose(used.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(used.std(axis=0), 1, atol=1e-5)
    with StampSet(path) as stamps:
        assert np.corrcoef(data.catalogue[:, 1], stamps.column("radius").astype(float))[0, 1] == pytest.approx(1)
    column = np.array([1.0, np.nan, np.inf, 3.0], np.float32)
    np.testing.assert_array_equal(_standardised(column, np.arange(4)), [-1, np.nan, np.nan, 1])
    np.testing.assert_array_equal(_standardised(np.full(3, 7, np.float32), np.arange(3)), [0, 0, 0])


def test_a_catalogue_column_the_set_lacks(
    make_stamps: MakeStamps, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    with pytest.raises(StampError, match="no column 'redshift'"):
        PretrainingData(make_stamps(9), rendering, pretrain_params.model_copy(update={"catalogue": ("redshift",)}), 4)


def random_batch() -> Batch:
    torch.manual_seed(0)
    mask = torch.rand(3, 8, 8) < 0.5
    mask[1:] = False
    catalogue = torch.tensor([[1.0, 2.0], [0.3, float("nan")], [-2.5, 0.1]])
    return Batch(torch.rand(3, 3, 32, 32), torch.rand(3, 3, 32, 32), mask, catalogue)


def test_restoration_weighs_hidden_pixels_more(lvm: LVM, pretrain_params: PretrainParams) -> None:
    batch = random_batch()
    restored = lvm(batch.degraded, batch.mask).detach()
    total, weights = 0.0, 0.0
    for b in range(3):
        for y in range(32):
            for x in range(32):
                weight = 1.0 if batch.mask[b, y // 4, x // 4] else pretrain_params.visible_weight
                total += weight * float((restored[b, :, y, x] - batch.clean[b, :, y, x]).abs().mean())
                weights += weight
    loss = Pretraining(lvm, pretrain_params).losses(batch)["restoration"]
    assert float(loss.detach()) == pytest.approx(total / weights, rel=1e-5)


def test_the_catalogue_is_read_off_unmasked_pictures(lvm: LVM, pretrain_params: PretrainParams) -> None:
    batch, module = random_batch(), Pretraining(lvm, pretrain_params)
    assert module.readout is not None
    read = module.readout(lvm.features(batch.degraded)).tolist()
    gaps = [abs(read[b][k] - float(batch.catalogue[b, k])) for b, k in ((1, 0), (2, 0), (2, 1))]
    expected = sum(gap - 0.5 if gap > 1 else gap**2 / 2 for gap in gaps) / 3
    loss = module.losses(batch)["catalogue"]
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)


def test_pixels_that_were_not_observed_do_not_count(lvm: LVM, pretrain_params: PretrainParams) -> None:
    batch, module = random_batch(), Pretraining(lvm, pretrain_params)
    clean = batch.clean.clone()
    clean[0, 1, 4:9] = torch.nan
    clean[2] = torch.nan
    loss = module.losses(batch._replace(clean=clean))["restoration"]
    hidden = batch.mask.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    weight = torch.where(hidden, 1.0, pretrain_params.visible_weight).expand_as(clean)[clean.isfinite()]
    error = (lvm(batch.degraded, batch.mask) - clean).abs()[clean.isfinite()]
    assert float(loss.detach()) == pytest.approx(float(((error * weight).sum() / weight.sum()).detach()), rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
    nothing = module.losses(batch._replace(clean=torch.full_like(clean, torch.nan)))
    assert float(nothing["restoration"].detach()) == 0


@pytest.mark.parametrize("changes", [{}, {"catalogue": ()}, {"invariance_weight": 1.0, "catalogue": ()}])
@pytest.mark.parametrize("masked", [True, False])
def test_every_parameter_is_in_the_loss(
    lvm: LVM, pretrain_params: PretrainParams, changes: dict[str, object], masked: bool
) -> None:
    batch, module = random_batch(), Pretraining(lvm, pretrain_params.model_copy(update=changes))
    batch = batch._replace(mask=batch.mask & masked, second=torch.rand(2 if masked else 3, 3, 32, 32))
    torch.stack(list(module.losses(batch).values())).sum().backward()  # type: ignore[no-untyped-call]
    assert not [name for name, parameter in module.named_parameters() if parameter.grad is None], "as DDP demands"


def test_stamps_with_holes_and_missing_bands_are_learned_from(
    tmp_path: Path, make_stamps: MakeStamps, tiny: Preset, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    path = make_stamps(40)
    with h5py.File(path, "a") as file:
        file["images"][:20, :, 15:20] = np.nan
        file["images"][20:30, 0] = np.nan
        file["images"][33] = np.nan
        file["radius"][:] = np.nan
    resume = tmp_path / "run"
    metrics = pretrain(LVM(tiny), PretrainingData(path, rendering, pretrain_params, 4), pretrain_params, resume)
    assert all(np.isfinite(value) and value >= 0 for value in metrics.values())
    assert metrics["validation/restoration"] > 0


def test_a_set_without_a_finite_pixel(
    make_stamps: MakeStamps, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    path = make_stamps(80)
    with h5py.File(path, "a") as file:
        images = file["images"][:]
        # the test split alone shows something
        images[np.arange(80) % 5 > 0] = np.nan
        file["images"][:] = images
    with pytest.raises(StampError, match=r"no stamp of blobs\.h5 .* has a finite pixel"):
        PretrainingData(path, rendering, pretrain_params, 4)
    assert len(PretrainingData([path, make_stamps(10, name="more")], rendering, pretrain_params, 4).training_rows)


def test_a_batch_of_stamps_that_show_nothing_teaches_nothing(
    tmp_path: Path, make_stamps: MakeStamps, rendering: Rendering, tiny: Preset, pretrain_params: PretrainParams
) -> None:
    path = make_stamps(40)
    with h5py.File(path, "a") as file:
        images = file["images"][:]
        images[np.arange(40) % 5 != 1] = np.nan
        file["images"][:] = images
    params = pretrain_params.model_copy(update={"batch": 2, "masked_share": 0.0, "epoch_steps": 9})
    data = PretrainingData(path, rendering, params, 4)
    drawn = list(data.train_dataloader())
    blank = [~Batch(*batch).clean.isfinite().flatten(1).any(1) for batch in drawn]
    assert any(one.all() for one in blank) and not all(one.all() for one in blank)
    for batch, nothing in zip(drawn, blank, strict=True):
        assert torch.equal(batch.catalogue.isnan().all(1), nothing), "there is nothing to read off"
        if nothing.all():
            losses = Pretraining(LVM(tiny), params).losses(batch)
            assert {name: float(loss.detach()) for name, loss in losses.items()} == {"restoration": 0, "catalogue": 0}
    metrics = pretrain(LVM(tiny), data, params, tmp_path / "run")
    assert all(np.isfinite(value) for value in metrics.values())


def test_a_set_of_no_stamps(
    tmp_path: Path, make_stamps: MakeStamps, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["images"] = np.zeros((0, 3, 48, 48), np.float32)
    params = pretrain_params.model_copy(update={"catalogue": ()})
    with pytest.raises(StampError, match=r"empty\.h5 has no stamp outside its test split"):
        PretrainingData(tmp_path / "empty.h5", rendering, params, 4)
    both = PretrainingData([tmp_path / "empty.h5", make_stamps(10)], rendering, params, 4)
    assert len(both.training_rows) == 8


def test_what_is_read_out_begins_as_the_seed_says(lvm: LVM, pretrain_params: PretrainParams) -> None:
    params = pretrain_params.model_copy(update={"invariance_weight": 1.0})
    assert params.catalogue
    # PyTorch seeds each process at random
    begun = [(torch.seed(), Pretraining(lvm, params).state_dict())[1] for _ in range(2)]
    assert all(torch.equal(begun[0][name], begun[1][name]) for name in begun[0])
    other = Pretraining(lvm, params.model_copy(update={"seed": params.seed + 1})).state_dict()
    assert not torch.equal(begun[0]["readout.weight"], other["readout.weight"])


def test_the_invariance_term_draws_two_views_together(lvm: LVM, pretrain_params: PretrainParams) -> None:
    module = Pretraining(lvm, pretrain_params.model_copy(update={"invariance_weight": 1.0}))
    assert module.invariance is not None
    features = torch.randn(16, lvm.preset.width)
    alike = float(module.invariance(features, features).detach())
    other = float(module.invariance(features, torch.randn(16, lvm.preset.width)).detach())
    collapsed = float(module.invariance(features[:1].expand(16, -1), features[:1].expand(16, -1)).detach())
    assert alike < other and alike < collapsed, "neither different views nor equal stamps are good"
    assert float(module.invariance(features[:1], features[:1]).detach()) == 0, "one stamp has no variance"


def test_the_invariance_term_is_trained_and_logged(
    tmp_path: Path, make_stamps: MakeStamps, tiny: Preset, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    params = pretrain_params.model_copy(update={"invariance_weight": 0.5, "masked_share": 0.5})
    path = make_stamps(60)
    data = PretrainingData(path, rendering, params, 4)
    metrics = pretrain(LVM(tiny), data, params, tmp_path / "run")
    terms = [metrics[f"train/{name}"] for name in ("restoration", "catalogue", "invariance")]
    assert terms[2] > 0
    assert metrics["train/loss"] == pytest.approx(terms[0] + 0.5 * terms[1] + 0.5 * terms[2])
    batch = batches(path, rendering, params, (1,))[0]
    assert batch.second is not None and len(batch.second) == 4
    without = batches(path, rendering, pretrain_params.model_copy(update={"masked_share": 0.5}), (1,))[0]
    assert torch.equal(batch.degraded, without.degraded), "the other draws stay as they were"


def test_invariance_without_second_views_or_lightly(
    make_stamps: MakeStamps,
    lvm: LVM,
    rendering: Rendering,
    pretrain_params: PretrainParams,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params = pretrain_params.model_copy(update={"invariance_weight": 0.5})
    with pytest.raises(ParamsError, match="compares unmasked stamps"):
        PretrainingData(make_stamps(9), rendering, params, 4)
    with pytest.raises(ParamsError, match="no second views"):
        Pretraining(lvm, params).losses(random_batch())
    monkeypatch.setitem(sys.modules, "lightly.loss", None)
    assert Pretraining(lvm, pretrain_params).invariance is None, "not imported unless it is wanted"
    with pytest.raises(ParamsError, match="needs the package lightly"):
        Pretraining(lvm, params)


def test_a_set_without_catalogue_is_restored_alone(
    tmp_path: Path, make_stamps: MakeStamps, tiny: Preset, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    params = pretrain_params.model_copy(update={"catalogue": (), "steps": 1})
    data = PretrainingData(make_stamps(30), rendering, params, 4)
    assert data.catalogue.shape == (30, 0)
    metrics = pretrain(LVM(tiny), data, params, tmp_path / "run")
    assert metrics["validation/catalogue"] == 0
    assert metrics["validation/loss"] == metrics["validation/restoration"] > 0


def test_the_learning_rate_warms_up_then_falls_to_zero(lvm: LVM, pretrain_params: PretrainParams) -> None:
    module = Pretraining(lvm, pretrain_params.model_copy(update={"steps": 12, "warmup": 2}))
    configured: Any = module.configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(13):
        rates.append(optimizer.param_groups[0]["lr"] / pretrain_params.learning_rate)
        optimizer.step()
        scheduler.step()
    assert rates[:3] == pytest.approx([0.5, 1.0, 1.0])
    assert rates[7] == pytest.approx(0.5)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[12] == pytest.approx(0.0)
    assert configured["lr_scheduler"]["interval"] == "step"


def test_norms_biases_and_position_tables_do_not_decay(lvm: LVM, pretrain_params: PretrainParams) -> None:
    module = Pretraining(lvm, pretrain_params)
    configured = module.configure_optimizers()
    assert isinstance(configured, dict)
    decayed, plain = configured["optimizer"].param_groups
    assert {p.ndim for p in decayed["params"]} == {2, 4}
    tables = {id(p) for name, p in lvm.named_parameters() if "relative_position" in name}
    assert tables <= {id(p) for p in plain["params"]}
    assert plain["weight_decay"] == 0 and decayed["weight_decay"] == 0.05
    assert len(decayed["params"]) + len(plain["params"]) == len(list(module.parameters()))


def train(path: Path, tiny: Preset, rendering: Rendering, params: PretrainParams, resume: Path) -> tuple[LVM, float]:
    torch.manual_seed(params.seed)
    lvm = LVM(tiny)
    metrics = pretrain(lvm, PretrainingData(path, rendering, params, tiny.patch), params, resume)
    return lvm, metrics["validation/loss"]


def same(a: LVM, b: LVM) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_pretraining_learns(
    tmp_path: Path, make_stamps: MakeStamps, tiny: Preset, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    path = make_stamps(60)
    _, short = train(path, tiny, rendering, pretrain_params.model_copy(update={"steps": 3}), tmp_path / "a")
    _, long = train(path, tiny, rendering, pretrain_params.model_copy(update={"steps": 45}), tmp_path / "b")
    assert long < 0.7 * short


def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path,
    make_stamps: MakeStamps,
    tiny: Preset,
    rendering: Rendering,
    pretrain_params: PretrainParams,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = make_stamps(60)
    whole, loss = train(path, tiny, rendering, pretrain_params, tmp_path / "whole")
    steps: list[int] = []
    training_step = Pretraining.training_step

    def dying(self: Pretraining, batch: Batch, index: int) -> torch.Tensor:
        steps.append(self.global_step)
        if len(steps) == 8:
            raise RuntimeError("killed")
        return training_step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, "training_step", dying)
        with pytest.raises(RuntimeError, match="killed"):
            train(path, tiny, rendering, pretrain_params, tmp_path / "parts")
        resumed, resumed_loss = train(path, tiny, rendering, pretrain_params, tmp_path / "parts")
    assert steps == [*range(8), 6, 7, 8], "the second run starts where the last whole epoch of three steps ended"
    assert same(whole, resumed)
    assert resumed_loss == loss


def test_a_resume_checkpoint_never_runs_code(
    tmp_path: Path, make_stamps: MakeStamps, tiny: Preset, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    proof = tmp_path / "proof"

    class Evil:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            return Path.touch, (proof,)  # type: ignore[return-value]

    for name, content in (("evil", Evil()), ("torn", None)):
        resume = tmp_path / name
        resume.mkdir()
        if content is None:
            (resume / "last.ckpt").write_bytes(b"PK\x03\x04 torn")
        else:
            torch.save({"state_dict": content}, resume / "last.ckpt")
        with pytest.raises(CheckpointError, match="no resume checkpoint"):
            train(make_stamps(30), tiny, rendering, pretrain_params, resume)
    assert not proof.exists()


def test_progress_counts_steps(
    tmp_path: Path, make_stamps: MakeStamps, tiny: Preset, rendering: Rendering, pretrain_params: PretrainParams
) -> None:
    params = pretrain_params.model_copy(update={"steps": 5})
    seen: list[tuple[int, int]] = []
    data = PretrainingData(make_stamps(40), rendering, params, 4)
    pretrain(LVM(tiny), data, params, tmp_path / "run", progress=lambda *done: seen.append(done))
    assert seen == [(step, 5) for step in range(1, 6)]


def test_nothing_is_printed_or_logged_unless_asked_for(
    tmp_path: Path,
    make_stamps: MakeStamps,
    tiny: Preset,
    rendering: Rendering,
    pretrain_params: PretrainParams,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    train(make_stamps(30), tiny, rendering, pretrain_params.model_copy(update={"steps": 1}), tmp_path / "run")
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "lightning_logs").exists()
