"""Training that is killed, told to stop, or out of disk goes on with ``--resume auto`` and ends with the same bits."""

import csv
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from lgcoamix.cli import train
from lgcoamix.runs.checkpoint import save_checkpoint
from preprocess.cli import main as preprocess
from tests.conftest import PROOF, ROOT, Run, paint
from tests.lgcoamix.nursery import Nursery, Training
from tests.preprocess.build.test_survival import all_gone, fill, relieve

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")

KILLS = 20 if PROOF else 3
EPOCHS = 26 if PROOF else 4  # of 9 steps: enough that every kill falls into training
SMALL = ("--backbone", "test_resnet", "--weights", "none", "--image-size", "32", "--batch-size", "4", "--device", "cpu")
# A narrow decoder, and a rate at which nothing becomes infinite.
LONG = ("--epochs", EPOCHS, "--set", "model.width=8", "--set", "optim.lr=0.002")
SGD: tuple[str, ...] = ()
ADAMW = ("--set", "optim.optimiser=adamw", "--set", "optim.ema=0.9")
SHARED = ("--val-fraction", "0.25", "--set", "optim.accumulate=2", "--set", "mixer.mix_prob=0.8")
VARIANTS = {"adamw, average, validation, accumulation": (*ADAMW, *SHARED)}  # SGD is stopped again and again below
if PROOF:
    VARIANTS |= {
        "sgd": SGD,
        "adamw, average": ADAMW,
        "validation": ("--val-fraction", "0.3"),
        "accumulation": ("--set", "optim.accumulate=2", "--set", "optim.clip=1"),
        "cutmix in half precision": ("--mixer", "cutmix", "--amp", "bf16", "--channels-last"),
        "plain at last": ("--set", "optim.plain_epochs=3", "--set", "optim.decay=weights", "--keep", "4"),
    }

Undisturbed = Callable[..., Path]


