"""``python -m lgcoamix predict``: the pixels and figures of an evaluation, for any files; the bad ones are told."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from lgcoamix.cli import main
from lgcoamix.config import DataSettings, ModelSettings, Settings
from lgcoamix.data import SuperpixelDataset, View
from lgcoamix.data.files import ImageFiles
from preprocess.plan import BuildSettings
from preprocess.store import Store
from preprocess.superpixels import Scale
from tests.conftest import ROOT
from tests.lgcoamix.checkpoints import random_state, write_checkpoint
from tests.preprocess.conftest import build_here

CLASSES = ("a", "b")
STORES = {  # how images are stored, and the protocol of the test
    "raw": (BuildSettings("folder", (), size=48), "resize"),
    "raw, centre": (BuildSettings("folder", (), size=48), "center"),
    "jpeg": (BuildSettings("folder", (), size=48, codec="jpeg", quality=60), "resize"),
    "jpeg, short, centre": (BuildSettings("folder", (), size=40, codec="jpeg", quality=60, resize="short"), "center"),
    "png, own sizes": (BuildSettings("folder", (), size=None, codec="png", resize="none"), "resize"),
    "jpeg, banner": (BuildSettings("folder", (), size=48, codec="jpeg", banner=9), "resize"),
}


def _settings(test: str = "resize") -> Settings:
    data = DataSettings(image_size=32, test=test)
    return Settings(data=data, model=ModelSettings("resnet10t", "none")).with_method("none")


def _invoke(*options: object) -> Result:
    done = CliRunner().invoke(main, list(map(str, options)))
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert "Traceback" not in done.output
    return done


def _predict(model: Path, out: Path, *given: object, code: int = 0) -> tuple[list[dict[str, str]], Result]:
    done = _invoke("predict", "--model", model, "--out", out, "--workers", 0, "--device", "cpu", *given)
    assert done.exit_code == code, done.output
    return _rows(out), done


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def _export(home: Path, settings: Settings, classes: tuple[str, ...], **content: Any) -> Path:
    checkpoint = write_checkpoint(home / "best.pt", settings, classes, **content)
    done = _invoke("export", "--checkpoint", checkpoint, "--out", home / "model")
    assert done.exit_code == 0, done.output
    return home / "model"


def _noise(seed: int, height: int, width: int, channels: tuple[int, ...] = (3,)) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, *channels), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder whose test split holds every kind of file that decoding must not get wrong."""
    root = tmp_path_factory.mktemp("odd")
    for split in ("train", "test"):
        for label in CLASSES:
            (root / split / label).mkdir(parents=True)
            Image.fromarray(_noise(ord(label), 90, 61)).save(root / split / label / "plain.jpg")
    test, turned = root / "test" / "a", Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(_noise(1, 60, 80)).save(test / "turned.jpg", exif=turned)
    Image.fromarray(_noise(2, 50, 70)).convert("CMYK").save(test / "cmyk.jpg")
    Image.fromarray(_noise(3, 48, 48)).save(test / "as-stored.jpg", quality=30)
    Image.fromarray(_noise(4, 70, 50, (4,))).save(test / "transparent.png")
    deep = np.random.default_rng(5).integers(0, 65536, (55, 66), np.uint16)
    Image.fromarray(deep).save(test / "deep.png")
    Image.fromarray(_noise(6, 64, 64)).convert("P").save(root / "test" / "b" / "palette.gif")
    return root


def _store(odd: Path, home: Path, settings: BuildSettings) -> Store:
    quick = {"scales": (Scale(4, 1.0),), "algorithm": "watershed"}
    return build_here(odd, home / "odd.h5", BuildSettings(**{**vars(settings), **quick}))


@pytest.mark.parametrize("kind", STORES)
def test_files_become_the_very_pixels_of_the_stored_test_split(kind, odd, tmp_path):
    settings, test = STORES[kind]
    store, data = _store(odd, tmp_path, settings), _settings(test).data
    stored = SuperpixelDataset(store, "test", View(data, train=False), maps=False)
    files = ImageFiles([odd / key for key in store.keys("test")], store.document["images"], data)
    wanted, found = (dataset.__getitems__(list(range(8))) for dataset in (stored, files))
    assert len(store.keys("test")) == 8
    assert found.reasons == (None,) * 8
    assert torch.equal(found.images, wanted.images)
    assert (wanted.images.float().flatten(1).std(dim=1) > 10).all()


