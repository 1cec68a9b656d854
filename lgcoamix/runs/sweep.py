"""Run the train command for every method and seed, each in a separate process and run folder."""

import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from types import FrameType

from lgcoamix.errors import FolderTakenError, Interrupted, SettingsError
from lgcoamix.runs import children
from lgcoamix.runs.lock import is_taken
from lgcoamix.settings.mixers import METHOD_OPTIONS
from lgcoamix.settings.options import LARGEST_SEED
from lgcoamix.settings.text import suggest
from preprocess import interrupt
from preprocess.inputs import confined, require_regular
from preprocess.machine import cores
from preprocess.terminal import Log
from preprocess.text import listed, shown_name

TRAIN = (sys.executable, "-m", "lgcoamix", "train")
_OWN = ("--shards", "--seed", "--out", "--resume")  # train options that the sweep sets for every cell
_STOPS = (signal.SIGINT, signal.SIGTERM)
_HANG_UP = getattr(signal, "SIGHUP", None)  # terminal closed; Windows has none
_PAUSE = 0.05  # seconds between two looks at the cells
_PATIENCE = 1.25  # seconds that a cell has for its step and checkpoint after Ctrl-C
_MOST = 10_000  # cells
_SHOWN = 60  # characters of a wrong value


@dataclass(frozen=True)
class Variant:
    """A configuration to train with every seed.

    Parameters
    ----------
    name : prefix of its run folders.
    options : train options, including the mixer.
    """

    name: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Parameters
    ----------
    name : VARIANT-sSEED.
    folder : run folder.
    command : complete command line.
    """

    name: str
    folder: Path
    command: tuple[str, ...]

    @property
    def finished(self) -> bool:
        """Whether its results are written."""
        return (self.folder / "results.json").is_file()

    @property
    def log(self) -> Path:
        """Log file of its output, if several cells run in parallel."""
        return self.folder.with_name(f"{self.name}.log")


@dataclass(frozen=True)
class Failure:
    """A cell that ended without results, and why."""

    cell: Cell
    reason: str

    def __str__(self) -> str:
        return f"{self.cell.name} ({self.reason}): {shown_name(shlex.join(self.cell.command))}"


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read ``0,1,2``, ``0:3`` (the same three), or both: ``0:3,7``.

    Raises
    ------
    SettingsError : malformed text, no seeds, or a duplicate.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,19})(?::([0-9]{1,19}))?\s*", part)
        if not match:
            raise SettingsError(f"--seeds takes numbers and ranges such as 0,1,2 or 0:3, got {text[:_SHOWN]!r}")
        low, high = int(match[1]), int(match[2] or match[1]) + (match[2] is None)
        if high > LARGEST_SEED + 1:
            raise SettingsError(f"--seeds takes numbers up to {LARGEST_SEED}, got {text[:_SHOWN]!r}")
        if len(seeds) + high - low > _MOST:
            raise SettingsError(f"--seeds gives more than {_MOST:,} seeds, got {text[:_SHOWN]!r}")
        seeds += range(low, high)
    if not seeds or len(set(seeds)) < len(seeds):
        raise SettingsError(f"--seeds needs at least one seed, without duplicates, got {text[:_SHOWN]!r}")
    return tuple(seeds)


def parse_variants(mixers: str | None, cells: Sequence[str]) -> tuple[Variant, ...]:
    """Read ``--mixers none,cutmix`` and each ``--cell NAME=TRAIN OPTIONS``.

    Raises
    ------
    SettingsError : no variants, an unknown mixer, a malformed cell, or a duplicate name or set of options.
    """
    names = [name.strip() for name in mixers.split(",")] if mixers is not None else []
    variants = [Variant(name, ("--mixer", name)) for name in names] + [_parse_cell(text) for text in cells]
    if not variants:
        raise SettingsError("nothing to train: add --mixers none,lgcoamix, or --cell")
    for number, variant in enumerate(variants):
        _check_mixer(variant)
        for other in variants[:number]:
            if other.name == variant.name:
                raise SettingsError(
                    f"the name {variant.name!r} is given twice; use unique names in --mixers and --cell"
                )
            if other.options == variant.options:
                raise SettingsError(f"{other.name} and {variant.name} have the same options; remove one of them")
    return tuple(variants)


def check_train_options(options: Sequence[str]) -> None:
    """Refuse train options that the sweep itself sets for every cell.

    Raises
    ------
    SettingsError : such an option, or text that is not an option.
    """
    if options and not options[0].startswith("-"):
        raise SettingsError(f"expected train options, such as -- --epochs 20, got {options[0]!r}")
    _refuse_own("after --", options, (*_OWN, "--mixer"))


def make_cells(
    store: Path,
    variants: Sequence[Variant],
    seeds: Sequence[int],
    out: Path,
    options: Sequence[str] = (),
    command: Sequence[str] = TRAIN,
) -> tuple[Cell, ...]:
    """List every cell, seed by seed, so that all variants can be compared early.

    Parameters
    ----------
    store : passed to every cell as ``--shards``.
    out : parent of the run folders.
    options : train options for every cell.
    command : start of every command line.

    Raises
    ------
    SettingsError : too many cells.
    """
    if len(variants) * len(seeds) > _MOST:
        raise SettingsError(
            f"a sweep has at most {_MOST:,} cells, got {len(variants)} variants with {len(seeds)} seeds each; use fewer"
        )
    cells = []
    for seed in seeds:
        for variant in variants:
            name = f"{variant.name}-s{seed}"
            own = ("--shards", str(store), *variant.options, "--seed", str(seed), "--out", str(out / name))
            cells.append(Cell(name, out / name, (*command, *own, "--resume", "auto", *options)))
    return tuple(cells)


def check_places(cells: Sequence[Cell]) -> None:
    """Refuse run folders and logs that lie elsewhere, or cannot be written: the folder may be from somebody else.

    Raises
    ------
    SettingsError : one is a link that leaves the folder of the sweep.
    OSError : a log is no regular file.
    """
    for path in (path for cell in cells for path in (cell.folder, cell.log)):
        try:
            confined(path.parent, path.name)
        except ValueError as error:
            raise SettingsError(f"{path.parent}: {error}; remove it, or choose another --out") from None
    for log in (cell.log for cell in cells if cell.log.exists()):
        require_regular(log)


def run_cells(cells: Sequence[Cell], jobs: int, say: Callable[[str], None]) -> tuple[Failure, ...]:
    """Run cells, ``jobs`` at a time. A failed cell does not stop the others.

    The train command decides whether to start or resume a run, or to leave it unchanged. A cell that another sweep
    trains now is left to it, and tried again once it is free.

    Parameters
    ----------
    jobs : if more than one, cells write their output to logs and share the cores.
    say : shows a line of text.

    Returns
    -------
    The failed cells.

    Raises
    ------
    Interrupted : Ctrl-C or SIGTERM reached this process or a cell. All cells have ended.
    """
    cells[0].folder.parent.mkdir(parents=True, exist_ok=True)
    running = _Running(jobs, say, list(cells))
    with interrupt.undoing(running.kill), _answering(running.note):
        while running.stopped_by == 0 and (running.waiting or running.processes):
            running.start()
            time.sleep(_PAUSE)
            running.collect()
            running.log.say(running.progress)
        killed = running.end()
    if running.stopped_by:
        done = sum(cell.finished for cell in cells)
        lost = f"; {listed(killed)}: killed in a step, the last checkpoint is kept" if killed else ""
        raise Interrupted(
            f"interrupted: stopped with {done} of {len(cells)} cells finished; run the same command to continue{lost}",
            running.stopped_by,
        )
    order = {cell.name: number for number, cell in enumerate(cells)}
    return tuple(sorted(running.failures, key=lambda failure: order[failure.cell.name]))


@dataclass
class _Running:
    """The cells that wait and that run, and whether to stop.

    Parameters
    ----------
    taken : cells that another process trained in when they were tried.
    unchanged : cells that were finished before they were started here.
    begun : when the running cells started, in seconds of the monotonic clock.
    spent : seconds that each finished training took.
    log : for a line a minute.
    stopped_by : a signal, or 0.
    """

    jobs: int
    say: Callable[[str], None]
    waiting: list[Cell]
    processes: dict[subprocess.Popen, Cell] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    taken: set[Cell] = field(default_factory=set)
    unchanged: set[Cell] = field(default_factory=set)
    begun: dict[Cell, float] = field(default_factory=dict)
    spent: list[float] = field(default_factory=list)
    log: Log = field(default_factory=Log)
    stopped_by: int = 0

    def note(self, number: int, _: FrameType | None) -> None:
        """Stop soon; at a second Ctrl-C, now. SIGTERM may come twice: to a process group, and from make in it."""
        if self.stopped_by:
            if number == signal.SIGINT:
                interrupt.leave(number)
            return
        self.stopped_by = signal.SIGTERM if number == _HANG_UP else number

    def start(self) -> None:
        """Start cells that are free, while there is room."""
        for cell in self.waiting[:]:
            if self.stopped_by or len(self.processes) == self.jobs:
                return
            if is_taken(cell.folder):
                self._leave_to_others(cell)
                continue
            self.waiting.remove(cell)
            try:
                self._start(cell)
            except OSError as error:
                self._fail(cell, str(error))

    def collect(self) -> None:
        """Take in the cells that have ended."""
        for process, cell in list(self.processes.items()):
            if process.poll() is None:
                continue
            del self.processes[process]
            code = children.exit_code(process)
            if code == FolderTakenError.CODE:
                self._leave_to_others(cell)
                self.waiting.append(cell)
            elif code - 128 in _STOPS:
                self.stopped_by = self.stopped_by or code - 128
            elif code or not cell.finished:
                reason = f"exit code {code}" if code else "it ended without results.json"
                self._fail(cell, f"{reason}, see {cell.log}" if self.jobs > 1 else reason)
            elif cell in self.unchanged:
                self.say(f"{cell.name}: already finished, left unchanged")
            else:
                self.spent.append(time.monotonic() - self.begun[cell])
                self.say(f"{cell.name}: done")

    def progress(self) -> str:
        """For example ``3 of 9 cells done, running: mixup-s0, cutmix-s0, 1:20:00 left``."""
        done = len(self.unchanged - set(self.processes.values())) + len(self.spent)
        total = done + len(self.failures) + len(self.processes) + len(self.waiting)
        running = [cell.name for cell in self.processes.values()]
        said = [f"{done} of {total} cells done", *([f"{len(self.failures)} failed"] if self.failures else [])]
        said += [f"running: {listed(running)}"] if running else []
        if self.spent:
            each, now = sum(self.spent) / len(self.spent), time.monotonic()
            rest = sum(max(0.0, each - now + self.begun[cell]) for cell in self.processes.values())
            left = (rest + each * len(self.waiting)) / min(self.jobs, max(1, len(self.processes) + len(self.waiting)))
            said.append(f"{timedelta(seconds=round(left))} left")
        return ", ".join(said)

    def end(self) -> list[str]:
        """Forward the signal, and wait for the cells that still run. Ctrl-C waits for a moment, then kills.

        Returns
        -------
        Names of the killed cells.
        """
        for process in self.processes:
            process.send_signal(self.stopped_by)
        last = time.monotonic() + (_PATIENCE if self.stopped_by == signal.SIGINT else math.inf)
        while self.processes and time.monotonic() < last:
            time.sleep(_PAUSE)
            self.collect()
        killed = [cell.name for cell in self.processes.values()]
        self.kill()
        for process in self.processes:
            process.wait()
            children.exit_code(process)
        return killed

    def kill(self) -> None:
        """End all cells at once."""
        for process in self.processes:
            children.kill(process)

    def _leave_to_others(self, cell: Cell) -> None:
        if cell not in self.taken:
            self.taken.add(cell)
            self.say(f"{cell.name}: another process is training in {cell.folder}; waiting for it")

    def _fail(self, cell: Cell, reason: str) -> None:
        if not self.stopped_by:
            self.say(f"{cell.name}: failed, {reason}")
            self.failures.append(Failure(cell, reason))

    def _start(self, cell: Cell) -> None:
        if cell.finished:
            self.unchanged.add(cell)
        else:
            self.say(f"{cell.name}: training -> {cell.folder}")
        with self._output(cell) as output:
            self.begun[cell] = time.monotonic()
            self.processes[children.start(cell.command, output, self._environment())] = cell

    @contextmanager
    def _output(self, cell: Cell) -> Iterator[int | None]:
        if self.jobs == 1:
            yield None
            return
        with cell.log.open("ab") as log:  # keep the output from before a resume
            yield log.fileno()

    def _environment(self) -> dict[str, str]:
        share = {"OMP_NUM_THREADS": str(max(1, cores() // self.jobs))} if self.jobs > 1 else {}
        return {**share, **os.environ}


@contextmanager
def _answering(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Answer a lost terminal as well; nohup ignores that, and it stays ignored."""
    lost = _HANG_UP is not None and signal.getsignal(_HANG_UP) != signal.SIG_IGN
    before = signal.signal(_HANG_UP, handler) if lost else None
    try:
        with interrupt.answering(handler):
            yield
    finally:
        if lost:
            signal.signal(_HANG_UP, before)


