"""What a comparison with Label Studio says of label configs."""

import re
from typing import Any

import pytest

from backend_ml.campaign.reconcile import check_label_config
from backend_ml.kinds.installed import find_kind, names
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Connection, Database, query
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import MORPHOLOGY, PROJECT


def added(connection: Connection, kind: str) -> tuple[Campaign, str]:
    """A campaign of a kind with all that its own label config offers, and the label config."""
    label_config = find_kind(kind).label_config()
    about: dict[str, Any] = MORPHOLOGY | {"kind": kind, "classes": find_kind(kind).offered(label_config)}
    query(connection, "put_stamp_set", name="sky", path="sky.h5", digest="d", features="sky.npy")
    return add_campaign(connection, **about, name="Rings", project=PROJECT), label_config


@pytest.mark.parametrize("kind", names())
def test_nothing_is_wrong_with_the_label_config_of_any_kind(database: Database, kind: str) -> None:
    with database.transaction() as connection:
        campaign, label_config = added(connection, kind)
        assert not check_label_config(connection, campaign, label_config)
    assert database.rows("notices", campaign=campaign.id) == []


def test_a_number_that_is_asked_for_no_more_is_named(database: Database) -> None:
    with database.transaction() as connection:
        campaign, label_config = added(connection, "parameters")
        check_label_config(connection, campaign, re.sub('<Number name="redshift"[^>]*>', "", label_config))
    (notice,) = database.rows("notices", campaign=campaign.id)
    assert "no longer offers redshift" in notice["text"]
