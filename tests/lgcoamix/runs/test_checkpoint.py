"""What checkpoints hold, which ones are refused and why, and which runs they belong to."""

import csv
import hashlib
import json
import os
import random
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from click.testing import CliRunner, Result

from lgcoamix.cli import train
from lgcoamix.errors import RunError
from lgcoamix.runs.checkpoint import load_checkpoint, save_checkpoint
from lgcoamix.runs.folder import RunFolder
from lgcoamix.settings.sections import ModelSettings, Settings
from lgcoamix.training import run as running
from preprocess.cli import main as preprocess
from preprocess.store import Store
from tests.conftest import PROOF, paint
from tests.lgcoamix.runs.checkpoints import write_checkpoint

SMALL = ("--backbone", "test_resnet", "--weights", "none", "--image-size", "32", "--batch-size", "4", "--device", "cpu")
DRAWN = (*SMALL, "--workers", "0", "--no-tensorboard", "--epochs", "3", "--set", "optim.lr=0.002")
BASE = (*DRAWN, "--no-pictures")
EVERY = 2
STEPS = 9  # of an epoch: 36 images
PLACES = [(epoch, step) for epoch in range(3) for step in (2, 4, 6, 8, 9)]  # of all checkpoints, 9 the end of an epoch
FLIPS = 300 if PROOF else 20


def invoke(*options: object) -> Result:
    """The command in this process; an exception that nobody caught would be a traceback in a process of its own."""
    done = CliRunner().invoke(train, list(map(str, options)))
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert "Traceback" not in done.stderr
    return done


def refused(*options: object, code: int = 1) -> str:
    """The one message of a command that fails."""
    done = invoke(*options)
    assert done.exit_code == code, done.output
    assert done.stderr.count("Error: ") == 1
    return " ".join(done.stderr.split())


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def same(one: Any, other: Any) -> bool:
    """Whether nested values are equal, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return (
            one.dtype == other.dtype and one.shape == other.shape and one.numpy().tobytes() == other.numpy().tobytes()
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(flowers_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that kept every checkpoint it wrote."""
    out = tmp_path_factory.mktemp("whole") / "run"
    keep = ("--checkpoint-every", EVERY, "--keep", 40)
    assert invoke("--shards", flowers_store, *BASE, *keep, "--out", out).exit_code == 0
    return out


