"""What ``replay`` makes again is what a hooked training was given, bit for bit."""

import csv
import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

import lgcoamix.training.run
from lgcoamix.cli import main
from lgcoamix.errors import RunError
from lgcoamix.mixing import Mixed
from lgcoamix.models import WeightsError
from lgcoamix.ops.batch import Batch
from lgcoamix.runs.checkpoint import checkpoints_in
from lgcoamix.settings.report import silent
from lgcoamix.training.replay import Part, Replay
from lgcoamix.training.step import Step
from preprocess.cli import main as preprocess
from preprocess.store import Store
from tests.conftest import paint

SMALL = ("--backbone", "test_resnet", "--weights", "none", "--image-size", "32", "--batch-size", "8", "--device", "cpu")
QUIET = ("--workers", "0", "--no-tensorboard", "--no-pictures", "--epochs", "2", "--set", "optim.lr=0.002")
# A last map of 2x2 cells: of a single cell, nothing that a network sees would decide anything.
SNAPMIX = ("--mixer", "snapmix", "--image-size", "64")
OCCAMIX = ("--mixer", "occamix", "--image-size", "64", "--set", "mixer.top_cells=1", "--set", "mixer.mix_prob=0.9")
GRID = ("--algorithm", "grid", "--jobs", "1")  # where any regions do, in this process
EXACT = ("images", "labels_a", "labels_b", "weight_a", "weight_b", "regions")


@dataclass(frozen=True)
class Hooked:
    """A finished run, and all that its loss was given: one entry a forward pass, in order."""

    folder: Path
    seen: list[Mixed]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def train_hooked(store: Path, out: Path, *options: object) -> Hooked:
    """Train with the real command, and look into the loss function."""
    seen: list[Mixed] = []
    make = lgcoamix.training.run.make_mixer

    def hooked(name: str, **values: object) -> object:
        mixer = make(name, **values)
        inner = mixer.loss

        def loss(output: object, mixed: Mixed) -> dict[str, Tensor]:
            seen.append(mixed)
            return inner(output, mixed)

        object.__setattr__(mixer, "loss", loss)
        return mixer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lgcoamix.training.run, "make_mixer", hooked)
        done = invoke("train", "--shards", store, "--out", out, *SMALL, *QUIET, *options)
    assert done.exit_code == 0, done.output
    return Hooked(out, seen)


def replayed(run: Path, epoch: int, step: int, shards: Path | None = None) -> list[Part]:
    return list(Replay(run, shards, "cpu", silent()).parts(epoch, step))


def assert_same(found: Mixed, wanted: Mixed) -> None:
    for name in EXACT:
        here, there = getattr(found, name), getattr(wanted, name)
        assert (here is None) == (there is None), name
        if here is not None:
            assert here.dtype == there.dtype, name
            assert torch.equal(here, there), name
    assert found.count == wanted.count


