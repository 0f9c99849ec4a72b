"""The two packages know each other in one direction, and every module keeps to its size."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted([*ROOT.glob("lvm_training/**/*.py"), *ROOT.glob("backend_ml/**/*.py")])


def imported(path: Path) -> set[str]:
    """Top-level packages that a module imports anywhere."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("path", [p for p in MODULES if "lvm_training" in p.parts], ids=lambda p: p.stem)
def test_training_knows_nothing_of_the_backend(path: Path) -> None:
    assert not imported(path) & {"backend_ml", "fastapi", "psycopg", "procrastinate", "label_studio_sdk", "httpx"}


def test_nothing_is_ever_unpickled() -> None:
    forbidden = {"pickle", "joblib", "dill", "shelve"}
    assert not {path.name for path in MODULES if imported(path) & forbidden}
    assert not {path.name for path in MODULES if "pickle.load" in path.read_text()}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_modules_have_a_docstring_and_a_readable_size(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "a one-line docstring says what the module is"
    assert text.count("\n") <= 500
