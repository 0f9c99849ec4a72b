"""The page of the claims: what is kept is not measured again, what fails costs no other, what falls short is shown."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import claims
from benchmarks.claims import CLAIMS, Claim, Finding, Rows
from benchmarks.report import Row

TOY = """
import json, pathlib, sys
if sys.argv[1] == "fail":
    sys.exit(3)
if sys.argv[1] == "write":
    pathlib.Path("out.json").write_text(json.dumps({"rows": [{"method": "<b>ours</b>", "auc": 0.9}], "code": "abc"}))
    pathlib.Path("out.png").write_bytes(b"picture")
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of a project with a benchmark and weights."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.py").write_text(TOY)
    weights = tmp_path / "models" / "one"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def findings(rows: Rows) -> list[Finding]:
    """One line."""
    return [Finding("toy <claim>", "1", claims.shown(rows[0], "auc"), "–", False)]


def toy(act: str) -> Claim:
    """A claim whose benchmark writes, fails, or finds nothing to measure."""
    return Claim(
        act, f"Toy {act}", "Text.", "toy", (act,), Path("out.json"), (Path("out.png"), Path("no.png")), findings
    )


def test_what_is_kept_counts_until_weights_or_arguments_change(here: Path) -> None:
    claim, folder = toy("write"), here / "claims"
    assert claims.kept(claim, folder) is None
    assert claims.measure(claim, folder)
    found = claims.kept(claim, folder)
    assert found is not None and found["document"]["rows"][0]["auc"] == 0.9 and len(found["figures"]) == 1
    assert claims.kept(replace(claim, arguments=("write", "more")), folder) is None
    (here / "models" / "one" / "model.safetensors").write_bytes(b"others")
    assert claims.kept(claim, folder) is None


