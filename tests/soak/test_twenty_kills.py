"""Twenty kills while two processes embed a set: nothing lost, nothing twice, and the same bytes as without."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lvm_training.model.encoder import Encoder
from lvm_training.pool import embedding
from lvm_training.pool.embedding import embed_set
from lvm_training.stamps.stampset import StampSet
from tests.lvm_training.conftest import encoder, lvm, make_stamps, rendering, tiny  # noqa: F401
from tests.lvm_training.pool.test_embedding import begin, checkpoint  # noqa: F401

pytestmark = pytest.mark.soak

KILLS = 20


def test_nothing_is_lost_or_done_twice(
    tmp_path: Path,
    make_stamps: Callable[..., Path],  # noqa: F811
    checkpoint: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedding, "RANGE", 8)
    stamps, folder, draw = make_stamps(400), tmp_path / "features", random.Random(1)
    running = [begin(stamps, checkpoint, folder) for _ in range(2)]
    for number in range(KILLS):
        victim = running[number % 2]
        assert victim.stdout is not None and victim.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0, 0.6))
        assert victim.poll() is None, "it had something left to do"
        os.kill(victim.pid, signal.SIGKILL)
        victim.communicate()
        running[number % 2] = begin(stamps, checkpoint, folder)
    for process in running:
        process.communicate()
        assert process.returncode == 0
    with StampSet(stamps) as opened:
        encoder_of_disk = Encoder.load(checkpoint)
        found = embed_set(opened, encoder_of_disk, folder)
        whole = embed_set(opened, encoder_of_disk, tmp_path / "whole", batch=3)
    np.testing.assert_array_equal(found.matrix, whole.matrix)
    assert sorted(item.suffix for item in folder.iterdir()) == [".json", ".npy"]
