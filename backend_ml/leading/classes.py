"""Renames and merges classes of a campaign that runs, and takes that back.

Label events keep what was said. What it counts as by now is a mapping, `Campaign.renamed`, which the view `vote` and
models of former classes go through; each step of it is a row of `renamed_class`, so that it can be undone.
"""

import html
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from backend_ml.campaign.defer import defer_learning, defer_push
from backend_ml.kinds.installed import kind_of
from backend_ml.kinds.kind import KindError
from backend_ml.label_studio.regions.choices import ASIDE, CONTROLS, LabelConfigError
from backend_ml.label_studio.renaming import rename_choice, show_choice
from backend_ml.leading.leader import Leader, current, project_there
from backend_ml.leading.overtaken import Overtaken, OvertakenError
from backend_ml.store.campaigns import log_change
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign, CampaignError
from lvm_training.scenes.simulated_classes import split_concepts

LONGEST_CLASS = 100  # characters


def rename_class(
    leader: Leader, campaign: Campaign, old: str, new: str, seen: Collection[str] | None = None
) -> dict[str, Any]:
    """Call a class `new`, or make it a part of the class of that name; what that came to.

    Label Studio, which may refuse, is told first. Doing it again mends a try that failed in between.

    Parameters
    ----------
    seen : collection of str, optional
        The classes that the leader saw.

    Returns
    -------
    dict
        `classes` as they are then, whether they were `merged`, and whether that `changed` anything.

    Raises
    ------
    OvertakenError
        If one of both names has become a class, or is none any more, since the leader saw them.
    CampaignError
        If there is no such class, the name cannot be one, was another class's, or the kind has its classes fixed; if
        the campaign is closed, or its project was deleted.
    LabelStudioError
        If Label Studio cannot be reached or refuses.
    """
    with leader.alone(campaign):
        return _rename(leader, campaign, old, new, seen)


def _rename(
    leader: Leader, campaign: Campaign, old: str, new: str, seen: Collection[str] | None = None
) -> dict[str, Any]:
    with leader.database.transaction() as connection:
        found = current(connection, campaign)
        steps = _steps(connection, found)
    done = old not in found.classes and found.renamed.get(old) == new and new in found.classes
    if not done:
        _check_seen(found, seen, old, new)
        _check(found, steps, old, new)
    merged = new in found.classes
    _show(leader, found, lambda config: rename_choice(config, old, new, *_control(found)))
    _instruct(leader, found, old, new, merged=merged)
    if done:
        return {"classes": list(found.classes), "merged": steps[old]["merged"], "changed": False}
    with leader.database.transaction() as connection:
        found = current(connection, campaign)
        _check(found, _steps(connection, found), old, new)
        merged = new in found.classes
        values = {"said": old, "counts_as": new, "merged": merged, "place": found.classes.index(old)}
        query(connection, "undo_renamed_class", campaign=found.id, said=new)
        query(connection, "put_renamed_class", campaign=found.id, simulated=Jsonb(dict(found.simulated)), **values)
        renamed = [new if one == old else one for one in found.classes]
        classes = [one for one in found.classes if one != old] if merged else renamed
        _store(connection, found, classes, _simulated(found.simulated, old, new))
        log_change(connection, found, leader.name, "merged" if merged else "renamed", old=old, new=new)
    return {"classes": classes, "merged": merged, "changed": True}


def undo_rename(leader: Leader, campaign: Campaign, old: str, new: str) -> dict[str, Any]:
    """Take back that a class was renamed, or made a part of another: what was said `old` before counts as that again.

    Raises
    ------
    CampaignError
        If that did not happen, or as `rename_class`.
    LabelStudioError
        As `rename_class`.
    """
    with leader.alone(campaign):
        return _undo(leader, campaign, old, new)


def _undo(leader: Leader, campaign: Campaign, old: str, new: str) -> dict[str, Any]:
    with leader.database.transaction() as connection:
        found = current(connection, campaign)
        step = _steps(connection, found).get(old)
    if step is None or step["counts_as"] != new:
        raise CampaignError(
            f"{old!r} was not renamed to {new!r}, nor made a part of it.", "`campaign status` lists what was changed."
        )
    if not step["merged"]:
        return _rename(leader, found, new, old)
    _fitting(found, _put_back(found, step, old))
    _show(leader, found, lambda config: show_choice(config, old, *_control(found)))
    _instruct(leader, found, old, new, merged=True, back=True)
    with leader.database.transaction() as connection:
        found = current(connection, campaign)
        classes = _put_back(found, step, old)
        query(connection, "undo_renamed_class", campaign=found.id, said=old)
        _store(connection, found, classes, _simulated_apart(found, step["simulated"], old, new))
        log_change(connection, found, leader.name, "split", old=old, new=new)
    return {"classes": classes, "merged": False, "changed": True}


def _check_seen(campaign: Campaign, seen: Collection[str] | None, old: str, new: str) -> None:
    if seen is None:
        return
    others = [name for name in (old, new) if (name in campaign.classes) != (name in seen)]
    if others:
        now = ", ".join(f"“{name}” is {_now(campaign, name)}" for name in others)
        raise OvertakenError(campaign, [Overtaken("classes", f"“{old}” becomes “{new}”", now)])


def _now(campaign: Campaign, name: str) -> str:
    if name in campaign.classes:
        return "a class"
    return f"“{campaign.renamed[name]}”" if name in campaign.renamed else "no class"


