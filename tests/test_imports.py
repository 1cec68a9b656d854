"""Which modules an import or a command pulls in."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run, paint
from tests.preprocess.conftest import build_here

OFFLINE = {"cv2", "albumentations", "numba", "skimage", "h5py"}
TRAINING = {"torch", "timm", "lgcoamix"}

# Imported in turn, in one process: each may load what those before it must not.
STEPS = {
    "mathematics": "lgcoamix.ops.pooling, lgcoamix.ops.losses, lgcoamix.mixing",
    "models": "lgcoamix.models",
    "training": "lgcoamix.training.step, lgcoamix.training.epoch, lgcoamix.data.loader",
    "data": "lgcoamix.data, lgcoamix.data.transforms",
}
BEGIN = """
import json, os, socket, sys
os.environ.pop("NO_ALBUMENTATIONS_UPDATE", None)  # without it albumentations asks for its newest version
tried = []

def refuse(*args, **kwargs):
    tried.append(repr(args))
    raise OSError("no network in this test")

socket.getaddrinfo = socket.create_connection = socket.socket.connect = socket.socket.connect_ex = refuse
"""
LOADED = "print(json.dumps([sorted({name.split('.')[0] for name in sys.modules}), tried]))"


def loaded(run: Run, *imports: str) -> Iterator[tuple[set[str], list[str]]]:
    """Top-level packages in memory after each of several imports in one process, and what it asked of the network."""
    done = run("-c", "\n".join([BEGIN, *(f"import {names}\n{LOADED}" for names in imports)]))
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        found, tried = json.loads(line)
        yield set(found), tried


@pytest.fixture(scope="module")
def memory(run: Run) -> dict[str, tuple[set[str], list[str]]]:
    return dict(zip(STEPS, loaded(run, *STEPS.values()), strict=True))


def test_mathematics_needs_torch_alone_and_models_add_timm_alone(memory):
    (mathematics, _), (models, _) = memory["mathematics"], memory["models"]
    assert "torch" in mathematics
    assert not mathematics & (OFFLINE | {"timm", "preprocess"})
    assert "timm" in models
    assert not models & (OFFLINE | {"preprocess"})


def test_a_training_step_needs_no_store(memory):
    found, _ = memory["training"]
    assert {"torch", "timm"} <= found
    assert not found & OFFLINE


def test_importing_the_data_pipeline_loads_no_albumentations_and_reaches_for_no_network(memory):
    found, tried = memory["data"]
    assert "albumentations" not in found
    assert tried == []


def test_the_offline_stage_needs_no_training_package(run):
    modules = "preprocess.build.run, preprocess.cli, preprocess.inspect.verify, preprocess.inspect.sheet"
    ((found, _),) = loaded(run, modules)
    assert "h5py" in found
    assert not found & TRAINING


WORKER = """
import json, sys
from pathlib import Path
import joblib
from preprocess.datasets import DATASETS
from preprocess.build.plan import BuildSettings, make_plan
from preprocess.superpixels import Scale
from preprocess.build.task import run_task

def work(task, home, stem, settings):
    report = run_task(task, home, stem, settings)
    return report.maps_computed, sorted({name.split(".")[0] for name in sys.modules})

root, out = map(Path, sys.argv[1:])
settings = BuildSettings("folder", (Scale(4, 1.0),), size=16)
plan = make_plan(out, DATASETS["folder"].find(root), settings)
jobs = (joblib.delayed(work)(task, plan.home, plan.stem, settings) for task in plan.tasks)
print(json.dumps(joblib.Parallel(n_jobs=2)(jobs)))
"""


def test_a_worker_of_the_offline_stage_loads_no_training_package(run, painted, tmp_path):
    done = run("-c", WORKER, painted, tmp_path / "x.h5")
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert [computed for computed, _ in answers] == [10, 6]
    for _, found in answers:
        assert {"joblib", "h5py", "skimage"} <= set(found)
        assert not set(found) & TRAINING


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two training pictures and one for testing."""
    home = tmp_path_factory.mktemp("tiny")
    for seed, name in enumerate(("train/a/0", "train/a/1", "test/a/0")):
        paint(home / "raw" / f"{name}.png", seed)
    return build_here(home / "raw", home / "tiny.h5").path


