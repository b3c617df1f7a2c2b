"""``python -m ia2exit``."""

import sys

from ia2exit.cli import main

sys.exit(main())
