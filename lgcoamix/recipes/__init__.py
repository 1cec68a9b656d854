"""Named settings, each with its source, how its figure was measured, and what had to be inferred.

Works without torch: the command line lists and checks recipes before it imports torch.
"""

from dataclasses import replace

from lgcoamix.recipes.attentive_cutmix import ATTENTIVE_CUTMIX
from lgcoamix.recipes.compared import COMPARED
from lgcoamix.recipes.lgcoamix import LGCOAMIX
from lgcoamix.recipes.ours import OURS
from lgcoamix.recipes.recipe import Departure, Recipe, StoreSettings
from lgcoamix.recipes.snapmix import SNAPMIX, from_scratch

__all__ = ["DATASETS", "RECIPES", "Departure", "Recipe", "StoreSettings", "beside", "from_scratch", "recipe_for"]

# If two share a name, the later wins: the Attentive CutMix paper reports figures for the baselines on CIFAR-10.
RECIPES: dict[str, Recipe] = {**OURS, **LGCOAMIX, **COMPARED, **SNAPMIX, **ATTENTIVE_CUTMIX}
DATASETS = frozenset(recipe.dataset for recipe in RECIPES.values() if recipe.dataset)

_OF_DATASET = {
    "demo": "demo",
    "cub": "cub-resnet18",
    "dogs": "dogs-resnet50",
    "cifar10": "cifar10-resnet18",
    "cifar100": "cifar100-resnet50",
    "tiny-imagenet": "tiny-imagenet-resnet18",
}


def recipe_for(dataset: str) -> str:
    """Name the default recipe for a store's data set: LGCOAMix's, or ``general`` if there is none."""
    return _OF_DATASET.get(dataset, "general")


def beside(name: str, method: str) -> str | None:
    """Name the recipe of another method under the protocol of a recipe: it differs in the method alone."""
    base = RECIPES[name]
    for other, recipe in RECIPES.items():
        if recipe.settings.method != method or recipe.dataset != base.dataset or other in OURS:
            continue
        if replace(recipe.settings, method=base.settings.method, mixer=base.settings.mixer) == base.settings:
            return other
    return None
