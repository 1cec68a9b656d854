"""A recipe and a store: what is built for a recipe, what is chosen, and what is told or refused if they differ."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lgcoamix.cli import main, train
from lgcoamix.cli.settings import choose_settings, open_store
from lgcoamix.recipes import RECIPES, StoreSettings, beside
from lgcoamix.recipes.stores import has_counts, setting_differences, store_differences
from preprocess.store import Store

CUB = RECIPES["cub-resnet18"]
IMAGES = {"size": 256, "resize": "squash", "codec": "raw"}
MAPS = {"name": "slic-c10-39:52x4", "algorithm": "slic", "compactness": 10.0}


def test_a_store_that_was_built_for_a_recipe_differs_in_nothing():
    assert store_differences(CUB, "cub", IMAGES, MAPS, frozenset({"cub", "dogs"})) == []
    assert store_differences(CUB, "folder", IMAGES, MAPS, frozenset({"cub", "dogs"})) == []
    assert store_differences(RECIPES["general"], "dogs", {**IMAGES, "size": 9}, {**MAPS, "name": "grid-4"}) == []


@pytest.mark.parametrize(
    ("dataset", "images", "maps", "told"),
    [
        ("cub", {"size": 300}, {}, "the recipe needs images stored 256x256, the store has them 300x300"),
        ("cub", {"resize": "short"}, {}, "the recipe needs images stored 256x256, the store has them short side 256"),
        (
            "cub",
            {"size": None, "resize": "none"},
            {},
            "the recipe needs images stored 256x256, the store has them at full size",
        ),
        (
            "cub",
            {},
            {"name": "slic-c10-30:40x4"},
            "the recipe needs superpixels slic, compactness 10, 39:52 an image, chosen are slic-c10-30:40x4",
        ),
        (
            "cub",
            {},
            {"name": "slic-c8-39:52x4", "compactness": 8.0},
            "the recipe needs superpixels slic, compactness 10, 39:52 an image, chosen are slic-c8-39:52x4",
        ),
        (
            "cub",
            {},
            {"name": "grid-39:52x4", "algorithm": "grid", "compactness": None},
            "the recipe needs superpixels slic, compactness 10, 39:52 an image, chosen are grid-39:52x4",
        ),
        ("dogs", {}, {}, "the recipe is for cub, the store holds dogs"),
    ],
)
def test_each_difference_is_told_in_words(dataset, images, maps, told):
    found = store_differences(CUB, dataset, {**IMAGES, **images}, {**MAPS, **maps}, frozenset({"cub", "dogs"}))
    assert found == [told]


def test_superpixels_that_are_not_read_do_not_count():
    assert store_differences(CUB, "cub", IMAGES, None) == []


@pytest.mark.parametrize(
    ("name", "fits"),
    [("slic-c10-39:52x4", True), ("slic-c10-39:52x9", True), ("slic-c10-39:53x4", False), ("slic-c10-40,45", False)],
)
def test_a_range_is_known_by_its_ends_whatever_number_of_its_counts_is_stored(name, fits):
    assert has_counts({**MAPS, "name": name}, StoreSettings()) is fits


def test_settings_differ_by_name_and_not_in_how_a_step_is_computed():
    settings = CUB.settings.with_assignments(("optim.lr=0.5", "compute.amp=bf16"))
    assert setting_differences(CUB, settings) == ["optim.lr is 0.5, the recipe has 0.001"]
    other = CUB.settings.with_method("none")
    assert setting_differences(CUB, other) == ["method is none, the recipe has lgcoamix"]


def test_values_are_shown_as_users_type_them():
    typed = ("optim.nesterov=true", "data.scale=0.5,1.0", "optim.warmup=3")
    assert setting_differences(CUB, CUB.settings.with_assignments(typed)) == [
        "data.scale is 0.5,1.0, the recipe has 0.35,1.0",
        "optim.nesterov is true, the recipe has false",
        "optim.warmup is 3, the recipe has none",
    ]


def test_a_method_is_found_under_the_protocol_of_a_recipe():
    assert beside("cub-resnet18", "cutmix") == "cub-resnet18-cutmix"
    assert beside("cub-resnet50-snapmix-448", "cutmix") == "cub-resnet50-cutmix-448"
    assert beside("cub-resnet50-cutmix-448", "snapmix") == "cub-resnet50-snapmix-448"
    assert beside("imagenet-resnet18-none", "mixup") == "imagenet-resnet18-mixup"
    assert beside("general", "cutmix") is None
    assert beside("cub-resnet50-snapmix-448", "occamix") is None


SCRATCH = ", but those from scratch: mixer.beta=1, mixer.mix_prob=0.5"


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ({"weights": "none"}, (1.0, 0.5), SCRATCH),
        ({"assignments": ("model.weights=none",)}, (1.0, 0.5), SCRATCH),
        ({"weights": "none", "assignments": ("model.weights=tv_in1k",)}, (5.0, 1.0), ""),
        ({"weights": "none", "assignments": ("mixer.beta=3",)}, (3.0, 0.5), SCRATCH),
        ({}, (5.0, 1.0), ""),
        ({"recipe": "cifar100-resnet50", "weights": "none"}, (1.0, 0.5), ""),  # is from scratch
    ],
)
def test_snapmix_without_weights_has_its_options_from_scratch(given, options, said, capsys):
    blank = dict.fromkeys(("backbone", "weights", "epochs", "batch_size", "image_size", "amp"))
    wanted = {"recipe": "cub-resnet18", "mixer": "snapmix", "assignments": (), **blank, **given}
    _, settings = choose_settings(None, wanted)
    assert (settings.mixer.beta, settings.mixer.mix_prob) == options
    told = [line for line in capsys.readouterr().err.splitlines() if "options of" in line]
    assert told == [f"note: options of snapmix as in the recipe {wanted['recipe']}-snapmix{said}"]


def _build(*options: object) -> Result:
    return CliRunner().invoke(main, ["preprocess", "build", *map(str, options)])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of CIFAR's form, that is of folders, for two recipes: the first superpixels are OcCaMix's."""
    from tests.conftest import paint

    home = tmp_path_factory.mktemp("built")
    for split, count in (("train", 4), ("test", 2)):
        for label, name in enumerate("ab"):
            for index in range(count):
                paint(home / "raw" / split / name / f"{index}.png", 10 * index + label)
    for recipe in ("cifar100-resnet50-occamix", "cifar100-resnet50"):
        given = ("folder", "--recipe", recipe, "--root", home / "raw", "--out", home / "cifar.h5", "--jobs", 1)
        done = _build(*given)
        assert done.exit_code == 0, done.output
        assert f"{recipe}: --size 32 --resize squash --segments 30:35 --compactness" in done.output
    return home / "cifar.h5"


