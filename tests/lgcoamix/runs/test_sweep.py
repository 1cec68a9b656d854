"""``sweep``: one command over methods and seeds, continued cell by cell.

What concerns processes alone runs with a stand-in for train; one test trains.
"""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lgcoamix.cli import main
from lgcoamix.errors import Interrupted, SettingsError
from lgcoamix.runs.sweep import Cell, Variant, _Running, make_cells, parse_seeds, parse_variants, run_cells
from tests.conftest import PROOF, ROOT, Run

# Takes the options of train. --fail CODE, --wait NAME, --hang NAME and --seconds are its own.
STAND_IN = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
from lgcoamix.errors import FolderTakenError
from lgcoamix.runs.lock import lock_folder
from preprocess import interrupt

def stop(out, seconds):
    def note(number, frame):
        time.sleep(seconds)  # saves where it is; a second signal would end it here, as it does train
        (out / "told").write_text(str(number))
        sys.exit(128 + number)
    def first(number, frame):
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda *_: os._exit(77))
        note(number, frame)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, first)

def train():
    given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    out = Path(given["--out"])
    out.mkdir(exist_ok=True)
    if (out / "results.json").exists():
        return
    try:
        lock = lock_folder(out)
    except FolderTakenError as error:
        sys.exit(error.CODE)
    (out / "config.json").write_text("{}")
    with (out / "calls.jsonl").open("a") as file:
        file.write(json.dumps([sys.argv[1:], os.environ.get("OMP_NUM_THREADS"), os.getppid()]) + "\\n")
    print("I train", out.name, flush=True)
    if out.name in (given.get("--wait"), given.get("--hang")):
        if given.get("--hang"):
            subprocess.Popen(["sleep", "60"], preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        stop(out, 60 if given.get("--hang") else 0.3)
        (out / "ready").touch()
        time.sleep(60)
    time.sleep(float(given.get("--seconds", 0)))
    name, _, code = given.get("--fail", "").partition(":")
    if name == out.name:
        if code == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        sys.exit(int(code))
    (out / "results.json").write_text("{}")

interrupt.run(train)
"""


@pytest.fixture
def cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Cell, ...]]:
    """Cells of none and cutmix, whose command is the stand-in."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "stand_in.py").write_text(STAND_IN)

    def make(*options: str, seeds: tuple[int, ...] = (0, 1)) -> tuple[Cell, ...]:
        command = (sys.executable, str(tmp_path / "stand_in.py"))
        return make_cells(
            Path("store.h5"), parse_variants("none,cutmix", ()), seeds, tmp_path / "out", options, command
        )

    return make


def _calls(cell: Cell) -> list[tuple[list[str], str | None, int]]:
    return [tuple(json.loads(line)) for line in (cell.folder / "calls.jsonl").read_text().splitlines()]


def _sweep(*arguments: object) -> Result:
    done = CliRunner().invoke(main, ["sweep", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done


@pytest.mark.parametrize(
    ("text", "seeds"), [("0", (0,)), ("2,0,1", (2, 0, 1)), ("0:3", (0, 1, 2)), ("0:2,7", (0, 1, 7)), ("4:5", (4,))]
)
def test_seeds_are_numbers_and_half_open_ranges(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1,", "-1", "1.5", "0:", "3:3", "0,0", "0:3,2", "0:2:1", str(2**53)])
def test_other_seeds_are_refused(text):
    with pytest.raises(SettingsError, match="--seeds"):
        parse_seeds(text)


def test_a_cell_has_options_of_its_own():
    variants = parse_variants("none", ["pre=--mixer lgcoamix --set 'mixer.score=pre_norm'", "p4=--mixer=mixup"])
    assert variants == (
        Variant("none", ("--mixer", "none")),
        Variant("pre", ("--mixer", "lgcoamix", "--set", "mixer.score=pre_norm")),
        Variant("p4", ("--mixer=mixup",)),
    )


def test_every_cell_is_the_real_command(tmp_path):
    variants = parse_variants("none", ["pre=--mixer lgcoamix --set mixer.score=pre_norm"])
    cells = make_cells(Path("a.h5"), variants, (3, 4), tmp_path, ("--epochs", "2"))
    assert [cell.name for cell in cells] == ["none-s3", "pre-s3", "none-s4", "pre-s4"]
    start = [sys.executable, "-m", "lgcoamix", "train", "--shards", "a.h5"]
    own = ["--mixer", "lgcoamix", "--set", "mixer.score=pre_norm", "--seed", "4", "--out", f"{tmp_path / 'pre-s4'}"]
    assert list(cells[3].command) == [*start, *own, "--resume", "auto", "--epochs", "2"]


MISTAKES = {
    "mixer": (("--mixers", "none,cutmicks"), "no mixer 'cutmicks'; did you mean cutmix"),
    "mixer of a cell": (("--cell", "a=--mixer lgcomix"), "no mixer 'lgcomix'; did you mean lgcoamix"),
    "a cell without mixer": (("--cell", "a=--epochs 3"), "--cell a must name one mixer"),
    "a cell with two": (("--cell", "a=--mixer none --mixer=mixup"), "--cell a must name one mixer"),
    "a cell without name": (("--cell", "--mixer none"), "expected --cell NAME="),
    "a cell outside of out": (("--cell", "../a=--mixer none"), "expected --cell NAME="),
    "an open quote": (("--cell", "a=--mixer 'none"), "--cell a: No closing quotation"),
    "seed in a cell": (("--cell", "a=--mixer none --seed 3"), "--seed cannot be given in --cell a"),
    "nothing": ((), "nothing to train: add --mixers none,lgcoamix, or --cell"),
    "a mixer twice": (("--mixers", "none,none"), "'none' is given twice"),
    "a name twice": (("--mixers", "none", "--cell", "none=--mixer mixup"), "'none' is given twice"),
    "options twice": (("--mixers", "none", "--cell", "a=--mixer none"), "none and a have the same options"),
    "seeds": (("--mixers", "none", "--seeds", "x"), "--seeds takes numbers and ranges such as 0,1,2 or 0:3, got 'x'"),
    "no dashes": (("--mixers", "none", "--epochs", "3"), "No such option '--epochs'"),
    "a stray word": (("--mixers", "none", "--seeds", "0", "1"), "expected train options, such as -- --epochs 20"),
    "jobs": (("--mixers", "none", "--jobs", "0"), "--jobs"),
    "too many jobs": (("--mixers", "none", "--jobs", "1000000"), "1000000 is not in the range 1<=x<=256"),
    "too many seeds": (("--mixers", "none", "--seeds", "0:1000000000000"), "--seeds gives more than 10,000 seeds"),
    "too many cells": (
        ("--mixers", "none,mixup", "--seeds", "0:6000"),
        "at most 10,000 cells, got 2 variants with 6000",
    ),
    "a seed of 5,000 digits": (("--mixers", "none", "--seeds", "1" * 5000), "--seeds takes numbers and ranges"),
    "a name of 300 letters": (("--cell", f"{'a' * 300}=--mixer none"), "expected --cell NAME="),
    **{
        name: (("--mixers", "none", "--", "--epochs", "1", *words), f"{words[0][:6]}")
        for name, words in {
            "--shards": ("--shards", "b.h5"),
            "--mixer": ("--mixer=none",),
            "--seed": ("--seed", "1"),
            "--out": ("--out", "x"),
            "--resume": ("--resume=auto",),
        }.items()
    },
}


@pytest.mark.parametrize(("options", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_a_usage_error_before_anything_starts(options, message, tmp_path):
    store = tmp_path / "store.h5"
    store.touch()
    done = _sweep("--shards", store, "--out", tmp_path / "out", *options)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    if "--" in options:
        assert "cannot be given after --: the sweep sets it" in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_a_foreign_comparison_is_not_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "comparison.csv").write_text("mine")
    (tmp_path / "store.h5").touch()
    done = _sweep("--shards", tmp_path / "store.h5", "--out", tmp_path / "out", "--mixers", "none")
    assert done.exit_code == 2
    assert "holds comparison.csv, which is no part of a comparison" in " ".join(done.stderr.split())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["comparison.csv"]


@pytest.mark.parametrize("name", ["none-s0", "none-s0.log"])
def test_nothing_is_written_through_a_link_or_a_fifo_in_a_folder_from_somebody_else(name, tmp_path):
    out, mine = tmp_path / "out", tmp_path / "mine"
    out.mkdir()
    (tmp_path / "store.h5").touch()
    (out / name).symlink_to(mine)
    done = _sweep("--shards", tmp_path / "store.h5", "--out", out, "--mixers", "none", "--jobs", "2")
    assert (done.exit_code, "is a link that leaves it" in done.stderr) == (2, True), done.output
    (out / name).unlink()
    os.mkfifo(out / "none-s0.log")
    done = _sweep("--shards", tmp_path / "store.h5", "--out", out, "--mixers", "none", "--jobs", "2")
    assert (done.exit_code, "expected a regular file, it is a FIFO" in done.stderr) == (1, True), done.output
    assert not mine.exists()


def test_cells_run_one_after_the_other_and_finished_ones_are_said_to_be(cells, monkeypatch, capfd):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    names = ("none-s0", "cutmix-s0", "none-s1", "cutmix-s1")
    lines: list[str] = []
    assert run_cells(cells(), 1, lines.append) == ()
    out = cells()[0].folder.parent
    assert lines == [line for name in names for line in (f"{name}: training -> {out / name}", f"{name}: done")]
    assert capfd.readouterr().out.splitlines() == [f"I train {name}" for name in names]
    for cell in cells():
        ((words, threads, _),) = _calls(cell)
        assert words == list(cell.command[2:])
        assert threads is None
        assert not cell.log.exists()
    lines.clear()
    assert run_cells(cells(), 1, lines.append) == ()
    assert lines == [f"{name}: already finished, left unchanged" for name in names]


@pytest.mark.parametrize(
    ("how", "reason"), [("1", "exit code 1"), ("2", "exit code 2"), ("0", "it ended without results.json"),
                        ("killed", "exit code 137")]
)  # fmt: skip
def test_a_cell_that_fails_is_named_and_does_not_hold_up_the_others(how, reason, cells):
    lines: list[str] = []
    mine = cells("--fail", f"cutmix-s0:{how}")
    (failure,) = run_cells(mine, 1, lines.append)
    assert failure.cell.name == "cutmix-s0"
    assert f"cutmix-s0: failed, {reason}" in lines
    assert str(failure).startswith(f"cutmix-s0 ({reason}): {sys.executable} ")
    assert "--mixer cutmix --seed 0" in str(failure)
    assert [cell.finished for cell in mine] == [True, False, True, True]


def test_a_command_that_cannot_start_is_a_failure(tmp_path):
    cells = make_cells(Path("s"), parse_variants("none", ()), (0,), tmp_path, (), (str(tmp_path / "missing"),))
    (failure,) = run_cells(cells, 1, lambda line: None)
    assert "missing" in failure.reason


def test_several_at_a_time_share_the_cores_and_write_logs(cells, monkeypatch, capfd):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(9)), raising=False)
    (failure,) = run_cells(cells("--fail", "none-s1:1"), 2, lambda line: None)
    assert "none-s1.log" in str(failure)
    for cell in cells():
        assert cell.log.read_text() == f"I train {cell.name}\n"
        assert _calls(cell)[0][1] == "4"  # 9 // 2
    assert capfd.readouterr().out == ""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert run_cells(cells(), 2, lambda line: None) == ()
    assert _calls(cells()[2])[1][1] == "3"
    assert cells()[2].log.read_text() == "I train none-s1\n" * 2  # of the failed and of the good run


def test_a_sweep_tells_a_log_file_how_far_it_is(cells, monkeypatch, capfd):
    mine = cells("--seconds", "0.2", seeds=(0,))
    run_cells(mine, 2, lambda line: None)
    assert "cells done" not in capfd.readouterr().err  # it took less than a minute
    monkeypatch.setattr("preprocess.terminal.LOG_SECONDS", 0.0)
    run_cells(cells("--seconds", "0.2", seeds=(1,)), 2, lambda line: None)
    assert "0 of 2 cells done, running: none-s1, cutmix-s1\n" in capfd.readouterr().err


def test_the_time_left_of_a_sweep_is_that_of_its_cells(cells, monkeypatch):
    first, second, third, *rest = cells(seeds=(0, 1, 2))
    monkeypatch.setattr("lgcoamix.runs.sweep.time.monotonic", lambda: 1000.0)
    running = _Running(2, lambda line: None, rest, begun={second: 970.0, third: 600.0}, spent=[90.0, 110.0])
    running.processes, running.unchanged = {1: second, 2: third}, {first}
    # 70 s of one and none of the other, which is late; 100 s for each of the three that wait; two at a time.
    assert running.progress() == "3 of 8 cells done, running: cutmix-s0, none-s1, 0:03:05 left"


@pytest.mark.parametrize("code", [130, 143])
def test_a_cell_that_was_stopped_stops_the_sweep_with_its_code(code, cells):
    mine = cells("--fail", f"cutmix-s0:{code}")
    with pytest.raises(Interrupted, match=r"1 of 4 cells finished; run the same command to continue") as stopped:
        run_cells(mine, 1, lambda line: None)
    assert stopped.value.signal == code - 128
    assert not mine[2].folder.exists()


def test_cells_that_a_stop_kept_from_starting_leave_no_log(cells):
    lines: list[str] = []
    mine = cells("--fail", "cutmix-s0:130", seeds=tuple(range(6)))
    with pytest.raises(Interrupted):
        run_cells(mine, 2, lines.append)
    started = {line.partition(":")[0] for line in lines if ": training" in line}
    assert {cell.name for cell in mine if cell.log.exists()} == started
    assert len(started) < len(mine)


DRIVER = """
import sys
from pathlib import Path
from lgcoamix.cli.common import friendly
from lgcoamix.runs.sweep import make_cells, parse_variants, run_cells
from preprocess import interrupt

home, jobs = Path(sys.argv[1]), int(sys.argv[2])

@friendly
def main():
    command = (sys.executable, str(home / "stand_in.py"))
    variants = parse_variants("none,cutmix", ())
    cells = make_cells(Path("s"), variants, (0, 1), home / "out", sys.argv[3:], command)
    with (home / "said.txt").open("a") as said:
        for failure in run_cells(cells, jobs, lambda line: print(line, file=said)):
            sys.exit(str(failure))

interrupt.run(main)
"""


@pytest.fixture
def driven(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a sweep of stand-ins in a process group of its own; it is gone at the end of the test."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    started: list[subprocess.Popen] = []

    def start(jobs: int, *options: str) -> subprocess.Popen:
        command = [sys.executable, "-c", textwrap.dedent(DRIVER), str(tmp_path), str(jobs), *options]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        where = {"cwd": ROOT, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "start_new_session": True}
        ready = lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)  # noqa: E731  # nohup ignores it
        started.append(subprocess.Popen(command, preexec_fn=ready, **where, **pipes))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()  # reaches its cells
            process.wait(30)
        process.stderr.close()


def _wait_for(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("jobs", "number"), [(1, signal.SIGTERM), (2, signal.SIGINT)])
def test_a_signal_reaches_every_running_cell_once_and_ends_the_sweep(number, jobs, driven, tmp_path):
    process = driven(jobs, "--wait", "cutmix-s0")
    _wait_for(tmp_path / "out" / "cutmix-s0" / "ready", process)
    if jobs == 2:  # the other place goes through the rest meanwhile
        _wait_for(tmp_path / "out" / "cutmix-s1" / "results.json", process)
    os.killpg(process.pid, number)  # as a terminal does it
    if number == signal.SIGTERM:
        time.sleep(0.1)  # the cell saves for 0.3 s
        process.send_signal(number)  # as make does it, when its group gets the signal
    stderr = process.communicate(timeout=30)[1]
    assert process.returncode == 128 + number, stderr
    done = 1 if jobs == 1 else 3
    line = f"interrupted: stopped with {done} of 4 cells finished; run the same command to continue\n"
    assert stderr.count("interrupted") == 1
    assert stderr.endswith(line)
    assert "Traceback" not in stderr
    assert (tmp_path / "out" / "cutmix-s0" / "told").read_text() == str(int(number))
    assert (tmp_path / "out" / "none-s1").exists() == (jobs == 2)


def test_a_lost_terminal_ends_the_cells_too(driven, tmp_path):
    process = driven(1, "--wait", "none-s0")
    _wait_for(tmp_path / "out" / "none-s0" / "ready", process)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert (tmp_path / "out" / "none-s0" / "told").read_text() == "15"


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_kills_a_cell_that_does_not_end_within_two_seconds_or_at_once_when_repeated(presses, driven, tmp_path):
    process = driven(1, "--hang", "none-s0")
    _wait_for(tmp_path / "out" / "none-s0" / "ready", process)
    (cell,) = _children(process.pid)
    begin = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    if presses == 2:
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
    stderr = process.communicate(timeout=30)[1]
    assert time.monotonic() - begin < (2 if presses == 1 else 1)
    assert process.returncode == 130, stderr
    kept = "none-s0: killed in a step, the last checkpoint is kept" if presses == 1 else "finished work is kept"
    assert stderr.count("interrupted") == 1
    assert kept in stderr.splitlines()[-1]
    deadline = time.monotonic() + 5
    while _living(cell):  # what the cell had started, too
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _living(group: int) -> list[str]:
    stats = subprocess.run(["ps", "-eo", "pgid,stat"], capture_output=True, text=True, check=True).stdout
    return [line for line in stats.splitlines() if line.split()[0] == str(group) and "Z" not in line]


def test_a_killed_sweep_takes_its_cell_with_it(driven, tmp_path):
    process = driven(1, "--wait", "none-s0")
    cell = tmp_path / "out" / "none-s0"
    _wait_for(cell / "ready", process)
    process.kill()
    process.communicate(timeout=30)
    deadline = time.monotonic() + 20
    while not (cell / "told").exists():
        assert time.monotonic() < deadline, "the cell goes on"
        time.sleep(0.02)
    assert (cell / "told").read_text() == str(int(signal.SIGTERM))  # it saved
    assert not (cell / "results.json").exists()


def test_two_sweeps_over_one_folder_share_the_work_and_none_fails(driven, tmp_path):
    sweeps = [driven(1, "--seconds", "0.7") for _ in range(2)]
    for process in sweeps:
        stderr = process.communicate(timeout=60)[1]
        assert process.returncode == 0, stderr
        assert stderr == ""
    told = (tmp_path / "said.txt").read_text()
    assert "failed" not in told
    assert "another process is training in" in told
    calls = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*/calls.jsonl")]  # once each
    assert len(calls) == 4
    assert {parent for _, _, parent in calls} == {process.pid for process in sweeps}


def test_failed_cells_end_with_1_their_commands_and_no_traceback(run: Run, tmp_path):
    store = tmp_path / "store.h5"
    store.write_text("no store")
    done = run(
        *("-m", "lgcoamix", "sweep", "--shards", store, "--mixers", "none,mixup", "--out", tmp_path / "out"),
        *("--", "--epochs", "0"),  # train itself refuses it
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "none-s0: failed, exit code 2" in done.stdout
    assert "2 of 2 cells failed:" in done.stderr
    for mixer in ("none", "mixup"):
        line = rf"  {mixer}-s0 \(exit code 2\): \S+ -m lgcoamix train .* --mixer {mixer} --seed 0 .*--epochs 0\n"
        assert re.search(line, done.stderr)
    assert not list((tmp_path / "out").iterdir())


def test_help_and_mistakes_answer_before_torch_is_imported(run: Run, tmp_path):
    (tmp_path / "store.h5").touch()
    script = (
        "import sys\nfrom click.testing import CliRunner\nfrom lgcoamix.cli import main\n"
        "for options in (['--help'], sys.argv[1:]):\n"
        "    code = CliRunner().invoke(main, ['sweep', *options]).exit_code\n"
        "    print(code, *(name in sys.modules for name in ('torch', 'matplotlib', 'h5py')))"
    )
    done = run("-c", script, "--shards", tmp_path / "store.h5", "--out", "x", "--mixers", "nil")
    assert done.stdout.splitlines() == ["0 False False False", "2 False False False"], done.stderr


SMALL = (
    "--backbone",
    "test_resnet",
    "--weights",
    "none",
    "--image-size",
    "32",
    "--batch-size",
    "12",
    "--device",
    "cpu",
)
QUICK = ("--workers", 0, "--no-pictures", "--no-tensorboard")


def test_a_sweep_trains_compares_and_is_taken_as_finished_the_next_time(flowers_store: Path, tmp_path, monkeypatch):
    """The sweep is in this process, its cells are in their own; in make test, one was trained before.

    Without pictures it needs no matplotlib.
    """
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    out = tmp_path / "sweep"
    command = ("--shards", flowers_store, "--mixers", "none,lgcoamix", "--out", out, "--", *SMALL, *QUICK)
    if not PROOF:  # to import torch once less: the same options in this process
        out.mkdir()
        own = ("--mixer", "none", "--seed", 0, "--out", out / "none-s0", "--resume", "auto")
        given = ("train", "--shards", flowers_store, *own, *SMALL, *QUICK, "--epochs", 1)
        assert CliRunner().invoke(main, list(map(str, given))).exit_code == 0
    first = _sweep(*command, "--epochs", 1)
    assert first.exit_code == 0, first.output
    assert ("none-s0: already finished" in first.stdout) != PROOF
    assert "lgcoamix-s0: done" in first.stdout
    names = {path.name for path in out.iterdir()}
    assert names == {"none-s0", "lgcoamix-s0", "comparison.csv", "comparison.json", "curves.csv"}
    groups = json.loads((out / "comparison.json").read_text())["groups"]
    for group in groups:
        results = json.loads((out / f"{group['method']}-s0" / "results.json").read_text())
        assert group["test_top1"]["last"] == {"mean": results["test_top1"]["last"], "deviation": None}
    assert {group["group"] for group in groups} == {"none", "lgcoamix"}
    weights = {name: (out / name / "last.pt").stat().st_mtime_ns for name in ("none-s0", "lgcoamix-s0")}

    second = _sweep(*command, "--epochs", 1)
    assert second.exit_code == 0, second.output
    for name, written in weights.items():
        assert f"{name}: already finished, left unchanged" in second.stdout
        assert (out / name / "last.pt").stat().st_mtime_ns == written
    assert second.stdout.count("± -") == first.stdout.count("± -") == 4  # last and best; no median of ten

    other = _sweep(*command, "--epochs", 2)
    assert other.exit_code == 1
    assert "2 of 2 cells failed" in other.stderr  # train knows that these are other runs
    assert json.loads((out / "comparison.json").read_text())["groups"] == groups
