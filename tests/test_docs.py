"""README and docs say what is there: settings, commands, routes, targets, links, pictures."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from backend_ml.acquisition.policy import POLICIES
from backend_ml.app import create_app
from backend_ml.cli import main
from backend_ml.settings import Settings
from tests.pages import DATA, ELSEWHERE, LONG, NOT_HERE, PROGRAMS, ROOT, among, shown
from tests.pages import PAGES as DOCS

LARGEST = 300_000  # bytes of a picture


def table(page: str) -> list[list[str]]:
    """The rows of every table of a reference page, without heads."""
    lines = (ROOT / "docs/reference" / page).read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")]
    return [row for row in rows if row[0].startswith("`") or (len(row) > 1 and row[1].startswith("`/"))]


def commands(command: Any, name: str = "galaxyloop") -> Iterator[tuple[str, TyperCommand]]:
    """Every command that does something, by its whole name."""
    if isinstance(command, TyperGroup):
        for part, child in command.commands.items():
            # the first floor's are imported when they are named
            lazy = name == "galaxyloop" and part in main.COMMANDS
            yield from commands(main.imported(part) if lazy else child, f"{name} {part}")
    else:
        yield name, command


COMMANDS = dict(commands(get_command(main.app)))


def test_each_setting_is_listed_once_with_its_default() -> None:
    rows = [row for row in table("settings.md") if row[0].startswith("`GALAXYLOOP_")]
    listed = {name.strip("`").removeprefix("GALAXYLOOP_").lower(): default for name, default, _ in rows}
    assert sorted(listed) == sorted(Settings.model_fields) and len(rows) == len(listed)
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, str | int | float | Path):
            shown = field.default if isinstance(field.default, str | Path) else f"{field.default:g}"
            assert listed[name] == f"`{shown}`", name


def test_each_command_is_listed_once_with_its_help() -> None:
    rows = [row for row in table("commands.md") if row[0].startswith("`galaxyloop ")]
    helps = {name: " ".join(str(command.help).partition("\n\n")[0].split()) for name, command in COMMANDS.items()}
    assert sorted((name.strip("`"), text) for name, text in rows) == sorted(helps.items())


def test_each_policy_is_listed_once_with_its_words() -> None:
    rows = [row for row in table("commands.md") if not row[0].startswith("`galaxyloop ")]
    assert sorted((name.strip("`"), words) for name, words in rows) == sorted(
        (policy.name, policy.words) for policy in POLICIES.values()
    )


def test_each_route_is_listed_once() -> None:
    secrets = Settings.model_validate({"secret": "hush", "backend_password": "word"})
    paths = create_app(secrets, "postgresql://nowhere").openapi()["paths"]
    answered = sorted((method.upper(), path) for path, methods in paths.items() for method in methods)
    assert sorted((method, path.strip("`")) for method, path, _ in table("http.md")) == answered


def shown_commands(program: str) -> Iterator[list[str]]:
    """The words of each command of a program that a page shows, in a line of its own or in backticks."""
    for page in DOCS:
        text = page.read_text()
        lines = re.findall(rf"^ {{4}}(?:[^#\n]*?[&;] )?({program} [^#\n]*)", text, re.MULTILINE)
        for command in [*lines, *re.findall(rf"`({program} [^`\n]+)`", text)]:
            yield shlex.split(command.replace("…", "").rstrip(" &"))[1:]


def test_commands_that_pages_show_exist() -> None:
    seen = 0
    for words in shown_commands("galaxyloop"):
        while words[:1] == ["--log"]:
            words = words[2:]
        if words[0].isupper():
            continue
        name = " ".join(["galaxyloop", *words[:2]])
        command = COMMANDS.get(name) or COMMANDS.get(" ".join(["galaxyloop", words[0]]))
        assert command, f"there is no `{name}`"
        offered = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= offered | {"--help"}, words
        seen += 1
    assert seen > 30


def test_each_command_is_run_by_a_test_or_has_a_reason() -> None:
    """`tests/live/test_pages.py` runs what is on no list, so that only other programs could be forgotten."""
    for page, lines in shown().items():
        for line in lines:
            run = line.startswith(PROGRAMS) or page in ELSEWHERE
            assert run or among(line, NOT_HERE), f"{page}: no test runs `{line}`: see tests/pages.py"
            assert not (among(line, NOT_HERE) and among(line, LONG)), line


def test_lists_of_commands_are_not_older_than_the_pages() -> None:
    lines = [line for one in shown().values() for line in one]
    assert not [one for one in (*NOT_HERE, *LONG) if not any(among(line, [one]) for line in lines)]
    named = [test for reason in NOT_HERE.values() for test in re.findall(r"tests/[\w/.]+\w", reason)]
    assert named and all((ROOT / test).exists() for test in (*named, *ELSEWHERE.values()))


def test_what_no_test_can_run_names_files_that_are_there() -> None:
    seen = 0
    for lines in shown().values():
        for word in (word for line in lines if among(line, NOT_HERE) for word in line.split()):
            if word.startswith(("deploy/", "backend_ml/")):
                assert list(ROOT.glob(word)), word
                seen += 1
            if word.startswith("galaxyloop-"):
                assert (ROOT / f"deploy/systemd/{word}.service").is_file(), word
    assert seen >= 4


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_are_commands_or_say_what_they_are(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"^```(\w*)[^`]*?\n.*?^```$", text, re.DOTALL | re.MULTILINE)) <= DATA


def test_targets_and_stages_that_pages_show_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    stages = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    made = {words[0] for words in shown_commands("make")}
    assert {"demo", "test"} <= made <= targets
    repeated = {word for words in shown_commands("dvc repro") for word in words[1:] if not word.startswith("-")}
    assert repeated - {"&&", "dvc", "freeze"} <= stages


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"(?:\]\(|src=\")(?!https?:)([^)#\s\"]+)", text):
        assert (page.parent / target).resolve().exists(), target
    for path in re.findall(r"`((?:backend_ml|lvm_training|tests|docs|benchmarks|label_config|models)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path


def test_every_page_is_found_from_readme() -> None:
    found, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        found.add(page)
        links = re.findall(r"\]\((?!https?:)([^)#\s]+\.md)", page.read_text())
        waiting += [target for link in links if (target := (page.parent / link).resolve()) not in found]
    assert found >= set(DOCS)


def test_pages_named_in_the_code_exist() -> None:
    files = [
        ROOT / "Makefile",
        ROOT / "Dockerfile",
        *ROOT.glob("backend_ml/**/*.py"),
        *ROOT.glob("lvm_training/**/*.py"),
    ]
    named = {name for file in files for name in re.findall(r"docs/[\w/-]+\.md", file.read_text())}
    assert named and not [name for name in named if not (ROOT / name).is_file()]


def test_pictures_are_small_and_shown() -> None:
    text = "".join(page.read_text() for page in DOCS)
    pictures = list((ROOT / "docs/images").iterdir())
    assert pictures
    assert not [picture.name for picture in pictures if picture.stat().st_size > LARGEST or picture.name not in text]


def test_each_dependency_has_a_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    names = {re.split(r"[^\w-]", one)[0] for one in (*project["dependencies"], *optional["cpu"], *optional["dev"])}
    said = set(re.findall(r"[a-z][\w-]*", (ROOT / "docs/why/dependencies.md").read_text()))
    assert names - said == set()
