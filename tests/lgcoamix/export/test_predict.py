"""``python -m lgcoamix predict``: the pixels and figures of an evaluation, for any files; the bad ones are told."""

import csv
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file, save_file

from lgcoamix.cli import main
from lgcoamix.data import SuperpixelDataset, View
from lgcoamix.data.files import FileBatch, ImageFiles
from lgcoamix.errors import RunError
from lgcoamix.export.folder import read_exported
from lgcoamix.settings.sections import DataSettings, ModelSettings, Settings
from preprocess.build.settings import BuildSettings
from preprocess.store import Store
from preprocess.superpixels import Scale
from tests.lgcoamix.runs.checkpoints import random_state, write_checkpoint
from tests.preprocess.conftest import EPS, build_here, ghostscript

CLASSES = ("a", "b")
STORES = {  # how images are stored, and the protocol of the test
    "raw": (BuildSettings("folder", (), size=48), "resize"),
    "raw, centre": (BuildSettings("folder", (), size=48), "center"),
    "jpeg": (BuildSettings("folder", (), size=48, codec="jpeg", quality=60), "resize"),
    "jpeg, short, centre": (BuildSettings("folder", (), size=40, codec="jpeg", quality=60, resize="short"), "center"),
    "png, own sizes": (BuildSettings("folder", (), size=None, codec="png", resize="none"), "resize"),
    "jpeg, banner": (BuildSettings("folder", (), size=48, codec="jpeg", banner=9), "resize"),
    "jpeg, own sizes, banner": (
        BuildSettings("folder", (), size=None, codec="jpeg", resize="none", banner=9),
        "resize",
    ),
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


NAMES = ("plain", 'a, "quoted"', "Blüte 🌼", "two lines [red]")


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
    (root / "null.jpg").symlink_to(os.devnull)  # as a pipe, which a test could wait for without an end
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
        "null.jpg": "cannot be read: expected a regular file, it is a device",
        "text.jpg": "not an image file",
    }
    assert found.keys() == {"0.png", "deep/1.JPG", "deep/x.jpg/2.png", "photo", *bad}
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
    assert "out.csv: 9 images, 5 not usable" in done.stdout
    assert f"left out of {mixed}: 2 hidden, such as .3.png; 1 .txt, such as notes.txt" in done.stderr

    assert "[red]" in done.stdout  # a name is shown as it is


def test_linked_folders_are_followed_and_circles_refused(model, mixed, tmp_path):
    tree = tmp_path / "links"
    tree.mkdir()
    (tree / "again").symlink_to(mixed)
    rows, _ = _predict(model, tmp_path / "out.csv", tree)
    assert str(tree / "again" / "deep" / "x.jpg" / "2.png") in {row["image"] for row in rows}
    (tree / "round").symlink_to(tree)
    done = _invoke("predict", "--model", model, "--out", tmp_path / "none.csv", tree)
    assert done.exit_code == 1
    assert "round is a link to a folder that holds it" in done.output


def test_no_image_starts_a_program(model, tmp_path, monkeypatch):
    mark = ghostscript(tmp_path, monkeypatch)
    (tmp_path / "drawing.jpg").write_bytes(EPS)
    (row,), _ = _predict(model, tmp_path / "out.csv", tmp_path / "drawing.jpg", code=1)
    assert row["error"].startswith("EPS is not read")
    assert not mark.exists()


