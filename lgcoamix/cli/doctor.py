"""``python -m lgcoamix doctor``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from lgcoamix.cli.common import CONTEXT, friendly
from lgcoamix.cli.options import options_of
from lgcoamix.cli.settings import choose_settings, open_store, settings_options
from lgcoamix.settings.options import RunOptions
from preprocess.parameters import FiniteRange
from preprocess.terminal import say, say_json, say_table, status

if TYPE_CHECKING:
    from lgcoamix.profiling.advice import Measurements, Steps


@click.command(short_help="Find out where a run spends its time, and what to change.", context_settings=CONTEXT)
@settings_options
@click.option(
    "--weights",
    metavar="pretrained|TAG|none|FILE",
    default="none",
    show_default=True,
    help="Initial weights of the backbone; they do not affect speed.",
)
@options_of(RunOptions, "device", "workers", "augment")
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    help="Number of samples to read, in whole batches; fewer if the time is up.",
)
@click.option(
    "--seconds",
    type=FiniteRange(0, min_open=True),
    default=60.0,
    show_default=True,
    help="Approximate time for measuring, besides building the network.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; times are in milliseconds.")
@friendly
def doctor(shards: Path, superpixels: str | None, as_json: bool, **given: Any) -> None:
    """Measure reading, decoding, augmenting, transfer and waiting, and recommend one change.

    Accepts the settings of train and runs a few dozen training steps, but writes nothing. The store is dropped from
    the page cache first, so another run that reads it is slower for a while.

    \b
    Examples:
      python -m lgcoamix doctor --shards data/cub.h5
      python -m lgcoamix doctor --shards data/cub.h5 --mixer none --amp bf16 --workers 8 --json
    """
    from lgcoamix.runs.checks import check_training

    store = open_store(shards, superpixels, given["recipe"])
    recipe, settings = choose_settings(store, given)
    check_training(store, settings)
    chosen = {name: given[name] for name in ("device", "workers", "augment")}
    options = RunOptions(Path("never-written"), recipe, **chosen)

    from lgcoamix.profiling.advice import recommend
    from lgcoamix.profiling.measure import measure

    with status() as say_stage:
        found = measure(
            store,
            settings,
            options,
            given["samples"],
            given["seconds"],
            lambda line: say_stage(f"measuring: {line}"),
        )
    if as_json:
        say_json(found.as_plain())
        return
    say_table(_stages(found))
    say_table(_steps(found))
    if found.samples < given["samples"]:
        say(_fewer(found.samples, given["samples"], len(store.splits["train"])))
    say(recommend(found))


def _fewer(read: int, asked: int, images: int) -> str:
    """Say why fewer samples were read than --samples asks for."""
    why = "the split has no more" if read == images else "whole batches, as far as --seconds and the split go"
    return f"read {read} of --samples {asked}: {why}"


def _stages(found: "Measurements") -> Table:
    title = f"one process, {found.samples} samples: {found.codec} images"
    table = Table("stage", "ms/sample", "samples/s", "note", title=title, title_justify="left")
    maps = "gzip of the maps included" if found.with_maps else "only images: the method needs no maps"
    cold = "from the disk" if found.read_cold is not None else "not measured: cannot drop files from the cache here"
    pipeline = ", then --augment" if found.augmented else ""
    rows = (
        ("read, first pass", found.read_cold, cold),
        ("read, second pass", found.read, f"from memory; {maps}"),
        ("decode", found.decode, "raw pixels: nothing to decode" if found.codec == "raw" else "with Pillow"),
        ("augment", found.augment, f"crop and resize to {found.image_size} pixels{pipeline}"),
        ("read, decode, augment", found.load, _source(found)),
        ("transfer", found.transfer, _transfer(found.device)),
    )
    for name, value, note in rows:
        table.add_row(name, *_figures(value), note)
    return table


def _source(found: "Measurements") -> str:
    store = f"the store ({found.store_bytes / 1e9:.2f} GB)"
    return f"{store} fits in memory: read from there" if found.cached else f"{store} does not fit in memory: read cold"


def _figures(milliseconds: float | None) -> tuple[str, str]:
    if milliseconds is None:
        return "-", "-"
    return f"{milliseconds:.3f}", f"{1000 / milliseconds:.0f}" if milliseconds else "-"


def _transfer(device: str) -> str:
    notes = {"cpu": "the step runs on the CPU: nothing to transfer", "cuda": "from pinned memory, while a step runs"}
    return notes.get(device, "to the device")


def _steps(found: "Measurements") -> Table:
    title = f"steps on {found.device}: batch {found.batch_size} at {found.image_size} pixels"
    table = Table("loader", "ms/batch", "images/s", "waiting for data", title=title, title_justify="left")
    table.add_row("none: the same batch in every step", f"{found.step:.1f}", f"{found.images_per_second:.0f}", "")
    for name, steps in ((f"streaming, {found.workers} workers", found.streaming), ("resident", found.resident)):
        table.add_row(name, *_step_figures(steps))
    return table


def _step_figures(steps: "Steps | None") -> tuple[str, str, str]:
    if steps is None:
        return "-", "-", "too little memory, images of different sizes, or --augment"
    return f"{steps.milliseconds:.1f}", f"{steps.images_per_second:.0f}", f"{100 * steps.waiting:.0f} %"
