"""Packages of kinds as others would install them: modules, label configs and entry points in a folder."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

HOWTO = Path(__file__).parent.parent / "docs" / "howto"
GUIDES = {"new-kind.md": "my-kinds", "new-head.md": "my-head"}
"""Pages that write a package, and the folder that they call it."""
LABEL_CONFIG = """<View><Image name="image" value="$image"/><Choices name="c" toName="image">
<Choice value="round smooth"/><Choice value="in-between smooth"/><Choice value="cigar-shaped smooth"/>
<Choice value="edge-on disc"/><Choice value="spiral"/></Choices></View>"""

HEAD = """import numpy as np
from backend_ml.plugins.choices import ChoiceKind
from lvm_training.heads.classification import ClassificationHead
"""
BROKEN = {
    "broken": "import a_package_that_nobody_has\n",
    "nowhere": f"{HEAD}class Made(ChoiceKind):\n    name = 'nowhere'\n",
    "nothing": f"{HEAD}class Made:\n    name = 'nothing'\n",
    "outside": f"{HEAD}class Made(ChoiceKind):\n    name = 'outside'\n"
    "    def offered(self, label_config):\n        return ('round smooth', 'comet')\n",
    "foreign": f"{HEAD}class Foreign(ClassificationHead):\n    @classmethod\n"
    "    def fit(cls, inputs, labels, *, seed, classes):\n"
    "        return ClassificationHead.fit(inputs, labels, seed=seed, classes=(*classes, 'comet'))\n"
    "class Made(ChoiceKind):\n    name, head = 'foreign', Foreign\n",
    "nan": f"{HEAD}class Nan(ClassificationHead):\n    def predict(self, inputs):\n"
    "        return super().predict(inputs) * np.nan\n"
    "class Made(ChoiceKind):\n    name, head = 'nan', Nan\n",
    "failing": f"{HEAD}class Failing(ClassificationHead):\n    @classmethod\n"
    "    def fit(cls, inputs, labels, *, seed, classes):\n        return 1 / 0\n"
    "class Made(ChoiceKind):\n    name, head = 'failing', Failing\n",
}
"""Modules of kinds that cannot be used, by the name of the kind; each but `nowhere` has a label config."""


def install(folder: Path, package: str, files: Mapping[str, str]) -> None:
    """Put a package into a folder of the search path; `entry_points.txt` among its files says what it offers."""
    about = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    for name, text in files.items():
        (about if name == "entry_points.txt" else folder).joinpath(name).write_text(text)


def guide_files(page: str) -> dict[str, str]:
    """The files that a page of `GUIDES` shows, by their names."""
    return dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", (HOWTO / page).read_text(), re.DOTALL | re.MULTILINE))


def write_guides(folder: Path) -> list[Path]:
    """The packages that the pages of `GUIDES` describe, as they are written there."""
    packages = [folder / name for name in GUIDES.values()]
    for page, package in zip(GUIDES, packages, strict=True):
        for name, text in guide_files(page).items():
            (package / name).parent.mkdir(parents=True, exist_ok=True)
            (package / name).write_text(text)
    return packages


def install_guides(sources: Path, folder: Path) -> None:
    """Install these packages, which are written to `sources`, into a folder of the search path, as `pip install` does.

    setuptools is taken from here and not from the network.
    """
    options = ["--quiet", "--offline", "--no-deps", "--no-build-isolation", "--python", sys.executable]
    command = [str(Path(sys.executable).with_name("uv")), "pip", "install", *options, "--target", str(folder)]
    subprocess.run([*command, *map(str, write_guides(sources))], check=True, timeout=120)


def install_broken(folder: Path) -> None:
    """Every kind of `BROKEN`, and `twice`, which two packages offer."""
    files = {f"bad_{name}.py": text for name, text in BROKEN.items()}
    files |= {f"{name}.xml": LABEL_CONFIG for name in (*BROKEN, "twice") if name != "nowhere"}
    offers = "".join(f"{name} = bad_{name}:Made\n" for name in BROKEN)
    second = f"{HEAD}class Made(ChoiceKind):\n    name = 'twice'\n"
    files |= {"entry_points.txt": f"[galaxyloop.kinds]\n{offers}twice = bad_twice:Made\n", "bad_twice.py": second}
    install(folder, "bad-kinds", files)
    install(folder, "other-kinds", {"entry_points.txt": "[galaxyloop.kinds]\ntwice = bad_twice:Made\n"})
