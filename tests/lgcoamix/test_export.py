"""``python -m lgcoamix export``: what timm makes of the folder, what the card says, and what is refused."""

import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
import yaml
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lgcoamix.cli import main
from lgcoamix.config import DataSettings, ModelSettings, Settings
from tests.conftest import Run
from tests.lgcoamix.checkpoints import IMAGES, describe, random_state, write_checkpoint

CLASSES = ("daisy", "iris", "tulip")
FILES = ["README.md", "config.json", "model.safetensors"]
NETWORKS = {  # name: input size, what timm must be told besides the number of classes
    "resnet10t": (32, {}),
    "test_vit": (64, {"img_size": 64}),  # its own size is 160
    "resnet18_cifar": (32, {}),
    "resnet18_stride16": (64, {}),
}


def _settings(backbone: str = "resnet10t", size: int = 32, method: str = "lgcoamix", **data: Any) -> Settings:
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
def loaded(tmp_path_factory: pytest.TempPathFactory, run: Run) -> dict[str, dict[str, Any]]:
    """What the code on each network's card gives in a fresh process, and what its checkpoint gives by hand."""
    found, plain, ours = {}, [], []
    for name, (size, options) in NETWORKS.items():
        home = tmp_path_factory.mktemp(name)
        checkpoint = write_checkpoint(home / "best.pt", _settings(name, size), CLASSES)
        _export(checkpoint, home / "out")
        images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))
        torch.save(images, home / "images.pt")
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)).save(home / "photo.jpg")
        with torch.no_grad():
            found[name] = {"home": home, "logits": _by_hand(checkpoint, name, options)(images)}
        (ours if "_cifar" in name or "_stride16" in name else plain).append((str(home), "out"))
    done = run("-c", CARD, json.dumps(plain + ours), OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    answers, modules = done.stdout.splitlines()[::2], done.stdout.splitlines()[1::2]
    assert modules == ["timm alone"] * 2 + ["project"] * 2
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
    said = {"local": "local branch of LGCOAMix served", "mid": "mid-level branch, which this", "averaged": "averaged"}
    assert said[branch] in card
    assert ('Figures "with the mid-level branch"' in card) == (branch == "mid")


def test_the_configuration_tells_timm_and_predict_all_they_need(exported):
    config = json.loads((exported / "config.json").read_text())
    cfg, ours = config["pretrained_cfg"], config["lgcoamix"]
    assert (config["architecture"], config["num_classes"]) == ("resnet10t", 3)
    assert config["label_names"] == list(CLASSES)
    assert (cfg["input_size"], cfg["crop_pct"], cfg["crop_mode"]) == ([3, 32, 32], 1.0, "squash")
    assert cfg["interpolation"] == "bilinear"
    assert (cfg["mean"], cfg["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert (ours["images"], ours["data"]["image_size"], ours["data"]["test"]) == (IMAGES, 32, "resize")
    assert not {"url", "hf_hub_id", "file", "tag", "license", "origin_url", "test_input_size"} & cfg.keys()


def test_no_path_of_the_machine_and_nothing_of_the_original_weights_is_told(tmp_path):
    settings = _settings().with_values("model", weights="/home/somebody/secret/start.pt", backbone="resnet18.a1_in1k")
    config = _export(write_checkpoint(tmp_path / "best.pt", settings, CLASSES), tmp_path / "out")
    text = "".join((tmp_path / "out" / name).read_text() for name in FILES[:2])
    assert config["architecture"] == "resnet18"
    assert "secret" not in text
    assert str(tmp_path) not in text
    assert "start.pt" in text
    assert "http" not in text
    assert "timm/resnet18" not in text


def test_without_normalisation_mean_is_0_and_deviation_1(tmp_path):
    checkpoint = write_checkpoint(tmp_path / "best.pt", _settings(normalise="none"), CLASSES)
    cfg = _export(checkpoint, tmp_path / "out")["pretrained_cfg"]
    assert (cfg["mean"], cfg["std"]) == ([0, 0, 0], [1, 1, 1])
    assert "inputs lie in [0, 1]" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(("resize", "scaled"), [("squash", (93, 93)), ("short", 93)])
def test_a_centre_is_cut_out_of_the_stored_size_by_timm_too(resize, scaled, tmp_path):
    images = {**IMAGES, "size": 93, "resize": resize}  # floor(32 / (32 / 93)) would be 92
    checkpoint = write_checkpoint(tmp_path / "best.pt", _settings(test="center"), CLASSES, images)
    cfg = _export(checkpoint, tmp_path / "out")["pretrained_cfg"]
    names = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
    first, second = timm.data.create_transform(**{name: cfg[name] for name in names}).transforms[:2]
    assert (first.size, tuple(second.size)) == (scaled, (32, 32))


def test_the_card_says_where_the_network_comes_from_and_how_good_it_is(exported):
    text = (exported / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["library_name"] == "timm"
    assert front["pipeline_tag"] == "image-classification"
    assert "license" not in front
    for said in (
        "resnet10t",
        "select\\_prob=0.5",
        "flowers",
        "train 36, test 18",
        "epoch 8",
        "| seed | 7 |",
        "- 1: iris",
    ):
        assert said in text
    assert "Squash to 64x64 pixels" in text
    assert "Resize the whole image to 32x32" in text
    assert "| test, this checkpoint (epoch 8), measured by the training |  | 61.25 % |" in text
    assert "chosen on the test images themselves" in text
    assert "--model 'my model'" in text


def test_figures_of_the_same_run_and_file_are_found_beside_the_checkpoint(best, tmp_path):
    home = tmp_path / "run"
    home.mkdir()
    (home / "best.pt").write_bytes(best.read_bytes())
    top = {"last": 50.5, "best": 61.25, "median_of_last_10": 55.0}
    results = {"test_top1": top, "best_epoch": 7, "best_chosen_on": "test", "epochs": 30}
    (home / "config.json").write_text(json.dumps(describe(_settings(), CLASSES)))
    (home / "results.json").write_text(json.dumps(results))
    digest = hashlib.sha256(best.read_bytes()).hexdigest()
    for split, checkpoint in (("test", digest), ("other", "0" * 64)):
        figures = {"images": 18, "top1": 60.5, "top5": 91.75, "calibration_error": 0.125}
        document = {"checkpoint": {"sha256": checkpoint}, "split": split, "store": {"name": "flowers"}}
        (home / f"evaluation-{split}").mkdir()
        document |= {"figures": figures, "backbone": {**figures, "top1": 59.0}}
        (home / f"evaluation-{split}" / "evaluation.json").write_text(json.dumps(document))
    _export(home, tmp_path / "one")  # a run folder means its best.pt
    text = (tmp_path / "one" / "README.md").read_text()
    assert "| test, last of 30 epochs |  | 50.50 % |" in text
    assert "| test, best epoch (epoch 8, chosen on test) |  | 61.25 % |" in text
    assert "with the mid-level branch | 18 | 60.50 % | 91.75 % | 0.1250 |" in text
    assert "as exported | 18 | 59.00 %" in text
    assert "other of flowers" not in text
    (home / "config.json").write_text(json.dumps({**describe(_settings(), CLASSES), "seed": 8}))
    _export(home, tmp_path / "two")
    assert "last of 30 epochs" not in (tmp_path / "two" / "README.md").read_text()  # of another run


def test_a_checkpoint_from_the_middle_of_an_epoch_has_no_figures(tmp_path):
    place = {"epoch": 8, "step": 3}
    checkpoint = write_checkpoint(tmp_path / "last.pt", _settings(), CLASSES, position=place)
    _export(checkpoint, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "step 3 of epoch 9" in text
    assert "None came with the checkpoint" in text


def test_names_of_classes_cannot_break_the_card(tmp_path):
    classes = ("a|b", "<b>bold</b>", "line\nbreak, \"quoted\" 'ü'")
    config = _export(write_checkpoint(tmp_path / "best.pt", _settings(), classes), tmp_path / "out")
    assert config["label_names"] == list(classes)
    lines = (tmp_path / "out" / "README.md").read_text().splitlines()
    assert {"- 0: a\\|b", "- 1: &lt;b&gt;bold&lt;/b&gt;", "- 2: line break, \"quoted\" 'ü'"} <= set(lines)


@pytest.mark.parametrize("name", ["resnet10t", "test_vit"])
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


def test_onnx_that_fails_publishes_nothing(best, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(
            sys.modules["lgcoamix.cli.export"], "find_spec", lambda name: None if name == "onnxscript" else name
        )
        _refused(best, tmp_path / "out", r"--onnx needs onnxscript: pip install 'lgcoamix\[onnx\]'", "--onnx", code=2)
    with monkeypatch.context() as patch:
        patch.setattr("lgcoamix.onnx_file.TOLERANCE", 0.0)
        _refused(best, tmp_path / "out", r"differ from PyTorch's by .* leave out --onnx", "--onnx")
    with monkeypatch.context() as patch:
        patch.setattr("torch.onnx.export", lambda *args, **options: 1 / 0)
        _refused(best, tmp_path / "out", r"cannot be written as ONNX: ZeroDivisionError", "--onnx")


def test_a_folder_in_use_is_refused_and_force_replaces_an_export_alone(best, exported, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    _export(best, out)  # an empty folder is taken
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert oct(out.stat().st_mode & 0o777) == oct(0o777 & ~_umask())
    _refused(best, out, r"out exists; give another --out, or replace the export that it holds with --force")
    (out / "README.md").write_text("old")
    _export(best, out, "--force")
    assert (out / "model.safetensors").read_bytes() == (exported / "model.safetensors").read_bytes()
    assert (out / "README.md").read_text() != "old"
    (out / "notes.txt").write_text("mine")
    _refused(best, out, r"also holds notes.txt, which --force would remove", "--force")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"architecture": "resnet18"}')  # of another program
    _refused(best, other, r"is no earlier export", "--force")
    (tmp_path / "file").write_text("")
    _refused(best, tmp_path / "file", r"is no earlier export", "--force")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_folder_from_which_timm_gives_other_logits_is_not_published(best, exported, tmp_path, monkeypatch):
    def changed(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
        save_file({**tensors, "fc.bias": tensors["fc.bias"] + 1e-6}, path, metadata)

    monkeypatch.setattr("lgcoamix.export.save_file", changed)
    _refused(best, tmp_path / "out", r"gives other logits for resnet10t .* nothing was written")


def test_a_network_that_diverged_is_not_exported(best, tmp_path):
    state = torch.load(best, weights_only=True)["model"]
    state["backbone.net.fc.bias"][1] = torch.nan
    path = write_checkpoint(tmp_path / "nan.pt", _settings(), CLASSES, model=state)
    _refused(path, tmp_path / "out", r"not finite: its training diverged")


def test_files_that_are_no_whole_checkpoints_are_refused(best, tmp_path):
    (tmp_path / "cut.pt").write_bytes(best.read_bytes()[:-5000])
    _refused(tmp_path / "cut.pt", tmp_path / "out", r"cut.pt is damaged, or not a checkpoint")
    _refused(tmp_path, tmp_path / "out", r"run folder with best.pt; there is no .*best.pt")
    _refused(tmp_path / "nowhere.pt", tmp_path / "out", r"nowhere.pt", code=2)
    path = write_checkpoint(tmp_path / "other.pt", _settings("resnet18"), CLASSES, model=random_state(_settings(), 3))
    _refused(path, tmp_path / "out", r"does not fit the network resnet18")


def test_a_run_records_how_its_images_were_stored_and_older_ones_are_looked_up(flowers_store, tmp_path):
    small = (
        "--backbone",
        "resnet10t",
        "--weights",
        "none",
        "--image-size",
        "32",
        "--batch-size",
        "12",
        "--epochs",
        "1",
    )
    options = ["--shards", flowers_store, *small, "--out", tmp_path / "run", "--mixer", "none", "--device", "cpu"]
    train = ["train", *map(str, options), "--workers", "0", "--no-tensorboard"]
    done = CliRunner().invoke(main, train)
    assert done.exit_code == 0, done.output
    described = json.loads((tmp_path / "run" / "config.json").read_text())["store"]
    assert described["images"].items() >= {"size": 64, "resize": "squash", "codec": "raw"}.items()
    assert described["samples"] == {"train": 36, "test": 18}
    config = _export(tmp_path / "run", tmp_path / "out")
    assert config["lgcoamix"]["images"] == described["images"]

    older = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    del older["config"]["store"]["images"], older["config"]["store"]["samples"]
    torch.save(older, tmp_path / "older.pt")
    assert _export(tmp_path / "older.pt", tmp_path / "two")["lgcoamix"]["images"] == described["images"]
    older["config"]["store"]["keys"]["test/images"] = "0" * 16
    torch.save(older, tmp_path / "older.pt")
    _refused(tmp_path / "older.pt", tmp_path / "three", r"older version.*other images now. Put that store there")
    older["config"]["store"]["path"] = "/nowhere/x.h5"
    torch.save(older, tmp_path / "older.pt")
    _refused(tmp_path / "older.pt", tmp_path / "three", r"looked for at /nowhere/x.h5, but .* Put that store there")

    # A run of an older version goes on: what was added is no part of what a run is.
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    del config["store"]["images"], config["store"]["samples"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    done = CliRunner().invoke(main, [*train, "--resume", "auto"])
    assert (done.exit_code, "is finished: taken as it is" in done.output) == (0, True), done.output


@pytest.mark.parametrize(("command", "text"), [("export", "--onnx"), ("predict", "--top")])
def test_help_and_usage_errors_answer_before_torch_is_imported(command, text, run):
    script = (
        "import sys\nfrom lgcoamix.cli import main\n"
        "for options in (['--help'], []):\n"
        f"    try:\n        main([{command!r}, *options])\n"
        "    except SystemExit as end:\n        print('exit', end.code, 'torch' in sys.modules)"
    )
    done = run("-c", script)
    assert "exit 0 False" in done.stdout
    assert "exit 2 False" in done.stdout
    assert text in done.stdout
    assert "Missing" in done.stderr
