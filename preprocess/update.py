"""Taking changed images into a store: what is unchanged stays where it is, the rest goes into new shards."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np

from preprocess.datasets import Listing, Sample
from preprocess.errors import StoreError
from preprocess.plan import (
    BuildSettings,
    Layout,
    Plan,
    Task,
    bytes_of,
    columns_of,
    cut,
    digest_of,
    fingerprint,
    layout_in_place,
    make_plan,
    refuse_differences,
    refuse_other_pillow,
    refuse_other_scikit_image,
    shard_key,
    with_others,
)
from preprocess.store.format import key_of
from preprocess.store.index import IMAGES, Index
from preprocess.store.reader import Shard


@dataclass(frozen=True)
class Stored:
    """One image in a store.

    Parameters
    ----------
    shard, row : where it lies.
    label : class number.
    source : SHA-256 of its source file.
    """

    shard: int
    row: int
    label: int
    source: bytes


def plan_update(
    out: Path, listing: Listing, settings: BuildSettings, base: Index, jobs: int, advance: Callable[[int], None]
) -> Plan:
    """Plan as :func:`preprocess.plan.make_plan` does, but take in what changed among the images.

    Parameters
    ----------
    jobs : threads that read the source files: every one is read and compared with its recorded SHA-256.
    advance : is called with 1 after each image.

    Raises
    ------
    BuildError : size, codec or data set are others; or libraries that decide pixels or labels.
    """
    refuse_differences(out, listing, settings, base, update=True)
    document = base.document
    fresh = {split: samples for split, samples in listing.splits.items() if split not in document["splits"]}
    plan = make_plan(out, Listing(tuple(document["classes"]), fresh), settings, base)
    layouts, tasks = dict(plan.layouts), list(plan.tasks)
    for split, samples in listing.splits.items():
        if split not in fresh:
            layouts[split], more = _update_split(out.parent, split, samples, settings, base, jobs, advance)
            tasks += more
    ordered = {split: layouts[split] for split in listing.splits}
    return replace(plan, listing=listing, layouts=ordered, tasks=tuple(tasks))


def _update_split(
    home: Path,
    split: str,
    samples: tuple[Sample, ...],
    settings: BuildSettings,
    base: Index,
    jobs: int,
    advance: Callable[[int], None],
) -> tuple[Layout, list[Task]]:
    layout = layout_in_place(base, split)
    stored = _stored(home, layout)
    digests = _digests(samples, stored, jobs, advance)
    kept = {
        place: stored[sample.key]
        for place, (sample, digest) in enumerate(zip(samples, digests, strict=True))
        if sample.key in stored and (sample.label, digest) == (stored[sample.key].label, stored[sample.key].source)
    }
    shards = sorted({image.shard for image in kept.values()})
    numbers = {shard: number for number, shard in enumerate(shards)}
    changed = [place for place in range(len(samples)) if place not in kept]
    size, columns = layout.shard_size, with_others(settings.columns, columns_of(base, split))

    tasks = list(_columns_to_add(home, split, layout, shards, columns))
    homes = np.empty((len(samples), 2), np.int32)
    for place, image in kept.items():
        homes[place] = numbers[image.shard], image.row
    new = list(cut(split, tuple(samples[place] for place in changed), size, settings))
    if new:
        refuse_other_pillow(base, settings)
        refuse_other_scikit_image(base, split, columns_of(base, split))
    for task in new:
        part = changed[task.number * size :][: len(task.samples)]
        # Names and sizes may be those of an older version: the content belongs into the key.
        key = key_of({"of": task.key, "sources": [digests[place].hex() for place in part]})
        tasks.append(replace(task, number=len(shards) + task.number, key=key, columns=columns))
        homes[part] = [(len(shards) + task.number, position) for position in range(len(part))]
    known = tuple(layout.known[shard] for shard in shards) + ({},) * len(new)
    rows = tuple(layout.rows[shard] for shard in shards) + (-1,) * len(new)
    done = Layout(fingerprint(split, samples), size, known, rows, homes)
    return (replace(done, homes=None) if _in_order(done, len(samples)) else done), tasks


def _stored(home: Path, layout: Layout) -> dict[str, Stored]:
    """What the store holds now, by key. Shards that cannot be read hold nothing."""
    found: dict[str, Stored] = {}
    current = None if layout.homes is None else {tuple(place) for place in layout.homes.tolist()}
    for number, known in enumerate(layout.known):
        path = home / known[IMAGES]["path"]
        if bytes_of(path) != known[IMAGES]["bytes"]:
            continue
        try:
            shard = Shard.open(path)
        except StoreError:
            continue
        for row, (key, source) in enumerate(zip(shard.keys, shard.sources(), strict=True)):
            if current is None or (number, row) in current:
                found[key] = Stored(number, row, int(shard.labels[row]), source)
        shard.close()
    return found


def _digests(
    samples: tuple[Sample, ...], stored: dict[str, Stored], jobs: int, advance: Callable[[int], None]
) -> list[bytes]:
    """SHA-256 of every source file; hashing leaves Python's lock, so threads do."""
    run = joblib.Parallel(n_jobs=jobs, backend="threading", return_as="generator", batch_size=16)
    digests = []
    for digest in run(joblib.delayed(digest_of)(sample.path) for sample in samples):
        digests.append(digest)
        advance(1)
    return digests


def _columns_to_add(home: Path, split: str, layout: Layout, shards: list[int], columns: tuple) -> list[Task]:
    tasks = []
    for number, shard in enumerate(shards):
        known = layout.known[shard]
        absent = [
            column
            for column in columns
            if column.name not in known or bytes_of(home / known[column.name]["path"]) != known[column.name]["bytes"]
        ]
        if absent:
            tasks.append(Task(split, number, (), shard_key(known[IMAGES]["path"]), tuple(absent), known))
    return tasks


def _in_order(layout: Layout, samples: int) -> bool:
    """Whether the samples simply lie in the shards one after the other, in ranges of the listing."""
    ranges = np.arange(samples)
    size = layout.shard_size
    if not np.array_equal(layout.homes, np.stack([ranges // size, ranges % size], axis=1)):
        return False
    return all(rows in (-1, min(size, samples - shard * size)) for shard, rows in enumerate(layout.rows))
