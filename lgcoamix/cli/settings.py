"""Options that choose settings, for every command that trains: from the store's recipe to the Settings of a run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lgcoamix.errors import RunError, SettingsError
from lgcoamix.recipes import RECIPES, recipe_for
from lgcoamix.settings.mixers import METHOD_OPTIONS
from lgcoamix.settings.sections import Settings
from lgcoamix.settings.text import suggest

if TYPE_CHECKING:
    from preprocess.store import Store

_OPTIONS = (
    click.option(
        "--shards",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        required=True,
        help="The store, for example data/cub.h5.",
    ),
    click.option("--superpixels", metavar="NAME", help="Which of the store's, see inspect.  [default: its first]"),
    click.option(
        "--recipe", metavar="NAME", help="Named settings to start from.  [default: the store's data set decides]"
    ),
    click.option("--mixer", metavar="NAME", help=f"One of {', '.join(METHOD_OPTIONS)}.  [default: the recipe's]"),
    click.option("--backbone", metavar="TIMM_NAME", help="Any timm model with feature maps.  [default: the recipe's]"),
    click.option("--batch-size", type=click.IntRange(2), help="[default: the recipe's]"),
    click.option("--image-size", type=click.IntRange(8), help="Side of the network's input.  [default: the recipe's]"),
    click.option("--amp", type=click.Choice(["off", "bf16", "fp16"]), help="Half precision.  [default: the recipe's]"),
    click.option("--channels-last/--no-channels-last", default=None, help="Memory order.  [default: the recipe's]"),
    click.option("--compile/--no-compile", "compiled", default=None, help="torch.compile.  [default: the recipe's]"),
    click.option(
        "--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help="Change one setting; repeatable."
    ),
)


def settings_options(command: Callable) -> Callable:
    """Give a command the options that name the store and choose the settings."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def choose_settings(
    store: "Store",
    recipe: str | None,
    mixer: str | None,
    values: Mapping[str, Mapping[str, object]],
    assignments: Sequence[str],
) -> tuple[str, Settings]:
    """Start from a recipe and change what was asked for.

    Parameters
    ----------
    recipe : its name; None takes the one that belongs to the store's data set.
    mixer : name of a method; None leaves the recipe's.
    values : section -> key -> value; None leaves a value as it is.
    assignments : ``section.key=value``, which come last.

    Returns
    -------
    Name of the recipe, and the settings.

    Raises
    ------
    SettingsError : something is unknown or has a value that cannot be.
    """
    recipe = recipe or recipe_for(store.dataset)
    if recipe not in RECIPES:
        raise SettingsError(f"no recipe {recipe!r}; {suggest(recipe, RECIPES)}")
    settings = RECIPES[recipe].settings
    settings = settings.with_method(mixer or settings.method)
    for section, changes in values.items():
        settings = settings.with_values(section, **changes)
    return recipe, settings.with_assignments(assignments)


@contextmanager
def network_failures() -> Iterator[None]:
    """Turn what only the making of the network finds into the failures that ``friendly`` knows."""
    from lgcoamix.models import BackboneError, WeightsError

    try:
        yield
    except BackboneError as error:
        raise SettingsError(str(error)) from None
    except WeightsError as error:
        raise RunError(str(error)) from None
