"""Settings from the environment (`GALAXYLOOP_*`) or the data folder's file, checked once at start-up."""

import os
import shlex
import stat
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from backend_ml.buckets import here, in_bucket
from lvm_training.errors import GalaxyLoopError, problems

PREFIX = "GALAXYLOOP_"
ENVIRONMENT = "environment"  # the file in a data folder
INSTALLATION = frozenset(
    {
        "database_url",
        "label_studio_url",
        "label_studio_token",
        "label_studio_database_url",
        "secret",
        "backend_url",
        "backend_password",
        "public_url",
    }
)
"""Settings that say which installation is meant: all from one place, so that no secret goes to another one's server."""


class SettingsError(GalaxyLoopError):
    """A setting that a command needs is missing, or one is wrong."""

    code = "settings"


def read_environment(home: Path) -> dict[str, str]:
    """A data folder's environment file, as `galaxyloop up` keeps it; empty if there is none.

    Raises
    ------
    SettingsError
        If another user could have written it, or can read its secrets.
    """
    path = home / ENVIRONMENT
    try:
        with path.open() as file:
            about = os.fstat(file.fileno())
            text = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read ({error}).", "It is yours if `galaxyloop up` made it.") from error
    if about.st_uid != os.geteuid():
        raise SettingsError(f"{path} belongs to another user.", "Name a folder of your own with GALAXYLOOP_HOME.")
    if stat.S_IMODE(about.st_mode) & 0o077:
        raise SettingsError(f"{path} holds secrets, and others may read it.", f"chmod 600 {shlex.quote(str(path))}")
    words = [word.partition("=") for word in shlex.split(text) if word != "export"]
    return {name: value for name, _, value in words}


