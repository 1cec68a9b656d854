"""Recipes are what was published: expected values are written by hand from METHODS 4, 5 and 7."""

import json
import shlex
from dataclasses import replace

import pytest
import timm
import torch
from click.testing import CliRunner

import lgcoamix.models  # noqa: F401  registers its backbones
from lgcoamix.cli import main
from lgcoamix.data.windows import DRAWS, draw_windows, fixed_windows
from lgcoamix.models import LocalGlobalNet
from lgcoamix.recipes import RECIPES, recipe_for
from lgcoamix.recipes.ours import OURS
from lgcoamix.settings.schedules import SCHEDULES
from lgcoamix.settings.sections import DataSettings, Settings, from_plain, to_plain
from lgcoamix.settings.text import flatten
from preprocess.cli import main as preprocess
from preprocess.cli.build import build
from preprocess.datasets import DATASETS

PROTOCOLS = {
    "cub-resnet18": "cub",
    "dogs-resnet50": "dogs",
    "cifar100-resnet50": "cifar100",
    "cifar10-resnet18": "cifar10",
    "tiny-imagenet-resnet18": "tiny-imagenet",
}
COMPARED = ("none", "cutout", "mixup", "cutmix", "attentive_cutmix", "snapmix", "superpixel_grid", "occamix")
WITH_MAPS = ("lgcoamix", "superpixel_grid", "occamix")

# METHODS 7: input, crop, test, start; then epochs, batch, rate, schedule, momentum, decay; "All" gives the last two.
CUB = {"image_size": 224, "crop": "random", "test": "resize", "normalise": "none", "flip": 0.5}
DOGS = {**CUB, "crop": "resized", "ratio": (1.0, 1.3), "scale": (0.08, 1.0)}
CIFAR = {"image_size": 32, "crop": "pad", "padding": 4, "normalise": "none", "flip": 0.5}
TINY = {**CIFAR, "image_size": 64}
SNAPMIX = {"image_size": 448, "crop": "random", "test": "center", "normalise": "backbone", "flip": 0.5}
OPTIM = ("epochs", "batch_size", "lr", "schedule", "momentum", "weight_decay", "nesterov", "new_layers")
BY_SET = {
    "cub-resnet18": (CUB, "pretrained", (300, 8, 0.001, "lgcoamix-c", 0.9, 5e-4, False, 1)),
    "cub-600": (CUB, "pretrained", (600, 8, 0.001, "lgcoamix-a", 0.9, 5e-4, False, 1)),
    "dogs": (DOGS, "none", (600, 16, 0.01, "lgcoamix-b", 0.9, 5e-4, False, 1)),
    "cifar": (CIFAR, "none", (600, 32, 0.02, "lgcoamix-a", 0.9, 5e-4, False, 1)),
    "tiny": (TINY, "none", (600, 100, 0.02, "lgcoamix-b", 0.9, 5e-4, False, 1)),
    "snapmix": (SNAPMIX, "pretrained", (200, 16, 0.001, "snapmix", 0.9, 1e-4, True, 10)),
    "scratch": (SNAPMIX, "none", (300, 16, 0.01, "snapmix-scratch", 0.9, 1e-4, True, 1)),
}


def _local(gamma_ce: float, gamma_con: float, lam: str) -> dict[str, object]:
    shared = {"mix_prob": 0.5, "select_prob": 0.5, "top_ratio": 0.7, "temperature": 0.7, "base_temperature": 0.07}
    return {"gamma_ce": gamma_ce, "gamma_con": gamma_con, "lam": lam, **shared}


