"""``python -m lgcoamix evaluate --localise`` on sets with boxes in their official layouts, against plain loops."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from click.testing import CliRunner, Result

from lgcoamix.cli import main
from lgcoamix.evaluation import localisation
from lgcoamix.evaluation.evaluate import evaluate_checkpoint
from lgcoamix.settings.options import EvaluationOptions
from lgcoamix.settings.sections import DataSettings, ModelSettings, Settings
from preprocess.build.plan import BuildSettings, make_plan
from preprocess.build.run import build
from preprocess.datasets import DATASETS
from preprocess.extras import PackageError
from preprocess.store import Store
from preprocess.superpixels import Scale
from tests.lgcoamix.runs.checkpoints import write_checkpoint
from tests.oracles import slow_localisation as slow
from tests.preprocess.datasets.official import make_cub, make_tiny_imagenet

pytestmark = pytest.mark.usefixtures("undrawn")
CLEAN = ("--device", "cpu", "--workers", 0, "--fgsm", "none", "--drop", "none")
MEAN, STD = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def store_of(name: str, make: Callable[[Path], Path], home: Path, size: int) -> Store:
    settings = BuildSettings(name, (Scale(4, 1.0),), size=size, algorithm="grid")
    build(make_plan(home / f"{name}.h5", DATASETS[name].find(make(home / name)), settings), 1, False, lambda done: None)
    return Store(home / f"{name}.h5")


def run_on(store: Store, backbone: str = "resnet10t", **data: object) -> Path:
    """A checkpoint with random weights, beside the store."""
    settings = Settings(data=DataSettings(**{"image_size": 64} | data), model=ModelSettings(backbone, "none"))
    return write_checkpoint(store.path.with_name("best.pt"), settings, store.classes)


def evaluate(checkpoint: Path, store: Store, *options: object) -> Result:
    out = store.path.with_name("out")
    given = ("--checkpoint", checkpoint, "--shards", store.path, "--out", out, "--localise", *CLEAN, *options)
    done = CliRunner().invoke(main, ["evaluate", *map(str, given)])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert "Traceback" not in done.output
    return done


def localised(checkpoint: Path, store: Store, *options: object) -> tuple[dict, str]:
    """What the document says of localisation, and what the command says, on one line."""
    done = evaluate(checkpoint, store, *options)
    assert done.exit_code == 0, done.output
    document = json.loads((store.path.parent / "out" / "evaluation.json").read_text())
    return document["localisation"], " ".join(done.output.split())


def in_loops(checkpoint: Path, pixels: np.ndarray, labels: list[int], truths: list[list[slow.Box]]) -> dict:
    """The accuracies of the network of a checkpoint, whose last map is taken where it is computed."""
    state = torch.load(checkpoint, weights_only=True)["model"]
    net = timm.create_model("resnet10t", num_classes=3).eval()
    net.load_state_dict({key.removeprefix("backbone.net."): v for key, v in state.items() if "net." in key})
    kept: list[torch.Tensor] = []
    net.layer4.register_forward_hook(lambda _module, _given, output: kept.append(output))
    with torch.no_grad():
        logits = net((torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - MEAN) / STD)
    maps = []
    for features, label in zip(kept[0], labels, strict=True):
        activation = sum(w * channel for w, channel in zip(net.fc.weight[label].detach(), features, strict=True))
        wide = F.interpolate(activation.double()[None, None], size=(64, 64), mode="bicubic")[0, 0].numpy()
        maps.append((wide - wide.min()) / (wide.max() - wide.min()))
    return slow.accuracies(maps, truths, (logits.argmax(dim=1) == torch.tensor(labels)).tolist())


def check(found: dict, expected: dict) -> None:
    by_iou = {f"at {row['iou']}": row["accuracy"] for row in found["max_box_acc_v2_by_iou"]}
    assert {name: (found | by_iou)[name] for name in expected} == pytest.approx(expected)
    assert found["gt_known"] == found["max_box_acc"]


# As val_annotations.txt lists them, both ends included: 0 32 44 62 is columns 0 to 44.
TINY = [[(0, 32, 45, 63)], [(4, 0, 64, 56)], [(10, 20, 31, 41)], [(52, 55, 58, 60)]]


@pytest.fixture
def tiny(tmp_path: Path) -> Store:
    return store_of("tiny-imagenet", make_tiny_imagenet, tmp_path, 64)


def test_validation_images_of_tiny_imagenet(tiny):
    checkpoint = run_on(tiny)
    found, said = localised(checkpoint, tiny)
    pixels = np.stack(tiny.images("val", range(4)))
    check(found, in_loops(checkpoint, pixels, tiny.labels("val").tolist(), TINY))
    counts = ("method", "images", "without_box", "out_of_view", "flat_maps")
    assert [found[name] for name in counts] == ["CAM", 4, 0, 0, 0]
    assert "localisation of 4 images, boxes from CAM" in said
    for name in ("max_box_acc", "top1", "max_box_acc_v2"):
        low, high = found["interval"][name]
        assert f"{found[name]:.2f} % [{low:.2f}, {high:.2f}]" in said
    assert "not localised" not in said


def test_images_without_a_box_are_left_out_and_counted(tmp_path):
    def make(home: Path) -> Path:
        make_tiny_imagenet(home)
        (home / "train" / "n02124075" / "n02124075_boxes.txt").unlink()  # of three images
        return home

    store = store_of("tiny-imagenet", make, tmp_path, 64)
    checkpoint = run_on(store)
    found, said = localised(checkpoint, store, "--split", "train")
    assert [found["images"], found["without_box"], found["out_of_view"]] == [4, 3, 0]
    assert "not localised: 3 images without a box" in said
    boxes = {
        "n01443537_0": (0, 10, 64, 59),
        "n01443537_1": (7, 12, 64, 41),
        "n04067472_0": (15, 11, 53, 58),
        "n04067472_1": (5, 5, 6, 6),
    }
    names = [Path(key).stem for key in store.keys("train")]
    rows = [row for row, name in enumerate(names) if name in boxes]
    pixels, labels = np.stack(store.images("train", rows)), store.labels("train")[rows].tolist()
    check(found, in_loops(checkpoint, pixels, labels, [[boxes[names[row]]] for row in rows]))


def test_birds_whose_boxes_a_crop_cuts(tmp_path):
    # Images of 24 x 16 pixels, stored as 96 x 96; the crop shows columns and rows 16 to 79.
    store = store_of("cub", make_cub, tmp_path, 96)
    checkpoint = run_on(store, test="center")
    found, _ = localised(checkpoint, store)
    truths = [[(8, 0, 56, 50)], [(24, 44, 64, 64)]]  # 6 2 12 9 and 10 10 20 20, of which the image shows 14 6
    pixels = np.stack(store.images("test", range(2)))[:, 16:80, 16:80]
    check(found, in_loops(checkpoint, pixels, store.labels("test").tolist(), truths))
    assert [found["images"], found["without_box"], found["out_of_view"]] == [2, 0, 0]


def test_a_bird_beside_the_crop_is_left_out_and_counted(tmp_path):
    store = store_of("cub", make_cub, tmp_path, 96)
    found, said = localised(run_on(store, test="center"), store, "--split", "train")
    assert [found["images"], found["without_box"], found["out_of_view"]] == [2, 0, 1]  # 1 2 3 4 ends at column 16
    assert "not localised: 1 images whose boxes the crop does not show" in said


def test_other_figures_and_tables_are_those_without_localisation(tiny):
    checkpoint, out = run_on(tiny), tiny.path.with_name("out")
    localised(checkpoint, tiny)
    with_boxes = json.loads((out / "evaluation.json").read_text())
    table = (out / "predictions.csv").read_bytes()
    given = ("--checkpoint", checkpoint, "--shards", tiny.path, "--out", out, *CLEAN)
    assert CliRunner().invoke(main, ["evaluate", *map(str, given)]).exit_code == 0
    without = json.loads((out / "evaluation.json").read_text())
    assert without["localisation"] is None
    assert with_boxes | {"localisation": None} == without
    assert (out / "predictions.csv").read_bytes() == table


def test_batches_and_workers_change_nothing(tiny):
    checkpoint = run_on(tiny)
    found, _ = localised(checkpoint, tiny)
    assert localised(checkpoint, tiny, "--batch-size", 3, "--workers", 1)[0] == found


def test_a_transformer_is_localised_by_grad_cam(tiny):
    found, said = localised(run_on(tiny, "test_vit"), tiny)
    assert (found["method"], found["images"]) == ("Grad-CAM", 4)
    assert "boxes from Grad-CAM" in said


def refused(checkpoint: Path, store: Store, message: str, *options: object) -> None:
    done = evaluate(checkpoint, store, *options)
    assert done.exit_code == 1, done.output
    assert re.search(message, " ".join(done.output.split())), done.output
    assert not store.path.with_name("out").exists()


def test_a_store_without_boxes_is_refused(flowers_store, tmp_path):
    store = Store(flowers_store)
    settings = Settings(data=DataSettings(image_size=64), model=ModelSettings("resnet10t", "none"))
    checkpoint = write_checkpoint(tmp_path / "best.pt", settings, store.classes)
    message = (
        r"--localise: .*flowers.h5 has no boxes in split 'test'; build a store from a data set with boxes, or eval"
    )
    refused(checkpoint, store, message)


def test_a_split_without_boxes_names_those_with_some(tmp_path):
    def make(home: Path) -> Path:
        for table in make_tiny_imagenet(home).glob("train/*/*_boxes.txt"):
            table.unlink()
        return home

    store = store_of("tiny-imagenet", make, tmp_path, 64)
    refused(run_on(store), store, r"has no boxes in split 'train'; choose --split val, or", "--split", "train")


def test_a_network_without_activation_maps_is_refused_before_the_first_pass(tiny, monkeypatch):
    def usable_method(*_: object) -> str:
        raise ValueError("Net has no single last map; choose another backbone")

    monkeypatch.setattr(localisation, "usable_method", usable_method)
    refused(run_on(tiny), tiny, "--localise: Net has no single last map; choose another backbone")


def test_a_map_of_one_position_is_refused(tiny):
    message = r"--localise: the last map of this network has one position for inputs of 32 pixels"
    refused(run_on(tiny, image_size=32), tiny, message)


def test_without_opencv_the_extra_is_named(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    options = EvaluationOptions(run_on(tiny), "val", tiny.path.with_name("out"), device="cpu", workers=0, localise=True)
    message = r"--localise needs opencv-python-headless \(cv2\), which the extra \[train\] brings"
    with pytest.raises(PackageError, match=message):
        evaluate_checkpoint(tiny, options, pytest.fail)
    assert not options.out.exists()
