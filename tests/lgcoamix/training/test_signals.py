"""The command that continues an interrupted run is the one that was given, with its folder."""

import shlex
import sys
from pathlib import Path

import pytest

from lgcoamix.training.signals import command_to_continue

GIVEN = {
    "plain": (["train.py", "--shards", "a b.h5"], ["train.py", "--shards", "a b.h5", "--out", "runs/x"]),
    "own folder": (["train.py", "--out", "runs/y"], ["train.py", "--out", "runs/y"]),
    "own folder, other form": (["train.py", "--out=runs/y"], ["train.py", "--out=runs/y"]),
    "resumed": (
        ["train.py", "--resume", "runs/x/last-1.pt", "--seed", "1"],
        ["train.py", "--seed", "1", "--out", "runs/x"],
    ),
    "resumed, other form": (["train.py", "--resume=auto"], ["train.py", "--out", "runs/x"]),
    "module": (["/somewhere/lgcoamix/__main__.py", "train"], ["-m", "lgcoamix", "train", "--out", "runs/x"]),
}


@pytest.mark.parametrize(("given", "expected"), GIVEN.values(), ids=GIVEN)
def test_the_options_are_kept_and_the_folder_is_named(given, expected, monkeypatch):
    monkeypatch.setattr(sys, "argv", given)
    words = shlex.split(command_to_continue(Path("runs/x")))
    assert Path(words[0]).resolve() == Path(sys.executable).resolve()
    assert words[1:] == [*expected, "--resume", "auto"]


@pytest.mark.parametrize(
    ("world", "here", "launcher"),
    [("4", "4", ["-m", "torch.distributed.run", "--nproc-per-node", "4"]), ("8", "4", []), ("1", "1", [])],
)
def test_ranks_of_one_machine_are_launched_again(world, here, launcher, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--out", "x"])
    monkeypatch.setenv("WORLD_SIZE", world)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", here)
    words = shlex.split(command_to_continue(Path("x")))
    assert words[1:] == [*launcher, "train.py", "--out", "x", "--resume", "auto"]