@pytest.fixture(scope="module")
def undisturbed(nursery: Nursery, flowers_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Give the folder of a run that nothing disturbed, with checkpoints after its epochs alone."""
    home, made = tmp_path_factory.mktemp("undisturbed"), {}

    def give(*options: object) -> Path:
        if options not in made:
            made[options] = home / str(len(made))
            nursery.finish(*command_of(flowers_store, made[options], "--workers", 0, *options))
        return made[options]

    return give


def command_of(store: Path, out: Path, *options: object) -> tuple[object, ...]:
    return ("--shards", store, *SMALL, *LONG, "--no-tensorboard", "--no-pictures", "--out", out, *options)


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def bits(value: Any) -> Any:
    """The same value with every tensor as its bytes, so that == compares bits."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: bits(part) for key, part in value.items()}
    return [bits(part) for part in value] if isinstance(value, list | tuple) else value


def assert_same_end(found: Path, expected: Path) -> None:
    """Finished runs: weights, averages, optimiser, tables and results are equal, bit for bit."""
    for name in ("last.pt", "best.pt"):
        one, other = load(found / name), load(expected / name)
        for key in ("model", "model_ema", "optimiser", "scaler", "epoch", "metrics", "chosen_on", "rows"):
            assert (key in one) == (key in other)
            assert bits(one.get(key)) == bits(other.get(key)), f"{key} of {name}"
    for name in ("metrics.csv", "lambdas.csv"):
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    one, other = (json.loads((folder / "results.json").read_text()) for folder in (found, expected))
    assert {key for key in one if one[key] != other[key]} <= {"images_per_second", "waiting"}
    assert not list(found.glob(".*.tmp"))


def newest(out: Path) -> Path:
    """What a kill left: last.pt, or the one before where it came between two renames."""
    return next(path for path in (out / "last.pt", out / "last-1.pt") if path.exists())


def position(path: Path) -> tuple[int, int]:
    """Finished epochs, and steps of the next one."""
    place = load(path)["position"]
    return place["epoch"], place["step"]


def went_on_after(told: str) -> tuple[int, int]:
    found = re.search(r"resuming after step (\d+) of epoch (\d+)", told)
    assert found, told
    return int(found[2]) - 1, int(found[1])


def stamp(path: Path) -> tuple[int, int] | None:
    """Changes with every replacement of a file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def let_change(training: Training, path: Path, times: int = 1) -> None:
    for _ in range(times):
        before = stamp(path)
        training.until(lambda before=before: stamp(path) not in (before, None))


def asides(out: Path) -> set[str]:
    """Checkpoints that are being written, or were when a kill came."""
    return {path.name for path in out.glob(".last.pt.*")}


def wait_for_a_moment(training: Training, out: Path, kind: str, chance: random.Random) -> None:
    """Wait for a moment of training: at a step, while a checkpoint is written, after an epoch, soon after the start."""
    resumed = (out / "last.pt").exists() or (out / "last-1.pt").exists()
    training.until(lambda: "resuming" in training.told() if resumed else (out / "config.json").exists())
    before = asides(out)
    if kind == "step":
        let_change(training, out / "last.pt", chance.randint(1, 2))
        time.sleep(chance.uniform(0, 0.1))
    elif kind == "writing":
        training.until(lambda: asides(out) - before)
        time.sleep(chance.choice([0, 0, chance.uniform(0, 0.02)]))
    elif kind == "epoch":
        let_change(training, out / "metrics.csv")
        time.sleep(chance.uniform(0, 0.03))
    else:
        time.sleep(chance.uniform(0, 0.2))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_run_that_is_killed_again_and_again_ends_with_the_bits_of_an_undisturbed_one(
    name, nursery, undisturbed, flowers_store, tmp_path
):
    options, out, chance = VARIANTS[name], tmp_path / "run", random.Random(name)
    torn = 0
    place = None
    for kill in range(KILLS + 1):
        loading = (
            *("--workers", (2, 0, 1)[kill % 3], "--checkpoint-every", 2 + kill % 2),
            *("--loader", ("streaming", "resident")[kill // 3 % 2 if PROOF else kill % 2]),
        )
        training = nursery.start(*command_of(flowers_store, out, *options, *loading, "--resume", "auto"))
        if kill == KILLS:
            assert training.wait() == 0, training.told()
        else:
            wait_for_a_moment(training, out, ("step", "writing", "epoch", "start")[kill % 4], chance)
            training.kill()
            torn += bool(asides(out))
        assert "Traceback" not in training.told()
        if place is not None:
            assert went_on_after(training.told()) == place, "no step is lost that was saved"
        if kill < KILLS:
            assert not (out / "results.json").exists(), "killed too late"
            place = position(newest(out))
    assert torn or not PROOF, "no kill fell into the writing of a checkpoint"
    assert_same_end(out, undisturbed(*options))


def workers_of(training: Training) -> list[int]:
    """Processes that load for a process that trains."""
    return [int(pid) for pid in Path(f"/proc/{training.pid}/task/{training.pid}/children").read_text().split()]


STOPS = {"SIGTERM to all of two workers": (signal.SIGTERM, os.killpg, 2)}
if PROOF:
    STOPS |= {
        "Ctrl-C with two workers": (signal.SIGINT, os.killpg, 2),
        "SIGTERM to the process": (signal.SIGTERM, os.kill, 2),
        "SIGTERM without workers": (signal.SIGTERM, os.kill, 0),
        "Ctrl-C without workers": (signal.SIGINT, os.killpg, 0),
    }


def assert_stopped(training: Training, number: int) -> list[str]:
    """Exit code, one message, no process left behind; return the command to continue."""
    code, told = training.wait(), training.told()
    assert code == 128 + number, told
    assert "Traceback" not in told
    assert "Exception ignored" not in told
    assert all_gone(training.pid), "orphans"
    found = re.search(r"interrupted; saved after step \d+ of epoch \d+, to continue: (.*)$", told, re.MULTILINE)
    assert found, told
    return shlex.split(found[1])


def continue_with(words: list[str], nursery: Nursery) -> str:
    """Run the command that was printed; return what it told."""
    python, program, *options = words
    assert program == "train.py"
    assert options[-2:] == ["--resume", "auto"]
    assert options.count("--resume") == 1
    if PROOF:
        done = subprocess.run(
            shlex.join(words),
            shell=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr
    prefix = subprocess.run([python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=True)
    assert prefix.stdout.strip() == sys.prefix, "another Python, without what training needs"
    return nursery.finish(*options).told()


@pytest.mark.parametrize("name", STOPS)
def test_a_run_that_is_told_to_stop_saves_and_names_the_command_that_ends_with_the_same_bits(
    name, nursery, undisturbed, flowers_store, tmp_path
):
    number, send, workers = STOPS[name]
    out = tmp_path / "a run"  # a space, which a command line must quote
    training = nursery.start(*command_of(flowers_store, out, "--workers", workers, "--checkpoint-every", 4))
    let_change(training, out / "last.pt", 2)
    time.sleep(random.Random(name).uniform(0, 0.1))
    send(training.pid, number)
    words = assert_stopped(training, number)
    told = continue_with(words, nursery)
    assert went_on_after(told) >= (0, 8)
    assert_same_end(out, undisturbed())


def test_a_run_that_is_told_to_stop_again_and_again_ends_with_the_bits_of_an_undisturbed_one(
    nursery, undisturbed, flowers_store, tmp_path
):
    out, chance, place = tmp_path / "run", random.Random("stop"), None
    for stop in range(KILLS):
        options = ("--workers", (2, 1)[stop % 2], "--checkpoint-every", 500, "--resume", "auto")
        training = nursery.start(*command_of(flowers_store, out, *options))
        if stop:
            training.until(lambda training=training: "resuming after" in training.told())
        else:
            training.until((out / "config.json").exists)  # git has been a child before
        training.until(lambda training=training: workers_of(training))
        time.sleep(chance.uniform(0.1, 0.4))
        number = (signal.SIGTERM, signal.SIGINT)[stop % 3 // 2]
        training.strike(number)
        assert_stopped(training, number)
        if place is not None:
            assert went_on_after(training.told()) == place
        assert not (out / "results.json").exists(), "stopped too late"
        place = position(out / "last.pt")
    nursery.finish(*command_of(flowers_store, out, "--workers", 0, "--resume", "auto"))
    assert_same_end(out, undisturbed())


@pytest.fixture(scope="module")
def lopsided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 8 training and 200 test pictures: evaluation takes nearly all the time."""
    home = tmp_path_factory.mktemp("lopsided")
    root = home / "raw"
    for split, count in (("train", 4), ("test", 100)):
        for label, name in enumerate("ab"):
            for index in range(count):
                paint(root / split / name / f"{index}.png", 1000 * label + index, (32, 32))
    out = home / "x.h5"
    options = ("--size", "32", "--segments", "9", "--algorithm", "grid", "--shard-size", "500", "--jobs", "1")
    done = CliRunner().invoke(preprocess, ["build", "folder", "--root", str(root), "--out", str(out), *options])
    assert done.exit_code == 0, done.output
    return out


@pytest.mark.parametrize("workers", [0, 2] if PROOF else [2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM] if PROOF else [signal.SIGINT])
def test_a_run_that_is_told_to_stop_while_it_evaluates_saves_the_epoch_before_its_evaluation(
    number, workers, nursery, lopsided, tmp_path
):
    few = ("--epochs", 2, "--workers", workers)
    expected, out = tmp_path / "expected", tmp_path / "run"
    nursery.finish(*command_of(lopsided, expected, *few))
    with (expected / "timing.csv").open(newline="") as file:
        usual = {name: float(seconds) for name, seconds in list(csv.DictReader(file))[1].items()}
    training = nursery.start(*command_of(lopsided, out, *few, "--checkpoint-every", 1))
    let_change(training, out / "metrics.csv")  # the end of the first epoch; two steps follow
    let_change(training, out / "last.pt")  # after the first of them
    time.sleep(usual["train_seconds"] / 2 + usual["test_seconds"] / 3)
    training.strike(number)
    words = assert_stopped(training, number)
    assert position(out / "last.pt") == (1, 2)
    assert not (out / "results.json").exists()
    assert went_on_after(nursery.finish(*words[2:]).told()) == (1, 2)
    assert_same_end(out, expected)


def is_asleep(pid: int) -> bool:
    """Whether a process waits for something, and not merely for a core, over a fifth of a second."""
    for _ in range(20):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            return False
        time.sleep(0.01)
    return True


def test_a_second_ctrl_c_does_not_wait_for_a_loader_that_hangs(nursery, flowers_store, tmp_path):
    out = tmp_path / "run"
    training = nursery.start(*command_of(flowers_store, out, "--workers", 1, "--epochs", 500))
    let_change(training, out / "metrics.csv")
    loaders = workers_of(training)
    assert loaders
    for pid in loaders:
        os.kill(pid, signal.SIGSTOP)
    training.until(lambda: is_asleep(training.pid))  # the last batch that was loaded is used up
    before = (out / "last.pt").read_bytes()
    os.kill(training.pid, signal.SIGINT)
    time.sleep(0.5)
    assert training.poll() is None, "there was no batch to stop at"
    os.kill(training.pid, signal.SIGINT)
    assert training.wait(3) == 130
    assert re.findall("interrupted.*", training.told()) == training.told().splitlines()[-1:]
    assert "to continue from the last checkpoint: " in training.told()
    assert "Traceback" not in training.told()
    assert all_gone(training.pid), "orphans"
    assert (out / "last.pt").read_bytes() == before


def files_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of change of every file, hidden ones too."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_a_finished_run_is_taken_as_it_is_before_torch_is_imported(run: Run, undisturbed, flowers_store):
    out = undisturbed()
    before = files_of(out)
    script = (
        "import runpy, sys\n"
        "try:\n    runpy.run_path('train.py', run_name='__main__')\n"
        "except SystemExit as end:\n    print('exit', end.code, 'torch' in sys.modules)"
    )
    done = run("-c", script, *command_of(flowers_store, out, "--resume", "auto", "--workers", 5))
    assert "exit 0 False" in done.stdout, done.stdout + done.stderr
    top = json.loads((out / "results.json").read_text())["test_top1"]["last"]
    assert f"{top:.2f} %" in done.stdout
    assert "is already finished" in done.stderr
    assert files_of(out) == before


def test_a_finished_run_goes_on_from_an_older_checkpoint_that_is_named(nursery, undisturbed, flowers_store, tmp_path):
    out, older = tmp_path / "again", tmp_path / "again" / "last-1.pt"
    shutil.copytree(undisturbed(), out)
    (out / "last.pt").write_bytes(b"damaged")
    command = command_of(flowers_store, out, "--resume", older, "--workers", 0)
    assert position(older)[0] == went_on_after(nursery.finish(*command).told())[0] > 0
    assert_same_end(out, undisturbed())
    state = load(older)
    state["config"]["world"] = 2  # as of a run that two processes began
    save_checkpoint(older, state)
    told = " ".join(nursery.finish(*command).told().split())
    assert "note: the run had 2 processes, it has 1 now: every batch is divided, mixed and normalised in other" in told
    assert json.loads((out / "config.json").read_text())["worlds"] == [2, 1]


def refused(*options: object) -> str:
    """The one message of a usage error, in this process; what nobody caught would be a traceback in its own."""
    done = CliRunner().invoke(train, list(map(str, options)), catch_exceptions=False)
    assert done.exit_code == 2, done.output
    assert done.stderr.count("Error: ") == 1, done.stderr
    return " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def unfinished(nursery: Nursery, flowers_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in its second epoch."""
    out = tmp_path_factory.mktemp("unfinished") / "run"
    training = nursery.start(*command_of(flowers_store, out, "--workers", 0, "--checkpoint-every", 2))
    let_change(training, out / "metrics.csv")
    let_change(training, out / "last.pt")
    training.kill()
    assert not (out / "results.json").exists()
    return out


def test_without_resume_a_folder_that_holds_a_run_is_refused_and_stays_as_it_is(undisturbed, unfinished, flowers_store):
    for out in (undisturbed(), unfinished):
        before = files_of(out)
        message = refused(*command_of(flowers_store, out))
        assert f"the run folder {out} exists" in message
        assert "--resume auto" in message
        assert files_of(out) == before


@pytest.mark.parametrize("resume", ["auto", "last.pt"])
def test_a_folder_that_holds_something_else_is_refused_with_resume_too(resume, flowers_store, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / ".hidden.tmp").write_text("mine too")
    before = files_of(tmp_path)
    if resume != "auto":
        (tmp_path / resume).write_bytes(b"weights of another program")
        before, resume = files_of(tmp_path), str(tmp_path / resume)
    message = refused(*command_of(flowers_store, tmp_path, "--resume", resume))
    assert "is not a run folder" in message
    assert files_of(tmp_path) == before


def test_a_run_that_was_killed_before_its_configuration_was_in_place_starts_with_resume(
    nursery, undisturbed, flowers_store, tmp_path
):
    out = tmp_path / "run"
    out.mkdir()
    (out / ".lock").touch()
    (out / ".config.json.0a1b2c3d.tmp").write_bytes((undisturbed() / "config.json").read_bytes()[:100])
    nursery.finish(*command_of(flowers_store, out, "--workers", 0, "--resume", "auto"))
    assert_same_end(out, undisturbed())


def test_a_second_process_in_the_same_folder_is_refused_and_changes_nothing(nursery, flowers_store, tmp_path):
    out = tmp_path / "run"
    first = nursery.start(*command_of(flowers_store, out, "--workers", 1, "--checkpoint-every", 2))
    let_change(first, out / "last.pt")
    first.strike(signal.SIGSTOP)  # so that it is still there when the second comes
    before = files_of(out)
    del before[".lock"]  # which the second opens
    try:
        second = nursery.start(*command_of(flowers_store, out, "--resume", "auto"))
        assert second.wait() == 1
        assert f"Error: another process is training in {out}" in " ".join(second.told().split())
        assert "Traceback" not in second.told()
        assert {name: file for name, file in files_of(out).items() if name != ".lock"} == before
    finally:
        first.kill()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """40 MB: a tmpfs in a namespace of its own, which needs no root and ends with the process that holds it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    hold = f"mount -t tmpfs -o size=40m none '{folder}' && echo mounted && exec cat"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    if shutil.which("unshare") is None:
        pytest.skip("needs the command unshare")
    keeper = subprocess.Popen(["unshare", "-rm", "sh", "-c", hold], **pipes)
    try:
        if keeper.stdout.readline() != "mounted\n":
            pytest.skip("unshare -rm cannot mount a tmpfs here")
        yield Path(f"/proc/{keeper.pid}/root{folder}")
    finally:
        keeper.kill()
        keeper.communicate()


def test_a_full_disk_is_told_and_leaves_whole_checkpoints_to_go_on_from(
    nursery, undisturbed, unfinished, flowers_store, disk
):
    out = shutil.copytree(unfinished, disk / "run")
    command = command_of(flowers_store, out, "--workers", 0, "--checkpoint-every", 2, "--resume", "auto")
    checkpoints = list(out.glob("*.pt"))
    assert len(checkpoints) == 3
    before, place = {path: path.read_bytes() for path in checkpoints}, position(newest(out))
    size = (out / "last.pt").stat().st_size // 4096
    for spare in (0, 1, 2, 3, 4, 8, 100, size // 2, size) if PROOF else (8,):
        fill(disk, spare)
        training = nursery.start(*command)
        assert training.wait() == 1, training.told()
        told = training.told()
        assert told.count("Error: ") == 1, told
        assert told.count("No space left on device") == 1, told
        assert "Traceback" not in told
        assert spare < 8 or "last.pt cannot be written: No space left" in " ".join(told.split()), told
        assert {path: path.read_bytes() for path in before} == before, f"with {spare} pages"
        assert not list(out.glob(".*.tmp"))
    relieve(disk)
    assert went_on_after(nursery.finish(*command).told()) == place
    assert_same_end(out, undisturbed())
