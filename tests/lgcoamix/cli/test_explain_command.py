"""``python -m lgcoamix explain``: its numbers against loops over pixels, its pictures, and what it refuses."""

import csv
import re
from collections.abc import Callable
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from matplotlib.figure import Figure
from PIL import Image

from lgcoamix.cli import main
from lgcoamix.evaluation.explain import Explainer
from lgcoamix.models import LocalGlobalNet
from lgcoamix.models.statistics import statistics_of
from lgcoamix.runs.load import read_trained
from lgcoamix.settings.options import ExplainOptions
from lgcoamix.settings.sections import from_plain
from preprocess.build.plan import BuildSettings
from preprocess.store import Store
from preprocess.superpixels import Scale
from tests.conftest import PROOF, paint
from tests.preprocess.conftest import build_here

HERE = ("--device", "cpu", "--workers", 0)
SIDE = 64
Rows = list[dict[str, str]]


def _invoke(command: str, *options: object) -> Result:
    done = CliRunner().invoke(main, [command, *map(str, options)])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done


def _explain(checkpoint: Path, store: Path, out: Path, *options: object) -> str:
    done = _invoke("explain", "--checkpoint", checkpoint, "--shards", store, "--out", out, *HERE, *options)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def _rows(path: Path) -> Rows:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _changed(content: dict, path: Path, method: str | None = None, **mixer: object) -> Path:
    """Write a checkpoint, perhaps as of another method."""
    config = content["config"]
    if method is not None:
        config = {**config, "settings": {**config["settings"], "method": method, "mixer": mixer}}
    torch.save({**content, "config": config}, path)
    return path


