"""`galaxyloop data fetch` and `data surveys`: what they print, and what ends them."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backend_ml.cli.stamps.data import app
from lvm_training.stamps.stampset import StampSet
from lvm_training.surveys import service as service_module
from tests.backend_ml.cli.wrapping import unwrapped
from tests.lvm_training.surveys.imitation import Imitation, imitated
from tests.lvm_training.surveys.killing import REPOSITORY, command, fetch_with_kills, wait_for


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def hears_control_c() -> None:
    """Undo what a shell does to the commands that it starts in the background: they ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """Forty positions."""
    path = tmp_path / "galaxies.csv"
    path.write_text("\n".join(["id,RA,DEC", *(f"{row},{100 + row / 10},{row / 10}" for row in range(40))]) + "\n")
    return path


def test_a_dry_run_says_how_much_it_is_without_network(
    catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(service_module.Service, "opened", refused)
    done = run("fetch", catalogue, "--out", tmp_path / "out.h5", "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert (record["stamps"], record["requests"], record["requests_a_second"]) == (40, 40, 2.0)
    assert record["minutes"] == 0.3 and record["megabytes"] == pytest.approx(40 * 3 * 152**2 * 4 / 1e6, abs=0.1)
    assert any("called by the column id" in note for note in record["notes"])
    by_band = run("fetch", catalogue, "--out", tmp_path / "out.h5", "--survey", "hsc", "--dry-run", "--json")
    assert json.loads(by_band.stdout)["requests"] == 120
    assert [path.name for path in tmp_path.iterdir()] == ["galaxies.csv"]


def test_what_was_done_is_said(catalogue: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    with imitated() as service:
        service.fail(100.5, 0.5, "404")
        line = ("fetch", catalogue, "--out", out, "--survey", service.description(tmp_path), "--bands", "gri")
        done = run(*line)
        assert done.exit_code == 0, done.output
        assert "g, r, i stand as g, r, z" in unwrapped(done.stderr) and "called by the column id" in unwrapped(
            done.stderr
        )
        assert "outside 1" in done.stdout and "Nobody et al." in done.stdout and "skipped.csv" in done.stdout
        again = json.loads(run(*line, "--retry", "--json").stdout)
        assert (again["written"], again["fetched_now"], again["left_out"], again["skipped"]) == (40, 1, {}, None)
        shown = run("show", out)
        assert shown.exit_code == 0 and "survey: citation" in shown.stdout and "Nobody et al." in shown.stdout
        assert "gri (40 stamps)" in shown.stdout and "Nobody et al." in (tmp_path / "out.html").read_text()
        other = run(*line, "--size", 32)
        assert other.exit_code == 1 and "exists already" in unwrapped(other.stderr)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--survey", "sloan"), ("no survey 'sloan'", "legacy-surveys")),
        (("--survey", "lsst-like"), ("an example", "--survey")),
        (("--rate", "100"), ("5 times a second at most",)),
        (("--size", "9999"), ("8 to 3000 pixels",)),
        (("--bands", "ugr"), ("no band 'u'",)),
    ],
)
def test_what_cannot_be_asked_is_said_before_work(
    catalogue: Path, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    done = run("fetch", catalogue, "--out", tmp_path / "out.h5", *options)
    assert done.exit_code == 1 and all(word in unwrapped(done.stderr) for word in words), done.output
    assert [path.name for path in tmp_path.iterdir()] == ["galaxies.csv"]


def test_surveys_are_listed() -> None:
    rows = json.loads(run("surveys", "--json").stdout)
    found = {row["survey"]: row for row in rows}
    assert found["legacy-surveys"]["scale"] == 0.262 and found["hsc"]["account"] is True
    assert all(row["citation"] and row["footprint"] for row in rows)
    assert "legacy-surveys" in run("surveys").stdout


def test_control_c_keeps_what_is_done(catalogue: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    with imitated() as service:
        service.slowly = 0.02
        line = command(catalogue, out, service.description(tmp_path))
        with subprocess.Popen(
            line,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=hears_control_c,
        ) as process:
            wait_for(service, 12, process)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        assert process.returncode == 130 and b"the same command goes on" in said and b"Traceback" not in said
        assert out.with_name("out.h5.partial").exists() and not out.exists()
        asked = len(service.asked)
        subprocess.run(line, cwd=REPOSITORY, check=True, capture_output=True)
        # what was on its way is asked for again, what had come is not
        assert 40 - asked <= len(service.asked) - asked <= 40 - asked + 3
    check_each_once(out, service)


def test_kills_lose_and_double_nothing(catalogue: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    with imitated() as service:
        service.slowly = 0.01
        for row in (7, 23):
            service.fail(100 + row / 10, row / 10, *["404"] * 9)
        found = fetch_with_kills(service, catalogue, out, service.description(tmp_path), stamps=40, kills=3, seed=1)
    assert found.kills >= 2 and 0 < found.again < 3 * (16 + 3 + 1)
    check_each_once(out, service, lost={7, 23})


def check_each_once(out: Path, service: Imitation, lost: frozenset[int] | set[int] = frozenset()) -> None:
    """Each stamp is in the set or in the list beside it, once."""
    with StampSet(out) as stamps:
        assert sorted(stamps.column("id").tolist()) == [row for row in range(40) if row not in lost]
    listing = out.with_name("out.h5.skipped.csv")
    lines = listing.read_text().splitlines()[1:] if listing.exists() else []
    assert sorted(int(line.partition(",")[0]) for line in lines) == sorted(lost)
    assert set(service.positions()) == {(round(100 + row / 10, 4), round(row / 10, 4)) for row in range(40)}
