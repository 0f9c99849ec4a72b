"""Sessions of people who are signed in, kept by the server: the cookie holds a random id and nothing else."""

import base64
import hashlib
import hmac
import secrets
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet, InvalidToken
from itsdangerous import Signer

from backend_ml.settings import Settings
from backend_ml.sign_in.person import Person
from backend_ml.store.database import Database
from lvm_training.errors import GalaxyLoopError

COOKIE = "galaxyloop_session"
SALT = "galaxyloop session"
LONGEST_ID = 100  # characters of what is looked up; our own ids have 43


class SignInError(GalaxyLoopError):
    """Nobody is signed in, or what was given to sign in with is wrong."""

    code = "signed_out"


def new_id() -> str:
    """A value for a cookie that nobody guesses: 256 random bits."""
    return secrets.token_urlsafe(32)


def digest(value: str) -> bytes:
    """SHA-256 of a cookie's value, which is all that the database has of it."""
    return hashlib.sha256(value.encode(errors="surrogatepass")).digest()


class Sessions:
    """Sessions in the database, which hold until they end, a person signs out, or an administrator ends them.

    Parameters
    ----------
    settings : Settings
        They hold for `session_hours`; `secret` signs the tokens of forms, and is a part of each session's key.
    database : Database
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._secret = settings.secret.get_secret_value()
        self._seconds = round(settings.session_hours * 3600)
        self._forms = Signer(self._secret, salt=f"{SALT} csrf", key_derivation="hmac", digest_method=hashlib.sha256)
        self._secure = settings.public_url.startswith("https:")
        # as browsers see it, below the prefix that a proxy takes off
        self._path = urlsplit(settings.public_url).path.rstrip("/") or "/"

    def cookie(self, person: Person) -> dict[str, Any]:
        """Begin the person's session; what `Response.set_cookie` takes.

        Raises
        ------
        DatabaseError
            If the session cannot be kept.
        """
        token = self._cipher(person.session).encrypt(person.token.encode()) if person.token else None
        known = {"person": person.name, "annotator": person.annotator, "token": token}
        self._database.rows("put_session", id=digest(person.session), **known, seconds=self._seconds)
        return {"value": person.session, "max_age": self._seconds} | self.attributes()

    def attributes(self) -> dict[str, Any]:
        """What the cookie has in common with its deletion."""
        return {"key": COOKIE, "path": self._path, "httponly": True, "samesite": "lax", "secure": self._secure}

    def read(self, cookie: str | None) -> Person:
        """Who a cookie says someone is.

        Raises
        ------
        SignInError
            If there is none, or no session has its id any more.
        DatabaseError
            If nobody can tell.
        """
        if not cookie:
            raise SignInError("You are not signed in.", "Sign in on the page /explore.")
        found = self._database.rows("session", id=digest(cookie)) if len(cookie) <= LONGEST_ID else []
        if not found:
            raise SignInError("Your session has ended.", "Sign in again; nothing you labelled is lost.")
        return Person(found[0]["person"], found[0]["annotator"], self._token(cookie, found[0]["token"]), cookie)

    def end(self, person: Person) -> None:
        """End a session: its cookie is worth nothing from now on, whoever has a copy."""
        self._database.rows("end_session", id=digest(person.session))

    def csrf(self, person: Person) -> str:
        """The token that each change of this session carries in a header; other sites cannot read it."""
        return self._forms.get_signature(person.session).decode()

    def has_csrf(self, person: Person, token: str | None) -> bool:
        """Whether a token is this session's; compares in constant time."""
        return self._forms.verify_signature(person.session, token or "")

    def _cipher(self, session: str) -> Fernet:
        """What encrypts the token of one session: who has the database, or it and `secret`, lacks the cookie's id."""
        key = hmac.new(self._secret.encode(), f"{SALT} token {session}".encode(), hashlib.sha256).digest()
        return Fernet(base64.urlsafe_b64encode(key))

    def _token(self, cookie: str, encrypted: bytes | None) -> str:
        if encrypted is None:
            return ""
        try:
            return self._cipher(cookie).decrypt(encrypted).decode()
        except InvalidToken as error:  # another GALAXYLOOP_SECRET than when it began
            raise SignInError("Your session is not valid any more.", "Sign in again.") from error
