"""The tables that the commands print: of a store, a build, a forecast."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from rich.filesize import decimal
from rich.table import Table

from preprocess.build.forecast import Forecast
from preprocess.datasets import census
from preprocess.store import Store
from preprocess.superpixels import adjusted_rand_index
from preprocess.suspicious import describe as describe_suspicious

COMPARED = 32  # images per split on which neighbouring scales are compared


def describe(store: Store) -> Iterator[str]:
    """Lines that describe a store, its superpixels and the images that were left out."""
    sizes = {"squash": f"{store.size}x{store.size} pixels", "short": f"short side {store.size} pixels"}
    size, codec = sizes.get(store.resize, "original image sizes"), store.document["images"]["codec"]
    yield f"{store.path}: {store.dataset}, {len(store.classes)} classes, {size}, {codec}"
    for name, chosen in store.superpixel_sets.items():
        draws = ", ".join(f"{scale.segments} ({scale.weight:.3f})" for scale in chosen.scales)
        yield f"superpixels {name}: counts (draw weights) {draws}" + (
            "  [default]" if chosen == store.superpixels else ""
        )
    if left_out := store.document.get("left_out"):
        counts = {reason: (found["count"], found["example"]) for reason, found in left_out.items()}
        yield f"left out of the source: {census.describe(counts)}"
    for split, entry in store.document["splits"].items():
        if "divided" in entry:
            yield f"{split}: divided by --split {entry['divided']}"
        if entry["failed"]:
            names = ", ".join(failure["key"] for failure in entry["failed"])
            yield f"{split}: {len(entry['failed'])} images left out: {names}"
        if odd := entry.get("suspicious"):
            yield f"{split}: suspicious images: {describe_suspicious(odd)}"
        if excluded := entry.get("excluded"):
            yield f"{split}: {len(excluded)} images excluded by the user: {', '.join(excluded)}"
        if "limit_per_class" in entry:
            yield f"{split}: limited to {entry['limit_per_class']} images per class"


def columns(store: Store) -> Table:
    """Table with a row for each column of each split."""
    table = Table(
        "split", "column", "superpixels: least", "mean", "most", "agreement with next", "samples", "shards", "bytes",
        "content key",
    )  # fmt: skip
    for split, layout in store.splits.items():
        entry, agreements = store.document["splits"][split], _agreements(store, split)
        for name, column in sorted(entry["columns"].items(), key=by_count):
            regions = [""] * 4
            if "recipe" in column:
                mean = column["regions"] / max(1, len(layout))
                most = column["largest_id"] + 1
                regions = [str(column["least_regions"]), f"{mean:.1f}", str(most), agreements.get(name, "")]
            size = decimal(sum(file["bytes"] for file in column["files"]))
            shards = str(len(column["files"]))
            table.add_row(split, name, *regions, str(len(layout)), shards, size, column["content_key"])
    return table


def forecast(found: Forecast, jobs: int) -> Table:
    """Table of the time, disk space and memory that a build needs."""
    table = Table("what a build takes", "", show_header=False)
    table.add_row("images", f"{found.images}, {found.measured} measured, {found.failed} of them unusable")
    table.add_row(
        "time", f"about {_duration(found.seconds / jobs)} with {jobs} jobs, {_duration(found.seconds)} with one"
    )
    table.add_row("disk, --codec raw", decimal(int(found.raw_bytes + found.map_bytes)))
    table.add_row("disk, --codec jpeg", decimal(int(found.jpeg_bytes + found.map_bytes)))
    table.add_row("of which maps", decimal(int(found.map_bytes)))
    table.add_row("memory", f"at most {decimal(int(found.worker_bytes))} per job, plus the program itself")
    return table


def datasets(rows: Iterable[tuple[str, str, str]]) -> Table:
    """Table of data sets: name, description and local state."""
    table = Table("data set", "description and local state", show_lines=True)
    for name, text, state in rows:
        table.add_row(name, f"{text}\nhere: {state}")
    return table


def splits(store: Store) -> Table:
    """Table with a row for each split."""
    table = Table("split", "images", "unusable", "maps", "bytes")
    for split, layout in store.splits.items():
        entry = store.document["splits"][split]
        size = sum(file["bytes"] for column in entry["columns"].values() for file in column["files"])
        maps = ", ".join(sorted(name for name, column in entry["columns"].items() if "recipe" in column))
        table.add_row(split, str(len(layout)), str(len(entry["failed"])), maps, decimal(size))
    return table


def by_count(item: tuple[str, dict]) -> tuple:
    """Order columns of a split: images first, then maps by algorithm, compactness and count."""
    recipe = item[1].get("recipe", {})
    return recipe.get("algorithm", ""), recipe.get("compactness") or 0.0, recipe.get("segments", 0)


def _agreements(store: Store, split: str) -> dict[str, str]:
    """Column -> mean agreement of its maps with the next scale, over evenly spaced images."""
    number = len(store.splits[split])
    chosen = sorted({place * number // COMPARED for place in range(COMPARED)}) if number else []
    found = {}
    for each in store.superpixel_sets.values():
        if not chosen or not set(each.columns) <= store.splits[split].paths.keys():
            continue
        for mine, following in pairwise(each.columns):
            alike = [_agreement(store, split, mine, following, sample) for sample in chosen]
            found.setdefault(mine, f"{np.mean(alike):.2f}")
    return found


def _agreement(store: Store, split: str, mine: str, following: str, sample: int) -> float:
    return adjusted_rand_index(*(store.column_maps(split, column, [sample])[0] for column in (mine, following)))


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
