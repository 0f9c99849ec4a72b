"""Checks of Label Studio and of the ways between it and the backend."""

import time
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from backend_ml.doctor.database import clock
from backend_ml.doctor.findings import Finding, ok
from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.label_studio.predictions import missing_rights
from backend_ml.local.label_studio import LOOPBACK
from backend_ml.settings import Settings
from backend_ml.store.records import Campaign

SLOW = 2.0  # seconds that an answer may take
TIMEOUT = 5.0
VERSION = "1.23"
UNKNOWN_TASK = 0
BULK = "not found in project"  # what the fast import says of a task that is not there; the slow one says it otherwise
START = "GALAXYLOOP_LABEL_STUDIO_URL"
SWITCHES = "export ML_BLOCK_LOCAL_IP=false SSRF_PROTECTION_ENABLED=false  # and restart Label Studio"
FAST_IMPORT = (
    "export fflag_fix_back_4620_memory_efficient_predictions_import_08012025_short=true  # and restart Label Studio"
)
GRANT = (
    "GRANT SELECT ON prediction, project, task_completion, prediction_meta, projects_projectmember TO {role};"
    " GRANT UPDATE ON prediction, project TO {role}"
)


def http() -> httpx.Client:
    """A client that goes past the environment's proxies, as the rest of Galaxy Loop does, and is not patient."""
    return httpx.Client(timeout=TIMEOUT, transport=httpx.HTTPTransport())


def as_a_browser(client: httpx.Client, settings: Settings, address: str) -> httpx.Response:
    """What browsers get at a public address; a container of commands cannot ask there for those of its host."""
    try:
        return client.get(address)
    except httpx.ConnectError:
        public, backend = settings.public_url, settings.backend_url
        if urlsplit(public).hostname not in LOOPBACK or urlsplit(backend).hostname in LOOPBACK:
            raise
        return client.get(backend + address.removeprefix(public))


def server(settings: Settings) -> Iterator[Finding]:
    """Whether Label Studio answers, in time, in a known version, by the same clock."""
    url, begun = settings.label_studio_url, time.monotonic()
    try:
        with http() as client:
            answer = client.get(f"{url}/api/version")
            found = answer.json() if answer.is_success else {}
    except (httpx.HTTPError, ValueError) as error:
        text = f"does not answer at {url} ({type(error).__name__})"
        yield Finding("Label Studio", "fail", text, f"curl --max-time 5 {url}/health  # or: galaxyloop up")
        return
    seconds = time.monotonic() - begun
    version = str(found.get("release") or found.get("label-studio-os-package", {}).get("version") or "")
    if not version:
        text = f"what answers at {url} is no Label Studio (status {answer.status_code})"
        yield Finding("Label Studio", "fail", text, f"export {START}=http://...")
    elif seconds > SLOW:
        yield Finding("Label Studio", "warn", f"{version} took {seconds:.1f} s to answer", f"curl {url}/health")
    elif not version.startswith(f"{VERSION}."):
        text = f"{version} at {url}; Galaxy Loop is tried with {VERSION}"
        yield Finding("Label Studio", "warn", text, f"pip install 'label-studio=={VERSION}.*'")
    else:
        yield ok("Label Studio", f"{version} answers at {url}")
    if date := answer.headers.get("Date"):
        yield from clock("Label Studio", parsedate_to_datetime(date))


def renewed(url: str) -> str:
    """How to take another token."""
    return f"export GALAXYLOOP_LABEL_STUDIO_TOKEN=...  # from {url}/user/account/personal-access-token"


def token(label_studio: LabelStudio) -> Iterator[Finding]:
    """Whether Label Studio knows the token, of which kind it is, and what its user may do."""
    kind = "a personal access token" if "." in label_studio.token else "a legacy token"
    try:
        email = label_studio.whoami()["email"]
        label_studio.invite_url()
    except LabelStudioError as error:
        if error.status == httpx.codes.UNAUTHORIZED and "legacy" in error.message:
            text = "a legacy token, and the organisation has these switched off"
        elif error.status == httpx.codes.UNAUTHORIZED:
            text = f"{kind} that Label Studio does not know"
        elif error.status == httpx.codes.FORBIDDEN:
            text = f"{kind} whose user is no administrator"
        else:
            raise
        yield Finding("token", "fail", text, renewed(label_studio.url))
    else:
        yield ok("token", f"{kind} of {email}, who may invite people")