def test_a_path_that_is_missing_stops_no_other(model, mixed, tmp_path):
    names = ("0.png", "nowhere.png", "gone.jpg", "x" * 300)
    given = (*(mixed / name for name in names), os.devnull)
    rows, done = _predict(model, tmp_path / "out.csv", *given)
    missing = "cannot be read: No such file or directory"
    device = "cannot be read: expected a regular file, it is a device"
    wanted = ["", missing, missing, "cannot be read: File name too long", device]
    assert [row["error"] for row in rows] == wanted
    assert rows[0]["class_1"] in NAMES
    assert f"not usable: {mixed / 'nowhere.png'}: cannot be read" in done.stderr
    assert "out.csv: 5 images, 4 not usable" in done.stdout


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
    count = 40  # torch sorts up to 16 numbers in their order, whether it is asked to or not
    state = random_state(_settings(), count)
    state["backbone.net.fc.weight"], bias = torch.zeros_like(state["backbone.net.fc.weight"]), torch.zeros(count)
    bias[7] = np.log(4)
    state["backbone.net.fc.bias"] = bias
    model = _export(tmp_path, _settings(), tuple(f"c{label}" for label in range(count)), model=state)
    (row,), _ = _predict(model, tmp_path / "out.csv", mixed / "0.png", "--top", 20)
    assert [row[f"class_{rank}"] for rank in range(1, 21)] == ["c7", *(f"c{n}" for n in range(20) if n != 7)]
    assert [row[f"probability_{rank}"] for rank in range(1, 21)] == ["0.093023", *["0.023256"] * 19]  # 4/43, 1/43


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


def test_a_name_commands_no_terminal(model, mixed, tmp_path, monkeypatch):
    monkeypatch.chdir(mixed)
    paths = [Path(f"a\x1b[31m{end}\u202e\r\n.png") for end in "xy"]
    shutil.copy("0.png", paths[0])
    shutil.copy("text.jpg", paths[1])
    rows, done = _predict(model, tmp_path / "out.csv", *paths)
    assert [row["image"] for row in rows] == [str(path) for path in paths]
    for text, said in (("a�[31mx���.png", done.stdout), ("a�[31my���.png: not an image", done.stderr)):
        assert text in said
    assert not set(done.output) & set("\x1b\u202e\r")


MISTAKES = {
    "nothing": ((), 2, r"Missing argument 'IMAGES"),
    "no such file": (("MIXED/0.pgn",), 2, r"expected images or folders of images, but found no '\S+/0.pgn'$"),
    "no such files": (("MIXED/\x1b", "MIXED/gone.jpg"), 2, r"found no '\S+/\\x1b', '\S+/gone.jpg'$"),
    "no images": (("MIXED/deep/none",), 1, r"no images in .*none: it is empty"),
    "no such model": (("MIXED", "--model", "nowhere"), 2, r"'--model'.*'nowhere' does not exist"),
    "no model": (("MIXED", "--model", "MIXED"), 1, r"written by the command export, .*mixed has no config.json"),
    "top": (("MIXED", "--top", "0"), 2, r"--top"),
    "out": (("MIXED", "--out", "MIXED"), 2, r"'--out'.*is a directory"),
    "out no table": (
        ("MIXED", "--out", "MIXED/0.png"),
        2,
        r"'--out': expected a file name that ends in .csv, got '\S+/0.png'",
    ),
    "out empty": (("MIXED", "--out", ""), 2, r"'--out': expected a file name that ends in .csv, got '.'"),
    "out an image": (
        ("MIXED/0.png", "MIXED/odd.csv", "--out", "MIXED/deep/../odd.csv"),
        2,
        r"odd.csv is an input",
    ),
    "out a missing image": (("MIXED/0.png", "MIXED/x.csv", "--out", "MIXED/x.csv"), 2, r"x.csv is an input"),
    "out among the images": (("MIXED", "--out", "MIXED/x.csv"), 2, r"x.csv is inside of an input"),
}


