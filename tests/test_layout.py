"""The layout of the code: imports run one way, files are short, and hkdsr has no hidden ends or prints."""

from __future__ import annotations

import ast
import statistics
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from conftest import REPOSITORY

PACKAGE = REPOSITORY / "hkdsr"
FOLDERS = ("hkdsr", "tests", "tools", "benchmarks")
LONGEST, MEDIAN = 300, 120


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(tree: ast.AST, name: str) -> set[str]:
    """The modules of hkdsr that a module imports where it is loaded: not in functions, not for types alone."""
    found: set[str] = set()
    waiting = [tree]
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            if isinstance(node, ast.ImportFrom):
                assert not node.level, f"{name} has a relative import"
                within = [f"{node.module}.{alias.name}" for alias in node.names]
                found |= {one if one in MODULES else str(node.module) for one in within}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif not isinstance(node, ast.FunctionDef) and not _for_types(node):
                waiting.append(node)
    return found & MODULES.keys() - {name}


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def with_packages(names: set[str]) -> set[str]:
    """The modules and the packages above them, which Python loads first."""
    return names | {name.rsplit(".", count)[0] for name in names for count in range(1, name.count("."))}


def test_no_import_circle() -> None:
    """Not even through the packages that hold the modules, whose files are loaded before those of the modules."""
    graph = {name: imported(ast.parse(path.read_text("utf-8")), name) for name, path in MODULES.items()}
    assert len(graph) > 100
    assert sum(map(len, graph.values())) > len(graph)
    loads = {name: with_packages(names) - with_packages({name}) for name, names in graph.items()}
    TopologicalSorter(loads).prepare()  # raises CycleError, which names the circle


def test_a_circle_would_be_found() -> None:
    tree = ast.parse("if True:\n    from hkdsr.data import crops\ndef f():\n    import hkdsr.errors")
    assert imported(tree, "hkdsr.data.store") == {"hkdsr.data.crops"}
    with pytest.raises(ValueError, match="cycle"):
        TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()


def test_files_are_short() -> None:
    lengths = {
        path: len(path.read_text("utf-8").splitlines())
        for folder in FOLDERS
        for path in (REPOSITORY / folder).rglob("*.py")
    }
    assert {path.name: length for path, length in lengths.items() if length > LONGEST} == {}
    assert statistics.median(lengths.values()) <= MEDIAN


def test_the_page_is_small() -> None:
    """Lines of code, without those that are empty, comments or docstrings."""
    assert sum(map(lines_of_code, (PACKAGE / "app").glob("*.py"))) < 600


def lines_of_code(path: Path) -> int:
    text, told = path.read_text("utf-8"), set[int]()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            told |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    lines = enumerate(map(str.strip, text.splitlines()), 1)
    return sum(1 for number, line in lines if line and not line.startswith("#") and number not in told)


def test_no_process_ends_without_its_cleanup() -> None:
    for path in MODULES.values():
        assert "os._exit" not in path.read_text("utf-8"), path.name


RUN = 6
ALIKE = {
    "hkdsr/nets/families": "each family is read alone, beside its paper",
    "hkdsr/losses/similarity.py": "the settings of fsm and of fsm_sum are the same",
}
"""Files and folders in which the same lines stand twice, and why."""


def code_lines(path: Path) -> list[str]:
    """Stripped lines that hold code of their own: no blank ones, comments, imports or lone brackets."""
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    skipped = ("#", "import ", "from ")
    return [line for line in lines if any(map(str.isalnum, line)) and not line.startswith(skipped)]


def test_no_run_of_lines_stands_twice() -> None:
    places: dict[tuple[str, ...], set[str]] = {}
    for path in (path for folder in FOLDERS for path in sorted((REPOSITORY / folder).rglob("*.py"))):
        name, lines = path.relative_to(REPOSITORY).as_posix(), code_lines(path)
        alike = next((place for place in ALIKE if name.startswith(place)), None)
        for start in range(len(lines) - RUN + 1):
            places.setdefault(tuple(lines[start : start + RUN]), set()).add(alike or f"{name}:{start}")
    assert [found for found in places.values() if len(found) > 1] == []
