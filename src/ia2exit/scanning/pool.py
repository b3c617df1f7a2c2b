"""Scanning many files on all cores."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial

from ia2exit.elf.file import NotLoadableError
from ia2exit.errors import Ia2exitError
from ia2exit.model import Problem, ScannedObject
from ia2exit.scanning.one import problem, scan_object
from ia2exit.scanning.plan import Task

#: What one file gives: an object, a problem, or None for a file that no process loads.
Outcome = ScannedObject | Problem | None
Progress = Callable[[int, int], None]
Worker = Callable[[list[Task]], list[Outcome]]

#: Work below this many bytes is done before a pool has started.
_SMALL = 32 << 20
#: What a file costs beside its size, in bytes of code that would take as long to disassemble.
_FILE_COST = 64 << 10
#: What a byte weighs without disassembly, relative to one with.
_LIGHT = 1 / 64


def scan_files(
    tasks: Sequence[Task],
    *,
    disassemble: bool,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> list[Outcome]:
    """The outcome of each file, in order.

    Args:
        tasks: the files.
        disassemble: also find registrations in code.
        jobs: processes; None means one for each CPU that we may use.
        progress: called in this thread with (files done, files in all).
    """
    report = progress or (lambda done, total: None)
    worker = partial(_scan_chunk, disassemble=disassemble)
    weights = [_weight(task.path, disassemble) for task in tasks]
    processes = min(jobs or len(os.sched_getaffinity(0)), len(tasks))
    # Forking a process that has threads may copy a lock that one of them holds.
    alone = threading.active_count() > 1 or (jobs is None and sum(weights) < _SMALL)
    if processes <= 1 or alone:
        return _serial(worker, tasks, report)
    return _parallel(worker, tasks, _chunks(weights, processes), processes, report)


def _weight(path: str, disassemble: bool) -> float:
    try:
        size = os.stat(path).st_size  # noqa: PTH116
    except OSError:
        size = 0
    return _FILE_COST + (size if disassemble else size * _LIGHT)


def _chunks(weights: Sequence[float], processes: int) -> list[list[int]]:
    """Indices of files in chunks of like weight, the heaviest files first and alone."""
    limit = sum(weights) / (processes * 8)
    chunks: list[list[int]] = []
    room = 0.0
    for index in sorted(range(len(weights)), key=lambda i: -weights[i]):
        if not chunks or room < weights[index]:
            chunks.append([])
            room = limit
        chunks[-1].append(index)
        room -= weights[index]
    return chunks


def _serial(worker: Worker, tasks: Sequence[Task], report: Progress) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for task in tasks:
        outcomes += worker([task])
        report(len(outcomes), len(tasks))
    return outcomes


def _parallel(
    worker: Worker,
    tasks: Sequence[Task],
    chunks: list[list[int]],
    processes: int,
    report: Progress,
) -> list[Outcome]:
    outcomes: list[Outcome] = [None] * len(tasks)
    unfinished: list[int] = []
    done = 0
    with _pool(processes) as pool:
        futures = {pool.submit(worker, [tasks[i] for i in chunk]): chunk for chunk in chunks}
        try:
            for future, chunk in _finished(futures):
                if future is None:
                    unfinished += chunk
                    continue
                for index, outcome in zip(chunk, future, strict=True):
                    outcomes[index] = outcome
                done += len(chunk)
                report(done, len(tasks))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for index in unfinished:  # a process died: find the file that killed it
        outcomes[index] = _isolated(worker, tasks[index])
        done += 1
        report(done, len(tasks))
    return outcomes


def _finished(futures: dict[Future[list[Outcome]], list[int]]) -> Iterator[tuple[list[Outcome] | None, list[int]]]:
    for future in as_completed(futures):
        try:
            yield future.result(), futures[future]
        except BrokenProcessPool:
            yield None, futures[future]


def _isolated(worker: Worker, task: Task) -> Outcome:
    with _pool(1) as pool:
        try:
            return pool.submit(worker, [task]).result()[0]
        except BrokenProcessPool:
            what = "the process that read it was killed; check memory, and scan it by itself"
            return problem(task.path, Ia2exitError(f"{task.path}: {what}"))


def _pool(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("fork"))


def _scan_chunk(tasks: Iterable[Task], *, disassemble: bool) -> list[Outcome]:
    return [_attempt(task, disassemble) for task in tasks]


def _attempt(task: Task, disassemble: bool) -> Outcome:
    try:
        return scan_object(task.path, disassemble=disassemble, bind=task.bind)
    except NotLoadableError:
        return None
    except Ia2exitError as error:
        return problem(task.path, error)