def test_a_store_is_built_as_a_recipe_needs_it(built):
    store = Store(built)
    assert (store.size, store.resize) == (32, "squash")
    names = [name.rpartition("x")[0] for name in store.superpixel_sets]
    assert names == ["slic-c10-30:35", "slic-c8-30:35"]


def test_options_of_the_command_win_over_the_recipe(painted, tmp_path):
    given = ("--recipe", "cub-resnet18", "--root", painted, "--jobs", 1, "--out", tmp_path / "x.h5")
    done = _build("folder", *given, "--size", 40, "--algorithm", "grid", "--segments", 9)
    assert done.exit_code == 0, done.output
    store = Store(tmp_path / "x.h5")
    assert (store.size, store.superpixels.name) == (40, "grid-9")
    done = _build("folder", *given[:-1], tmp_path / "y.h5", "--resize", "none", "--segments", 4)
    assert done.exit_code == 0, done.output
    assert Store(tmp_path / "y.h5").size is None


def test_a_recipe_names_data_set_and_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = _build("--recipe", "cub-resnet50-none-448", "--no-download")
    assert done.exit_code == 1
    assert "data/raw/cub" in done.output  # where it looked
    assert "--size 512 --resize short --segments 39:52 --compactness 10 --algorithm slic" in done.output


