"""``python -m preprocess``: build, inspect, verify and show stores."""

import functools
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from preprocess.datasets import DATASETS, Listing
from preprocess.errors import PreprocessError, ThreadsInterrupted
from preprocess.images import CODECS, RESIZES
from preprocess.superpixels import ALGORITHMS, Scale, adjusted_rand_index, choose_scales, parse_segments

if TYPE_CHECKING:
    from preprocess.build import Plan
    from preprocess.store import Store

_COMPARED = 32  # images whose scales inspect compares

STORE = click.Path(exists=True, dir_okay=False, path_type=Path)


def friendly(command: Callable) -> Callable:
    """Turn the failures that a user can mend into one message and exit code 1; Ctrl-C into 130."""

    @functools.wraps(command)
    def wrapped(*args: object, **kwargs: object) -> object:
        try:
            return command(*args, **kwargs)
        except PreprocessError as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{where}{error.strerror or error}") from None
        except KeyboardInterrupt as interrupt:
            click.echo("\ninterrupted; what is finished is kept: run the same command to continue", err=True)
            if isinstance(interrupt, ThreadsInterrupted):
                sys.stdout.flush()
                os._exit(130)  # not by way of Python's and HDF5's own ends, which running threads could meet
            sys.exit(130)

    return wrapped


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Compute superpixel maps once and store them with the images."""


@main.command(short_help="Raw images -> a store of images and superpixel maps.")
@click.argument("dataset", type=click.Choice(sorted(DATASETS)))
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the raw data.  [default: data/raw/DATASET]",
)
@click.option("--out", type=click.Path(path_type=Path), help="The store to write.  [default: data/DATASET.h5]")
@click.option("--size", type=click.IntRange(8, 4096), help="Side of the stored images.  [default: the data set's]")
@click.option("--resize", type=click.Choice(RESIZES), default="squash", show_default=True, help="How to get there.")
@click.option(
    "--segments",
    metavar="N|LO:HI|N,N",
    help="Target number of superpixels; most algorithms return about as many.  [default: the data set's]",
)
@click.option("--scales", default="4", show_default=True, metavar="K|all", help="Maps that stand for a range LO:HI.")
@click.option(
    "--compactness",
    type=click.FloatRange(0, min_open=True),
    help="Larger: squarer.  [default: the data set's]",
)
@click.option("--algorithm", type=click.Choice(sorted(ALGORITHMS)), default="slic", show_default=True)
@click.option("--codec", type=click.Choice(CODECS), default="raw", show_default=True, help="How images are stored.")
@click.option("--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="Of JPEG.")
@click.option("--jobs", type=click.IntRange(1), help="Number of workers.  [default: one for each core]")
@click.option(
    "--backend",
    type=click.Choice(("loky", "threading")),
    help="Workers: processes or threads.  [default: threads for up to 4 jobs of SLIC, else processes]",
)
@click.option("--splits", metavar="NAME,NAME", help="Only these splits.  [default: all]")
@click.option("--shard-size", type=click.IntRange(1), help="Images in a shard.  [default: 32 to 512, by the split]")
@click.option("--skip-bad", is_flag=True, help="Publish without the images that could not be used.")
@click.option("--dry-run", is_flag=True, help="Measure 32 images, say what the build would take, write nothing.")
@friendly
def build(
    dataset: str,
    root: Path | None,
    out: Path | None,
    size: int | None,
    resize: str,
    segments: str | None,
    scales: str,
    compactness: float | None,
    algorithm: str,
    codec: str,
    quality: int,
    jobs: int | None,
    backend: str | None,
    splits: str | None,
    shard_size: int | None,
    skip_bad: bool,
    dry_run: bool,
) -> None:
    """Read DATASET, compute its superpixel maps and write a store.

    The same command continues after a break, and returns at once when all is done.
    """
    from preprocess.build import BuildSettings, build, choose_backend, find_complete, make_plan, prepare, tidy

    adapter = DATASETS[dataset]
    if compactness is not None and not math.isfinite(compactness):
        raise click.BadParameter(f"expected a finite number, got {compactness}", param_hint="--compactness")
    if compactness is not None and not ALGORITHMS[algorithm].uses_compactness:
        raise click.BadParameter(f"{algorithm} has no compactness", param_hint="--compactness")
    if ALGORITHMS[algorithm].uses_compactness:
        compactness = compactness or adapter.compactness
    out = out or Path("data") / f"{dataset}.h5"
    if out.suffix != ".h5" or out.is_dir():
        raise click.BadParameter(f"expected a file name that ends in .h5, got {out}", param_hint="--out")
    size = size or adapter.size
    settings = BuildSettings(
        dataset=dataset,
        scales=_scales(segments or adapter.segments, scales, size),
        size=size,
        resize=resize,
        algorithm=algorithm,
        compactness=compactness,
        codec=codec,
        quality=quality,
        shard_size=shard_size,
    )
    listing = _listing(dataset, root, splits)
    plan = make_plan(out, listing, settings)
    if dry_run:
        _foretell(plan, jobs or _cores())
        return
    tidy(plan)
    index = find_complete(out, plan)
    if index is not None:
        omitted = sum(len(split["failed"]) for split in index["splits"].values())
        note = f" (without {omitted} images that could not be used: see inspect)" if omitted else ""
        click.echo(f"{out} is complete{note}; nothing to do")
        return
    with Console(stderr=True).status(f"preparing {algorithm}: compiled at its first use, some 20 s"):
        prepare(settings)
    begin = time.perf_counter()
    total = sum(map(len, listing.splits.values()))
    with _progress("images") as progress:
        bar = progress.add_task(f"{dataset} -> {out}", total=total)
        jobs = jobs or _cores()
        backend = backend or choose_backend(algorithm, jobs)
        index, reports = build(plan, jobs, skip_bad, functools.partial(progress.advance, bar), backend)
    _print_summary(out, index, reports, time.perf_counter() - begin)


def _listing(dataset: str, root: Path | None, only: str | None) -> Listing:
    adapter = DATASETS[dataset]
    if adapter.create is None and root is not None and not root.is_dir():
        raise click.BadParameter(f"there is no folder {root}", param_hint="--root")
    root = root or Path("data/raw") / dataset
    if adapter.create is not None and not root.exists():
        adapter.create(root)
    listing = adapter.find(root)
    if only is None:
        return listing
    chosen = only.split(",")
    unknown = sorted(set(chosen) - listing.splits.keys())
    if unknown:
        raise click.BadParameter(
            f"{dataset} has the splits {', '.join(listing.splits)}, got {', '.join(unknown)}",
            param_hint="--splits",
        )
    return Listing(listing.classes, {name: listing.splits[name] for name in listing.splits if name in chosen})


def _scales(segments: str, scales: str, size: int) -> tuple[Scale, ...]:
    try:
        counts = parse_segments(segments)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--segments") from None
    if max(counts) > size * size:
        raise click.BadParameter(
            f"{max(counts)} segments are more than the {size * size} pixels of an image",
            param_hint="--segments",
        )
    if scales != "all" and not (scales.isdecimal() and int(scales) > 0):
        raise click.BadParameter(f"expected a positive integer or 'all', got {scales!r}", param_hint="--scales")
    return choose_scales(counts, (size, size), None if scales == "all" else int(scales))


@main.command(short_help="What a store holds.")
@click.argument("store", type=STORE)
@click.option("--json", "as_json", is_flag=True, help="The index as JSON.")
@friendly
def inspect(store: Path, as_json: bool) -> None:
    """Say what STORE holds."""
    from preprocess.store import Store

    opened = Store(store)
    if as_json:
        click.echo(json.dumps(opened.document, indent=2, ensure_ascii=False))
        return
    plan = opened.document["plan"]
    click.echo(
        f"{store}: {opened.dataset}, {len(opened.classes)} classes, {opened.size}x{opened.size} pixels, "
        f"{plan['images']['codec']}; {_describe(plan['maps'])}"
    )
    table = Table(
        "split",
        "column",
        "draw weight",
        "superpixels: least",
        "mean",
        "most",
        "agreement with next",
        "samples",
        "shards",
        "bytes",
        "content key",
    )
    weights = {scale.segments: scale.weight for scale in opened.scales}
    for split in opened.splits:
        entry = opened.document["splits"][split]
        rows = sum(entry["rows"])
        agreements = _agreements(opened, split)
        for name, column in sorted(entry["columns"].items(), key=lambda item: item[1].get("segments", 0)):
            regions = [""] * 5
            if "segments" in column:
                mean = column["regions"] / max(1, rows)
                regions = [
                    f"{weights[column['segments']]:.3f}",
                    str(column["least_regions"]),
                    f"{mean:.1f}",
                    str(column["largest_id"] + 1),
                    agreements.get(column["segments"], ""),
                ]
            size = sum(file["bytes"] for file in column["files"])
            table.add_row(
                split,
                name,
                *regions,
                str(rows),
                str(len(column["files"])),
                decimal(size),
                column["content_key"],
            )
        if entry["failed"]:
            click.echo(
                f"{split}: {len(entry['failed'])} images left out: " + ", ".join(f["key"] for f in entry["failed"])
            )
    _console().print(table)
    if len(opened.scales) > 1:
        click.echo(f"agreement: mean adjusted Rand index of two scales over up to {_COMPARED} images of a split")


@main.command(short_help="Read everything again and compare digests.")
@click.argument("store", type=STORE)
@click.option("--jobs", type=click.IntRange(1), help="Worker processes.  [default: one for each core]")
@friendly
def verify(store: Path, jobs: int | None) -> None:
    """Read all of STORE and name every damaged shard and sample; exit code 1 if there are any."""
    from preprocess.store import Store
    from preprocess.verify import shards_of, verify

    shards = shards_of(Store(store))
    with _progress("shards") as progress:
        bar = progress.add_task(f"verify {store}", total=len(shards))
        faults = verify(shards, jobs or _cores(), functools.partial(progress.advance, bar))
    for fault in faults:
        click.echo(fault, err=True)
    if faults:
        raise click.ClickException(
            f"{store} is damaged, see above; remove the damaged shards and run the same build command again"
        )
    click.echo(f"{store} is sound: {len(shards)} shards match their digests")


@main.command(short_help="A contact sheet of images and boundaries.")
@click.argument("store", type=STORE)
@click.option("--out", type=click.Path(path_type=Path), default="sheet.png", show_default=True)
@click.option("--count", type=click.IntRange(1, 200), default=16, show_default=True, help="Number of images.")
@click.option("--split", help="Which split.  [default: the first]")
@friendly
def show(store: Path, out: Path, count: int, split: str | None) -> None:
    """Draw images of STORE with the boundaries of their superpixels at each scale."""
    from preprocess.sheet import contact_sheet
    from preprocess.store import Store

    opened = Store(store)
    split = split or next(iter(opened.splits))
    if split not in opened.splits:
        raise click.BadParameter(f"{store} has {', '.join(opened.splits)}, got {split!r}", param_hint="--split")
    if not len(opened.splits[split]):
        raise click.BadParameter(f"split {split!r} of {store} has no images", param_hint="--split")
    contact_sheet(opened, split, count, out)
    click.echo(f"wrote {out}")


@main.command(name="export", short_help="A store as PNG files and a table of labels.")
@click.argument("store", type=STORE)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@friendly
def export_command(store: Path, folder: Path) -> None:
    """Write the images and label maps of STORE as PNG files to FOLDER, with labels.csv."""
    from preprocess.export import export
    from preprocess.store import Store

    opened = Store(store)
    with _progress("images") as progress:
        total = sum(len(split) for split in opened.splits.values())
        bar = progress.add_task(f"{store} -> {folder}", total=total)
        export(opened, folder, functools.partial(progress.advance, bar))
    click.echo(f"wrote {total} images and {total * len(opened.scales)} maps to {folder}")


@main.command(short_help="Whether two stores hold the same content.")
@click.argument("left", type=STORE)
@click.argument("right", type=STORE)
@friendly
def diff(left: Path, right: Path) -> None:
    """Compare the content of LEFT and RIGHT: images, labels, maps, draw weights. Exit code 0 if equal, 1 if not."""
    from preprocess.compare import differences
    from preprocess.store import Store

    found = False
    for line in differences(Store(left), Store(right)):
        click.echo(line)
        found = True
    if found:
        sys.exit(1)
    click.echo(f"{left} and {right} hold the same content")


class _Rate(ProgressColumn):
    """Finished units per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.0f} {self.unit}/s" if speed else "")