@pytest.fixture(scope="module")
def content(flowers_store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A checkpoint of one epoch, whose LayerNorm has random weights: at its start, every score is 0.5."""
    out = tmp_path_factory.mktemp("runs") / "run"
    options = ("--shards", flowers_store, "--backbone", "test_resnet", "--weights", "none", "--image-size", SIDE)
    more = ("--batch-size", 12, "--epochs", 1, "--mixer", "lgcoamix", "--no-tensorboard", "--no-pictures", *HERE)
    done = _invoke("train", *options, *more, "--out", out)
    assert done.exit_code == 0, done.output
    content = torch.load(out / "last.pt", weights_only=True)
    random = torch.Generator().manual_seed(5)
    for name in ("weight", "bias"):
        content["model"][f"local_head.norm.{name}"] = torch.randn(64, generator=random) / 4
    return content


@pytest.fixture(scope="module")
def checkpoint(content: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _changed(content, tmp_path_factory.mktemp("random") / "last.pt")


@pytest.fixture(scope="module")
def said(checkpoint: Path, flowers_store: Path) -> str:
    return _explain(checkpoint, flowers_store, checkpoint.parent / "worst", "--worst", 7)


@pytest.fixture(scope="module")
def worst(said: str, checkpoint: Path) -> Path:
    """Explanations of the seven worst of 18 images, on two pages."""
    return checkpoint.parent / "worst"


@pytest.fixture(scope="module")
def network(content: dict) -> LocalGlobalNet:
    network = LocalGlobalNet("test_resnet", 3, image_size=SIDE)
    network.load_state_dict(content["model"])
    return network.eval()


class Oracle:
    """The score of every region of an image by plain loops, from the features of the decoder and the weights."""

    def __init__(self, content: dict, network: LocalGlobalNet, store: Path) -> None:
        self.network, self.store = network, Store(store)
        self.weights = {name: value.double().numpy() for name, value in content["model"].items()}
        self.statistics = statistics_of(from_plain(content["config"]["settings"]))
        self.places = {key: number for number, key in enumerate(self.store.keys("test"))}

    def image(self, key: str) -> np.ndarray:
        return self.store.images("test", [self.places[key]])[0]

    def ids(self, key: str) -> np.ndarray:
        likely = max(self.store.scales, key=lambda scale: scale.weight)
        return self.store.maps("test", likely.segments, [self.places[key]])[0]

    def features(self, image: np.ndarray) -> np.ndarray:
        mean, std = self.statistics
        inputs = (torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255 - mean) / std
        with torch.no_grad():
            maps = self.network.backbone.forward_maps(inputs)[1]
            return self.network.decoder(maps, (SIDE, SIDE))[0].double().numpy()

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.weights[f"local_head.{name}.weight"] @ x + self.weights[f"local_head.{name}.bias"]

    def regions(self, image: np.ndarray, ids: np.ndarray) -> dict[int, tuple[int, float]]:
        """Pixels and s = sigmoid(t) of each region, where t sums LayerNorm(attention + mean of the features)."""
        features, pixels = self.features(image), {}
        for y in range(SIDE):
            for x in range(SIDE):
                pixels.setdefault(int(ids[y, x]), []).append(features[:, y, x])
        means = {number: sum(values) / len(values) for number, values in sorted(pixels.items())}
        found = {}
        for number, mean in means.items():
            query = self.linear("query", mean)
            rates = {other: np.exp(query @ self.linear("key", m) / np.sqrt(len(m))) for other, m in means.items()}
            value = sum(rate * self.linear("value", means[other]) for other, rate in rates.items())
            z = value / sum(rates.values()) + mean
            z = (z - z.mean()) / np.sqrt(z.var() + 1e-12)
            t = (z * self.weights["local_head.norm.weight"] + self.weights["local_head.norm.bias"]).sum()
            found[number] = len(pixels[number]), 1 / (1 + np.exp(-t))
        return found


@pytest.fixture(scope="module")
def oracle(content: dict, network: LocalGlobalNet, flowers_store: Path) -> Oracle:
    return Oracle(content, network, flowers_store)


def _by_image(folder: Path) -> dict[tuple[str, str], Rows]:
    rows = _rows(folder / "superpixels.csv")
    return {pair: list(part) for pair, part in groupby(rows, lambda row: (row["key"], row["image"]))}


def test_scores_of_stored_images_are_those_of_a_loop_over_pixels(worst, oracle):
    for row in _rows(worst / "images.csv")[:2]:
        found = _by_image(worst)[row["key"], "stored"]
        wanted = oracle.regions(oracle.image(row["key"]), oracle.ids(row["key"]))
        assert [int(line["id"]) for line in found] == sorted(wanted)
        for line in found:
            pixels, score = wanted[int(line["id"])]
            assert float(line["area"]) == pytest.approx(pixels / SIDE**2, rel=1e-8)
            assert float(line["score"]) == pytest.approx(score, abs=2e-5)
            assert (line["source"], line["kept"]) == ("a", "")
        scores = [float(line["score"]) for line in found]
        assert max(scores) - min(scores) > 0.01


def test_the_mixed_image_has_the_regions_scores_and_weights_of_a_loop_over_pixels(worst, oracle):
    for row in _rows(worst / "images.csv")[:2]:
        found = _by_image(worst)[row["key"], "mixed"]
        pasted = {int(line["id"]) for line in found if line["source"] == "b"}
        a, b = (oracle.image(row[name]) for name in ("key", "partner"))
        ids_a, ids_b = (oracle.ids(row[name]).astype(int) for name in ("key", "partner"))
        mask = np.isin(ids_b, list(pasted))
        assert 0 < mask.mean() < 1
        wanted = oracle.regions(np.where(mask[..., None], b, a), np.where(mask, 1000 + ids_b, ids_a))
        numbers = [int(line["id"]) + 1000 * (line["source"] == "b") for line in found]
        assert numbers == sorted(wanted)
        for number, line in zip(numbers, found, strict=True):
            assert float(line["area"]) == pytest.approx(wanted[number][0] / SIDE**2, rel=1e-8)
            assert float(line["score"]) == pytest.approx(wanted[number][1], abs=2e-5)
        most = Fraction("0.7") * len(wanted)
        kept = sorted(wanted, key=lambda number: -wanted[number][1])[: int(most)]
        assert {number for number, line in zip(numbers, found, strict=True) if line["kept"] == "1"} == set(kept)
        mass = {number: pixels * score for number, (pixels, score) in wanted.items()}
        from_b = sum(value for number, value in mass.items() if number >= 1000)
        assert float(row["lambda_area"]) == pytest.approx(mask.mean(), abs=1e-6)
        assert float(row["lambda_attention"]) == pytest.approx(from_b / sum(mass.values()), abs=2e-5)


def test_shares_of_the_area_sum_to_one(worst):
    found = _by_image(worst)
    assert len(found) == 14
    for rows in found.values():
        assert sum(float(row["area"]) for row in rows) == pytest.approx(1, abs=1e-7)


def test_partners_are_other_images_of_another_class(worst):
    for row in _rows(worst / "images.csv"):
        assert row["partner"] != row["key"]
        assert row["partner_label"] != row["label"]


@pytest.mark.usefixtures("undrawn")
def test_the_worst_have_the_lowest_probability_and_the_figures_of_evaluate(
    worst, network, oracle, checkpoint, tmp_path
):
    done = _invoke(
        *("evaluate", "--checkpoint", checkpoint, "--shards", oracle.store.path, "--out", tmp_path / "e", *HERE),
        *("--fgsm", "none", "--drop", "none"),
    )
    assert done.exit_code == 0, done.output
    predictions = {row["key"]: row for row in _rows(tmp_path / "e" / "predictions.csv")}
    mean, std = oracle.statistics
    true = {}
    for key, row in predictions.items():
        inputs = (torch.from_numpy(oracle.image(key)).permute(2, 0, 1)[None].float() / 255 - mean) / std
        with torch.no_grad():
            chances = network.backbone(inputs)[0].double().softmax(0)
        true[key] = float(chances[oracle.store.classes.index(row["label"])])
    found = _rows(worst / "images.csv")
    assert [row["key"] for row in found] == sorted(true, key=true.__getitem__)[:7]
    for row in found:
        evaluated = predictions[row["key"]]
        assert (row["label"], row["predicted"]) == (evaluated["label"], evaluated["prediction"])
        assert float(row["predicted_probability"]) == pytest.approx(float(evaluated["confidence"]), abs=2e-6)
        assert float(row["probability"]) == pytest.approx(true[row["key"]], abs=2e-6)


def test_the_same_command_writes_the_same_bytes(worst, checkpoint, flowers_store, tmp_path, monkeypatch):
    if not PROOF:
        monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)
    _explain(checkpoint, flowers_store, tmp_path / "out", "--worst", 7)
    names = {path.name for path in worst.iterdir()}
    assert names == {"images.csv", "superpixels.csv", "page-01.png", "page-02.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    for name in names if PROOF else ("images.csv", "superpixels.csv"):
        assert (worst / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name


@pytest.mark.usefixtures("undrawn")
def test_what_is_shown_of_an_image_depends_on_no_other_but_on_the_seed(worst, checkpoint, flowers_store, tmp_path):
    last = _rows(worst / "images.csv")[-1]
    _explain(checkpoint, flowers_store, tmp_path / "out", "--keys", last["key"])
    assert _rows(tmp_path / "out" / "images.csv") == [last]
    assert _by_image(tmp_path / "out")[last["key"], "mixed"] == _by_image(worst)[last["key"], "mixed"]
    _explain(checkpoint, flowers_store, tmp_path / "out", "--keys", last["key"], "--seed", 1)
    (other,) = _rows(tmp_path / "out" / "images.csv")
    assert other["lambda_area"] != last["lambda_area"]
    assert other["probability"] == last["probability"]


def test_the_pages_show_something_and_the_command_names_them(worst, said):
    assert said.endswith("images.csv, page-01.png, page-02.png, superpixels.csv")
    assert "not shown" not in said
    for name in ("page-01.png", "page-02.png"):
        with Image.open(worst / name) as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        assert (np.ptp(pixels, axis=2) > 30).mean() > 0.1


ABSENT = {  # method, options: what is missing, columns of images.csv
    "none": ({}, r"scores .* none has no attention.*the mixed image: this run does not mix", ()),
    "cutout": ({}, "scores", ("weight_a", "weight_b")),
    "mixup": ({}, "scores", ("partner", "partner_label", "weight_a", "weight_b")),
    "cutmix": ({}, "scores", ("partner", "partner_label", "weight_a", "weight_b")),
    "snapmix": ({}, "scores", ("partner", "partner_label", "weight_a", "weight_b")),
    "superpixel_grid": ({}, "scores", ("partner", "partner_label", "lambda_area")),
    "occamix": ({}, "scores", ("partner", "partner_label", "lambda_area")),
    "attentive_cutmix": ({}, "the mixed image: attentive_cutmix chooses cells with a network outside", ()),
    "lgcoamix": ({"mix_prob": 0.0}, r"the mixed image: this run does not mix \(lgcoamix\)", ()),
}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("method", ABSENT)
def test_a_method_without_a_column_says_so(method, content, flowers_store, tmp_path):
    mixer, message, columns = ABSENT[method]
    path = _changed(content, tmp_path / "other.pt", method, **mixer)
    said = _explain(path, flowers_store, tmp_path / "out", "--worst", 2)
    assert re.search(f"not shown: .*{message}", said), said
    (first, _) = _rows(tmp_path / "out" / "images.csv")
    assert tuple(first)[5:] == columns
    assert (tmp_path / "out" / "superpixels.csv").exists() == (method in ("superpixel_grid", "occamix", "lgcoamix"))


@pytest.mark.usefixtures("undrawn")
def test_weights_without_a_local_branch_and_a_map_of_one_cell_say_so(content, flowers_store, tmp_path):
    state = {name: value for name, value in content["model"].items() if name.startswith("backbone.")}
    config = content["config"]
    data = {**config["settings"]["data"], "image_size": 32}
    bare = {"model": state, "config": {**config, "settings": {**config["settings"], "data": data}}}
    path = _changed({**content, **bare}, tmp_path / "bare.pt")
    said = _explain(path, flowers_store, tmp_path / "out", "--worst", 1)
    assert re.search(r"not shown: attention scores .*bare.pt holds no local branch", said)
    assert "not shown: class activation: the last map of the network has a single cell at 32 pixels" in said
    assert "lambda_attention" not in _rows(tmp_path / "out" / "images.csv")[0]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("backbone", "method"), [("test_convnext", "Grad-CAM"), ("test_resnet", "CAM")])
def test_where_a_class_is_seen_is_computed_as_the_network_allows(backbone, method, content, flowers_store, tmp_path):
    network = LocalGlobalNet(backbone, 3, image_size=SIDE, local=False)
    config, model = content["config"], {**content["config"]["settings"]["model"], "backbone": backbone}
    config = {**config, "settings": {**config["settings"], "model": model}}
    state = {**content, "config": config, "model": network.state_dict()}
    path = _changed(state, tmp_path / "other.pt", "none")
    options = ExplainOptions(path, "test", tmp_path / "out", (), device="cpu")
    explainer = Explainer(Store(flowers_store), options, read_trained(path))
    assert "class activation" not in explainer.absent
    example = explainer.explain(0)
    assert example.cam == method
    for found in example.activation:
        assert np.isnan(found).all() or (found.min(), found.max()) == pytest.approx((0, 1), abs=1e-9)


MISTAKES: dict[str, tuple[Callable[[Path], tuple[object, ...]], str]] = {
    "neither": (lambda _: (), "expected either --keys or --worst"),
    "both": (lambda _: ("--worst", 2, "--keys", "x"), "expected either --keys or --worst"),
    "none": (lambda _: ("--worst", 0), "--worst"),
    "misspelt": (lambda path: ("--keys", Store(path).keys("test")[0][:-5]), "did you mean test/daisy/image_"),
    "other letters": (lambda path: ("--keys", Store(path).keys("test")[0].replace("y", "i")), "did you mean test/dais"),
    "strange": (lambda _: ("--keys", "§"), "no image '§' in split test; keys are like test/daisy/"),
    "empty": (lambda path: ("--keys", Store(path).keys("test")[0] + ","), "no image '' in split test; keys are like"),
    "split": (lambda path: ("--keys", Store(path).keys("train")[0]), "it is in split train: pass --split train"),
    "twice": (lambda path: ("--keys", ",".join(2 * Store(path).keys("test")[:1])), r"once, got 'test/.*' 2 times"),
    "no split": (lambda _: ("--worst", 2, "--split", "tset"), "no split 'tset'; did you mean test"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gives_one_message_and_no_folder(name, checkpoint, flowers_store, tmp_path):
    options, message = MISTAKES[name]
    places = ("--checkpoint", checkpoint, "--shards", flowers_store, "--out", tmp_path / "out", *HERE)
    done = _invoke("explain", *places, *options(flowers_store))
    assert done.exit_code == 2, done.output
    assert re.search(message, " ".join(done.output.split())), done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("undrawn")
def test_only_force_writes_beside_other_files_and_inputs_stay(checkpoint, flowers_store, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    places = ("--checkpoint", checkpoint, "--shards", flowers_store, *HERE, "--worst", 1)
    done = _invoke("explain", *places, "--out", tmp_path)
    assert done.exit_code == 2
    assert "notes.txt, which is no part of an explanation" in " ".join(done.output.split())
    done = _invoke("explain", *places, "--out", flowers_store.with_suffix(".shards"), "--force")
    assert done.exit_code == 2
    (tmp_path / "notes.csv").write_text("mine")
    done = _invoke("explain", *places, "--out", tmp_path, "--force")
    assert done.exit_code == 0
    assert done.output.endswith(f"wrote {tmp_path}: images.csv, page-01.png, superpixels.csv\n")
    wrote = {"images.csv", "superpixels.csv", "page-01.png"}
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "notes.csv", *wrote}


@pytest.mark.usefixtures("undrawn")
def test_several_keys_and_a_key_with_a_comma_are_found(checkpoint, flowers_store, tmp_path, monkeypatch):
    keys = Store(flowers_store).keys("test")
    _explain(checkpoint, flowers_store, tmp_path / "out", "--keys", f"{keys[4]},{keys[2]}", "--keys", keys[7])
    assert [row["key"] for row in _rows(tmp_path / "out" / "images.csv")] == [keys[4], keys[2], keys[7]]
    renamed = ["a,b", *keys[1:]]
    monkeypatch.setattr(Store, "keys", lambda *_: renamed)
    _explain(checkpoint, flowers_store, tmp_path / "out", "--keys", "a,b")
    assert [row["key"] for row in _rows(tmp_path / "out" / "images.csv")] == ["a,b"]


@pytest.mark.usefixtures("undrawn")
def test_a_centre_crop_of_images_of_any_shape_lies_in_its_place(content, tmp_path):
    sizes = {"daisy": (100, 80), "iris": (80, 100), "tulip": (80, 80)}
    for seed, (name, size) in enumerate(sizes.items()):
        for split in ("train", "test"):
            paint(tmp_path / "raw" / split / name / "0.png", seed, size)
    settings = BuildSettings(
        "folder", (Scale(4, 1.0),), size=80, resize="short", codec="png", algorithm="grid", compactness=None
    )
    store = build_here(tmp_path / "raw", tmp_path / "shapes.h5", settings)
    config = content["config"]
    data = {**config["settings"]["data"], "test": "center"}
    config = {**config, "settings": {**config["settings"], "data": data}}
    path = _changed({**content, "config": config}, tmp_path / "centre.pt")
    options = ExplainOptions(path, "test", tmp_path / "out", (), device="cpu")
    explainer = Explainer(store, options, read_trained(path))
    for place, (H, W) in enumerate(sizes.values()):
        example = explainer.explain(place)
        factor = 384 // max(H, W)
        top, left = (H - SIDE) // 2 * factor, (W - SIDE) // 2 * factor
        assert example.image.shape == (H * factor, W * factor, 3)
        assert np.array_equal(example.image[::factor, ::factor], store.images("test", [place])[0])
        assert np.array_equal(example.regions.ids[::factor, ::factor], store.maps("test", 4, [place])[0])
        assert example.window == (top, left, SIDE * factor, SIDE * factor)
        assert example.activation.shape == (2, SIDE * factor, SIDE * factor)
        mixture, other = example.mixture, explainer.keys.index(example.mixture.key)
        own = example.image[top : top + SIDE * factor, left : left + SIDE * factor]
        h, w = list(sizes.values())[other]
        row, column = (h - SIDE) // 2, (w - SIDE) // 2
        b = store.images("test", [other])[0][row : row + SIDE, column : column + SIDE]
        grown = b.repeat(factor, axis=0).repeat(factor, axis=1)  # to the pixels of the first image, whatever its own
        assert np.array_equal(mixture.partner, grown)
        assert np.array_equal(mixture.image, np.where(mixture.selected[..., None], grown, own))
        # At this whole factor, the shares of what is drawn are those of what the network saw.
        half = len(mixture.regions.areas) // 2
        drawn = np.bincount(mixture.regions.ids.ravel(), minlength=2 * half) / mixture.regions.ids.size
        assert drawn == pytest.approx(mixture.regions.areas)
        assert mixture.weights["lambda_area"] == pytest.approx(mixture.selected.mean(), abs=1e-6)
