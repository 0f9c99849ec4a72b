"""Who is signed in: people of Label Studio by their token, others by a name and the team password."""

import hashlib
import hmac
import re
import secrets
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from itsdangerous import BadData, SignatureExpired, Signer, URLSafeTimedSerializer

from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.settings import Settings
from backend_ml.sign_in.person import PATIENCE, Person
from lvm_training.errors import GalaxyLoopError

COOKIE = "galaxyloop_session"
SALT = "galaxyloop session"
TOKEN = re.compile(r"[A-Za-z0-9_.=-]{8,1000}")
LONGEST_NAME = 60


class SignInError(GalaxyLoopError):
    """Nobody is signed in, or what was given to sign in with is wrong."""

    code = "signed_out"


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
    return Person(str(who["email"]), int(who["id"]), token, secrets.token_urlsafe(16))


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
    if not hmac.compare_digest(password.encode(), wanted.encode()):
        raise SignInError("The team password is wrong.", "Ask whoever runs Galaxy Loop for it.")
    cleaned = " ".join(name.split())
    if not cleaned or len(cleaned) > LONGEST_NAME or "@" in cleaned or not cleaned.isprintable():
        raise SignInError(
            "This cannot be a name here.", f"Take 1 to {LONGEST_NAME} characters, none of them @: labels carry it."
        )
    return Person(cleaned, session=secrets.token_urlsafe(16))


class Sessions:
    """Sessions in signed cookies; the server keeps none.

    Parameters
    ----------
    settings : Settings
        `secret` signs them, and they hold for `session_hours`.
    """

    def __init__(self, settings: Settings) -> None:
        secret = settings.secret.get_secret_value()
        how: dict[str, Any] = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._seconds = round(settings.session_hours * 3600)
        self._signer = URLSafeTimedSerializer(secret, salt=SALT, signer_kwargs=how)
        self._pages = Signer(secret, salt=f"{SALT} csrf", **how)
        self._secure = settings.public_url.startswith("https:")
        # as browsers see it, below the prefix that a proxy takes off
        self._path = urlsplit(settings.public_url).path.rstrip("/") or "/"

    def cookie(self, person: Person) -> dict[str, Any]:
        """What `Response.set_cookie` takes: the cookie that says who someone is."""
        return {"value": self._signer.dumps(asdict(person)), "max_age": self._seconds} | self.attributes()

    def attributes(self) -> dict[str, Any]:
        """What the cookie has in common with its deletion."""
        return {"key": COOKIE, "path": self._path, "httponly": True, "samesite": "lax", "secure": self._secure}

    def read(self, cookie: str | None) -> Person:
        """Who a cookie says someone is.

        Raises
        ------
        SignInError
            If there is none, it is forged, or too old.
        """
        if not cookie:
            raise SignInError("You are not signed in.", "Sign in on the page /explore.")
        try:
            return Person(**self._signer.loads(cookie, max_age=self._seconds))
        except SignatureExpired as error:
            raise SignInError("Your session has ended.", "Sign in again; nothing you labelled is lost.") from error
        except (BadData, TypeError) as error:
            raise SignInError("Your session is not valid.", "Sign in again.") from error

    def csrf(self, person: Person) -> str:
        """The token that each change of this session carries in a header; other sites cannot read it."""
        return self._pages.get_signature(person.session).decode()

    def has_csrf(self, person: Person, token: str | None) -> bool:
        """Whether a token is this session's; compares in constant time."""
        return self._pages.verify_signature(person.session, token or "")
