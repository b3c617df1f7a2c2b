"""gdb's own Python imports neither msgspec nor our models: what it has of their words must be the same."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

from debugging import LIMIT, ROOT

INSIDE = ROOT / "src" / "ia2exit" / "debugger" / "gdb_commands"
RUNTIME = ROOT / "runtime" / "libia2"


def constant(module: str, name: str) -> object:
    """A literal that a module assigns; the module itself can be imported in gdb alone."""
    for node in ast.parse((INSIDE / module).read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"{module} has no {name}")


def enumerators(header: str, name: str) -> list[str]:
    """The enumerators of an enum in lower case, without comments and prefixes."""
    text = re.sub(r"/\*.*?\*/", "", (RUNTIME / header).read_text(), flags=re.S)
    body = re.search(rf"enum {name} \{{(.*?)\}}", text, re.S)
    assert body
    return [re.sub(r"^ia2_", "", word.split("=")[0].strip().lower()) for word in body[1].split(",") if word.strip()]


def test_kinds_are_those_of_the_model() -> None:
    from ia2exit.model import KINDS

    assert constant("records.py", "KINDS") == ("?", *KINDS)


def test_numbers_are_those_of_the_runtime() -> None:
    assert list(constant("records.py", "STATES")) == enumerators("records.h", "ia2_record_state")  # type: ignore[call-overload]
    assert [*constant("records.py", "OUTCOMES"), "outcomes"] == enumerators("records.h", "ia2_outcome")  # type: ignore[misc]
    assert list(constant("stops.py", "_ACTIONS")) == enumerators("violation.h", "ia2_action")  # type: ignore[call-overload]
    flags = dict(re.findall(r"IA2_(\w+) = (\d),", (RUNTIME / "records.h").read_text()))
    assert constant("records.py", "FLAGS") == {int(bit): word.lower() for word, bit in flags.items()}


def test_each_probe_that_is_waited_for_is_in_the_runtime() -> None:
    wanted = set(re.findall(r"libia2:(\w+)", "".join(path.read_text() for path in INSIDE.glob("*.py"))))
    wanted |= set(re.findall(r'_Probe\("(\w+)"', (INSIDE / "signals.py").read_text()))
    there = set(re.findall(r"IA2_PROBE\((\w+), \w+\)$", (RUNTIME / "probe.h").read_text(), re.M))
    assert {"destructor", "violation", "step"} <= wanted
    assert wanted == there


def test_what_gdb_imports_of_the_package_needs_the_standard_library_alone() -> None:
    """``-S`` hides site-packages; the modules that import gdb itself are tried in gdb, by the other tests."""
    code = "import ia2exit.pkru, ia2exit.debugger.gdb_commands, ia2exit.debugger.gdb_commands.table"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(ROOT / 'src')!r}); {code}"]
    subprocess.run(command, timeout=LIMIT, check=True)


def test_gdb_commands_import_nothing_else_of_the_package() -> None:
    for path in INSIDE.glob("*.py"):
        names = re.findall(r"^(?:from|import) (ia2exit[\w.]*)", path.read_text(), re.M)
        assert all(name == "ia2exit.pkru" or name.startswith("ia2exit.debugger.gdb_commands") for name in names), path


def test_the_script_lies_where_the_verb_says() -> None:
    from ia2exit.debugger import script

    assert Path(script()) == INSIDE / "script.py"
