"""A pipeline in miniature: real git, real DVC, our code and release, and a stage that takes no training to make."""

import shutil
import subprocess
from pathlib import Path

import yaml
from dvc.repo import Repo

from lvm_training.galaxies.population import draw_catalogue
from lvm_training.paths import RELEASE
from lvm_training.stages.release.start import write_release

ROOT = Path(__file__).parents[3]
# what the stage would train is committed; it waits as long as `hold` is there, and fails where `broken` is committed
STAGE = """
stages:
  finetune:
    cmd: >-
      echo "finetune: steps: 1 of 2" && while [ -e {hold} ]; do sleep 0.1; done
      && test ! -e broken
      && mkdir -p build/metrics && cp -r trained build/finetuned
      && echo '{{"labels": 7, "train_loss": 0.25}}' > build/metrics/finetune.json
    deps: ['${{encoder}}', '${{stamps}}', 'data/release/${{labels}}', trained]
    params: ['${{profile}}.finetune']
    outs: [build/finetuned]
    metrics: [build/metrics/finetune.json]
"""


def git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], check=True, capture_output=True, text=True)
    return done.stdout


def commit(root: Path, message: str = "as it is") -> None:
    git(root, "add", "-A")
    git(root, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", message)


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def write_origin(root: Path, trained: Path) -> Path:
    """A repository to clone, whose stage makes the checkpoint `trained`; the file `hold` beside it holds the stage."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "lvm_training", root / "lvm_training", ignore=ignored)
    shutil.copytree(trained, root / "trained")
    (root / ".dvc").mkdir()
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, root / name)
    document = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    document[document["profile"]]["simulate"] = {"n": 30, "seed": 9}
    (root / "params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    (root / "dvc.yaml").write_text(STAGE.format(hold=root.with_name("hold")))
    (root / "data.dvc").write_text("outs:\n- path: data/release\n")
    write_release(root / RELEASE, draw_catalogue(30, 9))
    git(root, "init", "-q")
    with Repo(str(root)) as repo:
        repo.commit(str(root / "data.dvc"), force=True)
    commit(root)
    return root
