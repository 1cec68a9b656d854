"""Update a store: keep unchanged images in their shards and store changed ones in new shards."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from preprocess.build.backends import run_parallel
from preprocess.build.plan import (
    Layout,
    Plan,
    Task,
    columns_of,
    cut,
    fingerprint,
    layout_in_place,
    make_plan,
    not_listed,
    refuse_differences,
    refuse_other_pillow,
    refuse_other_scikit_image,
    shard_key,
    with_others,
)
from preprocess.build.settings import BuildSettings
from preprocess.build.sources import source_of, stored_images
from preprocess.build.task import read_sources
from preprocess.datasets import Listing, Sample
from preprocess.store.format import IMAGES, key_of
from preprocess.store.index import Index
from preprocess.store.place import is_whole


def plan_update(
    out: Path,
    listing: Listing,
    settings: BuildSettings,
    base: Index,
    whole: bool,
    jobs: int,
    advance: Callable[[int], None],
) -> Plan:
    """Plan like :func:`preprocess.build.plan.make_plan`, but accept changed images, and splits that are gone.

    Reads every source file in ``jobs`` threads and compares it with its recorded SHA-256; calls ``advance(1)`` after
    each image.

    Raises
    ------
    BuildError : size, codec, data set, or the version of a library that decides pixels or labels differ.
    """
    refuse_differences(out, listing, settings, base, whole, update=True)
    document = base.document
    fresh = {split: samples for split, samples in listing.splits.items() if split not in document["splits"]}
    plan = make_plan(out, Listing(tuple(document["classes"]), fresh), settings, base)
    layouts, tasks = dict(plan.layouts), list(plan.tasks)
    for split, samples in listing.splits.items():
        if split not in fresh:
            layouts[split], more = _update_split(plan.home, split, samples, settings, base, jobs, advance)
            tasks += more
    ordered = {split: layouts[split] for split in listing.splits}
    gone = not_listed(listing, base) if whole else ()
    return replace(plan, listing=listing, layouts=ordered, tasks=tuple(tasks), gone=gone)


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
    stored = stored_images(home, layout.known, layout.homes, settings.form(), checked=True)
    digests = _digests(samples, jobs, advance)
    bad = {failure["key"]: failure for failure in layout.failed}
    kept, failed, changed = {}, {}, []
    for place, (sample, digest) in enumerate(zip(samples, digests, strict=True)):
        image = stored.get(sample.key)
        if image is not None and (sample.label, digest) == (image.label, image.source):
            kept[place] = image
        elif sample.key in bad and bad[sample.key]["source"] == digest.hex() and _fails(sample, settings):
            failed[place] = bad[sample.key]
        else:
            changed.append(place)
    shards = sorted({image.shard for image in kept.values()})
    numbers = {shard: number for number, shard in enumerate(shards)}
    size, columns = layout.shard_size, with_others(settings.columns, columns_of(base, split))

    tasks = list(_columns_to_add(home, split, layout, shards, columns))
    homes = np.full((len(samples), 2), -1, np.int32)
    for place, image in kept.items():
        homes[place] = numbers[image.shard], image.row
    new = list(cut(split, tuple(samples[place] for place in changed), size, settings))
    if new:
        refuse_other_pillow(base, settings)
        refuse_other_scikit_image(base, split, columns_of(base, split))
    for task in new:
        part = changed[task.number * size :][: len(task.samples)]
        # An edited file may keep its name and size, so the key must include the content.
        key = key_of({"of": task.key, "sources": [digests[place].hex() for place in part]})
        tasks.append(replace(task, number=len(shards) + task.number, key=key, columns=columns))
        homes[part] = [(len(shards) + task.number, position) for position in range(len(part))]
    known = tuple(layout.known[shard] for shard in shards) + ({},) * len(new)
    rows = tuple(layout.rows[shard] for shard in shards) + (-1,) * len(new)
    done = Layout(fingerprint(split, samples), size, known, rows, tuple(failed.values()), homes)
    return (replace(done, homes=None) if _in_ranges(done) else done), tasks


def _fails(sample: Sample, settings: BuildSettings) -> bool:
    """Whether an image is still unusable: a plugin may have been installed, or memory was short."""
    _, failed, _ = read_sources((sample,), settings)
    return bool(failed)


def _digests(samples: tuple[Sample, ...], jobs: int, advance: Callable[[int], None]) -> list[bytes]:
    """Return the digest of every source, computed in threads: reading and hashing release the GIL."""
    digests = [b""] * len(samples)

    def done(found: tuple[int, bytes]) -> None:
        place, digest = found
        digests[place] = digest
        advance(1)

    run_parallel(_digest_at, enumerate(samples), done, jobs, "threading")
    return digests


def _digest_at(place: int, sample: Sample) -> tuple[int, bytes]:
    return place, source_of(sample)


def _columns_to_add(home: Path, split: str, layout: Layout, shards: list[int], columns: tuple) -> list[Task]:
    tasks = []
    for number, shard in enumerate(shards):
        known = layout.known[shard]
        absent = [column for column in columns if column.name not in known or not is_whole(home, known[column.name])]
        if absent:
            tasks.append(Task(split, number, (), shard_key(known[IMAGES]["path"]), tuple(absent), known))
    return tasks


def _in_ranges(layout: Layout) -> bool:
    """Whether every shard holds a contiguous range of the listing, without its unusable images."""
    size = layout.shard_size
    ranges = [layout.homes[start : start + size] for start in range(0, len(layout.homes), size)]
    if len(ranges) != len(layout.rows):
        return False
    for shard, (homes, rows) in enumerate(zip(ranges, layout.rows, strict=True)):
        good = homes if rows < 0 else homes[homes[:, 0] >= 0]
        if rows not in (-1, len(good)) or good.tolist() != [[shard, row] for row in range(len(good))]:
            return False
    return True
