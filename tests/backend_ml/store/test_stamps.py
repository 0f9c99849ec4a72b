"""Stamp sets that a process holds open while people change their files."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from backend_ml.store.stamps import StampSets, UnknownStampError
from lvm_training.errors import StampError
from tests.backend_ml.sky import write_stamps


@pytest.fixture
def sets(database: Database, campaign: Campaign) -> StampSets:
    """The sets of a campaign: `sky`, of ten stamps."""
    return StampSets(database)


def test_a_set_is_opened_once(sets: StampSets) -> None:
    assert sets.find("sky") is sets.find("sky")
    with pytest.raises(UnknownStampError):
        sets.find("nowhere")


@pytest.mark.parametrize("in_place", [True, False])
def test_a_set_that_has_changed_is_opened_again(sets: StampSets, tmp_path: Path, in_place: bool) -> None:
    held = sets.holding("sky", 9)
    before = np.array(held.pixels(np.array([2])))
    other = write_stamps(tmp_path, 4, "other")
    if in_place:
        shutil.copyfile(other, tmp_path / "sky.h5")
    else:
        other.replace(tmp_path / "sky.h5")
    assert len(sets.find("sky")) == 4
    with pytest.raises(UnknownStampError, match="has no stamp 9"):
        sets.holding("sky", 9)
    np.testing.assert_array_equal(sets.find("sky").pixels(np.array([2])), before)
    if not in_place:
        np.testing.assert_array_equal(held.pixels(np.array([2])), before, "who reads in the former one reads on")


def test_a_set_that_moved_is_found_at_its_new_place(sets: StampSets, database: Database, tmp_path: Path) -> None:
    sets.find("sky")
    moved = (tmp_path / "sky.h5").rename(tmp_path / "moved.h5")
    with pytest.raises(StampError, match="There is no stamp set"):
        sets.find("sky")
    with database.transaction() as connection:
        connection.execute("UPDATE stamp_set SET path = %s", (str(moved),))
    assert sets.find("sky").path == moved
