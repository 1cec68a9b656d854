"""``python -m lgcoamix export``: what timm makes of the folder, what the card says, and what is refused."""

import errno
import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace as Namespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
import yaml
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor, nn

from lgcoamix.cli import main
from lgcoamix.errors import RunError
from lgcoamix.export.card import make_card
from lgcoamix.export.onnx import write_onnx
from lgcoamix.runs.load import read_trained
from lgcoamix.settings.sections import DataSettings, ModelSettings, Settings
from preprocess.build.settings import BuildSettings
from preprocess.extras import PackageError
from preprocess.superpixels import Scale
from tests.conftest import PROOF, Run
from tests.lgcoamix.runs.checkpoints import IMAGES, describe, random_state, write_checkpoint
from tests.preprocess.conftest import build_here

CLASSES = ("daisy", "iris", "tulip")
FILES = ["README.md", "config.json", "model.safetensors"]
NETWORKS = {  # name: input size, what timm must be told besides the number of classes
    "test_resnet": (32, {}),
    "test_vit": (64, {"img_size": 64}),  # its own size is 160
    "resnet18_cifar": (32, {}),
}
if PROOF:  # large, and compared by every export in its own process
    NETWORKS |= {"preact_resnet18_raw": (32, {}), "resnet18_stride16": (64, {})}


def _settings(backbone: str = "test_resnet", size: int = 32, method: str = "lgcoamix", **data: Any) -> Settings:
    settings = Settings(data=DataSettings(image_size=size, **data), model=ModelSettings(backbone, "none"))
    return settings.with_method(method)


def _invoke(*options: object) -> Result:
    done = CliRunner().invoke(main, ["export", *map(str, options)])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert "Traceback" not in done.output
    return done


def _export(checkpoint: Path, out: Path, *options: object) -> dict[str, Any]:
    done = _invoke("--checkpoint", checkpoint, "--out", out, *options)
    assert done.exit_code == 0, done.output
    return json.loads((out / "config.json").read_text())


def _refused(checkpoint: Path, out: Path, message: str, *options: object, code: int = 1) -> None:
    before = sorted(out.parent.iterdir())
    done = _invoke("--checkpoint", checkpoint, "--out", out, *options)
    assert done.exit_code == code, done.output
    assert re.search(message, " ".join(done.output.split())), done.output
    assert sorted(out.parent.iterdir()) == before


def _by_hand(checkpoint: Path, name: str, options: dict[str, int], weights: str = "model") -> nn.Module:
    """The backbone of a checkpoint, without this project's code."""
    state = torch.load(checkpoint, weights_only=True)[weights]
    inner = {key.removeprefix("backbone.net."): v for key, v in state.items() if key.startswith("backbone.net.")}
    net = timm.create_model(name, num_classes=len(CLASSES), **options)
    net.load_state_dict(inner)
    return net.eval()


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of LGCOAMix, read-only."""
    return write_checkpoint(tmp_path_factory.mktemp("run") / "best.pt", _settings(), CLASSES)


@pytest.fixture(scope="module")
def exported(best: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export, read-only."""
    out = tmp_path_factory.mktemp("exported") / "my model"
    _export(best, out)
    return out


