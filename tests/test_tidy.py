"""The house style that no linter checks: sizes, docstrings, prints, pairs of files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "diffserve"
GENERATED = LIBRARY / "rpc" / "v1"
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
PAIRED = ("profiles", "policy", "planning")
"""Packages of the library whose files each have a test file of their own."""

ORDERED = ("policy", "planning")
"""Packages that decide; the order of a set must not decide for them."""


def sources(*folders: str) -> list[Path]:
    """Return our own Python files below the folders, in order."""
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if GENERATED not in path.parents]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def where(path: Path, node: ast.AST | None = None) -> str:
    line = f":{node.lineno}" if isinstance(node, ast.stmt | ast.expr) else ""
    return f"{path.relative_to(ROOT)}{line}"


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_files_are_short_enough() -> None:
    everything = sources("diffserve", "services", "scripts", "tests")
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in everything}
    assert lengths, "found no sources"
    assert not [f"{where(p)}: {n} lines" for p, n in lengths.items() if n > FILE_LINES_MAX]


def num_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function, its docstring not counted: explaining is not punished."""
    first = node.body[1:2] if ast.get_docstring(node) else []
    explained = first[0].lineno - node.body[0].lineno if first else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - explained


def test_functions_are_short_enough() -> None:
    long = [
        f"{where(path, node)} {node.name}: {num_lines(node)} lines"
        for path in sources("diffserve", "services", "scripts", "tests")
        for node in functions(path)
        if num_lines(node) > FUNCTION_LINES_MAX
    ]
    assert not long


def test_modules_say_what_they_own() -> None:
    silent = [
        where(path)
        for path in sources("diffserve", "services", "scripts")
        if parsed(path).body and not ast.get_docstring(parsed(path))
    ]
    assert not silent


def test_only_shells_print() -> None:
    shells = (LIBRARY / "cli", ROOT / "scripts")
    prints = [
        where(path, node)
        for path in sources("diffserve", "services")
        if not any(shell in path.parents for shell in shells)
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert not prints


def is_set(node: ast.expr) -> bool:
    """Whether an expression is a set by its looks: a literal, a comprehension or a call."""
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in ("set", "frozenset")
    return isinstance(node, ast.BinOp) and (is_set(node.left) or is_set(node.right))


def iterated(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield every expression that a loop or a comprehension goes through."""
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            yield node.iter


def test_decisions_never_depend_on_the_order_of_a_set() -> None:
    found = [
        where(path, node)
        for package in ORDERED
        for path in sources(f"diffserve/{package}")
        for node in iterated(parsed(path))
        if is_set(node)
    ]
    assert not found


def test_every_module_that_decides_has_its_test_file() -> None:
    missing = [
        where(path)
        for package in PAIRED
        for path in sources(f"diffserve/{package}")
        if any(functions(path))
        and not (ROOT / "tests" / "unit" / package / f"test_{path.stem}.py").exists()
    ]
    assert not missing


def test_the_checks_see_what_they_should() -> None:
    tree = ast.parse("for a in {1, 2}: pass\n[b for b in set(x) | y]\nfor c in sorted({1}): pass")
    assert [is_set(node) for node in iterated(tree)].count(True) == 2


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports, wherever it does."""
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_only_services_run_on_uvloop() -> None:
    """It forks to start a child, and gRPC's fork handlers then hung a whole test run."""
    server = LIBRARY / "rpc" / "server.py"
    assert "uvloop" in imported(server)
    others = [path for path in sources("diffserve", "services", "tests") if path != server]
    assert not [where(path) for path in others if "uvloop" in imported(path)]
