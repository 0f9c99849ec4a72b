"""The memory of an import does not grow with the pixels it reads, whether chunks of a survey or pictures."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

SIDE, FEW = 32, 500
PROGRAM = """
import resource, sys
from pathlib import Path
from lvm_training.importing.importer import import_stamps
written = import_stamps(Path(sys.argv[1]), Path(sys.argv[2])).written
print(written, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write(path: Path, count: int, *, pictures: bool) -> Path:
    """A file written in blocks, so that the test does not hold it either."""
    rng = np.random.default_rng(0)
    shape, kind = ((SIDE, SIDE, 3), "u1") if pictures else ((3, SIDE, SIDE), "f4")
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", (count, *shape), kind, chunks=(100, *shape))
        for start in range(0, count, 500):
            images[start : start + 500] = rng.integers(0, 255, (500, *shape)) - (0 if pictures else 100)
        file["ra"] = np.linspace(0, 359, count)
        file["source_type"] = np.array([b"SER"] * count)
    return path


@pytest.mark.parametrize(("pictures", "many"), [(False, 4500), (True, 8500)], ids=["fluxes", "pictures"])
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, pictures: bool, many: int) -> None:
    peaks = []
    for count in (FEW, many):
        path = write(tmp_path / f"{count}.h5", count, pictures=pictures)
        command = [sys.executable, "-c", PROGRAM, str(path), str(tmp_path / f"{count}-set.h5")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
        written, peak = map(int, done.stdout.split())
        assert written == count
        peaks.append(peak * 1024)
    more = (many - FEW) * 3 * SIDE**2 * (1 if pictures else 4)
    # HDF5 and the allocator keep a few blocks of their own
    assert peaks[1] - peaks[0] < more / 4 + 8e6, f"{peaks} bytes for {more} more of pixels"
