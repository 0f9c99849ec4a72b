"""The first table of a VOTable, as astropy has it."""

import io
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astropy.io.votable.tree import Resource


def first_table(data: bytes) -> tuple[Any, list[str]]:
    """A table whose columns have the names that people see, not the ids in the XML, and what a reader should know.

    Raises
    ------
    ValueError
        If there is none; the message says what the service that was asked for it says.
    """
    from astropy.io.votable import parse

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # most files are not quite by the standard
        document = parse(io.BytesIO(data))
        tables = list(document.iter_tables())
        status = {str(info.value): str(info.content or "") for info in _answers(document.resources)}
        if not tables:
            raise ValueError(f"it holds no table{': ' if status.get('ERROR') else ''}{status.get('ERROR', '')}")
        table = tables[0].to_table(use_names_over_ids=True)
    notes = [f"the first of its {len(tables)} tables is read"] if len(tables) > 1 else []
    if "OVERFLOW" in status:
        notes.append("the service that wrote it cut it off (OVERFLOW): there are more rows than it holds")
    return table, notes


def _answers(resources: "list[Resource]") -> Iterator[Any]:
    """What services say of a query, within resources of resources too."""
    for resource in resources:
        yield from (info for info in resource.infos if info.name == "QUERY_STATUS")
        yield from _answers(resource.resources)
