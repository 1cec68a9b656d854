"""Rebuild damaged shards, and nothing else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from preprocess.build.plan import (
    Layout,
    Plan,
    Task,
    columns_of,
    fingerprint,
    layout_in_place,
    refuse_other_scikit_image,
    shard_key,
)
from preprocess.build.run import run_tasks
from preprocess.build.settings import BuildSettings
from preprocess.datasets import Listing
from preprocess.errors import BuildError
from preprocess.store.format import IMAGES
from preprocess.store.index import Index, replace_index
from preprocess.store.place import real_index


def needs_sources(index: Index, damaged: set[str]) -> list[str]:
    """Splits whose image shards are damaged. These need the raw data; maps need only the stored images."""
    files = {name: split["columns"][IMAGES]["files"] for name, split in index.document["splits"].items()}
    return [name for name, mine in files.items() if any(file["path"] in damaged for file in mine)]


def repair(
    out: Path,
    index: Index,
    damaged: set[str],
    listing: Listing | None,
    jobs: int,
    backend: str,
    advance: Callable[[int], None],
) -> None:
    """Rebuild the damaged shards, bit for bit.

    Parameters
    ----------
    damaged : paths of shards, relative to the folder of the index.
    listing : the raw data; may be None if no images are damaged.
    jobs, backend, advance : as for :func:`preprocess.build.run.build`.

    Raises
    ------
    BuildError : the raw data or the libraries differ from those that the store was built with.
    """
    out = real_index(out)
    layouts = {split: layout_in_place(index, split) for split in index.document["splits"]}
    tasks = [task for split, layout in layouts.items() for task in _tasks(index, split, layout, damaged, listing, out)]
    plan = Plan(
        out.parent, out.with_suffix("").name, listing or Listing((), {}), _settings(index), index, layouts, tuple(tasks)
    )
    reports = run_tasks(plan, jobs, advance, backend, None)
    splits = dict(index.document["splits"])
    for (split, number), report in reports.items():
        for name, record in report.records.items():
            column = splits[split]["columns"][name]
            if column["files"][number] != record:  # same maps, compressed by another zlib
                files = [*column["files"]]
                files[number] = record
                columns = splits[split]["columns"] | {name: column | {"files": files}}
                splits[split] = splits[split] | {"columns": columns}
    repaired = replace(index, document=index.document | {"splits": splits})
    if repaired.document != index.document and not replace_index(out, repaired, index):
        raise BuildError(f"another build changed {out} in the meantime; run the same command again")


def _tasks(
    index: Index, split: str, layout: Layout, damaged: set[str], listing: Listing | None, out: Path
) -> list[Task]:
    tasks = []
    for number, known in enumerate(layout.known):
        bad = {name for name, record in known.items() if record["path"] in damaged}
        if not bad:
            continue
        samples = _range(split, layout, number, listing, out) if IMAGES in bad else ()
        columns = tuple(column for column in columns_of(index, split) if column.name in bad)
        refuse_other_scikit_image(index, split, columns)
        tasks.append(Task(split, number, samples, shard_key(known[IMAGES]["path"]), columns, known))
    return tasks


def _range(split: str, layout: Layout, number: int, listing: Listing | None, out: Path) -> tuple:
    samples = listing.splits.get(split, ()) if listing else ()
    if layout.homes is not None or fingerprint(split, samples) != layout.samples:
        raise BuildError(
            f"images of {split} are damaged, and the raw data differs from what {out} was built from; "
            "store the current data with build --update"
        )
    return samples[number * layout.shard_size : (number + 1) * layout.shard_size]


def _settings(index: Index) -> BuildSettings:
    """Return the settings of the stored images; each task lists its own maps."""
    images = index.document["images"]
    return BuildSettings(
        dataset=index.document["dataset"],
        scales=(),
        size=images["size"],
        resize=images["resize"],
        codec=images["codec"],
        quality=images.get("quality", 95),
        banner=images.get("banner", 0),
    )