CARD = """
import json, os, sys
import torch
torch.set_num_threads(1)
for home, name in json.loads(sys.argv[1]):
    os.chdir(home)
    text = open(f"{name}/README.md", encoding="utf-8").read()
    blocks = [part.split("```")[0] for part in text.split("```python\\n")[1:]]
    assert len(blocks) == 3
    for number, block in enumerate(blocks[:2]):
        exec(block, space := {})
        with torch.no_grad():
            torch.save(space["model"](torch.load("images.pt")), f"logits-{number}.pt")
        if number == 0:
            exec(blocks[2], space)
    print("project" if "lgcoamix" in sys.modules else "timm alone")
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, run_warm: Run) -> dict[str, dict[str, Any]]:
    """What the code on each network's card gives in a fresh process, and what its checkpoint gives by hand."""
    found, plain, ours = {}, [], []
    for name, (size, options) in NETWORKS.items():
        home = tmp_path_factory.mktemp(name)
        checkpoint = write_checkpoint(home / "best.pt", _settings(name, size, "none"), CLASSES)
        _export(checkpoint, home / "out")
        images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))
        torch.save(images, home / "images.pt")
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)).save(home / "photo.jpg")
        with torch.no_grad():
            found[name] = {"home": home, "logits": _by_hand(checkpoint, name, options)(images)}
        (plain if name.startswith("test_") else ours).append((str(home), "out"))
    done = run_warm("-c", CARD, json.dumps(plain + ours), OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    answers, modules = done.stdout.splitlines()[::2], done.stdout.splitlines()[1::2]
    assert modules == ["timm alone"] * len(plain) + ["project"] * len(ours)
    assert all(answer.split()[0] in CLASSES for answer in answers)  # the card's own example, with a photograph
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_timm_gives_the_logits_of_the_checkpoint_in_a_fresh_process_in_both_forms(name, loaded):
    wanted, home = loaded[name]["logits"], loaded[name]["home"]
    assert wanted.std(dim=0).min() > 1e-3  # they tell images apart
    for number in range(2):
        assert torch.equal(torch.load(home / f"logits-{number}.pt"), wanted)


def _backbone_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("backbone.net."): v for name, v in state.items() if name.startswith("backbone.net.")}


@pytest.mark.parametrize("branch", ["local", "mid", "averaged"])
def test_the_weights_are_the_backbone_alone(branch, tmp_path):
    settings = _settings(method="snapmix" if branch == "mid" else "lgcoamix")
    settings = settings.with_values("mixer", mid=True) if branch == "mid" else settings
    average = random_state(settings, 3, seed=5) if branch == "averaged" else None
    checkpoint = write_checkpoint(tmp_path / "best.pt", settings, CLASSES, model_ema=average)
    _export(checkpoint, tmp_path / "out")
    state = average or torch.load(checkpoint, weights_only=True)["model"]
    wanted, written = _backbone_of(state), load_file(tmp_path / "out" / "model.safetensors")
    assert len(wanted) < len(state)
    assert written.keys() == wanted.keys()
    assert all(written[name].dtype == v.dtype and torch.equal(written[name], v) for name, v in wanted.items())
    card = (tmp_path / "out" / "README.md").read_text()
    said = {"local": "a local branch in training only", "mid": "mid-level branch, which this", "averaged": "averaged"}
    assert said[branch] in card
    assert ('Results "with the mid-level branch"' in card) == (branch == "mid")


def test_the_configuration_tells_timm_and_predict_all_they_need(exported):
    config = json.loads((exported / "config.json").read_text())
    cfg, ours = config["pretrained_cfg"], config["lgcoamix"]
    assert (config["architecture"], config["num_classes"]) == ("test_resnet", 3)
    assert config["label_names"] == list(CLASSES)
    assert (cfg["input_size"], cfg["crop_pct"], cfg["crop_mode"]) == ([3, 32, 32], 1.0, "squash")
    assert cfg["interpolation"] == "bilinear"
    assert (cfg["mean"], cfg["std"]) == ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])  # timm's, for test_resnet
    assert ours["sha256"] == hashlib.sha256((exported / "model.safetensors").read_bytes()).hexdigest()
    assert (ours["images"], ours["data"]["image_size"], ours["data"]["test"]) == (IMAGES, 32, "resize")
    assert not {"url", "hf_hub_id", "file", "tag", "license", "origin_url", "test_input_size"} & cfg.keys()