@pytest.mark.parametrize("kind", ["raw", "jpeg, short, centre"])
def test_probabilities_are_the_confidences_of_an_evaluation(kind, odd, tmp_path):
    build, test = STORES[kind]
    store = _store(odd, tmp_path, build)
    model = _export(tmp_path, _settings(test), CLASSES, images=store.document["images"])
    options = ("--checkpoint", tmp_path / "best.pt", "--shards", store.path, "--out", tmp_path / "evaluation")
    done = _invoke("evaluate", *options, "--workers", 0, "--device", "cpu", "--fgsm", "none", "--drop", "none")
    assert done.exit_code == 0, done.output
    evaluated = {row["key"]: row for row in _rows(tmp_path / "evaluation" / "predictions.csv")}
    rows, _ = _predict(model, tmp_path / "out.csv", odd / "test")
    assert len(rows) == len(evaluated) == 8
    for row in rows:
        other = evaluated[Path(row["image"]).relative_to(odd).as_posix()]
        assert (row["class_1"], row["probability_1"]) == (other["prediction"], other["confidence"])
    assert len({row["probability_1"] for row in rows}) == 8


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of four classes with awkward names, read-only."""
    return _export(tmp_path_factory.mktemp("model"), _settings(), NAMES)


NAMES = ("plain", 'a, "quoted"', "Blüte 🌼", "two\nlines [red]")


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder with good and bad images."""
    root = tmp_path / "mixed"
    (root / "deep" / "x.jpg").mkdir(parents=True)
    (root / ".hidden").mkdir()
    for number, name in enumerate(("0.png", "deep/1.JPG", "deep/x.jpg/2.png", ".3.png", ".hidden/4.png", "photo")):
        Image.fromarray(_noise(number, 40, 50)).save(root / name, format="PNG")
    Image.fromarray(_noise(9, 200, 200)).save(root / "cut.jpg")
    whole = (root / "cut.jpg").read_bytes()
    (root / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "empty.jpg").write_bytes(b"")
    (root / "text.jpg").write_text("no picture")
    (root / "gone.jpg").symlink_to(root / "nowhere.jpg")
    (root / "notes.txt").write_text("no picture")
    return root


def test_bad_images_are_listed_and_have_a_row_with_the_reason(model, mixed, tmp_path):
    rows, done = _predict(model, tmp_path / "out.csv", mixed)
    found = {str(Path(row["image"]).relative_to(mixed)): row for row in rows}
    assert list(found) == sorted(found)
    bad = {
        "cut.jpg": "damaged: ",
        "empty.jpg": "the file is empty",
        "gone.jpg": "cannot be read: No such file or directory",
        "text.jpg": "not an image file that Pillow knows",
    }
    assert found.keys() == {"0.png", "deep/1.JPG", "deep/x.jpg/2.png", *bad}
    for name, row in found.items():
        assert row["error"].startswith(bad.get(name, ""))
        cells = [row[f"{what}_{rank}"] for rank in range(1, 5) for what in ("class", "probability")]
        if name in bad:
            assert set(cells) == {""}
            assert f"not usable: {mixed / name}: {bad[name]}" in done.stderr
        else:
            assert row["error"] == ""
            assert set(cells[::2]) == set(NAMES)
            shares = [float(cell) for cell in cells[1::2]]
            assert shares == sorted(shares, reverse=True)
            assert sum(shares) == pytest.approx(1, abs=4e-6)
            assert all(re.fullmatch(r"[01]\.\d{6}", cell) for cell in cells[1::2])
    assert "out.csv: 7 images, 4 not usable" in done.stdout
    assert "[red]" in done.stdout  # a name is shown as it is


def test_loading_processes_and_batches_change_nothing(model, mixed, tmp_path):
    alone, _ = _predict(model, tmp_path / "a.csv", mixed)
    others, _ = _predict(model, tmp_path / "b.csv", mixed, "--workers", 2, "--batch-size", 2)
    assert [row["class_1"] for row in alone] == [row["class_1"] for row in others]
    for row, other in zip(alone, others, strict=True):
        assert float(row["probability_1"] or 0) == pytest.approx(float(other["probability_1"] or 0), abs=2e-6)


def test_one_image_whatever_its_name_once(model, mixed, tmp_path):
    photo = mixed / "photo"
    rows, done = _predict(model, tmp_path / "new" / "out.csv", photo, mixed / "deep" / ".." / "photo", "--top", 2)
    (row,) = rows
    assert list(row) == ["image", "class_1", "probability_1", "class_2", "probability_2", "error"]
    assert row["image"] == str(photo)
    assert "out.csv: 1 image\n" in done.stdout


