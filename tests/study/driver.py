"""Train the cells that are missing, one after the other, each by ``train.py`` in a process of its own."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

from lgcoamix.errors import FolderTakenError, RunError
from lgcoamix.runs import sweep
from lgcoamix.runs.lock import lock_folder
from preprocess.store import Store
from tests.study.kept import METRICS, Cells, read_run, top1_of
from tests.study.plan import Cell, plan
from tests.study.stores import HOME, make_store, make_weights

RUNS = Path("runs/study")
_CHEAP = ("--device", "cpu", "--workers", "0", "--no-tensorboard", "--no-pictures", "--keep", "1")

Say = Callable[[str], None]
Train = Callable[[Cell, Cells, Say, Path], Path]


def run_missing(cells: Cells, say: Say, train: Train | None = None) -> list[str]:
    """Train every cell that does not stand, in the order of the list; several drivers share the work.

    Parameters
    ----------
    cells : the finished ones; each new one is added.
    say : shows a line of text.
    train : stand-in for :func:`trained`.

    Returns
    -------
    What failed, a line each.
    """
    failed: dict[str, str] = {}
    taken: set[str] = set()
    while True:
        listed = plan(cells.top1)
        todo = [cell for cell in listed if not cells.stands(cell) and cell.name not in failed.keys() | taken]
        if not todo:
            return list(failed.values())
        cell = todo[0]
        say(f"{cell.name}: {len(listed) - len(todo)} of {len(listed)} cells stand")
        if why := cells.stale(cell):
            say(f"{cell.name}: stale, trained anew: {why}")
        try:
            with _lock(cell):
                if not cells.stands(cell):
                    folder = (train or trained)(cell, cells, say, RUNS)
                    cells.take(cell, folder, command(cell, folder)[1:], _processor())
                    shutil.rmtree(folder)
        except FolderTakenError:
            taken.add(cell.name)
        except RunError as error:
            failed[cell.name] = f"{cell.name}: {error}"


def trained(cell: Cell, cells: Cells, say: Say, home: Path = RUNS) -> Path:
    """Train a cell, or go on with it, and return its run folder.

    Raises
    ------
    RunError : it failed, or its images or maps are not those of the finished cells.
    Interrupted : Ctrl-C or SIGTERM. The same command goes on.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # the number of threads decides the last digits
    store = make_store(cell.store, say)
    make_weights()
    if differs := cells.other_data(cell, Store(store, cell.superpixels).content_keys):
        raise RunError(
            f"{store} holds other data than finished cells were trained with: {differs}; use constraints.txt"
        )
    folder = home / cell.name
    failures = sweep.run_cells([sweep.Cell(cell.name, folder, command(cell, folder))], 1, say)
    if failures:
        raise RunError(str(failures[0].reason))
    return folder


def command(cell: Cell, folder: Path) -> tuple[str, ...]:
    """The command that trains a cell, or goes on with it."""
    places = ("--shards", f"{HOME / cell.store}.h5", "--out", str(folder), "--resume", "auto")
    return (sys.executable, "train.py", *places, *cell.options, *_CHEAP)


def run_anew(name: str, cells: Cells, say: Say, train: Train | None = None) -> str:
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
    folder = (train or trained)(cell, cells, say, RUNS / "anew")
    again, before = (top1_of(read_run(path)) for path in (folder, cells.home / name))
    same = (folder / METRICS).read_bytes() == (cells.home / name / METRICS).read_bytes()
    shutil.rmtree(folder)
    if same:
        return f"{name}: bit for bit as before, {before:.2f} %"
    seeds = [kept.top1 for kept in cells.standing(listed).values() if kept.cell.group == cell.group]
    return (
        f"{name}: {again:.2f} % now, {before:.2f} % before; its seeds lie from {min(seeds):.2f} to {max(seeds):.2f} %"
    )


def _lock(cell: Cell) -> IO[bytes]:
    folder = RUNS / "locks" / cell.name
    folder.mkdir(parents=True, exist_ok=True)
    return lock_folder(folder)


def _processor() -> str:
    from tests.benchmarks.common import processor  # torch

    return processor()
