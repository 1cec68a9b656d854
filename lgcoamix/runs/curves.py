"""Learning curves of several runs, from their ``metrics.csv``. Does not import torch."""

import csv
import io
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lgcoamix.errors import RunError
from lgcoamix.runs.compare import Comparison, Group
from lgcoamix.runs.finished import Run
from preprocess.inputs import read_regular

_LARGEST = 32 * 2**20  # bytes; a row has about 200
PANELS = {"top1": "top-1 (%)", "loss": "cross-entropy"}


@dataclass(frozen=True)
class Curve:
    """Figures of a run by the number of finished epochs.

    Parameters
    ----------
    values : name in ``PANELS`` -> finished epochs -> figure on the split.
    """

    group: Group
    run: Run
    values: dict[str, dict[int, float]]


def read_curves(comparison: Comparison, split: str) -> tuple[list[Curve], list[str]]:
    """Read the curves of all runs that were evaluated on a split.

    Returns
    -------
    The curves, best group first, and a line for each run that has none.
    """
    curves, missing = [], []
    for group in comparison.ranked(split):
        for run in group.runs:
            try:
                curves.append(Curve(group, run, _read(run.folder / "metrics.csv", split)))
            except FileNotFoundError:
                missing.append(f"no curve of {run.folder}: it has no metrics.csv")
            except (RunError, OSError) as error:
                missing.append(f"no curve of {run.folder}: {error}")
    return curves, missing


def mean_curve(curves: list[Curve], name: str) -> list[tuple[int, float, float, float]]:
    """Mean, lowest and highest figure of several runs, at the epochs that all of them have."""
    parts = [curve.values[name] for curve in curves]
    epochs = sorted(set.intersection(*(set(part) for part in parts)))
    values = {epoch: [part[epoch] for part in parts] for epoch in epochs}
    return [(epoch, statistics.mean(found), min(found), max(found)) for epoch, found in values.items()]


def records(curves: list[Curve], split: str) -> list[dict[str, Any]]:
    """The figures of the curves, unrounded: one row per run and epoch."""
    return [
        {
            "run": str(curve.run.folder),
            "group": curve.group.label,
            "protocol": curve.group.protocol,
            "seed": curve.run.seed,
            "epochs": epoch,
            **{f"{split}_{name}": found.get(epoch, "") for name, found in curve.values.items()},
        }
        for curve in curves
        for epoch in sorted({epoch for found in curve.values.values() for epoch in found})
    ]


def _read(path: Path, split: str) -> dict[str, dict[int, float]]:
    try:
        rows = list(csv.DictReader(io.StringIO(read_regular(path, _LARGEST).decode("utf-8"), newline="")))
        return {
            name: {_count(row["epoch"]) + 1: _finite(row[column]) for row in rows if row.get(column)}
            for name, column in ((name, f"{split}_{name}") for name in PANELS)
        }
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise RunError(f"{path} is damaged ({error})") from None


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise ValueError(f"expected the number of an epoch, got {text[:20]!r}")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"expected finite numbers, got {text[:20]!r}")
    return value
