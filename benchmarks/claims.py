"""The paper's claims, measured on what is at hand and shown on one page: build/claims/index.html.

Each claim has a benchmark, which runs ours and its rival. It runs as a process of its own, so that one that fails costs
no other; what it found is kept with its figures, and measured again only for other weights or arguments. Benchmarks
keep what takes them minutes: a killed run goes on.

    python -m benchmarks.claims [--only labels,search] [--again] [--page]
"""

import argparse
import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from benchmarks.report import FOLDER as BENCHMARKS
from benchmarks.report import Row
from lvm_training.evaluation.probes import NO_LABEL, Crossing, label_efficiency
from lvm_training.files import write_atomically, write_json
from lvm_training.paths import MIRROR, MIRROR_FIGURE

FOLDER = Path("build/claims")
PAGE = "index.html"
MODELS = Path("models")
SEARCHES = {
    "loop": "loop",
    "most likely": "most likely first",
    "simulated+most-likely": "most likely first, begun with simulated ones",
}  # methods, and what people call them
SOUGHT = {"lens": "lenses", "ring": "rings", "merger": "mergers", "gz2": "odd spirals of gz2-sdss"}
FROZEN, PRIOR, WHOLE, RESNET = "LVM", "LVM with prior", "LVM, trained whole", "ResNet18 from scratch"  # curves


class Finding(NamedTuple):
    """One line of the summary; `met` is None where nothing can be said."""

    claim: str
    paper: str
    ours: str
    rival: str
    met: bool | None


Rows = Sequence[Row]


@dataclass(frozen=True)
class Claim:
    """A claim and what measures it.

    Attributes
    ----------
    key, title, text : str
        Name on the command line, heading, and what is compared with what.
    module : str
        The benchmark.
    arguments : tuple of str
        Its arguments.
    output : Path
        The JSON document that it writes.
    figures : tuple of Path
        The pictures that it writes; those that are not there are passed over.
    findings : callable
        The lines of the summary from the rows of the document.
    """

    key: str
    title: str
    text: str
    module: str
    arguments: tuple[str, ...]
    output: Path
    figures: tuple[Path, ...]
    findings: Callable[[Rows], list[Finding]]

    @property
    def command(self) -> str:
        """What a person would type."""
        return " ".join(["python -m", self.module, *self.arguments])

    def asked(self) -> dict[str, Any]:
        """What a measurement depends on, beside the code."""
        return {"module": self.module, "arguments": list(self.arguments), "weights": weights_digest()}


def weights_digest(folder: Path = MODELS) -> str:
    """12 hex digits of all released weights."""
    state = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        state.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return state.hexdigest()[:12]


def find(rows: Rows, **wanted: object) -> Row | None:
    """The first row with these values."""
    return next((row for row in rows if all(row.get(name) == value for name, value in wanted.items())), None)


def shown(row: Row | None, name: str, digits: int = 3) -> str:
    """A value of a row without its leading zero, or a dash."""
    value = row.get(name) if row else None
    if not isinstance(value, float | int):
        return "–"
    text = f"{value:.{digits}f}"
    return text.removeprefix("0") if text.startswith("0.") else text


def reached(rows: Rows, task: str, model: str, auc: float) -> Crossing:
    """Labels at which a model reaches an AUC, interpolated in log labels as in `labels_to_reach`."""
    import numpy as np

    from lvm_training.evaluation.probes import Curve, labels_to_reach

    curve = [row for row in rows if row["set"] == task and row["model"] == model]
    if not curve:
        return Crossing(None, 0)
    values = np.array([[float(row["auc"]) for row in curve]])
    return labels_to_reach(Curve(tuple(int(row["labels"]) for row in curve), values), auc)