@pytest.mark.parametrize(("given", "code", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gives_one_message_and_no_table(given, code, message, model, mixed, tmp_path):
    (mixed / "deep" / "none").mkdir()
    shutil.copy(mixed / "0.png", mixed / "odd.csv")
    before = sorted(mixed.rglob("*"))
    out = tmp_path / "out.csv"
    given = [text.replace("MIXED", str(mixed)) for text in given]
    done = _invoke("predict", "--model", model, "--out", out, "--workers", 0, *given)
    assert done.exit_code == code, done.output
    assert re.search(message, " ".join(done.output.split())), done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixed"]
    assert sorted(mixed.rglob("*")) == before
    assert (mixed / "odd.csv").read_bytes() == (mixed / "0.png").read_bytes()


def test_a_table_that_cannot_be_written_is_found_out_before_any_image_is_read(model, mixed, tmp_path, monkeypatch):
    monkeypatch.setattr("lgcoamix.export.predict.make_loader", lambda *arguments: pytest.fail("images were read"))
    out = tmp_path / f"{'x' * 250}.csv"  # as long as a name may be: no room for that of the file written aside
    done = _invoke("predict", "--model", model, "--out", out, "--workers", 0, mixed)
    assert done.exit_code == 1
    assert "File name too long" in done.output


def test_models_that_cannot_be_read_are_refused(model, mixed, tmp_path):
    def refused(folder: Path, message: str) -> None:
        done = _invoke("predict", "--model", folder, "--out", tmp_path / "out.csv", mixed)
        assert (done.exit_code, (tmp_path / "out.csv").exists()) == (1, False)
        assert re.search(message, " ".join(done.output.split())), done.output

    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    weights = (copy / "model.safetensors").read_bytes()
    middle = len(weights) // 2
    (copy / "model.safetensors").write_bytes(weights[:middle] + bytes([weights[middle] ^ 1]) + weights[middle + 1 :])
    refused(copy, r"model.safetensors is damaged: its bytes do not match .*; export or copy it again")
    (copy / "model.safetensors").unlink()
    refused(copy, r"model.safetensors cannot be read: No such file")
    _change(copy, lambda config: config["lgcoamix"].pop("sha256"))  # of an earlier version
    (copy / "model.safetensors").write_bytes(weights[:-100])
    refused(copy, r"copy cannot be loaded: .*; export or copy it again")
    config = json.loads((copy / "config.json").read_text())
    config["lgcoamix"]["format"] = 2
    (copy / "config.json").write_text(json.dumps(config))
    refused(copy, r"has export format 2, this program reads 1")
    del config["lgcoamix"]
    (copy / "config.json").write_text(json.dumps(config))
    refused(copy, r"without the preprocessing of images")
    refused(model.parent, r"is a run: python -m lgcoamix export --checkpoint")


def _change(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


DAMAGE = {  # what becomes of config.json: what is said
    "no images": (lambda c: c["lgcoamix"].update(images={}), r"images.size: is missing; .*images.codec: is missing"),
    "images a list": (lambda c: c["lgcoamix"].update(images=[]), r"lgcoamix.images: expected a dictionary"),
    "no size": (lambda c: c["lgcoamix"]["images"].update(size=None), r"images: .*expected a size, or null for resize"),
    "a size": (
        lambda c: c["lgcoamix"]["images"].update(resize="none"),
        r"images: .*expected a size, or null for resize",
    ),
    "large": (lambda c: c["lgcoamix"]["images"].update(size=10**6), r"images.size: .* of at most 16384"),
    "resize": (lambda c: c["lgcoamix"]["images"].update(resize="long"), r"'squash', 'short' or 'none', got 'long'"),
    "codec": (lambda c: c["lgcoamix"]["images"].update(codec="gif"), r"'raw', 'jpeg' or 'png', got 'gif'"),
    "quality": (lambda c: c["lgcoamix"]["images"].update(codec="jpeg"), r"images: .*expected the quality of JPEG"),
    "banner": (lambda c: c["lgcoamix"]["images"].update(banner=-1), r"images.banner: .* at least 0 .*, got -1"),
    "no data": (lambda c: c["lgcoamix"].pop("data"), r"lgcoamix.data: is missing"),
    "odd data": (lambda c: c["lgcoamix"]["data"].update(colour=1), r"is damaged: data: this version knows no 'colour'"),
    "huge inputs": (
        lambda c: c["lgcoamix"]["data"].update(image_size=10**6),
        r"data: image_size must lie in \[1, 4096\]",
    ),
    "no names": (lambda c: c.pop("label_names"), r"label_names: is missing"),
    "few names": (lambda c: c["label_names"].pop(), r"label_names has 3 names, num_classes is 4"),
    "a name twice": (lambda c: c.update(label_names=["x"] * 4), r"label_names: .*expected different names"),
    "a name with a bell": (lambda c: c["label_names"].__setitem__(2, "x\a"), r"label_names.2: .*no control characters"),
    "no name": (lambda c: c["label_names"].__setitem__(2, ""), r"label_names.2: .*at least 1 characters"),
    "few classes": (
        lambda c: c.update(num_classes=3, label_names=[*"xyz"]),
        r"cannot be loaded: .*fc.(bias|weight): expected float32 of shape \(3,.*, got float32 of shape \(4,",
    ),
    "a path for a network": (lambda c: c.update(architecture="local-dir:/tmp"), r"architecture: .*a network in timm"),
    "the hub for a network": (lambda c: c.update(architecture="hf-hub:timm/resnet18"), r"architecture: .*in timm"),
    "another network": (lambda c: c.update(architecture="vit_giant_patch14_224"), r"cannot be loaded: .*are missing"),
    "depth": (lambda c: c["model_args"].update(depth=10**6), r"model_args.depth: expected no such field"),
    "side": (lambda c: c["model_args"].update(img_size=[10**6] * 2), r"img_size.*: .* of at most 4096"),
    "an address": (
        lambda c: c["pretrained_cfg"].update(url="http://x/y"),
        r"pretrained_cfg.url: expected no such field",
    ),
    "foreign weights": (
        lambda c: c["pretrained_cfg"].update(custom_load=True),
        r"custom_load: expected False, got True",
    ),
    "one mean": (lambda c: c["pretrained_cfg"].update(mean=[0.5]), r"mean: expected at least 3 items"),
    "no mean": (lambda c: c["pretrained_cfg"].update(mean=[None] * 3), r"mean.0: expected a number, got None"),
    "zero std": (lambda c: c["pretrained_cfg"].update(std=[0, 1, 1]), r"std.0: expected a number above 0 .*, got 0"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_configuration_that_lacks_something_is_refused(change, message, model, tmp_path):
    shutil.copytree(model, tmp_path / "model")
    _change(tmp_path / "model", change)
    with pytest.raises(RunError) as caught:
        read_exported(tmp_path / "model")
    assert re.search(message, str(caught.value))
    assert "export or copy it again" in str(caught.value)


def _fails(model: Path, mixed: Path, *options: object) -> str:
    """Predict one image, which must fail and leave no table; give what was said."""
    out = mixed / "out.csv"
    done = _invoke("predict", "--model", model, "--out", out, "--device", "cpu", mixed / "0.png", *options)
    assert (done.exit_code, out.exists()) == (1, False)
    return done.output


def test_logits_that_are_not_finite_are_no_answer(model, mixed, tmp_path):
    shutil.copytree(model, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    _change(tmp_path / "model", lambda config: config["lgcoamix"].pop("sha256"))
    for value, said in ((3e38, "not finite for"), (torch.inf, "fc.bias is not finite: its training diverged")):
        weights["fc.bias"][1] = value
        weights["fc.weight"][1] = 3e38  # its products overflow
        save_file(weights, tmp_path / "model" / "model.safetensors", {"format": "pt"})
        assert said in _fails(tmp_path / "model", mixed, "--workers", 0)


def test_too_little_memory_names_the_option(model, mixed, monkeypatch):
    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr("lgcoamix.export.predict.to_inputs", full)
    said = _fails(model, mixed, "--workers", 0, "--batch-size", 7)
    assert "with 7 images per batch: use a smaller --batch-size" in said


def test_a_loading_process_that_dies_is_told(model, mixed, monkeypatch):
    monkeypatch.setattr(ImageFiles, "__getitems__", lambda files, places: os._exit(1))
    said = " ".join(_fails(model, mixed, "--workers", 1).split())
    assert re.search(r"a DataLoader worker died .* rerun with --workers 0", said)


def test_ctrl_c_leaves_no_table(model, mixed, tmp_path, monkeypatch):
    read, seen = ImageFiles.__getitems__, []

    def interrupted(files: ImageFiles, places: list[int]) -> FileBatch:
        seen.append(places)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return read(files, places)

    monkeypatch.setattr(ImageFiles, "__getitems__", interrupted)
    out = tmp_path / "folder" / "out.csv"
    done = _invoke("predict", "--model", model, "--out", out, "--workers", 0, "--batch-size", 1, mixed)
    assert (done.exit_code, len(seen), out.parent.exists()) == (130, 2, False)
