"""``--list-recipes`` and ``--show-recipe``: what a reader asks is answered, without torch."""

import pytest
from click.testing import CliRunner

from lgcoamix.cli import main
from lgcoamix.recipes import RECIPES
from lgcoamix.recipes.table import rows_of, to_markdown
from lgcoamix.settings.sections import Settings
from tests.conftest import PROOF


def _answer(*options: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["train", *options])
    return done.exit_code, done.output


def _rows(text: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.split()}


def test_the_list_has_one_line_for_each_data_set():
    code, text = _answer("--list-recipes")
    assert code == 0
    rows = _rows(text)
    assert {"cub", "dogs", "cars", "imagenet", "any"} <= set(rows)
    assert rows["imagenet"][0] == "48"  # twelve networks, four methods
    assert "cub-resnet18" in rows["cub"]
    assert len(text.splitlines()) < 40


def test_words_of_the_list_need_no_quotes():
    asked = _answer("--list-recipes", "cub cutmix")
    assert _answer("--list-recipes", "cub", "cutmix") == asked
    assert _answer("--seed", "1", "--list-recipes", "cub", "cutmix", "--epochs", "2") == asked
    assert "cub-resnet18-cutmix" in asked[1]
    assert "cub-resnet18-mixup" not in asked[1]


def test_the_list_of_all_has_one_line_for_each_recipe():
    code, text = _answer("--list-recipes", "all")
    assert code == 0
    rows = _rows(text)
    assert set(rows) >= set(RECIPES)
    assert rows["cub-resnet18"] == ["lgcoamix", "resnet18_stride16", "78.87", "3", "LGCOAMix", "2024"]
    assert rows["cub-resnet50-snapmix-448"] == ["snapmix", "resnet50", "87.75", "SnapMix", "2021"]
    assert max(map(len, text.splitlines())) <= 140


def test_words_choose_the_recipes_that_have_all_of_them():
    code, text = _answer("--list-recipes", "Dogs CutMix")
    assert code == 0
    listed = {name for name in RECIPES if name in text.split()}
    assert listed == {"dogs-resnet50-cutmix", "dogs-resnet50-attentive_cutmix"}
    code, text = _answer("--list-recipes", "densenet264 imagenet")
    assert {name for name in RECIPES if name in text.split()} == {
        f"imagenet-densenet264-{method}" for method in ("none", "mixup", "cutmix", "attentive_cutmix")
    }


def test_words_that_no_recipe_has_are_refused():
    code, text = _answer("--list-recipes", "cub lgcoamax")
    assert code == 2
    assert "no recipe has 'cub' and 'lgcoamax' in its line; see --list-recipes" in text


def test_a_recipe_is_shown_with_its_story():
    code, text = _answer("--show-recipe", "cub-deit-b")
    assert code == 0
    words = " ".join(text.split())
    for part in (
        "LGCOAMix 2024 (Dornaika & Sun, IEEE TIP; arXiv 2512.00130)",
        "82.20 top-1",
        "weights fb_in1k; stored 256x256, input 224, tested on the whole image; 600 epochs; split: test images without "
        "those of ImageNet, by an unreleased list; best epoch: chosen on that split",
        "nothing yet",
        "python -m lgcoamix preprocess build cub --recipe cub-deit-b",
        "python train.py --shards data/cub.h5 --recipe cub-deit-b",
    ):
        assert part in words
    assert "\nmixer.gamma_ce=0.1\n" in text
    assert "data/cub-512.h5 --recipe cub-resnet50-none-448" in _answer("--show-recipe", "cub-resnet50-none-448")[1]
    assert "data.scale=0.08,1.0    inferred\n" in _answer("--show-recipe", "dogs-resnet50")[1]


@pytest.mark.parametrize("name", RECIPES if PROOF else sorted(RECIPES)[::9])
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
    assert "exit 0 False" in run("-c", script, "--list-recipes", "cub").stdout


def test_the_table_says_what_was_published_what_is_ours_and_where_it_is_from():
    rows = {row.what: row for row in rows_of(RECIPES["cub-resnext50"])}
    assert rows["optim.momentum"][1:] == ("0.9", "0.9", "LGCOAMix 2024")
    assert rows["optim.lr"][1:] == ("", "0.001", "inferred: as in the script of a related paper")
    assert rows["store.segments"].published == "30:40 on each crop"
    assert rows["store.segments"].ours == "39:52 (times (256/224)², on the stored image)"
    assert rows["figure"].published == "the best test epoch, in some runs from a preset best"
    assert "data.padding" not in rows  # without an effect
    assert "compute.amp" not in rows


# METHODS 8 and 9: a difference that is known is said by every recipe that it touches.
KNOWN = {
    "cub-resnet18": (
        "0.89 of",
        "unreleased list",
        "zero_grad",
        "built again",
        "scrambles",
        "constant filling",
        "30:40",
    ),
    "cub-deit-b": ("class token kept", "last patch dropped", "not transposed", "1000 classes", "30:38", "only ones"),
    "dogs-resnet50": ("stored at full size", "40:60", "0.54", "initialised as released", "constant filling"),
    # Deviations are the roots of 2 / 384 and 2 / 128, ours that of 2 / 64: 384 and 128 channels enter, 64 leave.
    "cifar100-resnet50": (
        "initialised as torchvision",
        "zero_grad",
        "every augmented crop",
        "0.072 and 0.125",
        "0.177",
    ),
    "tiny-imagenet-resnet18": ("preact_resnet18_raw", "counts the parameters", "constant filling"),
    "tiny-imagenet-resnext50": ("constant filling",),
    "tiny-imagenet-resnet18-superpixel_grid": ("the mean of a batch", "already mixed"),
    "cub-resnet18-occamix": ("wrong view", "eval mode"),
    "cub-resnet50-snapmix-448": ("tv_in1k", "count twice", "best test epoch", "Without the mid-level branch"),
    "cifar10-resnet18-attentive_cutmix": ("heatmap", "are not known", "stem of stride 1"),
    "imagenet-densenet264-none": ("timm has no DenseNet-264",),
}


@pytest.mark.parametrize("name", KNOWN)
def test_no_known_difference_is_left_unsaid(name):
    text = to_markdown(name, RECIPES[name])
    for part in KNOWN[name]:
        assert part in text


def test_every_recipe_as_markdown_is_one_table():
    for name, recipe in RECIPES.items():
        lines = to_markdown(name, recipe).splitlines()
        table = [line for line in lines if line.startswith("|")]
        assert {line.count("|") for line in table} == {5}, name
        assert any(recipe.protocol in line for line in lines)
