"""Encoders by name: added once, found by whatever people write, never one in another's place."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from backend_ml.store.encoders import encoder_folder, is_ours, keep_checkpoint, stored_card, stored_encoder
from backend_ml.store.named_encoders import add, chosen_folder, listed, named
from lvm_training.backbones.sources import Wanted
from lvm_training.detection.checkpoint import save_detector
from lvm_training.detection.detector import Detector
from lvm_training.errors import CheckpointError
from lvm_training.model.encoder import Card, Encoder
from lvm_training.progress import progress_bar
from lvm_training.stamps.render import render
from lvm_training.stamps.rendering import Rendering
from tests.a_hub import Hub, serving
from tests.lvm_training.detection.detection_pictures import ON_LVM
from tests.other_encoders import NETWORK, SIZE, hub_files, write_hub_folder
from tests.tiny_encoder import write_tiny

RANDOM = {"size": SIZE, "random": True}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def kept(store: Path, source: object, name: str | None = None, **said: Any) -> str:
    return add(store, Wanted(str(source), **said), name, progress_bar)


def refused(store: Path, source: object, name: str | None = None, **said: Any) -> str:
    before = {path.name for path in store.glob("encoders/*")}, dict(named(store))
    with pytest.raises(CheckpointError) as found:
        kept(store, source, name, **said)
    left = {path.name for path in store.glob("encoders/*")} - {"add.lock", "downloads"}
    assert (left, dict(named(store))) == (before[0] - {"add.lock", "downloads"}, before[1])
    assert found.value.hint
    return found.value.message


def test_what_is_added_is_found_by_name_digest_and_folder(store: Path, tmp_path: Path) -> None:
    source = write_hub_folder(tmp_path / "zoo")
    digest = kept(store, source, "zoobot")
    shutil.rmtree(source)
    folder = encoder_folder(store, digest)
    for said in ("zoobot", digest, str(folder)):
        assert chosen_folder(store, said, progress_bar) == folder
    assert stored_encoder(store, digest).digest == Encoder.load(folder).digest == digest
    (row,) = listed(store)
    assert (row.encoder, row.names, row.source, row.card.network) == (digest, ["zoobot"], str(source), "test_resnet")


def test_the_same_weights_read_less_of_a_stamp(store: Path, tmp_path: Path) -> None:
    """Ours and another's: the middle of a stamp on as many pixels, as if the stamp had been cut to it."""
    rendering = Rendering(size=32, field=24.0)
    pixels = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    ours = write_tiny(tmp_path / "tiny", rendering)
    whole = kept(store, ours, "whole")
    theirs = encoder_folder(store, kept(store, write_hub_folder(tmp_path / "zoo"), "zoobot"))
    for source in (ours, theirs):
        close = stored_encoder(store, kept(store, source, f"close {source.name}".replace(" ", "-"), field=12.0))
        wide = Encoder.load(source)
        assert close.digest != wide.digest and close.rendering == wide.rendering.model_copy(update={"field": 12.0})
        pictures = render(pixels, close.rendering, kind="nanomaggies", pixel_scale=0.25, origin="upper")
        middle = render(
            pixels[..., 24:72, 24:72],
            wide.rendering.model_copy(update={"field": 12.0}),
            kind="nanomaggies",
            pixel_scale=0.25,
            origin="upper",
        )
        torch.testing.assert_close(pictures, middle)
        torch.testing.assert_close(close.features(pictures), wide.features(pictures))
    assert kept(store, ours, "whole") == whole, "the first is still what it was"
    card = stored_card(store, named(store)["close-tiny"].encoder)
    assert isinstance(card, Card) and (card.parent, card.metrics) == (whole, {}), "nothing was measured at this field"
    assert "is taken" in refused(store, ours, "whole", field=12.0)
    for field in (math.nan, math.inf, 0.0):
        assert "No picture shows" in refused(store, ours, "none", field=field)


def test_a_detector_is_asked_for_by_its_folder_as_others_are(store: Path, tmp_path: Path) -> None:
    source = tmp_path / "arcs"
    about: dict[str, Any] = {"encoder": "", "data": "", "code": "", "params": {}, "metrics": {}}
    save_detector(source, Detector.start(ON_LVM, seed=1), Rendering(size=ON_LVM.size), **about)
    folder = chosen_folder(store, str(source), progress_bar)
    assert folder == encoder_folder(store, named(store)["arcs"].encoder) and not is_ours(store, folder.name)
    shutil.rmtree(source)
    assert chosen_folder(store, "arcs", progress_bar) == folder
    assert stored_encoder(store, folder.name).digest == folder.name