@pytest.fixture(scope="module")
def without_torch(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PYTHONPATH under which ``import torch`` fails."""
    home = tmp_path_factory.mktemp("without-torch")
    (home / "sitecustomize.py").write_text(
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'torch':\n"
        "            raise ImportError('torch was asked for')\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    return f"{home}:{ROOT}"


# Command line, exit code, a part of the answer.
ANSWERS = (
    ("train --help", 0, "--val-fraction"),
    ("train --list-recipes", 0, "cub-resnet18"),
    ("train --show-recipe cub-resnet18", 0, "--mixer lgcoamix"),
    ("train", 2, "--shards"),
    ("train --shards no/such/store.h5", 2, "no/such/store.h5"),
    ("train --shards STORE --mixer cutmicks", 2, "did you mean cutmix?"),
    ("train --shards STORE --recipe cub-resnet81", 2, "did you mean cub-resnet18"),
    ("train --shards STORE --set mixer.select_prop=0.4", 2, "did you mean mixer.select_prob"),
    ("train --shards STORE --set optim.lr=fast", 2, "optim.lr takes a number"),
    ("train --shards STORE --set data.crop=random --image-size 65", 2, "larger than the stored 16"),
    ("evaluate --help", 0, "--drop-grid"),
    ("evaluate", 2, "--checkpoint"),
    ("evaluate --checkpoint STORE --shards STORE --fgsm a", 2, "got 'a'"),
    ("evaluate --checkpoint STORE --shards STORE --split tset", 2, "did you mean test"),
    ("explain --help", 0, "--worst"),
    ("explain --checkpoint STORE --shards STORE --out x", 2, "expected either --keys or --worst"),
    ("explain --checkpoint STORE --shards STORE --out x --worst 2 --split tset", 2, "did you mean test"),
    ("explain --checkpoint STORE --shards STORE --out STORE --worst 2", 2, "is an input of this command"),
    ("replay --help", 0, "--sample"),
    ("doctor --help", 0, "--seconds"),
    ("export --help", 0, "--onnx"),
    ("export --checkpoint STORE --out x --push-to-hub birds", 2, "--push-to-hub: expected USER/NAME"),
    ("convert --help", 0, "--classes"),
    ("convert", 2, "Missing argument 'FILE'"),
    ("convert STORE --from snapmx --backbone resnet50 --classes 5 --out x", 2, "did you mean 'snapmix'?"),
    ("convert STORE --from snapmix --backbone resnet50 --out x", 2, "expected --classes FILE"),
    ("convert STORE --from snapmix --backbone resnet50 --classes 0 --out x", 2, "from 1 to 999,999"),
    ("convert STORE --from snapmix --backbone resnet50 --shards STORE --out STORE", 2, "is an input of this command"),
    ("predict --help", 0, "--top"),
    ("compare --help", 0, "--across-protocols"),
    ("sweep --help", 0, "--cell"),
)
INVOKE = """
import json, sys
from click.testing import CliRunner
from lgcoamix.cli import main
for line in sys.argv[1:]:
    done = CliRunner().invoke(main, line.split(), env={"COLUMNS": "200"})
    print(json.dumps([done.exit_code, done.output, repr(done.exception)]))
"""


@pytest.fixture(scope="module")
def answers(run: Run, without_torch: str, store: Path) -> dict[str, list]:
    """Exit code, output and exception of every command line, from one process."""
    lines = [line for line, _, _ in ANSWERS]
    done = run("-c", INVOKE, *(line.replace("STORE", str(store)) for line in lines), PYTHONPATH=without_torch)
    assert done.returncode == 0, done.stderr
    return dict(zip(lines, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize(("line", "code", "answer"), ANSWERS, ids=[line for line, _, _ in ANSWERS])
def test_help_and_usage_errors_answer_without_torch(answers, line, code, answer):
    exit_code, output, exception = answers[line]
    assert exit_code == code, output
    assert exception == "None" or exception.startswith("SystemExit"), exception
    assert answer in " ".join(output.split())


def test_the_script_answers_a_mistake_without_torch_and_without_a_traceback(run, without_torch, store):
    done = run("train.py", "--shards", store, "--mixer", "cutmicks", PYTHONPATH=without_torch)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "did you mean cutmix?" in done.stderr


def test_torch_is_really_refused_there(run, without_torch):
    done = run("-c", "import torch", PYTHONPATH=without_torch)
    assert "torch was asked for" in done.stderr
