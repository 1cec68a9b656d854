"""The files of a run: configuration, tables, checkpoints, results. Only rank 0 writes them."""

import json
import math
import os
import statistics
from itertools import takewhile
from pathlib import Path
from typing import Any, Self

from lgcoamix.errors import RunError
from lgcoamix.runs.checkpoint import checkpoints_in, load_checkpoint, save_checkpoint
from lgcoamix.runs.finished import LAST, MEDIAN
from lgcoamix.runs.lock import lock_folder
from preprocess.files import is_leftover, named, sweep, write_whole
from preprocess.text import to_csv


class RunFolder:
    """The folder of a run, locked by one process at a time.

    Parameters
    ----------
    path : folder to create.
    chosen_on : split that selects the best epoch.
    keep : number of checkpoints to keep.

    Raises
    ------
    FolderTakenError : another process is training in the folder.
    """

    def __init__(self, path: Path, chosen_on: str, keep: int = 2) -> None:
        self.path, self.chosen_on, self.keep = path, chosen_on, keep
        self.rows: list[dict[str, float]] = []
        self.timings: list[dict[str, float]] = []
        self.lambda_bytes = 0
        path.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(path)
        self._lock = lock_folder(path)
        sweep(filter(is_leftover, path.iterdir()))  # also folders of evaluate and replay

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()  # keep the file: removing it could let two other processes in at once

    def newest(self) -> Path | None:
        """Return the newest checkpoint, if any."""
        return next(iter(checkpoints_in(self.path)), None)

    def set_aside_newer_than(self, checkpoint: Path, epochs: int) -> None:
        """Rename checkpoints that are newer than the one to resume.

        Parameters
        ----------
        checkpoint : checkpoint to resume.
        epochs : epochs finished at that checkpoint. A ``best.pt`` that is later, or damaged, is renamed too.
        """
        newer = list(takewhile(lambda path: not path.samefile(checkpoint), checkpoints_in(self.path)))
        best = self.path / "best.pt"
        if newer and best.exists() and _epoch_of(best) >= epochs:
            newer.append(best)
        for path in newer:
            path.replace(path.with_suffix(".pt.set-aside"))

    def write_json(self, name: str, document: dict[str, Any]) -> None:
        """Write a JSON file."""
        write_whole(self.path / name, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())

    def begin(self, config: dict[str, Any]) -> None:
        """Start a new run, and remove what an earlier start left behind."""
        self.restore({"rows": [], "timings": [], "lambda_bytes": 0})
        self.write_json("config.json", config)

    def state(self) -> dict[str, Any]:
        """Return the state of the tables for a checkpoint."""
        return {"rows": self.rows, "timings": self.timings, "lambda_bytes": self.lambda_bytes}

    def restore(self, state: dict[str, Any]) -> None:
        """Roll the tables back to a checkpoint.

        Raises
        ------
        RunError : ``lambdas.csv`` is shorter than at the checkpoint, or a row lacks what chooses the best epoch.
        """
        if not all(math.isfinite(row.get(f"{self.chosen_on}_top1", math.nan)) for row in state["rows"]):
            raise RunError(
                f"the checkpoint in {self.path} lacks {self.chosen_on}_top1 of an epoch; choose another --out"
            )
        self.rows, self.timings = list(state["rows"]), list(state["timings"])
        self.lambda_bytes = state["lambda_bytes"]
        lambdas = self.path / "lambdas.csv"
        found = lambdas.stat().st_size if lambdas.exists() else 0
        if found < self.lambda_bytes:
            raise RunError(f"{lambdas} has {found} bytes, expected at least {self.lambda_bytes}; restore the file")
        if self.lambda_bytes:
            os.truncate(lambdas, self.lambda_bytes)
        else:
            lambdas.unlink(missing_ok=True)
        self.write_tables()

    def save(self, state: dict[str, Any]) -> None:
        """Write ``last.pt``."""
        save_checkpoint(self.path / "last.pt", {**state, **self.state(), "chosen_on": self.chosen_on}, self.keep)

    def save_best(self, state: dict[str, Any]) -> None:
        """Write ``best.pt`` if the last row is the best so far; ties keep the earlier epoch."""
        tops = [row[f"{self.chosen_on}_top1"] for row in self.rows]
        if tops[-1] > max(tops[:-1], default=-1.0):
            save_checkpoint(self.path / "best.pt", {**state, "chosen_on": self.chosen_on})

    def append_lambdas(self, rows: list[dict[str, float]]) -> None:
        """Append rows to ``lambdas.csv``; the next checkpoint includes them."""
        if not rows:
            return
        path = self.path / "lambdas.csv"
        with named(path), path.open("ab") as file:
            file.write(to_csv(rows, header=not self.lambda_bytes).encode())
            file.flush()
            os.fsync(file.fileno())
            self.lambda_bytes = file.tell()

    def write_tables(self) -> None:
        """Write ``metrics.csv`` and ``timing.csv``."""
        for name, rows in (("metrics.csv", self.rows), ("timing.csv", self.timings)):
            if not rows:
                (self.path / name).unlink(missing_ok=True)
            else:
                write_whole(self.path / name, to_csv(rows, end="\r\n").encode())

    def results(self) -> dict[str, Any]:
        """Summarise every evaluated split: last, best, and median of the last epochs."""
        best = max(self.rows, key=lambda row: row[f"{self.chosen_on}_top1"])  # ties keep the earlier epoch
        names = [key for key in best if key.endswith("_top1")]
        return {
            name: {
                "last": self.rows[-1][name],
                "best": best[name],
                MEDIAN: statistics.median(row[name] for row in self.rows[-LAST:]),
            }
            for name in names
        } | {
            "best_epoch": best["epoch"],
            "best_chosen_on": self.chosen_on,
            "epochs": len(self.rows),
            "images_per_second": statistics.median(row["images_per_second"] for row in self.timings),
            "waiting": statistics.median(row["waiting"] for row in self.timings),
            "lam_difference": self.rows[-1].get("lam_difference"),
        }


def _epoch_of(best: Path) -> float:
    """The epoch of a ``best.pt``, from 0; infinite if it is damaged."""
    try:
        return load_checkpoint(best).get("epoch", -1)
    except RunError:
        return math.inf


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder from which writing would go elsewhere: into a FIFO, or through a link that leaves."""
    home = folder.resolve()
    for path in folder.iterdir():
        leaves = path.is_symlink() and not path.resolve().is_relative_to(home)
        if leaves or (path.exists() and not path.is_file() and not path.is_dir()):
            what = "a link that leaves the folder" if leaves else "no regular file"
            raise RunError(f"{path} is {what}; remove it, or choose another --out")
