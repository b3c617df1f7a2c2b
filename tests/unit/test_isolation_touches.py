"""Touches of closed memory that are no violations, and those beside them that are; asked while everything is closed."""

from __future__ import annotations

from pathlib import Path

import pytest
from isolation_running import FIXTURES, answers, build_probe, compile_into

#: Name -> flags of the program and of the libraries.
LINKED: dict[str, list[str]] = {
    "lazy": ["-Wl,-z,relro,-z,lazy"],
    "now": ["-Wl,-z,relro,-z,now"],
    "norelro": ["-Wl,-z,norelro,-z,lazy"],
    "norelro-now": ["-Wl,-z,norelro,-z,now"],
    "lld": ["-fuse-ld=lld", "-Wl,-z,lazy"],
    "lld-norelro": ["-fuse-ld=lld", "-Wl,-z,norelro,-z,lazy"],
    "gold": ["-fuse-ld=gold", "-Wl,-z,relro,-z,lazy"],
    "gold-norelro": ["-fuse-ld=gold", "-Wl,-z,norelro,-z,lazy"],
}
KINDS = {"pie": ["-fPIE", "-pie"], "fixed": ["-fno-pie", "-no-pie"]}
LIBRARIES = ["OWNER", "USER", "ALIAS", "STRANGER"]


