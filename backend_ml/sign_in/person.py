"""Who labels on the search page, and Label Studio as they see it."""

from dataclasses import dataclass, field

from backend_ml.label_studio.client import LabelStudio
from backend_ml.settings import Settings
from lvm_training.errors import GalaxyLoopError

PATIENCE = 5.0  # seconds that someone at the page waits for Label Studio


class NoTokenError(GalaxyLoopError):
    """Something that only a person's own Label Studio token allows."""

    code = "forbidden"


@dataclass(frozen=True)
class Person:
    """Someone who is signed in.

    Attributes
    ----------
    name : str
        Who their labels are by: their e-mail address in Label Studio, or the name they gave, which has no @.
    annotator : int or None
        Their id in Label Studio.
    token : str
        Their own Label Studio token; empty for who came with the team password.
    session : str
        The value of the session's cookie.
    """

    name: str
    annotator: int | None = None
    token: str = field(default="", repr=False)
    session: str = field(default="", repr=False)

    @property
    def leads(self) -> bool:
        """Whether they may change campaigns: who is known to Label Studio by a token of their own."""
        return bool(self.token)

    def label_studio(self, settings: Settings) -> LabelStudio:
        """Label Studio as this person sees it.

        Raises
        ------
        NoTokenError
            If they came with the team password.
        """
        if not self.token:
            raise NoTokenError(
                "You signed in with the team password, so nothing can be written to Label Studio in your name.",
                "Sign out, and in again with your Label Studio access token.",
            )
        database_url = settings.label_studio_database_url.get_secret_value()
        return LabelStudio(settings.label_studio_url, self.token, PATIENCE, database_url)