def _check(campaign: Campaign, steps: Mapping[str, Any], old: str, new: str) -> None:
    """Raise a CampaignError unless a class can be called `new`."""
    if campaign.label_config:
        raise CampaignError(
            f"The label config of {campaign.name!r} is its owner's, and its classes are named there.",
            "Galaxy Loop never changes it.",
        )
    if old not in campaign.classes:
        raise CampaignError(f"There is no class {old!r}.", f"The classes are: {', '.join(campaign.classes)}.")
    if new == old:
        raise CampaignError(f"The class is called {old!r} already.", "Give another name.")
    if not new.strip() or new != new.strip() or not new.isprintable() or len(new) > LONGEST_CLASS:
        raise CampaignError(
            f"{new!r} cannot be a class.", f"Use 1 to {LONGEST_CLASS} printable characters, no blanks around them."
        )
    if new in ASIDE:
        raise CampaignError(f"{new!r} is no class: what people say so is kept aside.", "Give another name.")
    if new in steps and steps[new]["counts_as"] != old:
        raise CampaignError(
            f"{new!r} was a class before; what people said so counts as {campaign.renamed[new]!r} now.",
            "Give a name that was not in use.",
        )
    _fitting(campaign, [one for one in campaign.classes if one != old] + ([] if new in campaign.classes else [new]))


def can_rename(campaign: Campaign) -> bool:
    """Whether a campaign's classes can be called otherwise: they are neither its kind's nor its owner's config's."""
    if campaign.label_config:
        return False
    try:
        _fitting(campaign, [*campaign.classes[1:], "another"])
    except (CampaignError, KindError):
        return False
    return True


def _fitting(campaign: Campaign, classes: Sequence[str]) -> None:
    """Raise a CampaignError unless the campaign's kind can have these classes."""
    try:
        kind_of(campaign).label_config(classes)
    except LabelConfigError as error:
        raise CampaignError(error.message, error.hint) from error


def _put_back(campaign: Campaign, step: Mapping[str, Any], old: str) -> list[str]:
    classes = [one for one in campaign.classes if one != old]
    classes.insert(step["place"], old)
    return classes


def _control(campaign: Campaign) -> tuple[str, tuple[str, ...]]:
    """By what the control tag of a campaign's classes is found."""
    return CONTROLS.get(campaign.kind, ""), campaign.classes


def _show(leader: Leader, campaign: Campaign, changed: Any) -> None:
    """Give the project the label config that a function makes of its present one."""
    with project_there(campaign):
        present = leader.label_studio.project(campaign.project_id).label_config
        config = changed(present)
        if config != present:
            # as its settings page does: the route that changes it takes what annotations do not fit
            path = f"api/projects/{campaign.project_id}/validate/"
            leader.label_studio.call("POST", path, {"label_config": config})
            leader.label_studio.update_project(campaign.project_id, label_config=config)


def _instruct(leader: Leader, campaign: Campaign, old: str, new: str, *, merged: bool, back: bool = False) -> None:
    """Give the class its name in the project's instruction too, where that lists it as ours do."""
    with project_there(campaign):
        project = leader.label_studio.call("GET", f"api/projects/{campaign.project_id}/")
        text = changed = str(project.get("expert_instruction") or "")
        # Label Studio may have written quotes as they are
        for quote in (True, False):
            before, after = (html.escape(name, quote=quote) for name in (old, new))
            after = f"{before}, now {after}" if merged else after
            before, after = (after, before) if back else (before, after)
            changed = changed.replace(f" · {before}</b>", f" · {after}</b>")
        if changed != text:
            leader.label_studio.update_project(campaign.project_id, expert_instruction=changed)


def _steps(connection: Connection, campaign: Campaign) -> dict[str, dict[str, Any]]:
    """The steps that led to the present classes, by the name that each took away."""
    return {row["said"]: dict(row) for row in query(connection, "renamed_classes", campaign=campaign.id)}


def _store(connection: Connection, campaign: Campaign, classes: Sequence[str], simulated: Mapping[str, str]) -> None:
    """Give a campaign its classes, and what labels of former ones count as; have a worker learn them and push."""
    steps = {said: step["counts_as"] for said, step in _steps(connection, campaign).items()}
    # one class that is drawn has none to be told from
    drawn = dict(simulated) if len(simulated) > 1 else {}
    query(
        connection,
        "put_classes",
        campaign=campaign.id,
        classes=list(classes),
        renamed=Jsonb(flattened(steps)),
        simulated=Jsonb(drawn),
    )
    query(connection, "announce", campaign=str(campaign.id))
    defer_learning(connection, campaign, asked=True)
    defer_push(connection, campaign.id)


def flattened(steps: Mapping[str, str]) -> dict[str, str]:
    """What each former name counts as at last, from what each counts as at first."""
    found = {}
    for said in steps:
        name = said
        while name in steps:
            name = steps[name]
        found[said] = name
    return found


def _simulated(simulated: Mapping[str, str], old: str, new: str) -> dict[str, str]:
    """What is drawn of each class, where `old` is `new` now: of two that are one, both."""
    if old not in simulated:
        return dict(simulated)
    kept = {name: concept for name, concept in simulated.items() if name != old}
    return kept | {new: ",".join(filter(None, [kept.get(new), simulated[old]]))}


def _simulated_apart(campaign: Campaign, before: Mapping[str, str], old: str, new: str) -> dict[str, str]:
    """What is drawn of each class, where `old` is a part of `new` no longer.

    Parameters
    ----------
    before : mapping
        What was drawn of each before they became one.
    """
    own, whole = split_concepts(before.get(old, "")), campaign.renamed.get(old, new)
    left = {
        name: ",".join(one for one in split_concepts(text) if one not in own)
        for name, text in campaign.simulated.items()
    }
    # of one class that is left nothing is drawn (`_store`): then what was drawn of all that it is made of
    parts = ",".join(text for name, text in before.items() if name != old and campaign.renamed.get(name, name) == whole)
    apart = {old: before.get(old, ""), whole: left.get(whole) or parts}
    return {name: text for name, text in (left | apart).items() if text}
