"""The arithmetic of a processor: asked at run time, named by digests, and no part of what a run resumes from."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lvm_training.backbones.backbone import encoder_digest
from lvm_training.index.queries import matching_encoder
from lvm_training.model import precision
from lvm_training.model.encoder import Encoder, save_checkpoint
from lvm_training.model.lvm import LVM, Preset
from lvm_training.model.precision import VARIABLE, Precision, fast_precision, trainer_precision
from lvm_training.params import ParamsError, PretrainParams
from lvm_training.stamps.rendering import Rendering
from tests.lvm_training.pretraining.training_process import Setup, run


@pytest.fixture
def on_amx(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Fakes the processor's answer."""
    monkeypatch.delenv(VARIABLE)

    def fake(answer: bool) -> None:
        monkeypatch.setattr(precision, "cpu_has_amx", lambda: answer)

    return fake


@pytest.mark.parametrize(("amx", "expected"), [(True, "bf16"), (False, "float32")])
def test_a_cpu_computes_in_bf16_where_it_has_tiles(on_amx: Callable[[bool], None], amx: bool, expected: str) -> None:
    on_amx(amx)
    assert fast_precision("cpu") == expected
    assert trainer_precision(torch.device("cpu")) == {"bf16": "bf16-mixed", "float32": "32-true"}[expected]


@pytest.mark.parametrize("asked", ["bf16", "float32"])
def test_the_environment_overrules_the_processor(
    on_amx: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    on_amx(asked != "bf16")
    monkeypatch.setenv(VARIABLE, asked)
    assert fast_precision("cpu") == asked


def test_an_unknown_precision_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "float8")
    with pytest.raises(ParamsError, match="float8") as caught:
        fast_precision("cpu")
    assert "float32, bf16 or auto" in caught.value.hint


def test_a_run_in_bf16_goes_on_in_float32(
    tmp_path: Path,
    make_stamps: Callable[..., Path],
    tiny: Preset,
    rendering: Rendering,
    pretrain_params: PretrainParams,
    on_amx: Callable[[bool], None],
) -> None:
    begun = pretrain_params.model_copy(update={"steps": 3})
    setup = Setup(stamps=[make_stamps(60)], preset=tiny, rendering=rendering, params=begun, folder=tmp_path)
    on_amx(True)
    run(setup)
    on_amx(False)
    lvm = run(setup.model_copy(update={"params": pretrain_params}))
    steps = [json.loads(line)["step"] for line in setup.steps.read_text().splitlines()]
    assert steps == list(range(9)), "the second run goes on where the first one ended"
    assert all(parameter.dtype == torch.float32 and parameter.isfinite().all() for parameter in lvm.parameters())


def test_features_of_two_precisions_have_two_names(lvm: LVM, rendering: Rendering) -> None:
    single, rounded = Encoder(lvm, rendering), Encoder(lvm, rendering, precision="bf16")
    assert single.digest == encoder_digest(lvm, rendering) != rounded.digest
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    one, other = single.features(images), rounded.features(images)
    assert one.dtype == other.dtype == torch.float32
    assert not torch.equal(one, other)
    torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("begun", ["bf16", "float32"])
@pytest.mark.parametrize("amx", [True, False])
def test_a_campaign_goes_on_in_the_precision_it_began_in(
    tmp_path: Path, lvm: LVM, rendering: Rendering, on_amx: Callable[[bool], None], begun: Precision, amx: bool
) -> None:
    save_checkpoint(tmp_path, lvm, rendering, data="none", code="none", params={}, metrics={})
    on_amx(begun == "bf16")
    encoder = Encoder.load(tmp_path, views=2)
    assert encoder.precision == begun
    on_amx(amx)
    again = matching_encoder(tmp_path, encoder.digest)
    assert (again.precision, again.views, again.digest) == (begun, 2, encoder.digest)
