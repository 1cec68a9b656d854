"""Render the collected data as one HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.filesize import decimal

from preprocess.inspect.report.gather import ScaleReport, SplitReport, StoreReport
from preprocess.inspect.report.plots import balance_address, shapes_address, sheet_address, spread_address
from preprocess.inspect.tables import by_count
from preprocess.store import Store
from preprocess.store.format import FORMAT_VERSION
from preprocess.text import listed

_SHOWN = 200  # most rows in a table of failures
_FEW = 0.75  # share of the requested count, below which the page says so
_EXTREMES = 10  # classes shown at either end if there are many


@dataclass(frozen=True)
class Balance:
    """Distribution of images over classes."""

    ratio: float  # images of the largest class divided by those of the smallest non-empty class
    empty: list[str]  # names of the classes without images
    largest: list[tuple[str, int]]  # (name, images); all classes if there are few
    smallest: list[tuple[str, int]]
    plot: str  # a ``data:`` address


def render(report: StoreReport) -> bytes:
    """Render the page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "size": decimal,
        "thousands": lambda number: f"{number:,}",
        "moment": lambda seconds: f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}",
    }
    entries = {split.name: split.entry for split in report.splits}
    page = environment.get_template("report.html").render(
        report=report,
        store=report.store,
        facts=_facts(report.store),
        odd=[(each, sheet_address(each.sheet) if each.sheet else None) for each in report.odd],
        failed=[(split, failure) for split, entry in entries.items() for failure in entry["failed"]],
        excluded=[(split, key) for split, entry in entries.items() for key in entry.get("excluded", ())],
        left_out=report.store.document.get("left_out", {}),
        shown=_SHOWN,
        columns=[(name, _columns(entry)) for name, entry in entries.items()],
        splits=[(split, _plots(report.store, split)) for split in report.splits],
    )
    # A path may contain bytes that are not text.
    return page.encode("utf-8", "replace")


def _facts(store: Store) -> list[tuple[str, str]]:
    """Properties of the store: (name, value)."""
    images = store.document["images"]
    sizes = {"squash": f"{store.size} × {store.size} pixels", "short": f"short side {store.size} pixels, aspect kept"}
    quality = f", quality {images['quality']}" if "quality" in images else ""
    banner = [("banner", f"{images['banner']} rows cropped")] if images.get("banner") else []
    return [
        ("data set", store.dataset),
        ("file", store.path.name),
        ("kind", "packed store, one file" if store.packed else "index with shards"),
        ("format", f"version {FORMAT_VERSION}"),
        ("classes", f"{len(store.classes):,}"),
        ("images", f"{sizes.get(store.resize, 'original sizes')}, {images['codec']}{quality}"),
        *banner,
        ("decoded by", f"Pillow {images['pillow']}"),
    ]


def _columns(entry: dict) -> list[dict]:
    """Rows of the table of columns: images first, then maps by count."""
    rows = []
    for name, column in sorted(entry["columns"].items(), key=by_count):
        total = sum(file["bytes"] for file in column["files"])
        recipe = column.get("recipe", {})
        rows.append(
            {
                "name": name,
                "shards": len(column["files"]),
                "bytes": total,
                "each": total // max(1, sum(entry["rows"])),
                "by": f"scikit-image {recipe['scikit-image']}" if "scikit-image" in recipe else "",
            }
        )
    return rows


def _plots(store: Store, split: SplitReport) -> dict:
    """Plots and summaries of a split; None if there is no data."""
    read = split.per_class.sum() > 0
    found = [(f"{each.scale.segments} requested", each.found, each.scale.segments) for each in split.scales]
    pixels = [(f"{each.scale.segments} requested", each.pixels, _expected(store, each)) for each in split.scales]
    return {
        "balance": _balance(store, split) if read else None,
        "sheet": sheet_address(split.sheet) if split.sheet else None,
        "found": spread_address(found, "superpixels per image") if any(len(row[1]) for row in found) else None,
        "pixels": spread_address(pixels, "pixels per superpixel") if any(len(row[1]) for row in pixels) else None,
        "few": _medians(split.scales, few=True),
        "about": _medians(split.scales, few=False),
        "usual": _usual(split.scales),
        "shapes": shapes_address(split.shapes) if len(split.shapes) else None,
        "scales": [(each, _summary(each.found), _summary(each.pixels)) for each in split.scales],
        "sides": [(name, _summary(split.shapes[:, axis])) for axis, name in ((1, "width"), (0, "height"))],
    }


def _medians(scales: Sequence[ScaleReport], few: bool) -> str:
    """Median numbers of superpixels, of the scales with far fewer than requested, or of the others."""
    medians = {each.scale.segments: np.median(each.found) for each in scales if len(each.found)}
    chosen = {segments: found for segments, found in medians.items() if (found < _FEW * segments) == few}
    return listed([f"{found:.0f} of {segments}" for segments, found in chosen.items()], len(chosen))


def _usual(scales: Sequence[ScaleReport]) -> tuple[str, ...]:
    """Pixels of superpixels of all scales: the 10th and 90th percentile, and the most; empty if none was read."""
    pixels = np.concatenate([np.zeros(0), *(each.pixels for each in scales)])
    return tuple(f"{value:,.0f}" for value in np.percentile(pixels, (10, 90, 100))) if len(pixels) else ()


def _expected(store: Store, each: ScaleReport) -> float | None:
    """Pixels per superpixel if an image had exactly the requested number, all of one size."""
    return store.size**2 / each.scale.segments if store.uniform else None


def _summary(values: np.ndarray) -> dict[str, str] | None:
    if not len(values):
        return None
    return {
        "least": f"{values.min():,}",
        "median": f"{np.median(values):,.0f}",
        "mean": f"{values.mean():,.1f}",
        "most": f"{values.max():,}",
    }


def _balance(store: Store, split: SplitReport) -> Balance:
    counts, classes = split.per_class, store.classes
    order = np.argsort(-counts, kind="stable").tolist()
    pairs = [(classes[label], int(counts[label])) for label in order]
    few = len(pairs) <= 2 * _EXTREMES
    return Balance(
        ratio=float(counts.max() / counts[counts > 0].min()),
        empty=[name for name, count in pairs if count == 0],
        largest=pairs if few else pairs[:_EXTREMES],
        smallest=[] if few else pairs[-_EXTREMES:],
        plot=balance_address(counts, classes),
    )
