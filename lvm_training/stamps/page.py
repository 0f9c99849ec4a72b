"""A page of thumbnails: what a stamp set looks like, with what it says of itself, as one HTML file or a PNG."""

import base64
import io
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lvm_training.errors import OutputError
from lvm_training.files import refuse_others, write_atomically
from lvm_training.stamps.render import render_set
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet
from lvm_training.stamps.summary import DOCUMENTS

MADE_BY = "galaxyloop data show"
THUMBNAILS = 48
SIDE = 128  # pixels of a thumbnail
COLUMNS = 8  # of them on a PNG
SUFFIXES = (".html", ".htm", ".png")

_STYLE = """
body { margin: 0 auto; max-width: 78rem; padding: 1rem; font: 15px/1.45 system-ui, sans-serif; color: #1c2330;
  background: #fff; overflow-wrap: anywhere }
h1 { font-size: 1.4rem; margin: .2rem 0 1rem } h2 { font-size: 1.05rem; margin: 1.4rem 0 .4rem }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .15rem 1rem; margin: 0 }
dt { color: #55607a } dd { margin: 0 } ul { margin: 0; padding-left: 1.2rem }
table { border-collapse: collapse } th, td { text-align: left; padding: .15rem 1.2rem .15rem 0; vertical-align: top }
th { color: #55607a; font-weight: 500 }
.stamps { display: grid; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); gap: .6rem }
figure { margin: 0 } img { width: 100%; display: block; border-radius: 3px; image-rendering: auto; background: #000 }
figcaption { font-size: .75rem; color: #55607a; overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
@media (prefers-color-scheme: dark) { body { background: #12151c; color: #dde3ee }
  dt, th, figcaption { color: #98a4bb } }
"""


def check_page_path(path: Path) -> None:
    """Refuse, before any work is done, a page that cannot be written, or a file that `write_page` did not make.

    Raises
    ------
    OutputError
        If its suffix is not .html or .png, or a file of somebody else is there.
    """
    if path.suffix.lower() not in SUFFIXES or path.is_dir():
        raise OutputError(f"{path} cannot be a page of thumbnails.", "Name a file that ends in .html or .png.")
    refuse_others(path, MADE_BY.encode())


def write_page(stamps: StampSet, about: Mapping[str, Any], path: Path) -> int:
    """Write up to `THUMBNAILS` stamps, evenly spaced, and what is known of the set.

    Parameters
    ----------
    about : mapping
        As `summary` gives it.

    Returns
    -------
    int
        How many stamps are shown.
    """
    check_page_path(path)
    rows = np.unique(np.linspace(0, max(len(stamps) - 1, 0), THUMBNAILS).astype(np.int64))[: len(stamps)]
    pictures = render_set(stamps, rows, Rendering(size=SIDE)).numpy() if len(rows) else np.zeros((0, 3, SIDE, SIDE))
    tiles = (np.moveaxis(pictures, 1, -1) * 255).round().astype(np.uint8)
    if path.suffix.lower() == ".png":
        write_atomically(path, lambda partial: _write_sheet(tiles, partial))
    else:
        page = _page(stamps, about, rows, tiles)
        write_atomically(path, lambda partial: partial.write_text(page, encoding="utf-8"))
    return len(rows)


def _write_sheet(tiles: NDArray[np.uint8], path: Path) -> None:
    lines = max(1, -(-len(tiles) // COLUMNS))
    sheet = np.full((lines * SIDE, COLUMNS * SIDE, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // COLUMNS * SIDE, number % COLUMNS * SIDE
        sheet[top : top + SIDE, left : left + SIDE] = tile
    made = PngInfo()
    made.add_text("Software", MADE_BY)
    Image.fromarray(sheet).save(path, format="PNG", pnginfo=made)


def _page(stamps: StampSet, about: Mapping[str, Any], rows: NDArray[np.int64], tiles: NDArray[np.uint8]) -> str:
    names = stamps.column("file")[rows] if "file" in stamps.columns else [f"row {row}" for row in rows]
    figures = "".join(_figure(str(name), tile) for name, tile in zip(names, tiles, strict=True))
    simple = {name: value for name, value in about.items() if not isinstance(value, Mapping)}
    columns = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(str(column['type']))}</td><td>{column['missing']}</td></tr>"
        for name, column in about["columns"].items()
    )
    shown = "all" if len(rows) == len(stamps) else f"{len(rows)} of {len(stamps)}"
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><meta name="generator" content="{MADE_BY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(stamps.name)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(stamps.name)}</h1>{_terms(simple.items())}",
        f'<h2>Stamps, {shown}</h2><div class="stamps">{figures}</div>',
    ]
    parts += [f"<h2>{key.capitalize()}</h2>{_terms(about[key].items())}" for key in DOCUMENTS if about[key]]
    if columns:
        parts.append(f"<h2>Columns</h2><table><tr><th>name<th>type<th>missing</tr>{columns}</table>")
    return "\n".join([*parts, "</body></html>\n"])


def _figure(name: str, tile: NDArray[np.uint8]) -> str:
    content = io.BytesIO()
    Image.fromarray(tile).save(content, format="JPEG", quality=90)
    source = f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
    plain, last = escape(name), escape(name.rpartition("/")[2])
    image = f'<img src="{source}" alt="{plain}" loading="lazy">'
    return f'<figure>{image}<figcaption title="{plain}">{last}</figcaption></figure>'


def _terms(pairs: Iterable[tuple[str, Any]]) -> str:
    terms = (
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{_cell(value)}</dd>"
        for name, value in pairs
        if value not in ("", {}, [], None)
    )
    return f"<dl>{''.join(terms)}</dl>"


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return "<br>".join(f"{escape(str(name))}: {_cell(item)}" for name, item in value.items())
    if isinstance(value, list):
        return f"<ul>{''.join(f'<li>{_cell(item)}</li>' for item in value)}</ul>"
    return escape(str(value))