def label_findings(rows: Rows) -> list[Finding]:
    """AUC without labels and with ten, and how many times fewer labels the five classes need."""
    task, found = "morphology5", []
    for labels, aim in ((0, 0.90), (10, 0.94)):
        row = find(rows, set=task, model=PRIOR, labels=labels)
        rival = find(rows, set=task, model=RESNET, labels=labels)
        met = None if row is None else float(row["auc"]) >= aim
        found.append(
            Finding(f"Five classes with {labels} labels", f"aim {aim:g}", shown(row, "auc"), shown(rival, "auc"), met)
        )
    for auc in (0.9, 0.95):
        rival_at = reached(rows, task, RESNET, auc)
        ours = min((reached(rows, task, name, auc) for name in (FROZEN, PRIOR, WHOLE)), key=_labels)
        if ours.value is None and rival_at.value is None:
            continue
        times = label_efficiency(rival_at, ours)
        found.append(
            Finding(
                f"Labels to AUC {auc:g}, five classes: times fewer than ResNet18",
                "50 ×",
                "none needed" if times == NO_LABEL else f"{times} × ({_count(ours)} labels)",
                f"{_count(rival_at)} labels",
                _at_least(times, 50),
            )
        )
    return found


def _labels(crossing: Crossing) -> float:
    return float("inf") if crossing.value is None else crossing.value


def _count(crossing: Crossing) -> str:
    if crossing.value is None:
        return f"> {crossing.n_max}"
    return f"{'≤ ' if crossing.at_most else ''}{crossing.value:.0f}"


def _at_least(times: str, aim: float) -> bool | None:
    """Whether a ratio of `label_efficiency` is that large; None where it only bounds it from the wrong side."""
    if times == NO_LABEL:
        return True
    try:
        value = float(times.removeprefix("> "))
    except ValueError:
        return None if times.startswith("<") or times == "unknown" else False
    return True if value >= aim else None if times.startswith(">") else False


def mirror_findings(rows: Rows) -> list[Finding]:
    """What simulated labels alone are worth on real pictures."""
    aims = (("gz2-sdss", "morphology5", 0.93), ("rings-decals", "ring", 0.75), ("gz1-sdss", "merger", 0.80))
    found = []
    for name, task, aim in aims:
        row = find(rows, set=name, task=task, kind="")
        met = None if row is None else float(row["auc"]) >= aim
        found.append(
            Finding(f"No human label: {task} of {name}, AUC", f"aim {aim:g}", shown(row, "auc"), ".5 by chance", met)
        )
    return found


def search_findings(rows: Rows) -> list[Finding]:
    """Purity of the best after ten rounds from three examples, of each way that the search page offers.

    Of the best hundred, or of as many as there are of the kind.
    """
    found = []
    for kind in dict.fromkeys(str(row["type"]) for row in rows):
        wanted = int(next(row["wanted"] for row in rows if row["type"] == kind))
        best, measure = (100, "p@100") if wanted >= 100 else (wanted, "r_precision")
        rival = find(rows, type=kind, method="Astronomaly", examples=3)
        for method, called in SEARCHES.items():
            ours = find(rows, type=kind, method=method, examples=3)
            if ours is None:
                continue
            found.append(
                Finding(
                    f"{SOUGHT.get(kind, kind).capitalize()} in ten rounds from three examples: {called}",
                    f"found; aim .8 of the best {best}",
                    f"{shown(ours, measure, 2)} ({shown(ours, 'found', 0)} of {wanted} found)",
                    f"{shown(rival, measure, 2)} (Astronomaly)",
                    float(ours[measure]) >= 0.8,
                )
            )
    return found


def _with_detector(findings: Callable[[Rows], list[Finding]]) -> Callable[[Rows], list[Finding]]:
    """Findings that say whose eyes they are of."""
    return lambda rows: [one._replace(claim=f"{one.claim}, a detector's eyes") for one in findings(rows)]


def detection_findings(rows: Rows) -> list[Finding]:
    """Accuracy on simulated lenses, and the share of the rival's error that remains."""
    best = {
        name: max((float(row["accuracy"]) for row in rows if row["backbone"] == name), default=None)
        for name in ("lvm", "resnet50")
    }
    ours, rival = best["lvm"], best["resnet50"]
    if ours is None or rival is None:
        return []
    left = (1 - ours) / (1 - rival) if rival < 1 else float("inf")
    return [
        Finding(
            "Lens detection with 1,000 images, accuracy",
            "96.7 % against 93.1 %",
            f"{ours:.1%}",
            f"{rival:.1%} (ResNet50)",
            ours >= 0.967,
        ),
        Finding("Share of the ResNet50's error that remains", ".48", f"{left:.2f}", "1", left <= 0.48),
    ]


