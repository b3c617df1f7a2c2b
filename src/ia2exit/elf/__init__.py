"""Reading ELF files: what the kernel and ld.so would see in them, and what debuggers would name.

Nothing here runs or maps a program. :mod:`~ia2exit.elf.image` is one file, :mod:`~ia2exit.elf.search` finds the objects
that it needs, :mod:`~ia2exit.elf.closure` binds symbols across them, :mod:`~ia2exit.elf.naming` names addresses,
:mod:`~ia2exit.elf.notes` reads ``.note.ia2.exit``, :mod:`~ia2exit.elf.coverage` says whether the runtime can cover it.
"""