@pytest.fixture(scope="module")
def plain(flowers_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with checkpoints after its epochs alone."""
    out = tmp_path_factory.mktemp("plain") / "run"
    assert invoke("--shards", flowers_store, *BASE, "--out", out).exit_code == 0
    return out


def age_of(place: tuple[int, int]) -> int:
    """How many checkpoints came after the one of this place."""
    return len(PLACES) - 1 - PLACES.index(place)


def saved(whole: Path, place: tuple[int, int]) -> Path:
    age = age_of(place)
    return whole / (f"last-{age}.pt" if age else "last.pt")


@pytest.fixture
def left(whole: Path, tmp_path: Path) -> Callable[..., Path]:
    """Give a folder as a kill soon after a checkpoint leaves it: that one, the one before, and longer tables."""

    def give(place: tuple[int, int], name: str = "run") -> Path:
        out, index = tmp_path / name, PLACES.index(place)
        out.mkdir()
        for file in ("config.json", "lambdas.csv", *["metrics.csv", "timing.csv", "best.pt"] * (index > 4)):
            shutil.copy(whole / file, out / file)
        for file, number in (("last.pt", index), ("last-1.pt", index - 1)):
            if number >= 0:
                shutil.copy(saved(whole, PLACES[number]), out / file)
        return out

    return give


def assert_same_end(found: Path, expected: Path) -> None:
    for name in ("last.pt", "best.pt"):
        one, other = load(found / name), load(expected / name)
        for key in ("model", "optimiser", "epoch", "metrics", "rows"):
            assert same(one.get(key), other.get(key)), f"{key} of {name}"
    for name in ("metrics.csv", "lambdas.csv"):
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name


def test_kept_checkpoints_stand_at_every_step_that_was_asked_for_and_after_every_epoch(whole):
    numbers = {int(path.stem.partition("-")[2] or 0) for path in whole.glob("last*.pt")}
    assert numbers == set(range(len(PLACES)))
    with (whole / "metrics.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    lambdas = (whole / "lambdas.csv").read_bytes()
    for epoch, step in PLACES:
        state = load(saved(whole, (epoch, step)))
        expected = (epoch + 1, 0) if step == STEPS else (epoch, step)
        assert (state["position"]["epoch"], state["position"]["step"]) == expected
        assert [row["test_top1"] for row in state["rows"]] == [row["test_top1"] for row in rows[: expected[0]]]
        assert state["model"]["backbone.net.bn1.num_batches_tracked"] == epoch * STEPS + step
        known = lambdas[: state["lambda_bytes"]].decode().splitlines()
        assert [line.split(",")[:2] for line in known[1:]] == [
            line.split(",")[:2]
            for line in lambdas.decode().splitlines()[1:]
            if tuple(map(int, line.split(",")[:2])) < (epoch, step)
        ]


def test_checkpoints_change_nothing_about_the_run(whole, plain):
    assert_same_end(whole, plain)


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_checkpoints_stay_as_are_asked_for(keep, left, plain, flowers_store):
    out = left((2, 2))
    (out / "last-1.pt").unlink()
    options = ("--checkpoint-every", 3, "--keep", keep, "--resume", "auto")
    assert invoke("--shards", flowers_store, *BASE, *options, "--out", out).exit_code == 0
    kept = ["last.pt", "last-1.pt", "last-2.pt"][:keep]
    assert {name for name in names_in(out) if name.startswith("last")} == set(kept)
    places = [load(out / name)["position"] for name in kept]
    assert [(place["epoch"], place["step"]) for place in places] == [(3, 0), (2, 6), (2, 3)][:keep]
    assert_same_end(out, plain)


@pytest.mark.parametrize("place", PLACES if PROOF else [(0, 4), (1, 9)])
def test_every_checkpoint_leads_to_the_same_end(place, left, plain, flowers_store):
    out = left(place)
    done = invoke("--shards", flowers_store, *BASE, "--resume", "auto", "--out", out)
    assert done.exit_code == 0, done.output
    epoch, step = (place[0] + 1, 0) if place[1] == STEPS else place
    assert f"resuming after step {step} of epoch {epoch + 1}" in done.stderr
    assert_same_end(out, plain)


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_was_killed_while_it_drew_its_pictures_only_draws_them(left, plain, flowers_store):
    out = left(PLACES[-1])
    before = (out / "last.pt").read_bytes()
    done = invoke("--shards", flowers_store, *DRAWN, "--resume", "auto", "--out", out)
    assert done.exit_code == 0, done.output
    assert (out / "last.pt").read_bytes() == before
    assert_same_end(out, plain)
    results = [json.loads((folder / "results.json").read_text()) for folder in (out, plain)]
    assert results[0]["test_top1"] == results[1]["test_top1"]
    assert {"curves.png", "mixed.png", "lambda.png"} <= set(names_in(out))


def test_a_run_goes_on_from_the_checkpoint_before_where_a_kill_fell_between_two_renames(left, plain, flowers_store):
    out = left((2, 6))
    (out / "last.pt").unlink()
    done = invoke("--shards", flowers_store, *BASE, "--resume", "auto", "--out", out)
    assert "resuming after step 4 of epoch 3" in done.stderr
    assert_same_end(out, plain)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def cut_by_one(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip(path: Path) -> None:
    place = next(iter(places_in_tensors(path, random.Random(5), 1)))
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def be_another_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no checkpoint")


def be_weights_of_another_program(path: Path) -> None:
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, path)


def be_a_tensor(path: Path) -> None:
    torch.save(torch.zeros(3), path)


def be_text(path: Path) -> None:
    path.write_text("no checkpoint\n" * 100)


def be_of_another_format(path: Path) -> None:
    torch.save({**load(path), "format": 99}, path)


def be_weights_alone(path: Path) -> None:
    shutil.copy(path.with_name("best.pt"), path)


DAMAGE = {
    "cut short": (cut, "damaged"),
    "cut by one byte": (cut_by_one, "damaged"),
    "empty": (empty, "damaged"),
    "one bit": (flip, "is damaged.* does not match its checksum"),
    "another zip": (be_another_zip, "not a checkpoint of this program"),
    "another program's": (be_weights_of_another_program, "not a checkpoint of this program"),
    "a tensor": (be_a_tensor, "not a checkpoint of this program"),
    "text": (be_text, "not a checkpoint of this program"),
    "another format": (be_of_another_format, "has checkpoint format 99, this program reads 1"),
    "best.pt": (be_weights_alone, "holds weights, not the state of a run"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_checkpoint_that_cannot_be_used_is_named_and_nothing_is_changed(name, left, flowers_store):
    damage, message = DAMAGE[name]
    out = left((1, 2))
    damage(out / "last.pt")
    before = contents(out)
    told = refused("--shards", flowers_store, *BASE, "--resume", "auto", "--out", out)
    assert str(out / "last.pt") in told
    assert re.search(message, told), told
    assert {key: data for key, data in contents(out).items() if key != ".lock"} == before


def test_the_remedy_for_a_damaged_checkpoint_ends_with_the_same_bits(left, plain, flowers_store):
    out = left((2, 4))
    cut(out / "last.pt")
    told = refused("--shards", flowers_store, *BASE, "--resume", "auto", "--out", out)
    found = re.search(r"--resume (\S+)", told)
    assert found, told
    assert found[1] == str(out / "last-1.pt")
    done = invoke("--shards", flowers_store, *BASE, "--resume", found[1])  # the folder is the checkpoint's
    assert done.exit_code == 0, done.output
    assert "resuming after step 2 of epoch 3" in done.stderr
    assert_same_end(out, plain)


def test_the_checkpoint_that_is_named_is_resumed_beside_a_damaged_best_one_too(left, flowers_store):
    out = left(PLACES[-1])
    for name in ("last.pt", "best.pt"):
        cut(out / name)
    done = invoke("--shards", flowers_store, *BASE, "--resume", out / "last-1.pt")
    assert done.exit_code == 0, done.output
    assert (out / "best.pt.set-aside").exists()


def test_an_older_checkpoint_is_not_named_where_there_is_none(left, flowers_store):
    out = left((0, 2))
    cut(out / "last.pt")
    assert "--resume" not in refused("--shards", flowers_store, *BASE, "--resume", "auto", "--out", out)


def test_a_newer_checkpoint_is_not_called_older(left, flowers_store):
    out = left((0, 4))
    cut(out / "last-1.pt")
    told = refused("--shards", flowers_store, *BASE, "--resume", out / "last-1.pt", "--out", out)
    assert "older" not in told


class _Evil:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(zipped, left, flowers_store, tmp_path):
    out, trap = left((1, 2)), tmp_path / "it ran"
    evil = {**load(out / "last.pt"), "metrics": _Evil(trap)}
    torch.save(evil, out / "last.pt", _use_new_zipfile_serialization=zipped)
    told = refused("--shards", flowers_store, *BASE, "--resume", "auto", "--out", out)
    assert str(out / "last.pt") in told
    assert not trap.exists()
    torch.load(out / "last.pt", weights_only=False)  # the trap works
    assert trap.exists()


def places_in_tensors(path: Path, chance: random.Random, count: int) -> list[int]:
    """Random places in a file that hold bytes of tensors."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        members = [info for info in archive.infolist() if "/data/" in info.filename and info.file_size]
        places = []
        for info in chance.choices(members, weights=[info.file_size for info in members], k=count):
            file.seek(info.header_offset + 26)
            lengths = file.read(4)
            start = info.header_offset + 30 + int.from_bytes(lengths[:2], "little")
            start += int.from_bytes(lengths[2:], "little")
            places.append(start + chance.randrange(info.file_size))
    return places


@pytest.fixture(scope="module")
def small_state(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with all keys and few tensors, so that hundreds can be read."""
    state = load(whole / "last.pt")
    state["model"] = dict(list(state["model"].items())[:8])
    state["optimiser"] = {"state": {}, "param_groups": state["optimiser"]["param_groups"]}
    path = tmp_path_factory.mktemp("small") / "last.pt"
    save_checkpoint(path, {key: value for key, value in state.items() if key != "format"})
    assert path.stat().st_size > 5_000
    return path


def test_any_changed_byte_of_a_tensor_is_noticed(small_state, tmp_path):
    chance, data = random.Random(0), small_state.read_bytes()
    path = tmp_path / "last.pt"
    for place in places_in_tensors(small_state, chance, FLIPS):
        changed = bytearray(data)
        changed[place] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(RunError, match=r"last\.pt is damaged"):
            load_checkpoint(path)


def read(path: Path) -> tuple[str, dict[str, Any] | None]:
    """Why a checkpoint is refused, or what it holds."""
    try:
        return "", load_checkpoint(path)
    except RunError as error:
        return str(error), None


def test_a_byte_that_changes_anywhere_is_noticed_or_makes_no_difference(small_state, tmp_path):
    chance, data, expected = random.Random(1), small_state.read_bytes(), load(small_state)
    path, noticed = tmp_path / "last.pt", 0
    outside = random.Random(2).sample(range(len(data)), FLIPS * 3)
    for place in [*outside, *range(len(data) - 2 * FLIPS, len(data)), *range(FLIPS)]:  # its table of contents as well
        changed = bytearray(data)
        changed[place] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        message, found = read(path)
        if found is None:
            noticed += 1
            assert str(path) in message
            assert "\n" not in message
        else:
            assert same(found, expected), f"byte {place}"
    assert noticed > FLIPS


def test_a_checkpoint_that_is_cut_anywhere_is_noticed(small_state, tmp_path):
    data, path = small_state.read_bytes(), tmp_path / "last.pt"
    for length in random.Random(3).sample(range(len(data)), FLIPS):
        path.write_bytes(data[:length])
        with pytest.raises(RunError, match=r"last\.pt is damaged"):
            load_checkpoint(path)


def test_what_is_not_there_or_no_file_is_told(tmp_path):
    with pytest.raises(RunError, match=r"last\.pt cannot be opened: No such file"):
        load_checkpoint(tmp_path / "last.pt")
    with pytest.raises(RunError, match=r"cannot be opened: expected a regular file, it is a folder"):
        load_checkpoint(tmp_path)


def test_a_mistyped_checkpoint_is_told_and_makes_no_folder(flowers_store, tmp_path):
    wrong = tmp_path / "rnu" / "last.pt"
    assert str(wrong) in refused("--shards", flowers_store, *BASE, "--resume", wrong, code=2)
    assert not wrong.parent.exists()


def test_a_checkpoint_of_another_folder_is_refused_and_makes_no_folder(left, flowers_store, tmp_path):
    out = left((1, 2))
    options = (*BASE, "--mixer", "none")  # a method without lambdas.csv
    other = tmp_path / "other"
    assert invoke("--shards", flowers_store, *options, "--epochs", 1, "--out", out / "none").exit_code == 0
    (out / "none" / "results.json").unlink()
    refused(
        *("--shards", flowers_store, *options, "--epochs", 1),
        *("--resume", out / "none" / "last.pt", "--out", other),
        code=2,
    )
    assert not other.exists()


CHANGES = {
    "seed": (("--seed", 1), "seed is 1 here, 0 in the run"),
    "epochs": (("--epochs", 4), "optim.epochs is 4 here, 3 in the run"),
    "validation": (("--val-fraction", 0.25), "val_fraction is 0.25 here, 0.0 in the run"),
    "learning rate": (("--set", "optim.lr=0.003"), "optim.lr is 0.003 here, 0.002 in the run"),
    "crop": (("--set", "data.scale=0.5,1"), r"data.scale is .*0.5, 1.* here, .*0.35, 1.* in the run"),
    "batch size": (("--batch-size", 6), "optim.batch_size is 6 here, 4 in the run"),
    "mixer": (("--mixer", "cutmix"), "method is cutmix here, lgcoamix in the run"),
    "option of the mixer": (("--set", "mixer.mix_prob=0.7"), "mixer.mix_prob is 0.7 here, 0.5 in the run"),
    "recipe": (("--recipe", "cub-resnet18"), "recipe is cub-resnet18 here, general in the run"),
    "backbone": (("--backbone", "test_vit"), "model.backbone is test_vit here, test_resnet in the run"),
    "precision": (("--amp", "bf16"), "compute.amp is bf16 here, off in the run"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_recipe_is_refused_and_the_difference_named(name, left, flowers_store):
    changes, message = CHANGES[name]
    out = left((1, 2))
    before = contents(out)
    told = refused("--shards", flowers_store, *BASE, *changes, "--resume", "auto", "--out", out)
    assert re.search(message, told), told
    assert f"{out} contains another run" in told
    assert {key: data for key, data in contents(out).items() if key != ".lock"} == before


@pytest.mark.parametrize("name", ["seed", "epochs"])
def test_a_finished_run_of_another_recipe_is_refused_too(name, plain, flowers_store):
    changes, message = CHANGES[name]
    before = contents(plain)
    assert re.search(message, refused("--shards", flowers_store, *BASE, *changes, "--resume", "auto", "--out", plain))
    assert contents(plain) == before


def test_a_run_that_was_killed_before_its_first_checkpoint_is_that_of_its_configuration(whole, flowers_store, tmp_path):
    shutil.copy(whole / "config.json", tmp_path / "config.json")
    changes, message = CHANGES["seed"]
    told = refused("--shards", flowers_store, *BASE, *changes, "--resume", "auto", "--out", tmp_path)
    assert message in told
    assert (tmp_path / "config.json").read_bytes() == (whole / "config.json").read_bytes()


def build(root: Path, out: Path, seed: int, segments: str) -> Path:
    """Make a store of painted pictures; the same command with other segments adds to it."""
    for split, count in (("train", 6), ("test", 2)):
        for label, name in enumerate(("daisy", "iris", "tulip")):
            for index in range(count):
                paint(root / split / name / f"{index}.png", 100 * seed + 10 * label + index)
    options = ("--size", "32", "--algorithm", "grid", "--segments", segments, "--jobs", "1")
    done = CliRunner().invoke(preprocess, ["build", "folder", "--root", str(root), "--out", str(out), *options])
    assert done.exit_code == 0, done.output
    return out


def test_another_store_and_other_superpixels_are_refused_and_a_moved_store_is_not(tmp_path):
    store = build(tmp_path / "first", tmp_path / "x.h5", 0, "4,9")
    other = build(tmp_path / "second", tmp_path / "y.h5", 1, "4,9")
    run, out = (*BASE, "--epochs", 1), tmp_path / "run"
    assert invoke("--shards", store, *run, "--checkpoint-every", 2, "--out", out).exit_code == 0
    for finished in (True, False):
        if not finished:
            (out / "results.json").unlink()
        before = contents(out)
        told = refused("--shards", other, *run, "--resume", "auto", "--out", out)
        assert "store.keys.train/images is" in told
        build(tmp_path / "first", store, 0, "6,12")  # beside the first ones
        (new,) = Store(store).superpixel_sets.keys() - {Store(store).superpixels.name}
        told = refused("--shards", store, "--superpixels", new, *run, "--resume", "auto", "--out", out)
        assert f"store.superpixels is {new} here, {Store(store).superpixels.name} in the run" in told
        assert {key: data for key, data in contents(out).items() if key != ".lock"} == {
            key: data for key, data in before.items() if key != ".lock"
        }
    (tmp_path / "elsewhere").mkdir()
    for path in (store, store.with_suffix(".shards")):
        shutil.move(path, tmp_path / "elsewhere" / path.name)
    assert invoke("--shards", tmp_path / "elsewhere" / "x.h5", *run, "--resume", "auto", "--out", out).exit_code == 0


def test_files_of_weights_belong_to_a_run_by_their_bytes(flowers_store, tmp_path):
    out, first, moved = tmp_path / "run", tmp_path / "first.pt", tmp_path / "moved.pt"
    for seed, path in enumerate((first, tmp_path / "other.pt")):
        torch.manual_seed(seed)
        torch.save(timm.create_model("test_resnet").state_dict(), path)
    run = ("--shards", flowers_store, *BASE, "--epochs", 2, "--out", out)
    assert invoke(*run, "--weights", first).exit_code == 0
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    assert json.loads((out / "config.json").read_text())["digests"] == {"model.weights": digest}
    first.rename(moved)
    for finished in (True, False):
        if not finished:
            (out / "results.json").unlink()
        told = refused(*run, "--weights", tmp_path / "other.pt", "--resume", "auto")
        assert re.search(f"settings.model.weights is sha256 [0-9a-f]{{64}} here, sha256 {digest} in the run", told)
        assert invoke(*run, "--weights", moved, "--resume", "auto").exit_code == 0
    state = load(out / "last.pt")  # of an earlier version: the path alone decides
    del state["config"]["digests"]
    save_checkpoint(out / "last.pt", {key: value for key, value in state.items() if key != "format"})
    (out / "results.json").unlink()
    assert "model.weights is" in refused(*run, "--weights", moved, "--resume", "auto")
    shutil.copy(tmp_path / "other.pt", first)
    done = invoke(*run, "--weights", first, "--resume", "auto")
    assert done.exit_code == 0, done.output
    assert "note: the run does not record the digest of the file in model.weights" in done.stderr


def test_digests_without_the_settings_that_name_the_files_are_another_run(flowers_store, tmp_path):
    path, out = tmp_path / "first.pt", tmp_path / "run"
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    run = ("--shards", flowers_store, *BASE, "--epochs", 1, "--weights", path, "--out", out)
    assert invoke(*run).exit_code == 0
    config = json.loads((out / "config.json").read_text())
    del config["settings"]["model"]
    (out / "config.json").write_text(json.dumps(config))
    assert "settings.model.backbone is test_resnet here, not set in the run" in refused(*run, "--resume", "auto")


def test_files_of_weights_that_change_while_a_run_starts_are_refused(flowers_store, tmp_path, monkeypatch):
    path, out = tmp_path / "last.pt", tmp_path / "run"
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    make_step = running.make_step

    def change_first(*given: Any) -> Any:
        torch.save(timm.create_model("test_resnet").state_dict(), path)
        return make_step(*given)

    monkeypatch.setattr(running, "make_step", change_first)
    extractor = ("--mixer", "attentive_cutmix", "--set", "mixer.extractor=test_resnet")
    run = ("--shards", flowers_store, *BASE, *extractor, "--epochs", 1, "--out", out)
    told = refused(*run, "--set", f"model.weights={path}", "--set", f"mixer.extractor_weights={path}")
    assert "the file in model.weights, mixer.extractor_weights changed while it was read; copy it" in told
    assert not out.exists()


def test_workers_loader_device_and_checkpoints_may_change(left, plain, flowers_store):
    out = left((2, 2))
    changes = ("--workers", 1, "--loader", "resident", "--checkpoint-every", 3, "--keep", 1)
    device = () if torch.cuda.is_available() else ("--device", "auto")
    done = invoke("--shards", flowers_store, *BASE, *changes, *device, "--resume", "auto", "--out", out)
    assert done.exit_code == 0, done.output
    assert "resuming after step 2 of epoch 3" in done.stderr
    assert_same_end(out, plain)


# The loss, or a weight, ceases to be finite at another step for each rate.
DIVERGED = [("1e12", 1), ("1e30", 500), ("3e38", 1), *([("1e12", 500), ("1e30", 1), ("3e38", 500)] if PROOF else [])]


@pytest.mark.parametrize(("rate", "every"), DIVERGED)
def test_a_loss_that_is_not_finite_ends_the_run_with_a_remedy_and_leaves_finite_checkpoints(
    rate, every, flowers_store, tmp_path
):
    out = tmp_path / "run"
    options = ("--set", f"optim.lr={rate}", "--checkpoint-every", every)
    told = refused("--shards", flowers_store, *BASE, *options, "--out", out)
    assert re.search("the loss is (nan|inf)|a weight of the network is infinite", told)
    assert "smaller --set optim.lr" in told
    if rate != "3e38":  # which spoils the weights in the first step, and is noticed in the second
        assert (out / "last.pt").exists() == (every == 1)
    for path in out.glob("*.pt"):
        values = [value for value in load(path)["model"].values() if value.is_floating_point()]
        assert all(value.isfinite().all() for value in values), path.name
    assert not (out / "results.json").exists()


def test_a_checkpoint_with_weights_that_are_not_finite_is_refused_for_an_older_one(left, flowers_store, tmp_path):
    out = left((1, 2))
    state = load(out / "last.pt")
    state["model"]["backbone.net.bn1.weight"][0] = float("inf")
    torch.save(state, out / "last.pt")
    before = contents(out)
    options = ("--checkpoint-every", 2, "--resume", "auto")
    told = refused("--shards", flowers_store, *BASE, *options, "--out", out)
    assert "backbone.net.bn1.weight is not finite: its training diverged" in told
    assert told.endswith(f"resume an older one with --resume {out / 'last-1.pt'}")
    assert {name: data for name, data in contents(out).items() if name.endswith(".pt")} == {
        name: data for name, data in before.items() if name.endswith(".pt")
    }
    last = load(out / "last-1.pt")["model"]
    assert all(value.isfinite().all() for value in last.values() if value.is_floating_point())


def test_an_unfinished_run_of_an_earlier_version_goes_on_only_as_it_was(flowers_store, tmp_path):
    out = tmp_path / "run"
    snapmix = ("--mixer", "snapmix", "--set", "mixer.mix_prob=1")
    run = ("--shards", flowers_store, *BASE, *snapmix, "--epochs", 1, "--out", out)
    assert invoke(*run, "--set", "mixer.cam=eval").exit_code == 0
    state, config = load(out / "last.pt"), json.loads((out / "config.json").read_text())
    for settings in (state["config"]["settings"], config["settings"]):
        del settings["mixer"]["cam"], settings["model"]["init"]
    save_checkpoint(out / "last.pt", {key: value for key, value in state.items() if key != "format"})
    (out / "config.json").write_text(json.dumps(config))
    (out / "results.json").unlink()
    told = refused(*run, "--resume", "auto")
    assert "contains another run: settings.mixer.cam is train here, eval in the run. Use the options" in told
    assert invoke(*run, "--set", "mixer.cam=eval", "--resume", "auto").exit_code == 0


@pytest.mark.parametrize(("best", "kept"), [(0, True), (1, True), (2, False), (3, False)])
def test_a_best_epoch_that_the_resumed_checkpoint_had_not_finished_is_set_aside(best, kept, tmp_path):
    """Two epochs, 0 and 1, are finished at the older checkpoint."""
    plain = Settings(model=ModelSettings("test_resnet", "none")).with_method("none")
    for name in ("last.pt", "last-1.pt"):
        write_checkpoint(tmp_path / name, plain, ("a", "b"))
    write_checkpoint(tmp_path / "best.pt", plain, ("a", "b"), epoch=best)
    with RunFolder(tmp_path, "test") as folder:
        folder.set_aside_newer_than(tmp_path / "last-1.pt", 2)
    assert (tmp_path / "best.pt").exists() == kept
    assert (tmp_path / "best.pt.set-aside").exists() != kept
    assert not (tmp_path / "last.pt").exists()
