"""``python -m lgcoamix train``, also ``train.py``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from lgcoamix.cli.common import CONTEXT, console, friendly
from lgcoamix.cli.progress import training_report
from lgcoamix.cli.recipes import list_recipes, show_recipe
from lgcoamix.cli.settings import choose_settings, network_failures, settings_options
from lgcoamix.settings.sections import Settings

if TYPE_CHECKING:
    from lgcoamix.settings.options import RunOptions
    from preprocess.store import Store


@click.command(short_help="Train and evaluate from a store.", context_settings=CONTEXT)
@settings_options
@click.option("--weights", metavar="pretrained|none|FILE", help="Where the backbone starts.  [default: the recipe's]")
@click.option("--epochs", type=click.IntRange(1), help="[default: the recipe's]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
@click.option(
    "--loader",
    type=click.Choice(["auto", "streaming", "resident"]),
    default="auto",
    show_default=True,
    help="Stream from the store, or keep all images in the device's memory; auto: resident on a GPU with room.",
)
@click.option(
    "--maps",
    type=click.Choice(["stored", "live"]),
    default="stored",
    show_default=True,
    help="Cut windows out of the stored superpixel maps, or segment every crop while it is loaded.",
)
@click.option(
    "--workers", type=click.IntRange(0), default=2, show_default=True, help="Loading processes, of each device."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--val-fraction",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Share of the training images on which the best epoch is chosen; 0: it is chosen on the test split.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/STORE-MIXER-BACKBONE-sSEED]")
@click.option("--resume", metavar="auto|FILE", help="Continue what the run folder holds, if anything.")
@click.option("--checkpoint-every", type=click.IntRange(1), default=500, show_default=True, help="Steps.")
@click.option("--keep", type=click.IntRange(1), default=2, show_default=True, help="Last checkpoints that stay.")
@click.option("--tensorboard/--no-tensorboard", default=True, show_default=True, help="Write OUT/tensorboard.")
@click.option("--wandb", metavar="PROJECT", help="Log to Weights & Biases as well.")
@click.option(
    "--list-recipes", is_flag=True, is_eager=True, expose_value=False, callback=list_recipes, help="List, and exit."
)
@click.option(
    "--show-recipe",
    metavar="NAME",
    is_eager=True,
    expose_value=False,
    callback=show_recipe,
    help="Story and settings of one, and exit.",
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
    amp: str | None,
    channels_last: bool | None,
    compiled: bool | None,
    device: str,
    loader: str,
    maps: str,
    workers: int,
    seed: int,
    val_fraction: float,
    out: Path | None,
    resume: str | None,
    checkpoint_every: int,
    keep: int,
    tensorboard: bool,
    wandb: str | None,
    assignments: tuple[str, ...],
) -> None:
    """Train from a store and evaluate after every epoch.

    \b
    Examples:
      train.py --shards data/cub.h5
      train.py --shards data/cub.h5 --mixer cutmix --set mixer.alpha=0.5 --set optim.lr=0.01
      torchrun --nproc-per-node 4 train.py --shards data/cub.h5 --amp bf16 --resume auto
    """
    from lgcoamix.runs.checks import check
    from lgcoamix.runs.identity import finished_results
    from lgcoamix.settings.options import RunOptions
    from preprocess.store import Store

    store = Store(shards, superpixels)
    values = {
        "model": {"backbone": backbone, "weights": weights},
        "optim": {"epochs": epochs, "batch_size": batch_size},
        "compute": {"amp": amp, "channels_last": channels_last, "compile": compiled},
        "data": {"image_size": image_size},
    }
    recipe, settings = choose_settings(store, recipe, mixer, values, assignments)
    out = out or _run_folder(resume, f"{store.name}-{settings.method}-{Path(settings.model.backbone).name}-s{seed}")
    options = RunOptions(
        out,
        recipe,
        seed,
        device,
        workers,
        val_fraction,
        loader,
        maps,
        resume,
        checkpoint_every,
        keep,
        tensorboard,
        wandb,
    )
    check(store, settings, options)
    results = finished_results(store, settings, options)
    if results is not None:
        click.echo(f"{out} is finished: taken as it is", err=True)
    results = _train(store, settings, options) if results is None else results
    if results:  # rank 0 alone has them
        _print_results({out.name: results})
        click.echo("wrote " + ", ".join(str(out / file) for file in ("curves.png", "mixed.png", "last.pt", "best.pt")))


def _run_folder(resume: str | None, name: str) -> Path:
    """Run folder where none is given: the one of the checkpoint to go on from, or one named after what is trained."""
    return Path("runs") / name if resume in (None, "auto") else Path(resume).parent


def _train(store: "Store", settings: Settings, options: "RunOptions") -> dict:
    from lgcoamix.training.run import train as run

    with network_failures(), training_report() as report:
        return run(store, settings, options, report)


def _print_results(results: dict[str, dict]) -> None:
    """One row a run and evaluated split."""
    table = Table("run", "split", "last", "best", "best epoch, chosen on", "median of last 10", "images/s", "waiting")
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
                f"{100 * result['waiting']:.0f} %",
            )
    console().print(table)
