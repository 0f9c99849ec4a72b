"""The DVC pipeline: its graph, what its stages depend on, and a whole run of a small profile."""

import ast
import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from lvm_training.detection.checkpoint import load_detector
from lvm_training.galaxies.catalogue import MORPHOLOGIES
from lvm_training.galaxies.population import draw_catalogue
from lvm_training.heads.classification import ClassificationHead
from lvm_training.lenses.lens_stamps import OBJECTS
from lvm_training.model.encoder import Encoder, load_checkpoint, save_checkpoint
from lvm_training.model.lvm import LVM
from lvm_training.paths import EARLIER_LVM, RELEASED_DETECTOR, RELEASED_LVM, RELEASED_PARAMETERS
from lvm_training.pool.features import Features
from lvm_training.scenes.scenes import ENDLESS
from lvm_training.stages.release.start import write_release
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet
from tests.tiny_encoder import THIN

ROOT = Path(__file__).parents[3]
DOCUMENT = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = DOCUMENT["stages"]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
RUN = [stage for stage, spec in STAGES.items() if not spec.get("frozen")]
WEIGHTS, EARLIER = str(RELEASED_LVM), str(EARLIER_LVM)
# what every stage uses and no output depends on
PLUMBING = {f"lvm_training/{name}.py" for name in ("errors", "files", "params", "paths", "progress", "revision")}


def outputs(stage: str) -> list[str]:
    kinds = (STAGES[stage].get(kind, []) for kind in ("outs", "metrics", "plots"))
    return [next(iter(out)) if isinstance(out, dict) else out for kind in kinds for out in kind]


def imported(path: str) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lvm_training"):
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                file = name.replace(".", "/") + ".py"
                if (ROOT / file).is_file():
                    yield file


def module(stage: str) -> str:
    """The module that a stage runs."""
    return str(STAGES[stage]["cmd"]).removeprefix("python -m ")


def code(stage: str) -> set[str]:
    """What a stage runs: modules of the stages by name, of everything else the folder."""
    found, waiting = set[str](), [module(stage).replace(".", "/") + ".py"]
    while waiting:
        path = waiting.pop()
        if path not in found and path not in PLUMBING:
            found.add(path)
            waiting.extend(imported(path))
    return {path if path.startswith("lvm_training/stages/") else "/".join(path.split("/")[:2]) for path in found}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_it_runs(stage: str) -> None:
    listed = {path for path in STAGES[stage]["deps"] if path.startswith("lvm_training")}
    assert listed == code(stage)
    assert module(stage).startswith("lvm_training.stages.")
    assert {*stage.split("_")} <= {*module(stage).replace("_", ".").split(".")}, "named as its module"


def test_every_output_is_under_build_and_made_once() -> None:
    made = [path for stage in RUN for path in outputs(stage)]
    assert len(made) == len(set(made)) == 43
    assert all(path.startswith("build/") for path in made)
    assert [outputs(stage) for stage in STAGES if stage not in RUN] == [
        [EARLIER],
        [str(RELEASED_DETECTOR)],
        [str(RELEASED_PARAMETERS)],
    ]


def test_the_graph_has_no_cycle_and_no_loose_end() -> None:
    maker = {path: stage for stage in STAGES for path in outputs(stage)}

    def makers(path: str) -> set[str]:
        """Of an output, or of all that a folder holds."""
        path = path.replace("${encoder}", PARAMS["encoder"]).replace("${stamps}", PARAMS["stamps"])
        return {stage for made, stage in maker.items() if f"{made}/".startswith(f"{path}/")}

    given = ("data/release/morphology.csv", "data/release/${labels}", WEIGHTS, "lvm_training/")
    done: list[str] = []
    while len(done) < len(RUN):
        ready = [
            stage
            for stage in RUN
            if stage not in done
            and all(makers(p) and makers(p) <= {*done} for p in STAGES[stage]["deps"] if not p.startswith(given))
        ]
        assert ready, "the remaining stages wait for each other"
        done.extend(ready)
    # what nothing else needs is judged or judges
    needed = set().union(*(makers(path) for stage in RUN for path in STAGES[stage]["deps"]))
    assert done[0] == "simulate" and {stage for stage in RUN if stage not in needed} == {
        "finetune",  # what comes of it is judged where it is to serve
        "index",  # it judges itself, and people search it
        *(stage for stage in RUN if stage.startswith("evaluate")),
    }


