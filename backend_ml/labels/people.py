"""Names of annotators, as Label Studio knows them."""

import threading
import time

from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.settings import Settings

PATIENCE = 0.5  # seconds
PAUSE = 60.0  # seconds


class People:
    """Names of annotators, asked of Label Studio once, and once a minute at most for those whom it does not know.

    Parameters
    ----------
    settings : Settings
    patience : float
        Seconds that somebody waits for the names; they are there at the next call where Label Studio takes longer.
    """

    def __init__(self, settings: Settings, patience: float = PATIENCE) -> None:
        self._settings, self._patience = settings, patience
        self._names: dict[int, str] = {}
        self._emails: dict[int, str] = {}
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._asking: threading.Thread | None = None

    def name(self, annotator: int) -> str:
        """Name or e-mail address of a Label Studio user; their number where Label Studio does not say."""
        if annotator not in self._names:
            self._ask()
        return self._names.get(annotator, f"annotator {annotator}")

    def email(self, annotator: int) -> str:
        """E-mail address of a Label Studio user; empty where Label Studio does not say."""
        self.name(annotator)
        return self._emails.get(annotator, "")

    def _ask(self) -> None:
        """Ask in the background, unless that was done of late: no page hangs with a server that never answers."""
        if not self._settings.label_studio_token.get_secret_value():
            return
        with self._lock:
            if time.monotonic() - self._asked_at >= PAUSE:
                self._asked_at = time.monotonic()
                self._asking = threading.Thread(target=self._read, daemon=True)
                self._asking.start()
            asking, until = self._asking, self._asked_at + self._patience
        if asking is not None:
            asking.join(max(until - time.monotonic(), 0))

    def _read(self) -> None:
        try:
            with LabelStudio.from_settings(self._settings, patience=self._patience) as server:
                users = server.call("GET", "api/users/")
        except LabelStudioError:
            return
        self._emails = {int(user["id"]): str(user["email"]) for user in users}
        self._names = {
            int(user["id"]): f"{user.get('first_name', '')} {user.get('last_name', '')}".strip() or str(user["email"])
            for user in users
        }
