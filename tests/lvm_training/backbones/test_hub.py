"""Encoders from a hub: fetched with progress, gone on with where it broke off, and what the hub does not have."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lvm_training.backbones.card import BackboneCard
from lvm_training.backbones.sources import Wanted, write_backbone
from lvm_training.errors import CheckpointError
from lvm_training.progress import Progress
from tests.a_hub import Hub, serving
from tests.other_encoders import hub_files, write_hub_folder

MODEL = "mwalmsley/zoobot-encoder-tiny"
WEIGHTS = f"{MODEL}/model.safetensors"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one model."""
    with serving() as found:
        found.files |= hub_files(write_hub_folder(tmp_path / "on_the_hub"), MODEL)
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        # its client waits longer and longer between tries
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield found


class Seen:
    """What was shown of the work, by title."""

    def __init__(self) -> None:
        self.steps: dict[str, list[tuple[int, int]]] = {}

    @contextmanager
    def __call__(self, title: str) -> Iterator[Progress]:
        shown = self.steps.setdefault(title, [])
        yield lambda done, total: shown.append((done, total))


def fetched(folder: Path, seen: Seen, source: str = f"hf_hub:{MODEL}") -> BackboneCard:
    return write_backbone(Wanted(source), folder / "made", folder / "downloads", seen)


def refused(folder: Path, source: str = f"hf_hub:{MODEL}") -> CheckpointError:
    with pytest.raises(CheckpointError) as found:
        fetched(folder, Seen(), source)
    assert not (folder / "made" / "card.json").exists()
    return found.value


def test_it_is_fetched_with_progress(tmp_path: Path, hub: Hub) -> None:
    seen = Seen()
    card = fetched(tmp_path, seen)
    own = write_backbone(Wanted(str(tmp_path / "on_the_hub")), tmp_path / "own", tmp_path / "downloads", Seen())
    assert card.encoder == own.encoder and card.source == f"hf_hub:{MODEL}"
    size = len(hub.files[WEIGHTS])
    assert seen.steps[f"Fetching {MODEL}: model.safetensors"][-1] == (size, size)
    assert set(hub.asked) == {f"{MODEL}/config.json", WEIGHTS}
    hub.asked.clear()
    fetched(tmp_path, Seen(), f"hf_hub:{MODEL}")
    assert hub.asked == [], "what is there is not fetched again"


def test_a_fetch_that_broke_off_goes_on_behind_what_is_there(tmp_path: Path, hub: Hub) -> None:
    hub.cut[WEIGHTS] = 1000
    seen = Seen()
    fetched(tmp_path, seen)
    shown = seen.steps[f"Fetching {MODEL}: model.safetensors"]
    assert shown[-1] == (len(hub.files[WEIGHTS]),) * 2
    assert hub.asked.count(WEIGHTS) == 2


def test_a_model_that_is_not_there_says_so(tmp_path: Path, hub: Hub) -> None:
    error = refused(tmp_path, "hf_hub:mwalmsley/nothing")
    assert "no model mwalmsley/nothing" in error.message and "huggingface.co" in error.hint
    assert "names no model" in refused(tmp_path, "hf_hub:zoobot").message


def test_a_hub_without_the_config_says_so(tmp_path: Path, hub: Hub) -> None:
    del hub.files[f"{MODEL}/config.json"]
    assert f"{MODEL} has no config.json" in refused(tmp_path).message


def test_a_hub_that_lacks_the_weights_says_so_and_the_next_try_goes_on(tmp_path: Path, hub: Hub) -> None:
    """As a hub that answers 404 half-way."""
    weights = hub.files.pop(WEIGHTS)
    error = refused(tmp_path)
    assert "none of model.safetensors, pytorch_model.bin" in error.message
    hub.files[WEIGHTS] = weights
    hub.asked.clear()
    fetched(tmp_path, Seen())
    assert hub.asked == [WEIGHTS], "the config was there"


def test_a_pickle_of_the_hub_is_not_opened(tmp_path: Path, hub: Hub) -> None:
    hub.files[f"{MODEL}/pytorch_model.bin"] = b"cposix\nsystem\n(S'true'\ntR."
    del hub.files[WEIGHTS]
    error = refused(tmp_path)
    assert "pytorch_model.bin is a pickle" in error.message and "safetensors" in error.hint


def test_without_a_network_it_says_what_else_can_be_done(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    error = refused(tmp_path)
    assert "cannot be reached" in error.message and "fetch the model elsewhere" in error.hint
