"""A search becomes a campaign in Label Studio: its best candidates, and those people could not agree on, as tasks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from backend_ml.buckets import bring, here
from backend_ml.campaign.plan import CampaignPlan
from backend_ml.campaign.projects import ProjectMaker
from backend_ml.kinds.installed import kind_of
from backend_ml.label_studio.regions.choices import UNSURE
from backend_ml.search.rounds import Examples, probabilities
from backend_ml.settings import Settings
from backend_ml.sign_in.person import Person
from backend_ml.store.database import Connection, Database, query
from backend_ml.store.encoders import encoder_folder
from backend_ml.store.records import Campaign, CampaignError
from lvm_training.heads.preference import NO, YES
from lvm_training.pool.features import Features
from lvm_training.progress import Progress


@contextmanager
def _quietly(title: str) -> Iterator[Progress]:
    yield lambda *_: None


def tasks_of(pool: Features, examples: Examples, undecided: list[int], *, top: int, seed: int) -> list[int]:
    """The stamps to send: the `top` most likely ones without a label, then the undecided ones.

    Raises
    ------
    CampaignError
        If nothing is labelled yes yet, so that no stamp is likelier than another.
    """
    found = probabilities(pool, examples, seed=seed)
    if found is None:
        raise CampaignError(
            "Nothing is labelled yes yet.", "Label a few stamps first, so that there is a ranking to send."
        )
    found[[row for row in examples.labels if row < len(found)]] = np.nan
    order = np.argsort(-found, kind="stable")[: min(top, int(np.isfinite(found).sum()))]
    return [*map(int, order), *undecided]


def undecided(connection: Connection, search: Campaign) -> list[int]:
    """The stamps that somebody is unsure of, or that have both a yes and a no."""
    said: dict[int, set[str]] = {}
    for vote in query(connection, "votes", campaign=search.id):
        if vote["stamp_set"] == search.stamp_set:
            said.setdefault(int(vote["stamp_id"]), set()).add(vote["label"])
    return sorted(stamp for stamp, labels in said.items() if UNSURE in labels or {YES, NO} <= labels)


def send(database: Database, settings: Settings, search: Campaign, person: Person, rows: list[int]) -> Campaign:
    """Make the project of a search, in the name of the person who sends it: some stamps, with its labels and queue.

    Raises
    ------
    CampaignError
        If it is in Label Studio already, or the backend cannot be reached.
    NoTokenError
        If the person has no Label Studio token.
    LabelStudioError
        If Label Studio refuses; the search is then as it was.
    """
    taken = CampaignError(f"{search.name!r} is in Label Studio already.", "Reload the page.")
    if search.project is not None:
        raise taken
    plan = _plan(database, settings, search, rows)
    with person.label_studio(settings) as label_studio:
        maker = ProjectMaker(settings, database, label_studio, _quietly)
        maker.check_backend()
        config = kind_of(search).label_config()
        with maker.project(search.name, config, forget="take_project") as project:
            given = database.rows("give_project", campaign=search.id, project=project)
            if not given:
                raise taken
            sent = Campaign.from_row(given[0])
            maker.fill(plan, sent)
    return sent


def _plan(database: Database, settings: Settings, search: Campaign, rows: Sequence[int]) -> CampaignPlan:
    paths = {row["name"]: here(row["path"]) for row in database.rows("stamp_sets")}
    return CampaignPlan(
        search.name,
        bring(paths[search.stamp_set]),
        encoder_folder(settings.store_folder, search.encoder),
        rows=rows,
        kind=search.kind,
        audit_fraction=search.audit_fraction,
        seed=search.seed,
    )
