"""``ia2exit run --audit``: what it brings, and the programs that ld.so could not start that way."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import ia2exit
from ia2exit.errors import Ia2exitError
from ia2exit.running import auditing

LIMIT = 60
TUNABLE = "GLIBC_TUNABLES"


def compile_program(folder: Path, static_tls: int) -> Path:
    """A program linked with a library that has so many bytes of static TLS."""
    (folder / "library.c").write_text(
        f'__thread char data[{static_tls}] __attribute__((tls_model("initial-exec")));\n'
        "int touch(int i);\nint touch(int i) { return data[i]++; }\n"
    )
    (folder / "main.c").write_text("int touch(int i);\nint main(void) { return touch(0); }\n")
    library, program = folder / "libtls.so", folder / "program"
    flags: list[str | Path] = ["-Wl,-rpath", folder, "-o", program]
    subprocess.run(["gcc", "-shared", "-fPIC", folder / "library.c", "-o", library], timeout=LIMIT, check=True)
    subprocess.run(["gcc", folder / "main.c", library, *flags], timeout=LIMIT, check=True)
    return program


def test_objects_of_dlmopen_are_covered(tmp_path: Path) -> None:
    (tmp_path / "plugin.c").write_text("__attribute__((destructor)) static void end(void) {}\n")
    (tmp_path / "main.c").write_text(
        "#define _GNU_SOURCE\n#include <dlfcn.h>\nint main(int argc, char **argv) "
        "{ return argc < 2 || !dlmopen(LM_ID_NEWLM, argv[1], RTLD_NOW); }\n"
    )
    plugin, program = tmp_path / "plugin.so", tmp_path / "program"
    subprocess.run(["gcc", "-shared", "-fPIC", tmp_path / "plugin.c", "-o", plugin], timeout=LIMIT, check=True)
    subprocess.run(["gcc", tmp_path / "main.c", "-o", program], timeout=LIMIT, check=True)
    with_module, without = (ia2exit.run([str(program), str(plugin)], audit=audit) for audit in (True, False))
    assert (with_module.status, without.status) == (0, 0)
    owners = [[ran.owner_name for ran in result.processes[0].destructors] for result in (with_module, without)]
    assert "plugin.so" in owners[0]
    assert "plugin.so" not in owners[1]


@pytest.mark.parametrize("size", [16, 900, 1100, 5000])
def test_a_program_that_is_not_refused_starts(tmp_path: Path, size: int) -> None:
    """And what is refused starts with the remedy that the message names."""
    program = str(compile_program(tmp_path, size))
    assert ia2exit.run([program]).status == 0
    if size < 1024:
        assert ia2exit.run([program], audit=True).status == 0
        return
    with pytest.raises(Ia2exitError) as caught:
        ia2exit.run([program], audit=True)
    said = str(caught.value)
    assert f"need {size} bytes of static thread-local storage ({tmp_path}/libtls.so: {size})" in said
    remedy = said.rpartition(f"{TUNABLE}=")[2]
    assert ia2exit.run([program], audit=True, env={"PATH": "/usr/bin:/bin", TUNABLE: remedy}).status == 0


def test_ld_so_does_not_start_it_indeed(tmp_path: Path) -> None:
    """Without this the check above would refuse for nothing: the day this fails, it can go."""
    from ia2exit.native import audit_path, runtime_path

    module = audit_path()
    assert module is not None
    variables = {"LD_AUDIT": module, "LD_PRELOAD": runtime_path()}
    program = compile_program(tmp_path, 5000)
    done = subprocess.run([program], env=variables, capture_output=True, timeout=LIMIT, check=False)
    assert done.returncode == 127
    assert b"static TLS block" in done.stderr


def test_the_programs_own_storage_and_what_the_user_preloads_count(tmp_path: Path) -> None:
    library = compile_program(tmp_path, 3000).parent / "libtls.so"
    (tmp_path / "own.c").write_text("__thread char data[2000];\nint main(void) { return data[0]; }\n")
    own = tmp_path / "own"
    subprocess.run(["gcc", tmp_path / "own.c", "-o", own], timeout=LIMIT, check=True)
    with pytest.raises(Ia2exitError, match=f"need 2000 bytes .*{own}: 2000"):
        auditing.check(str(own), {})
    with pytest.raises(Ia2exitError, match=f"need 3000 bytes .*{library}: 3000"):
        auditing.check("/usr/bin/env", {"LD_PRELOAD": f"/nowhere.so:{library}"})
    auditing.check("/usr/bin/env", {})
    auditing.check(str(own), {TUNABLE: "glibc.malloc.check=1:glibc.rtld.optional_static_tls=0x800"})