def _progress(unit: str) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _describe(maps: dict) -> str:
    compactness = maps["compactness"]
    return maps["algorithm"] + ("" if compactness is None else f", compactness {compactness:g}")


def _agreements(store: "Store", split: str) -> dict[int, str]:
    """Segment count -> how alike its maps and those of the next scale are, over images spread evenly."""
    number = len(store.splits[split])
    chosen = sorted({place * number // _COMPARED for place in range(_COMPARED)}) if number else []
    counts = [scale.segments for scale in store.scales]
    maps = [store.maps(split, count, chosen) for count in counts]
    return {
        count: f"{np.mean([adjusted_rand_index(*pair) for pair in zip(maps[i], maps[i + 1], strict=True)]):.2f}"
        for i, count in enumerate(counts[:-1])
        if chosen
    }


def _foretell(plan: "Plan", jobs: int) -> None:
    from preprocess.build import prepare
    from preprocess.forecast import advise, forecast

    prepare(plan.settings)
    found = forecast(plan)
    table = Table("what a build takes", "", show_header=False)
    table.add_row("images", f"{found.images}, {found.measured} measured, {found.failed} of them not usable")
    table.add_row(
        "time", f"about {_duration(found.seconds / jobs)} with {jobs} jobs, {_duration(found.seconds)} with one"
    )
    table.add_row("disk, --codec raw", decimal(int(found.raw_bytes + found.map_bytes)))
    table.add_row("disk, --codec jpeg", decimal(int(found.jpeg_bytes + found.map_bytes)))
    table.add_row("of these, maps", decimal(int(found.map_bytes)))
    table.add_row("memory", f"at most {decimal(int(found.worker_bytes))} for each job, beside the programs")
    _console().print(table)
    home = next(folder for folder in (plan.home, *plan.home.absolute().parents) if folder.is_dir())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    click.echo(f"suits: {advise(found, shutil.disk_usage(home).free, memory)}")
    click.echo("nothing was written")


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def _print_summary(out: Path, index: dict, reports: list, seconds: float) -> None:
    table = Table("split", "images", "left out", "scales", "bytes")
    for split in index["plan"]["splits"]:
        entry = index["splits"][split]
        size = sum(file["bytes"] for column in entry["columns"].values() for file in column["files"])
        scales = ", ".join(str(column["segments"]) for column in entry["columns"].values() if "segments" in column)
        table.add_row(split, str(sum(entry["rows"])), str(len(entry["failed"])), scales, decimal(size))
    _console().print(table)
    computed = sum(report.maps_computed for report in reports)
    click.echo(f"wrote {out} in {seconds:.1f} s: {computed} maps computed, {computed / seconds:.1f} maps/s")


def _console() -> Console:
    # A table that is piped into a file is not squeezed into 80 columns.
    return Console() if sys.stdout.isatty() else Console(width=160)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
