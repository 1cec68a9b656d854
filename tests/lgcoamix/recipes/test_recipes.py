"""Recipes are what was published: expected values are written by hand from METHODS 4, 5 and 7."""

import json
from collections import Counter
from dataclasses import replace

import pytest
import timm
import torch

import lgcoamix.models  # noqa: F401  registers its backbones
from lgcoamix.data.windows import DRAWS, draw_windows, fixed_windows
from lgcoamix.recipes import RECIPES, StoreSettings, recipe_for
from lgcoamix.recipes.ours import OURS
from lgcoamix.settings.schedules import SCHEDULES
from lgcoamix.settings.sections import DataSettings, Settings, from_plain, to_plain
from lgcoamix.settings.text import flatten
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
    "cub-resnet18": (CUB, "tv_in1k", "timm", (300, 8, 0.001, "lgcoamix-c", 0.9, 5e-4, False, 1)),
    "cub-600": (CUB, "tv_in1k", "timm", (600, 8, 0.001, "lgcoamix-a", 0.9, 5e-4, False, 1)),
    "cub-deit": (CUB, "fb_in1k", "timm", (600, 8, 0.001, "lgcoamix-a", 0.9, 5e-4, False, 1)),
    "dogs": (DOGS, "none", "released", (600, 16, 0.01, "lgcoamix-b", 0.9, 5e-4, False, 1)),
    "cifar": (CIFAR, "none", "torchvision", (600, 32, 0.02, "lgcoamix-a", 0.9, 5e-4, False, 1)),
    "tiny": (TINY, "none", "torchvision", (600, 100, 0.02, "lgcoamix-b", 0.9, 5e-4, False, 1)),
    "tiny-preact": (TINY, "none", "released", (600, 100, 0.02, "lgcoamix-b", 0.9, 5e-4, False, 1)),
    "snapmix": (SNAPMIX, "tv_in1k", "timm", (200, 16, 0.001, "snapmix", 0.9, 1e-4, True, 10)),
    "scratch": (SNAPMIX, "none", "torchvision", (300, 16, 0.01, "snapmix-scratch", 0.9, 1e-4, True, 1)),
}


def _local(gamma_ce: float, gamma_con: float, lam: str) -> dict[str, object]:
    shared = {"mix_prob": 0.5, "select_prob": 0.5, "top_ratio": 0.7, "temperature": 0.7, "base_temperature": 0.07}
    return {"gamma_ce": gamma_ce, "gamma_con": gamma_con, "lam": lam, **shared}


