"""Cells of ``make cifar10`` on the carried store, as many as fit."""

import csv
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lgcoamix.runs import children
from preprocess.machine import cores
from tests.gpu.day import LeftOut, Row
from tests.gpu.setup import Setup, store_of

FIRST = ("none", "lgcoamix", "cutmix", "superpixel_grid", "snapmix", "mixup", "occamix", "cutout", "attentive_cutmix")
_AT_ONCE = 3  # a step of this network leaves room on a large GPU
_MARGIN = 20  # seconds in which cells save and end
_LEAST = 5  # seconds worth starting for
_SAID = 3000  # last characters of a log
_TIMES = ("train_seconds", "test_seconds", "images_per_second", "waiting")


def cells(setup: Setup, left: Callable[[], float]) -> Iterator[Row]:
    """Train until the time is over, several cells at once; give a row for every cell.

    Parameters
    ----------
    left : the seconds that are left.

    Raises
    ------
    ValueError : the sweep failed.
    """
    store = store_of(setup)
    if left() < _MARGIN + _LEAST:
        raise LeftOut(f"{left():.0f} s were left")
    runs = setup.work / "cells"
    log = setup.work / "cells.log"
    begin, stopped = time.monotonic(), ""
    with log.open("wb") as output:
        make = children.start(command(setup, store, runs), output.fileno())  # ends with this process
        try:
            make.wait(left() - _MARGIN)
        except subprocess.TimeoutExpired:
            stopped = f"cut off after {time.monotonic() - begin:.0f} s"
            _stop(make)
    code = children.exit_code(make)
    said = log.read_text(errors="replace")
    failed = re.findall(r"^(\S+)-s0: failed", said, re.MULTILINE)  # others go on
    for name in methods(setup):
        yield read_cell(name, runs / f"{name}-s0", "failed" if name in failed else stopped or "failed")
    if failed or (code and not stopped):
        own = runs / f"{failed[0]}-s0.log" if failed else log  # of a sweep that runs several at once
        text = own.read_text(errors="replace") if own.exists() else said
        raise ValueError(why(f"{failed[0]}: " if failed else "", text))


def command(setup: Setup, store: Path, runs: Path) -> tuple[str, ...]:
    """``make cifar10`` with this Python, on this store."""
    more = ["--no-pictures", "--keep", "1", "--loader", "resident", "--device", setup.device]
    size = [f"METHODS={' '.join(methods(setup))}", f"JOBS={max(1, min(_AT_ONCE, cores() // 2))}"]
    if setup.quick:
        more += ["--backbone", "test_resnet"]
        size += ["EPOCHS=1", "BATCH=4"]
    python = ["READY=", f"PY={sys.executable}"]  # not that of .venv, nor what it depends on
    places = [f"STORE={store}", f"CIFAR10_RUNS={runs}"]
    return ("make", "--no-print-directory", "cifar10", *python, *places, "SEEDS=0", *size, f"ARGS={shlex.join(more)}")


def methods(setup: Setup) -> tuple[str, ...]:
    """The methods, those first of which a figure is wanted most."""
    return FIRST[:2] if setup.quick else FIRST


def why(where: str, text: str) -> str:
    """What a log says of a failure: its last line of its own first, then its end."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("make")]
    return f"{where}{lines[-1].strip() if lines else 'nothing was said'}\n{text[-_SAID:]}"


def read_cell(name: str, folder: Path, unfinished: str) -> Row:
    """What a cell has written, with ``unfinished`` as its state if it has no results."""
    if not (folder / "config.json").exists():
        return {"method": name, "state": "failed" if unfinished == "failed" else "not started"}
    tops = [float(row["test_top1"]) for row in _table(folder / "metrics.csv")]
    row: Row = {"method": name, "epochs": len(tops), "top1_by_epoch": tops}
    row["state"] = "finished" if (folder / "results.json").exists() else unfinished
    timing = _table(folder / "timing.csv")
    if not timing:
        return row
    trained, tested, rates, waits = ([float(each[key]) for each in timing] for key in _TIMES)
    images = sum(rate * took for rate, took in zip(rates, trained, strict=True))
    waited = sum(share * took for share, took in zip(waits, trained, strict=True))
    row |= {"top1": tops[-1], "seconds": sum(trained) + sum(tested)}
    return row | {"images": images / sum(trained), "waiting": 100 * waited / sum(trained)}


def _table(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _stop(make: subprocess.Popen) -> None:
    """End the sweep and its cells, which save."""
    os.killpg(make.pid, signal.SIGTERM)
    try:
        make.wait(_MARGIN / 2)
    except subprocess.TimeoutExpired:
        children.kill(make)
        make.wait()