# name: (protocol, backbone, options of the method, reported, options of the build)
PUBLISHED = {
    "cub-resnet18": ("cub-resnet18", "resnet18_stride16", _local(0.05, 0.05, "attention"), "78.87", None),
    "cub-resnext50": ("cub-600", "resnext50_32x4d_stride16", _local(0.05, 0.05, "mean"), "84.37", "--compactness 8"),
    "cub-deit-b": ("cub-600", "deit_base_patch16_224", _local(0.1, 0.05, "attention"), "82.20", "--segments 39:50"),
    "dogs-resnet50": ("dogs", "resnet50_stride16", _local(0.03, 0.05, "attention"), "70.95", None),
    "cifar100-resnet50": ("cifar", "resnet50_cifar", _local(0.1, 0.05, "mean"), "83.92", None),
    "cifar10-resnet18": ("cifar", "resnet18_cifar", _local(0.1, 0.05, "mean"), None, None),
    "tiny-imagenet-resnet18": ("tiny", "preact_resnet18", _local(0.1, 0.05, "mean"), "68.27", None),
    "tiny-imagenet-resnext50": ("tiny", "resnext50_32x4d_cifar", _local(0.1, 0.05, "mean"), "73.08", None),
    "tiny-imagenet-resnet18-superpixel_grid": ("tiny", "preact_resnet18", {"select_prob": 0.4}, None, None),
    "cub-resnet18-occamix": ("cub-resnet18", "resnet18_stride16", {}, "78.40", None),
    "cub-resnet50-occamix": ("cub-resnet18", "resnet50_stride16", {}, "82.94", None),
    "cub-resnext50-occamix": ("cub-600", "resnext50_32x4d_stride16", {}, "83.69", None),
    "cifar100-resnet18-occamix": ("cifar", "resnet18_cifar", {}, "81.42", "--compactness 10"),
    "cifar100-resnet50-occamix": ("cifar", "resnet50_cifar", {}, "83.69", "--compactness 10"),
    "cifar100-resnext50-occamix": ("cifar", "resnext50_32x4d_cifar", {}, "84.01", "--compactness 10"),
    "tiny-imagenet-resnet18-occamix": ("tiny", "preact_resnet18", {}, "67.35", "--compactness 10"),
    "tiny-imagenet-resnext50-occamix": ("tiny", "resnext50_32x4d_cifar", {}, "72.23", "--compactness 10"),
    "cifar10-resnet18-none": ("cifar", "resnet18_cifar", {}, "84.67", None),
    "cifar10-resnet18-mixup": ("cifar", "resnet18_cifar", {}, "88.52", None),
    "cifar10-resnet18-cutmix": ("cifar", "resnet18_cifar", {}, "87.92", None),
    "cifar10-resnet18-attentive_cutmix": ("cifar", "resnet18_cifar", {"top_cells": 6}, "88.94", None),
    "cifar100-resnet18-none": ("cifar", "resnet18_cifar", {}, "63.14", None),
    "cifar100-resnet18-mixup": ("cifar", "resnet18_cifar", {}, "64.40", None),
    "cifar100-resnet18-cutmix": ("cifar", "resnet18_cifar", {}, "65.90", None),
    "cifar100-resnet18-attentive_cutmix": ("cifar", "resnet18_cifar", {"top_cells": 6}, "67.16", None),
}
BIG = "--size 512 --resize short --out data/cub-512.h5"
OWN, FROM_SCRATCH = {"beta": 5, "mix_prob": 1, "mid": False}, {"beta": 1, "mix_prob": 0.5, "mid": False}
PUBLISHED |= {
    "cub-resnet18-snapmix-448": ("snapmix", "resnet18", OWN, "84.29", BIG),
    "cub-resnet50-snapmix-448": ("snapmix", "resnet50", OWN, "87.75", BIG),
    "cars-resnet18-snapmix-448": ("snapmix", "resnet18", OWN, None, None),
    "cars-resnet50-snapmix-448": ("snapmix", "resnet50", OWN, None, None),
    "aircraft-resnet18-snapmix-448": ("snapmix", "resnet18", OWN, None, None),
    "aircraft-resnet50-snapmix-448": ("snapmix", "resnet50", OWN, None, None),
    "cub-resnet18-snapmix-scratch": ("scratch", "resnet18", FROM_SCRATCH, None, BIG),
    "cub-resnet50-snapmix-scratch": ("scratch", "resnet50", FROM_SCRATCH, None, BIG),
    "cub-resnet50-none-448": ("snapmix", "resnet50", {}, None, BIG),
    "cub-resnet50-mixup-448": ("snapmix", "resnet50", {"mix_prob": 0.5}, None, BIG),
    "cub-resnet50-cutmix-448": ("snapmix", "resnet50", {"alpha": 3}, None, BIG),
}