def test_a_benchmark_that_fails_or_measures_nothing_leaves_nothing(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = here / "claims"
    assert not claims.measure(toy("fail"), folder)
    assert claims.measure(toy("skip"), folder)
    assert not folder.exists()
    said = capfd.readouterr().out
    assert "exit status 3" in said and "nothing was measured" in said
    # what an earlier run left is no result of this one
    (here / "out.json").write_text("{}")
    assert claims.measure(toy("skip"), folder) and not folder.exists()


def test_the_page_shows_what_is_there_and_what_is_not(here: Path) -> None:
    folder = here / "claims"
    claims.measure(toy("write"), folder)
    text = claims.page([toy("write"), toy("fail")], folder)
    assert text.count("Not measured with these weights yet.") == 1
    assert '<td class="missed">not met</td>' in text and "toy &lt;claim&gt;" in text
    assert "&lt;b&gt;ours&lt;/b&gt;" in text and "<b>ours" not in text
    assert "data:image/png;base64,cGljdHVyZQ==" in text and "code abc" in text
    assert "http" not in text.replace("arXiv", "")  # nothing is loaded from elsewhere


def test_the_command_goes_on_past_a_failure_and_says_so(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "CLAIMS", (toy("fail"), toy("write")))
    monkeypatch.setattr("sys.argv", ["claims"])
    with pytest.raises(SystemExit, match="Not measured, see above: fail"):
        claims.main()
    page = (claims.FOLDER / claims.PAGE).read_text()
    assert "Toy write" in page and page.count("Not measured") == 1
    monkeypatch.setattr("sys.argv", ["claims", "--only", "nonsense"])
    with pytest.raises(SystemExit, match="2"):
        claims.main()


def label_rows(model: str, **auc: float) -> list[Row]:
    """Rows of the five classes, as `labels10=.8`."""
    return [
        {"set": "morphology5", "model": model, "labels": int(name.removeprefix("labels")), "auc": value}
        for name, value in auc.items()
    ]


def test_label_findings() -> None:
    rows = label_rows("LVM with prior", labels0=0.93, labels10=0.92, labels100=0.96)
    rows += label_rows("ResNet18 from scratch", labels50=0.8, labels500=0.96)
    without, ten, nine, better = claims.label_findings(rows)
    assert (without.ours, without.met) == (".930", True)
    assert (nine.ours, nine.rival, nine.met) == ("none needed", "211 labels", True)
    rows = rows[1:]
    _, ten, nine, better = claims.label_findings(rows)
    assert (ten.ours, ten.rival, ten.met) == (".920", "–", False)
    # 50 * 10 ** (.1 / .16) labels for ResNet18, ours at ten already
    assert nine.ours == "> 21.1 × (≤ 10 labels)" and nine.rival == "211 labels" and nine.met is None
    # 10 * 10 ** (.03 / .04) against 50 * 10 ** (.15 / .16)
    assert better.met is False and better.ours == "7.7 × (56 labels)" and better.rival == "433 labels"


def test_detection_findings() -> None:
    assert claims.detection_findings([{"backbone": "lvm", "accuracy": 0.9}]) == []
    rows: list[Row] = [{"backbone": "lvm", "accuracy": 0.95}, {"backbone": "lvm", "accuracy": 0.97}]
    accuracy, share = claims.detection_findings([*rows, {"backbone": "resnet50", "accuracy": 0.92}])
    assert accuracy.met is True and accuracy.ours == "97.0%"
    assert share.ours == "0.38" and share.met is True


def test_search_findings_are_of_as_many_as_are_wanted() -> None:
    many: Row = {"type": "lens", "wanted": 120, "examples": 3, "p@100": 0.9, "r_precision": 0.7, "found": 80.0}
    few: Row = {"type": "odd", "wanted": 30, "examples": 3, "p@100": 0.3, "r_precision": 0.7, "found": 25.0}
    rows: list[Row] = [
        many | {"method": "loop"},
        many | {"method": "simulated+most-likely", "examples": 0, "p@100": 1.0},
        many | {"method": "Astronomaly", "p@100": 0.2},
        few | {"method": "most likely"},
    ]
    lens, odd = claims.search_findings(rows)
    assert (lens.ours, lens.rival, lens.met) == (".90 (80 of 120 found)", ".20 (Astronomaly)", True)
    assert (odd.ours, odd.rival, odd.met) == (".70 (25 of 30 found)", "– (Astronomaly)", False)
    assert lens.claim == "Lenses in ten rounds from three examples: loop" and lens.paper.endswith("of the best 100")
    assert odd.claim == "Odd in ten rounds from three examples: most likely first" and odd.paper.endswith("best 30")
    assert claims.search_findings([]) == []


def test_the_mirrors_document_becomes_rows() -> None:
    rows = claims.rows_of({"auc": {"a/ring": 0.7, "gz2-sdss/morphology5": 0.95, "gz2-sdss/morphology5/spiral": 0.9}})
    assert rows[2] == {"set": "gz2-sdss", "task": "morphology5", "kind": "spiral", "auc": 0.9}
    classes, rings, _ = claims.mirror_findings(rows)
    assert classes.met is True and rings.met is None and rings.ours == "–"


def test_restoration_findings_need_the_best_of_all() -> None:
    """The decoder alone is no rival of `restore`, which is made of it."""
    rows: list[Row] = [{"method": "degraded", "gain": 0.0}, {"method": "LVM", "gain": 10.4}]
    rows.append({"method": "restore", "gain": 9.96})
    assert claims.restoration_findings(rows) == []
    (found,) = claims.restoration_findings([*rows, {"method": "wavelets", "gain": 7.0}])
    assert found.ours == "+10.0" and found.rival == "+7.0 (wavelets)" and found.met is True
    (found,) = claims.restoration_findings([*rows, {"method": "wavelets", "gain": 11.0}])
    assert found.met is False


def test_every_claim_names_a_benchmark_that_is_there() -> None:
    root = Path(__file__).parents[2]
    for claim in CLAIMS:
        assert (root / f"{claim.module.replace('.', '/')}.py").is_file(), claim.key
    assert len({claim.key for claim in CLAIMS}) == len(CLAIMS)
    json.dumps([claim.asked() for claim in CLAIMS])
