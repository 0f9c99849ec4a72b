"""A campaign's labels, catalogue and figures as files, by the writers that the commands use."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from backend_ml.catalogue.export import label_table, object_labels
from backend_ml.catalogue.labels import LABEL_COLUMNS, Exported
from backend_ml.catalogue.publish import publish, read_source
from backend_ml.sign_in.access import Pages
from backend_ml.sign_in.frame import PRIVATE
from backend_ml.status.card.card import Asked, read_card
from backend_ml.status.card.page import card_page
from backend_ml.store.records import Campaign
from lvm_training.files import write_csv, write_json, write_text
from lvm_training.progress import Progress

MEDIA = {".html": "text/html", ".csv": "text/csv", ".json": "application/json", ".fits": "application/fits"}
Write = Callable[[Path], object]


def download(campaign: Campaign, name: str, write: Write) -> FileResponse:
    """What `write` puts into a file, under the campaign's name; the file is deleted once it is sent."""
    folder = Path(tempfile.mkdtemp(prefix="galaxyloop-"))
    path = folder / name
    try:
        write(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", campaign.name).strip("-.") or "campaign"
    gone = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    return FileResponse(
        path, media_type=MEDIA[path.suffix], filename=f"{readable}-{name}", headers=PRIVATE, background=gone
    )


def labels(pages: Pages, campaign: Campaign, out: Path) -> None:
    """As `galaxyloop campaign export --out X.csv`."""
    with pages.database.transaction() as connection:
        exported = Exported.read(connection, campaign, pages.database.stamp_sets, pages.settings)
        table = label_table(connection, campaign, training=False)
    write_csv(out, *((LABEL_COLUMNS, exported.rows()) if table is None else exported.tabled(table)[:2]))


def objects(pages: Pages, campaign: Campaign, out: Path) -> None:
    """As `galaxyloop campaign export --out X.json`.

    Raises
    ------
    CampaignError
        If people draw nothing in this campaign.
    """
    with pages.database.transaction() as connection:
        document = object_labels(connection, campaign, training=False)
        exported = Exported.read(connection, campaign, pages.database.stamp_sets, pages.settings)
    write_json(out, exported.described(document))


def catalogue(pages: Pages, campaign: Campaign, out: Path) -> None:
    """As `galaxyloop catalogue --out X`."""
    source = read_source(pages.database, campaign, pages.settings.store_folder, answers=True)
    publish(pages.database, source, out, _silent)


def card(pages: Pages, campaign: Campaign, version: str, out: Path) -> None:
    """As `galaxyloop model card VERSION --out X`."""
    asked = Asked(version, campaign.name)
    write_text(out, card_page(read_card(pages.database, asked, pages.settings.store_folder, Path())))


@contextmanager
def _silent(title: str) -> Iterator[Progress]:
    """Steps that nobody watches."""
    yield lambda done, total: None
