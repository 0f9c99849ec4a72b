"""What a check finds: whether all is well, in a line, and the command that mends it."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from backend_ml.settings import Settings
from lvm_training.errors import GalaxyLoopError

FIX = "galaxyloop doctor --fix"
SECONDS = 45.0  # after which no further check is begun

State = Literal["ok", "warn", "fail"]
Mend = Callable[[], object]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    Attributes
    ----------
    check : str
        What was looked at.
    text : str
        What was seen there.
    command : str
        What mends it: to be given to a shell as it is. Empty where all is well.
    campaign : str
        Whose it is; empty for the whole installation.
    mend : callable or None
        Does what can safely be done about it.
    """

    check: str
    state: State
    text: str
    command: str = ""
    campaign: str = ""
    mend: Mend | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The line without what mends it by itself."""
        return {name: getattr(self, name) for name in ("check", "state", "campaign", "text", "command")}


Look = Callable[[], Iterable[Finding]]


def ok(check: str, text: str, campaign: str = "") -> Finding:
    """A check that found all well."""
    return Finding(check, "ok", text, campaign=campaign)


def mendable(check: str, text: str, mend: Mend, campaign: str = "") -> Finding:
    """A failure that `--fix` mends."""
    return Finding(check, "fail", text, FIX, campaign, mend)


class Examination:
    """Runs checks one after the other: none stops the others, no secret is repeated, and the whole has an end.

    Parameters
    ----------
    settings : Settings
        Whose secrets no finding may repeat.
    """

    def __init__(self, settings: Settings) -> None:
        self.findings: list[Finding] = []
        self._secrets = list(_secrets(settings))
        self._deadline = time.monotonic() + SECONDS

    def check(self, name: str, look: Look, campaign: str = "") -> list[Finding]:
        """Run a check; what it found, which is kept."""
        if time.monotonic() > self._deadline:
            text = f"not looked at: the servers are slow, and the doctor takes {SECONDS:.0f} s at most"
            found = [Finding(name, "warn", text, "galaxyloop doctor", campaign)]
        else:
            found = [self._without_secrets(one) for one in _found(name, look, campaign)]
        self.findings += found
        return found

    def _without_secrets(self, finding: Finding) -> Finding:
        text = finding.text
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return Finding(finding.check, finding.state, text, finding.command, finding.campaign, finding.mend)


def _found(name: str, look: Look, campaign: str) -> Iterator[Finding]:
    try:
        yield from look()
    except GalaxyLoopError as error:
        yield Finding(name, "fail", f"{error.message} {error.hint}".strip(), FIX, campaign)
    except Exception as error:  # one that fails must not keep the others from looking
        yield Finding(name, "fail", f"could not be looked at: {type(error).__name__}: {error}", FIX, campaign)


def _secrets(settings: Settings) -> Iterator[str]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr) and value.get_secret_value():
            yield value.get_secret_value()
            if name.endswith("database_url") and (password := _password(value.get_secret_value())):
                yield password


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""
