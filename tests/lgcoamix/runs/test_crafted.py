"""Checkpoints, run folders and models that somebody made to do harm: each is refused by a message, at once."""

import fcntl
import os
import re
import shutil
import signal
import socket
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from lgcoamix.cli import main
from lgcoamix.data import EpochBatches
from lgcoamix.errors import RunError
from lgcoamix.export.folder import read_exported
from lgcoamix.mixing import make_mixer
from lgcoamix.models import LocalGlobalNet, WeightsError
from lgcoamix.models.statistics import statistics_of
from lgcoamix.ops.distributed import Ranks
from lgcoamix.runs.checkpoint import load_resumable, save_checkpoint
from lgcoamix.runs.folder import RunFolder
from lgcoamix.runs.load import make_network, read_trained
from lgcoamix.settings.sections import DataSettings, ModelSettings, Settings
from lgcoamix.training.optim import make_optimiser
from lgcoamix.training.state import TrainingState
from lgcoamix.training.step import Step
from tests.lgcoamix.runs.checkpoints import describe, write_checkpoint

CLASSES = ("daisy", "iris", "tulip")
NETWORK = ModelSettings("test_resnet", "none", width=8)
SETTINGS = Settings(data=DataSettings(image_size=32), model=NETWORK).with_method("none")
WEIGHT = "backbone.net.fc.weight"
State = dict[str, Any]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of rare tensors


