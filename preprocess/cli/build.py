"""``build``: build a store from raw images."""

import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from preprocess.build.backends import CLUSTERS, Watch
from preprocess.build.limits import CHOICES, RANGES
from preprocess.cli.common import FILE, check_ending, friendly, jobs_option
from preprocess.cli.sources import DatasetName, Given, find_listing, source_of, source_options
from preprocess.datasets import DATASETS, Listing
from preprocess.errors import DatasetError
from preprocess.machine import memory
from preprocess.outputs import STORE, check_output
from preprocess.parameters import Choice, Duration, FiniteRange, NamedPath
from preprocess.terminal import say, say_table, tell
from preprocess.text import listed, shown_name

if TYPE_CHECKING:
    from preprocess.build.plan import Plan
    from preprocess.build.store import Built

_GB = 1_000_000_000


@click.command(
    short_help="Build a store of images and superpixel maps.",
    epilog=f"\b\nDATASET is one of\n{textwrap.fill(', '.join(DATASETS), 36, break_on_hyphens=False)}",
)
@click.argument("dataset", type=DatasetName(), metavar="DATASET")
@source_options
@click.option("--out", type=NamedPath(), help="Store to write.  [default: data/DATASET.h5]")
@click.option(
    "--size", type=click.IntRange(*RANGES["size"]), help="Side of the stored images.  [default: the data set's]"
)
@click.option(
    "--resize",
    type=Choice(CHOICES["resize"]),
    help="squash: to a square; short: short side to --size; none: keep sizes.  [default: the data set's]",
)
@click.option(
    "--segments",
    metavar="N|LO:HI|N,N",
    help="Target number of superpixels; most algorithms only approximate it.  [default: the data set's]",
)
@click.option(
    "--scales", default="4", show_default=True, metavar="K|all", help="Number of maps stored for a range LO:HI."
)
@click.option(
    "--compactness",
    type=FiniteRange(*map(float, RANGES["compactness"])),
    help="Larger is squarer.  [default: the data set's]",
)
@click.option("--algorithm", type=Choice(CHOICES["algorithm"]), default="slic", show_default=True)
@click.option(
    "--codec",
    type=Choice(CHOICES["codec"]),
    help="Format of stored images; auto: raw up to 8 GB in total, else jpeg.  [default: the data set's]",
)
@click.option("--quality", type=click.IntRange(*RANGES["quality"]), default=95, show_default=True, help="JPEG quality.")
@jobs_option
@click.option(
    "--backend",
    type=Choice(CHOICES["backend"]),
    help="Processes, threads or a cluster.  [default: threads for a few jobs of SLIC, else processes]",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Address of a running Dask or Ray cluster.  [default: start one on this machine]",
)
@click.option(
    "--wait",
    type=Duration(),
    help="How long --scheduler may take to answer, and then its first worker to come.  [default: 10s]",
)
@click.option("--splits", metavar="NAME,NAME", help="Build only these splits.  [default: all]")
@click.option("--exclude", type=FILE, metavar="FILE", help="Leave out images whose keys are in FILE, one per line.")
@click.option(
    "--limit-per-class",
    type=click.IntRange(1),
    metavar="N",
    help="Use only the first N images per class, for a quick trial.",
)
@click.option("--partial", is_flag=True, help="Accept an incomplete data set: do not check the official counts.")
@click.option("--no-download", is_flag=True, help="Never download missing data.")
@click.option(
    "--max-unpacked",
    type=click.IntRange(1, 1_000_000),
    metavar="GB",
    help="Most that an archive may unpack to.  [default: 10 times its size and 0.1 GB]",
)
@click.option(
    "--shard-size",
    type=click.IntRange(*RANGES["shard_size"]),
    help="Images per shard.  [default: 32 to 512, depending on the split]",
)
@click.option("--skip-bad", is_flag=True, help="Publish the store without unusable images.")
@click.option("--update", is_flag=True, help="Apply changes of the source images to a finished store.")
@click.option("--dry-run", is_flag=True, help="Estimate time, space and memory from 32 images; write no store.")
@friendly
def build(
    dataset: str,
    given: Given,
    out: Path | None,
    jobs: int,
    backend: str | None,
    scheduler: str | None,
    wait: float | None,
    splits: str | None,
    exclude: Path | None,
    limit_per_class: int | None,
    partial: bool,
    no_download: bool,
    max_unpacked: int | None,
    skip_bad: bool,
    update: bool,
    dry_run: bool,
    **asked: Any,  # of choose_settings
) -> None:
    """Read DATASET, compute its superpixel maps and write a store.

    Rerun the same command to resume an interrupted build. A finished store is left unchanged, but other superpixels
    or another split can be added to it.
    """
    from preprocess.build.plan import make_plan
    from preprocess.build.settings import choose_settings, settle_codec
    from preprocess.build.store import Builder, Workers, index_in_place

    _check_scheduler(backend, scheduler, wait)
    out = out or Path("data") / f"{dataset}.h5"
    check_ending(out, ".h5", "--out")
    source = source_of(dataset, given, splits)
    inputs = [*([exclude] if exclude else []), *given.table]
    if given.root is not None or not given.table:  # the folder of a table holds more than its images
        inputs.append(source.root)
    check_output(out, STORE, True, inputs)  # a store is grown, never replaced
    settings = choose_settings(dataset, source.adapter, **asked)
    most = None if max_unpacked is None else max_unpacked * _GB

    def choose() -> tuple[Listing, Listing]:
        found = find_listing(source, not (no_download or dry_run), partial, most)
        return found, _chosen(found, exclude, limit_per_class, splits)

    listed, listing = choose()
    base = index_in_place(out) if settings.codec == "auto" else None
    images = sum(source.adapter.counts.values()) or listed.total
    settings, why = settle_codec(settings, images, base and base.document["images"]["codec"])
    if why:
        tell(why)
    if dry_run:
        _forecast(make_plan(out, listing, settings), jobs)
        return
    workers = Workers(jobs, backend, scheduler, Watch.wait if wait is None else wait)
    whole = splits is None
    builder = Builder(out, listing, settings, workers, skip_bad, update, tell, whole, lambda: choose()[1])
    _say_built(out, builder.run())


