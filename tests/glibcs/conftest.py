"""``IA2EXIT_GLIBC``: folder of the glibc to compare with the host's; without it those tests are not collected."""

from __future__ import annotations

import os

collect_ignore = [] if os.environ.get("IA2EXIT_GLIBC") else ["test_loader.py"]
