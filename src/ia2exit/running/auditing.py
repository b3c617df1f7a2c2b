"""Whether ld.so can be audited while it starts a program.

With LD_AUDIT set, ld.so lays out thread-local storage before it loads the program (elf/rtld.c), and what the objects
of the start need of *static* TLS comes out of a surplus that is meant for ``dlopen``: a program with jemalloc, which
starts without us, ends with "cannot allocate memory in static TLS block". The tunable
``glibc.rtld.optional_static_tls`` makes the surplus larger (glibc manual, "Dynamic Linking Tunables").
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ia2exit.elf.constants import DF_STATIC_TLS, PT_TLS
from ia2exit.elf.image import ElfImage
from ia2exit.elf.search import needed_objects
from ia2exit.errors import Ia2exitError

_TUNABLE = "glibc.rtld.optional_static_tls"
#: Bytes: what the tunable is where nobody sets it, and what there certainly is besides. Measured with glibc 2.36: libc
#: and the runtime leave a little more.
_DEFAULT = 512
_BESIDES = 512
#: glibc counts its own.
_GLIBC = re.compile(r"(ld-linux|lib(c|m|dl|rt|pthread|resolv)\.so)")


def check(program: str, environment: Mapping[str, str]) -> None:
    """Refuse a program that would not start, before anything is started.

    Raises:
        Ia2exitError: its objects, or those in LD_PRELOAD, need more static TLS than ld.so has when it is audited.
    """
    paths = [found.path for found in needed_objects(program, environment=environment)]
    preloaded = re.split("[: ]", environment.get("LD_PRELOAD", ""))
    sizes = {path: _static_tls(path) for path in dict.fromkeys([*paths, *filter(os.path.isfile, preloaded)])}
    needed, spare = sum(sizes.values()), _spare(environment)
    if needed <= spare:
        return
    largest = max(sizes, key=lambda path: sizes[path])
    raise Ia2exitError(
        f"{program}: its objects need {needed} bytes of static thread-local storage ({largest}: {sizes[largest]}), and "
        f"ld.so has {spare} to spare when it is audited: leave out --audit, or set "
        f"GLIBC_TUNABLES={_TUNABLE}={needed}"
    )


def _static_tls(path: str) -> int:
    if _GLIBC.match(os.path.basename(path)):
        return 0
    image = ElfImage(path)
    segment = image.segment(PT_TLS)
    static = image.is_program or image.flags & DF_STATIC_TLS
    return segment.memsz if segment is not None and static else 0


def _spare(environment: Mapping[str, str]) -> int:
    found = re.search(rf"(?:^|:){re.escape(_TUNABLE)}=(0x[0-9a-f]+|\d+)", environment.get("GLIBC_TUNABLES", ""))
    return _BESIDES + (int(found[1], 0) if found else _DEFAULT)
