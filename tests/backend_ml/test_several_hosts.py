"""Two hosts share PostgreSQL and a bucket, and nothing else: one creates and learns, the other serves."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend_ml.kinds.installed import find_kind
from backend_ml.local import processes
from backend_ml.local.servers import start_backend
from backend_ml.store.database import Database
from tests.backend_ml.backend_client import BASIC, recorded
from tests.backend_ml.sky import write_stamps
from tests.backend_ml.whole import CLASSES, N, truth, write_encoder
from tests.lvm_training.stages.release.test_start import ROOT
from tests.s3_server import S3Server, line_to

pytestmark = pytest.mark.usefixtures("warm_python")


def environment(folder: Path, database: Database, bucket: str, port: int = 9090) -> dict[str, str]:
    """What a host of its own is told: its own disk, the database, the bucket."""
    return {
        "GALAXYLOOP_HOME": str(folder / "home"),
        "GALAXYLOOP_CACHE": str(folder / "cache"),
        "GALAXYLOOP_STORE": f"s3://{bucket}/store",
        "GALAXYLOOP_DATABASE_URL": database.url,
        "GALAXYLOOP_BACKEND_URL": f"http://127.0.0.1:{port}",
        "GALAXYLOOP_SECRET": "hush",
        "GALAXYLOOP_BACKEND_USER": "ls",
        "GALAXYLOOP_BACKEND_PASSWORD": "word",
        "PYTHONPATH": str(ROOT),
    }


def a_host(said: dict[str, str], *arguments: str | Path) -> str:
    """What the host that learns prints."""
    command = [sys.executable, "-m", "tests.backend_ml.a_host", *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, **said}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_one_creates_and_learns_and_the_other_serves(tmp_path: Path, database: Database, s3: S3Server) -> None:
    bucket = s3.bucket("hosts")
    s3.client().upload_file(str(write_stamps(tmp_path, N)), bucket, "survey/sky.h5")
    made, one, two = write_encoder(tmp_path / "made"), tmp_path / "one", tmp_path / "two"
    said = environment(one, database, bucket) | s3.environment()
    version = a_host(said, f"s3://{bucket}/survey/sky.h5", made)
    assert sum(key.startswith("store/") for key in s3.keys(bucket)) == 4, "an encoder and features, of two files each"
    assert not any(str(tmp_path) in text for row in database.rows("stamp_sets") for text in row.values())
    for gone in (one, made):
        shutil.rmtree(gone)

    port = processes.free_port()
    with line_to(s3, 0) as (line, away), processes.own(two / "home") as home:
        log = home / "logs/backend.log"
        with start_backend(home, environment(two, database, bucket, port) | dict(away)) as backend:
            processes.wait_for_http(f"http://127.0.0.1:{port}/livez", 120, backend)
            first = predict(port, 0)
            assert "bucket" in str(first) and "does not answer" in str(first), "nothing is here, and nothing comes"
            line.mend()
            answers = predict(port, *range(10))["results"]
            assert [row["result"][0]["value"]["choices"][0] for row in answers] == [truth(i) for i in range(10)]
            assert {row["model_version"] for row in answers} == {version}
            assert len(list((two / "cache").rglob("*.npy"))) == 1
            # from here on the bucket is not needed for what is served
            line.cut()
            assert predict(port, *range(10))["results"] == answers
            # a version that the other host makes meanwhile is a few rows of the database
            newer = a_host(said)
            assert newer != version
            later = {row["model_version"] for row in predict(port, *range(10))["results"]}
            assert later <= {version, newer}
        text = log.read_text()
        assert s3.secret not in text and s3.key not in text and "Traceback" not in text


def predict(port: int, *rows: int) -> Any:
    """The backend's answer to tasks that show some stamps."""
    tasks = [{"id": 100 + row, "data": {"stamp_set": "sky", "stamp_id": row}} for row in rows]
    body = {**recorded("predict"), "tasks": tasks, "label_config": find_kind("morphology").label_config(CLASSES)}
    return httpx.post(f"http://127.0.0.1:{port}/predict", headers=BASIC, json=body, timeout=60, trust_env=False).json()
