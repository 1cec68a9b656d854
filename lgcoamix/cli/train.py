"""``python -m lgcoamix train``, also ``train.py``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from lgcoamix.cli.common import CONTEXT, friendly
from lgcoamix.cli.options import PATH, RecipeName, options_in, options_of
from lgcoamix.cli.progress import training_report
from lgcoamix.cli.recipes import list_recipes, show_recipe
from lgcoamix.cli.settings import check_recipe, choose_settings, open_store, settings_options
from lgcoamix.errors import SettingsError
from lgcoamix.runs.finished import LAST, MEDIAN
from lgcoamix.settings.options import RunOptions
from lgcoamix.settings.sections import Settings
from preprocess.inputs import confined
from preprocess.terminal import Command, say, say_table, tell

if TYPE_CHECKING:
    from preprocess.store import Store


class _Train(Command):
    """The command; it has no arguments, so words behind --list-recipes are that option's, quoted or not."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--list-recipes" in args:
            start = args.index("--list-recipes") + 1
            end = next((place for place in range(start, len(args)) if args[place].startswith("-")), len(args))
            args = [*args[:start], *([" ".join(args[start:end])] if end > start else []), *args[end:]]
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            setting = f".{error.option_name.lstrip('-').replace('-', '_')}"
            for path in Settings().paths:
                if path.endswith(setting):
                    meant = f"No such option {error.option_name}; did you mean --set {path}=VALUE?"
                    raise click.NoSuchOption(error.option_name, meant, ctx=ctx) from None
            raise


@click.command(cls=_Train, short_help="Train and evaluate from a store.", context_settings=CONTEXT)
@settings_options
@click.option(
    "--weights",
    metavar="pretrained|TAG|none|FILE",
    help="Initial weights of the backbone; TAG: of timm, such as tv_in1k; a FILE that holds a whole network fills its "
    "branches too.  [default: the recipe's]",
)
@click.option("--strict-recipe", is_flag=True, help="Refuse a store, settings or images that are not the recipe's.")
@click.option("--epochs", type=click.IntRange(1), help="[default: the recipe's]")
@options_of(RunOptions)
@click.option("--out", type=PATH, help="Run folder.  [default: runs/STORE-MIXER-BACKBONE-sSEED]")
@click.option(
    "--list-recipes",
    is_flag=False,
    flag_value="",
    metavar="[WORDS]",
    is_eager=True,
    expose_value=False,
    callback=list_recipes,
    help="List the data sets with recipes, or the recipes that have all WORDS in their line, and exit.",
)
@click.option(
    "--show-recipe",
    type=RecipeName(),
    metavar="NAME",
    is_eager=True,
    expose_value=False,
    callback=show_recipe,
    help="Show one recipe with all its settings, and exit.",
)
@friendly
def train(shards: Path, superpixels: str | None, out: Path | None, strict_recipe: bool, **given: Any) -> None:
    """Train from a store and evaluate after every epoch.

    \b
    Examples:
      train.py --shards data/cub.h5
      train.py --shards data/cub.h5 --mixer cutmix --set mixer.alpha=0.5 --set optim.lr=0.01
      torchrun --nproc-per-node 4 train.py --shards data/cub.h5 --amp bf16 --resume auto
    """
    from lgcoamix.runs.checks import preflight
    from lgcoamix.training.signals import promise

    store = open_store(shards, superpixels, given["recipe"])
    recipe, settings = choose_settings(store, given)
    name = f"{store.name}-{settings.method}-{settings.model.backbone}-s{given['seed']}"
    options = RunOptions(out or _run_folder(given["resume"], name), recipe, **options_in(given, RunOptions))
    check_recipe(store, recipe, settings, options, strict_recipe)
    checked = preflight(store, settings, options)
    if checked.results is not None:
        tell(f"{options.out} is already finished and left unchanged")
    if options.resume in (None, "auto"):
        promise(options.out)
    results = checked.results or _train(store, settings, options, checked.identity)
    if results:  # only rank 0 has them
        _print_results(options.out.name, results)
        names = (f"curves.{options.plots}", f"mixed.{options.plots}", "last.pt", "best.pt")
        say("wrote " + ", ".join(str(options.out / name) for name in names if (options.out / name).exists()))


def _run_folder(resume: str | None, name: str) -> Path:
    """Default run folder: the folder of the checkpoint to resume, or one named after what is trained."""
    if resume not in (None, "auto"):
        return Path(resume).parent
    try:  # the store, which may be from somebody else, names it
        return confined(Path("runs"), name)
    except ValueError as error:
        raise SettingsError(f"{error}; choose a run folder with --out") from None


def _train(store: "Store", settings: Settings, options: RunOptions, identity: dict[str, Any]) -> dict[str, Any]:
    from lgcoamix.training.run import train as run

    with training_report() as report:
        return run(store, settings, options, identity, report)


def _print_results(name: str, result: dict[str, Any]) -> None:
    """One row per evaluated split."""
    table = Table("run", "split", "last", "best", "best epoch, chosen on", "median of last 10", "images/s", "waiting")
    for key in (key for key in result if key.endswith("_top1")):
        top = result[key]
        table.add_row(
            name,
            key.removesuffix("_top1"),
            f"{top['last']:.2f} %",
            f"{top['best']:.2f} %",
            f"{result['best_epoch'] + 1}, {result['best_chosen_on']}",
            f"{top[MEDIAN]:.2f} %" if result["epochs"] >= LAST else "–",
            f"{result['images_per_second']:.0f}",
            f"{100 * result['waiting']:.0f} %",
        )
    say_table(table)
    if "protocol" in result:
        say(f"protocol: {result['protocol']}")