def switches(label_studio: LabelStudio, settings: Settings) -> Iterator[Finding]:
    """Whether Label Studio lets itself call the backend: both calls lack what they need, so nothing is made."""
    backend = settings.backend_url
    asked = {"its backend": ("api/ml/", backend), "its webhook": ("api/webhooks/", f"{backend}/webhook")}
    refused = [what for what, (path, url) in asked.items() if _refuses(label_studio, path, url)]
    if refused:
        text = f"refuses to call {backend} as {' and '.join(refused)}: a private address"
        yield Finding("switches", "fail", text, SWITCHES)
    else:
        yield ok("switches", f"Label Studio may call {backend}")


def _refuses(label_studio: LabelStudio, path: str, url: str) -> bool:
    try:
        label_studio.call("POST", path, {"url": url})
    except LabelStudioError as error:
        if error.status in (httpx.codes.BAD_REQUEST, httpx.codes.NOT_FOUND):
            return "reserved network address" in error.message
        if error.status != httpx.codes.FORBIDDEN:
            raise
        return True
    return False


def bulk_import(label_studio: LabelStudio, campaigns: Sequence[Campaign]) -> Iterator[Finding]:
    """Whether importing a prediction recounts a whole project: seen in how it refuses a task that is not there."""
    if not campaigns:
        yield ok("import", "is seen with the first campaign")
        return
    body = [{"task": UNKNOWN_TASK, "model_version": "none", "score": 0.0, "result": []}]
    try:
        label_studio.call("POST", f"api/projects/{campaigns[0].project_id}/import/predictions", body)
    except LabelStudioError as error:
        if error.status != httpx.codes.BAD_REQUEST:
            raise
        if BULK in error.message:
            yield ok("import", "predictions are imported in bulk")
            return
    yield Finding("import", "fail", "each import of predictions recounts its whole project", FAST_IMPORT)


def backend(settings: Settings) -> Iterator[Finding]:
    """Whether the backend answers where Label Studio is told to call it, with this password, and has its database."""
    url = settings.backend_url
    start = f"galaxyloop serve --port {urlsplit(url).port or 9090}"
    user = (settings.backend_user, settings.backend_password.get_secret_value())
    with http() as client:
        try:
            alive = client.get(f"{url}/livez")
            known = client.get(f"{url}/health", auth=user)
            live = alive.json() if alive.is_success else {}
        except (httpx.HTTPError, ValueError) as error:
            yield Finding("backend", "fail", f"does not answer at {url} ({type(error).__name__})", start)
            return
    if "database" not in live:
        yield Finding(
            "backend", "fail", f"what answers at {url} is no backend", "export GALAXYLOOP_BACKEND_URL=http://..."
        )
    elif not live["database"]:
        yield Finding("backend", "fail", f"{url} runs and does not reach its database", start)
    elif known.status_code == httpx.codes.UNAUTHORIZED:
        text = f"{url} was started with another GALAXYLOOP_BACKEND_PASSWORD or _USER"
        yield Finding("backend", "fail", text, f"{start}  # in this environment")
    else:
        yield ok("backend", f"answers at {url}")


def public_address(settings: Settings) -> Iterator[Finding]:
    """Whether pictures and pages are where browsers are sent."""
    url = settings.public_url
    try:
        with http() as client:
            found = as_a_browser(client, settings, f"{url}/livez")
            ours = found.is_success and "database" in found.json()
    except (httpx.HTTPError, ValueError):
        ours = False
    if not ours:
        text = f"no backend at {url}, where browsers look for pictures"
        yield Finding(
            "public address", "fail", text, "export GALAXYLOOP_PUBLIC_URL=http://...  # and restart the backend"
        )
    else:
        alone = ", for browsers on the backend's own machine" if urlsplit(url).hostname in LOOPBACK else ""
        yield ok("public address", f"{url}{alone}")


def database_rights(settings: Settings) -> Iterator[Finding]:
    """Whether the role that renews predictions in Label Studio's database may."""
    url = settings.label_studio_database_url.get_secret_value()
    if not url:
        yield ok("its database", "not used: predictions are written one by one over the API")
        return
    try:
        tables, role = missing_rights(url)
    except LabelStudioError:
        text = "GALAXYLOOP_LABEL_STUDIO_DATABASE_URL names a database that does not answer"
        yield Finding("its database", "fail", text, 'psql "$GALAXYLOOP_LABEL_STUDIO_DATABASE_URL" -c "SELECT 1"')
        return
    if tables:
        command = f'psql -d labelstudio -c "{GRANT.format(role=role)}"  # as the owner of its tables'
        yield Finding("its database", "fail", f"{role} may not read or write: {', '.join(tables)}", command)
    else:
        yield ok("its database", "its role has the rights that renewing predictions needs")
