"""Commands for gdb: they run in gdb's own Python, with nothing but its standard library and :mod:`ia2exit.pkru`.

``script.py`` is what gdb is told to ``source``; ``ia2exit gdb`` does that.
"""
