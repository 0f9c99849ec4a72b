"""Names of annotators, as Label Studio knows them."""

import threading

from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.settings import Settings


class People:
    """Names of annotators, asked of Label Studio once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._names: dict[int, str] = {}
        self._emails: dict[int, str] = {}
        self._lock = threading.Lock()

    def name(self, annotator: int) -> str:
        """Name or e-mail address of a Label Studio user; their number where Label Studio does not say."""
        with self._lock:
            if annotator not in self._names and self._settings.label_studio_token.get_secret_value():
                self._names |= self._asked()
        return self._names.get(annotator, f"annotator {annotator}")

    def email(self, annotator: int) -> str:
        """E-mail address of a Label Studio user; empty where Label Studio does not say."""
        self.name(annotator)
        return self._emails.get(annotator, "")

    def _asked(self) -> dict[int, str]:
        try:
            with LabelStudio.from_settings(self._settings, patience=0.5) as server:
                users = server.call("GET", "api/users/")
        except LabelStudioError:
            return {}
        self._emails = {int(user["id"]): str(user["email"]) for user in users}
        return {
            int(user["id"]): f"{user.get('first_name', '')} {user.get('last_name', '')}".strip() or str(user["email"])
            for user in users
        }