class HomeFile(PydanticBaseSettingsSource):
    """What the data folder's file says, unless somebody else said which installation is meant.

    The database is not among it: whether that one runs, `local.data_folder` finds out.
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Nothing field by field: the file is read whole."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """The settings of the file by name."""
        said = {name for name, value in self.current_state.items() if str(value or "").strip()}
        if said & INSTALLATION:
            return {}
        home = str(self.current_state.get("home") or "").strip() or self.settings_cls.model_fields["home"].default
        values = {name.removeprefix(PREFIX).lower(): value for name, value in read_environment(Path(home)).items()}
        kept = self.settings_cls.model_fields.keys() - {"home", "database_url"}
        return {name: value for name, value in values.items() if name in kept}


class Settings(BaseSettings):
    """What the backend, the worker and the command line read from the environment.

    A variable that is set comes first. Where none says which installation is meant (`INSTALLATION`), the file
    `environment` in `home` does, which `galaxyloop up` keeps there.

    Attributes
    ----------
    home : Path
        Folder of everything this host keeps: embedded PostgreSQL, logs, the default store.
    database_url : SecretStr or None
        A PostgreSQL server; None starts an embedded one in `home`.
    store : Path or None
        Content-named files that several hosts share (encoders, feature shards); `home/store` by default. A folder, or
        the address of a bucket, `s3://bucket/prefix`.
    public_url : str
        Where browsers reach the backend: the address inside picture links.
    backend_url : str
        Where Label Studio itself reaches the backend.
    label_studio_public_url : str or None
        Where browsers reach Label Studio, if elsewhere: pages of that origin alone may draw pictures on a canvas.
    label_studio_database_url : SecretStr
        Label Studio's own PostgreSQL, where the backend may use it: predictions are then renewed in milliseconds.
        Without it they are written one by one over the API.
    secret : SecretStr
        Signs picture links and is the webhook's shared secret.
    metrics_token : SecretStr
        Opens `/metrics` to Prometheus, and nothing else; the backend's credentials do too.
    team_password : SecretStr
        Signs people in on the search page who have no Label Studio; that way is shut where it is empty.
    session_hours : float
        How long someone stays signed in there.
    proxies : str or None
        Addresses or networks, with commas between them, of the proxies whose `X-Forwarded-For` says who calls; without
        any nobody's is believed.
    refit_debounce : float
        Seconds a refit waits for further labels after the first one.
    push_top : int
        How much of the ranking is pushed to Label Studio after each refit.
    reconcile_seconds : int
        How often each open campaign is compared with Label Studio, which delivers a webhook at most once.
    finetune_after : int
        Stamps labelled since the last fine-tuning of a detector, or of a decoder of restoration, that start the next
        one.
    finetune_steps : int
        Optimiser steps of a fine-tuning; one of a detector takes about a second of a processor with `nano`.
    encoder_labels : int
        Labels from which on a campaign of choices trains its encoder on them, once the audit slice has 30, and again
        whenever there are half as many more; 0 for never.
    encoder_steps : int
        Optimiser steps of such a training; 0 for as many as the labels need.
    pipeline_repo : Path or None
        A clone that `galaxyloop pipeline init` made, in which workers train encoders as experiments of DVC; without one
        they train them in their own process.
    simulated_stamps : int
        Simulated stamps that teach a new campaign whose classes the simulator draws; 0 lets people alone teach.
    label_studio_bin : Path or None
        The program that `galaxyloop up` starts Label Studio with.

    Raises
    ------
    SettingsError
        If a variable has a value that its setting cannot have; it is named. An empty one counts as not set. Or if the
        folder's file is not this user's alone.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", hide_input_in_errors=True)

    home: Path = Path("build/galaxyloop")
    database_url: SecretStr | None = None
    store: Path | None = None
    public_url: str = "http://127.0.0.1:9090"
    backend_url: str = "http://127.0.0.1:9090"
    label_studio_url: str = "http://127.0.0.1:8080"
    label_studio_public_url: str | None = None
    label_studio_token: SecretStr = SecretStr("")
    label_studio_database_url: SecretStr = SecretStr("")
    secret: SecretStr = SecretStr("")
    backend_user: str = "label-studio"
    backend_password: SecretStr = SecretStr("")
    metrics_token: SecretStr = SecretStr("")
    team_password: SecretStr = SecretStr("")
    session_hours: float = Field(12.0, gt=0)
    proxies: str | None = None
    refit_debounce: float = Field(1.0, ge=0)
    push_top: int = Field(200, ge=1)
    reconcile_seconds: int = Field(60, ge=1, le=60)
    finetune_after: int = Field(20, ge=1)
    finetune_steps: int = Field(100, ge=1)
    encoder_labels: int = Field(300, ge=0)
    encoder_steps: int = Field(0, ge=0)
    pipeline_repo: Path | None = None
    simulated_stamps: int = Field(4200, ge=0)
    label_studio_bin: Path | None = None

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            found = "; ".join(map(_named, problems(error)))
            raise SettingsError(f"{found}.", "Correct or unset it; docs/reference/settings.md lists all.") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What a caller gives, then the environment, then the data folder's file."""
        return init_settings, env_settings, HomeFile(settings_cls)

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, values: dict[str, Any]) -> dict[str, Any]:
        # containers pass variables that nobody set as empty text
        return {name: value for name, value in values.items() if not (isinstance(value, str) and not value.strip())}

    @field_validator("public_url", "backend_url", "label_studio_url", "label_studio_public_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        address = value.strip().rstrip("/")
        if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).netloc:
            raise ValueError("an address begins with http:// or https://")
        return address

    @field_validator("store")
    @classmethod
    def _bucket(cls, value: Path | None) -> Path | None:
        if value is not None and "".join(value.parts[:1]).endswith(":") and not (in_bucket(value) and value.parts[1:]):
            raise ValueError("a store is a folder, or a bucket's address, s3://bucket/prefix")
        return value

    @field_validator("proxies")
    @classmethod
    def _networks(cls, value: str | None) -> str | None:
        for one in (value or "").split(","):
            if one.strip():
                ip_network(one.strip())
        return value

    @property
    def store_folder(self) -> Path:
        """The store as a folder: of a bucket, that of its copies here."""
        return here(self.store or self.home / "store").absolute()

    @property
    def features_folder(self) -> Path:
        """Where features are kept: what embeds once, campaigns and both kinds of search read."""
        return self.store_folder / "features"

    def require(self, *names: str) -> "Settings":
        """These settings, with a clear error if one of `names` is empty.

        Raises
        ------
        SettingsError
            Names the missing environment variables.
        """
        missing = [f"GALAXYLOOP_{name.upper()}" for name in names if not self._text(name)]
        if missing:
            raise SettingsError(
                f"Not set: {', '.join(missing)}.",
                "Export them (docs/reference/settings.md), or give this command in the folder where `galaxyloop up` is"
                " at work.",
            )
        return self

    def _text(self, name: str) -> str:
        value = getattr(self, name)
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value or "")


def _named(problem: str) -> str:
    """A problem with its environment variable in the setting's place."""
    name, _, what = problem.partition(": ")
    return f"{PREFIX}{name.upper()}: {what}"