def test_metrics_and_plots_are_cached_and_say_what_their_axes_are() -> None:
    for spec in STAGES.values():
        assert all(isinstance(metric, str) for metric in spec.get("metrics", []))
        for plot in spec.get("plots", []):
            if isinstance(plot, str):
                assert plot.endswith(".png")
                continue
            ((path, properties),) = plot.items()
            assert path.endswith(".csv") and {"x", "y", "title", "x_label", "y_label"} <= properties.keys(), path


def test_released_models_are_artifacts_with_the_encoder_of_their_cards() -> None:
    artifacts = DOCUMENT["artifacts"]
    assert {one["path"] for one in artifacts.values()} == {
        f"models/{path.name}" for path in (ROOT / "models").iterdir()
    }
    for name, one in artifacts.items():
        card = json.loads((ROOT / one["path"] / "card.json").read_text())
        assert one["path"] == f"models/{name}" and one["type"] == "model" and len(one["labels"]) > 1
        assert one["meta"]["encoder"] == card["encoder"] and one["meta"]["version"].count(".") == 2


def test_every_profile_has_what_the_stages_track() -> None:
    document = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for stage in STAGES.values():
        for tracked in stage.get("params", []):
            for name in (name for name, section in document.items() if isinstance(section, dict)):
                place = document
                for key in tracked.replace("${profile}", name).split("."):
                    assert key in place, f"{tracked} of profile {name}"
                    place = place[key]


