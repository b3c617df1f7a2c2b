"""The patched glibc: ld.so calls a hook for each object, in place of its DT_FINI_ARRAY and DT_FINI.

    python -m tests.glibcs.patching FOLDER      FOLDER: glibc's sources

Each place where something is put in is found by its text, which must be there exactly once; so must the calls that make
it the one place through which all finalisation goes. Else nothing is changed, and one line says what is different.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from ia2exit.errors import Ia2exitError

#: What ld.so exports (runtime/libia2/patched.c). `run` is NULL until libia2.so sets it.
DECLARATION = """\
#if IS_IN (rtld)
/* Called for each object with its link_map, in place of its DT_FINI_ARRAY
   and DT_FINI; returns 0 where it has run none of them.  */
struct
{
  unsigned long int version;
  int (*run) (struct link_map *map);
} __ia2_dl_fini_hook = { 1, NULL };
#endif

"""
CALL = """\
#if IS_IN (rtld)
  if (__ia2_dl_fini_hook.run != NULL && __ia2_dl_fini_hook.run (map) != 0)
    return;
#endif

"""


@dataclass(frozen=True)
class Anchor:
    """A text that a source file must have once, and what comes before or after it."""

    file: str
    text: str
    before: str = ""
    after: str = ""


_FINI = "void\n_dl_call_fini (void *closure_map)\n{\n"
ANCHORS = (
    Anchor("elf/dl-call_fini.c", _FINI, before=DECLARATION),
    Anchor("elf/dl-call_fini.c", "  map->l_init_called = 0;\n\n", after=CALL),
    Anchor("elf/Versions", "    _rtld_global; _rtld_global_ro;\n", after="    __ia2_dl_fini_hook;\n"),
    # Nobody else reads these entries.
    Anchor("elf/dl-fini.c", "\t\t  _dl_call_fini (l);\n"),
    Anchor("elf/dl-close.c", "_dl_catch_exception (NULL, _dl_call_fini, imap);\n"),
)
#: What must not be in a file: a second way to the destructors, or this patch.
ABSENT = (
    ("elf/dl-fini.c", "DT_FINI", "expected _dl_call_fini alone to read it"),
    ("elf/dl-close.c", "DT_FINI", "expected _dl_call_fini alone to read it"),
    ("elf/dl-call_fini.c", "__ia2_dl_fini_hook", "expected sources without our patch"),
)


def patch(sources: Path) -> None:
    """Change the sources, all or nothing.

    Raises:
        Ia2exitError: they are not what they are expected to be.
    """
    texts = {anchor.file: _read(sources, anchor.file) for anchor in ANCHORS}
    for file, text, expected in ABSENT:
        if text in texts[file]:
            raise _other(sources / file, f"it has {text}", expected)
    for anchor in ANCHORS:
        count = texts[anchor.file].count(anchor.text)
        if count != 1:
            line = " ".join(anchor.text.split())
            raise _other(sources / anchor.file, f'"{line}" is there {count} times', "expected once")
        with_it = f"{anchor.before}{anchor.text}{anchor.after}"
        texts[anchor.file] = texts[anchor.file].replace(anchor.text, with_it)
    for file, text in texts.items():
        (sources / file).write_text(text)


def _read(sources: Path, file: str) -> str:
    path = sources / file
    try:
        return path.read_text()
    except OSError as error:
        raise _other(path, error.strerror or "unreadable", "expected the sources of Debian's glibc 2.36") from None


def _other(path: Path, found: str, expected: str) -> Ia2exitError:
    return Ia2exitError(f"{path}: {found}: {expected}; look what this glibc does and adapt tests/glibcs/patching.py")


def main() -> int:
    """Returns 0 where the sources have been changed."""
    if len(sys.argv) != 2:
        print("usage: python -m tests.glibcs.patching FOLDER", file=sys.stderr)
        return 2
    try:
        patch(Path(sys.argv[1]))
    except Ia2exitError as error:
        print(f"ia2exit: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
