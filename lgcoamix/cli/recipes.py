"""``--list-recipes`` and ``--show-recipe``."""

import click
from rich import box
from rich.table import Table

from lgcoamix.recipes import RECIPES, Recipe
from lgcoamix.settings.sections import SECTIONS, to_plain
from lgcoamix.settings.text import suggest
from preprocess.terminal import say, say_table


def list_recipes(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print one line per recipe, by data set, and exit."""
    if not wanted:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("recipe", no_wrap=True)  # begins with the data set
    for title in ("method", "backbone", "reported top-1", "inferred", "source"):
        table.add_column(title, overflow="fold")
    order = list(dict.fromkeys(recipe.dataset for recipe in RECIPES.values()))
    for dataset in order:
        for name, recipe in RECIPES.items():
            if recipe.dataset == dataset:
                table.add_row(*_row(name, recipe))
        table.add_section()
    say_table(table)
    say("inferred: number of settings that were never published. --show-recipe NAME lists them and all others.")
    context.exit()


def show_recipe(context: click.Context, parameter: click.Parameter, name: str | None) -> None:
    """Print everything about one recipe, and exit."""
    if name is None:
        return
    if name not in RECIPES:
        raise click.UsageError(f"no recipe {name!r}; {suggest(name, RECIPES)}", context)
    recipe = RECIPES[name]
    table = Table.grid(padding=(0, 2))
    for title, text in _story(name, recipe).items():
        table.add_row(title, text)
    say_table(table)
    say()
    say("\n".join(_settings(recipe)))
    context.exit()


def _row(name: str, recipe: Recipe) -> tuple[str, ...]:
    settings = recipe.settings
    reported, inferred = (recipe.reported or "").removesuffix(" top-1"), str(len(recipe.inferred) or "")
    return name, settings.method, settings.model.backbone, reported, inferred, recipe.source.partition(" (")[0]


def _story(name: str, recipe: Recipe) -> dict[str, str]:
    dataset = recipe.dataset or "folder"
    words = (recipe.store or "").split()
    shards = words[words.index("--out") + 1] if "--out" in words else f"data/{dataset}.h5"
    return {
        "recipe": name,
        "summary": recipe.summary,
        "source": recipe.source,
        "protocol": recipe.protocol,
        "reported": recipe.reported or "nothing",
        "measured": recipe.measured or "nothing yet",
        "notes": recipe.notes or "",
        "inferred": ", ".join(recipe.inferred) or "nothing",
        "store": " ".join(("python -m lgcoamix preprocess build", dataset, *words)),
        "train": f"python train.py --shards {shards} --recipe {name}"
        + (" --superpixels NAME, as printed by build" if words and "--out" not in words else ""),
    }


def _settings(recipe: Recipe) -> list[str]:
    """All settings in the form of ``--set``."""
    plain = to_plain(recipe.settings)
    lines = [f"--mixer {recipe.settings.method}"]
    for section in SECTIONS:
        for key, value in plain[section].items():
            note = "    inferred" if f"{section}.{key}" in recipe.inferred else ""
            lines.append(f"{section}.{key}={_text(value)}{note}")
    return lines


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
