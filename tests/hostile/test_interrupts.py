"""Ctrl-C at any moment of any command: its code, one line, and nothing left behind.

A press is sent to the process group, as a terminal does it. Presses that come before Python has read the first file of
a command, preprocess/interrupt.py, are not ours to answer: they are counted apart.
"""

import collections
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from preprocess.files import is_leftover
from tests.conftest import PROOF, ROOT, Run, paint
from tests.preprocess.build.test_survival import all_gone

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")

PRESSES = 200 if PROOF else 8  # half of them in the first second
SECONDS = 120  # that a command may take on a busy machine
LINE = re.compile(r"^interrupted.*\n", re.MULTILINE)
# In a traceback: our files, but for the import of what answers signals.
START = (
    r'(\.venv/.*|(train|(lgcoamix|preprocess)/(__init__|__main__|interrupt)|lgcoamix/beside/__init__)\.py", '
    r"line \d+, in (<module>|load))"
)
OUR_FILES = re.compile(rf'File "{re.escape(str(ROOT))}/(?!{START})')
TINY = (
    *("--backbone", "test_resnet", "--weights", "none", "--image-size", "32", "--batch-size", "4", "--device", "cpu"),
    *("--epochs", "2", "--no-tensorboard"),
)
SMALL_BUILD = ("--size", "64", "--segments", "12,30", "--shard-size", "2", "--jobs", "2")


@dataclass(frozen=True)
class Command:
    """A command, what it makes, and how it ends if nothing disturbs it.

    Parameters
    ----------
    arguments : of Python; HOME stands for a new folder.
    product : file or folder in HOME that is there at the end, and only then; empty if nothing is written.
    code : exit code.
    """

    arguments: tuple[str, ...]
    product: str = ""
    code: int = 0


@dataclass(frozen=True)
class Made:
    """What the commands read."""

    root: Path
    store: Path
    run: Path
    model: Path


@dataclass(frozen=True)
class Press:
    """What a press did. ``over`` : the process had called exit before."""

    code: int
    out: str
    told: str
    over: bool
    session: int


