"""``--list-recipes`` and ``--show-recipe``."""

from collections import Counter

import click
from rich import box
from rich.table import Table

from lgcoamix.recipes import RECIPES, Recipe, recipe_for
from lgcoamix.recipes.table import rows_of
from lgcoamix.settings.sections import SECTIONS, to_plain
from lgcoamix.settings.text import text_of
from preprocess.terminal import say, say_table
from preprocess.text import listed

_FROM = "from"


def list_recipes(context: click.Context, _: click.Parameter, words: str | None) -> None:
    """Print the recipes whose line has all of the words, or the groups if there is no word, and exit."""
    if words is None:
        return
    if not words.strip():
        _list_groups()
    else:
        _list_found(words.lower().split(), context)
    context.exit()


def _list_groups() -> None:
    """Print one line per data set."""
    table = _table("data set", "recipes", "methods", "backbones", "default recipe")
    for dataset in dict.fromkeys(recipe.dataset for recipe in RECIPES.values()):
        own = [recipe.settings for recipe in RECIPES.values() if recipe.dataset == dataset]
        methods = Counter(settings.method for settings in own)
        backbones = dict.fromkeys(settings.model.backbone for settings in own)
        default = recipe_for(dataset or "")
        table.add_row(dataset or "any", str(len(own)), ", ".join(methods), listed(list(backbones)), default)
    say_table(table)
    say("--list-recipes WORDS lists those that have all WORDS in their line, such as: cub snapmix.  all: all of them.")


def _list_found(words: list[str], context: click.Context) -> None:
    """Print one line per recipe, by data set."""
    table = _table("recipe", "method", "backbone", "reported top-1", "inferred", "source")
    found = {name: recipe for name, recipe in RECIPES.items() if words == ["all"] or _has(words, name, recipe)}
    if not found:
        raise click.UsageError(
            f"no recipe has {' and '.join(map(repr, words))} in its line; see --list-recipes", context
        )
    for dataset in dict.fromkeys(recipe.dataset for recipe in found.values()):
        for name, recipe in found.items():
            if recipe.dataset == dataset:
                table.add_row(*_row(name, recipe))
        table.add_section()
    say_table(table)
    say("inferred: number of settings that were never published. --show-recipe NAME lists them and all others.")


def show_recipe(context: click.Context, parameter: click.Parameter, name: str | None) -> None:
    """Print everything about one recipe, and exit."""
    if name is None:
        return
    recipe = RECIPES[name]
    table = Table.grid(padding=(0, 2))
    for title, text in _story(name, recipe).items():
        table.add_row(title, text)
    say_table(table)
    say()
    rows = _table("setting", "published", "ours", _FROM)
    for row in rows_of(recipe):
        rows.add_row(*row)
    say_table(rows)
    say("\n".join(_settings(recipe)))
    context.exit()


def _table(*titles: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(titles[0], no_wrap=True)
    for title in titles[1:]:
        table.add_column(title, overflow="fold")
    return table


def _has(words: list[str], name: str, recipe: Recipe) -> bool:
    line = " ".join((*_row(name, recipe), recipe.dataset or "any")).lower()
    return all(word in line for word in words)


def _row(name: str, recipe: Recipe) -> tuple[str, ...]:
    settings = recipe.settings
    reported, inferred = (recipe.reported or "").removesuffix(" top-1"), str(len(recipe.inferred) or "")
    return name, settings.method, settings.model.backbone, reported, inferred, recipe.source.partition(" (")[0]


def _story(name: str, recipe: Recipe) -> dict[str, str]:
    from lgcoamix.cli.preprocess import store_of

    dataset = recipe.dataset or "folder"
    build = ("preprocess build", dataset, *(("--recipe", name) if recipe.store else ()))
    return {
        "recipe": name,
        "summary": recipe.summary,
        "source": recipe.source,
        "reported": recipe.reported or "nothing",
        "protocol": recipe.protocol,
        "measured": recipe.measured or "nothing yet",
        "notes": recipe.notes or "",
        "store": " ".join(("python -m lgcoamix", *build)),
        "train": f"python train.py --shards {store_of(recipe)} --recipe {name}",
    }


def _settings(recipe: Recipe) -> list[str]:
    """All settings in the form of ``--set``."""
    plain = to_plain(recipe.settings)
    lines = [f"--mixer {recipe.settings.method}"]
    for section in SECTIONS:
        for key, value in plain[section].items():
            note = "    inferred" if f"{section}.{key}" in recipe.inferred else ""
            lines.append(f"{section}.{key}={text_of(value)}{note}")
    return lines
