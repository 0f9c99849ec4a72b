"""A decoder that learns from what people said of its restorations."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lvm_training.errors import LabelError
from lvm_training.params import FinetuneParams
from lvm_training.restoration.finetuning import ARTEFACT, BETTER, WORSE, Judged, JudgedBatches, finetune_decoder
from lvm_training.stamps.render import stretch
from tests.lvm_training.restoration.skies import RENDERING
from tests.tiny_encoder import TINY, tiny_lvm

SIDE = TINY.size
PARAMS = FinetuneParams(steps=8, batch=4, warmup=1, learning_rate=1e-3, epoch_steps=4)


def judged(said: str, *, painted: bool = False, seed: int = 0) -> Judged:
    bands = np.random.default_rng(seed).normal(0.1, 0.05, (3, SIDE, SIDE)).astype(np.float32)
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[4:9, 5:10] = painted
    return Judged(bands, np.full_like(bands, 0.1), said, mask)


def test_what_people_said_makes_target_and_weight() -> None:
    better, worse, anywhere = judged(BETTER), judged(WORSE), judged(ARTEFACT)
    assert np.array_equal(better.target, better.restored) and (better.weight == 1).all()
    for one in (worse, anywhere):
        assert np.array_equal(one.target, one.bands) and (one.weight == 2).all()
    there = judged(ARTEFACT, painted=True)
    assert np.array_equal(there.target[:, there.painted], there.bands[:, there.painted])
    assert np.array_equal(there.target[:, ~there.painted], there.restored[:, ~there.painted])
    assert (there.weight[there.painted] == 8).all() and (there.weight[~there.painted] == 2).all()


def test_a_batch_depends_on_its_number_alone_and_half_of_it_is_simulated() -> None:
    batches = JudgedBatches([judged(BETTER), judged(WORSE, seed=1)], RENDERING, PARAMS)
    once, again, other = batches[3], batches[3], batches[4]
    assert all(torch.equal(one, two) for one, two in zip(once, again, strict=True))
    assert not torch.equal(once[0], other[0])
    pictures, target, weight = once
    assert pictures.shape == target.shape == weight.shape == (4, 3, SIDE, SIDE)
    assert (weight[2:] == 1).all()
    flat = stretch(torch.full((1, 3, SIDE, SIDE), 0.1), RENDERING)[0]
    restored = weight[:2].flatten(1).amax(1) == 1
    assert all(torch.equal(one, flat) for one in target[:2][restored])


def test_the_decoder_learns_and_the_encoder_stays(tmp_path: Path) -> None:
    lvm = tiny_lvm(1)
    before = {name: tensor.clone() for name, tensor in lvm.state_dict().items()}
    steps = list[tuple[int, int]]()
    tuned = finetune_decoder(
        lvm, [judged(WORSE)], RENDERING, PARAMS, tmp_path / "a", progress=lambda *seen: steps.append(seen)
    )
    after = tuned.state_dict()
    assert all(torch.equal(tensor, lvm.state_dict()[name]) for name, tensor in before.items())
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder"}
    assert steps[-1] == (8, 8)
    twice = finetune_decoder(lvm, [judged(WORSE)], RENDERING, PARAMS, tmp_path / "b").state_dict()
    assert all(torch.equal(tensor, twice[name]) for name, tensor in after.items())


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done == 6:
            raise KilledError

    lvm, labels = tiny_lvm(1), [judged(ARTEFACT, painted=True)]
    with pytest.raises(KilledError):
        finetune_decoder(lvm, labels, RENDERING, PARAMS, tmp_path / "a", progress=kill)
    resumed = finetune_decoder(lvm, labels, RENDERING, PARAMS, tmp_path / "a").state_dict()
    whole = finetune_decoder(lvm, labels, RENDERING, PARAMS, tmp_path / "b").state_dict()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


def test_nothing_judged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no judged restoration"):
        finetune_decoder(tiny_lvm(1), [], RENDERING, PARAMS, tmp_path)
