"""How campaigns stand; told within a second, so it imports nothing that learns, ranks or asks Label Studio."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from psycopg.rows import DictRow

from backend_ml.labels.agreed import agree
from backend_ml.queue import selections
from backend_ml.store import versions
from backend_ml.store.campaigns import all_campaigns
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign, ModelVersion, UnknownCampaignError

EXPERIMENTS = 20


def find(connection: Connection, name: str) -> Campaign:
    """The campaign of that name.

    Raises
    ------
    UnknownCampaignError
        If there is none; the hint lists those there are.
    """
    known = all_campaigns(connection)
    for campaign in known:
        if campaign.name == name:
            return campaign
    names = ", ".join(repr(campaign.name) for campaign in known) or "none yet"
    raise UnknownCampaignError(f"There is no campaign {name!r}.", f"There are: {names}.")


@dataclass(frozen=True)
class Standing:
    """What takes longest to read of a campaign, for whoever tells several things of it.

    Attributes
    ----------
    waiting, votes : list of dict
        As the queries `unlabelled_tasks` and `votes`.
    """

    waiting: list[DictRow]
    votes: list[DictRow]

    @classmethod
    def read(cls, connection: Connection, campaign: Campaign) -> "Standing":
        """As it is now."""
        waiting = query(connection, "unlabelled_tasks", campaign=campaign.id)
        return cls(waiting, query(connection, "votes", campaign=campaign.id))


def campaign_status(connection: Connection, campaign: Campaign, standing: Standing | None = None) -> dict[str, Any]:
    """How a campaign stands, as JSON values; `standing` is read where it is not given."""
    standing = standing or Standing.read(connection, campaign)
    active = versions.active_version(connection, campaign)
    agreed, people = agree(standing.votes, campaign.consensus)
    labels = Counter(one.label for one in agreed)
    pool = next(iter(query(connection, "pool", campaign=campaign.id)), None)
    return {
        "name": campaign.name,
        "state": campaign.state,
        "project": campaign.project,
        "version": active.version if active else None,
        "encoder": campaign.encoder,
        "simulated": dict(campaign.simulated),
        "prior_share": _prior_share(active),
        "policy": campaign.policy,
        "overlap": campaign.overlap,
        "consensus": campaign.consensus,
        "tasks": query(connection, "task_counts", campaign=campaign.id)[0],
        "pool": None if pool is None else {"stamps": _pooled(pool), "exhausted": pool["exhausted"]},
        "waiting": len(standing.waiting),
        "annotations": query(connection, "annotation_counts", campaign=campaign.id)[0],
        "labels": dict(sorted(labels.items())),
        "annotators": [asdict(one) for one in people],
        "renamed": [
            {name: row[name] for name in ("said", "counts_as", "merged")}
            for row in query(connection, "renamed_classes", campaign=campaign.id)
        ],
        "people_aside": query(connection, "people_aside", campaign=campaign.id),
        "last_event": query(connection, "last_event", campaign=campaign.id)[0]["id"],
        "last_run": next(iter(query(connection, "last_run", campaign=campaign.id)), None),
        "last_push": _last_push(connection, campaign),
        "present_run": next(iter(query(connection, "present_run", campaign=campaign.id, job="learn")), None),
        "encoder_run": next(iter(query(connection, "present_run", campaign=campaign.id, job="encoder")), None),
        "experiments": query(connection, "experiments", campaign=campaign.id, limit=EXPERIMENTS),
        "last_encoder_run": next(iter(query(connection, "last_encoder_run", campaign=campaign.id)), None),
        "inbox": query(connection, "inbox_state", project=campaign.project)[0],
        "reconciled_at": campaign.reconciled_at,
        "set_aside": query(connection, "all_set_aside", campaign=campaign.id, project=campaign.project),
        "notices": query(connection, "notices", campaign=campaign.id),
        "changes": query(connection, "changes", campaign=campaign.id),
    }


def _prior_share(active: ModelVersion | None) -> float | None:
    """How much of the answers is from simulated stamps, 0 to 1; None where none of it is."""
    return None if active is None else active.metrics.get("prior_share")


def _last_push(connection: Connection, campaign: Campaign) -> dict[str, Any] | None:
    pushed = selections.latest(connection, campaign, "push")
    if pushed is None:
        return None
    names = ("id", "version", "policy", "seed", "batch", "last_event", "served_at")
    same = {name: getattr(pushed, name) for name in names}
    return same | {"ranked": pushed.candidates, "started_at": pushed.made_at}


def _pooled(pool: Mapping[str, Any]) -> int:
    """How many stamps a pool has: its parts have none in common."""
    return sum(int.from_bytes(bits, "big").bit_count() for bits in (pool["members"], *pool["added"]))