def _method(name: str) -> str:
    return next((method for method in COMPARED if f"-{method}" in name), "lgcoamix")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_has_the_published_values(name):
    protocol, backbone, options, reported, store = PUBLISHED[name]
    data, weights, optim = BY_SET[protocol]
    recipe = RECIPES[name]
    settings = recipe.settings
    assert settings.method == _method(name)
    assert {key: getattr(settings.data, key) for key in data} == data
    assert (settings.model.backbone, settings.model.weights) == (backbone, weights)
    assert tuple(getattr(settings.optim, key) for key in OPTIM) == optim
    assert (settings.optim.optimiser, settings.optim.decay) == ("sgd", "all")
    assert {key: getattr(settings.mixer, key) for key in options} == options
    assert recipe.reported == (reported and f"{reported} top-1")
    assert recipe.store == store
    assert recipe.measured is None


# METHODS 1, the table of decoders; test_decoder.py and test_variants.py hold their steps.
@pytest.mark.parametrize(
    ("name", "width", "skip", "pool_stem"),
    [
        ("cub-resnet18", 32, "add", True),
        ("cub-resnext50", 32, "add", True),
        ("cub-deit-b", 64, "concat", False),
        ("dogs-resnet50", 64, "concat", False),
        ("cifar100-resnet50", 64, "concat", False),
        ("tiny-imagenet-resnet18", 64, "concat", False),
        ("tiny-imagenet-resnext50", 64, "add", False),
    ],
)
def test_a_recipe_has_the_published_decoder(name, width, skip, pool_stem):
    model = RECIPES[name].settings.model
    assert (model.width, model.skip, model.pool_stem) == (width, skip, pool_stem)


def test_every_compared_method_is_under_every_protocol_and_changes_the_method_alone():
    for protocol, dataset in PROTOCOLS.items():
        base = RECIPES[protocol]
        assert (base.dataset, base.settings.method) == (dataset, "lgcoamix")
        for method in COMPARED:
            recipe = RECIPES[f"{protocol}-{method}"]
            assert (recipe.dataset, recipe.settings.method) == (dataset, method)
            assert replace(recipe.settings, method="lgcoamix", mixer=base.settings.mixer) == base.settings


def test_nothing_is_reported_besides_what_methods_has():
    for name, recipe in RECIPES.items():
        assert name in PUBLISHED or name in OURS or recipe.reported is None


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_comes_back_from_json_with_its_method(name):
    settings = RECIPES[name].settings
    assert from_plain(json.loads(json.dumps(to_plain(settings)))) == settings


def test_names_of_backbones_and_extractors_are_known_to_timm():
    for name, recipe in RECIPES.items():
        for model in (recipe.settings.model.backbone, getattr(recipe.settings.mixer, "extractor", "resnet18")):
            assert timm.is_model(model), name


def test_published_schedules_are_as_long_as_the_run():
    for name, recipe in RECIPES.items():
        optim = recipe.settings.optim
        if name not in OURS:
            assert SCHEDULES[optim.schedule].length == optim.epochs, name


def test_inferred_are_settings_of_the_recipe_or_options_of_the_build():
    known = {f"store.{parameter.name}" for parameter in build.params}
    for name, recipe in RECIPES.items():
        own = known | flatten(to_plain(recipe.settings)).keys()
        assert set(recipe.inferred) <= own, name
        assert len(set(recipe.inferred)) == len(recipe.inferred)


