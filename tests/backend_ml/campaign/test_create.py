"""What a campaign may be is checked before anything is made."""

from pathlib import Path
from typing import Any

import pytest

from backend_ml.campaign.plan import CampaignPlan
from backend_ml.kinds.installed import find_kind
from backend_ml.kinds.kind import KindError
from backend_ml.store.records import CampaignError


def plan(**given: Any) -> CampaignPlan:
    return CampaignPlan("sky", Path("sky.h5"), Path("encoder"), **given)


def lenses(**given: Any) -> CampaignPlan:
    return plan(kind="lenses", detector=Path("detector"), **given)


def test_ordinary_plans_pass() -> None:
    plan().check()
    lenses().check()
    plan(policy="powerbald", overlap=3, consensus="dawid-skene", tasks=100, refill_below=20).check()
    lenses(policy="count-entropy", overlap=2).check()
    lenses(policy="mask-disagreement").check()
    for name in find_kind("morphology").policies:
        plan(policy=name).check()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (plan(classes=["spiral", "smo\0oth"]), r"'smo.x00oth' cannot be"),
        (plan(classes=["spiral", "\udcff"]), "'.udcff' cannot be"),
        (CampaignPlan("sky\n", Path("sky.h5"), Path("encoder")), "cannot be a name"),
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
        (lenses(tasks=5), "cannot be refilled"),
    ],
)
def test_what_does_not_fit_is_named(given: CampaignPlan, words: str) -> None:
    with pytest.raises(CampaignError, match=words):
        given.check()


def test_a_kind_that_there_is_not() -> None:
    with pytest.raises(KindError, match="no kind of campaign 'stars'"):
        plan(kind="stars").check()
