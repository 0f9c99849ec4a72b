"""Which stamps of a pool need no label any more, and where a model of pictures looks in it."""

from pathlib import Path

import numpy as np
import pytest

from backend_ml.queue.answered import answered_rows, answered_stamps
from backend_ml.queue.shortlist import shortlist
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query
from backend_ml.store.records import Campaign
from lvm_training.stamps.stampset import StampWriter
from tests.backend_ml.conftest import MORPHOLOGY
from tests.lvm_training.pool.shard_files import cloud, write_shard


def label(database: Database, campaign: int, stamp_set: str, *rows: int) -> None:
    with database.transaction() as connection:
        for row in rows:
            values = {"stamp_set": stamp_set, "stamp_id": row, "label": campaign_label(database, campaign)}
            query(connection, "put_snapshot_label", campaign=campaign, **values)


def campaign_label(database: Database, campaign: int) -> str:
    (classes,) = [row["classes"] for row in database.rows("campaigns") if row["id"] == campaign]
    return str(classes[0])


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, True),
        ({"classes": ("round smooth", "spiral")}, False),
        ({"kind": "interest", "classes": ("no", "yes"), "policy": "loop"}, False),
    ],
    ids=["the same", "other classes", "another kind"],
)
def test_labels_of_campaigns_that_ask_the_same_count(
    database: Database, campaign: Campaign, changes: dict[str, object], counts: bool
) -> None:
    with database.transaction() as connection:
        other = add_campaign(connection, **(MORPHOLOGY | changes), name="Other", project=8)
    label(database, campaign.id, "sky", 2)
    label(database, other.id, "sky", 5)
    with database.transaction() as connection:
        assert answered_stamps(connection, campaign) == [("sky", 2), *([("sky", 5)] if counts else [])]


def test_searches_of_other_things_do_not_count(database: Database, campaign: Campaign) -> None:
    wanted = {"kind": "interest", "classes": ("no", "yes"), "policy": "loop"}
    with database.transaction() as connection:
        rings, lenses = (
            add_campaign(connection, **(MORPHOLOGY | wanted), name=name, project=None) for name in ("rings", "lenses")
        )
    label(database, rings.id, "sky", 1)
    label(database, lenses.id, "sky", 2)
    with database.transaction() as connection:
        assert answered_stamps(connection, rings) == [("sky", 1)]


def test_the_same_galaxy_under_another_row_or_in_another_set(
    database: Database, campaign: Campaign, tmp_path: Path
) -> None:
    ra = 150 + np.array([0.01, 5, 5, np.nan, 0.03])
    dec = -1.5 - np.array([0.01, 0, 0.9 / 3600, 0, 0.03 - 1.2 / 3600])
    writer = StampWriter(tmp_path / "more.h5", (40, 40))
    writer.append(np.ones((5, 3, 40, 40), dtype=np.float32), {"ra": ra, "dec": dec})
    plain = StampWriter(tmp_path / "plain.h5", (40, 40))
    plain.append(np.ones((2, 3, 40, 40), dtype=np.float32), {"id": [1, 2]})
    for path in (writer.finish(), plain.finish()):
        database.rows("put_stamp_set", name=path.stem, path=str(path), digest="m", features="")
    sets, answered = database.stamp_sets, [("sky", 1), ("sky", 3), ("more", 2), ("plain", 0), ("lost", 4)]
    # sky 1 is more 0, sky 3 lies 1.2 arcsec from more 4, and more 1 lies 0.9 arcsec from more 2
    assert answered_rows(sets, "more", answered).tolist() == [0, 1, 2]
    assert answered_rows(sets, "sky", answered).tolist() == [1, 3]
    assert answered_rows(sets, "plain", answered).tolist() == [0]
    assert answered_rows(sets, "sky", []).tolist() == []


def test_a_short_list_is_half_likely_and_half_drawn(tmp_path: Path) -> None:
    rows = cloud(600, 8)
    rows[:40] += 6
    rows[599] = np.nan
    shard, open_rows = write_shard(tmp_path, rows), np.arange(3, 600)
    known, labels = np.concatenate([rows[:3], rows[100:105]]), ["yes"] * 3 + ["no"] * 5
    found = shortlist(shard, open_rows, known, labels, size=40, seed=1)
    assert len(found.rows) == len(set(found.rows.tolist())) == 40 and set(found.rows) <= set(range(3, 599))
    likely = found.rows[found.chance == 1]
    assert len(likely) == 20 and (likely < 40).all()
    assert found.chance[found.chance < 1].tolist() == pytest.approx([20 / (596 - 20)] * 20)
    few = shortlist(shard, open_rows, known[1:], labels[1:], size=40, seed=1)
    assert len(few.rows) == 40 and set(few.chance) == {40 / 596}, "two examples teach nothing"
    everything = shortlist(shard, open_rows[:5], known, labels, size=40, seed=1)
    assert everything.rows.tolist() == [3, 4, 5, 6, 7] and everything.chance.tolist() == [1] * 5
