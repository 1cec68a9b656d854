"""``build``: build a store from raw images."""

import re
import reprlib
import shutil
import textwrap
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.filesize import decimal

from preprocess.build.backends import BACKENDS, CLUSTERS, choose_backend
from preprocess.cli.common import FILE, check_ending, find_listing, friendly, jobs_option, progress_bars
from preprocess.datasets import DATASETS, Adapter, Listing
from preprocess.errors import BuildError, StoreError
from preprocess.images import CODECS, RESIZES
from preprocess.machine import memory
from preprocess.outputs import STORE, check_output
from preprocess.parameters import Choice, FiniteRange, NamedPath
from preprocess.superpixels import ALGORITHMS, Scale, choose_scales, describe_counts, parse_segments
from preprocess.terminal import say, say_table, status
from preprocess.text import shown_name

if TYPE_CHECKING:
    from preprocess.build.plan import Plan
    from preprocess.build.settings import BuildSettings
    from preprocess.store.index import Index

_MOST_RAW_BYTES = 8_000_000_000
_MOST_SCALES = 256
_GB = 1_000_000_000


@click.command(
    short_help="Build a store of images and superpixel maps.",
    epilog=f"\b\nDATASET is one of\n{textwrap.fill(', '.join(DATASETS), 36, break_on_hyphens=False)}",
)
@click.argument("dataset", type=Choice(tuple(DATASETS)), metavar="DATASET")
@click.option(
    "--root",
    type=NamedPath(file_okay=False),
    help="Folder of the raw data.  [default: data/raw/DATASET]",
)
@click.option("--out", type=NamedPath(), help="Store to write.  [default: data/DATASET.h5]")
@click.option("--size", type=click.IntRange(8, 4096), help="Side of the stored images.  [default: the data set's]")
@click.option(
    "--resize",
    type=Choice(RESIZES),
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
@click.option("--compactness", type=FiniteRange(1e-6, 1e6), help="Larger is squarer.  [default: the data set's]")
@click.option("--algorithm", type=Choice(sorted(ALGORITHMS)), default="slic", show_default=True)
@click.option(
    "--codec",
    type=Choice(("auto", *CODECS)),
    help="Format of stored images; auto: raw up to 8 GB in total, else jpeg.  [default: the data set's]",
)
@click.option("--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="JPEG quality.")
@jobs_option
@click.option(
    "--backend",
    type=Choice(BACKENDS),
    help="Processes, threads or a cluster.  [default: threads for a few jobs of SLIC, else processes]",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Address of a running Dask or Ray cluster.  [default: start one on this machine]",
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
    type=click.IntRange(1, 65_536),
    help="Images per shard.  [default: 32 to 512, depending on the split]",
)
@click.option("--skip-bad", is_flag=True, help="Publish the store without unusable images.")
@click.option("--update", is_flag=True, help="Apply changes of the source images to a finished store.")
@click.option("--dry-run", is_flag=True, help="Estimate time, space and memory from 32 images; write nothing.")
@friendly
def build(
    dataset: str,
    root: Path | None,
    out: Path | None,
    size: int | None,
    resize: str | None,
    segments: str | None,
    scales: str,
    compactness: float | None,
    algorithm: str,
    codec: str | None,
    quality: int,
    jobs: int,
    backend: str | None,
    scheduler: str | None,
    splits: str | None,
    exclude: Path | None,
    limit_per_class: int | None,
    partial: bool,
    no_download: bool,
    max_unpacked: int | None,
    shard_size: int | None,
    skip_bad: bool,
    update: bool,
    dry_run: bool,
) -> None:
    """Read DATASET, compute its superpixel maps and write a store.

    Rerun the same command to resume an interrupted build. A finished store is left unchanged, but other superpixels
    or another split can be added to it.
    """
    from preprocess.build.plan import make_plan
    from preprocess.build.run import tidy
    from preprocess.build.settings import BuildSettings

    adapter = DATASETS[dataset]
    resize = resize or adapter.resize
    if scheduler is not None and backend not in CLUSTERS:
        raise click.BadParameter("requires --backend dask or ray", param_hint="--scheduler")
    if scheduler == "":
        raise click.BadParameter("expected an address such as 127.0.0.1:8786, got nothing", param_hint="--scheduler")
    compactness = _compactness(algorithm, compactness, adapter)
    out = out or Path("data") / f"{dataset}.h5"
    check_ending(out, ".h5", "--out")
    raw = root or Path("data") / "raw" / dataset
    check_output(out, STORE, True, [raw, *([exclude] if exclude else [])])  # a store is grown, never replaced
    if resize == "none" and size is not None:
        raise click.BadParameter("has no effect with --resize none, which keeps image sizes", param_hint="--size")
    if resize != "squash" and codec == "raw":
        raise click.BadParameter(f"--resize {resize} requires jpeg or png", param_hint="--codec")
    size = size or adapter.size
    counts, chosen = _scales(segments or adapter.segments, scales, size)
    most = None if max_unpacked is None else max_unpacked * _GB
    complete = find_listing(dataset, root, not (no_download or dry_run), partial, most)
    listing = _chosen(complete, exclude, limit_per_class, splits)
    settings = BuildSettings(
        dataset=dataset,
        scales=chosen,
        size=None if resize == "none" else size,
        resize=resize,
        algorithm=algorithm,
        compactness=compactness,
        codec=_codec(codec or adapter.codec, resize, size, complete, out),
        quality=quality,
        banner=adapter.banner,
        shard_size=shard_size,
        asked=describe_counts(counts, chosen),
    )
    if dry_run:
        _forecast(make_plan(out, listing, settings), jobs)
        return
    tidy(out)
    images = sum(map(len, listing.splits.values()))
    workers = Workers(jobs, backend or choose_backend(algorithm, jobs, settings.size, images), scheduler)
    while not _build_once(out, listing, settings, workers, skip_bad, update):
        say(f"another build changed {out} in the meantime; continuing from its result")


@dataclass(frozen=True)
class Workers:
    """Workers as described in :func:`preprocess.build.backends.run_parallel`."""

    jobs: int
    backend: str
    scheduler: str | None


def _build_once(
    out: Path, listing: Listing, settings: "BuildSettings", workers: Workers, skip_bad: bool, update: bool
) -> bool:
    """Plan, build, publish and report; False if another build changed the store in the meantime."""
    from preprocess.build.forecast import refuse_without_memory
    from preprocess.build.run import build, images_to_do, prepare
    from preprocess.inspect import tables
    from preprocess.store import Store

    base = _in_place(out)
    plan = _plan(out, listing, settings, base, workers.jobs, update)
    sets = [entry["name"] for entry in base.document["superpixels"]] if base else []
    name = settings.superpixel_set()["name"]
    if plan.complete:
        omitted = sum(len(base.document["splits"][split]["failed"]) for split in listing.splits)
        note = f" (without {omitted} unusable images, see inspect)" if omitted else ""
        say(f"{out} is complete{note}; nothing to do")
        return True
    if workers.scheduler is None:
        refuse_without_memory(plan, workers.jobs, memory())
    with status(f"preparing {settings.algorithm} (compiling takes about 20 s on first use)"):
        prepare(settings)
    begin = time.perf_counter()
    with progress_bars("images") as add_bar:
        advance = add_bar(f"{settings.dataset} -> {out}", images_to_do(plan))
        reports = build(plan, workers.jobs, skip_bad, advance, workers.backend, workers.scheduler)
    if reports is None:
        return False
    seconds, computed = time.perf_counter() - begin, sum(report.maps_computed for report in reports)
    say_table(tables.splits(Store(out)))
    say(f"wrote {out} in {seconds:.1f} s: {computed} maps computed, {computed / seconds:.1f} maps/s")
    if sets and name not in sets:
        say(f"added the superpixels {name}: train.py --superpixels {name}  (the default is still {sets[0]})")
    return True


def _in_place(out: Path) -> "Index | None":
    from preprocess.store.format import kind_of
    from preprocess.store.index import read_index

    if not out.exists():
        return None
    if kind_of(out) == "pack":
        raise BuildError(f"{out} is a packed store, which cannot be changed; choose another --out")
    try:
        return read_index(out)
    except StoreError as error:
        raise BuildError(f"{error}; remove {out} (its shards will be reused) or choose another --out") from None


def _plan(
    out: Path, listing: Listing, settings: "BuildSettings", base: "Index | None", jobs: int, update: bool
) -> "Plan":
    from preprocess.build.plan import make_plan
    from preprocess.build.update import plan_update
    from preprocess.raw.selection import describe_selection, left_out_of, same_selection

    if not update or base is None:
        return make_plan(out, listing, settings, base)
    for split in listing.splits.keys() & base.document["splits"].keys():
        before, now = base.document["splits"][split], left_out_of(listing, split)
        if not same_selection(now, before):
            stored, wanted = describe_selection(before), describe_selection(now)
            say(f"{split}: stored {stored}; the update stores {wanted}", err=True)
    total = sum(len(samples) for split, samples in listing.splits.items() if split in base.document["splits"])
    with progress_bars("images") as add_bar:
        return plan_update(out, listing, settings, base, jobs, add_bar("compare images", total))


def _compactness(algorithm: str, compactness: float | None, adapter: Adapter) -> float | None:
    if ALGORITHMS[algorithm].uses_compactness:
        return compactness or adapter.compactness
    if compactness is not None:
        raise click.BadParameter(f"{algorithm} has no compactness", param_hint="--compactness")
    return None


def _codec(codec: str, resize: str, size: int, listing: Listing, out: Path) -> str:
    """Choose a codec by the size of the complete data set, the same on every machine, so that builds can resume."""
    if codec != "auto" and (codec != "raw" or resize == "squash"):  # else the data set's raw needs one size
        return codec
    base = _in_place(out)
    if base is not None:
        return base.document["images"]["codec"]
    images = sum(map(len, listing.splits.values()))
    total = 3 * size * size * images
    chosen = "raw" if resize == "squash" and total <= _MOST_RAW_BYTES else "jpeg"
    why = f"{images} raw images take {decimal(total)}" if resize == "squash" else "the images differ in size"
    say(f"--codec auto: {chosen}, because {why}", err=True)
    return chosen


def _chosen(listing: Listing, exclude: Path | None, limit: int | None, only: str | None) -> Listing:
    from preprocess.raw.selection import read_exclude_list, refuse_unknown_keys, select

    excluded = read_exclude_list(exclude) if exclude else ()
    refuse_unknown_keys(listing, excluded)
    chosen = listing.splits.keys() if only is None else only.split(",")
    unknown = sorted(set(chosen) - listing.splits.keys())
    if unknown:
        raise click.BadParameter(
            f"expected {' or '.join(listing.splits)}, got {shown_name(', '.join(unknown))}", param_hint="--splits"
        )
    splits = {name: samples for name, samples in listing.splits.items() if name in chosen}
    return select(replace(listing, splits=splits), excluded, limit)


def _scales(segments: str, scales: str, size: int) -> tuple[range | tuple[int, ...], tuple[Scale, ...]]:
    try:
        counts = parse_segments(segments)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--segments") from None
    if counts[-1] > size * size:
        raise click.BadParameter(
            f"{counts[-1]} segments exceed the {size * size} pixels of an image", param_hint="--segments"
        )
    if scales != "all" and not re.fullmatch("[1-9][0-9]{0,8}", scales):
        raise click.BadParameter(
            f"expected a positive integer or 'all', got {reprlib.repr(scales)}", param_hint="--scales"
        )
    chosen = choose_scales(counts, (size, size), None if scales == "all" else int(scales))
    if len(chosen) > _MOST_SCALES:
        raise click.BadParameter(
            f"{len(chosen)} maps for every image, at most {_MOST_SCALES} can be stored; ask for fewer",
            param_hint="--scales" if isinstance(counts, range) else "--segments",
        )
    return counts, chosen


def _forecast(plan: "Plan", jobs: int) -> None:
    from preprocess.build.forecast import advise, forecast
    from preprocess.build.run import prepare
    from preprocess.inspect import tables

    prepare(plan.settings)
    found = forecast(plan)
    say_table(tables.forecast(found, jobs))
    home = next(folder for folder in (plan.home, *plan.home.absolute().parents) if folder.is_dir())
    say(f"recommended: {advise(found, shutil.disk_usage(home).free, memory())}")
    say("nothing was written")