def test_more_classes_than_there_are_means_all(model, mixed, tmp_path):
    (row,), _ = _predict(model, tmp_path / "out.csv", mixed / "0.png", "--top", 99)
    assert len(row) == 2 + 2 * len(NAMES)


def test_of_equal_probabilities_the_lower_class_comes_first(mixed, tmp_path):
    state = random_state(_settings(), 12)
    state["backbone.net.fc.weight"], bias = torch.zeros_like(state["backbone.net.fc.weight"]), torch.zeros(12)
    bias[7] = np.log(4)
    state["backbone.net.fc.bias"] = bias
    model = _export(tmp_path, _settings(), tuple("abcdefghijkl"), model=state)
    (row,), _ = _predict(model, tmp_path / "out.csv", mixed / "0.png")
    assert [row[f"class_{rank}"] for rank in range(1, 6)] == list("habcd")
    assert [row[f"probability_{rank}"] for rank in range(1, 6)] == ["0.266667", *["0.066667"] * 4]  # 4/15, 1/15


def test_without_any_usable_image_the_command_fails(model, mixed, tmp_path):
    rows, done = _predict(model, tmp_path / "out.csv", mixed / "empty.jpg", mixed / "text.jpg", code=1)
    assert len(rows) == 2
    assert "2 images, 2 not usable" in done.stdout
    for number in range(25):
        (mixed / "many").mkdir(exist_ok=True)
        (mixed / "many" / f"{number}.png").write_text("no picture")
    _, done = _predict(model, tmp_path / "out.csv", mixed / "many", code=1)
    assert done.stderr.count("not usable: ") == 20
    assert "... and 5 more" in done.stderr


def test_a_name_that_is_no_text_goes_through(model, mixed, tmp_path):
    path = os.fsencode(mixed) + b"/caf\xe9.png"
    shutil.copy(mixed / "0.png", path)
    rows, _ = _predict(model, tmp_path / "out.csv", os.fsdecode(path))
    assert os.fsencode(rows[0]["image"]) == path


MISTAKES = {
    "nothing": ((), 2, r"Missing argument 'IMAGES"),
    "no such file": (("MIXED/0.pgn",), 2, r"Path '.*0.pgn' does not exist"),
    "no images": (("MIXED/deep/none",), 1, r"no images in .*none: folders are searched.*\.jpg"),
    "no such model": (("MIXED", "--model", "nowhere"), 2, r"'--model'.*'nowhere' does not exist"),
    "no model": (("MIXED", "--model", "MIXED"), 1, r"that the command export wrote, .*mixed has no config.json"),
    "top": (("MIXED", "--top", "0"), 2, r"--top"),
    "out": (("MIXED", "--out", "MIXED"), 2, r"'--out'.*is a directory"),
}


@pytest.mark.parametrize(("given", "code", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gives_one_message_and_no_table(given, code, message, model, mixed, tmp_path):
    (mixed / "deep" / "none").mkdir()
    out = tmp_path / "out.csv"
    given = [text.replace("MIXED", str(mixed)) for text in given]
    done = _invoke("predict", "--model", model, "--out", out, "--workers", 0, *given)
    assert done.exit_code == code, done.output
    assert re.search(message, " ".join(done.output.split())), done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixed"]


def test_models_that_cannot_be_read_are_refused(model, mixed, tmp_path):
    def refused(folder: Path, message: str) -> None:
        done = _invoke("predict", "--model", folder, "--out", tmp_path / "out.csv", mixed)
        assert (done.exit_code, (tmp_path / "out.csv").exists()) == (1, False)
        assert re.search(message, " ".join(done.output.split())), done.output

    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[:-100])
    refused(copy, r"copy cannot be loaded: .*; export it again, or copy it anew")
    (copy / "model.safetensors").unlink()
    refused(copy, r"copy cannot be loaded")
    config = json.loads((copy / "config.json").read_text())
    config["lgcoamix"]["format"] = 2
    (copy / "config.json").write_text(json.dumps(config))
    refused(copy, r"has export format 2, this program reads 1")
    del config["lgcoamix"]
    (copy / "config.json").write_text(json.dumps(config))
    refused(copy, r"does not say how its images are prepared")
    refused(model.parent, r"is a run: python -m lgcoamix export --checkpoint")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes in the file system, POSIX signals")
def test_ctrl_c_leaves_no_table(model, mixed, tmp_path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    command = ["-m", "lgcoamix", "predict", "--model", model, "--workers", 0, "--batch-size", 1, mixed / "0.png", pipe]
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with pipe.open("wb"):  # opens when the command reads its second image, which then never ends
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixed", "pipe.png"]
