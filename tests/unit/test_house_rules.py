"""Rules of this repository that a program can check."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import ia2exit

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "ia2exit"

#: Calls that wait for another process, and need ``timeout=``.
WAITING = {"run", "call", "check_call", "check_output", "communicate", "wait"}

#: Part of the package -> its stage; read -> map -> run -> report, and what all stages share is stage 0.
STAGES = {
    "errors": 0,
    "model": 0,
    "events": 0,
    "native": 0,
    "packages": 0,
    "pkru": 0,
    "publishing": 0,
    "toml_lines": 0,
    "elf": 1,
    "scanning": 2,
    "policy": 3,
    "exitmap": 3,
    "running": 4,
    "vm": 4,
    "debugger": 4,
    "checking": 5,
    "examining": 5,
    "commands": 6,
    "cli": 7,
}


def waits_without_limit(name: str, source: str) -> Iterator[str]:
    """The calls of ``subprocess``, or of a ``Popen``, that may wait for ever."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WAITING):
            continue
        of_module = isinstance(node.func.value, ast.Name) and node.func.value.id == "subprocess"
        if not of_module and node.func.attr not in {"communicate", "wait"}:
            continue
        if not any(keyword.arg in {"timeout", None} for keyword in node.keywords):
            yield f"{name}:{node.lineno}: {node.func.attr}() without timeout="


def imported_parts(path: Path) -> Iterator[str]:
    """The parts of ia2exit (``elf``, ``model``, …) that a module imports, late imports included."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "ia2exit":
                names = [f"ia2exit.{alias.name}" for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("ia2exit."))


def test_every_subprocess_of_a_test_or_benchmark_has_a_time_limit() -> None:
    files = [path for folder in ("tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
    assert ROOT / "benchmarks" / "harness.py" in files
    findings = [f for path in files for f in waits_without_limit(str(path.relative_to(ROOT)), path.read_text())]
    assert findings == []


def test_a_missing_time_limit_is_found() -> None:
    source = "subprocess.run(['a'])\nsubprocess.run(['a'], timeout=1)\nprocess.wait()\nprocess.wait(timeout=1)\n"
    assert list(waits_without_limit("t.py", source)) == [
        "t.py:1: run() without timeout=",
        "t.py:3: wait() without timeout=",
    ]


def test_no_module_imports_a_later_stage() -> None:
    findings = []
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part in {"__init__", "__main__"}:
            continue
        assert part in STAGES, f"{path}: give {part} its place in STAGES"
        later = [name for name in imported_parts(path) if STAGES.get(name, 0) > STAGES[part]]
        findings += [f"{path.relative_to(ROOT)} imports {name}" for name in later]
    assert findings == []


def test_every_verb_has_its_module_and_its_two_functions() -> None:
    from ia2exit.commands import VERBS

    for verb, (module, _) in VERBS.items():
        path = PACKAGE / "commands" / f"{verb}.py"
        assert module == f"ia2exit.commands.{verb}"
        functions = {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
        assert {"add_arguments", "run"} <= functions, path


def test_c_and_python_number_the_kinds_alike() -> None:
    from ia2exit.model import KINDS

    header = (ROOT / "runtime" / "libia2" / "include" / "ia2_exit.h").read_text()
    in_c = {name.lower(): int(number) for name, number in re.findall(r"\bIA2_EXIT_([A-Z_]+) = (\d+),", header)}
    assert in_c == {kind: number for number, kind in enumerate(KINDS, start=1)}


def test_the_version_has_one_source() -> None:
    text = (ROOT / "CMakeLists.txt").read_text() + (ROOT / "pyproject.toml").read_text()
    assert re.fullmatch(r"\d+\.\d+\.\d+", ia2exit.__version__)
    assert ia2exit.__version__ not in text
