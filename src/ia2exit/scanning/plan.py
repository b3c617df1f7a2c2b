"""What to scan: the files, folders and programs that the user named, and the objects that they need."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ia2exit.elf import coverage
from ia2exit.elf.closure import Closure
from ia2exit.elf.file import NotLoadableError
from ia2exit.elf.image import ElfImage
from ia2exit.elf.search import Loaded, needed_objects
from ia2exit.errors import Ia2exitError
from ia2exit.model import Problem, ScannedObject
from ia2exit.scanning.one import bind_imports, problem

#: e_type of a relocatable object and of a core dump: no process loads them.
_NOT_LOADED = (1, 4)


class Task(NamedTuple):
    """One file to scan; ``bind``: look its imported destructors up in its own dependencies."""

    path: str
    bind: bool


class Plan:
    """The files to scan, each real file once, in the order of the result.

    Args:
        dependencies: as for :func:`ia2exit.scan`.
        given: all that the user named: a file among them may be what another needs.
    """

    def __init__(self, dependencies: bool | None, given: Sequence[str] = ()) -> None:
        self.tasks: list[Task] = []
        self.problems: list[Problem] = []
        #: Files whose failure is an error: named, or needed by a named one.
        self.required: set[str] = set()
        self._dependencies = dependencies
        self._given = given
        self._seen: set[str] = set()
        self._closures: dict[str, tuple[Closure, Loaded]] = {}

    def add(self, path: str) -> None:
        """Add what the user named. Raises Ia2exitError where it cannot be used."""
        try:
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116 (Path drops a trailing slash)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise Ia2exitError(f"{path or repr(path)}: {reason}; give a program, a shared object or a folder") from None
        if is_folder:
            self._add_folder(path)
        else:
            self._add_named(path)

    def _add_named(self, path: str) -> None:
        if self._dependencies is False:
            ElfImage(path)
            self.required.add(path)
            self._task(path, bind=False)
        else:
            self._add_closure(path, required=True)

    def _add_folder(self, folder: str) -> None:
        before = len(self.tasks)
        for path in self._files_below(folder):
            if not self._dependencies:
                self._task(path, bind=self._dependencies is None)
                continue
            try:
                self._add_closure(path, required=False)
            except NotLoadableError:
                continue
            except Ia2exitError as error:
                self.problems.append(problem(path, error))
        if len(self.tasks) == before and not self._seen and not self.problems:
            raise Ia2exitError(f"{folder}: no ELF program or shared object below it; name another folder")

    def _add_closure(self, path: str, *, required: bool) -> None:
        objects = closure_of(path, self._given)
        closure = Closure(objects)
        for loaded in objects:
            if required:
                self.required.add(loaded.path)
            if self._task(loaded.path, bind=False):
                self._closures[loaded.path] = closure, loaded

    def _task(self, path: str, *, bind: bool) -> bool:
        real = os.path.realpath(path)
        if real in self._seen:
            return False
        self._seen.add(real)
        self.tasks.append(Task(path, bind))
        return True

    def bound(self, task: Task, scanned: ScannedObject) -> ScannedObject:
        """The object with its imported destructors bound, where it was found as part of a closure."""
        if task.path not in self._closures:
            return scanned
        return bind_imports(scanned, *self._closures[task.path])

    def _files_below(self, folder: str) -> Iterable[str]:
        """ELF programs and shared objects below a folder, in sorted order, each real file once.

        Links to files are followed, links to folders are not. Files of other formats, relocatable objects and core
        dumps are left out; an ELF file that is damaged or for another machine is kept: scanning it says what is wrong.
        """
        found: dict[str, str] = {}
        for root, folders, names in os.walk(folder, onerror=self._unreadable):
            folders.sort()
            for name in sorted(names):
                path = f"{root.rstrip('/')}/{name}"
                if _may_be_loaded(path):
                    found.setdefault(os.path.realpath(path), path)
        return sorted(found)

    def _unreadable(self, error: OSError) -> None:
        """A folder below that may not be entered: a scan that leaves it out must not look complete."""
        path = str(error.filename)
        message = f"{path}: the folder cannot be read ({error.strerror}); scan as a user who may read it"
        self.problems.append(problem(path, Ia2exitError(message)))


def _may_be_loaded(path: str) -> bool:
    """Whether a regular file starts like an ELF file that a process could load, or cannot be read (let it be told)."""
    try:
        if not os.path.isfile(path):  # noqa: PTH113 (this runs on whole file systems)
            return False
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            head = file.read(18)
    except OSError:
        return True
    return head[:4] == b"\x7fELF" and int.from_bytes(head[16:18], "little") not in _NOT_LOADED


def closure_of(path: str, given: Sequence[str] = ()) -> list[Loaded]:
    """A file and, unless it is a program that no glibc ld.so loads, all objects it needs.

    Args:
        path: the file.
        given: files that stand in for dependencies that ld.so's search does not find.

    Raises:
        Ia2exitError: the file is bad, or a dependency is missing; the line names who needs it.
    """
    image = ElfImage(path)
    if not image.dynamic or coverage.not_glibc(image) is not None:
        return [Loaded(image, path, None)]
    return needed_objects(path, given=given)
