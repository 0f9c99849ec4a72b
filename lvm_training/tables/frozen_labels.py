"""A campaign's labels frozen in a file: who said what of which stamp when, what the model had said, and what counts.

The file is Parquet, a row an answer that counted. Its name ends with a hash of its content, whatever writes the bytes:
the same labels are the same file, and one that somebody edited is no longer what its name says.

Of a campaign of choices an answer is a class. Of any other it is what the annotation states, region by region, and the
file has the label config that says what that means.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

from lvm_training.errors import LabelError
from lvm_training.files import write_atomically
from lvm_training.tables.snapshot import Snapshot

TRAINING, AUDIT, ASIDE = "training", "audit", "aside"
KEY = b"galaxyloop"  # of the file's metadata
FORMAT, STATED = 1, 2  # of classes, and of what annotations state
HASH = 12  # hexadecimal digits of a name
NAME = re.compile(rf"(?:[\w-]+-)?([0-9a-f]{{{HASH}}})\.parquet")
EXPORT = "Export it again: `galaxyloop campaign export NAME --track`, with `--version V` for what a version learned."


class Answer(NamedTuple):
    """What one person said of one stamp.

    Attributes
    ----------
    stamp_set, stamp_id
        The stamp: name of its set, and row.
    at : datetime
        When, UTC.
    annotator : str
        By whom.
    said : str
        The class, as it was called when this was frozen; or what the annotation states, as JSON.
    label : str
        What counts as the stamp's label, by all answers and the rule; empty where nobody has to agree.
    agreeing, answers : int
        Answers for that label, of all that the stamp has.
    split : {"training", "audit", "aside"}
        Whether models learn from the stamp, are judged on it, or neither, since it has no label that teaches anything.
    shown : str
        The version whose answer was shown; empty where none was.
    """

    stamp_set: str
    stamp_id: int
    at: datetime
    annotator: str
    said: str
    label: str
    agreeing: int
    answers: int
    split: str
    shown: str


@dataclass(frozen=True)
class FrozenLabels:
    """The labels of a campaign at one moment.

    Attributes
    ----------
    kind : str
        Kind of the campaign.
    classes : tuple of str
        Its classes, in order.
    consensus : str
        The rule by which several answers are one label.
    answers : tuple of Answer
        In order of stamps, times and people.
    label_config : str
        What was asked, where answers are what annotations state; empty where they are classes.
    """

    kind: str
    classes: tuple[str, ...]
    consensus: str
    answers: tuple[Answer, ...]
    label_config: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        state = hashlib.sha256(_json(self._terms()))
        for one in self.answers:
            state.update(b"\n" + _json(one._replace(at=one.at.isoformat())))  # type: ignore[arg-type]
        return state.hexdigest()

    @property
    def learned(self) -> str:
        """SHA-256 of what models learn from, whoever said it, and when."""
        if not self.label_config:
            return self.snapshot.digest
        return stated_digest((one.stamp_set, one.stamp_id, one.said, one.split == AUDIT) for one in self.answers)

    @property
    def snapshot(self) -> Snapshot:
        """What models learn from: a label for each stamp.

        Raises
        ------
        LabelError
            If they have none: what annotations state is learned.
        """
        if self.label_config:
            raise LabelError(
                f"Labels of the kind {self.kind!r} are no label of one choice a galaxy.",
                "`galaxyloop campaign export NAME --out FILE` writes them as a table or as COCO.",
            )
        labels = {(one.stamp_set, one.stamp_id): one.label for one in self.answers if one.split == TRAINING}
        return Snapshot([stamp[0] for stamp in labels], [stamp[1] for stamp in labels], list(labels.values()))

    @property
    def taught(self) -> int:
        """Stamps that models learn from."""
        return self._stamps(TRAINING)

    @property
    def judged(self) -> int:
        """Stamps that models are judged on."""
        return self._stamps(AUDIT)

    def _stamps(self, split: str) -> int:
        return len({(one.stamp_set, one.stamp_id) for one in self.answers if one.split == split})

    def file_name(self, campaign: str) -> str:
        """`<campaign>-<hash>.parquet`, the campaign's name in letters that any file system takes."""
        plain = re.sub(r"[^a-z0-9]+", "-", campaign.casefold()).strip("-")[:60] or "campaign"
        return f"{plain}-{self.digest[:HASH]}.parquet"

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""
        import pyarrow as pa
        from pyarrow import parquet

        columns = list(zip(*self.answers, strict=True)) or [()] * len(Answer._fields)
        numbers = dict.fromkeys(("stamp_id", "agreeing", "answers"), pa.int64())
        kinds = numbers | {"at": pa.timestamp("us", tz="UTC")}
        schema = pa.schema(
            [(name, kinds.get(name, pa.string())) for name in Answer._fields], metadata={KEY: _json(self._terms())}
        )
        table = pa.table(
            [pa.array(column, one.type) for column, one in zip(columns, schema, strict=True)], schema=schema
        )
        write_atomically(path, lambda partial: parquet.write_table(table, partial, compression="zstd"))

    @classmethod
    def read(cls, path: Path) -> Self:
        """The labels in a file, which are those that its name promises.

        Raises
        ------
        LabelError
            If it is missing, none of these files, or was changed since it was frozen.
        """
        name = NAME.fullmatch(path.name)
        if name is None:
            raise LabelError(f"{path.name} is no name of frozen labels: they end in a hash and .parquet.", EXPORT)
        try:
            found = cls._read(path)
        except FileNotFoundError as error:
            raise LabelError(
                f"There are no labels at {path}.", f"`dvc pull` fetches them where a remote is set. {EXPORT}"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LabelError(f"{path.name} holds no frozen labels, or was cut off ({error}).", EXPORT) from error
        if found.digest[:HASH] != name[1]:
            raise LabelError(
                f"{path.name} was changed after it was frozen: what it holds has the hash {found.digest[:HASH]}.",
                f"Correct labels in Label Studio, never here. {EXPORT}",
            )
        return found

    @classmethod
    def _read(cls, path: Path) -> Self:
        from pyarrow import parquet

        table = parquet.read_table(path, memory_map=False)
        terms: Mapping[str, Any] = json.loads((table.schema.metadata or {})[KEY])
        if terms["format"] not in (FORMAT, STATED):
            raise ValueError(f"format {terms['format']}")
        columns = [table.column(name).to_pylist() for name in Answer._fields]
        rows = (Answer(*row) for row in zip(*columns, strict=True))
        answers = tuple(one._replace(at=one.at.astimezone(UTC)) for one in rows)
        asked = terms["label_config"] if terms["format"] == STATED else ""
        return cls(terms["kind"], tuple(terms["classes"]), terms["consensus"], answers, asked)

    def _terms(self) -> dict[str, Any]:
        terms = {"format": FORMAT, "kind": self.kind, "classes": self.classes, "consensus": self.consensus}
        return terms | ({"format": STATED, "label_config": self.label_config} if self.label_config else {})


def stated_digest(answers: Iterable[tuple[str, int, str, bool]]) -> str:
    """SHA-256 of what annotations state, in any order: stamp set, stamp, JSON, and whether nothing learns from it."""
    state = hashlib.sha256()
    for one in sorted(answers):
        state.update(_json(one) + b"\n")
    return state.hexdigest()


def find_frozen(folder: Path, digest: str) -> Path | None:
    """The file in a folder whose name has the hash of that digest, whatever its campaign was called then."""
    found = (path for path in sorted(folder.glob("*.parquet")) if NAME.fullmatch(path.name))
    return next((path for path in found if path.stem.endswith(digest[:HASH])), None)


def _json(value: Mapping[str, Any] | Sequence[Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
