"""Runs with ``--augment``: replay shows what the network saw; workers, kills and files that change alter nothing."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lgcoamix.data import Augment
from lgcoamix.data.pipelines import READY
from lgcoamix.errors import RunError
from lgcoamix.runs.compare import compare
from lgcoamix.settings.report import silent
from lgcoamix.training.replay import Replay
from tests.conftest import PROOF, run_command
from tests.lgcoamix.nursery import Nursery
from tests.lgcoamix.training.test_replay import QUIET, SMALL, Hooked, assert_same, invoke, replayed, train_hooked
from tests.lgcoamix.training.test_resume import assert_same_end, command_of

LGCOAMIX = ("--mixer", "lgcoamix", "--augment", "strong")


@pytest.fixture(scope="module")
def hooked(flowers_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Hooked:
    """LGCOAMix with ``strong``, loaded by two processes, and all its checkpoints; treat its files as read-only."""
    more = ("--workers", "2", "--checkpoint-every", "2", "--keep", "9")
    return train_hooked(flowers_store, tmp_path_factory.mktemp("runs") / "strong", *LGCOAMIX, *more)


@pytest.fixture(scope="module")
def plain(flowers_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Hooked:
    """The same without augmentation or processes; read-only."""
    return train_hooked(flowers_store, tmp_path_factory.mktemp("runs") / "plain", "--mixer", "lgcoamix")


CASES = {
    "light": ("--mixer", "cutmix", "--augment", "light"),
    "strong": ("--mixer", "cutmix", "--augment", "strong", "--set", "data.crop=pad", "--image-size", "64"),
    "live": ("--mixer", "superpixel_grid", "--augment", "strong", "--maps", "live"),
}


def assert_replays(hooked: Hooked, *places: tuple[int, int]) -> None:
    steps, replay = len(hooked.seen) // 2, Replay(hooked.folder, None, "cpu", silent())
    for epoch, step in places:
        (part,) = replay.parts(epoch, step)
        assert_same(part.mixed, hooked.seen[epoch * steps + step])


def test_replay_equals_what_a_run_with_workers_saw(hooked):
    assert len(hooked.seen) == 10
    assert_replays(hooked, *((epoch, step) for epoch in range(2) for step in range(5)))


@pytest.mark.parametrize("case", CASES)
def test_replay_equals_what_the_run_saw(case, flowers_store, tmp_path):
    assert_replays(train_hooked(flowers_store, tmp_path / "run", *CASES[case]), (0, 0), (1, 2))


def test_the_augmentation_reaches_the_network_and_windows_stay(hooked, plain):
    (augmented,), (without,) = replayed(hooked.folder, 0, 0), replayed(plain.folder, 0, 0)
    assert torch.equal(augmented.batch.samples, without.batch.samples)
    different = (augmented.batch.images != without.batch.images).flatten(1).any(1)
    assert different.sum() >= 6, "of 8 images; two operations in a row may be none"


def test_no_worker_gives_the_same_run(hooked, flowers_store, tmp_path):
    alone = train_hooked(flowers_store, tmp_path / "alone", *LGCOAMIX)
    for name in ("metrics.csv", "lambdas.csv"):
        assert (alone.folder / name).read_bytes() == (hooked.folder / name).read_bytes()
    assert len(alone.seen) == len(hooked.seen)
    for one, other in zip(alone.seen, hooked.seen, strict=True):
        assert_same(one, other)


@pytest.mark.usefixtures("undrawn")
def test_a_sample_is_replayed_as_the_network_got_it(hooked, flowers_store, tmp_path):
    part = replayed(hooked.folder, 1, 0)[0]
    replay = Replay(hooked.folder, None, "cpu", silent())
    key = replay.store.keys("train")[int(part.batch.samples[0])]
    done = invoke("replay", "--run", hooked.folder, "--epoch", "1", "--sample", key, "--out", tmp_path / "look")
    assert done.exit_code == 0, done.output
    assert "augmented by RandomOrder, Erasing" in done.output
    found = load_file(tmp_path / "look" / "sample.safetensors")
    assert torch.equal(found["input"], part.batch.images[0])
    assert torch.equal(found["shown_map"].long(), part.batch.maps[0].long())


def test_the_configuration_holds_the_pipeline_so_that_the_file_may_go(flowers_store, tmp_path):
    path = tmp_path / "mine.yaml"
    shutil.copy(READY["light"], path)
    run = train_hooked(flowers_store, tmp_path / "run", "--mixer", "cutmix", "--augment", path)
    config = json.loads((run.folder / "config.json").read_text())
    assert config["augment"] == Augment.named("light").pipeline
    path.unlink()
    assert_replays(run, (1, 1))
    options = ("--shards", flowers_store, "--out", run.folder, "--mixer", "cutmix", "--resume", "auto")
    same = (*options, *SMALL, *QUIET)
    done = invoke("train", *same, "--augment", "light")
    assert done.exit_code == 0, done.output
    assert "is already finished" in done.output
    for other in ((), ("--augment", "strong")):
        done = invoke("train", *same, *other)
        assert done.exit_code == 1
        assert "contains another run: augment is " in done.output
        assert "ColorJitter, GaussianBlur (" in done.output
        assert len(done.output) < 600


def test_a_run_without_it_records_nothing_and_runs_of_earlier_versions_go_on(plain, flowers_store):
    config = json.loads((plain.folder / "config.json").read_text())
    assert "augment" not in config
    same = ("--mixer", "lgcoamix", "--resume", "auto", *SMALL, *QUIET)
    options = ("--shards", flowers_store, "--out", plain.folder, *same)
    done = invoke("train", *options)
    assert done.exit_code == 0, done.output
    done = invoke("train", *options, "--augment", "light")
    assert done.exit_code == 1
    assert "augment is ColorJitter, GaussianBlur (" in done.output
    assert "here, None in the run" in done.output


def test_a_pipeline_in_a_configuration_of_somebody_else_is_checked(hooked, tmp_path):
    folder = shutil.copytree(hooked.folder, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    for wrong, message in (
        ({"transform": {"__class_fullname__": "os.system", "p": 1.0}}, "is damaged: augment: it is not a pipeline"),
        ({"transform": 3}, "is damaged: augment: it is not a pipeline"),
    ):
        (folder / "config.json").write_text(json.dumps(config | {"augment": wrong}))
        with pytest.raises(RunError, match=message):
            Replay(folder, None, "cpu", silent())


def with_seed(run: Hooked, seed: int, folder: Path) -> Path:
    """The folder of a run as if its seed had been another."""
    config = json.loads((shutil.copytree(run.folder, folder) / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"seed": seed}))
    return folder


def test_compare_takes_it_for_a_part_of_the_protocol(hooked, plain, tmp_path):
    with pytest.raises(RunError, match=r"augment: RandomOrder, Erasing \([0-9a-f]{8}\) .*null") as caught:
        compare([hooked.folder, with_seed(plain, 1, tmp_path / "plain")])
    assert len(str(caught.value).splitlines()) == 3
    assert len(compare([hooked.folder, with_seed(hooked, 1, tmp_path / "other")]).groups) == 1


def test_the_resident_loader_and_mistakes_are_refused_before_anything_is_written(flowers_store, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        json.dumps(
            {"transform": {"__class_fullname__": "Compose", "transforms": [{"__class_fullname__": "Blurr", "p": 1}]}}
        )
    )
    for options, message in (
        (("--augment", "light", "--loader", "resident"), "--augment runs in the DataLoader workers"),
        (("--augment", "lihgt"), "did you mean light?"),
        (("--augment", bad), "did you mean Blur"),
    ):
        done = invoke("train", "--shards", flowers_store, "--out", tmp_path / "run", *SMALL, *QUIET, *options)
        assert done.exit_code == 2, done.output
        assert message in " ".join(done.output.split())
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("later", [1, 4])  # checkpoints: after steps 2, 4, 5 of each epoch
def test_a_run_ends_the_same_from_each_checkpoint(later, hooked, flowers_store, tmp_path):
    out = shutil.copytree(hooked.folder, tmp_path / "run")
    (out / "results.json").unlink()
    (out / f"last-{later}.pt").replace(out / "last.pt")  # as if it had been killed after it
    for number in range(1, 6):
        (out / f"last-{number}.pt").unlink(missing_ok=True)
    options = ("--shards", flowers_store, "--out", out, *SMALL, *QUIET, *LGCOAMIX, "--workers", "2", "--resume", "auto")
    done = invoke("train", *options)
    assert done.exit_code == 0, done.output
    assert f"resuming after step 4 of epoch {2 if later == 1 else 1}" in done.output
    assert_same_end(out, hooked.folder)


@pytest.mark.skipif(not PROOF, reason="set LGCOAMIX_PROOF=1; the run above goes on from what a kill leaves")
def test_a_killed_run_ends_as_an_undisturbed_one(nursery: Nursery, flowers_store, tmp_path):
    options = ("--workers", 2, "--mixer", "cutmix", "--augment", "strong")
    nursery.finish(*command_of(flowers_store, tmp_path / "whole", *options))
    command = command_of(flowers_store, tmp_path / "killed", *options, "--checkpoint-every", 2, "--resume", "auto")
    training = nursery.start(*command)
    training.until(lambda: (tmp_path / "killed" / "last.pt").exists())
    training.kill()
    nursery.finish(*command)
    assert_same_end(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.skipif(not PROOF, reason="set LGCOAMIX_PROOF=1")
def test_a_sweep_passes_it_on(flowers_store, tmp_path):
    command = (
        "-m",
        "lgcoamix",
        "sweep",
        "--shards",
        flowers_store,
        "--mixers",
        "none",
        "--seeds",
        "0",
        "--out",
        tmp_path,
    )
    done = run_command(*command, "--", *SMALL, *QUIET, "--augment", "light", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "none-s0" / "metrics.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2
    assert (
        np.size(json.loads((tmp_path / "none-s0" / "config.json").read_text())["augment"]["transform"]["transforms"])
        == 2
    )
