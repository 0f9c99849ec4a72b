"""Where backups are made, and where they are loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from backend_ml.backup.load import Target
from backend_ml.settings import Settings
from backend_ml.store.database import Database


@dataclass
class Place:
    """Where a backup is loaded: an empty database, and folders that are not there yet."""

    settings: Settings

    @property
    def target(self) -> Target:
        """The same for `load`."""
        return Target(self.settings)

    @property
    def folders(self) -> list[Path]:
        """What a load makes."""
        return [self.settings.home / "stamps", self.settings.home / "label-studio", self.settings.store_folder]

    def is_untouched(self) -> bool:
        """Whether nothing of a load is left."""
        url = self.settings.database_url
        assert url is not None
        with psycopg.connect(url.get_secret_value()) as connection:
            tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        left = [one for folder in (self.settings.home, self.settings.store_folder) for one in there(folder)]
        return tables == (0,) and [one.name for one in left if one.name not in ("lock", "processes.json")] == []

    def rows(self, name: str, **values: Any) -> list[Any]:
        """The rows of a named query."""
        assert self.settings.database_url is not None
        with Database(self.settings.database_url.get_secret_value(), size=1) as opened:
            return opened.rows(name, **values)


def there(folder: Path) -> list[Path]:
    """What is in a folder, which may not be there."""
    return list(folder.iterdir()) if folder.is_dir() else []


def settings_of(url: str, folder: Path) -> Settings:
    """Settings of an installation in a folder, on a database."""
    return Settings.model_validate({"database_url": url, "home": folder / "home", "store": folder / "its store"})
