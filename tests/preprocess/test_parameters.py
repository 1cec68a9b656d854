"""Types of options."""

from pathlib import Path

import click
import pytest

from preprocess.datasets import DATASETS
from preprocess.parameters import Choice, Duration, FiniteRange, NamedPath
from preprocess.text import did_you_mean


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("CUB", "'cub'"),
        ("CUB_200_2011", "'cub'"),
        ("cubs", "'cub'"),
        ("flower102", "'flowers102'"),
        ("oxford_flowers102", "'flowers102'"),
        ("imagenet-1k", "'imagenet'"),
        ("tiny_imagenet", "'tiny-imagenet'"),
        ("tiny-imagenet-200", "'tiny-imagenet'"),
        ("stanford_cars", "'cars'"),
        ("fgvc-aircraft", "'aircraft'"),
        ("cifar-100-python", "'cifar100'"),
        ("cifar", "'cifar10' or 'cifar100'"),
        ("ImageFolder", "'folder'"),
    ],
)
def test_an_unknown_name_is_met_with_the_one_that_is_meant(written, meant):
    with pytest.raises(click.BadParameter) as caught:
        Choice(tuple(DATASETS)).convert(written, None, None)
    assert caught.value.message.endswith(f"; did you mean {meant}?")


def test_a_name_that_is_like_none_is_met_with_all():
    with pytest.raises(click.BadParameter) as caught:
        Choice(("off", "bf16", "fp16")).convert("x", None, None)
    assert caught.value.message == "'x' is not one of 'off', 'bf16', 'fp16'."


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "-1"])
def test_a_number_is_finite_and_in_its_range(text):
    with pytest.raises(click.BadParameter):
        FiniteRange(0).convert(text, None, None)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\u202ex", "a\x9bb"])
def test_a_path_forges_no_line_and_commands_no_terminal(name):
    with pytest.raises(click.BadParameter, match="expected a path without control characters"):
        NamedPath().convert(name, None, None)


def test_any_other_path_is_taken():
    for name in ("IMG 1 [edited].jpg", "é\u0301", "bytes \udcff"):
        assert NamedPath().convert(name, None, None) == Path(name)


def test_a_time_is_a_number_and_a_unit():
    assert [Duration().convert(text, None, None) for text in ("0s", "30s", "30m", "2h")] == [0, 30, 1800, 7200]
    for text in ("", "30", "m", "1d", "-1s", "1.5h", "999999h", "１s"):
        with pytest.raises(click.BadParameter, match="expected a time such as 30s, 30m or 2h"):
            Duration().convert(text, None, None)


def test_a_home_that_the_shell_has_left_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "birds").mkdir()
    assert NamedPath(exists=True).convert("~/birds", None, None) == tmp_path / "birds"
    assert NamedPath().convert("~nobody-of-this-name/x", None, None) == Path("~nobody-of-this-name/x")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for folder in ("data/cub.shards", "data/raw/flowers", "runs/try"):
        Path(folder).mkdir(parents=True)
    for file in ("data/cub.h5", "data/raw/list.csv", "runs/try/last.pt", ".hidden.h5"):
        Path(file).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("data/CUB.h5", "data/cub.h5"),
        ("data/cubs.h5", "data/cub.h5"),
        ("data/cub", "data/cub.h5"),
        ("data/cub.shards", "data/cub.h5"),
        ("cub.h5", "data/cub.h5"),
        ("Data/cub.hdf5", "data/cub.h5"),
        ("run/tri/last.pt", "runs/try/last.pt"),
        ("data/raw/List.csv", "data/raw/list.csv"),
        ("data/raw/flower", None),  # a folder, and a file is wanted
        ("hidden.h5", None),
        ("nothing/like/this", None),
        ("", None),
        ("/", None),
    ],
)
def test_a_file_that_is_missing_is_met_with_the_one_that_is_meant(home, written, meant):
    with pytest.raises(click.BadParameter) as caught:
        NamedPath(exists=True, dir_okay=False).convert(written, None, None)
    message = caught.value.message
    assert message.endswith(f"; did you mean {meant}?") if meant else "did you mean" not in message
    if meant:
        assert NamedPath(exists=True, dir_okay=False).convert(meant, None, None) == Path(meant)


def test_a_folder_that_is_missing_is_met_with_a_folder(home):
    assert did_you_mean(Path("data/raw/flower"), Path.is_dir) == "; did you mean data/raw/flowers?"
    assert did_you_mean(Path("data/cub.h6"), Path.is_dir) == ""
    assert did_you_mean(home / "Runs" / "try") == f"; did you mean {home}/runs/try?"


@pytest.mark.parametrize("odd", ["loop", "loop/x", "x" * 300, "x/" * 3000, "..", "../..", ".", "data/cub.h5/x"])
def test_an_odd_path_is_met_with_one_message(home, odd):
    Path("loop").symlink_to("loop")
    with pytest.raises(click.BadParameter) as caught:
        NamedPath(exists=True, dir_okay=False).convert(odd, None, None)
    assert "did you mean" not in caught.value.message
    assert did_you_mean(Path(odd)) == ""
