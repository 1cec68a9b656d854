"""``preprocess``: the command line of the offline stage, as a command of this one, with ``build --recipe``."""

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lgcoamix.cli.options import RecipeName
from lgcoamix.recipes import RECIPES, Recipe
from preprocess.terminal import tell


@click.command(
    short_help="Compute superpixel maps and store them with the images.",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def preprocess(context: click.Context, arguments: tuple[str, ...]) -> None:
    """Compute superpixel maps once and store them with the images: ``python -m preprocess``, with all its commands.

    Its ``build`` also takes ``--recipe NAME``: the options that a recipe needs.
    """
    _with_recipes().main(list(arguments), prog_name=context.command_path)


def _with_recipes() -> click.Group:
    """The group of ``preprocess`` with another option of ``build``; that of ``python -m preprocess`` stays as it is."""
    from preprocess.cli import main  # numpy

    group, build = copy.copy(main), copy.copy(main.commands["build"])
    option = click.Option(
        ["--recipe"],
        type=RecipeName(),
        metavar="NAME",
        is_eager=True,
        expose_value=False,
        callback=_take_recipe,
        help="Build what a recipe of train.py needs: data set, size, superpixels, --out. Other options win.",
    )
    build.params = [*build.params, option]
    group.commands = {**main.commands, "build": build}
    return group


def _take_recipe(context: click.Context, _: click.Parameter, name: str | None) -> None:
    """Make the options of a recipe the defaults of the command."""
    if name is None:
        return
    recipe = RECIPES[name]
    if recipe.store is None:
        raise click.UsageError(f"the recipe {name} takes any store; leave out --recipe", context)
    wanted = asdict(recipe.store)
    given = context.params  # filled in the order of the command line, before any default is asked for
    context.default_map = {
        **wanted,
        "dataset": recipe.dataset,
        # Never the store of the recipe's data set for another one.
        "out": lambda: str(store_of(recipe)) if given.get("dataset") in (None, recipe.dataset) else None,
        "size": lambda: None if given.get("resize") == "none" else wanted["size"],
        "compactness": lambda: wanted["compactness"] if given.get("algorithm") in (None, wanted["algorithm"]) else None,
    }
    tell(f"{name}: {_described(recipe)}; other options of this command win")


def store_of(recipe: Recipe) -> Path:
    """Name the store of a recipe: that of the data set, or another beside it if images are stored in another way."""
    from preprocess.datasets import DATASETS

    dataset, wanted = recipe.dataset or "folder", recipe.store
    usual = DATASETS[dataset]
    if wanted is None or (wanted.resize, wanted.size or usual.size) == (usual.resize, usual.size):
        return Path("data") / f"{dataset}.h5"
    return Path("data") / f"{dataset}-{wanted.size or 'full'}.h5"


def _described(recipe: Recipe) -> str:
    options: dict[str, Any] = {key: value for key, value in vars(recipe.store).items() if value is not None}
    return " ".join(
        f"--{key} {value:g}" if isinstance(value, float) else f"--{key} {value}" for key, value in options.items()
    )
