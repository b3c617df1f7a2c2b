"""The patch of glibc finds its places in sources that it knows, and says what is different in others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ia2exit.errors import Ia2exitError

from .patching import ANCHORS, patch

ROOT = Path(__file__).resolve().parents[2]
#: As much of Debian's glibc 2.36 as the patch looks at.
SOURCES = {
    "elf/dl-call_fini.c": """\
#include <ldsodefs.h>

void
_dl_call_fini (void *closure_map)
{
  struct link_map *map = closure_map;

  map->l_init_called = 0;

  ElfW(Dyn) *fini_array = map->l_info[DT_FINI_ARRAY];
}
""",
    "elf/Versions": "ld {\n  GLIBC_PRIVATE {\n    _rtld_global; _rtld_global_ro;\n  }\n}\n",
    "elf/dl-fini.c": "\t\t  _dl_call_fini (l);\n",
    "elf/dl-close.c": "\t    _dl_catch_exception (NULL, _dl_call_fini, imap);\n",
}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    (tmp_path / "elf").mkdir()
    for file, text in SOURCES.items():
        (tmp_path / file).write_text(text)
    return tmp_path


def texts(sources: Path) -> dict[str, str]:
    return {file: (sources / file).read_text() for file in SOURCES if (sources / file).exists()}


def test_the_hook_is_called_first_and_exported(sources: Path) -> None:
    patch(sources)
    patched = texts(sources)
    code = patched["elf/dl-call_fini.c"]
    assert code.index("__ia2_dl_fini_hook = { 1, NULL };") < code.index("_dl_call_fini (void")
    assert code.index("l_init_called = 0") < code.index("__ia2_dl_fini_hook.run (map)") < code.index("fini_array = map")
    assert "    __ia2_dl_fini_hook;\n" in patched["elf/Versions"]
    assert {file for file in SOURCES if patched[file] != SOURCES[file]} == {"elf/dl-call_fini.c", "elf/Versions"}


@pytest.mark.parametrize("anchor", ANCHORS, ids=lambda anchor: anchor.text.strip())
@pytest.mark.parametrize("change", ["", "twice"])
def test_another_source_is_told_and_left_alone(sources: Path, anchor: object, change: str) -> None:
    (which,) = (one for one in ANCHORS if one == anchor)
    path = sources / which.file
    path.write_text(path.read_text().replace(which.text, which.text * 2 if change else ""))
    before = texts(sources)
    with pytest.raises(Ia2exitError) as told:
        patch(sources)
    assert str(told.value).startswith(f"{path}: ")
    assert f"is there {2 if change else 0} times: expected once" in str(told.value)
    assert texts(sources) == before


def test_a_second_way_to_the_destructors_is_told(sources: Path) -> None:
    path = sources / "elf" / "dl-fini.c"
    path.write_text(path.read_text() + "if (l->l_info[DT_FINI_ARRAY] != NULL)\n")
    before = texts(sources)
    with pytest.raises(Ia2exitError, match="it has DT_FINI: expected _dl_call_fini alone to read it"):
        patch(sources)
    assert texts(sources) == before


def test_a_second_time_is_refused_in_one_line(sources: Path) -> None:
    command = [sys.executable, "-m", "tests.glibcs.patching", str(sources)]
    first, second = (
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False) for _ in range(2)
    )
    assert (first.returncode, first.stderr) == (0, "")
    assert (second.returncode, len(second.stderr.splitlines())) == (2, 1)
    assert "it has __ia2_dl_fini_hook: expected sources without our patch" in second.stderr


def test_what_is_no_glibc_is_told(tmp_path: Path) -> None:
    with pytest.raises(Ia2exitError, match=r"No such file or directory: expected the sources of Debian's glibc 2\.36"):
        patch(tmp_path)