def test_another_data_set_is_never_built_into_the_store_of_the_recipes_own(painted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ("--recipe", "cub-resnet18", "--root", painted, "--jobs", 1, "--size", 40, "--algorithm", "grid")
    done = _build("folder", *given, "--segments", 9)
    assert done.exit_code == 0, done.output
    assert [path.name for path in (tmp_path / "data").glob("*.h5")] == ["folder.h5"]


def test_a_recipe_that_cannot_be_built_is_refused():
    done = _build("folder", "--recipe", "cub-resnet81")
    assert (done.exit_code, "did you mean cub-resnet18" in done.output) == (2, True)
    done = _build("folder", "--recipe", "general")
    assert (done.exit_code, "takes any store; leave out --recipe" in done.output) == (2, True)


def test_the_superpixels_of_the_recipe_are_chosen_among_those_of_the_store(built):
    sets = list(Store(built).superpixel_sets)
    assert open_store(built, None, "cifar100-resnet50").superpixels.name == sets[1]
    assert open_store(built, None, "cifar100-resnet50-occamix").superpixels.name == sets[0]
    assert open_store(built, None, "cub-resnet18").superpixels.name == sets[0]  # it has none of them
    assert open_store(built, None, None).superpixels.name == sets[0]
    assert open_store(built, sets[0], "cifar100-resnet50").superpixels.name == sets[0]


def _train(*options: object) -> Result:
    return CliRunner().invoke(train, [*map(str, options), "--workers", "0", "--no-pictures", "--no-tensorboard"])


TINY = ("--backbone", "resnet10t", "--weights", "none", "--batch-size", 4, "--epochs", 1, "--set", "data.crop=resized")


def test_differences_are_shown_before_training_and_the_protocol_after_it(built, tmp_path):
    given = ("--shards", built, "--recipe", "cub-resnet18", *TINY, "--image-size", 32, "--set", "model.skip=concat")
    more = ("--set", "model.pool_stem=false", "--mixer", "cutmix", "--device", "cpu", "--out", tmp_path / "run")
    done = _train(*given, *more)
    assert done.exit_code == 0, done.output
    assert "note: cub-resnet18: the recipe needs images stored 256x256, the store has them 32x32\n" in done.stderr
    assert "preprocess build cub --recipe cub-resnet18 builds what the recipe needs" in done.stderr
    assert "superpixels" not in done.stderr  # CutMix reads none
    assert "note: options of cutmix as in the recipe cub-resnet18-cutmix\n" in done.stderr
    line = (
        "from scratch; stored 32x32, input 32, tested on the whole image; 1 epoch; split: test; "
        "best epoch: chosen on test"
    )
    assert f"protocol: {line}\n" in done.stdout
    assert json.loads((tmp_path / "run" / "results.json").read_text())["protocol"] == line

    # As the README tests CUB as published: on a store of the test images alone, resized to the input at once.
    given = ("folder", "--root", built.parent / "raw", "--splits", "test", "--size", 40, "--jobs", 1)
    assert _build(*given, "--out", tmp_path / "once.h5").exit_code == 0
    given = ("--checkpoint", tmp_path / "run", "--shards", tmp_path / "once.h5", "--fgsm", "none", "--drop", "none")
    done = CliRunner().invoke(main, ["evaluate", *map(str, given), "--workers", "0", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert f"protocol: {line.replace('stored 32x32', 'stored 40x40')}\n" in done.stdout


def test_a_strict_recipe_refuses_another_store_and_other_settings(built, tmp_path):
    given = ("--shards", built, "--strict-recipe", "--out", tmp_path / "run")
    done = _train(*given, "--recipe", "cub-resnet18")
    assert done.exit_code == 2
    assert "--strict-recipe and cub-resnet18: the recipe needs images stored 256x256" in done.stderr
    done = _train(*given, "--recipe", "cifar100-resnet50", "--epochs", 3)
    assert done.exit_code == 2
    assert "--strict-recipe and cifar100-resnet50: optim.epochs is 3, the recipe has 600" in done.stderr
    done = _train(*given, "--recipe", "cifar100-resnet50", "--augment", "strong", "--val-fraction", 0.2)
    assert done.exit_code == 2
    assert "resnet50: --augment strong is not the recipe's; --val-fraction 0.2 is not the recipe's\n" in done.stderr
    done = _train(*given, "--recipe", "cifar100-resnet50", "--mixer", "mixup")
    assert done.exit_code == 2
    assert "method is mixup, the recipe has lgcoamix. For mixup use --recipe cifar100-resnet50-mixup\n" in done.stderr
    assert not (tmp_path / "run").exists()
