"""Run the train command for every method and seed, each in a separate process and run folder."""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import FrameType

from lgcoamix.errors import Interrupted, SettingsError
from lgcoamix.settings.mixers import METHOD_OPTIONS
from lgcoamix.settings.text import suggest
from preprocess.machine import cores

TRAIN = (sys.executable, "-m", "lgcoamix", "train")
_OWN = ("--shards", "--seed", "--out", "--resume")  # train options that the sweep sets for every cell
_STOPS = (signal.SIGINT, signal.SIGTERM)
_HANG_UP = getattr(signal, "SIGHUP", None)  # terminal closed; Windows has none


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
        return f"{self.cell.name} ({self.reason}): {shlex.join(self.cell.command)}"


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read ``0,1,2``, ``0:3`` (the same three), or both: ``0:3,7``.

    Raises
    ------
    SettingsError : malformed text, no seeds, or a duplicate.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?::(\d+))?\s*", part)
        if not match:
            raise SettingsError(f"--seeds takes numbers and ranges such as 0,1,2 or 0:3, got {text!r}")
        low, high = int(match[1]), match[2]
        seeds += [low] if high is None else range(low, int(high))
    if not seeds or len(set(seeds)) < len(seeds):
        raise SettingsError(f"--seeds needs at least one seed, without duplicates, got {text!r}")
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
    """
    cells = []
    for seed in seeds:
        for variant in variants:
            name = f"{variant.name}-s{seed}"
            own = ("--shards", str(store), *variant.options, "--seed", str(seed), "--out", str(out / name))
            cells.append(Cell(name, out / name, (*command, *own, "--resume", "auto", *options)))
    return tuple(cells)


def run_cells(cells: Sequence[Cell], jobs: int, say: Callable[[str], None]) -> tuple[Failure, ...]:
    """Run cells, ``jobs`` at a time. A failed cell does not stop the others.

    Each cell has its own process group, so that Ctrl-C reaches it once, through this process. The train command decides
    whether to start or resume a run, or to leave it unchanged.

    Parameters
    ----------
    jobs : if more than one, cells write their output to logs and share the cores.
    say : shows a line of text; called from threads.

    Returns
    -------
    The failed cells.

    Raises
    ------
    Interrupted : Ctrl-C or SIGTERM reached this process or a cell. All cells have ended.
    """
    cells[0].folder.parent.mkdir(parents=True, exist_ok=True)
    running = _Running(jobs, say)
    failures = []
    with _forwarding(running), ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(running.run, cell) for cell in cells]
        for future in as_completed(futures):
            failure = future.result()
            if failure and not running.stopped_by:
                say(f"{failure.cell.name}: failed, {failure.reason}")
                failures.append(failure)
    if running.stopped_by:
        done = sum(cell.finished for cell in cells)
        raise Interrupted(
            f"stopped with {done} of {len(cells)} cells finished; run the same command to continue", running.stopped_by
        )
    order = {cell.name: number for number, cell in enumerate(cells)}
    return tuple(sorted(failures, key=lambda failure: order[failure.cell.name]))


@dataclass
class _Running:
    """Processes of the running cells, and whether to stop."""

    jobs: int
    say: Callable[[str], None]
    stopped_by: int = 0  # a signal
    processes: set[subprocess.Popen] = field(default_factory=set)
    lock: threading.RLock = field(default_factory=threading.RLock)  # a signal may arrive while another is handled

    def run(self, cell: Cell) -> Failure | None:
        """Run a cell to its end. Called in a thread."""
        was_finished = cell.finished
        try:
            code = self._code(cell, was_finished)
        except OSError as error:
            return Failure(cell, str(error))
        if code is None:
            return None
        if code - 128 in _STOPS:
            self.stop(code - 128, again=False)
        if code or not cell.finished:
            reason = f"exit code {code}" if code else "it ended without results.json"
            return Failure(cell, f"{reason}, see {cell.log}" if self.jobs > 1 else reason)
        self.say(f"{cell.name}: already finished, left unchanged" if was_finished else f"{cell.name}: done")
        return None

    def stop(self, number: int, again: bool = True) -> None:
        """Start no more cells, and forward the signal to the running ones; a second time only if ``again``."""
        with self.lock:
            if self.stopped_by and not again:
                return
            self.stopped_by = self.stopped_by or number
            for process in self.processes:
                process.send_signal(number)

    def _code(self, cell: Cell, was_finished: bool) -> int | None:
        """Return the exit code as a shell reports it; None for a cell that did not start."""
        process = self._start(cell, was_finished)
        if process is None:
            return None
        code = process.wait()
        with self.lock:
            self.processes.discard(process)
        return 128 - code if code < 0 else code

    def _start(self, cell: Cell, was_finished: bool) -> subprocess.Popen | None:
        with self.lock:  # either the stop is seen here, or it sees the process
            if self.stopped_by:
                return None
            if not was_finished:
                self.say(f"{cell.name}: training -> {cell.folder}")
            with self._output(cell) as output:
                process = subprocess.Popen(
                    cell.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=self._environment(),
                    process_group=0,
                )
            self.processes.add(process)
            return process

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
def _forwarding(running: _Running) -> Iterator[None]:
    """Forward Ctrl-C and SIGTERM to the cells, and wait for them."""

    def handle(number: int, _: FrameType | None) -> None:
        running.stop(signal.SIGTERM if number == _HANG_UP else number)

    # nohup ignores SIGHUP: leave it ignored.
    hang_up = [_HANG_UP] if _HANG_UP and signal.getsignal(_HANG_UP) != signal.SIG_IGN else []
    before = {number: signal.signal(number, handle) for number in (*_STOPS, *hang_up)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _parse_cell(text: str) -> Variant:
    name, equals, options = text.partition("=")
    form = '--cell NAME="--mixer lgcoamix --set mixer.score=pre_norm"'
    if not equals or not re.fullmatch(r"\w[\w.+-]*", name):
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
