"""Reads a vote table of Galaxy Zoo: for each galaxy and question the fraction of votes that each answer had."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import LabelError
from lvm_training.galaxy_zoo.trees import KAGGLE, TREES, Question, VoteColumn, tree_of, vote_column
from lvm_training.tables.cells import Column, Missing
from lvm_training.tables.position_names import is_position
from lvm_training.tables.reading import Table, read_table

Floats = NDArray[np.float64]

IDENTIFIERS = (
    "file",
    "file_loc",
    "filename",
    "iauname",
    "iau_name",
    "id_str",
    "id",
    "objid",
    "object_id",
    "dr7objid",
    "dr8objid",
    "dr8_id",
    "dr12objid",
    "specobjid",
    "galaxyid",
    "galaxy_id",
    "asset_id",
    "subject_id",
    "sdss_id",
    "name",
    "source_row",
    "stamp_id",
)
ORDER = ("debiased", "weighted", "fraction", "count")  # published cuts are on debiased fractions
SLACK = 0.001  # that rounding may put a fraction beyond 0 or 1
SUMS = 0.03  # that the fractions of a question may be off one


@dataclass(frozen=True)
class Votes:
    """The votes of a table.

    Attributes
    ----------
    table : Table
        Its columns of names and positions, a row for each galaxy.
    tree : str
        A key of `TREES`.
    questions : tuple of Question
        Of the tree, those that the table has answers to.
    statistic : str
        Which fractions they are: "debiased", "weighted", "fraction" or "count".
    fractions : dict of str to ndarray (N,)
        By `question_answer`; NaN where nobody was asked, or the cell says nothing.
    asked : dict of str to ndarray (N,)
        How many people answered each question, where the table says it.
    counts : dict of str to ndarray (N,)
        How many gave each answer, by `question_answer`, as the table says it; NaN where the cell says nothing.
    notes : tuple of str
        What was assumed, and what is odd; for people.
    """

    table: Table
    tree: str
    questions: tuple[Question, ...]
    statistic: str
    fractions: Mapping[str, Floats]
    asked: Mapping[str, Floats]
    counts: Mapping[str, Floats]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.table)

    def fraction(self, key: str) -> Floats | None:
        """Fractions of an answer, `question_answer`; None where the table does not tell.

        Of a question of two answers one tells the other.
        """
        if key in self.fractions:
            return self.fractions[key]
        name = key.partition("_")[0]
        question = next((one for one in TREES[self.tree] if one.name == name and key in one.keys), None)
        if question is None or len(question.answers) != 2:
            return None
        other = next(one for one in question.keys if one != key)
        return 1 - self.fractions[other] if other in self.fractions else None


def read_votes(
    path: Path,
    *,
    missing: Missing | None = None,
    statistic: str | None = None,
    also: Sequence[str] = (),
    asked: bool = False,
) -> Votes:
    """Read a vote table; its questions are recognised by its columns.

    Parameters
    ----------
    path : Path
        A table as `read_table` reads it: of Galaxy Zoo 2 (Hart et al. 2016), GZ DECaLS (Walmsley et al. 2022), GZ DESI
        (Walmsley et al. 2023), or of the Galaxy Zoo challenge on Kaggle, whose fractions are of all who were shown the
        galaxy and are divided by those who were asked.
    statistic : str, optional
        Which fractions are read: "debiased", "weighted", "fraction", or "count" to make them of counts. By default the
        first of these that the table has.
    also : sequence of str
        Further columns that are read: names of galaxies.
    asked : bool
        Whether it matters how many people answered.

    Raises
    ------
    LabelError
        If the table cannot be read, has no votes, its votes are no numbers or percentages, or it lacks the statistic.
    """
    known = {*IDENTIFIERS, *(one.casefold() for one in also)}
    seen: list[str] = []

    def wanted(names: Sequence[str]) -> set[str]:
        seen.extend(names)
        return _needed(names, known, statistic, asked=asked)

    table = read_table(path, missing=missing, wanted=wanted)
    found = {name: what for name in table.columns if (what := vote_column(name))}
    notes = list(table.notes)
    if not found:
        raise _no_votes(path, seen)
    campaign, columns = _of_one_campaign(table, found, notes)
    counted = {key: column for key, column in columns.items() if key[2] in ("count", "total")}
    fractions: dict[str, Floats] = {}
    used: Counter[str] = Counter()
    tree = tree_of(campaign, {f"{question}_{answer}" for question, answer, _ in columns if answer})
    for question in TREES[tree]:
        made, which = _fractions(table, question, columns, statistic)
        fractions |= _checked(question, made, notes, of_all=campaign == KAGGLE)
        used.update([which] if made else [])
    if not fractions:
        has = ", ".join(name for name in seen if vote_column(name))
        raise LabelError(
            f"{path.name} has no {statistic or 'known'} fractions.", f"--fractions says which of {has[:200]}."
        )
    people = _asked(TREES[tree], counted)
    questions = tuple(one for one in TREES[tree] if set(one.keys) & fractions.keys())
    first = used.most_common(1)[0][0]
    said = _said(tree, len(questions), used, first, seen)
    return Votes(table, tree, questions, first, fractions, people, _counts(TREES[tree], counted), (*said, *notes))


def _said(tree: str, questions: int, used: Counter[str], first: str, seen: Sequence[str]) -> list[str]:
    """What was read of a table with the columns `seen`, in words: how many questions, by which statistics."""
    said = [f"votes of {tree}: {questions} of {len(TREES[tree])} questions, {_WORDS[first]}"]
    said += [f"{count} questions have only {_WORDS[kind]}" for kind, count in used.items() if kind != first]
    if not any(what.statistic in ("count", "total") for name in seen if (what := vote_column(name))):
        said.append("how many people were asked is not told: fractions may be predictions, as those of GZ DESI")
    return said


_WORDS = {
    "debiased": "debiased fractions",
    "weighted": "fractions weighted by consistency",
    "fraction": "fractions as voted",
    "count": "fractions of the counts",
}
_Key = tuple[str, str, str]  # question, answer, statistic


def _needed(names: Sequence[str], known: set[str], statistic: str | None, *, asked: bool) -> set[str]:
    """Columns that are read: names, positions, and of the votes of each question only the statistic that is taken."""
    votes = {name: what for name in names if (what := vote_column(name))}
    order = ORDER if statistic is None else (statistic,)
    chosen: dict[tuple[str, str], set[str]] = {}
    for what in votes.values():
        have = {one.statistic for one in votes.values() if one[0] == what.question and one.campaign == what.campaign}
        best = next((kind for kind in order if kind in have), None)
        chosen[what.question, what.campaign] = {best or what.statistic} | (
            {"count", "total"} if asked or best == "count" else set()
        )
    return {name for name in names if name.casefold() in known or is_position(name)} | {
        name for name, what in votes.items() if what.statistic in chosen[what.question, what.campaign]
    }


def _no_votes(path: Path, seen: Sequence[str]) -> LabelError:
    names = list(dict.fromkeys(seen))
    if names and all(name.replace(".", "").replace("-", "").isdecimal() for name in names[1:]):
        return LabelError(f"{path.name} has no header: its first line is {', '.join(names[:4])} ...", "Add one.")
    shown = ", ".join(names[:12]) + (" ..." if len(names) > 12 else "")
    return LabelError(
        f"{path.name} has no votes of Galaxy Zoo; its columns are {shown or 'none'}.",
        "Votes are columns such as smooth-or-featured_smooth_fraction or t01_smooth_or_features_a01_smooth_debiased.",
    )


def _of_one_campaign(table: Table, found: Mapping[str, VoteColumn], notes: list[str]) -> tuple[str, dict[_Key, Column]]:
    """The campaign that most galaxies have votes of, and its columns."""
    known: dict[str, int] = defaultdict(int)
    for name, what in found.items():
        known[what.campaign] += int((~table.columns[name].missing).sum())
    best = max(known, key=lambda campaign: known[campaign])
    others = sorted(campaign or "without a name" for campaign in known if campaign != best)
    if others:
        notes.append(f"votes of {best or 'the campaign without a name'} are read, not those of {', '.join(others)}")
    columns: dict[_Key, Column] = {}
    for name, what in found.items():
        if what.campaign != best:
            continue
        column = table.columns[name]
        if not column.is_number and not column.missing.all():
            row = int(np.flatnonzero(~column.missing)[0])
            raise LabelError(
                f"{table.name}: votes {name!r} in line {table.lines[row]} are {column.text(row)!r}, no number.",
                "Leave the cell empty, or declare it with --missing.",
            )
        columns[what.question, what.answer, what.statistic] = column
    if best == KAGGLE:
        notes.append("fractions of Kaggle are of all volunteers, and are divided by those who were asked")
    return best, columns


def _numbers(column: Column) -> Floats:
    if not column.is_number:
        return np.full(len(column), np.nan)
    return np.where(column.missing, np.nan, column.values.astype(np.float64))


def _fractions(
    table: Table, question: Question, columns: Mapping[_Key, Column], statistic: str | None
) -> tuple[dict[str, Floats], str]:
    """Fractions of each answer of a question, and of which statistic."""
    for kind in ORDER if statistic is None else (statistic,):
        made = {
            key: _numbers(columns[question.name, answer, kind])
            for key, answer in zip(question.keys, question.answers, strict=True)
            if (question.name, answer, kind) in columns
        }
        if not made or all(np.isnan(values).all() for values in made.values()):
            continue
        if kind == "count" and not _are_fractions(made):
            total = _total(table, question, columns, made)
            with np.errstate(invalid="ignore", divide="ignore"):
                return {key: np.where(total > 0, values / total, np.nan) for key, values in made.items()}, kind
        return made, "fraction" if kind == "count" else kind
    return {}, ""


def _are_fractions(made: Mapping[str, Floats]) -> bool:
    """Whether columns without a word of what they are hold fractions: none above one, and some between."""
    values = np.concatenate(list(made.values()))
    values = values[np.isfinite(values)]
    return bool((values <= 1).all() and (values % 1 != 0).any())


def _total(table: Table, question: Question, columns: Mapping[_Key, Column], made: Mapping[str, Floats]) -> Floats:
    if (question.name, "", "total") in columns:
        return _numbers(columns[question.name, "", "total"])
    if len(made) < len(question.answers):
        raise LabelError(
            f"{table.name} has counts of only {len(made)} of {len(question.answers)} answers of {question.name}.",
            f"Add its {question.name}_total-votes, or the other answers.",
        )
    return np.asarray(np.sum([np.nan_to_num(values) for values in made.values()], axis=0))


def _checked(question: Question, made: dict[str, Floats], notes: list[str], *, of_all: bool) -> dict[str, Floats]:
    """Fractions between 0 and 1; NaN where nobody was asked. Those `of_all` volunteers are made of those asked."""
    if not made:
        return {}
    stacked = np.stack(list(made.values()))
    outside = (stacked < -SLACK) | (stacked > 1 + SLACK)
    known = int(np.isfinite(stacked).sum())
    if 2 * int((stacked > 1 + SLACK).sum()) > known and np.nanmax(stacked) <= 100:
        raise LabelError(
            f"The fractions of {question.name} go up to {np.nanmax(stacked):g}: they look like percentages.",
            "Divide them by 100.",
        )
    if outside.any():
        notes.append(f"{question.name}: {int(outside.sum())} fractions outside 0 to 1 are taken as missing")
    stacked = np.where(outside, np.nan, np.clip(stacked, 0, 1))
    if len(made) < len(question.answers) or question.multiple:
        return dict(zip(made, stacked, strict=True))
    sums, whole = np.nansum(stacked, axis=0), np.isfinite(stacked).all(axis=0)
    # tables write zeros where nobody was asked
    stacked[:, sums == 0] = np.nan
    if of_all:
        stacked = stacked / np.where(sums > 0, sums, np.nan)
    elif (off := whole & (sums > 0) & (np.abs(sums - 1) > SUMS)).any():
        span = f"{sums[off].min():.2f} to {sums[off].max():.2f}"
        notes.append(
            f"{question.name}: of {int(off.sum())} galaxies the fractions sum to {span}; they are used as they are"
        )
    return dict(zip(made, stacked, strict=True))


def _counts(tree: Sequence[Question], counted: Mapping[_Key, Column]) -> dict[str, Floats]:
    """How many gave each answer of the questions of which the table says it of all answers."""
    found: dict[str, Floats] = {}
    for question in tree:
        known = {
            key: _numbers(counted[question.name, answer, "count"])
            for key, answer in zip(question.keys, question.answers, strict=True)
            if (question.name, answer, "count") in counted
        }
        if len(known) == len(question.answers) and not _are_fractions(known):
            found |= known
    return found


def _asked(tree: Sequence[Question], counted: Mapping[_Key, Column]) -> dict[str, Floats]:
    """How many answered each question, where the table says it."""
    asked: dict[str, Floats] = {}
    counts = _counts(tree, counted)
    for question in tree:
        if (question.name, "", "total") in counted:
            asked[question.name] = _numbers(counted[question.name, "", "total"])
        elif question.keys[0] in counts:
            asked[question.name] = np.asarray(np.sum([np.nan_to_num(counts[key]) for key in question.keys], axis=0))
    return asked
