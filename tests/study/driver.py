"""Train the cells that are missing, one after the other, each by ``train.py`` in a process of its own."""

import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lgcoamix.errors import FolderTakenError, RunError
from lgcoamix.runs import sweep
from lgcoamix.runs.lock import lock_folder
from preprocess.files import write_whole
from preprocess.machine import processor
from preprocess.store import Store
from tests.study.kept import METRICS, Cells, read_run, top1_of
from tests.study.plan import Cell, plan
from tests.study.stores import HOME, make_store, make_weights

RUNS = Path("runs/study")
_TRAIN = "train.py"
_PAUSE = 10  # seconds, before the cells of other drivers are looked at again
_CHEAP = ("--device", "cpu", "--workers", "0", "--no-tensorboard", "--no-pictures", "--keep", "1")

Say = Callable[[str], None]


def run_missing(cells: Cells, say: Say) -> list[str]:
    """Train every cell that does not stand, in the order of the list; several drivers share the work.

    Interrupt it and start it again as you like.

    Parameters
    ----------
    cells : the finished ones; each new one is added.
    say : shows a line of text.

    Returns
    -------
    What failed, a line each.
    """
    failed: dict[str, str] = {}
    taken: set[str] = set()
    waits_for: set[str] = set()
    while True:
        listed = plan(cells.top1)
        todo = [cell for cell in listed if not cells.stands(cell) and cell.name not in failed.keys() | taken]
        if not todo and taken:
            if taken != waits_for:
                waits_for = taken
                say(f"waiting for another driver, which trains {', '.join(sorted(taken))}")
            time.sleep(_PAUSE)
            taken = set()
            continue
        if not todo:
            return list(failed.values())
        cell = todo[0]
        say(f"{cell.name}: {sum(map(cells.stands, listed))} of {len(listed)} cells stand")
        if why := cells.stale(cell):
            say(f"{cell.name}: stale, trained anew: {why}")
        try:
            _finish(cell, cells, say)
        except FolderTakenError:
            taken.add(cell.name)
        except RunError as error:
            failed[cell.name] = f"{cell.name}: {error}"


def prepare(cell: Cell, cells: Cells, say: Say) -> None:
    """Make what a cell trains on.

    Raises
    ------
    RunError : that failed, or its images or maps are not those of the finished cells.
    """
    store = make_store(cell.store, say)
    make_weights()
    if differs := cells.other_data(cell, Store(store, cell.superpixels).content_keys):
        raise RunError(f"{store} differs from the data of finished cells: {differs}; install constraints.txt")


def train(cell: Cell, say: Say, home: Path) -> Path:
    """Train a cell, or go on with it, and return its run folder.

    Raises
    ------
    RunError : it failed.
    Interrupted : Ctrl-C or SIGTERM. The same command goes on.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # the number of threads decides the last digits
    folder = home / cell.name
    failures = sweep.run_cells([sweep.Cell(cell.name, folder, command(cell, folder))], 1, say)
    if failures:
        raise RunError(str(failures[0].reason))
    return folder


def command(cell: Cell, folder: Path) -> tuple[str, ...]:
    """The command that trains a cell, or goes on with it."""
    places = ("--shards", f"{HOME / cell.store}.h5", "--out", str(folder), "--resume", "auto")
    return (sys.executable, _TRAIN, *places, *cell.options, *_CHEAP)


def run_anew(name: str, cells: Cells, say: Say) -> str:
    """Train a finished cell once more, beside it, and say how it compares.

    Raises
    ------
    RunError : there is no such finished cell, or the training failed.
    """
    listed = plan(cells.top1)
    cell = next((cell for cell in listed if cell.name == name), None)
    if cell is None or not cells.stands(cell):
        known = ", ".join(cells.standing(listed)) or "none"
        raise RunError(f"expected the name of a finished cell, got {name!r}; there are: {known}")
    prepare(cell, cells, say)
    folder = train(cell, say, RUNS / "anew")
    again, before = (top1_of(read_run(path)) for path in (folder, cells.home / name))
    same = (folder / METRICS).read_bytes() == (cells.home / name / METRICS).read_bytes()
    shutil.rmtree(folder)
    if same:
        return f"{name}: bit for bit as before, {before:.2f} %"
    found = cells.standing(listed)
    seeds = [kept.top1 for kept in found.values() if kept.cell.group == cell.group]
    return (
        f"{name}: {again:.2f} % now, on {processor()}, {before:.2f} % before, on {found[name].processor}; "
        f"its seeds lie from {min(seeds):.2f} to {max(seeds):.2f} %"
    )


def _finish(cell: Cell, cells: Cells, say: Say) -> None:
    """Train one cell and keep it, unless another driver does or has done so."""
    aside = RUNS / "drivers" / cell.name
    aside.mkdir(parents=True, exist_ok=True)
    with lock_folder(aside):
        if cells.stands(cell):
            return
        prepare(cell, cells, say)
        with _counted(aside / "seconds"):
            folder = train(cell, say, RUNS)
        seconds = float((aside / "seconds").read_text())
        cells.take(cell, folder, command(cell, folder)[1:], processor(), seconds)
        (aside / "seconds").unlink()
        shutil.rmtree(folder)


@contextmanager
def _counted(total: Path) -> Iterator[None]:
    """Add to a file what the processes that end meanwhile have used of a core, in seconds."""
    before = _used()
    try:
        yield
    finally:
        earlier = float(total.read_text()) if total.exists() else 0.0
        write_whole(total, f"{earlier + _used() - before:.3f}".encode())


def _used() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