class Programs:
    """Builds each program once, with libraries linked alike."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.probe = build_probe(folder)
        self.built: dict[tuple[str, str], Path] = {}

    def get(self, linked: str, kind: str) -> Path:
        """touches.c, linked in a way, in a folder of its own."""
        if (linked, kind) not in self.built:
            folder = self.folder / f"{linked}-{kind}"
            folder.mkdir()
            libraries: list[Path] = []
            for name in LIBRARIES:
                flags = ["-shared", "-fPIC", "-fplt", f"-D{name}", *LINKED[linked]]
                library = folder / f"lib{name.lower()}.so"
                libraries.append(compile_into(library, FIXTURES / "owner.c", *flags, f"-Wl,-soname,{library.name}"))
            paths = [f"-Wl,-rpath,{folder}:{self.folder}"]
            sources = [FIXTURES / "touches.c", FIXTURES / "touched_tables.c"]
            flags = ["-Wl,--no-as-needed", *KINDS[kind], *LINKED[linked], *paths]
            compile_into(folder / "touches", *sources, *libraries, self.probe, *flags)
            self.built[linked, kind] = folder / "touches"
        return self.built[linked, kind]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(tmp_path_factory.mktemp("touches"))


COPIED = {
    "stdout by libc": "copied",
    "last byte of stdout by libc": "copied",
    "stdout by the program": "copied",
    "stdout by a stranger": "no",
    "stdout by no object": "no",
    "environ by libc": "copied",
    "lent by its owner": "copied",
    "end of lent by its owner": "copied",
    "behind lent by its owner": "no",
    "before lent by its owner": "no",
    "lent by a user": "copied",
    "lent by a user of its other name": "copied",
    "lent by libc": "no",
    "lent by a stranger": "no",
    "secret by libc": "no",
    "secret by the owner of lent": "no",
    "call on lent": "copied",
    "call on the end of lent": "copied",
    "call beyond lent": "no",
    "call beyond memory": "no",
    "call on nothing": "no",
    "call on the secret": "no",
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("linked", list(LINKED))
def test_a_copied_symbol_is_open_to_its_last_byte_for_those_who_use_it(
    programs: Programs, linked: str, kind: str
) -> None:
    assert answers(programs.get(linked, kind), "copied") == COPIED


#: Part of an object's tables -> touch -> answer where the part is closed.
LOADER = {
    "dynamic": {
        "dynamic section by ld.so": "loader",
        "its last byte by ld.so": "loader",
        "dynamic section by libc": "loader",
        "dynamic section, written by libc": "no",
        "dynamic section by a stranger": "no",
    },
    "plt": {
        "PLT slot by ld.so": "loader",
        "PLT slot by its object": "loader",
        "PLT slot, written by its object": "no",
        "PLT slot by libc": "no",
        "PLT slot by a stranger": "no",
    },
    "words": {"words of ld.so by ld.so": "loader", "words of ld.so by its object": "loader"},
    "got": {"GOT slot by ld.so": "loader", "GOT slot by its object": "loader", "GOT slot by a stranger": "no"},
    "thread": {
        "thread-local's initial value by ld.so": "loader",
        "thread-local's initial value, written by ld.so": "no",
        "thread-local's initial value by a stranger": "no",
    },
    "data": {"variable by ld.so": "no", "variable by its own code": "no"},
}
#: What RELRO covers, so that it is never closed.
ALWAYS_OPEN = {
    "lazy": {"dynamic", "words", "got", "thread"},
    "now": {"dynamic", "words", "got", "thread", "plt"},
    "norelro": set[str](),
    "norelro-now": set[str](),
    "lld": {"dynamic", "got", "thread"},
    "lld-norelro": set[str](),
    "gold": {"dynamic", "words", "got", "thread"},
    "gold-norelro": set[str](),
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("linked", list(LINKED))
def test_tables_of_ld_so_are_open_for_ld_so_and_read_by_their_object(
    programs: Programs, linked: str, kind: str
) -> None:
    expected = {"call on the dynamic section": "no"}
    for part, touches in LOADER.items():
        expected |= {touch: "open" if part in ALWAYS_OPEN[linked] else answer for touch, answer in touches.items()}
    assert answers(programs.get(linked, kind), "loader") == expected


def test_ld_so_is_known_where_it_was_asked_to_start_the_program(programs: Programs) -> None:
    loader = Path("/lib64/ld-linux-x86-64.so.2")
    got = answers(loader, programs.get("norelro", "pie"), "loader")
    assert got["PLT slot by ld.so"] == "loader"
    assert got["dynamic section by a stranger"] == "no"


ENVIRONMENT = {
    "setting before putenv": "no",
    "setting by libc": "environment",
    "end of setting by libc": "environment",
    "vector behind setting by libc": "environment",
    "far behind setting by libc": "no",
    "vector of setting by libc": "environment",
    "before that by libc": "no",
    "setting, written by libc": "no",
    "setting by the program": "no",
    "setting by a stranger": "no",
    "secret with an environment": "no",
    "call on setting": "environment",
    "call on a part of setting": "environment",
    "call beyond setting": "no",
    "call that writes setting": "no",
    "own array by libc": "environment",
    "its end by libc": "environment",
    "own array by a stranger": "no",
    "setting through it": "environment",
    "setting, environ bad": "no",
    "setting, environ NULL": "no",
    "setting behind a bad entry": "environment",
}
STREAMS = {
    "buffer before setvbuf": "no",
    "buffer by libc": "stdio",
    "its last byte by libc": "stdio",
    "behind it, written by libc": "no",
    "behind it by libc": "no",
    "buffer by the program": "no",
    "buffer by a stranger": "no",
    "call on the buffer": "stdio",
    "call that fills the buffer": "stdio",
    "call beyond the buffer": "no",
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("linked", ["lazy", "norelro", "lld", "gold"])
def test_memory_that_the_program_lent_to_libc_is_open_for_libc(programs: Programs, linked: str, kind: str) -> None:
    program = programs.get(linked, kind)
    assert answers(program, "environment", HOME="/", LANG="C") == ENVIRONMENT
    assert answers(program, "environment") == ENVIRONMENT  # an environment of one
    assert answers(program, "stdio") == STREAMS


def test_a_setting_is_found_among_very_many(programs: Programs) -> None:
    many = {f"VARIABLE_{i}": "x" * (i % 700) for i in range(2000)}
    assert answers(programs.get("lazy", "pie"), "environment", **many) == ENVIRONMENT
