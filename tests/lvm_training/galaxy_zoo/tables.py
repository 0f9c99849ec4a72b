"""Vote tables as the surveys publish them, in small."""

from collections.abc import Mapping, Sequence
from pathlib import Path

HART = {
    "smooth-or-featured": ("t01_smooth_or_features", ("a01_smooth", "a02_features_or_disk", "a03_star_or_artifact")),
    "disk-edge-on": ("t02_edgeon", ("a04_yes", "a05_no")),
    "bar": ("t03_bar", ("a06_bar", "a07_no_bar")),
    "has-spiral-arms": ("t04_spiral", ("a08_spiral", "a09_no_spiral")),
    "how-rounded": ("t07_rounded", ("a16_completely_round", "a17_in_between", "a18_cigar_shaped")),
}
WALMSLEY = {
    "smooth-or-featured": ("smooth", "featured-or-disk", "artifact"),
    "how-rounded": ("round", "in-between", "cigar-shaped"),
    "disk-edge-on": ("yes", "no"),
    "has-spiral-arms": ("yes", "no"),
    "bar": ("strong", "weak", "no"),
    "merging": ("none", "minor-disturbance", "major-disturbance", "merger"),
}
Row = Mapping[str, Sequence[float]]  # votes of each question, in the order of its answers
# ten people each: round, in-between, cigar, edge-on, barred spiral, nothing in particular, artifact
GALAXIES: tuple[Row, ...] = (
    {"smooth-or-featured": (8, 2, 0), "how-rounded": (6, 2, 0), "disk-edge-on": (0, 2), "has-spiral-arms": (1, 1)},
    {"smooth-or-featured": (7, 3, 0), "how-rounded": (1, 5, 1), "disk-edge-on": (1, 2), "has-spiral-arms": (0, 2)},
    {"smooth-or-featured": (6, 4, 0), "how-rounded": (0, 2, 4), "disk-edge-on": (2, 2), "has-spiral-arms": (0, 2)},
    {"smooth-or-featured": (2, 8, 0), "how-rounded": (0, 0, 2), "disk-edge-on": (7, 1), "has-spiral-arms": (0, 1)},
    {"smooth-or-featured": (1, 9, 0), "how-rounded": (1, 0, 0), "disk-edge-on": (1, 8), "has-spiral-arms": (7, 1)},
    {"smooth-or-featured": (4, 4, 2), "how-rounded": (2, 2, 0), "disk-edge-on": (2, 2), "has-spiral-arms": (1, 1)},
    {"smooth-or-featured": (0, 0, 10), "how-rounded": (0, 0, 0), "disk-edge-on": (0, 0), "has-spiral-arms": (0, 0)},
)
MORPHOLOGY5 = ["round smooth", "in-between smooth", "cigar-shaped smooth", "edge-on disc", "spiral", "", ""]


def write(path: Path, columns: Mapping[str, Sequence[object]]) -> Path:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


def fractions(row: Row, question: str) -> list[float]:
    """Zeros where nobody was asked, as Galaxy Zoo 2 writes them."""
    votes = row[question]
    return [one / sum(votes) if sum(votes) else 0.0 for one in votes]


def galaxy_zoo_2(path: Path, galaxies: Sequence[Row] = GALAXIES, **more: Sequence[object]) -> Path:
    """The columns of Hart et al. 2016; raw fractions are zero, so that they are not taken for the debiased ones."""
    columns: dict[str, Sequence[object]] = {"dr7objid": [587722981736120347 + row for row in range(len(galaxies))]}
    columns |= more
    for question in GALAXIES[0]:
        task, answers = HART[question]
        for place, answer in enumerate(answers):
            values = [fractions(row, question)[place] for row in galaxies]
            columns[f"{task}_{answer}_count"] = [int(row[question][place]) for row in galaxies]
            columns[f"{task}_{answer}_weight"] = columns[f"{task}_{answer}_count"]
            columns[f"{task}_{answer}_fraction"] = [0.0] * len(galaxies)
            columns[f"{task}_{answer}_weighted_fraction"] = [0.0] * len(galaxies)
            columns[f"{task}_{answer}_debiased"] = values
            columns[f"{task}_{answer}_flag"] = [0] * len(galaxies)
    return write(path, columns)


def gz_decals(
    path: Path,
    galaxies: Sequence[Row] = GALAXIES,
    *,
    campaign: str = "",
    predicted: bool = False,
    **more: Sequence[object],
) -> Path:
    """The columns of Walmsley et al. 2022, or the fractions alone, as predicted; empty where nobody was asked."""
    columns: dict[str, Sequence[object]] = {
        "iauname": [f"J{row:06d}.18-002739.1" for row in range(len(galaxies))]
    } | more
    for question in GALAXIES[0]:
        name = question + campaign
        if not predicted:
            columns[f"{name}_total-votes"] = [int(sum(row[question])) for row in galaxies]
        for place, answer in enumerate(WALMSLEY[question]):
            if not predicted:
                columns[f"{name}_{answer}"] = [int(row[question][place]) for row in galaxies]
            columns[f"{name}_{answer}_fraction"] = [
                fractions(row, question)[place] if sum(row[question]) else "" for row in galaxies
            ]
    return write(path, columns)