@pytest.fixture(scope="module")
def made(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A store of 24 small pictures; at full counts also a run and an exported network."""
    home = tmp_path_factory.mktemp("made")
    made = Made(home / "raw", home / "x.h5", home / "run", home / "model")
    for split, count in (("train", 8), ("test", 4)):
        for label, name in enumerate("ab"):
            for index in range(count):
                paint(made.root / split / name / f"{index}.png", 100 * label + index + 50 * (split == "test"))
    steps = [("-m", "preprocess", "build", "folder", "--root", made.root, "--out", made.store, *SMALL_BUILD)]
    if PROOF:
        steps += [
            ("train.py", "--shards", made.store, "--mixer", "lgcoamix", *TINY, "--out", made.run),
            ("-m", "lgcoamix", "export", "--checkpoint", made.run, "--out", made.model),
        ]
    for step in steps:
        done = run(*step)
        assert done.returncode == 0, done.stderr
    return made


def commands(made: Made) -> dict[str, Command]:
    build = ("-m", "preprocess", "build", "folder", "--root", str(made.root), "--out", "HOME/new.h5", *SMALL_BUILD)
    train = ("--shards", str(made.store), *TINY, "--resume", "auto", "--out", "HOME/run")
    few = {
        "help": Command(("-m", "lgcoamix", "train", "--help")),
        "a usage error": Command(("-m", "preprocess", "build", "nothing"), code=2),
        "build in threads": Command((*build, "--backend", "threading"), "new.h5"),
        "train, two workers": Command(("train.py", *train, "--workers", "2"), "run/results.json"),
    }
    if not PROOF:
        return few
    store, of_run, ours = str(made.store), ("--checkpoint", str(made.run)), ("-m", "lgcoamix")
    offline = ("-m", "preprocess")
    sweep = (*ours, "sweep", "--shards", store, "--mixers", "none,cutmix", "--out", "HOME/sweep", "--", *TINY)
    return few | {
        "build in processes": Command((*build, "--backend", "loky"), "new.h5"),
        "build by lgcoamix": Command((*ours, "preprocess", *build[2:]), "new.h5"),
        "build with dask": Command((*build, "--backend", "dask"), "new.h5"),
        "train, no workers": Command((*ours, "train", *train, "--workers", "0"), "run/results.json"),
        "evaluate": Command((*ours, "evaluate", *of_run, "--shards", store, "--out", "HOME/figures"), "figures"),
        "explain": Command(
            (*ours, "explain", *of_run, "--shards", store, "--worst", "2", "--out", "HOME/seen"), "seen/images.csv"
        ),
        "export": Command((*ours, "export", *of_run, "--out", "HOME/model"), "model"),
        "predict": Command(
            (*ours, "predict", "--model", str(made.model), str(made.root), "--out", "HOME/p.csv"), "p.csv"
        ),
        "sweep": Command(sweep, "sweep/comparison.json"),
        "compare": Command((*ours, "compare", str(made.run), "--out", "HOME/compared"), "compared"),
        "replay": Command(
            (*ours, "replay", "--run", str(made.run), "--epoch", "0", "--step", "1", "--out", "HOME/replay"),
            "replay/samples.csv",
        ),
        "doctor": Command((*ours, "doctor", "--shards", store, *TINY[:-3])),
        "verify": Command((*offline, "verify", store)),
        "report": Command((*offline, "report", store, "--out", "HOME/r.html"), "r.html"),
        "duplicates": Command((*offline, "duplicates", store, "--out", "HOME/d.txt"), "d.txt"),
        "pack": Command((*offline, "pack", store, "HOME/packed.h5"), "packed.h5"),
        "export a store": Command((*offline, "export", store, "HOME/plain"), "plain"),
        "show": Command((*offline, "show", store, "--out", "HOME/s.png"), "s.png"),
        "inspect": Command((*offline, "inspect", store)),
    }


def start(command: Command, home: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *(word.replace("HOME", str(home)) for word in command.arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def is_exiting(pid: int) -> bool:
    """Whether a process has called exit: the kernel takes a while to free the memory of one that has used torch."""
    flags = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6]
    return bool(int(flags) & 0x4)  # PF_EXITING


def press(command: Command, home: Path, moment: float, number: int = signal.SIGINT) -> Press:
    """Start a command, and press after some seconds."""
    process = start(command, home)
    time.sleep(moment)
    over = process.poll() is not None or is_exiting(process.pid)
    if not over:
        os.killpg(process.pid, number)
    out, told = process.communicate(timeout=SECONDS)
    return Press(process.returncode, out, told, over, process.pid)


def finish(command: Command, home: Path) -> float:
    """Run a command to its end; return the seconds that it took."""
    process, begin = start(command, home), time.monotonic()
    _, told = process.communicate(timeout=SECONDS)
    assert process.returncode == command.code, told
    assert not command.product or (home / command.product).exists()
    return time.monotonic() - begin


def judge(command: Command, home: Path, pressed: Press, number: int = signal.SIGINT) -> str:
    """Check what a press did, and say what it was."""
    told = pressed.told
    assert all_gone(pressed.session), "processes are left"
    if pressed.over:
        assert pressed.code == command.code
        return "after the end"
    if not LINE.search(told) and not OUR_FILES.search(told) and not any(home.iterdir()) and not pressed.out:
        assert pressed.code in (1, -number), told
        return "before the first file"
    assert "Traceback" not in told, told
    assert "Exception ignored" not in told, told
    assert "leaked" not in told, told
    assert pressed.code == 128 + number, told
    assert len(LINE.findall(told)) == 1, told
    assert told.endswith(LINE.findall(told)[0]), told
    return "answered"


def assert_goes_on(command: Command, home: Path) -> None:
    """Nothing is half made, and the same command ends well."""
    kept = {path for path in home.rglob("*") if path.is_file()}
    in_processes = "loky" in command.arguments or "dask" in command.arguments
    assert in_processes or not [path for path in kept if is_leftover(path)]
    if kept and not (command.product and (home / command.product).exists()):
        finish(command, home)
        assert not [path for path in home.rglob("*") if is_leftover(path)]


def moments(all_commands: dict[str, Command], home: Path) -> Iterator[tuple[str, float]]:
    """Half of the presses in the first second of all commands in turn, the others over the rest of their time."""
    names = list(all_commands)
    half = PRESSES // 2
    for number in range(half):
        yield names[number % len(names)], (number + 1) / half
    usual = {}
    for name, command in all_commands.items():
        (home / name).mkdir()
        usual[name] = finish(command, home / name)
    rounds = -(-half // len(names))
    for number in range(half):
        name = names[number % len(names)]
        begin = 1 if usual[name] > 1 else 0
        yield name, begin + (usual[name] - begin) * (number // len(names) + 0.5) / rounds


def test_ctrl_c_ends_any_command_at_any_moment_with_one_line(made, tmp_path, capsys):
    counts, failures, todo = collections.Counter(), [], commands(made)
    for number, (name, moment) in enumerate(moments(todo, tmp_path)):
        home = tmp_path / f"press-{number}"
        home.mkdir()
        pressed = press(todo[name], home, moment)
        try:
            counts[judge(todo[name], home, pressed)] += 1
            assert_goes_on(todo[name], home)
        except AssertionError as error:
            text = f"{error}: exit code {pressed.code}, {pressed.told!r}"
            failures.append(f"{name}, pressed after {moment:.3f} s: {text}")
        shutil.rmtree(home)
    with capsys.disabled():
        print(f"\n{sum(counts.values())} presses: {dict(counts)}")  # noqa: T201
    assert not failures, "\n\n".join(failures)
    assert counts["answered"] >= PRESSES / 2