def test_no_path_of_the_machine_and_nothing_of_the_original_weights_is_told(tmp_path):
    settings = _settings().with_values("model", weights="/home/somebody/secret/start.pt", backbone="resnet10t.c3_in1k")
    config = _export(write_checkpoint(tmp_path / "best.pt", settings, CLASSES), tmp_path / "out")
    text = "".join((tmp_path / "out" / name).read_text() for name in FILES[:2])
    assert config["architecture"] == "resnet10t"
    cfg = config["pretrained_cfg"]
    assert (cfg["mean"], cfg["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert "secret" not in text
    assert str(tmp_path) not in text
    assert "start.pt" in text
    assert "http" not in text
    assert "timm/resnet10t" not in text


@pytest.mark.parametrize(
    ("weights", "recorded", "said", "licence"),
    [
        ("pretrained", "resnet10t.c3_in1k", "timm's resnet10t.c3\\_in1k |", "apache-2.0 for the weights resnet10t.c3"),
        ("c3_in1k", "resnet10t.c3_in1k", "timm's resnet10t.c3\\_in1k |", "apache-2.0 for the weights resnet10t.c3"),
        (
            "pretrained",
            "resnet10t.old_in1k",
            "timm's resnet10t.old\\_in1k |",
            "no licence for the weights resnet10t.old",
        ),
        # a run of an earlier version, which did not record it
        (
            "pretrained",
            None,
            f"in timm {timm.__version__} resnet10t.c3\\_in1k |",
            "apache-2.0 for the weights resnet10t",
        ),
        ("x/start", None, "a file, start |", "Starting weights: a file, start."),
    ],
)
def test_the_starting_weights_are_named_with_their_tag(weights, recorded, said, licence, tmp_path):
    settings = _settings("resnet10t", method="none").with_values("model", weights=weights)
    config = describe(settings, CLASSES) | ({"starting_weights": recorded} if recorded else {})
    written = _export(write_checkpoint(tmp_path / "best.pt", settings, CLASSES, config=config), tmp_path / "out")
    assert written["lgcoamix"]["starting_weights"] == recorded
    text = (tmp_path / "out" / "README.md").read_text()
    assert said in text
    assert licence in text.replace("timm names ", "")


def test_another_start_than_timms_is_named(tmp_path):
    settings = _settings().with_values("model", init="released")
    _export(write_checkpoint(tmp_path / "best.pt", settings, CLASSES), tmp_path / "out")
    assert "none: trained from scratch, started as released |" in (tmp_path / "out" / "README.md").read_text()


def test_without_normalisation_mean_is_0_and_deviation_1(tmp_path):
    checkpoint = write_checkpoint(tmp_path / "best.pt", _settings(normalise="none"), CLASSES)
    cfg = _export(checkpoint, tmp_path / "out")["pretrained_cfg"]
    assert (cfg["mean"], cfg["std"]) == ([0, 0, 0], [1, 1, 1])
    assert "inputs lie in [0, 1]" in (tmp_path / "out" / "README.md").read_text()


def test_a_mean_of_0_alone_is_no_lack_of_normalisation(best, exported):
    config = json.loads((exported / "config.json").read_text())
    config["pretrained_cfg"] |= {"mean": [0.0] * 3, "std": [0.5] * 3}
    card = make_card(read_trained(best), config, {}, "x", None)
    assert "subtract the mean (0, 0, 0), divide by the standard deviation (0.5, 0.5, 0.5)" in card


@pytest.mark.parametrize(("resize", "scaled"), [("squash", (93, 93)), ("short", 93)])
def test_a_centre_is_cut_out_of_the_stored_size_by_timm_too(resize, scaled, tmp_path):
    images = {**IMAGES, "size": 93, "resize": resize}  # floor(32 / (32 / 93)) would be 92
    checkpoint = write_checkpoint(tmp_path / "best.pt", _settings(test="center"), CLASSES, images)
    cfg = _export(checkpoint, tmp_path / "out")["pretrained_cfg"]
    names = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
    first, second = timm.data.create_transform(**{name: cfg[name] for name in names}).transforms[:2]
    assert (first.size, tuple(second.size)) == (scaled, (32, 32))
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Crop the centre of 32x32 pixels." in card
    assert ("Squash to 93x93 pixels" if resize == "squash" else "Resize to a short side of 93 pixels") in card
    assert "Resize the image" not in card


def test_the_card_says_where_the_network_comes_from_and_how_good_it_is(exported):
    text = (exported / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["library_name"] == "timm"
    assert front["pipeline_tag"] == "image-classification"
    assert "license" not in front
    for said in (
        "test_resnet",
        "select\\_prob=0.5",
        "flowers",
        "train 36, test 18",
        "epoch 8",
        "| seed | 7 |",
        "- 1: iris",
    ):
        assert said in text
    assert "Squash to 64x64 pixels" in text
    assert "Resize the image to 32x32" in text
    assert "| test, this checkpoint (epoch 8), measured by the training |  | 61.25 % |" in text
    assert "chosen on the test images themselves" in text
    assert "--model 'my model'" in text


@pytest.fixture
def home(best: Path, tmp_path: Path) -> Path:
    """A run folder with all figures, and a card that shows them (``_card``)."""
    home = tmp_path / "run"
    home.mkdir()
    (home / "best.pt").write_bytes(best.read_bytes())
    top = {"last": 50.5, "best": 61.25, "median_of_last_10": 55.0}
    _write(home / "config.json", describe(_settings(), CLASSES))
    _write(home / "results.json", {"test_top1": top, "best_epoch": 7, "best_chosen_on": "test", "epochs": 30})
    digest = hashlib.sha256(best.read_bytes()).hexdigest()
    for split, checkpoint in (("test", digest), ("other", "0" * 64)):
        figures = {"images": 18, "top1": 60.5, "top5": 91.75, "loss": 1.5, "calibration_error": 0.125}
        document = {"checkpoint": {"sha256": checkpoint}, "split": split, "store": {"name": "flowers"}}
        document |= {"figures": figures, "backbone": {**figures, "top1": 59.0}}
        (home / f"evaluation-{split}").mkdir()
        _write(home / f"evaluation-{split}" / "evaluation.json", document)
    return home


def _write(path: Path, document: object) -> None:
    path.write_text(json.dumps(document))


def _card(home: Path, exported: Path) -> str:
    config = json.loads((exported / "config.json").read_text())
    return make_card(read_trained(home / "best.pt"), config, {}, "x", None)


def test_figures_of_the_same_run_and_file_are_found_beside_the_checkpoint(home, tmp_path):
    _export(home, tmp_path / "one")  # a run folder means its best.pt
    text = (tmp_path / "one" / "README.md").read_text()
    assert "| test, last of 30 epochs |  | 50.50 % |" in text
    assert "| test, best epoch (epoch 8, chosen on test) |  | 61.25 % |" in text
    assert "| test, median of the last 10 |  | 55.00 % |" in text
    assert "with the mid-level branch | 18 | 60.50 % | 91.75 % | 1.5000 | 0.1250 |" in text
    assert "as exported | 18 | 59.00 %" in text
    assert "other of flowers" not in text


@pytest.mark.parametrize("other", ["seed", "store"])
def test_figures_of_another_run_or_store_are_left_out(other, home, exported):
    assert "last of 30 epochs" in _card(home, exported)
    config = describe(_settings(), CLASSES)
    if other == "seed":
        config["seed"] = 8
    else:
        config["store"]["keys"]["test/images"] = "0" * 16
    _write(home / "config.json", config)
    text = _card(home, exported)
    assert "last of 30 epochs" not in text
    assert "measured by evaluate" in text  # of exactly this file, wherever the run is


ODD_RESULTS = (
    {"best_epoch": 7, "best_chosen_on": "test", "epochs": 30, "test_top1": {}},
    {"best_epoch": 7, "best_chosen_on": "test", "epochs": 30, "test_top1": {"last": "high", "best": None}},
    {"best_epoch": "7", "best_chosen_on": "test", "epochs": 30, "test_top1": {"last": 50.5}},
    {"best_epoch": 7, "epochs": 30, "test_top1": {"last": 50.5}},
    [],
)
ODD_EVALUATIONS = (
    {"figures": None},
    {"figures": {"images": 18}, "backbone": {"top5": 91.75}},
    {"figures": {"top1": "high"}, "backbone": 7},
    {"figures": {"top1": float("nan")}},
    {"checkpoint": "best.pt"},
)


def test_figures_with_missing_or_odd_fields_are_left_out_and_stop_no_export(home, exported):
    path = home / "evaluation-test" / "evaluation.json"
    sound = json.loads(path.read_text())
    for results in ODD_RESULTS:
        _write(home / "results.json", results)
        text = _card(home, exported)
        assert not re.search("last of|best epoch \\(|median of", text)
        assert "60.50 %" in text
    for changes in ODD_EVALUATIONS:
        _write(path, sound | {"backbone": None} | changes)
        assert "measured by evaluate" not in _card(home, exported)
    figures = {"top1": 60.5, "top5": "n/a", "images": [18]}
    _write(path, {"checkpoint": sound["checkpoint"], "figures": figures})
    assert "measured by evaluate |  | 60.50 % |  |  |  |" in _card(home, exported)
    _write(home / "config.json", {**describe(_settings(), CLASSES), "store": None})
    assert "61.25 %" in _card(home, exported)


def test_a_checkpoint_from_the_middle_of_an_epoch_has_no_figures(tmp_path):
    place = {"epoch": 8, "step": 3}
    checkpoint = write_checkpoint(tmp_path / "last.pt", _settings(), CLASSES, position=place)
    _export(checkpoint, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "step 3 of epoch 9" in text
    assert "None are available" in text


def test_names_of_classes_cannot_break_the_card(tmp_path):
    classes = ("a|b", "<b>bold</b>", "line break, \"quoted\" 'ü'")
    config = _export(write_checkpoint(tmp_path / "best.pt", _settings(), classes), tmp_path / "out")
    assert config["label_names"] == list(classes)
    lines = (tmp_path / "out" / "README.md").read_text().splitlines()
    assert {"- 0: a\\|b", "- 1: &lt;b&gt;bold&lt;/b&gt;", "- 2: line break, \"quoted\" 'ü'"} <= set(lines)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"] if PROOF else ["test_vit"])
def test_onnx_gives_the_logits_of_pytorch_for_any_batch(name, tmp_path):
    size, options = NETWORKS[name]
    checkpoint = write_checkpoint(tmp_path / "best.pt", _settings(name, size), CLASSES)
    done = _invoke("--checkpoint", checkpoint, "--out", tmp_path / "out", "--onnx")
    assert done.exit_code == 0, done.output
    assert re.search(r"model.onnx differs from PyTorch by at most \d\.\de-\d\d", done.output)
    assert len(done.output.splitlines()) == 4  # the exporter's chatter is not ours
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == sorted([*FILES, "model.onnx"])
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx", providers=["CPUExecutionProvider"])
    net = _by_hand(checkpoint, name, options)
    for count in (1, 2, 5):
        images = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(count))
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        with torch.no_grad():
            assert np.abs(logits - net(images).numpy()).max() < 1e-4
    assert logits.std(axis=0).min() > 1e-3


class Session:
    """Stands for onnxruntime: PyTorch's own logits, moved by ``shift``, for the first batch of each size.

    Attributes
    ----------
    batches : numbers of images that it was asked about.
    """

    def __init__(self, net: nn.Module, shift: float) -> None:
        self.net, self.shift, self.batches = net, shift, []

    @torch.no_grad()
    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        images = feeds["images"]
        self.batches.append(len(images))
        logits = self.net(torch.from_numpy(images)).numpy()
        return [logits + (self.shift if len(images) == 1 else 0)]


def test_onnx_is_compared_over_a_batch_of_one_and_a_larger_one_and_nan_is_no_agreement(tmp_path, monkeypatch):
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval()
    monkeypatch.setattr("torch.onnx.export", lambda *arguments, **options: None)
    for shift, accepted in ((5e-5, True), (2e-4, False), (float("nan"), False)):
        session = Session(net, shift)
        monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *arguments, session=session, **options: session)
        if accepted:
            assert write_onnx(net, 2, tmp_path / "x") == pytest.approx(shift, rel=0.01)
        else:
            with pytest.raises(RunError, match=f"differ from PyTorch's by {shift:.1e}"):
                write_onnx(net, 2, tmp_path / "x")
        assert session.batches == [1, 3]


def test_onnx_that_fails_publishes_nothing(best, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxscript", None)
        done = CliRunner().invoke(main, ["export", "--checkpoint", str(best), "--out", str(tmp_path / "out"), "--onnx"])
        assert isinstance(done.exception, PackageError)
        assert str(done.exception).startswith("--onnx needs onnxscript, which the extra [onnx] brings")
        assert not (tmp_path / "out").exists()
    with monkeypatch.context() as patch:
        patch.setattr("lgcoamix.export.onnx._largest_difference", lambda *arguments: 1.0)
        patch.setattr("torch.onnx.export", lambda *arguments, **options: None)
        _refused(best, tmp_path / "out", r"differ from PyTorch's by .* export without --onnx", "--onnx")
    with monkeypatch.context() as patch:
        patch.setattr("torch.onnx.export", lambda *args, **options: 1 / 0)
        _refused(best, tmp_path / "out", r"cannot be written as ONNX: ZeroDivisionError", "--onnx")


def test_a_folder_in_use_is_refused_and_force_replaces_an_export_alone(best, exported, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    _export(best, out)  # an empty folder is taken
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert oct(out.stat().st_mode & 0o777) == oct(0o777 & ~_umask())
    (out / "README.md").write_text("old")
    _export(best, out)  # as is an earlier export
    assert (out / "model.safetensors").read_bytes() == (exported / "model.safetensors").read_bytes()
    assert (out / "README.md").read_text() != "old"
    assert list(tmp_path.iterdir()) == [out]
    (out / "notes.txt").write_text("mine")
    _refused(best, out, r"out holds notes.txt, which is no part of an exported model", code=2)
    _export(best, out, "--force")
    assert sorted(path.name for path in out.iterdir()) == sorted([*FILES, "notes.txt"])
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"architecture": "resnet18"}')  # of another program
    _refused(best, other, r"other holds config.json, which is no part of an exported model", code=2)
    (tmp_path / "file").write_text("")
    _refused(best, tmp_path / "file", r"expected a folder to write", "--force", code=2)


def test_an_earlier_export_stays_where_the_new_one_cannot_take_its_name(best, exported, tmp_path, monkeypatch):
    out, real = tmp_path / "out", Path.replace
    shutil.copytree(exported, out)
    (out / "README.md").write_text("earlier")

    def failing(path: Path, target: Path) -> Path:
        if target == out and path.suffix == ".tmp":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, target)

    monkeypatch.setattr(Path, "replace", failing)
    _refused(best, out, "Input/output error")
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert (out / "README.md").read_text() == "earlier"


def test_a_link_to_nowhere_is_named(best, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    _refused(best, tmp_path / "link", r"link is a link to \S+nowhere, which does not exist; remove the link", code=2)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_folder_from_which_timm_gives_other_logits_is_not_published(best, exported, tmp_path, monkeypatch):
    def changed(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
        return save({**tensors, "fc.bias": tensors["fc.bias"] + 1e-6}, metadata)

    monkeypatch.setattr("lgcoamix.export.export.save", changed)
    _refused(best, tmp_path / "out", r"logits of test_resnet in timm .* differ from .* nothing was written")


def test_a_network_that_diverged_is_not_exported(best, tmp_path):
    state = torch.load(best, weights_only=True)["model"]
    state["backbone.net.fc.bias"][1] = torch.nan
    path = write_checkpoint(tmp_path / "nan.pt", _settings(), CLASSES, model=state)
    _refused(path, tmp_path / "out", r"not finite: its training diverged")


def test_a_network_of_a_user_that_lacks_what_timm_writes_is_refused(best, tmp_path, monkeypatch):
    class Own(nn.Module):
        num_classes = 3

    monkeypatch.setattr("lgcoamix.export.export.make_network", lambda trained: Namespace(backbone=Namespace(net=Own())))
    _refused(best, tmp_path / "out", "Own has no pretrained_cfg, num_features, which timm writes beside the weights")


def test_files_that_are_no_whole_checkpoints_are_refused(best, tmp_path):
    (tmp_path / "cut.pt").write_bytes(best.read_bytes()[:-5000])
    _refused(tmp_path / "cut.pt", tmp_path / "out", r"cut.pt is damaged, or not a checkpoint")
    _refused(tmp_path, tmp_path / "out", r"run folder with best.pt; there is no .*best.pt")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.pt").write_bytes(b"")
    _refused(tmp_path / "run", tmp_path / "out", r"has no best.pt, but a last.pt: use --checkpoint \S+/last.pt")
    _refused(tmp_path / "nowhere.pt", tmp_path / "out", r"nowhere.pt", code=2)
    path = write_checkpoint(tmp_path / "other.pt", _settings("resnet18"), CLASSES, model=random_state(_settings(), 3))
    _refused(path, tmp_path / "out", r"does not match the network resnet18")


@pytest.mark.parametrize("name", ["", "model.safetensors"])
def test_an_export_is_exported_already(name, exported, tmp_path):
    _refused(exported / name, tmp_path / "out", r"is already an export.*lgcoamix predict --model")


def test_a_run_records_how_its_images_were_stored_and_older_ones_are_looked_up(painted, tmp_path):
    settings = BuildSettings("folder", (Scale(4, 1.0),), size=32, algorithm="watershed")
    store = build_here(painted, tmp_path / "x.h5", settings).path
    small = (
        "--backbone",
        "test_resnet",
        "--weights",
        "none",
        "--image-size",
        "32",
        "--batch-size",
        "5",
        "--epochs",
        "1",
    )
    options = ["--shards", store, *small, "--out", tmp_path / "run", "--mixer", "none", "--device", "cpu"]
    train = ["train", *map(str, options), "--workers", "0", "--no-tensorboard", "--no-pictures"]
    done = CliRunner().invoke(main, train)
    assert done.exit_code == 0, done.output
    described = json.loads((tmp_path / "run" / "config.json").read_text())["store"]
    assert described["images"].items() >= {"size": 32, "resize": "squash", "codec": "raw"}.items()
    assert described["samples"] == {"train": 10, "test": 6}
    config = _export(tmp_path / "run", tmp_path / "out")
    assert config["lgcoamix"]["images"] == described["images"]

    older = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    del older["config"]["store"]["images"], older["config"]["store"]["samples"]
    torch.save(older, tmp_path / "older.pt")
    assert _export(tmp_path / "older.pt", tmp_path / "two")["lgcoamix"]["images"] == described["images"]
    older["config"]["store"]["keys"]["test/images"] = "0" * 16
    torch.save(older, tmp_path / "older.pt")
    _refused(
        tmp_path / "older.pt",
        tmp_path / "three",
        r"older version.*now contains other images. Restore or rebuild that store",
    )
    older["config"]["store"]["path"] = "/nowhere/x.h5"
    torch.save(older, tmp_path / "older.pt")
    _refused(
        tmp_path / "older.pt",
        tmp_path / "three",
        r"expected its store at /nowhere/x.h5, but .* Restore or rebuild that store",
    )

    del older["config"]["store"]["path"]
    torch.save(older, tmp_path / "older.pt")
    _refused(
        tmp_path / "older.pt", tmp_path / "three", r"records neither how its images were stored nor where its store is"
    )

    # A run of an older version goes on: what was added is no part of what a run is.
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    del config["store"]["images"], config["store"]["samples"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    done = CliRunner().invoke(main, [*train, "--resume", "auto"])
    assert (done.exit_code, "is already finished and left unchanged" in done.output) == (0, True), done.output


def test_help_and_usage_errors_answer_before_torch_is_imported(run):
    script = (
        "import sys\nfrom lgcoamix.cli import main\n"
        "for options in sys.argv[1:]:\n"
        "    try:\n        main(options.split())\n"
        "    except SystemExit as end:\n        print('exit', end.code, 'torch' in sys.modules)"
    )
    usages = ("export", "predict", "predict --model . . --out x.txt", "predict --model . nowhere.png")
    done = run("-c", script, "export --help", "predict --help", *usages)
    assert [line for line in done.stdout.splitlines() if line.startswith("exit")] == [
        *["exit 0 False"] * 2,
        *["exit 2 False"] * 4,
    ]
    assert "--onnx" in done.stdout
    assert "--top" in done.stdout
    assert "Missing option '--checkpoint'" in done.stderr
    assert "Missing argument 'IMAGES...'" in done.stderr
    assert "ends in .csv, got 'x.txt'" in done.stderr
    assert "found no 'nowhere.png'" in done.stderr