def _parse_cell(text: str) -> Variant:
    name, equals, options = text.partition("=")
    form = '--cell NAME="--mixer lgcoamix --set mixer.score=pre_norm"'
    if not equals or not re.fullmatch(r"\w[\w.+-]{0,99}", name):
        raise SettingsError(f"expected {form}, got {text!r}")
    try:
        words = tuple(shlex.split(options))
    except ValueError as error:
        raise SettingsError(f"--cell {name}: {error}; expected {form}") from None
    _refuse_own(f"in --cell {name}", words, _OWN)
    return Variant(name, words)


def _check_mixer(variant: Variant) -> None:
    given = [
        word.partition("=")[2] or after
        for word, after in pairwise((*variant.options, ""))
        if _option(word) == "--mixer"
    ]
    if len(given) != 1:
        raise SettingsError(f"--cell {variant.name} must name one mixer, for example --mixer lgcoamix")
    if given[0] not in METHOD_OPTIONS:
        raise SettingsError(f"no mixer {given[0]!r}; {suggest(given[0], METHOD_OPTIONS)}")


def _option(word: str) -> str:
    return word.partition("=")[0]


def _refuse_own(where: str, words: Sequence[str], own: Sequence[str]) -> None:
    for word in words:
        if _option(word) in own:
            instead = {"--mixer": "--mixers or --cell", "--seed": "--seeds"}.get(_option(word), "the sweep's own")
            raise SettingsError(f"{_option(word)} cannot be given {where}: the sweep sets it; use {instead}")
