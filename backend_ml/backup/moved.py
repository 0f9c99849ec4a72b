"""Label Studio's database in its new place: addresses, links and secrets of the installation that it belongs to now.

Without this its webhooks would go on to the former backend, which may well run and would take the copy's labels.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from importlib.resources import files

import psycopg

from backend_ml import signing
from backend_ml.backup.manifest import Addresses
from backend_ml.label_studio.relinking import signed_again
from backend_ml.settings import Settings
from backend_ml.signing import Links

ROUNDS = 600_000  # of PBKDF2; Django hashes anew, as it likes, when somebody signs in


def _sql(name: str) -> str:
    return files("backend_ml.backup").joinpath(f"sql/{name}.sql").read_text()


def move_projects(url: str, former: Addresses, settings: Settings, projects: Mapping[int, Links]) -> int:
    """Let projects name the servers and secrets of `settings` where they named those of before; how many tasks did.

    Parameters
    ----------
    url : str
        Label Studio's database.
    former : Addresses
        Where the servers were.
    projects : mapping of int to Links
        The links of each project's campaign that hold.
    """
    known = {"projects": list(projects)}
    with psycopg.connect(url) as connection:
        rows = connection.execute(_sql("linked_tasks"), {**known, "address": former.public_url}).fetchall()
        new = [
            {"id": task, "data": signed_again(data, former.public_url, projects[project], settings)}
            for task, project, data in rows
        ]
        connection.execute(_sql("write_tasks"), {"rows": json.dumps(new)})
        for project, text in connection.execute(_sql("instructions"), known).fetchall():
            told = signed_again(text, former.public_url, projects[project], settings)
            connection.execute(_sql("write_instruction"), {"project": project, "text": told})
        hook = {"header": signing.SECRET_HEADER, "secret": signing.webhook_secret(settings)}
        hook |= {"url": f"{settings.backend_url}/webhook", "former": f"{former.backend_url}/webhook"}
        connection.execute(_sql("move_webhooks"), known | hook)
        backend = {"url": settings.backend_url, "former": former.backend_url, "user": settings.backend_user}
        backend["password"] = settings.backend_password.get_secret_value()
        connection.execute(_sql("move_backends"), known | backend)
    return len(rows)


def give_administrator(url: str, email: str, password: str, token: str) -> str:
    """Give Label Studio's administrator a new password and token: those of before stay where they were.

    Returns
    -------
    str
        Their e-mail address: another than `email` where nobody has that one.
    """
    values = {"email": email, "password": _hashed(password), "token": token}
    with psycopg.connect(url) as connection:
        row = connection.execute(_sql("administrator"), values).fetchone()
    return str(row[0]) if row else ""


def _hashed(password: str) -> str:
    """As Django's PBKDF2PasswordHasher writes it."""
    salt = secrets.token_hex(11)
    made = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), ROUNDS)
    return f"pbkdf2_sha256${ROUNDS}${salt}${base64.b64encode(made).decode()}"