def test_the_committed_configuration_names_no_machine() -> None:
    text = (ROOT / ".dvc" / "config").read_text(encoding="utf-8")
    assert "url" not in text and "/" not in text
    assert "analytics = false" in text


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the code with a release of 60 galaxies and a profile of a few steps."""
    origin, clone = tmp_path_factory.mktemp("origin"), tmp_path_factory.mktemp("clone") / "galaxyloop"
    shutil.copytree(ROOT / "lvm_training", origin / "lvm_training", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, origin)
    (origin / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy(ROOT / ".dvc" / name, origin / ".dvc")
    document = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    document["quick"]["pretrain"] |= {"steps": 2, "batch": 8, "warmup": 1}
    document["quick"]["multitask"] |= {"steps": 2, "batch": 6, "epoch_steps": 1, "validation": 4, "warmup": 1}
    document["quick"]["evaluate"] |= {
        "sizes": [5, 10],
        "draws": 2,
        "stamps": 4,
        "tuning": 2,
        "examples": 2,
        "simulated": 120,
    }
    document["quick"]["finetune"] |= {"steps": 2}
    document["quick"]["lenses"] |= {"train": 4, "validation": 2, "test": 4}
    document["quick"]["detector"] |= {
        "steps": 2,
        "batch": 2,
        "images": 4,
        "held_out": 2,
        "epoch_steps": 1,
        "warmup": 1,
        "pool": 110,
    }
    (origin / "params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    (origin / ".gitignore").write_text("/build/\n/data/\n", encoding="utf-8")
    save_checkpoint(
        origin / WEIGHTS, LVM(THIN), Rendering(), data="none", code="none", params={}, metrics={}, half=True
    )
    for place in (EARLIER_LVM, RELEASED_DETECTOR, RELEASED_PARAMETERS):  # outputs of frozen stages
        shutil.copytree(ROOT / place, origin / place)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(origin)]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "code"]):
        subprocess.run([*git, *command], check=True)
    subprocess.run(["git", "clone", "-q", str(origin), str(clone)], check=True)
    write_release(clone / "data" / "release", draw_catalogue(60, 3))
    return clone


def reproduce(project: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"], cwd=project, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.pipeline
@pytest.mark.usefixtures("warm_python")
@pytest.mark.timeout(900)
def test_a_whole_run_in_a_clone(project: Path) -> None:
    said = reproduce(project)
    assert [stage for stage in STAGES if f"Running stage '{stage}'" in said] == RUN
    build = project / "build"
    for stage in RUN:
        assert all((project / path).stat().st_size > 0 for path in outputs(stage))
    start, adapted = (load_checkpoint(project / place)[1] for place in (WEIGHTS, "build/pretrained"))
    lvm, card = load_checkpoint(build / "lvm")
    assert (lvm.preset, adapted.params["steps"], card.params["steps"]) == (THIN, 2, 2)
    assert (adapted.parent, card.parent, card.data) == (start.encoder, adapted.encoder, ENDLESS)
    with StampSet(build / "stamps" / "morphology.h5") as stamps:
        assert adapted.data == stamps.digest
    revision = subprocess.run(
        ["git", "-C", str(project), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout
    assert revision.startswith(card.code.removesuffix("+"))
    features = Features.open(build / "features" / "morphology.npy")
    assert features.matrix.shape == (60, THIN.width)
    assert features.encoder == card.encoder == Encoder.load(build / "lvm").digest
    head = ClassificationHead.load((build / "heads" / "morphology.safetensors").read_bytes())
    assert head.classes == MORPHOLOGIES
    metrics = json.loads((build / "metrics" / "morphology.json").read_text())
    with (build / "plots" / "morphology_confusion.csv").open(newline="") as stream:
        confusion = list(csv.DictReader(stream))
    right = sum(row["actual"] == row["predicted"] for row in confusion)
    assert metrics["accuracy"] == pytest.approx(right / len(confusion))
    assert metrics["stamps"] == len(confusion) == sum(g.split == "test" for g in draw_catalogue(60, 3))
    with (build / "plots" / "pretrain.csv").open(newline="") as stream:
        assert [row["step"] for row in csv.DictReader(stream) if row["split"] == "train"] == ["1", "2"]
    with (build / "plots" / "multitask_shares.csv").open(newline="") as stream:
        shares = list(csv.DictReader(stream))
    assert sum(float(row["share"]) for row in shares) == pytest.approx(len(shares) / 3, rel=1e-4)
    with (build / "plots" / "restoration.csv").open(newline="") as stream:
        gains = {row["method"]: float(row["gain"]) for row in csv.DictReader(stream)}
    assert gains.keys() > {"LVM", "non-local means", "total variation"} and gains["degraded"] == 0
    measured = json.loads((build / "metrics" / "evaluate.json").read_text())
    assert 0 < measured["auc_LVM_10"] < 1 and measured["gain_LVM"] == pytest.approx(gains["LVM"])
    detector, seen = load_detector(build / "detector")
    assert (detector.classes, seen.encoder, seen.params["steps"]) == (OBJECTS, card.encoder, 2)
    measured = json.loads((build / "metrics" / "detection.json").read_text())
    assert {"accuracy", "box_ap50", "mask_ap_arc", "pool_purity", "pool_completeness_0.01"} <= measured.keys()
    assert not list((build / "resume").iterdir())


@pytest.mark.pipeline
@pytest.mark.usefixtures("warm_python")
@pytest.mark.timeout(900)
def test_a_second_run_does_what_follows_from_a_changed_label_alone(project: Path) -> None:
    if not (project / "dvc.lock").is_file():
        reproduce(project)
    with Repo(str(project)) as repo:
        assert repo.status() == {}
    before = (project / "build" / "heads" / "morphology.safetensors").read_bytes()
    labels = project / "data" / "release" / "labels.csv"
    labels.write_text("\n".join(labels.read_text().splitlines()[:-1]) + "\n")
    said = reproduce(project)
    assert [s for s in STAGES if f"Running stage '{s}'" in said] == [
        "train_morphology",
        "evaluate_morphology",
        "finetune",
    ]
    assert (project / "build" / "heads" / "morphology.safetensors").read_bytes() != before
