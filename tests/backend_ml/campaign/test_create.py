"""What a campaign may be is checked before anything is made."""

from pathlib import Path
from typing import Any

import pytest

from backend_ml.campaign.plan import CampaignPlan
from backend_ml.kinds.installed import find_kind, names
from backend_ml.kinds.kind import KindError
from backend_ml.store.records import CampaignError


def plan(**given: Any) -> CampaignPlan:
    return CampaignPlan("sky", Path("sky.h5"), Path("encoder"), **given)


def lenses(**given: Any) -> CampaignPlan:
    return plan(kind="lenses", detector=Path("detector"), **given)


def refused(given: CampaignPlan) -> bool:
    try:
        given.check()
    except CampaignError:
        return True
    return False


@pytest.mark.parametrize("kind", names())
def test_a_kind_takes_its_own_policies_and_no_other(kind: str) -> None:
    assert not refused(plan(kind=kind)), "its default, and the released detector where it needs one"
    for policy in {policy for name in names() for policy in find_kind(name).policies}:
        assert refused(plan(kind=kind, policy=policy)) == (policy not in find_kind(kind).policies), policy


def test_options_that_fit_one_another_pass() -> None:
    fitting = {"policy": "powerbald", "overlap": 3, "consensus": "dawid-skene", "tasks": 100, "refill_below": 20}
    assert not refused(plan(**fitting))
    assert refused(plan(**fitting | {"tasks": None})), "refilled, but by how many?"
    assert not refused(lenses(policy="count-entropy", overlap=2))
    assert refused(lenses(policy="count-entropy", overlap=2, consensus="dawid-skene"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (plan(classes=["spiral", "smo\0oth"]), r"'smo.x00oth' cannot be"),
        (plan(classes=["spiral", "\udcff"]), "'.udcff' cannot be"),
        (CampaignPlan("sky\n", Path("sky.h5"), Path("encoder")), "cannot be a name"),
        (CampaignPlan("P", Path("sky.h5"), Path("encoder")), "'P' has 1 characters. Label Studio takes 3 to 50"),
        (CampaignPlan("x" * 51, Path("sky.h5"), Path("encoder")), "has 51 characters"),
        (plan(policy="best"), "'best' does not fit .* 'morphology'"),
        (plan(policy="boxes"), "'boxes' does not fit"),
        (plan(policy="mask-disagreement"), "'mask-disagreement' does not fit"),
        (plan(kind="interest", policy="masks"), "'masks' does not fit"),
        (plan(policy="similarity"), "'similarity' does not fit"),
        (lenses(policy="margin"), "'margin' does not fit .* 'lenses'"),
        (plan(overlap=0), "wait for 0 labels"),
        (plan(consensus="loudest"), "no consensus 'loudest'. Choose from: majority, dawid-skene"),
        (lenses(consensus="dawid-skene"), "no consensus: the newest"),
        (plan(tasks=0), "refilled by, or below, no tasks"),
        (plan(tasks=5, refill_below=0), "refilled by, or below, no tasks"),
        (plan(refill_below=5), "Only a campaign with `--tasks`"),
    ],
)
def test_what_does_not_fit_is_named(given: CampaignPlan, words: str) -> None:
    with pytest.raises(CampaignError, match=words):
        given.check()


def test_a_kind_that_there_is_not() -> None:
    with pytest.raises(KindError, match="no kind of campaign 'stars'"):
        plan(kind="stars").check()
