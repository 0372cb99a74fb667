"""The house rules that no linter knows: sizes, complexity, import cycles, layers, documented settings."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hub.commands.setting import page
from tests.fakes.command import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = ("hub", "agents", "skills", "transports")
FILE_LINES, FUNCTION_LINES, BRANCHES = 500, 60, 10
_BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.IfExp, ast.ExceptHandler, ast.Assert, ast.comprehension, ast.match_case)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
#: Names that say nothing of the domain.
_EMPTY_NAMES = re.compile(r"^_?(utils?|helpers?|common|managers?|misc|stuff|base\d+)$")


def _sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, _FUNCTIONS))


def _complexity(function: ast.AST) -> int:
    """McCabe: one plus the branches of this function, nested functions apart; a boolean operator branches too."""
    total, waiting = 1, list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            continue
        total += isinstance(node, _BRANCHES) + (len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0)
        waiting.extend(ast.iter_child_nodes(node))
    return total


def test_sizes_and_complexity() -> None:
    """style.md 7: the gates, with no list of exceptions."""
    over: list[str] = []
    for path in _sources():
        source = path.read_text("utf-8")
        where = path.relative_to(ROOT)
        if (lines := source.count("\n")) > FILE_LINES:
            over.append(f"{where}: {lines} lines")
        for function in _functions(ast.parse(source)):
            if (length := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES:
                over.append(f"{where}:{function.lineno} {function.name}: {length} lines")
            if (branches := _complexity(function)) > BRANCHES:
                over.append(f"{where}:{function.lineno} {function.name}: complexity {branches}")
    assert not over, "\n".join(over)


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in _sources()
        if path.read_text("utf-8").strip() and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert not silent


def test_modules_are_named_after_the_domain() -> None:
    assert [str(path.relative_to(ROOT)) for path in _sources() if _EMPTY_NAMES.match(path.stem)] == []


def _imports(path: Path, modules: set[str]) -> set[str]:
    """Modules of ours that importing this one imports, those under TYPE_CHECKING apart."""
    found: set[str] = set()

    def visit(body: list[ast.stmt]) -> None:
        for node in body:
            match node:
                case ast.Import():
                    found.update(alias.name for alias in node.names)
                case ast.ImportFrom(module=str(module), level=0):
                    found.update(f"{module}.{alias.name}" if f"{module}.{alias.name}" in modules else module for alias in node.names)
                case ast.If() if "TYPE_CHECKING" not in ast.unparse(node.test):
                    visit(node.body)
                case ast.Try():
                    visit(node.body)
                case _:
                    pass

    visit(ast.parse(path.read_text("utf-8")).body)
    return found & modules


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_import_cycles() -> None:
    paths = {_module(path): path for path in _sources()}
    graph = {name: _imports(path, set(paths)) - {name} for name, path in paths.items()}
    while leaves := [name for name, needed in graph.items() if not needed]:
        for leaf in leaves:
            del graph[leaf]
        for needed in graph.values():
            needed.difference_update(leaves)
    # What only leads into a cycle is taken away as well, so that the message names the cycle alone.
    while roots := set(graph) - {name for needed in graph.values() for name in needed}:
        graph = {name: needed for name, needed in graph.items() if name not in roots}
    assert graph == {}


def test_the_import_contract_holds() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_import_contract_catches_an_upward_import(tmp_path: Path) -> None:
    """A contract that can fail: the same rules over a planted violation."""
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("import transports\n" if package == "skills" else "")
    rules = ROOT.joinpath("pyproject.toml").read_text().partition("[tool.importlinter]")[2]
    first = rules.split("[[tool.importlinter.contracts]]")
    (tmp_path / "pyproject.toml").write_text(f"[tool.importlinter]{first[0]}[[tool.importlinter.contracts]]{first[1]}")
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "skills -> transports" in done.stdout


def test_the_settings_page_is_the_program_s() -> None:
    assert (ROOT / "docs" / "settings.md").read_text("utf-8") == page(), "run: hubroute settings --markdown > docs/settings.md"


@pytest.mark.parametrize("pattern", [r"/home/\w", r"/Users/\w", r"/root/", r"BEGIN [A-Z ]*PRIVATE KEY"])
def test_no_machine_s_path_or_key_is_in_the_repository(pattern: str) -> None:
    named = [path for path in ROOT.glob("*.*") if not path.name.startswith(".")]
    files = [path for path in [*_sources(), *named, ROOT / "Makefile", *ROOT.glob("docs/**/*.md")] if path.is_file()]
    assert [str(path.relative_to(ROOT)) for path in files if re.search(pattern, path.read_text("utf-8"))] == []
