"""Named settings, each with its story: who published it, how it was measured, and what had to be inferred.

No torch in here: the command line lists and checks recipes before it pays for the import.
"""

from lgcoamix.recipes.attentive_cutmix import ATTENTIVE_CUTMIX
from lgcoamix.recipes.compared import COMPARED
from lgcoamix.recipes.lgcoamix import LGCOAMIX
from lgcoamix.recipes.ours import OURS
from lgcoamix.recipes.recipe import Recipe
from lgcoamix.recipes.snapmix import SNAPMIX

__all__ = ["RECIPES", "Recipe", "recipe_for"]

# Of two with one name the later stays: on CIFAR-10 Attentive CutMix has figures of its own.
RECIPES: dict[str, Recipe] = {**OURS, **LGCOAMIX, **COMPARED, **SNAPMIX, **ATTENTIVE_CUTMIX}

_OF_DATASET = {
    "demo": "demo",
    "cub": "cub-resnet18",
    "dogs": "dogs-resnet50",
    "cifar10": "cifar10-resnet18",
    "cifar100": "cifar100-resnet50",
    "tiny-imagenet": "tiny-imagenet-resnet18",
}


def recipe_for(dataset: str) -> str:
    """Name of the recipe that belongs to a store's data set: LGCOAMix's own, or ``general`` where there is none."""
    return _OF_DATASET.get(dataset, "general")
