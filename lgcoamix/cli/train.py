"""``python -m lgcoamix train``, also ``train.py``."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lgcoamix.cli.common import CONTEXT, console, friendly
from lgcoamix.config import Settings, suggest
from lgcoamix.errors import RunError, SettingsError
from lgcoamix.methods import METHOD_OPTIONS
from lgcoamix.recipes import RECIPES, recipe_for

if TYPE_CHECKING:
    from lgcoamix.preflight import RunOptions
    from lgcoamix.run import Report
    from preprocess.store import Store


def _print_recipes(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    table = Table("recipe", "what", "reported", "source")
    for name, recipe in RECIPES.items():
        table.add_row(name, recipe.summary, recipe.reported or "", recipe.source)
    console().print(table)
    context.exit()


@click.command(short_help="Train and evaluate from a store.", context_settings=CONTEXT)
@click.option(
    "--shards",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The store, for example data/cub.h5.",
)
@click.option("--superpixels", metavar="NAME", help="Which of the store's, see inspect.  [default: its first]")
@click.option("--recipe", metavar="NAME", help="Named settings to start from.  [default: the store's data set decides]")
@click.option("--mixer", metavar="NAME", help=f"One of {', '.join(METHOD_OPTIONS)}.  [default: the recipe's]")
@click.option("--backbone", metavar="TIMM_NAME", help="Any timm model with feature maps.  [default: the recipe's]")
@click.option("--weights", metavar="pretrained|none|FILE", help="Where the backbone starts.  [default: the recipe's]")
@click.option("--epochs", type=click.IntRange(1), help="[default: the recipe's]")
@click.option("--batch-size", type=click.IntRange(2), help="[default: the recipe's]")
@click.option("--image-size", type=click.IntRange(8), help="Side of the network's input.  [default: the recipe's]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Loading processes.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--val-fraction",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Share of the training images on which the best epoch is chosen; 0: it is chosen on the test split.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/STORE-MIXER-BACKBONE-sSEED]")
@click.option(
    "--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help="Change one setting; repeatable."
)
@click.option(
    "--list-recipes", is_flag=True, is_eager=True, expose_value=False, callback=_print_recipes, help="List, and exit."
)
@friendly
def train(
    shards: Path,
    superpixels: str | None,
    recipe: str | None,
    mixer: str | None,
    backbone: str | None,
    weights: str | None,
    epochs: int | None,
    batch_size: int | None,
    image_size: int | None,
    device: str,
    workers: int,
    seed: int,
    val_fraction: float,
    out: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Train from a store and evaluate after every epoch.

    \b
    Examples:
      train.py --shards data/cub.h5
      train.py --shards data/cub.h5 --mixer cutmix --set mixer.alpha=0.5 --set optim.lr=0.01
    """
    from lgcoamix.preflight import RunOptions, check
    from preprocess.store import Store

    store = Store(shards, superpixels)
    recipe = recipe or recipe_for(store.dataset)
    if recipe not in RECIPES:
        raise SettingsError(f"no recipe {recipe!r}; {suggest(recipe, RECIPES)}")
    settings = RECIPES[recipe].settings
    settings = settings.with_method(mixer or settings.method)
    settings = settings.with_values("model", backbone=backbone, weights=weights)
    settings = settings.with_values("optim", epochs=epochs, batch_size=batch_size)
    settings = settings.with_values("data", image_size=image_size).with_assignments(assignments)
    name = f"{store.name}-{settings.method}-{Path(settings.model.backbone).name}-s{seed}"
    out = out or Path("runs") / name
    options = RunOptions(out, recipe, seed, device, workers, val_fraction)
    check(store, settings, options)
    results = _train(store, settings, options)
    _print_results({out.name: results})
    click.echo("wrote " + ", ".join(str(out / file) for file in ("curves.png", "mixed.png", "last.pt", "best.pt")))


def _train(store: "Store", settings: Settings, options: "RunOptions") -> dict:
    from lgcoamix.models import BackboneError, WeightsError
    from lgcoamix.run import train as run

    try:
        with _report() as report:
            return run(store, settings, options, report)
    except BackboneError as error:
        raise SettingsError(str(error)) from None
    except WeightsError as error:
        raise RunError(str(error)) from None


@contextmanager
def _report() -> "Iterator[Report]":
    """Show one progress bar for the pass in hand, and lines above it."""
    from lgcoamix.run import Report

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bars: list = []

        def start(description: str, total: int) -> Callable[[int], None]:
            while bars:
                progress.remove_task(bars.pop())
            bars.append(progress.add_task(description, total=total))
            return functools.partial(progress.advance, bars[0])

        yield Report(start, lambda line: progress.console.print(line, highlight=False))


def _print_results(results: dict[str, dict]) -> None:
    """One row a run and evaluated split."""
    table = Table("run", "split", "last", "best", "best epoch, chosen on", "median of last 10", "images/s")
    for name, result in results.items():
        for key in (key for key in result if key.endswith("_top1")):
            top = result[key]
            table.add_row(
                name,
                key.removesuffix("_top1"),
                f"{top['last']:.2f} %",
                f"{top['best']:.2f} %",
                f"{result['best_epoch'] + 1}, {result['best_chosen_on']}",
                f"{top['median_of_last_10']:.2f} %",
                f"{result['images_per_second']:.0f}",
            )
    console().print(table)
