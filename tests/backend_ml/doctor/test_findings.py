"""An examination goes on whatever a check does, repeats no secret, and has an end."""

import time

import pytest

from backend_ml.doctor import findings
from backend_ml.doctor.findings import FIX, Examination, Finding, mendable, ok
from backend_ml.settings import Settings
from lvm_training.errors import GalaxyLoopError

SECRET, PASSWORD = "star-light-31", "dust&gas"


@pytest.fixture
def examination() -> Examination:
    values = {"secret": SECRET, "label_studio_database_url": f"postgresql://anne:{PASSWORD}@host/labels"}
    return Examination(Settings.model_validate(values))


def test_a_check_that_fails_is_a_finding_and_the_next_one_looks(examination: Examination) -> None:
    def expected() -> list[Finding]:
        raise GalaxyLoopError("It is away.", "Look for it.")

    def broken() -> list[Finding]:
        return [ok("broken", str({}["nothing"]))]

    examination.check("expected", expected, "rings")
    examination.check("broken", broken)
    examination.check("fine", lambda: [ok("fine", "all well")])
    assert [(one.check, one.state, one.text, one.campaign) for one in examination.findings] == [
        ("expected", "fail", "It is away. Look for it.", "rings"),
        ("broken", "fail", "could not be looked at: KeyError: 'nothing'", ""),
        ("fine", "ok", "all well", ""),
    ]


def test_what_a_check_found_before_it_failed_is_kept(examination: Examination) -> None:
    def half() -> object:
        yield ok("half", "the first")
        raise OSError("gone")

    found = examination.check("half", half)  # type: ignore[arg-type]
    assert [one.state for one in found] == ["ok", "fail"]


def test_no_secret_is_repeated(examination: Examination) -> None:
    done = []
    text = f"refused: {SECRET} at postgresql://anne:{PASSWORD}@host/labels"
    (found,) = examination.check("leak", lambda: [mendable("leak", text, lambda: done.append(1))])
    assert found.text == "refused: *** at ***"
    assert found.mend is not None and found.command == FIX
    found.mend()
    assert done and "mend" not in found.to_json()
    (alone,) = examination.check("leak", lambda: [ok("leak", PASSWORD)])
    assert alone.text == "***"


def test_it_has_an_end(examination: Examination, monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.monotonic() + findings.SECONDS + 1
    monkeypatch.setattr(findings.time, "monotonic", lambda: later)
    (found,) = examination.check("slow", lambda: [ok("slow", "never looked at")], "rings")
    assert (found.state, found.campaign) == ("warn", "rings") and "not looked at" in found.text
