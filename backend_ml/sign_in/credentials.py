"""What people sign in with: their Label Studio token, or a name and the team password."""

import hmac
import re
import unicodedata

from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.settings import Settings
from backend_ml.sign_in.person import PATIENCE, Person
from backend_ml.sign_in.sessions import SignInError, digest, new_id
from backend_ml.store.database import Database

TOKEN = re.compile(r"[A-Za-z0-9_.=-]{8,1000}")
LONGEST_NAME = 60


def by_token(token: str, settings: Settings) -> Person:
    """The person whose Label Studio token this is.

    Raises
    ------
    SignInError
        If Label Studio does not know it.
    LabelStudioError
        If Label Studio does not answer.
    """
    wrong = SignInError(
        "Label Studio does not know this token.",
        "Copy it again from Label Studio: Account & Settings, Access Token.",
    )
    if not TOKEN.fullmatch(token):
        raise wrong
    try:
        with LabelStudio(settings.label_studio_url, token, PATIENCE) as label_studio:
            who = label_studio.whoami()
    except LabelStudioError as error:
        if error.status in (400, 401, 403):
            raise wrong from error
        raise
    return Person(str(who["email"]), int(who["id"]), token, new_id())


def by_password(name: str, password: str, settings: Settings) -> Person:
    """Somebody of the team; compares the password in constant time.

    Raises
    ------
    SignInError
        If there is no team password, it is another one, or the name cannot be one.
    """
    wanted = settings.team_password.get_secret_value()
    if not wanted:
        raise SignInError(
            "There is no team password here.", "Sign in with your Label Studio token, or set GALAXYLOOP_TEAM_PASSWORD."
        )
    if not hmac.compare_digest(password.encode(errors="surrogatepass"), wanted.encode()):
        raise SignInError("The team password is wrong.", "Ask whoever runs Galaxy Loop for it.")
    cleaned = " ".join(name.split())
    if not cleaned or len(cleaned) > LONGEST_NAME or "@" in cleaned or not cleaned.isprintable():
        raise SignInError(
            "This cannot be a name here.", f"Take 1 to {LONGEST_NAME} characters, none of them @: labels carry it."
        )
    return Person(cleaned, session=new_id())


def hold_name(database: Database, name: str, device: str) -> None:
    """Keep a name for the device that takes it first: all of the team know the password, and labels carry the name.

    Raises
    ------
    SignInError
        If another device holds it.
    """
    if not database.rows("hold_name", name=alike(name), device=digest(device)):
        raise SignInError(
            f"Somebody on another device is {name}.",
            f"Take another name, or ask whoever runs Galaxy Loop for `galaxyloop people free '{name}'`.",
        )


def alike(name: str) -> str:
    """A name as it is compared: without regard to case, spaces around words, and compatible forms of characters."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).split())