INFERRED = {
    "cub-resnet18": {"model.width", "model.skip", "model.pool_stem"},
    "cub-deit-b": set(),
    "cifar100-resnet50": set(),
    "dogs-resnet50": {"data.scale"},
    "cub-resnet18-none": set(),
    "cub-resnet18-cutmix": {"mixer.alpha", "mixer.mix_prob"},
    "dogs-resnet50-superpixel_grid": {
        *("data.scale", "mixer.mix_prob", "mixer.select_prob"),
        *("store.segments", "store.compactness"),
    },
    "tiny-imagenet-resnet18-superpixel_grid": {"data.test", "model.weights", "mixer.mix_prob"},
    "cub-resnet50-snapmix-448": set(),
    "cub-resnet50-cutmix-448": {"mixer.mix_prob"},
    "cub-resnet50-mixup-448": {"mixer.alpha"},
}


@pytest.mark.parametrize("name", INFERRED)
def test_what_was_never_published_is_inferred_and_nothing_else(name):
    assert set(RECIPES[name].inferred) == INFERRED[name]


@pytest.mark.parametrize(
    ("name", "some"),
    [
        ("cub-resnext50", {"optim.schedule", "mixer.lam", "mixer.gamma_ce", "store.segments", "store.compactness"}),
        ("tiny-imagenet-resnet18", {"optim.batch_size", "mixer.lam", "mixer.gamma_con"}),
        ("cifar10-resnet18", {"model.backbone", "model.width", "optim.momentum", "mixer.select_prob"}),
        ("cub-resnet18-occamix", {"mixer.top_cells", "store.segments", "optim.lr"}),
        ("cifar10-resnet18-attentive_cutmix", {"model.backbone", "optim.lr", "mixer.extractor"}),
    ],
)
def test_figures_without_a_script_have_inferred_settings(name, some):
    assert some <= set(RECIPES[name].inferred)


def test_the_compactness_of_occamix_was_published():
    for name, recipe in RECIPES.items():
        if recipe.settings.method == "occamix":
            assert "store.compactness" not in recipe.inferred
            words = shlex.split(recipe.store or "")
            given = build.make_context("build", [recipe.dataset, *words]).params["compactness"]
            assert (given or DATASETS[recipe.dataset].compactness) == 10, name


def test_stored_images_are_as_large_as_the_recipe_needs():
    for name, recipe in RECIPES.items():
        if recipe.dataset is None:
            continue
        options = build.make_context("build", [recipe.dataset, *shlex.split(recipe.store or "")]).params
        adapter, data = DATASETS[recipe.dataset], recipe.settings.data
        size, resize = options["size"] or adapter.size, options["resize"] or adapter.resize
        assert size == data.image_size if data.crop == "pad" else size > data.image_size, name
        if data.crop != "resized" and data.test == "resize":
            assert resize == "squash", name


@pytest.mark.parametrize("store", sorted({recipe.store for recipe in RECIPES.values() if recipe.store}))
def test_the_build_takes_the_options_of_a_recipe(store, painted):
    done = CliRunner().invoke(
        preprocess, ["build", "folder", "--root", str(painted), "--jobs", "1", *shlex.split(store), "--dry-run"]
    )
    assert done.exit_code == 0, done.output
    assert "nothing was written" in done.output


@pytest.mark.parametrize(("name", "side"), [("cifar100-resnet50", 32), ("tiny-imagenet-resnet18", 64)])
def test_small_images_are_tested_on_as_they_are_and_trained_on_shifted_by_up_to_four(name, side):
    data = RECIPES[name].settings.data
    assert fixed_windows(data, [(side, side)])[0] == (0, 0, side, side, False)
    drawn = draw_windows(data, [(side, side)] * 300, torch.rand(300, DRAWS, dtype=torch.float64).numpy())
    assert set(drawn.top) == set(drawn.left) == set(range(-4, 5))
    assert set(drawn.height) == set(drawn.width) == {side}


