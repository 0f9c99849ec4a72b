"""Run by Label Studio's own Python: makes every call that its client of ML backends can, and prints what came.

    python label_studio_client.py ADDRESS USER PASSWORD PROJECT < label config

The last line is JSON: of each call whether it is an error, the status and the answer.
"""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

address, user, password, number = sys.argv[1:]
config = sys.stdin.read()
os.environ |= {"DJANGO_SETTINGS_MODULE": "core.settings.label_studio", "DJANGO_DB": "sqlite", "SENTRY_DSN": ""}
os.environ |= {"ML_BLOCK_LOCAL_IP": "false", "LATEST_VERSION_CHECK": "false", "COLLECT_ANALYTICS": "false"}

import label_studio  # noqa: E402

sys.path.insert(0, str(Path(label_studio.__file__).parent))

import django  # noqa: E402

django.setup()

from ml.api_connector import MLApi  # noqa: E402
from webhooks.models import WebhookAction  # noqa: E402

made = {"created_at": datetime(2026, 11, 21, tzinfo=UTC), "label_config": config}
made |= {"task_data_login": None, "task_data_password": None}
made |= {"created_by": SimpleNamespace(auth_token=SimpleNamespace(key="scrubbed"))}
project, stranger = SimpleNamespace(id=int(number), **made), SimpleNamespace(id=99, **made)
api = MLApi(url=address, auth_method="BASIC_AUTH", basic_auth_user=user, basic_auth_pass=password)
tasks = [{"id": 101 + i, "data": {"stamp_set": "sky", "stamp_id": i}} for i in (3, 0, 5)]
region = {"type": "choices", "value": {"choices": ["spiral"]}, "from_name": "morphology", "to_name": "image"}
context = {"type": "choices", "result": [region]}
drafted = [{**tasks[0], "annotations": [{"result": [region]}], "drafts": [], "predictions": [{"score": None}]}]
begin = {"action": "START_TRAINING", "project": {"id": project.id}}
results: dict[str, Any] = {
    "health": api.health(),
    "setup": api.setup(project),
    "setup of a stranger": api.setup(stranger),
    "predict": api.make_predictions(tasks, project),
    "predict of a stranger": api.make_predictions(tasks, stranger),
    "interactive": api.make_predictions(drafted, project, context=context),
    "versions": api.get_versions(project),
    "validate": api.validate(config),
    "validate what nobody answers": api.validate("<View><Text name='t' value='$t'/></View>"),
    "START_TRAINING": api._request("webhook", begin, timeout=9),
    "train": api._request("train", {"annotations": [], "project": f"{number}.1", "label_config": config, "params": {}}),
}
jobs = [results[name].response.get("job", "none") for name in ("START_TRAINING", "train")]
results["job_status"] = api.get_train_job_status(SimpleNamespace(job_id=jobs[1]))
results["job_status of none"] = api.get_train_job_status(SimpleNamespace(job_id="no such job"))
results["duplicate_model"] = api.duplicate_model(project, stranger)
results["delete"] = api.delete(project)
results["delete of a stranger"] = api.delete(stranger)
answers = {name: {"error": r.is_error, "status": r.status_code, "response": r.response} for name, r in results.items()}
actions = sorted(value for name, value in vars(WebhookAction).items() if name.isupper() and isinstance(value, str))
print(json.dumps({"answers": answers, "jobs": jobs, "actions": actions}, default=str))
