"""Options that choose the settings of a run, for every command that trains."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from lgcoamix.cli.options import SHARDS
from lgcoamix.errors import RunError, SettingsError
from lgcoamix.recipes import RECIPES, recipe_for
from lgcoamix.settings.mixers import METHOD_OPTIONS
from lgcoamix.settings.sections import Settings
from lgcoamix.settings.text import suggest
from preprocess.parameters import Choice

if TYPE_CHECKING:
    from preprocess.store import Store

_RECIPES_OWN = "[default: as in the recipe]"
_OPTIONS = (
    SHARDS,
    click.option("--superpixels", metavar="NAME", help="Superpixels in the store, see inspect.  [default: the first]"),
    click.option("--recipe", metavar="NAME", help="Named settings to start from.  [default: set by the data set]"),
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
    if recipe not in RECIPES:
        raise SettingsError(f"no recipe {recipe!r}; {suggest(recipe, RECIPES)}")
    settings = RECIPES[recipe].settings
    settings = settings.with_method(given["mixer"] or settings.method)
    for section, names in _SHORTCUTS.items():
        settings = settings.with_values(section, **{name: given.get(name) for name in names})
    return recipe, settings.with_assignments(given["assignments"])


@contextmanager
def network_failures() -> Iterator[None]:
    """Translate errors from building the network into those that ``friendly`` reports."""
    from lgcoamix.models import BackboneError, WeightsError

    try:
        yield
    except BackboneError as error:
        raise SettingsError(str(error)) from None
    except WeightsError as error:
        raise RunError(str(error)) from None