def test_a_store_has_the_recipe_of_its_data_set():
    for protocol, dataset in PROTOCOLS.items():
        assert recipe_for(dataset) == protocol
    assert recipe_for("demo") == "demo"
    for dataset in ("folder", "cars", "aircraft", "nabirds", "imagenet", "anything"):
        assert recipe_for(dataset) == "general"
    assert RECIPES["general"].settings == Settings()
    assert RECIPES["general"].settings.data == DataSettings()


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("cifar100-resnet50", 100),
        ("tiny-imagenet-resnet18", 200),
        ("tiny-imagenet-resnext50", 200),
        ("cub-resnet18", 200),
        ("cub-deit-b", 200),
        ("dogs-resnet50", 120),
    ],
)
def test_the_network_of_a_recipe_takes_its_images_and_regions(name, classes):
    settings = RECIPES[name].settings
    model, side = settings.model, settings.data.image_size
    net = LocalGlobalNet(
        model.backbone,
        classes,
        "none",
        side,
        width=model.width,
        skip=model.skip,
        pool_stem=model.pool_stem,
    ).eval()
    regions = (torch.arange(side) * 4 // side).expand(2, side, side)
    with torch.no_grad():
        output = net(torch.rand(2, 3, side, side), regions, 5)
    assert output.logits.shape == (2, classes)
    assert output.local.embeddings.shape == (2, 5, model.width)
    assert output.logits.isfinite().all()
    assert output.local.logits.isfinite().all()


def _answer(*options: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["train", *options])
    return done.exit_code, done.output


def test_the_list_has_one_line_for_each_recipe():
    code, text = _answer("--list-recipes")
    assert code == 0
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.split()}
    assert set(rows) >= set(RECIPES)
    assert rows["cub-resnet18"] == ["lgcoamix", "resnet18_stride16", "78.87", "3", "LGCOAMix", "2024"]
    assert rows["cub-resnet50-snapmix-448"] == ["snapmix", "resnet50", "87.75", "SnapMix", "2021"]
    assert max(map(len, text.splitlines())) <= 140


def test_a_recipe_is_shown_with_its_story():
    code, text = _answer("--show-recipe", "cub-deit-b")
    assert code == 0
    for part in (
        "LGCOAMix 2024 (Dornaika & Sun, IEEE TIP; arXiv 2512.00130)",
        "unreleased list without ImageNet overlap, best test epoch",
        "82.20 top-1",
        "nothing yet",
        "python -m lgcoamix preprocess build cub --segments 39:50",
        "python train.py --shards data/cub.h5 --recipe cub-deit-b --superpixels NAME",
        "mixer.gamma_ce=0.1\n",
    ):
        assert part in text
    assert "data/cub-512.h5 --recipe cub-resnet50-none-448" in _answer("--show-recipe", "cub-resnet50-none-448")[1]
    assert "data.scale=0.08,1.0    inferred\n" in _answer("--show-recipe", "dogs-resnet50")[1]


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_shown_makes_the_recipe_again(name):
    code, text = _answer("--show-recipe", name)
    assert code == 0
    method, *lines = text.split("\n--mixer ")[1].splitlines()
    given = tuple(line.split()[0] for line in lines if not line.startswith("optim.warmup=None"))
    assert Settings().with_method(method).with_assignments(given) == RECIPES[name].settings


def test_an_unknown_recipe_is_refused_with_a_suggestion():
    code, text = _answer("--show-recipe", "cub-resnet81")
    assert code == 2
    assert "no recipe 'cub-resnet81'; did you mean cub-resnet18" in text


def test_a_recipe_is_shown_before_torch_is_imported(run):
    script = (
        "import runpy, sys\n"
        "try:\n    runpy.run_path('train.py', run_name='__main__')\n"
        "except SystemExit as end:\n    print('exit', end.code, 'torch' in sys.modules)"
    )
    assert "exit 0 False" in run("-c", script, "--show-recipe", "cub-resnet18").stdout
    assert "exit 2 False" in run("-c", script, "--show-recipe", "cub-resnet81").stdout


def test_every_recipe_says_what_a_reader_asks():
    for name, recipe in RECIPES.items():
        assert all(getattr(recipe, part) for part in ("summary", "source", "protocol")), name
        assert recipe.dataset is None or recipe.dataset in DATASETS
        if recipe.settings.method not in WITH_MAPS:
            assert not any(key.startswith("store.") for key in recipe.inferred), name
