"""Learning as a worker does it, in this process."""

from pathlib import Path

from backend_ml.kinds.kind import Report
from backend_ml.learning.learn import begin, learn, silent, stores_of
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign

NOWHERE = Path("no/store")


def learn_now(
    database: Database, campaign: Campaign, store: Path = NOWHERE, report: Report = silent, *, steps: int = 4
) -> str:
    """What came of learning from the present labels."""
    return learn(database, stores_of(database, campaign, store, steps=steps), report)


def begin_now(
    database: Database, campaign: Campaign, model: Path | None, store: Path = NOWHERE, report: Report = silent
) -> str:
    """The first version of a campaign."""
    return begin(database, stores_of(database, campaign, store), model, report)
