"""``ia2exit vm``: run a command on an emulated CPU that has protection keys."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ia2exit.commands.covering import add_command, command_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``vm``."""
    parser.usage = "ia2exit vm [option …] -- CMD [argument …]\n       ia2exit vm --setup"
    add = parser.add_argument
    add("--setup", action="store_true", help="bring all that a guest needs into the cache, and name what is missing")
    add("--kernel", metavar="VMLINUZ", type=Path, help="boot this kernel instead of the cached one")
    add("--rw", metavar="FOLDER", type=Path, action="append", default=[], help="writes in this folder reach the host")
    add("--timeout", metavar="SECONDS", type=_seconds, help="end the guest after so long (exit status 124)")
    add(
        "--memory",
        metavar="MIB",
        type=_memory,
        default=0,
        help="memory of the guest (half of the host's, at most 4096)",
    )
    add("--cpus", metavar="N", type=_cpus, default=0, help="its CPUs (as many as the host's, at most 4)")
    add_command(parser)


#: What a kernel and its initramfs need, and what QEMU's machine takes.
_LEAST_MEMORY = 256
_MOST_CPUS = 255


def _cpus(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= _MOST_CPUS:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 to {_MOST_CPUS} CPUs")
    return int(text)


def _memory(text: str) -> int:
    from ia2exit.vm.boot import host_memory

    most = host_memory()
    if not text.isascii() or not text.isdecimal() or not _LEAST_MEMORY <= int(text) <= most:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected {_LEAST_MEMORY} to {most} MiB, which is what this host has"
        )
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds: expected 600 or 0.5")
    return seconds


def run(args: argparse.Namespace) -> int:
    """Run the verb. Returns the command's own exit status; a signal that ended the command ends us, too."""
    from ia2exit.running.environment import as_started
    from ia2exit.vm import Guest, run_in_guest

    if args.setup:
        return _setup(args)
    command = command_of(args)
    guest = Guest(args.kernel, args.memory, args.cpus, args.rw)
    ended = run_in_guest(command, guest, timeout=args.timeout, environment=as_started())
    if ended.signal is None:
        return ended.status or 0
    from ia2exit.running.launch import end_by

    end_by(ended.signal)
    return 128 + ended.signal


def _setup(args: argparse.Namespace) -> int:
    """Fetch the kernel and unpack it; each missing piece is a line of its own."""
    from ia2exit.vm import image, kernel, needs

    lacking = list(needs.missing())
    for need in lacking:
        print(f"ia2exit: vm: {need.name}: not found: {need.why}; {need.remedy}", file=sys.stderr)
    if lacking:
        return 2
    found = kernel.fetch(_say) if args.kernel is None else kernel.given(args.kernel)
    _say("unpacking the image")
    image.bootable(found)
    print(f"ia2exit: vm: ready: Linux {found.release} ({found.image})")
    return 0


def _say(text: str) -> None:
    """What is being done, a line each: it takes a minute, once."""
    if sys.stderr is not None:
        print(f"ia2exit: vm: {text}", file=sys.stderr, flush=True)