def test_our_own_are_named_as_well_and_those_of_campaigns_are_listed(store: Path, tmp_path: Path) -> None:
    first = kept(store, write_tiny(tmp_path / "tiny", Rendering(size=32)))
    other = write_tiny(tmp_path / "second", Rendering(size=32), seed=1)
    second = Encoder.load(other).digest
    keep_checkpoint(other, encoder_folder(store, second))
    assert [(row.encoder, row.names, row.card.width) for row in listed(store)] == [
        (first, ["tiny"], 32),
        (second, [], 32),
    ]
    assert "says all of itself" in refused(store, tmp_path / "tiny", "tinier", size=48)


def test_adding_again_changes_nothing_and_another_name_is_one_more(store: Path, tmp_path: Path) -> None:
    source = write_hub_folder(tmp_path / "zoo")
    digest = kept(store, source)
    state = (encoder_folder(store, digest) / "card.json").stat().st_mtime_ns
    assert kept(store, source) == kept(store, source, "second") == digest
    assert list(named(store)) == ["zoo", "second"] and len(listed(store)) == 1
    assert (encoder_folder(store, digest) / "card.json").stat().st_mtime_ns == state


def test_a_name_that_is_taken_is_refused_before_heavy_work(store: Path, tmp_path: Path) -> None:
    kept(store, write_hub_folder(tmp_path / "zoo"))
    assert "name 'zoo' is taken" in refused(store, "hf_hub:nobody/zoo"), "nothing was fetched"
    assert "name 'zoo' is taken" in refused(store, tmp_path / "zoo", size=48)
    assert len(listed(store)) == 1


@pytest.mark.parametrize("name", ["0123456789ab", "a/b", "timm:x", "", "-x", "x" * 81, "a b"])
def test_what_cannot_be_a_name_is_refused(store: Path, tmp_path: Path, name: str) -> None:
    if name:
        assert "cannot be the name" in refused(store, f"timm:{NETWORK}", name, **RANDOM)
    else:
        assert chosen_folder(store, str(write_tiny(tmp_path / "t", Rendering(size=32))), progress_bar).name == "t"


def test_nothing_of_a_kill_or_of_a_failure_is_taken_for_an_encoder(store: Path) -> None:
    left = encoder_folder(store, ".adding-abc") / "encoder"
    left.mkdir(parents=True)
    (left / "card.json").write_text("{}")
    assert listed(store) == []
    with pytest.raises(CheckpointError, match="no network"):
        kept(store, "timm:nothing_of_the_kind")
    assert not left.exists(), "the next that is added clears it away"


def test_an_encoder_that_is_not_there_says_what_there_is(store: Path) -> None:
    kept(store, f"timm:{NETWORK}", "random", **RANDOM)
    for said in ("zoobot", "0123456789ab", "models/nowhere"):
        with pytest.raises(CheckpointError, match="The store has: random") as found:
            chosen_folder(store, said, progress_bar)
        assert "encoder list" in found.value.hint
    encoder_folder(store, "names.json").write_text("[")
    with pytest.raises(CheckpointError, match=r"names\.json cannot be read"):
        named(store)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving() as found:
        found.files |= hub_files(write_hub_folder(tmp_path / "zoo"), "team/zoo")
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield found


def test_what_was_fetched_once_needs_no_network(store: Path, hub: Hub) -> None:
    folder = chosen_folder(store, "hf_hub:team/zoo", progress_bar)
    assert list(named(store)) == ["zoo"] and not encoder_folder(store, "downloads").exists()
    hub.files.clear()
    hub.asked.clear()
    assert chosen_folder(store, "hf_hub:team/zoo", progress_bar) == folder and hub.asked == []


def test_a_fetch_that_failed_half_way_leaves_the_encoders_as_they_were(store: Path, hub: Hub, tmp_path: Path) -> None:
    before = kept(store, write_hub_folder(tmp_path / "mine", seed=3))
    weights = hub.files.pop("team/zoo/model.safetensors")
    assert "none of model.safetensors" in refused(store, "hf_hub:team/zoo")
    assert stored_encoder(store, before).digest == before
    hub.files["team/zoo/model.safetensors"] = weights
    hub.asked.clear()
    chosen_folder(store, "hf_hub:team/zoo", progress_bar)
    assert hub.asked == ["team/zoo/model.safetensors"], "the config was there"


def test_one_that_is_asked_for_by_its_source_gets_a_name_that_is_free(store: Path, hub: Hub) -> None:
    taken = kept(store, f"timm:{NETWORK}", "zoo", **RANDOM)
    folder = chosen_folder(store, "hf_hub:team/zoo", progress_bar)
    assert {name: one.encoder for name, one in named(store).items()} == {"zoo": taken, "zoo-2": folder.name}
