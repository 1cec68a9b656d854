"""Odd values for every option of both command lines: a message, and nothing else; see ``Place.judge``."""

import os
import random
import re
import shutil
import signal
import stat
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import PROOF, ROOT
from tests.hostile import options
from tests.hostile.options import Case
from tests.lgcoamix.nursery import Nursery, Training

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")

SECONDS = 12  # of the slowest honest work, 2, and 10 beyond it
LONGER = {"sweep": 60, "export": 60}  # cells are processes that import torch; ONNX takes a minute
SAMPLED = 20  # cases in make test
# What must not reach a terminal: controls but for line ends, and turns of the writing direction.
_RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\udc80-\udcff]")
_FAULTS = ("Traceback", "Exception ignored", "Segmentation fault", "core dumped")
# The work grows with them, without an end.
_WORK = ("--epochs", "--seconds", "--image-size", "--size", "optim.epochs", "data.image_size", "mixer.extractor_size")
_PYTHON_WARNING = re.compile(r"\.py:\d+: \w*Warning")


class Place:
    """A folder with ``home``, the inputs of all commands, and ``work``, in which each of them runs anew."""

    def __init__(self, around: Path, nursery: Nursery) -> None:
        self.around, self.home, self.work, self.nursery = around, around / "home", around / "work", nursery
        self.home.mkdir()
        options.make_inputs(self.home)
        self.set_up()
        self.inputs = self.picture(self.around)

    def set_up(self) -> None:
        """Build a store, train a run, and export its network, by the commands themselves."""
        base = options.BASES
        self.run("preprocess", "build", *base["preprocess", "build"][:-1], "../home/s.h5")
        self.run("lgcoamix", "train", *base["lgcoamix", "train"][:-1], "../home/run")
        self.run("lgcoamix", "export", *base["lgcoamix", "export"][:-1], "../home/model")
        shutil.rmtree(self.work)

    def run(self, program: str, *words: str) -> None:
        _made(self.work)
        training = self.start(program, words)
        assert training.wait(60) == 0, training.told()

    def start(self, program: str, words: tuple[str, ...]) -> Training:
        """Start a command in ``work``, confined to it."""
        self.report = self.around.parent / "report"
        self.report.unlink(missing_ok=True)
        scratch = _made(self.around.parent / "scratch")
        offline = {"HF_HUB_OFFLINE": "1"}  # or it would try for half a minute
        places = dict.fromkeys(
            ("TMPDIR", "HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR"), str(scratch)
        )
        allowed = self.around.parent if not hasattr(self, "inputs") else self.work
        argv = (self.report, allowed, scratch, options.script(program), *words)
        return self.nursery.start(*argv, script=ROOT / "tests/hostile/confined.py", cwd=self.work, **places, **offline)

    def picture(self, folder: Path) -> dict[str, tuple[int, ...]]:
        """What lies in a folder: kind, size, time and place of everything below, ``work`` left out."""
        found = {}
        for path in folder.rglob("*"):
            if folder != self.work and path.is_relative_to(self.work):
                continue
            status = path.lstat()
            times = (status.st_ino, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else ()
            found[str(path.relative_to(folder))] = (status.st_mode, *times)
        return found

    def judge(self, case: Case) -> tuple[object, float, list[str]]:
        """Run a case. Exit code, seconds, and what it should not have done."""
        shutil.rmtree(self.work, ignore_errors=True)
        options.lay_out(_made(self.work))
        if case.command == "sweep":
            shutil.copytree(self.home / "run", self.work / "sweep" / "none-s0")
        before, begin = self.picture(self.work), time.monotonic()
        training = self.start(case.program, case.words)
        latest = begin + LONGER.get(case.command, SECONDS)
        while training.poll() is None and time.monotonic() < latest:
            time.sleep(0.003)
        seconds = time.monotonic() - begin
        found = []
        if training.poll() is None:
            os.killpg(training.pid, signal.SIGKILL)
            training.wait()
            found += [] if "hangs" in _honest(case) else ["hangs"]
        said, told = (_text(path) for path in (training.out, training.err))
        told = told.partition("nanobind: ")[0]
        report = _text(self.report)
        code = training.exit_code
        self.told = said + told
        found += [] if code in (0, 1, 2, -9) else [f"exit code {code}"]
        found += [fault for fault in _FAULTS if fault in self.told]
        warned = [line for line in told.splitlines() if _PYTHON_WARNING.search(line)]
        found += [f"Python warns: {line}" for line in warned if "Python warns" not in _honest(case)]
        found += [f"prints {raw[0]!r}"] if (raw := _RAW.search(self.told)) else []
        found += ["prints a line of the value"] if re.search(r"^forged", self.told, re.MULTILINE) else []
        lines = {line for line in report.splitlines() if not line.startswith(_honest(case))}
        found += sorted(lines)[:3]
        now = self.picture(self.work)
        lost = [name for name, status in before.items() if now.get(name) != status and not name.startswith("empty")]
        found += [f"replaces {lost[0]}"] if lost else []
        found += [f"leaves {name}" for name in now if name.endswith(".tmp") and "leaves" not in _honest(case)]
        if code == 2:
            found += [f"writes {name}" for name in now.keys() - before.keys()][:1]
            found += [] if _names(case, self.told) else ["does not name the option"]
        around = self.picture(self.around)
        changed = [name for name, status in self.inputs.items() if around.get(name) != status]
        again = case.command == "export" and case.odd == "../home/model"  # an earlier output is replaced
        found += [f"changes {changed[0]}"] if changed and not again else []
        if around != self.inputs:
            found += (
                [f"writes {name}" for name in around.keys() - self.inputs.keys()]
                if "written" not in _honest(case)
                else []
            )
            self.mend()
        if code == 1 and "Error: " not in told and case.command not in ("diff", "predict"):
            found.append("fails without a message")
        return code, seconds, found

    def mend(self) -> None:
        """Forget what a case did to the inputs."""
        for path in self.around.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        del self.inputs
        self.home.mkdir()
        options.make_inputs(self.home)
        self.set_up()
        self.inputs = self.picture(self.around)


def _honest(case: Case) -> tuple[str, ...]:
    """What the command line asks for, and no fault is."""
    option, honest = case.option, []
    if option in ("--workers", "--jobs", "--backend", "--seeds") or case.command == "sweep" or "loky" in case.words:
        honest += ["process", "Python warns"]  # torch of more workers than cores
    if option in ("--wandb", "--scheduler", "--backend"):
        honest += ["process", "network"]
    if option in ("--out", "FOLDER", "OUT") and (case.odd.startswith("../") or case.value == "left out"):
        honest += ["written"]
    if case.command == "demo" or "pretrained" in case.words or (option == "--weights" and case.value == "left out"):
        honest += ["hangs", "process", "network", "leaves"]  # the recipe's weights are pretrained
    if option in _WORK or (option == "--set" and case.value.split()[1].startswith(_WORK)):
        honest += ["hangs", "leaves"]
    return tuple(honest)


def _names(case: Case, told: str) -> bool:
    """Whether a usage error names what is odd."""
    option = case.option.lstrip("-").replace("-", "_")
    words = {case.option, option.upper(), option.replace("_", "-"), option, case.odd[:20], repr(case.odd)[1:20]}
    if case.option == "--set":
        key, _, value = case.value.partition("=")
        words |= {key.partition(".")[2], "section.key=value", value and repr(value), f"no model {case.odd[-1:]!r}"}
    words.update(re.split(r"[,=\s]+", case.odd))
    return any(word and word in told for word in words) or case.option in ("EXTRA", "command", "OPTIONS")


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="surrogateescape") if path.exists() else ""


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="module")
def place(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(_made(tmp_path_factory.mktemp("odd") / "around"), nursery)


def _counted(counts: Counter) -> str:
    commands = sorted({command for command, _ in counts})
    return "; ".join(
        f"{command}: "
        + ", ".join(f"exit {code} {counts[command, code]}" for code in (0, 1, 2) if counts[command, code])
        for command in commands
    )


def sample(everything: list[Case]) -> list[Case]:
    """A few of each command for make test: the same in every run."""
    return everything if PROOF else random.Random(18).sample(everything, SAMPLED)


def test_an_odd_value_gives_a_message_and_does_nothing_else(place, capsys):
    counts, faults = Counter(), []
    for case in sample(list(options.cases())):
        code, _, found = place.judge(case)
        counts[f"{case.program} {case.command}", code] += 1
        faults += [f"{case}: {', '.join(found)}"] if found else []
    with capsys.disabled():
        sys.stderr.write(f"\n{sum(counts.values())} odd values: {_counted(counts)}\n")
    assert not faults, "\n".join(faults)
