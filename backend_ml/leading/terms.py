"""What a campaign goes by: its policy, its overlap, the instruction that people read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend_ml.campaign.defer import defer_push
from backend_ml.kinds.installed import kind_of
from backend_ml.leading.leader import Leader, current, project_there
from backend_ml.leading.overtaken import Overtaken, OvertakenError
from backend_ml.store.campaigns import log_change
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign, CampaignError

MOST_LABELS = 100  # of one task: more is a slip of the finger
LONGEST_INSTRUCTION = 100_000  # characters


@dataclass(frozen=True)
class Seen:
    """What a leader saw who changes terms.

    Attributes
    ----------
    policy : str or None
        None where nothing says it.
    overlap : int or None
    instruction : str or None
        Its state (`instruction_state`).
    """

    policy: str | None = None
    overlap: int | None = None
    instruction: str | None = None


def instruction_state(changes: Sequence[Mapping[str, Any]]) -> str:
    """When a campaign's instruction was last given, by its changes, newest first; "" where it never was."""
    return next((one["at"].isoformat() for one in changes if "instruction" in one["details"]), "")


def change_terms(
    leader: Leader,
    campaign: Campaign,
    *,
    policy: str | None = None,
    overlap: int | None = None,
    instruction: str | None = None,
    seen: Seen = Seen(),
) -> dict[str, Any]:
    """Give a campaign another policy, overlap or instruction (HTML); what of it is new.

    Label Studio, which may refuse, is told first, and told again by a second try. The next push uses the policy.

    Raises
    ------
    OvertakenError
        If one is no longer what the leader saw, nor what it shall be.
    CampaignError
        If one does not fit the campaign, it is closed, or its project was deleted.
    LabelStudioError
        If Label Studio cannot be reached or refuses.
    """
    _check(campaign, policy, overlap, instruction)
    fields = {"maximum_annotations": overlap, "expert_instruction": instruction}
    wanted = {name: value for name, value in fields.items() if value is not None}
    with leader.alone(campaign):
        _check_seen(leader, campaign, seen, policy, overlap, instruction)
        return _change(leader, campaign, policy, overlap, wanted)


def _check_seen(
    leader: Leader, campaign: Campaign, seen: Seen, policy: str | None, overlap: int | None, instruction: str | None
) -> None:
    with leader.database.transaction() as connection:
        now = current(connection, campaign)
        state = instruction_state(query(connection, "changes", campaign=now.id))
    terms = [("policy", seen.policy, policy, now.policy), ("overlap", seen.overlap, overlap, now.overlap)]
    found = [
        Overtaken(name, str(wanted), str(present))
        for name, before, wanted, present in terms
        if None not in (before, wanted) and present not in (before, wanted)
    ]
    if instruction is not None and seen.instruction not in (None, state):
        with project_there(campaign):
            project = leader.label_studio.call("GET", f"api/projects/{campaign.project_id}/")
        present = str(project.get("expert_instruction") or "")
        found += [Overtaken("instruction", instruction, present)] if present != instruction else []
    if found:
        raise OvertakenError(campaign, found)


def _change(
    leader: Leader, campaign: Campaign, policy: str | None, overlap: int | None, wanted: dict[str, Any]
) -> dict[str, Any]:
    if wanted:
        with project_there(campaign):
            leader.label_studio.update_project(campaign.project_id, **wanted)
    with leader.database.transaction() as connection:
        found = current(connection, campaign)
        new = _new(found, policy, overlap) | ({"instruction": True} if "expert_instruction" in wanted else {})
        query(connection, "change_terms", campaign=found.id, policy=policy, overlap=overlap)
        if new:
            log_change(connection, found, leader.name, "changed", **new)
        _follow(connection, found)
    return new


def _check(campaign: Campaign, policy: str | None, overlap: int | None, instruction: str | None) -> None:
    policies = kind_of(campaign).policies
    if policy is None and overlap is None and instruction is None:
        raise CampaignError("Nothing is to be changed.", "Give a policy, an overlap or an instruction.")
    if policy is not None and policy not in policies:
        raise CampaignError(
            f"The policy {policy!r} does not fit a campaign of the kind {campaign.kind!r}.",
            f"Choose from: {', '.join(policies)}.",
        )
    if overlap is not None and not 1 <= overlap <= MOST_LABELS:
        raise CampaignError(f"Each task cannot wait for {overlap} labels.", f"Choose from 1 to {MOST_LABELS}.")
    if instruction is not None and len(instruction) > LONGEST_INSTRUCTION:
        raise CampaignError(
            f"The instruction has {len(instruction)} characters.", f"Write at most {LONGEST_INSTRUCTION}."
        )
    if campaign.project is None and (overlap is not None or instruction is not None):
        raise CampaignError(
            f"{campaign.name!r} is a search that is not in Label Studio: it has neither overlap nor instruction.",
            "Send it there from the search page.",
        )


def _new(campaign: Campaign, policy: str | None, overlap: int | None) -> dict[str, Any]:
    """The terms that are others than the campaign's."""
    wanted = {"policy": policy, "overlap": overlap}
    return {name: value for name, value in wanted.items() if value not in (None, getattr(campaign, name))}


def _follow(connection: Connection, campaign: Campaign) -> None:
    """Tell every process, and have a worker rank anew."""
    query(connection, "announce", campaign=str(campaign.id))
    if campaign.project is not None:
        defer_push(connection, campaign.id)
