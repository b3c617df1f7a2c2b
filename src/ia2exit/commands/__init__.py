"""The verbs of the command line: one module each, imported only when its verb is used.

A verb module has two functions: ``add_arguments(parser)`` and ``run(args) -> int`` (the exit status).
Adding a verb is adding one file here and one line in :data:`VERBS`.
"""

from __future__ import annotations

#: verb -> (module, one line of help), in the order of ``ia2exit --help``.
VERBS: dict[str, tuple[str, str]] = {
    "scan": ("ia2exit.commands.scan", "list objects and their destructors"),
    "map": ("ia2exit.commands.map", "write the exit map: which destructor belongs to which compartment"),
    "run": ("ia2exit.commands.run", "run an unmodified program, then show what ran at exit"),
    "check": ("ia2exit.commands.check", "compare a program, and what ran, with its exit map"),
    "gdb": ("ia2exit.commands.gdb", "debug a program with gdb commands that know compartments and destructors"),
    "vm": ("ia2exit.commands.vm", "run a command on an emulated CPU that has protection keys"),
    "doctor": ("ia2exit.commands.doctor", "say what this machine can do and what is missing, each with its remedy"),
}
