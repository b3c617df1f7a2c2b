"""For gdb: ``source`` this file. It needs nothing installed, and works from wherever the package lies."""

import sys
from pathlib import Path

_root = str(Path(__file__).resolve().parents[3])
if _root not in sys.path:
    sys.path.append(_root)  # last: what lies beside the package is for another Python

from ia2exit.debugger.gdb_commands.load import load  # noqa: E402

load()
