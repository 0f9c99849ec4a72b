"""The HDUs of a FITS file one after another, and an end where they go round."""

from collections.abc import Iterable, Iterator
from typing import Any


def forward(hdus: Iterable[Any]) -> Iterator[Any]:
    """HDUs in the order in which they lie in a file.

    Where a header says a negative size, astropy reads the same ones for ever, and keeps them all.

    Raises
    ------
    ValueError
        If one lies before the one before.
    """
    place = -1
    for hdu in hdus:
        start = (hdu.fileinfo() or {}).get("hdrLoc", place + 1)
        if start <= place:
            raise ValueError("a size in its header is negative")
        place = start
        yield hdu