def _check_scheduler(backend: str | None, scheduler: str | None, wait: float | None) -> None:
    if scheduler is not None and backend not in CLUSTERS:
        raise click.BadParameter("requires --backend dask or ray", param_hint="--scheduler")
    if scheduler == "":
        raise click.BadParameter("expected an address such as 127.0.0.1:8786, got nothing", param_hint="--scheduler")
    if wait is not None and scheduler is None:
        raise click.BadParameter("requires --backend dask or ray and --scheduler", param_hint="--wait")


def _say_built(out: Path, done: "Built") -> None:
    from preprocess.inspect import tables
    from preprocess.store import Store

    if done.complete:
        note = f" (without {done.omitted} unusable images, see inspect)" if done.omitted else ""
        say(f"{out} is complete{note}; nothing to do")
        return
    say_table(tables.splits(Store(out)))
    rate, start = done.maps / done.work, done.seconds - done.work
    before = f" (without the {start:.1f} s until there were workers)" if start >= 1 else ""
    say(f"wrote {out} in {done.seconds:.1f} s: {done.maps} maps computed, {rate:.1f} maps/s{before}")
    for note in done.notes:
        say(note)
    if done.added_to is not None:
        name = done.superpixels
        say(f"added the superpixels {name}: train.py --superpixels {name}  (the default is still {done.added_to})")


def _chosen(listing: Listing, exclude: Path | None, limit: int | None, splits: str | None) -> Listing:
    from preprocess.raw.selection import (
        commented_keys,
        emptied_classes,
        read_exclude_list,
        refuse_unknown_keys,
        select,
    )

    excluded = read_exclude_list(exclude) if exclude else ()
    if exclude and (odd := commented_keys(exclude, listing)):
        tell(
            f"warning: {shown_name(exclude)}: {len(odd):,} keys begin with # and count as comments, the first is "
            f"{shown_name(odd[0])}; to exclude such an image, write its split, a tab and the key"
        )
    try:
        refuse_unknown_keys(listing, excluded)
    except DatasetError as error:
        if splits is None:
            raise
        tell(f"warning: {error} in --splits {splits}")
    chosen = select(listing, excluded, limit)
    if exclude and (gone := emptied_classes(listing, chosen)):
        names = listed(list(map(shown_name, gone)))
        tell(f"warning: the exclude list leaves no image of {names}; networks keep an output for each")
    return chosen


def _forecast(plan: "Plan", jobs: int) -> None:
    from preprocess.build.forecast import advise, forecast
    from preprocess.build.run import prepare
    from preprocess.inspect import tables

    prepare(plan.settings)
    found = forecast(plan)
    say_table(tables.forecast(found, jobs))
    home = next(folder for folder in (plan.home, *plan.home.absolute().parents) if folder.is_dir())
    say(f"recommended: {advise(found, shutil.disk_usage(home).free, memory())}")
    say("no store was written")
