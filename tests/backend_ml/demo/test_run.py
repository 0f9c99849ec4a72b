"""What a demo prepares before its servers start: of the user's own galaxies nothing is simulated or trained."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend_ml.demo import pipeline, run
from backend_ml.demo.data import DemoData
from backend_ml.demo.options import DemoOptions


class ServersError(Exception):
    """The servers would start now."""


@pytest.fixture
def reproduced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The stages that the pipeline was asked for; no server starts."""
    stages: list[tuple[str, ...]] = []

    @contextmanager
    def no_servers(*_: object, **__: object) -> Iterator[None]:
        raise ServersError
        yield

    monkeypatch.setattr(pipeline, "reproduce", lambda _, targets: stages.append(targets))
    monkeypatch.setattr(run, "in_terminal", no_servers)
    monkeypatch.setattr(run, "find_label_studio", lambda _: Path("/bin/false"))
    return stages


def options(data: Path | None, home: Path) -> DemoOptions:
    return DemoOptions(data, None, None, None, 10, 0, 1, home, 0, True, False)


@pytest.mark.parametrize("labelled", [True, False])
def test_pictures_of_ones_own_need_no_pipeline(
    tmp_path: Path, reproduced: list[tuple[str, ...]], labelled: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "mine"
    pictures.mkdir()
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(pictures / f"{i}.png")
    if labelled:
        (pictures / "labels.csv").write_text("file,ring\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(6)))
    with pytest.raises(ServersError):
        run.run(options(pictures, tmp_path / "home"))
    assert reproduced == [] and len(list((tmp_path / "home/stamps").glob("mine-*.h5"))) == 1
    told = capfd.readouterr()
    assert "dvc" not in (told.out + told.err).lower()


def test_without_pictures_it_shows_the_pipeline(
    tmp_path: Path, reproduced: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run.data, "simulated", lambda *_: DemoData("drawn", tmp_path / "drawn.h5", []))
    with pytest.raises(ServersError):
        run.run(options(None, tmp_path / "home"))
    assert reproduced == [run.STAGES]
