"""What a user can get wrong: one clear message, exit code 2 for usage and 1 for failure, nothing left behind."""

import re
import shutil
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from lgcoamix.cli import train
from lgcoamix.cli.common import friendly
from lgcoamix.cli.train import _run_folder
from lgcoamix.errors import SettingsError
from preprocess.cli import main as preprocess
from tests.preprocess.store.foreign import edit_index

SMALL = ("--backbone", "resnet10t", "--weights", "none", "--image-size", "32", "--batch-size", "12", "--epochs", "1")


def _invoke(*options: object) -> Result:
    """The command in this process; an exception that nobody caught would be a traceback in a process of its own."""
    done = CliRunner().invoke(train, list(map(str, options)))
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert "Traceback" not in done.stderr
    return done


MISTAKES = {
    "recipe": (("--recipe", "cub-resnet81"), 2, r"no recipe 'cub-resnet81'; did you mean cub-resnet18"),
    "mixer": (("--mixer", "lgcomix"), 2, r"no mixer 'lgcomix'; did you mean lgcoamix"),
    "backbone": (("--backbone", "resnt18"), 2, r"no model 'resnt18'; did you mean .*resnet18"),
    "tag of a backbone": (("--backbone", "resnet18.nope"), 2, r"no model 'resnet18.nope': Invalid pretrained tag"),
    "too small an input": (("--backbone", "inception_v3"), 2, r"inception_v3 cannot take inputs of 32x32"),
    "an input below a patch": (("--backbone", "vit_tiny_patch16_224", "--image-size", "8"), 2, r"vit_tiny_patch16_224"),
    "an input that does not fit": (("--backbone", "mvitv2_tiny", "--image-size", "112"), 2, r"mvitv2_tiny .* 112x112"),
    "set: key": (("--set", "mixer.selct_prob=1"), 2, r"no setting 'mixer.selct_prob'.*did you mean mixer.select_prob"),
    "a seed that a checkpoint does not hold": (("--seed", str(2**53)), 2, r"9007199254740992 is not in the range"),
    "set: form": (("--set", "optim.lr"), 2, r"expected section.key=value, got 'optim.lr'"),
    "set: no section": (
        ("--set", "lr=0.3"),
        2,
        r"expected section.key=value, got 'lr=0.3'; did you mean optim.lr=0.3\?",
    ),
    "a setting as an option": (("--weight-decay", "0"), 2, r"--weight-decay.*--set optim.weight_decay=VALUE"),
    "set: type": (("--set", "optim.lr=fast"), 2, r"optim.lr takes a number, got 'fast'"),
    "set: range": (("--set", "mixer.top_ratio=7"), 2, r"top_ratio must lie in \[0, 1\], got 7"),
    "set: momentum": (("--set", "optim.momentum=-1"), 2, r"momentum"),
    "size": (
        ("--set", "data.crop=random", "--image-size", "65"),
        2,
        r"65 is larger than the stored 64 .*data.crop=res",
    ),
    "centre": (("--set", "data.test=center", "--image-size", "65"), 2, r"stored 64, got 65"),
    "epochs": (("--epochs", "0"), 2, r"--epochs"),
    "val fraction": (("--val-fraction", "1"), 2, r"--val-fraction"),
    "all held out": (
        ("--val-fraction", "0.99"),
        1,
        r"0.99 leaves no samples for training or validation",
    ),
    "weights": (("--weights", "nowhere.pth"), 1, r"checkpoint file for resnet10t, there is no file 'nowhere.pth'"),
    "tag of weights": (
        ("--backbone", "resnet18_stride16", "--weights", "tv_in2k"),
        2,
        r"resnet18_stride16 has the weights a1_in1k, .*tv_in1k; got 'tv_in2k', which is neither one of them nor a file",
    ),
    "two tags": (
        ("--backbone", "resnet18.a1_in1k", "--weights", "tv_in1k"),
        2,
        r"the backbone resnet18.a1_in1k names the weights a1_in1k, got tv_in1k; use --weights pretrained, or "
        "--backbone resnet18",
    ),
    "no weights": (
        ("--backbone", "resnet18_cifar", "--weights", "tv_in1k"),
        2,
        r"resnet18_cifar has no weights on the",
    ),
    "start of the recipe": (
        ("--recipe", "cub-resnet18-none", "--backbone", "vit_tiny_patch16_224", "--weights", "tv_in1k"),
        2,
        r"note: --weights tv_in1k is from the recipe cub-resnet18-none, for resnet18_stride16; vit_tiny_patch16_224 "
        r"may need --weights pretrained .*vit_tiny_patch16_224 has the weights .*; got 'tv_in1k'",
    ),
    "start": (
        ("--backbone", "vit_tiny_patch16_224", "--set", "model.init=torchvision"),
        2,
        r"model.init=torchvision applies to ResNets of timm, .*vit_tiny_patch16_224 is none: use model.init=timm",
    ),
    "extractor": (
        ("--mixer", "attentive_cutmix", "--set", "mixer.extractor_weights=nowhere.pth"),
        1,
        r"checkpoint file for resnet50, there is no file 'nowhere.pth'; .*mixer.extractor_weights",
    ),
    "snapmix": (
        ("--mixer", "snapmix", "--backbone", "mobilenetv3_small_050"),
        2,
        r"snapmix with mobilenetv3_small_050: this method needs a network whose classifier is a single linear layer",
    ),
    "no extractor": (
        ("--mixer", "attentive_cutmix", "--set", "mixer.extractor_weights=none"),
        2,
        r"mixer: extractor_weights must be pretrained, a tag of timm or a checkpoint file",
    ),
}


