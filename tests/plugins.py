"""Packages of kinds as others would install them: modules, label configs and entry points in a folder."""

import re
from collections.abc import Mapping
from pathlib import Path

HOWTO = Path(__file__).parent.parent / "docs" / "howto" / "kinds.md"
LABEL_CONFIG = """<View><Image name="image" value="$image"/><Choices name="c" toName="image">
<Choice value="round smooth"/><Choice value="in-between smooth"/><Choice value="cigar-shaped smooth"/>
<Choice value="edge-on disc"/><Choice value="spiral"/></Choices></View>"""

HEAD = """import numpy as np
from backend_ml.kinds.choices import ChoiceKind
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
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    for name, text in files.items():
        (about if name == "entry_points.txt" else folder).joinpath(name).write_text(text)


def install_howto(folder: Path) -> None:
    """The package that docs/howto/kinds.md describes, as it is written there."""
    blocks = re.findall(r"^```\w+ (\S+)\n(.*?)^```$", HOWTO.read_text(), re.DOTALL | re.MULTILINE)
    install(folder, "my-kinds", dict(blocks))


def install_broken(folder: Path) -> None:
    """Every kind of `BROKEN`, and `twice`, which two packages offer."""
    files = {f"bad_{name}.py": text for name, text in BROKEN.items()}
    files |= {f"{name}.xml": LABEL_CONFIG for name in (*BROKEN, "twice") if name != "nowhere"}
    offers = "".join(f"{name} = bad_{name}:Made\n" for name in BROKEN)
    second = f"{HEAD}class Made(ChoiceKind):\n    name = 'twice'\n"
    files |= {"entry_points.txt": f"[galaxyloop.kinds]\n{offers}twice = bad_twice:Made\n", "bad_twice.py": second}
    install(folder, "bad-kinds", files)
    install(folder, "other-kinds", {"entry_points.txt": "[galaxyloop.kinds]\ntwice = bad_twice:Made\n"})
