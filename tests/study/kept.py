"""The finished cells, which are committed: the documents of each run, and where it ran. All tables come from them."""

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lgcoamix.runs.documents import CONFIG, RESULTS, read_config, read_document
from lgcoamix.runs.finished import Run, read_runs
from lgcoamix.runs.identity import compare_runs
from preprocess.files import write_whole
from tests.study.plan import Cell

CELLS = Path("tests/study/cells")
METRICS, ORIGIN = "metrics.csv", "origin.json"


@dataclass(frozen=True)
class Kept:
    """A finished cell.

    Parameters
    ----------
    cell : as the list has it.
    run : its settings and results.
    command : that trained it.
    processor : name.
    seconds : of a core, used by the training. Waiting does not count, nor a part whose driver was killed at once (-9).
    """

    cell: Cell
    run: Run
    command: str
    processor: str
    seconds: float

    @property
    def top1(self) -> float:
        """Accuracy, as :func:`top1_of`."""
        return top1_of(self.run)


def read_run(folder: Path) -> Run:
    """Read one finished run."""
    (run,), _ = read_runs([folder])
    return run


def top1_of(run: Run) -> float:
    """Accuracy after the last epoch, in percent: of the validation share if there is one, else of the test split."""
    return run.figure(run.results["best_chosen_on"], "last")


class Cells:
    """All finished cells in a folder.

    Parameters
    ----------
    home : folder of STUDY/VARIANT-sSEED.
    """

    def __init__(self, home: Path = CELLS) -> None:
        self.home = home

    def stands(self, cell: Cell) -> bool:
        """Whether a cell is finished, with the settings of the list."""
        return self._is_there(cell) and not self.stale(cell)

    def stale(self, cell: Cell) -> str:
        """How the settings of a finished cell differ from those of the list; empty if they do not."""
        return compare_runs(cell.identity, read_config(self.home / cell.name)) if self._is_there(cell) else ""

    def top1(self, cell: Cell) -> float | None:
        """Accuracy of a cell, as :func:`top1_of`; None if it does not stand."""
        return self.read(cell).top1 if self.stands(cell) else None

    def read(self, cell: Cell) -> Kept:
        """Read a cell that stands."""
        folder = self.home / cell.name
        return Kept(cell, read_run(folder), **read_document(folder / ORIGIN))

    def standing(self, cells: Iterable[Cell]) -> dict[str, Kept]:
        """Read all cells that stand, by name."""
        return {cell.name: self.read(cell) for cell in cells if self.stands(cell)}

    def unlisted(self, cells: Iterable[Cell]) -> list[str]:
        """Names of finished cells that the list does not have."""
        known = {cell.name for cell in cells}
        found = (path.parent.relative_to(self.home).as_posix() for path in self.home.glob(f"*/*/{ORIGIN}"))
        return sorted(name for name in found if name not in known)

    def other_data(self, cell: Cell, keys: Mapping[str, str]) -> str:
        """How the images and maps in a store differ from those of finished cells; empty if they do not.

        Parameters
        ----------
        keys : content keys of the store, by split and column.
        """
        for path in sorted(self.home.glob(f"*/*/{ORIGIN}")):
            config = read_config(path.parent)
            if config["store"]["name"] == cell.store:
                theirs = config["store"]["keys"]
                names = [name for name in keys if theirs.get(name, keys[name]) != keys[name]]
                if names:
                    return f"{', '.join(names)} of {path.parent}"
        return ""

    def take(self, cell: Cell, run: Path, command: Iterable[str], processor: str, seconds: float) -> None:
        """Copy the documents of a run that has finished; the last file makes the cell stand."""
        config = read_document(run / CONFIG)
        del config["folder"]  # a path of this machine
        origin = {"command": shlex.join(command), "processor": processor, "seconds": round(seconds, 1)}
        folder = self.home / cell.name
        (folder / ORIGIN).unlink(missing_ok=True)
        for name in (RESULTS, METRICS):
            write_whole(folder / name, (run / name).read_bytes())
        for name, document in ((CONFIG, config), (ORIGIN, origin)):
            write_whole(folder / name, _json(document))

    def _is_there(self, cell: Cell) -> bool:
        return (self.home / cell.name / ORIGIN).is_file()


def _json(document: Mapping[str, object]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
