"""Compare a store with what a recipe asks for."""

from collections.abc import Mapping
from typing import Any

from lgcoamix.recipes.protocol import stored_text
from lgcoamix.recipes.recipe import Recipe, StoreSettings
from lgcoamix.settings.sections import Settings, to_plain
from lgcoamix.settings.text import flatten, text_of

_NONE = object()


def store_differences(
    recipe: Recipe,
    dataset: str | None,
    images: Mapping[str, Any],
    superpixels: Mapping[str, Any] | None,
    known: frozenset[str] = frozenset(),
) -> list[str]:
    """Say in which points a store is not what a recipe was made for; nothing for a recipe that takes any store.

    Parameters
    ----------
    dataset : name of the store's data set.
    images, superpixels : as in the index of a store; superpixels are None if none are read.
    known : data sets that have a name of their own. A store of another name, such as ``folder``, may hold any images.
    """
    wanted = recipe.store
    if wanted is None:
        return []
    lines = []
    if dataset in known and dataset != recipe.dataset:
        lines.append(f"the recipe is for {recipe.dataset}, the store holds {dataset}")
    if (images["size"], images["resize"]) != (wanted.size, wanted.resize):
        asked, found = stored_text(wanted.size, wanted.resize), stored_text(images["size"], images["resize"])
        lines.append(f"the recipe needs images stored {asked}, the store has them {found}")
    if superpixels is not None and not has_counts(superpixels, wanted):
        lines.append(f"the recipe needs superpixels {_named(wanted)}, chosen are {superpixels['name']}")
    return lines


def setting_differences(recipe: Recipe, settings: Settings) -> list[str]:
    """Say which settings are not those of a recipe. How a step is computed (``compute``) does not count.

    Options of another method are left out: they cannot be compared.
    """
    idle = {"compute": {}} if settings.method == recipe.settings.method else {"compute": {}, "mixer": {}}
    given, wanted = (flatten({**to_plain(each), **idle}) for each in (settings, recipe.settings))
    lines = []
    for name in wanted | given:
        if given.get(name, _NONE) != wanted.get(name, _NONE):
            found, asked = text_of(given.get(name, "not set")), text_of(wanted.get(name, "no such setting"))
            lines.append(f"{name} is {found}, the recipe has {asked}")
    return lines


def has_counts(superpixels: Mapping[str, Any], wanted: StoreSettings) -> bool:
    """Whether superpixels, as in the index of a store, are of the algorithm, compactness and counts of a recipe.

    Only some counts of a range are stored; the name ends with the range and their number: ``slic-c10-39:52x4``.
    """
    asked = superpixels["name"].rpartition("-")[2].partition("x")[0]
    return (superpixels["algorithm"], superpixels["compactness"], asked) == (
        wanted.algorithm,
        wanted.compactness,
        wanted.segments,
    )


def _named(wanted: StoreSettings) -> str:
    return f"{wanted.algorithm}, compactness {wanted.compactness:g}, {wanted.segments} an image"