# Stores: size, resize, segments, compactness. METHODS 7, with counts of a crop brought to the stored image:
# 30 to 40, times (256/224)² = 1.306: 39 to 52; 30 to 38: 39 to 50; 40 to 60, divided by 0.54: 74 to 111.
AT_256, AT_256_DEIT, AT_256_FLAT = (
    (256, "squash", "39:52", 10),
    (256, "squash", "39:50", 10),
    (256, "squash", "39:52", 8),
)
FULL = (None, "none", "74:111", 10)
AT_32, AT_32_SQUARE, AT_64, AT_64_SQUARE = (
    *((32, "squash", "30:35", 8), (32, "squash", "30:35", 10)),
    *((64, "squash", "64", 7), (64, "squash", "64", 10)),
)
SHORT_512, SQUASH_512 = (512, "short", "39:52", 10), (512, "squash", "39:52", 10)
# name: (protocol, backbone, options of the method, reported, store)
PUBLISHED = {
    "cub-resnet18": ("cub-resnet18", "resnet18_stride16", _local(0.05, 0.05, "attention"), "78.87", AT_256),
    "cub-resnext50": ("cub-600", "resnext50_32x4d_stride16", _local(0.05, 0.05, "mean"), "84.37", AT_256_FLAT),
    "cub-deit-b": ("cub-deit", "deit_base_patch16_224", _local(0.1, 0.05, "attention"), "82.20", AT_256_DEIT),
    "dogs-resnet50": ("dogs", "resnet50_stride16", _local(0.03, 0.05, "attention"), "70.95", FULL),
    "cifar100-resnet50": ("cifar", "resnet50_cifar", _local(0.1, 0.05, "mean"), "83.92", AT_32),
    "cifar10-resnet18": ("cifar", "resnet18_cifar", _local(0.1, 0.05, "mean"), None, AT_32),
    "tiny-imagenet-resnet18": ("tiny-preact", "preact_resnet18_raw", _local(0.1, 0.05, "mean"), "68.27", AT_64),
    "tiny-imagenet-resnext50": ("tiny", "resnext50_32x4d_cifar", _local(0.1, 0.05, "mean"), "73.08", AT_64),
    "tiny-imagenet-resnet18-superpixel_grid": ("tiny-preact", "preact_resnet18_raw", {"select_prob": 0.4}, None, AT_64),
    "cub-resnet18-occamix": ("cub-resnet18", "resnet18_stride16", {}, "78.40", AT_256),
    "cub-resnet50-occamix": ("cub-resnet18", "resnet50_stride16", {}, "82.94", AT_256),
    "cub-resnext50-occamix": ("cub-600", "resnext50_32x4d_stride16", {}, "83.69", AT_256),
    "cifar100-resnet18-occamix": ("cifar", "resnet18_cifar", {}, "81.42", AT_32_SQUARE),
    "cifar100-resnet50-occamix": ("cifar", "resnet50_cifar", {}, "83.69", AT_32_SQUARE),
    "cifar100-resnext50-occamix": ("cifar", "resnext50_32x4d_cifar", {}, "84.01", AT_32_SQUARE),
    "tiny-imagenet-resnet18-occamix": ("tiny-preact", "preact_resnet18_raw", {}, "67.35", AT_64_SQUARE),
    "tiny-imagenet-resnext50-occamix": ("tiny", "resnext50_32x4d_cifar", {}, "72.23", AT_64_SQUARE),
    "cifar10-resnet18-none": ("cifar", "resnet18_cifar", {}, "84.67", AT_32),
    "cifar100-resnet18-attentive_cutmix": ("cifar", "resnet18_cifar", {"top_cells": 6}, "67.16", AT_32),
}
OWN, FROM_SCRATCH = {"beta": 5, "mix_prob": 1, "mid": False}, {"beta": 1, "mix_prob": 0.5, "mid": False}
PUBLISHED |= {
    "cub-resnet18-snapmix-448": ("snapmix", "resnet18", OWN, "84.29", SHORT_512),
    "cub-resnet50-snapmix-448": ("snapmix", "resnet50", OWN, "87.75", SHORT_512),
    "cub-resnet50-snapmix-mid-448": ("snapmix", "resnet50", {**OWN, "mid": True}, "88.70", SHORT_512),
    "cub-resnet101-snapmix-448": ("snapmix", "resnet101", OWN, None, SHORT_512),
    "cars-resnet18-snapmix-448": ("snapmix", "resnet18", OWN, "93.12", SQUASH_512),
    "cars-resnet50-snapmix-448": ("snapmix", "resnet50", OWN, "94.30", SQUASH_512),
    "aircraft-resnet18-snapmix-448": ("snapmix", "resnet18", OWN, "90.17", SQUASH_512),
    "aircraft-resnet50-snapmix-448": ("snapmix", "resnet50", OWN, "92.08", SQUASH_512),
    "nabirds-resnet34-snapmix-448": ("snapmix", "resnet34", OWN, None, SHORT_512),
    "flowers102-resnet50-snapmix-448": ("snapmix", "resnet50", OWN, None, SHORT_512),
    "cub-resnet18-snapmix-scratch": ("scratch", "resnet18", FROM_SCRATCH, "70.31", SHORT_512),
    "cub-resnet50-snapmix-scratch": ("scratch", "resnet50", FROM_SCRATCH, "72.17", SHORT_512),
    "cub-resnet50-snapmix-mid-scratch": ("scratch", "resnet50", {**FROM_SCRATCH, "mid": True}, None, SHORT_512),
    "cub-resnet50-none-448": ("snapmix", "resnet50", {}, "85.49", SHORT_512),
    "cub-resnet50-mixup-448": ("snapmix", "resnet50", {"mix_prob": 0.5, "alpha": 1}, None, SHORT_512),
    "cub-resnet50-cutmix-448": ("snapmix", "resnet50", {"alpha": 3, "mix_prob": 1}, None, SHORT_512),
}
# METHODS 9, some cells of the table: name, data set, then without mixing, Mixup, CutMix, Attentive CutMix.
ATTENTIVE = {
    ("cifar10", "resnet18_cifar"): (84.67, 88.52, 87.92, 88.94),
    ("cifar10", "resnet101_cifar"): (90.47, 91.89, 92.13, 93.25),
    ("cifar10", "densenet264_cifar"): (92.78, 94.20, 94.34, 94.83),
    ("cifar10", "efficientnet_b7_cifar"): (94.95, 95.11, 95.25, 95.86),
    ("cifar100", "resnet18_cifar"): (63.14, 64.40, 65.90, 67.16),
    ("cifar100", "resnet152_cifar"): (71.49, 74.81, 73.21, 75.37),
    ("cifar100", "densenet121_cifar"): (65.12, 66.84, 67.62, 69.23),
    ("cifar100", "efficientnet_b1_cifar"): (66.89, 68.23, 68.12, 68.96),
    ("imagenet", "resnet34"): (77.31, 79.03, 79.22, 80.13),
    ("imagenet", "densenet169"): (77.03, 79.10, 79.32, 79.78),
    ("imagenet", "densenet201"): (78.67, 80.14, 80.23, 80.87),
    ("imagenet", "efficientnet_b0"): (76.12, 78.19, 78.21, 78.79),
    ("imagenet", "efficientnet_b6"): (83.89, 84.43, 84.60, 85.29),
}


