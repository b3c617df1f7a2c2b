"""``python -m ia2exit``."""

import sys

from ia2exit.cli import entry

sys.exit(entry())
