"""Options that choose the settings of a run, for every command that trains."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lgcoamix.cli.options import SHARDS, RecipeName
from lgcoamix.errors import SettingsError
from lgcoamix.recipes import DATASETS, RECIPES, beside, from_scratch, recipe_for
from lgcoamix.recipes.stores import has_counts, setting_differences, store_differences
from lgcoamix.settings.launch import launched
from lgcoamix.settings.mixers import METHOD_OPTIONS, SnapMixOptions
from lgcoamix.settings.options import RunOptions
from lgcoamix.settings.sections import Settings
from preprocess.parameters import Choice
from preprocess.terminal import tell

if TYPE_CHECKING:
    from preprocess.store import Store

_RECIPES_OWN = "[default: as in the recipe]"
_OPTIONS = (
    SHARDS,
    click.option(
        "--superpixels",
        metavar="NAME",
        help="Superpixels in the store, see inspect.  [default: the recipe's, else the first]",
    ),
    click.option(
        "--recipe",
        type=RecipeName(),
        metavar="NAME",
        help="Named settings to start from.  [default: set by the data set]",
    ),
    click.option("--mixer", metavar="NAME", help=f"One of {', '.join(METHOD_OPTIONS)}.  {_RECIPES_OWN}"),
    click.option("--backbone", metavar="TIMM_NAME", help=f"Any timm model with feature maps.  {_RECIPES_OWN}"),
    click.option("--batch-size", type=click.IntRange(2), help=_RECIPES_OWN),
    click.option("--image-size", type=click.IntRange(8), help=f"Side of the input, in pixels.  {_RECIPES_OWN}"),
    click.option("--amp", type=Choice(["off", "bf16", "fp16"]), help=f"Half precision.  {_RECIPES_OWN}"),
    click.option("--channels-last/--no-channels-last", default=None, help=f"Memory format.  {_RECIPES_OWN}"),
    click.option("--compile/--no-compile", default=None, help=f"torch.compile.  {_RECIPES_OWN}"),
    click.option(
        "--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help="Change one setting; repeatable."
    ),
)
# Options that are shorthand for --set SECTION.KEY.
_SHORTCUTS = {
    "model": ("backbone", "weights"),
    "optim": ("epochs", "batch_size"),
    "data": ("image_size",),
    "compute": ("amp", "channels_last", "compile"),
}


def settings_options(command: Callable) -> Callable:
    """Add the options that name the store and choose the settings."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def open_store(shards: Path, superpixels: str | None, recipe: str | None) -> "Store":
    """Open a store, with the named superpixels, or those that the recipe asks for, or else the first."""
    from preprocess.store import Store

    store = Store(shards, superpixels)
    known = RECIPES.get(recipe or recipe_for(store.dataset))
    if superpixels is not None or known is None or known.store is None:
        return store
    fitting = [entry["name"] for entry in store.document["superpixels"] if has_counts(entry, known.store)]
    return Store(shards, fitting[0]) if fitting and store.superpixels.name not in fitting else store


def choose_settings(store: "Store", given: Mapping[str, Any]) -> tuple[str, Settings]:
    """Start from a recipe and apply the given options, ``--set`` last.

    Parameters
    ----------
    given : values of the options by name; None leaves a setting as the recipe has it.

    Returns
    -------
    Name of the recipe, and the settings.

    Raises
    ------
    SettingsError : an unknown name, or an invalid value.
    """
    recipe = given["recipe"] or recipe_for(store.dataset)
    settings = _with_method(recipe, given["mixer"], _weights_in(given))
    for section, names in _SHORTCUTS.items():
        settings = settings.with_values(section, **{name: given.get(name) for name in names})
    settings = settings.with_assignments(given["assignments"])
    _tell_of_start(recipe, settings)
    return recipe, settings


def _tell_of_start(recipe: str, settings: Settings) -> None:
    """Say which start of a recipe another backbone takes over: it may have no such weights, or no such start."""
    model, wanted = settings.model, RECIPES[recipe].settings.model
    kept = [f"--weights {model.weights}"] if model.weights == wanted.weights not in ("none", "pretrained") else []
    kept += [f"--set model.init={model.init}"] if model.init == wanted.init != "timm" else []
    if kept and model.backbone != wanted.backbone and launched()[0] == 0:
        tell(
            f"note: {' '.join(kept)} is from the recipe {recipe}, for {wanted.backbone}; {model.backbone} may need "
            "--weights pretrained or --set model.init=timm"
        )


def _weights_in(given: Mapping[str, Any]) -> str | None:
    """The weights that options ask for, before the settings are made: the last assignment counts."""
    assigned = [text.partition("=")[2] for text in given["assignments"] if text.startswith("model.weights=")]
    return assigned[-1] if assigned else given.get("weights")


def _with_method(recipe: str, method: str | None, weights: str | None) -> Settings:
    """Switch to a method, with its options under the protocol of the recipe, if there are any.

    Those of SnapMix depend on the start of the network: without the recipe's weights they are those from scratch.
    """
    settings = RECIPES[recipe].settings
    if method is None or method == settings.method:
        return settings
    settings, other = settings.with_method(method), beside(recipe, method)
    if other is None:
        return settings
    mixer, but = RECIPES[other].settings.mixer, ""
    if isinstance(mixer, SnapMixOptions) and weights == "none" != settings.model.weights:
        mixer = from_scratch(mixer)
        but = f", but those from scratch: mixer.beta={mixer.beta:g}, mixer.mix_prob={mixer.mix_prob:g}"
    if launched()[0] == 0:
        tell(f"note: options of {method} as in the recipe {other}{but}")
    return replace(settings, mixer=mixer)


def check_recipe(store: "Store", name: str, settings: Settings, options: RunOptions, strict: bool) -> None:
    """Show in which points a store is not what a recipe was made for.

    Parameters
    ----------
    strict : refuse them, other settings than the recipe's, and options that train on other images.

    Raises
    ------
    SettingsError : the first of these differences, with ``strict``.
    """
    recipe, chosen = RECIPES[name], store.superpixels.name
    read = next(entry for entry in store.document["superpixels"] if entry["name"] == chosen)
    maps = read if settings.mixer.needs_maps else None
    found = store_differences(recipe, store.dataset, store.document["images"], maps, DATASETS)
    images = {"--augment": options.augment, "--val-fraction": options.val_fraction}
    added = [f"{option} {value} is not the recipe's" for option, value in images.items() if value]
    if strict and (wrong := [*found, *setting_differences(recipe, settings), *added]):
        other = beside(name, settings.method) if settings.method != recipe.settings.method else None
        remedies = [f"For {settings.method} use --recipe {other}"] if other else []
        remedies += [_remedy(name)] if found else []
        raise SettingsError(f"--strict-recipe and {name}: " + ". ".join(["; ".join(wrong), *remedies]))
    if found and launched()[0] == 0:
        for line in found:
            tell(f"note: {name}: {line}")
        tell(f"note: {_remedy(name)}")


def _remedy(name: str) -> str:
    return f"python -m lgcoamix preprocess build {RECIPES[name].dataset} --recipe {name} builds what the recipe needs"