def _method(name: str) -> str:
    return next((method for method in COMPARED if f"-{method}" in name), "lgcoamix")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_has_the_published_values(name):
    protocol, backbone, options, reported, store = PUBLISHED[name]
    data, weights, init, optim = BY_SET[protocol]
    recipe = RECIPES[name]
    settings = recipe.settings
    assert settings.method == _method(name)
    assert {key: getattr(settings.data, key) for key in data} == data
    assert (settings.model.backbone, settings.model.weights, settings.model.init) == (backbone, weights, init)
    assert tuple(getattr(settings.optim, key) for key in OPTIM) == optim
    assert (settings.optim.optimiser, settings.optim.decay) == ("sgd", "all")
    assert {key: getattr(settings.mixer, key) for key in options} == options
    assert recipe.reported == (reported and f"{reported} top-1")
    assert (recipe.store.size, recipe.store.resize, recipe.store.segments, recipe.store.compactness) == store
    assert recipe.store.algorithm == "slic"
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


@pytest.mark.parametrize(("dataset", "backbone"), ATTENTIVE)
def test_every_cell_of_the_table_of_attentive_cutmix_has_its_recipe(dataset, backbone):
    methods = ("none", "mixup", "cutmix", "attentive_cutmix")
    for method, figure in zip(methods, ATTENTIVE[dataset, backbone], strict=True):
        recipe = RECIPES[f"{dataset}-{backbone.removesuffix('_cifar')}-{method}"]
        settings = recipe.settings
        assert (recipe.dataset, recipe.reported) == (dataset, f"{figure:.2f} top-1")
        assert (settings.method, settings.model.backbone, settings.model.weights) == (method, backbone, "none")
        assert (recipe.split, recipe.best) == ("not known", "not known")
        if method == "attentive_cutmix":
            assert (settings.mixer.top_cells, settings.mixer.extractor) == (6, "resnet152")


def test_each_source_has_as_many_figures_as_were_reported():
    sources = Counter(recipe.source.split()[0] for recipe in RECIPES.values() if recipe.reported)
    # Twelve networks, three data sets, four methods; METHODS 7 and 9: seven of LGCOAMix, ten of SnapMix, 8 of OcCaMix.
    assert sources == {"Attentive": 144, "LGCOAMix": 7, "SnapMix": 10, "OcCaMix": 8}


def test_figures_of_unknown_settings_are_in_notes_alone():
    listed = {
        "cub": "89.6 and 75.53",
        "cars": "90.1",
        "aircraft": "82.96",
        "flowers102": "59.79 (test) and 65.71 (val)",
    }
    for dataset, text in listed.items():
        assert f"{text} for SnapMix, with unknown settings" in RECIPES[f"{dataset}-resnet50-snapmix-448"].notes


def test_a_recipe_comes_back_from_json_with_its_method():
    for recipe in RECIPES.values():
        assert from_plain(json.loads(json.dumps(to_plain(recipe.settings)))) == recipe.settings


