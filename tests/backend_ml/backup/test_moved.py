"""Label Studio's administrator gets a new password."""

import base64
import hashlib

from backend_ml.backup.moved import _hashed


def test_a_password_is_hashed_as_django_does() -> None:
    """The check of Django's hasher, by hand: `algorithm$iterations$salt$hash`."""
    algorithm, rounds, salt, made = _hashed("word").split("$")
    wanted = hashlib.pbkdf2_hmac("sha256", b"word", salt.encode(), int(rounds))
    assert algorithm == "pbkdf2_sha256" and base64.b64decode(made) == wanted
    assert _hashed("word") != _hashed("word")