@pytest.fixture(scope="module")
def streaming(flowers_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Hooked:
    """LGCOAMix, loaded by two processes: 36 images, so 5 steps an epoch, the last of 4 images."""
    out = tmp_path_factory.mktemp("runs") / "streaming"
    return train_hooked(flowers_store, out, "--mixer", "lgcoamix", "--loader", "streaming", "--workers", "2")


@pytest.fixture(scope="module")
def looked_once(flowers_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Hooked:
    """SnapMix, which looks with the network that it trains; treat its files as read-only."""
    return train_hooked(flowers_store, tmp_path_factory.mktemp("runs") / "looked", *SNAPMIX)


@pytest.fixture
def looked(looked_once: Hooked, tmp_path: Path) -> Hooked:
    """A copy that a test may change."""
    return replace(looked_once, folder=shutil.copytree(looked_once.folder, tmp_path / "run"))


CASES = {
    "resident": ("--mixer", "lgcoamix", "--loader", "resident"),
    "mixup, normalised, padded crops": (
        *("--mixer", "mixup", "--set", "data.normalise=backbone", "--set", "data.crop=pad", "--image-size", "64"),
    ),
    "cutmix in half precision, averaged weights, held-out images": (
        *("--mixer", "cutmix", "--amp", "bf16", "--channels-last", "--set", "optim.ema=0.9", "--val-fraction", "0.25"),
    ),
    "snapmix, which looks with the network, in two parts a step": (
        *(*SNAPMIX, "--set", "mixer.mid=true", "--set", "mixer.mix_prob=1", "--set", "optim.accumulate=2"),
    ),
    "occamix, in two parts a step, nothing mixed in the last epoch": (
        *(*OCCAMIX, "--set", "optim.accumulate=2", "--set", "optim.plain_epochs=1"),
    ),
    "live maps": ("--mixer", "superpixel_grid", "--maps", "live"),
    "none": ("--mixer", "none", "--set", "data.crop=random"),
}


def test_every_step_is_what_the_streaming_loader_and_the_mixer_gave(streaming):
    assert len(streaming.seen) == 10
    assert len({mixed.regions is None for mixed in streaming.seen}) == 2, "mixed and unmixed steps"
    replay = Replay(streaming.folder, None, "cpu", silent())
    for number, wanted in enumerate(streaming.seen):
        (part,) = replay.parts(number // 5, number % 5)
        assert_same(part.mixed, wanted)


@pytest.mark.parametrize("case", CASES)
def test_steps_are_what_the_training_was_given(case, flowers_store, tmp_path):
    hooked = train_hooked(flowers_store, tmp_path / "run", *CASES[case])
    parts = 2 if "two parts" in case else 1
    steps = len(hooked.seen) // (2 * parts)
    assert any(not torch.equal(mixed.labels_a, mixed.labels_b) for mixed in hooked.seen) == (case != "none")
    replay = Replay(tmp_path / "run", None, "cpu", silent())
    for epoch, step in ((0, 0), (0, steps - 1), (1, 1), (0, 2)):
        found = list(replay.parts(epoch, step))
        first = (epoch * steps + step) * parts
        assert len(found) == parts
        for part, wanted in zip(found, hooked.seen[first : first + parts], strict=True):
            assert_same(part.mixed, wanted)


def test_attentive_cutmix_looks_again_with_its_own_network(flowers_store, tmp_path, extractor):
    options = [f"--set=mixer.{name}={value}" for name, value in extractor.items()]
    hooked = train_hooked(flowers_store, tmp_path / "run", "--mixer", "attentive_cutmix", *options)
    for step in (0, 3):
        (part,) = replayed(hooked.folder, 1, step)
        assert_same(part.mixed, hooked.seen[5 + step])


def test_an_extractor_of_other_bytes_is_refused(flowers_store, tmp_path, extractor):
    path = shutil.copy(extractor["extractor_weights"], tmp_path / "weights.pt")
    options = [f"--set=mixer.{name}={value}" for name, value in (extractor | {"extractor_weights": path}).items()]
    run = ("--shards", flowers_store, *SMALL, *QUIET, "--mixer", "attentive_cutmix", *options)
    assert invoke("train", *run, "--epochs", 1, "--out", tmp_path / "run").exit_code == 0
    torch.save({name: value + 1 for name, value in torch.load(path).items()}, path)
    done = invoke("replay", "--run", tmp_path / "run", "--epoch", 0, "--step", 0)
    assert done.exit_code == 1
    assert re.search(r"mixer.extractor_weights is sha256 \w{64} here, sha256 \w{64} in the run", done.output)


@pytest.mark.usefixtures("undrawn")
def test_images_of_their_own_sizes(flowers, tmp_path):
    for split in ("train", "test"):
        for name in ("daisy", "iris"):
            folder = tmp_path / "raw" / split / name
            folder.mkdir(parents=True)
            for path in sorted((flowers / split / name).iterdir())[:8]:
                shutil.copy(path, folder)
    store = tmp_path / "own.h5"
    options = ["--size", "64", "--resize", "short", "--segments", "12,30", "--out", str(store), *GRID]
    done = CliRunner().invoke(preprocess, ["build", "folder", "--root", str(tmp_path / "raw"), *options])
    assert done.exit_code == 0, done.output
    hooked = train_hooked(store, tmp_path / "run", "--mixer", "lgcoamix", "--set", "mixer.mix_prob=1")
    (part,) = replayed(hooked.folder, 1, 1)
    assert_same(part.mixed, hooked.seen[3])
    done = invoke("replay", "--run", hooked.folder, "--epoch", 1, "--step", 1, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    with (tmp_path / "out" / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        with Image.open(tmp_path / "raw" / row["key"]) as image:
            width, height = image.size
        assert 0 <= int(row["left"]) <= int(row["left"]) + int(row["width"]) <= round(width * 64 / min(width, height))


def test_a_network_that_looks_is_trained_again_from_the_checkpoint_before(flowers_store, tmp_path):
    hooked = train_hooked(flowers_store, tmp_path / "run", *SNAPMIX, "--checkpoint-every", "2", "--keep", "9")
    said: list[str] = []
    replay = Replay(hooked.folder, None, "cpu", replace(silent(), say=said.append))
    (part,) = replay.parts(1, 3)
    assert "retraining 1 steps from epoch 1, step 2" in said[-1]
    assert_same(part.mixed, hooked.seen[8])
    (part,) = replay.parts(0, 1)
    assert "retraining 1 steps from the beginning" in said[-1]
    assert_same(part.mixed, hooked.seen[1])
    before = len(said)
    (part,) = replay.parts(1, 0)
    assert len(said) == before, "a checkpoint is at this very step"
    assert_same(part.mixed, hooked.seen[5])
    for path in checkpoints_in(hooked.folder):
        path.unlink()
    (part,) = replay.parts(1, 3)
    assert "retraining 8 steps from the beginning" in said[-1], "over an epoch's end, with another rate"
    assert_same(part.mixed, hooked.seen[8])


def test_a_damaged_checkpoint_is_passed_over(looked):
    data = bytearray((looked.folder / "last.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (looked.folder / "last.pt").write_bytes(data)
    said: list[str] = []
    (part,) = Replay(looked.folder, None, "cpu", replace(silent(), say=said.append)).parts(1, 2)
    assert "last.pt is damaged" in said[0]
    assert "retraining 2 steps from epoch 1, step 0" in said[1]
    assert_same(part.mixed, looked.seen[7])


def test_starting_weights_are_needed_only_to_begin_from_them(flowers_store, tmp_path, monkeypatch):
    weights = tmp_path / "begin" / "weights.pt"
    weights.parent.mkdir()
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), weights)
    monkeypatch.chdir(weights.parent)
    begin = ("--weights", "weights.pt", *SNAPMIX)
    hooked = train_hooked(flowers_store, tmp_path / "run", *begin)
    monkeypatch.chdir(tmp_path)
    (part,) = replayed(tmp_path / "run", 0, 1)
    assert_same(part.mixed, hooked.seen[1])
    weights.unlink()
    (part,) = replayed(tmp_path / "run", 1, 1)  # from the checkpoint after the first epoch
    assert_same(part.mixed, hooked.seen[6])
    with pytest.raises(WeightsError, match=r"weights\.pt"):
        replayed(tmp_path / "run", 0, 1)


def test_one_process_cannot_train_again_what_two_did(looked):
    config = json.loads((looked.folder / "config.json").read_text())
    (looked.folder / "config.json").write_text(json.dumps(config | {"world": 2}))
    with pytest.raises(RunError, match="was trained by 2 processes"):
        replayed(looked.folder, 1, 2)
    parts = replayed(looked.folder, 1, 0)  # at a checkpoint
    assert [part.rank for part in parts] == [0, 1]
    (looked.folder / "config.json").write_text(json.dumps(config | {"world": 2, "worlds": [2, 1]}))
    with pytest.raises(
        RunError, match="was trained by 2, then 1 processes, and which steps by how many is not recorded"
    ):
        replayed(looked.folder, 1, 0)


def test_a_replay_computes_with_the_threads_of_the_run_and_leaves_others_alone(streaming, monkeypatch):
    config = json.loads((streaming.folder / "config.json").read_text())
    assert config["threads"] == torch.get_num_threads() == 1
    replay = Replay(streaming.folder, None, None, silent())
    replay.config["threads"] = 2
    seen = []
    monkeypatch.setattr(Replay, "_parts_of", lambda *_: seen.append(torch.get_num_threads()) or iter(()))
    assert list(replay.parts(0, 0)) == []
    assert (seen, torch.get_num_threads()) == ([2], 1)


@pytest.mark.usefixtures("undrawn")
def test_a_step_that_an_unfinished_run_has_not_come_to_is_told(streaming, tmp_path):
    run = shutil.copytree(streaming.folder, tmp_path / "run")
    (run / "results.json").unlink()
    (run / "last-1.pt").replace(run / "last.pt")  # as if it had ended after its first epoch
    for epoch, told in ((0, False), (1, True)):
        done = invoke("replay", "--run", run, "--epoch", epoch, "--step", 2, "--out", tmp_path / "out")
        assert (done.exit_code, "newest checkpoint is before step 0 of epoch 1" in done.output) == (0, told)


def test_a_class_whose_name_looks_like_a_formula(tmp_path, flowers_store):
    for split in ("train", "test"):
        for number, name in enumerate((r"cost $\frac$ x", "b")):
            for place in range(4):
                paint(tmp_path / "raw" / split / name / f"{place}.png", 10 * number + place)
    store = tmp_path / "f.h5"
    options = ["--size", "64", "--segments", "9", "--out", str(store), *GRID]
    done = CliRunner().invoke(preprocess, ["build", "folder", "--root", str(tmp_path / "raw"), *options])
    assert done.exit_code == 0, done.output
    mixed = ("--mixer", "superpixel_grid", "--set", "mixer.mix_prob=1", "--epochs", "1")
    hooked = train_hooked(store, tmp_path / "run", *mixed)
    key = next(key for key in Store(store).keys("train") if "frac" in key)
    for which in (("--step", 0), ("--sample", key)):
        done = invoke("replay", "--run", hooked.folder, "--epoch", 0, *which)
        assert done.exit_code == 0, done.output
    assert (hooked.folder / ("replay-e0-" + key.replace("/", "-")) / "sample.png").is_file()


RANKS = """
import sys, torch
import lgcoamix.training.run
make, seen = lgcoamix.training.run.make_mixer, []
def hooked(name, **values):
    mixer = make(name, **values)
    inner = mixer.loss
    object.__setattr__(mixer, "loss", lambda output, mixed: seen.append(vars(mixed)) or inner(output, mixed))
    return mixer
lgcoamix.training.run.make_mixer = hooked
from lgcoamix.cli import train
try:
    train.main(sys.argv[2:], standalone_mode=False)
finally:
    import os
    torch.save(seen, f"{sys.argv[1]}-{os.environ['RANK']}.pt")
"""


@pytest.mark.usefixtures("undrawn")
def test_two_processes_that_share_a_batch(nursery, flowers_store, tmp_path):
    (tmp_path / "hooked.py").write_text(RANKS)
    options = ("--shards", flowers_store, "--out", tmp_path / "run", "--mixer", "lgcoamix")
    batch = ("--batch-size", "17")  # 36 images: the last batch, of two, is of one process alone
    arguments = (tmp_path / "seen", *options, *SMALL, *QUIET, *batch)
    nursery.finish_ranks(2, *arguments, script=tmp_path / "hooked.py")
    seen = [torch.load(tmp_path / f"seen-{rank}.pt", weights_only=False) for rank in (0, 1)]
    for epoch, step in ((0, 1), (1, 0), (1, 2)):
        parts = replayed(tmp_path / "run", epoch, step)
        assert [part.rank for part in parts] == ([0] if step == 2 else [0, 1])
        for part in parts:
            assert_same(part.mixed, Mixed(**seen[part.rank][3 * epoch + step]))
    folder = tmp_path / "out"
    done = invoke("replay", "--run", tmp_path / "run", "--epoch", 0, "--step", 1, "--out", folder)
    assert done.exit_code == 0, done.output
    wanted = {"samples.csv"} | {f"batch-rank{rank}-part0.{kind}" for rank in (0, 1) for kind in ("png", "safetensors")}
    assert {path.name for path in folder.iterdir()} == wanted
    done = invoke("replay", "--run", tmp_path / "run", "--epoch", 0, "--step", 2, "--out", folder)
    assert done.exit_code == 0, done.output
    assert {path.name for path in folder.iterdir()} == {"samples.csv", "batch.png", "batch.safetensors"}


def test_every_rank_looks_before_the_parts_of_another_move_the_statistics(looked, monkeypatch):
    config = json.loads((looked.folder / "config.json").read_text())
    config["settings"]["optim"]["accumulate"] = 2
    (looked.folder / "config.json").write_text(json.dumps(config | {"world": 2}))
    plan, seen = Step.plan, {}

    def watched(step: Step, batch: Batch, epoch: int, number: int, is_open: bool, part: int) -> object:
        seen[step.ranks.rank, part] = torch.cat([value.flatten().double() for value in step.network.buffers()])
        return plan(step, batch, epoch, number, is_open, part)

    monkeypatch.setattr(Step, "plan", watched)
    replayed(looked.folder, 1, 0)  # at a checkpoint
    assert torch.equal(seen[0, 0], seen[1, 0])
    assert not torch.equal(seen[0, 0], seen[0, 1])


def test_the_command_writes_tensors_table_and_picture(streaming, flowers_store, tmp_path):
    step = next(number for number in range(5) if streaming.seen[number].regions is not None)
    out = tmp_path / "new" / "look"
    done = invoke("replay", "--run", streaming.folder, "--epoch", 0, "--step", step, "--out", out)
    assert done.exit_code == 0, done.output
    assert "8 images, mixed by lgcoamix" in done.output
    tensors, wanted = load_file(out / "batch.safetensors"), streaming.seen[step]
    for name in EXACT:
        assert torch.equal(tensors[name], getattr(wanted, name)), name
    with safe_open(out / "batch.safetensors", "pt") as file:
        about = file.metadata()
    assert about == {
        "method": "lgcoamix", "epoch": "0", "step": str(step), "count": str(wanted.count), "rank": "0"
    }  # fmt: skip
    with (out / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    store = Store(flowers_store)
    keys, labels = store.keys("train"), store.labels("train")
    assert [row["key"] for row in rows] == [keys[sample] for sample in tensors["samples"].tolist()]
    for place, row in enumerate(rows):
        partner = int(tensors["permutation"][place])
        assert row["partner"] == rows[partner]["key"]
        assert row["label"] == store.classes[labels[keys.index(row["key"])]]
        assert row["partner_label"] == rows[partner]["label"]
        assert float(row["weight_b"]) == pytest.approx(float(wanted.weight_b[place]))
        assert row["segments"] in ("12", "30")
        # The source is the stored image through the window that the table names: Pillow is not OpenCV, but near.
        top, left, height, width = (int(row[name]) for name in ("top", "left", "height", "width"))
        stored = Image.fromarray(store.images("train", [keys.index(row["key"])])[0])
        shown = np.asarray(stored.crop((left, top, left + width, top + height)).resize((32, 32), Image.BILINEAR))
        shown = shown[:, ::-1] if row["flip"] == "1" else shown
        source = tensors["sources"][place].permute(1, 2, 0).numpy() * 255
        found = unnormalised(source)
        assert np.abs(found - shown).mean() < 6
    with Image.open(out / "batch.png") as picture:
        assert picture.height > 2 * picture.width, "8 rows of 4"


def unnormalised(source: np.ndarray) -> np.ndarray:
    """Bytes again: the recipe ``general`` normalises with the numbers of the backbone's configuration."""
    cfg = timm.get_pretrained_cfg("test_resnet")
    return source * np.asarray(cfg.std) + 255 * np.asarray(cfg.mean)


@pytest.mark.usefixtures("undrawn")
def test_an_unmixed_step_is_shown_as_it_is(streaming, tmp_path):
    step = next(number for number in range(5) if streaming.seen[number].regions is None)
    done = invoke("replay", "--run", streaming.folder, "--epoch", 0, "--step", step, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "not mixed" in done.output
    tensors = load_file(tmp_path / "batch.safetensors")
    assert torch.equal(tensors["images"], tensors["sources"])
    assert "permutation" not in tensors


def test_a_sample_is_followed_to_its_batch(streaming, flowers_store, tmp_path):
    store = Store(flowers_store)
    key = store.keys("train")[17]
    done = invoke("replay", "--run", streaming.folder, "--epoch", 1, "--sample", key, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    step = int(re.search(r"is used at step (\d+) of epoch 1", done.output)[1])
    tensors = load_file(tmp_path / "sample.safetensors")
    assert np.array_equal(tensors["stored"].numpy(), store.images("train", [17])[0])
    maps = [store.maps("train", scale.segments, [17])[0] for scale in store.scales]
    assert any(np.array_equal(tensors["stored_map"].numpy(), each) for each in maps)
    assert tensors["shown"].shape == (3, 32, 32)
    assert set(tensors["shown_map"].unique().tolist()) <= set(tensors["stored_map"].unique().tolist())
    (part,) = replayed(streaming.folder, 1, step)
    place = part.batch.samples.tolist().index(17)
    assert torch.equal(tensors["input"], part.batch.images[place])
    assert torch.equal(tensors["shown_map"], part.batch.maps[place]) or part.batch.maps is None
    assert (tmp_path / "sample.png").stat().st_size > 5000


def test_another_store_is_refused_and_a_moved_one_is_named(streaming, flowers_store, tmp_path, painted):
    moved = tmp_path / "elsewhere.h5"
    shutil.copy(flowers_store, moved)
    shutil.copytree(flowers_store.with_suffix(".shards"), tmp_path / "flowers.shards")
    (part,) = replayed(streaming.folder, 0, 0, moved)
    assert_same(part.mixed, streaming.seen[0])
    run = tmp_path / "run"
    shutil.copytree(streaming.folder, run)
    config = json.loads((run / "config.json").read_text())
    config["store"]["path"] = str(tmp_path / "gone.h5")
    (run / "config.json").write_text(json.dumps(config))
    done = invoke("replay", "--run", run, "--epoch", 0, "--step", 0)
    assert (done.exit_code, "pass its new location with --shards" in done.output) == (1, True)
    done = CliRunner().invoke(
        preprocess, ["build", "folder", "--root", str(painted), "--size", "64", "--out", str(tmp_path / "o.h5"), *GRID]
    )
    assert done.exit_code == 0, done.output
    done = invoke("replay", "--run", run, "--epoch", 0, "--step", 0, "--shards", tmp_path / "o.h5")
    assert (done.exit_code, "o.h5" in done.output, "Traceback" in done.output) == (1, True, False)


@pytest.mark.parametrize(
    ("options", "code", "answer"),
    [
        (("--epoch", 0), 2, "expected either --step or --sample KEY"),
        (("--epoch", 0, "--step", 0, "--sample", "x"), 2, "expected either --step or --sample KEY"),
        (("--epoch", 2, "--step", 0), 2, "--epoch must be between 0 and 1"),
        (("--epoch", 1, "--step", 5), 2, "--step must be between 0 and 4"),
        (("--epoch", 0, "--sample", "daisy"), 2, "did you mean train/daisy/"),
        (("--epoch", 0, "--sample", "no-such"), 2, "keys are like train/daisy/"),
        (("--step", 0), 2, "Missing option '--epoch'"),
    ],
    ids=str,
)
def test_a_usage_error_says_what_there_is(streaming, options, code, answer):
    done = invoke("replay", "--run", streaming.folder, *options)
    assert done.exit_code == code, done.output
    assert answer in " ".join(done.output.split())


def test_a_folder_without_a_run(tmp_path):
    done = invoke("replay", "--run", tmp_path, "--epoch", 0, "--step", 0)
    assert (done.exit_code, "has no config.json" in done.output) == (1, True)
    for text, answer in (("[]", "is damaged"), ("{", "is damaged"), ('{"architecture": ""}', "is an exported model")):
        (tmp_path / "config.json").write_text(text)
        done = invoke("replay", "--run", tmp_path, "--epoch", 0, "--step", 0)
        assert (done.exit_code, answer in done.output) == (1, True), done.output


def test_a_held_out_sample_is_not_trained_on(flowers_store, tmp_path):
    hooked = train_hooked(flowers_store, tmp_path / "run", "--mixer", "none", "--val-fraction", "0.25", "--epochs", "1")
    keys = Store(flowers_store).keys("train")
    replay = Replay(hooked.folder, None, "cpu", silent())
    trained = {int(sample) for step in range(4) for part in replay.parts(0, step) for sample in part.batch.samples}
    assert len(trained) == 27
    held = next(key for number, key in enumerate(keys) if number not in trained)
    done = invoke("replay", "--run", hooked.folder, "--epoch", 0, "--sample", held)
    assert done.exit_code == 1
    assert "validation" in done.output


@pytest.mark.usefixtures("undrawn")
def test_a_sample_of_a_run_with_live_maps_shows_no_stored_map(flowers_store, tmp_path):
    live = ("--mixer", "lgcoamix", "--maps", "live", "--epochs", "1")
    hooked = train_hooked(flowers_store, tmp_path / "run", *live)
    key = Store(flowers_store).keys("train")[3]
    done = invoke("replay", "--run", hooked.folder, "--epoch", 0, "--sample", key, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert load_file(tmp_path / "out" / "sample.safetensors").keys() == {"stored", "shown", "shown_map", "input"}
