"""The race: every peer, form and number of workers in turn, round after round, each run in a process of its own."""

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
import torch
from rich.box import MARKDOWN
from rich.console import Console, Group
from rich.table import Table

from preprocess.machine import cores, processor
from tests.benchmarks.common import photographs
from tests.benchmarks.race import environment
from tests.benchmarks.race.peers import PEERS
from tests.benchmarks.race.samples import BATCH, FORMS, SHOWN, SIZE, Check, Samples, build
from tests.conftest import ROOT

_IMAGES, _LONGEST = 1000, 300  # photographs; seconds of a run
_OURS = "ours"
_WORKERS = {0: "no worker", 1: "1 worker", 2: "2 workers"}


@dataclass(frozen=True)
class _Run:
    peer: str
    form: str
    workers: int

    @property
    def ours(self) -> "_Run":
        """What it is compared with: raw is the fastest form of ours."""
        return _Run(_OURS, "raw" if self.form == "plain" else self.form, self.workers)


_Figures = dict[_Run, list[dict[str, float]]]  # of each round


def measure(
    rounds: int = 3,
    peers: Sequence[str] = tuple(PEERS),
    forms: Sequence[str] = tuple(FORMS),
    workers: Sequence[int] = tuple(_WORKERS),
) -> Group:
    """Race peers against ours: some, or all of them, in some forms, with some numbers of workers."""
    _log(f"with {environment.PYTHON}, which is made the first time (7 GB)")
    lost = environment.prepare()
    chosen = (
        _Run(name, form, number)
        for number in workers
        for form in forms
        for name, peer in PEERS.items()
        if name in peers and form in peer.forms and number in peer.workers
    )
    figures: _Figures = {each: [] for run in chosen for each in (run.ours, run)}
    sizes: dict[tuple[str, str], float] = {}
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        build(home, photographs(_IMAGES, SIZE))
        checks = {form: Check.of(Samples(home, form)) for form in {run.form for run in figures}}
        for round_ in range(rounds):
            for run in figures:
                if run.peer in lost:
                    continue
                _log(f"round {round_ + 1} of {rounds}: {run.form}, {_WORKERS[run.workers]}, {run.peer}")
                try:
                    if (run.peer, run.form) not in sizes:
                        sizes[run.peer, run.form] = _write(home, run)
                    figures[run].append(_read(home, run, checks[run.form]))
                except (RuntimeError, ValueError, subprocess.TimeoutExpired) as error:
                    if run.peer == _OURS:
                        raise
                    lost[run.peer] = f"{run.form}, {_WORKERS[run.workers]}: {error}"
    for peer, reason in lost.items():
        _log(f"{PEERS[peer].title} is not in the race: {reason}")
    return Group(_header(rounds), *_tables({run: own for run, own in figures.items() if run.peer not in lost}, sizes))


def _log(text: str) -> None:
    Console(stderr=True).print(text, markup=False, soft_wrap=True)


def _write(home: Path, run: _Run) -> float:
    """Let a peer write its files: bytes a sample."""
    if run.peer != _OURS:
        _child("write", run, home)
        os.sync()  # what is still to be written to the disk would disturb
    files = (path for path in (home / run.form / run.peer).rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files) / _IMAGES


def _read(home: Path, run: _Run, check: Check) -> dict[str, float]:
    """Let a peer run, and check what it showed before its figures count."""
    figures = json.loads(_child("read", run, home).splitlines()[-1])
    if PEERS[run.peer].shows:
        with np.load(home / "shown.npz") as shown:
            check(**shown)
    return figures


def _child(what: str, run: _Run, home: Path) -> str:
    words = (what, run.peer, run.form, str(home), str(run.workers))
    command = [environment.PYTHON, "-m", "tests.benchmarks.race.child", *words]
    # Some leave files where temporary ones are, which go with HOME.
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(home)}
    done = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=_LONGEST, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-300:].rpartition("\n")[2])
    return done.stdout


def _header(rounds: int) -> str:
    packages = sorted({pin for peer in PEERS.values() for pin in peer.packages})
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return (
        f"make bench ARGS=race: {_IMAGES} photographs at {SIZE}, random windows of {SHOWN}, flips, batches of {BATCH}. "
        f"Medians of {rounds} rounds (least to most); x: times as fast as ours in the same round. {processor()}, "
        f"{cores()} cores, {torch.backends.cpu.get_cpu_capability()}; commit {commit or 'unknown'}; torch "
        f"{torch.__version__}, NumPy {np.__version__}, OpenCV {cv2.__version__}, h5py {h5py.__version__}, "
        f"{', '.join(packages)}. Memory is that of all processes without the pages of files.\n"
    )


def _tables(figures: _Figures, sizes: dict[tuple[str, str], float]) -> Iterator[Table]:
    workers = {run.workers: None for run in figures}
    heads = [_WORKERS[number] for number in workers]
    for form in {run.form: None for run in figures}:
        present = {_OURS, *(run.peer for run in figures if run.form == form)}
        peers = {name: [_Run(name, form, number) for number in workers] for name in PEERS if name in present}
        peers[_OURS] = [run.ours for run in peers[_OURS]]
        titles = {name: PEERS[name].title for name in peers}
        if peers[_OURS][0].form != form:
            titles[_OURS] += f": {FORMS[peers[_OURS][0].form]}"
        for what, unit in (("cpu", "images per CPU second"), ("wall", "images per second")):
            table = Table(f"{FORMS[form]}: {unit}", *heads, box=MARKDOWN)
            for peer, runs in peers.items():
                table.add_row(titles[peer], *(_rate(figures, run, what) for run in runs))
            yield table
        counts = "/".join(map(str, workers))
        rest = ("bytes a sample", f"ms to the first batch, {counts} workers", f"MB, {counts} workers")
        table = Table(FORMS[form], *rest, box=MARKDOWN)
        for peer, runs in peers.items():
            medians = (_medians(figures, runs, *each) for each in (("first", 1e3), ("memory", 1e-6)))
            table.add_row(titles[peer], f"{sizes[peer, runs[0].form]:,.0f}", *medians)
        yield table


def _rate(figures: _Figures, run: _Run, what: str) -> str:
    """Median, least and most, and the median ratio to ours of the same round."""
    if run not in figures:
        return "-"
    own, ours = ([figure[what] for figure in figures[each]] for each in (run, run.ours))
    ratio = statistics.median(one / other for one, other in zip(own, ours, strict=True))
    return f"{statistics.median(own):,.0f} ({min(own):,.0f} to {max(own):,.0f}) {ratio:.2f}x"


def _medians(figures: _Figures, runs: Sequence[_Run], what: str, scale: float) -> str:
    rounds = [[scale * figure[what] for figure in figures.get(run, ())] for run in runs]
    return " / ".join(f"{statistics.median(values):.0f}" if values else "-" for values in rounds)