def restoration_findings(rows: Rows) -> list[Finding]:
    """Gain in dB over the degraded stamps."""
    ours = find(rows, method="restore")
    others = [row for row in rows if row["method"] not in ("LVM", "restore", "degraded")]
    best = max(others, key=lambda row: float(row["gain"]), default=None)
    if ours is None or best is None:
        return []
    met = float(ours["gain"]) >= 3 and float(ours["gain"]) > float(best["gain"])
    return [
        Finding(
            "Restoration, gain in dB",
            "best of all",
            f"+{shown(ours, 'gain', 1)}",
            f"+{shown(best, 'gain', 1)} ({best['method']})",
            met,
        )
    ]


CLAIMS = (
    Claim(
        "labels",
        "Fewer labels",
        "Macro AUC on the test half of real pictures against the number of human labels, drawn at random. The LVM's "
        "frozen features under a campaign's head, the same with what simulated stamps teach, and the whole network "
        "trained; ResNet18 trained from scratch in earnest, and judged from one view as most papers do.",
        "benchmarks.bench_label_efficiency",
        (
            "--sets",
            "morphology5,hubble7,bars,inner-rings,perturbed,mergers,rings,lens-candidates",
            "--draws",
            "5",
            "--whole-draws",
            "2",
            "--whole-sets",
            "morphology5",
        ),
        BENCHMARKS / "label_efficiency.json",
        (BENCHMARKS / "label_efficiency_morphology5.png", BENCHMARKS / "label_efficiency_hubble7.png"),
        label_findings,
    ),
    Claim(
        "policies",
        "Which galaxy next",
        "The same five classes where a policy chooses whom people label, ten at a time; five starts.",
        "benchmarks.bench_policies",
        ("--sets", "morphology5", "--batch", "10", "--most", "200", "--resnet-draws", "0"),
        BENCHMARKS / "policies.json",
        (BENCHMARKS / "policies_morphology5.png",),
        lambda rows: [],
    ),
    Claim(
        "mirror",
        "No label at all",
        "A linear head that learned from simulated stamps alone, judged on real pictures. How far it stays behind "
        "people's labels is how far the simulator is from the sky.",
        "lvm_training.evaluation.mirror",
        (),
        MIRROR,
        (MIRROR_FIGURE,),
        mirror_findings,
    ),
    Claim(
        "search",
        "Any kind within ten rounds",
        "Three examples, then ten rounds of twenty answers; pools in which one galaxy in a hundred is wanted. Rivals "
        "learn on the same features from the same starts.",
        "benchmarks.bench_find_any_type",
        ("--pool", "12000", "--seeds", "3"),
        BENCHMARKS / "find_any_type.json",
        (),
        search_findings,
    ),
    Claim(
        "lenses",
        "Lenses within ten rounds, with a detector's eyes",
        "The same pool, starts and rivals on features of the released detector, which learned from lenses of the same "
        "simulator.",
        "benchmarks.bench_find_any_type",
        ("--pool", "12000", "--seeds", "3", "--types", "lens", "--views", "1", "--encoder", "models/detector-nano"),
        BENCHMARKS / "find_any_type.json",
        (),
        _with_detector(search_findings),
    ),
    Claim(
        "detection",
        "Lens detection",
        "Mask R-CNN on the LVM and on a ResNet50: the same simulated lenses and look-alikes, images seen and heads.",
        "benchmarks.bench_detection",
        ("--images", "1000", "--steps", "500", "--rates", "1e-3"),
        BENCHMARKS / "detection.json",
        (),
        detection_findings,
    ),
    Claim(
        "restoration",
        "Restoration",
        "Simulated stamps that were blurred and made noisy, restored by `galaxyloop restore`, by the decoder alone and "
        "by classical methods that were tuned for it.",
        "benchmarks.bench_restoration",
        (),
        BENCHMARKS / "restoration.json",
        (),
        restoration_findings,
    ),
)


def rows_of(document: dict[str, Any]) -> list[Row]:
    """The rows of a benchmark's document; of the mirror's, one for each set, task and class."""
    if "rows" in document:
        return list(document["rows"])
    rows: list[Row] = []
    for name, value in document["auc"].items():
        place, task, *kind = name.split("/")
        rows.append({"set": place, "task": task, "kind": "".join(kind), "auc": value})
    return rows


