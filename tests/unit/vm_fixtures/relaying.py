"""Runs a command through the relay and the guest's agent, joined by a socket pair: no guest between them.

python relaying.py SECONDS COMMAND…      SECONDS is --timeout; 0: none
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ia2exit.errors import Ia2exitError
from ia2exit.running.launch import end_by
from ia2exit.vm import guest
from ia2exit.vm.boot import Running
from ia2exit.vm.relay import held_streams, relay
from ia2exit.vm.request import Request

AGENT = """
import os, sys
sys.path.insert(0, sys.argv[1])
import agent
agent._port = lambda: int(sys.argv[2])
agent._about = lambda: b"kernel=6.1\\ncpu=made up\\nkeys=1\\nseconds=1.5"
if os.getuid() != 0:
    os.setgroups = lambda groups: None
agent._Agent().run()
"""


def run(seconds: float, command: list[str]) -> int:
    """Returns the command's exit status, or ends by its signal."""
    with held_streams() as closed, tempfile.TemporaryDirectory() as scratch:
        console = Path(scratch) / "console"
        console.write_text("ia2exit: made-up console\n")
        request = Request.of(command, None, closed)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            folder = str(Path(str(guest.__file__)).parent)
            agent = [sys.executable, "-I", "-S", "-c", AGENT, folder, str(theirs.fileno())]
            process = subprocess.Popen(
                agent, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
            )
            theirs.close()
            now = time.monotonic()
            try:
                ended = relay(
                    Running(process, ours, console, now, now + seconds if seconds else None, now + 60), request
                )
            finally:
                process.kill()
                process.wait(timeout=60)
    if ended.signal is not None:
        end_by(ended.signal)
    return ended.status or 0


if __name__ == "__main__":
    if os.environ.get("IGNORE_SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        sys.exit(run(float(sys.argv[1]), sys.argv[2:]))
    except Ia2exitError as error:
        print(f"ia2exit: {error}", file=sys.stderr)
        sys.exit(error.status)