@pytest.mark.parametrize(("options", "code", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gives_one_message_and_no_run_folder(options, code, message, flowers_store, tmp_path):
    done = _invoke("--shards", flowers_store, *SMALL, "--out", tmp_path / "run", *options)
    assert done.exit_code == code
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert len(errors) == 1
    assert _matches(message, done.stderr)
    assert not (tmp_path / "run").exists()


def _matches(pattern: str, text: str) -> bool:
    return re.search(pattern, " ".join(text.split())) is not None


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_refused(flowers_store, tmp_path):
    done = _invoke("--shards", flowers_store, *SMALL, "--out", tmp_path / "run", "--device", "cuda")
    assert done.exit_code == 2
    assert "no device 'cuda'" in done.stderr


def test_a_run_folder_that_exists_is_refused_and_stays_as_it_is(flowers_store, tmp_path):
    (tmp_path / "results.json").write_text("mine")
    done = _invoke("--shards", flowers_store, *SMALL, "--out", tmp_path)
    assert done.exit_code == 2
    assert _matches(r"the run folder .* exists; choose another --out", done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_a_checkpoint_that_is_missing_is_named_before_the_folder_that_it_would_be_in(flowers_store, monkeypatch):
    monkeypatch.chdir(flowers_store.parent.parent)
    done = _invoke("--shards", flowers_store, *SMALL, "--resume", "nowhere.pt")
    assert done.exit_code == 2
    assert _matches("--resume takes auto or a checkpoint of the run; there is no file 'nowhere.pt'", done.stderr)
    done = _invoke("--shards", flowers_store, *SMALL, "--resume", flowers_store.parent)
    assert _matches("--resume takes auto or a checkpoint, not a folder: --resume auto --out ", done.stderr)


def test_a_missing_store_is_a_usage_error(tmp_path):
    done = _invoke("--shards", tmp_path / "none.h5")
    assert done.exit_code == 2
    assert "none.h5" in done.stderr


def test_a_file_that_is_no_store_is_refused(tmp_path):
    path = tmp_path / "notes.h5"
    path.write_text("not a store")
    done = _invoke("--shards", path)
    assert done.exit_code == 1
    assert _matches(r"notes.h5 is not a store index.*python -m lgcoamix preprocess build", done.stderr)


def test_a_store_of_another_version_is_refused(flowers_store, tmp_path):
    path = tmp_path / "old.h5"
    path.write_bytes(flowers_store.read_bytes().replace(b"version: 2\n", b"version: 9\n", 1))
    done = _invoke("--shards", path)
    assert done.exit_code == 1
    assert _matches(r"old.h5 has store format version 9, but this program reads version 2; rebuild", done.stderr)


def test_a_store_without_a_test_split_needs_a_held_out_share(painted: Path, tmp_path: Path):
    store = tmp_path / "train-only.h5"
    options = ("--root", painted, "--out", store, "--splits", "train", "--size", 32, "--segments", 4, "--jobs", 1)
    built = CliRunner().invoke(preprocess, ["build", "folder", *map(str, options)])
    assert built.exit_code == 0, built.output
    small = ("--shards", store, *SMALL, "--batch-size", 4, "--workers", 0, "--device", "cpu")
    done = _invoke(*small, "--out", tmp_path / "run")
    assert done.exit_code == 1
    assert _matches(r"neither a test nor a val split; give --val-fraction", done.stderr)
    assert not (tmp_path / "run").exists()
    quick = ("--no-tensorboard", "--no-pictures", "--val-fraction", 0.4)
    assert _invoke(*small, "--out", tmp_path / "run", *quick).exit_code == 0


def test_a_number_of_superpixels_that_no_map_has_is_refused(flowers_store, tmp_path):
    shutil.copytree(flowers_store.parent, tmp_path / "own")
    store = tmp_path / "own" / flowers_store.name

    def boast(document: dict) -> None:
        for split in document["splits"].values():
            for name in split["columns"].keys() - {"images"}:
                split["columns"][name]["largest_id"] = 254

    edit_index(store, boast)
    done = _invoke("--shards", store, *SMALL, "--out", tmp_path / "run")
    assert (done.exit_code, (tmp_path / "run").exists()) == (1, False)
    assert (
        "superpixels, as in its largest map, the index says 255; run: python -m lgcoamix preprocess verify STORE"
        in done.stderr
    )


def test_batches_of_one_train_or_are_refused(flowers_store, tmp_path):
    # At 32 pixels the deepest map is 1x1: BatchNorm cannot use a single sample.
    small = ("--shards", flowers_store, *SMALL, "--device", "cpu", "--workers", "0")
    _invoke(*small, "--batch-size", "1", "--out", tmp_path / "run")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_shard_is_named_without_a_traceback(workers, flowers_store, tmp_path):
    store = tmp_path / flowers_store.name
    shutil.copy(flowers_store, store)
    shutil.copytree(flowers_store.with_suffix(".shards"), store.with_suffix(".shards"))
    victim = next((store.with_suffix(".shards") / "train" / "images").iterdir())
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 0xFF
    victim.write_bytes(data)
    small = ("--shards", store, *SMALL, "--device", "cpu", "--workers", workers)
    done = _invoke(*small, "--out", tmp_path / "run")
    assert done.exit_code == 1
    assert _matches(r"Error: .*does not match its checksum; run: python -m lgcoamix preprocess verify", done.stderr)


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/../../outside", "link", "a\nb"])
def test_no_store_names_a_run_folder_outside_of_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(tmp_path)
    with pytest.raises(SettingsError, match="choose a run folder with --out"):
        _run_folder("auto", name)
    assert _run_folder(None, "cub-none-resnet18-s0") == Path("runs/cub-none-resnet18-s0")


@pytest.mark.parametrize("take", [lambda: torch.empty(2**50), lambda: np.empty(2**50)], ids=["torch", "numpy"])
def test_a_lack_of_memory_is_told_with_a_remedy(take):
    with pytest.raises(click.ClickException, match=r"not enough memory; use smaller batches .*allocate"):
        friendly(take)()
