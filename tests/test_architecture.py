"""What every module keeps to; import-linter says in `make lint` which package may import which."""

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODULES = sorted([*ROOT.glob("lvm_training/**/*.py"), *ROOT.glob("backend_ml/**/*.py")])
LONGEST = 500  # lines; below, cohesion decides
MOST = 10  # modules of a package, beside `__init__.py` and what `python -m` runs


def shown(path: Path) -> str:
    """A module's path as messages name it."""
    return str(path.relative_to(ROOT))


def imported(path: Path) -> set[str]:
    """Top-level packages that a module imports anywhere."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_nothing_is_ever_unpickled() -> None:
    forbidden = {"pickle", "joblib", "dill", "shelve"}
    assert not {path.name for path in MODULES if imported(path) & forbidden}
    assert not {path.name for path in MODULES if "pickle.load" in path.read_text()}


def test_modules_have_a_docstring_and_a_readable_size() -> None:
    texts = {shown(path): path.read_text() for path in MODULES}
    assert not [name for name, text in texts.items() if not ast.get_docstring(ast.parse(text))], "say what it is"
    assert not {name: lines for name, text in texts.items() if (lines := text.count("\n")) > LONGEST}


def test_packages_have_no_more_modules_than_are_seen_at_a_glance() -> None:
    rooms = Counter(shown(path.parent) for path in MODULES if path.name not in {"__init__.py", "__main__.py"})
    assert not {room: modules for room, modules in rooms.items() if modules > MOST}, "divide it"