@pytest.fixture(autouse=True)
def _at_once_and_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing here may wait, or open a connection."""

    def refuse(*arguments: object) -> None:
        pytest.fail(f"a connection to {arguments}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits"))
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def training() -> TrainingState:
    """A run of nine steps in an epoch, after its first step."""
    torch.manual_seed(0)
    net = LocalGlobalNet("test_resnet", len(CLASSES), "none", 32, local=False)
    optimiser, ranks = make_optimiser(net, SETTINGS.optim), Ranks(torch.device("cpu"), 0, 1)
    net(torch.rand(4, 3, 32, 32)).logits.sum().backward()
    optimiser.step()
    step = Step(net, make_mixer("none"), optimiser, statistics_of(SETTINGS), ranks)
    return TrainingState(step, EpochBatches(36, 4, 0), describe(SETTINGS, CLASSES))


@pytest.fixture
def sound(training: TrainingState) -> State:
    """A checkpoint after its first epoch, as the run folder saves it."""
    training.enter(1)
    row = {"epoch": 0, "lr": 0.01, "loss": 1.5, "test_top1": 50.0}
    timing = {"epoch": 0, "train_seconds": 1.0, "images_per_second": 36.0, "waiting": 0.0}
    state = training.state_dict([row], {"sums": {}, "weights": {}})
    return deepcopy(state | {"rows": [row], "timings": [timing], "lambda_bytes": 0, "chosen_on": "test"})


class Made:
    """What the pickle makes by a call."""

    def __init__(self, make: Callable, *arguments: object) -> None:
        self.made = make, arguments

    def __reduce__(self) -> tuple:
        return self.made


def _beyond(count: int) -> Made:
    """A tensor of many elements over the memory of four."""
    with warnings.catch_warnings(action="ignore"):
        storage = torch.zeros(4).storage()
    return Made(torch._utils._rebuild_tensor_v2, storage, 0, (count,), (1,), False, OrderedDict())


def _thrice(depth: int) -> list:
    nested = ["ha"]
    for _ in range(depth):
        nested = [nested] * 3
    return nested


def _loop() -> list:
    loop: list = []
    loop.append(loop)
    return loop


def put(path: str, value: object) -> Callable[[State], object]:
    """Put a value at a path of keys."""

    def change(state: State) -> None:
        *way, last = path.split("/")
        for key in way:
            state = state[int(key) if isinstance(state, list) or key.isdigit() else key]
        state[int(last) if isinstance(state, list) or last.isdigit() else last] = value

    return change


def drop(name: str) -> Callable[[State], object]:
    return lambda state: state.pop(name)


OPTIM, DATA = "config/settings/optim", "config/settings/data"
CRAFTED: dict[str, tuple[Callable[[State], object], str]] = {
    "more elements than memory": (put(f"model/{WEIGHT}", _beyond(10**12)), "damaged"),
    "a negative shape": (put(f"model/{WEIGHT}", _beyond(-4)), "damaged"),
    "one element a billion times": (put(f"model/{WEIGHT}", torch.zeros(1).expand(10**12)), "is larger than its data"),
    "sparse": (put(f"model/{WEIGHT}", torch.eye(3).to_sparse()), "expected plain ones"),
    "quantized": (put(f"model/{WEIGHT}", torch.quantize_per_tensor(torch.rand(3), 0.1, 0, torch.quint8)), "plain"),
    "without values": (put(f"model/{WEIGHT}", torch.zeros(3, device="meta")), "expected plain ones"),
    "complex": (put(f"model/{WEIGHT}", torch.zeros(3, dtype=torch.complex64)), "is complex"),
    "NaN": (put(f"model/{WEIGHT}", torch.full((3, 96), torch.nan)), f"{WEIGHT} is not finite: its training diverged"),
    "another shape": (put(f"model/{WEIGHT}", torch.zeros(3, 95)), "size mismatch for backbone.net.fc.weight"),
    "no tensor": (put(f"model/{WEIGHT}", "zero"), "expected tensors by name"),
    "millions of names": (lambda s: s["metrics"].update({f"{n:900}": 0 for n in range(10**4)}), "takes more than"),
    "a bomb of references": (put("metrics", _thrice(40)), "too many parts"),
    "a loop": (put("metrics", _loop()), "too many parts"),
    "digits": (put("epoch", 10**5000), "damaged"),
    "other objects": (put("metrics", Made(os.getcwd)), "other things than plain tensors"),
    "no configuration": (put("config", []), "config: expected a dictionary"),
    "a tensor in it": (put(f"{OPTIM}/lr", torch.zeros(3)), "not JSON serializable"),
    "no classes": (put("config/classes", []), "config.classes: expected at least 1 item"),
    "a class twice": (put("config/classes", ["daisy", "iris", "daisy"]), "config.classes: .*expected different names"),
    "a bell in a class": (put("config/classes/1", "ir\ais"), "config.classes.1: .*expected no control characters"),
    "a nameless class": (put("config/classes/1", ""), "config.classes.1: expected at least 1 character"),
    "deep settings": (put(f"{OPTIM}/lr", [[[1]]]), "settings.optim.lr: .*expected a number, a text"),
    "store": (put("config/store/keys", {"train/images": 1}), "store.keys.train/images: expected a text"),
    "images": (
        put("config/store/images", {"size": 64, "resize": "squash", "codec": "raw"}),
        "images.pillow: is missing",
    ),
    "threads": (put("config/threads", 100_000), "config.threads: expected .* of at most 1024"),
    "position": (put("position/epoch", -1), "position.epoch: expected a number of at least 0 .*, got -1"),
    "a position beyond": (put("position/step", 10), "position: expected at most epoch 100 and step 9, got"),
    "time": (put("position/seconds", float("inf")), "position.seconds: expected a finite number"),
    "rows": (drop("rows"), "rows: is missing"),
    "a row too few": (put("rows", []), "expected 1 rows and timings"),
    "a row of text": (
        put("rows", [{"epoch": 0, "lr": 1.0, "loss": "low"}]),
        "rows.0.loss: expected a number, got 'low'",
    ),
    "a row without loss": (put("rows/0", {"epoch": 0}), "rows.0: .*expected epoch, lr and loss"),
    "bytes": (put("lambda_bytes", -5), "lambda_bytes: expected a number of at least 0"),
    "no optimiser": (put("optimiser/param_groups", []), "other groups of parameters"),
    "a rate of text": (put("optimiser/param_groups/0/lr", "fast"), r"param_groups.0.lr: expected a number, got 'fast'"),
    "another decay": (
        put("optimiser/param_groups/0/weight_decay", 1e9),
        r"param_groups.0.weight_decay: expected 0.0005, got 1000000000.0",
    ),
    "means of other names": (put("means", {"sums": {"loss": 1.0}, "weights": {}}), "means: .*of the same names"),
    "another momentum": (
        put("optimiser/state/0/momentum_buffer", torch.zeros(7)),
        r"optimiser.state.0.momentum_buffer: expected a tensor of shape",
    ),
    "a scaler of text": (put("scaler", {"scale": "x"}), "scaler.scale: expected a number"),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_checkpoint_is_refused_with_the_field(name, sound, training, tmp_path):
    change, message = CRAFTED[name]
    change(sound)
    save_checkpoint(tmp_path / "last.pt", sound)
    with pytest.raises((RunError, ValueError), match=message) as caught:
        training.load(load_resumable(tmp_path / "last.pt"), SETTINGS.optim.epochs)
    assert "\n" not in str(caught.value)


def test_the_sound_checkpoint_is_taken(sound, training, tmp_path):
    save_checkpoint(tmp_path / "last.pt", sound)
    training.load(load_resumable(tmp_path / "last.pt"), SETTINGS.optim.epochs)
    assert training.progress.epoch == 1


INFERENCE = {  # what stands in the configuration of best.pt: what is said
    "a side of a million": (put(f"{DATA}/image_size", 10**6), r"settings.data: image_size must lie in \[1, 4096\]"),
    "a ratio without end": (put(f"{DATA}/ratio", (1.0, 10.0**300)), "settings.data: ratio must be LOW,HIGH with"),
    "width": (put("config/settings/model/width", 10**9), r"settings.model: width must lie in \[1, 4096\]"),
    "a rate of text": (put(f"{OPTIM}/lr", "fast"), "settings.optim: lr must be a number, got 'fast'"),
    "epochs": (put(f"{OPTIM}/epochs", True), "settings.optim: epochs must be an integer, got True"),
    "classes": (put("config/classes", [str(n) for n in range(70_000)]), r"expected float32 of shape \(70000"),
    "a network of 4 GB": (put("config/settings/model/backbone", "vit_giant_patch14_224"), "does not match .*missing"),
    "a folder": (put("config/settings/model/backbone", "local-dir:/tmp"), "backbone must be the name of a network"),
    "the hub": (put("config/settings/model/backbone", "hf-hub:timm/resnet18"), "backbone must be the name of a"),
    "no network": (put("config/settings/model/backbone", "resnet19"), "does not match .*timm has no model 'resnet19'"),
}


@pytest.mark.parametrize("name", INFERENCE)
def test_a_crafted_configuration_builds_no_network(name, sound, tmp_path):
    change, message = INFERENCE[name]
    change(sound)
    save_checkpoint(tmp_path / "best.pt", sound)
    with pytest.raises(RunError, match=message):
        make_network(read_trained(tmp_path / "best.pt"))


def test_weights_that_a_checkpoint_names_are_not_opened_to_use_it(sound, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    put("config/settings/model/weights", str(tmp_path / "fifo"))(sound)
    save_checkpoint(tmp_path / "best.pt", sound)
    assert make_network(read_trained(tmp_path / "best.pt")).backbone.net.num_classes == 3


def test_an_archive_that_unpacks_is_refused(sound, tmp_path):
    save_checkpoint(tmp_path / "plain.pt", sound)
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "last.pt", "w", 8) as packed:
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member))
    with pytest.raises(RunError, match="its entries are compressed, or larger than the file"):
        load_resumable(tmp_path / "last.pt")


@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "weights.safetensors", "weights.npz"])
def test_initial_weights_run_no_code_and_wait_for_nobody(name, tmp_path):
    path = tmp_path / name
    trap = tmp_path / "it ran"
    torch.save({"fc.weight": Made(os.mkdir, str(trap))}, path)
    os.mkfifo(tmp_path / f"fifo-{name}")
    for file in (path, tmp_path / f"fifo-{name}"):
        with pytest.raises(WeightsError, match=re.escape(f"cannot load {str(file)!r}")):
            LocalGlobalNet("test_resnet", 3, str(file), 32, local=False)
    assert not trap.exists()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("exported")
    write_checkpoint(home / "best.pt", SETTINGS, CLASSES)
    done = CliRunner().invoke(main, ["export", "--checkpoint", str(home), "--out", str(home / "model")])
    assert done.exit_code == 0, done.output
    return home / "model"


def test_of_a_model_only_its_own_weights_are_read(exported, tmp_path):
    home, trap = tmp_path / "model", tmp_path / "it ran"
    shutil.copytree(exported, home)
    for name in ("pytorch_model.bin", "model.pth", "modeling.py"):
        torch.save(Made(os.mkdir, str(trap)), home / name)
    assert read_exported(home).classes == CLASSES
    (home / "model.safetensors").unlink()
    with pytest.raises(RunError, match=r"model.safetensors cannot be read: No such file"):
        read_exported(home)
    (home / "model.safetensors").symlink_to(exported / "model.safetensors")
    with pytest.raises(RunError, match=r"is a link that leaves it"):
        read_exported(home)
    (home / "model.safetensors").unlink()
    os.mkfifo(home / "model.safetensors")
    with pytest.raises(RunError, match=r"expected a regular file, it is a FIFO"):
        read_exported(home)
    assert not trap.exists()


@pytest.mark.parametrize("length", [2**40, 2**63, 10])
def test_a_header_of_weights_that_lies_is_refused(length, exported, tmp_path):
    home = tmp_path / "model"
    shutil.copytree(exported, home)
    text = (home / "config.json").read_text()
    (home / "config.json").write_text(re.sub(r'"sha256": "\w+",', "", text))
    data = (home / "model.safetensors").read_bytes()
    (home / "model.safetensors").write_bytes(length.to_bytes(8, "little") + data[8:])
    with pytest.raises(RunError, match="cannot be loaded"):
        read_exported(home)
    save_file({"fc.weight": torch.zeros(1)}, home / "model.safetensors")
    with pytest.raises(RunError, match="tensors are missing"):
        read_exported(home)


COMMANDS = {
    "compare": ("compare", "HOME"),
    "evaluate": ("evaluate", "--checkpoint", "HOME", "--shards", "STORE", "--device", "cpu"),
    "explain": ("explain", "--checkpoint", "HOME", "--shards", "STORE", "--worst", "1", "--out", "OUT"),
    "export": ("export", "--checkpoint", "HOME", "--out", "OUT"),
    "predict": ("predict", "--model", "HOME", "STORE", "--out", "OUT.csv"),
    "replay": ("replay", "--run", "HOME", "--epoch", "0", "--step", "0"),
    "train": ("train", "--shards", "STORE", "--out", "HOME", "--resume", "auto"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_of_fifos_keeps_no_command_waiting(name, flowers_store, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    for file in ("config.json", "results.json", "best.pt", "last.pt", "model.safetensors", "lambdas.csv", ".lock"):
        os.mkfifo(home / file)
    places = {"HOME": str(home), "STORE": str(flowers_store), "OUT": str(tmp_path / "out")}
    words = [re.sub("HOME|STORE|OUT", lambda found: places[found[0]], word) for word in COMMANDS[name]]
    done = CliRunner().invoke(main, words)
    assert isinstance(done.exception, SystemExit), repr(done.exception)
    assert (done.exit_code, done.stderr.count("Error: ")) == (1, 1), done.output


def test_half_made_folders_of_other_commands_do_not_stop_a_run(tmp_path):
    killed, running = (tmp_path / f".evaluation-test.{number}-abcdef12.tmp" for number in (1, 2))
    for folder in (killed, running):
        folder.mkdir()
        (folder / "predictions.csv").write_text("key")
    descriptor = os.open(running, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with RunFolder(tmp_path, "test"):
        assert [killed.exists(), running.exists()] == [False, True]
    os.close(descriptor)


def test_a_run_writes_through_no_link_that_leaves_its_folder(flowers_store, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for name in (".lock", "lambdas.csv", "curves.png"):
        home = tmp_path / f"run-{name}"
        home.mkdir()
        (home / name).symlink_to(tmp_path / "mine.txt")
        (home / "config.json").write_text("{}")
        words = ("train", "--shards", str(flowers_store), "--out", str(home), "--resume", "auto", "--device", "cpu")
        done = CliRunner().invoke(main, [*words, "--backbone", "test_resnet", "--weights", "none", "--workers", "0"])
        assert (done.exit_code, "a link that leaves the folder" in done.output) == (1, True), done.output
    assert (tmp_path / "mine.txt").read_text() == "mine"