def kept(claim: Claim, folder: Path) -> dict[str, Any] | None:
    """What was found of a claim, if it was asked in the same way."""
    path = folder / f"{claim.key}.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found if found["asked"] == claim.asked() else None


def measure(claim: Claim, folder: Path) -> bool:
    """Run a claim's benchmark and keep what it found; whether it ended well."""
    print(f"== {claim.title}: {claim.command}", flush=True)
    before = claim.output.stat().st_mtime_ns if claim.output.is_file() else None
    status = subprocess.run([sys.executable, "-m", claim.module, *claim.arguments], check=False).returncode
    written = claim.output.is_file() and claim.output.stat().st_mtime_ns != before
    if status or not written:
        print(f"{claim.title}: {f'exit status {status}' if status else 'nothing was measured'}; the others go on.")
        return status == 0
    document = json.loads(claim.output.read_text(encoding="utf-8"))
    figures = [base64.b64encode(path.read_bytes()).decode() for path in claim.figures if path.is_file()]
    write_json(folder / f"{claim.key}.json", {"asked": claim.asked(), "document": document, "figures": figures})
    return True


def page(claims: Sequence[Claim], folder: Path) -> str:
    """The page of what is kept."""
    template = Template(Path(__file__).with_name("claims.html").read_text(encoding="utf-8"))
    found = [(claim, kept(claim, folder)) for claim in claims]
    lines = [
        _line(finding)
        for claim, one in found
        if one is not None
        for finding in claim.findings(rows_of(one["document"]))
    ]
    return template.substitute(summary="".join(lines), claims="".join(_section(claim, one) for claim, one in found))


def _line(finding: Finding) -> str:
    word = {True: '<td class="met">met</td>', False: '<td class="missed">not met</td>', None: "<td>open</td>"}
    claim, *cells = (f"<td>{escape(text)}</td>" for text in finding[:4])
    return f"<tr>{claim}{word[finding.met]}{''.join(cells)}</tr>"


def _section(claim: Claim, found: dict[str, Any] | None) -> str:
    head = f"<h2>{escape(claim.title)}</h2><p>{escape(claim.text)}</p>"
    command = f"<p><code>{escape(claim.command)}</code></p>"
    if found is None:
        return f'{head}<p class="note">Not measured with these weights yet.</p>{command}'
    document = found["document"]
    figures = "".join(
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(claim.title)}"></figure>'
        for data in found["figures"]
    )
    about = ", ".join(
        str(value)
        for value in (
            document.get("machine", {}).get("processor"),
            f"{document['machine']['cores']} cores" if "machine" in document else None,
            f"code {document['code']}" if "code" in document else None,
            f"weights {found['asked']['weights']}",
        )
        if value
    )
    table = f"<details><summary>All figures</summary>{_table(rows_of(document))}</details>"
    return f'{head}{figures}{table}{command}<p class="note">{escape(about)}</p>'


def _table(rows: Rows) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(_cell(row.get(name, '')) for name in columns)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: float | int | str) -> str:
    if isinstance(value, str):
        return f"<td>{escape(value)}</td>"
    return f'<td class="number">{f"{value:.3f}" if isinstance(value, float) else value}</td>'


def main() -> None:
    """Measure what is not kept, and write the page after each claim."""
    parser = argparse.ArgumentParser(description="Measure the paper's claims and write one page.")
    keys = ",".join(claim.key for claim in CLAIMS)
    parser.add_argument("--only", default=keys, help=f"of {keys}")
    parser.add_argument("--again", action="store_true", help="measure what is kept as well")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page")
    asked = parser.parse_args()
    names = asked.only.split(",")
    if unknown := set(names) - {claim.key for claim in CLAIMS}:
        parser.error(f"there is no claim {', '.join(sorted(unknown))}; there are {keys}")
    failed = []
    for claim in CLAIMS:
        if claim.key in names and not asked.page and (asked.again or kept(claim, FOLDER) is None):
            failed += [] if measure(claim, FOLDER) else [claim.key]
        write_atomically(FOLDER / PAGE, lambda partial: partial.write_text(page(CLAIMS, FOLDER), encoding="utf-8"))
    print(f"The page is {FOLDER / PAGE}.")
    if failed:
        sys.exit(f"Not measured, see above: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
