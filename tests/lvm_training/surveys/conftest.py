"""A cutout service that fails when it is told to, and catalogues of a few positions."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lvm_training.surveys.imitation import Imitation, imitated


@pytest.fixture
def service() -> Iterator[Imitation]:
    """An imitation of a cutout service."""
    with imitated() as running:
        yield running


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """Eight galaxies with a name, a redshift and an id that a float does not hold."""
    path = tmp_path / "galaxies.csv"
    lines = [f"g{row},{10 + row},{-4 + row},{0.1 * row:.1f},{9007199254740993 + row}" for row in range(8)]
    path.write_text("\n".join(["name,ra,dec,z,objid", *lines]) + "\n")
    return path