def test_names_of_backbones_and_extractors_are_known_to_timm():
    for name, recipe in RECIPES.items():
        for model in (recipe.settings.model.backbone, getattr(recipe.settings.mixer, "extractor", "resnet18")):
            assert timm.is_model(model), name


def test_published_schedules_are_as_long_as_the_run():
    for name, recipe in RECIPES.items():
        optim = recipe.settings.optim
        if name not in OURS and recipe.dataset != "imagenet":  # of which no schedule is known
            assert SCHEDULES[optim.schedule].length == optim.epochs, name


def test_inferred_are_settings_of_the_recipe_or_options_of_the_build():
    known = {f"store.{parameter.name}" for parameter in build.params}
    assert known >= {f"store.{name}" for name in vars(StoreSettings())}
    for name, recipe in RECIPES.items():
        own = known | flatten(to_plain(recipe.settings)).keys()
        assert set(recipe.inferred) <= own, name
        assert all(recipe.inferred.values()), name


INFERRED = {
    "cub-resnet18": {"model.width", "model.skip", "model.pool_stem"},
    "cub-deit-b": {"model.weights"},
    "cifar100-resnet50": set(),
    "dogs-resnet50": {"data.scale"},
    "cub-resnet18-none": set(),
    "cub-resnet18-cutmix": {"mixer.alpha", "mixer.mix_prob"},
    "dogs-resnet50-superpixel_grid": {
        *("data.scale", "mixer.mix_prob", "mixer.select_prob"),
        *("store.segments", "store.compactness"),
    },
    "tiny-imagenet-resnet18-superpixel_grid": {"data.test", "model.weights", "model.init", "mixer.mix_prob"},
    "cub-resnet50-snapmix-448": set(),
    "cub-resnet50-cutmix-448": set(),  # the script's defaults
    "cub-resnet50-mixup-448": set(),
    "cars-resnet101-snapmix-mid-448": set(),
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
            assert recipe.store.compactness == 10, name


def test_stored_images_are_as_large_as_the_recipe_needs():
    for name, recipe in RECIPES.items():
        if recipe.store is None:
            continue
        data, size = recipe.settings.data, recipe.store.size
        if size is None:
            assert (data.crop, data.test) == ("resized", "resize"), name
            continue
        assert size == data.image_size if data.crop == "pad" else size > data.image_size, name
        if data.crop != "resized" and data.test == "resize":
            assert recipe.store.resize == "squash", name


@pytest.mark.parametrize(("name", "side"), [("cifar100-resnet50", 32), ("tiny-imagenet-resnet18", 64)])
def test_small_images_are_tested_on_as_they_are_and_trained_on_shifted_by_up_to_four(name, side):
    data = RECIPES[name].settings.data
    assert fixed_windows(data, [(side, side)])[0] == (0, 0, side, side, False)
    drawn = draw_windows(data, [(side, side)] * 300, torch.rand(300, DRAWS, dtype=torch.float64).numpy())
    assert set(drawn.top) == set(drawn.left) == set(range(-4, 5))
    assert set(drawn.height) == set(drawn.width) == {side}


def test_the_default_recipe_of_a_data_set_needs_its_default_store():
    for dataset in (*PROTOCOLS.values(), "demo"):
        wanted, usual = RECIPES[recipe_for(dataset)].store, DATASETS[dataset]
        assert vars(wanted) == {
            **{name: getattr(usual, name) for name in ("resize", "segments", "compactness")},
            "size": None if usual.resize == "none" else usual.size,
            "algorithm": "slic",
        }


def test_a_store_has_the_recipe_of_its_data_set():
    for protocol, dataset in PROTOCOLS.items():
        assert recipe_for(dataset) == protocol
    assert recipe_for("demo") == "demo"
    for dataset in ("folder", "cars", "aircraft", "nabirds", "imagenet", "anything"):
        assert recipe_for(dataset) == "general"
    assert RECIPES["general"].settings == Settings()
    assert RECIPES["general"].settings.data == DataSettings()


def test_every_recipe_says_what_a_reader_asks():
    for name, recipe in RECIPES.items():
        assert all(getattr(recipe, part) for part in ("summary", "source", "protocol")), name
        assert recipe.dataset is None or recipe.dataset in DATASETS
        if recipe.settings.method not in WITH_MAPS:
            assert not {"store.segments", "store.compactness"} & recipe.inferred.keys(), name
