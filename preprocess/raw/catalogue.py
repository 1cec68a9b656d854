"""Describe the known data sets, their defaults and whether their raw data is available locally."""

from collections.abc import Iterator
from pathlib import Path

from rich.filesize import decimal

from preprocess.datasets import DATASETS, EVERYTHING, Adapter, Archive
from preprocess.errors import DatasetError, MissingDataError
from preprocess.raw.selection import count_differences


def describe(name: str) -> str:
    """Describe a data set and what ``build`` stores of it by default, one fact per line."""
    return "\n".join(_lines(DATASETS[name]))


def _lines(adapter: Adapter) -> Iterator[str]:
    images = ", ".join(f"{split} {count:,}" for split, count in adapter.counts.items())
    yield adapter.summary + (f": {adapter.classes:,} classes; images: {images}" if images else "")
    side = adapter.size
    size, meaning = {
        "squash": (f"--size {side} ", f"{side}x{side} pixels"),
        "short": (f"--size {side} ", f"short side {side} pixels"),
        "none": ("", "images keep their sizes"),
    }[adapter.resize]
    banner = f", with the bottom {adapter.banner} rows cropped" if adapter.banner else ""
    yield (
        f"stored: {size}--resize {adapter.resize} ({meaning}{banner}), "
        f"--codec {adapter.codec}, --segments {adapter.segments}, --compactness {adapter.compactness:g}"
    )
    yield f"from: {adapter.source}"
    yield f"licence: {adapter.licence}"
    yield f"layout: {adapter.layout}"


def local_state(name: str, root: Path) -> str:
    """Say whether the complete raw data of a data set is under its root; files are listed but not read."""
    adapter = DATASETS[name]
    try:
        listing = adapter.find(root, EVERYTHING)
    except MissingDataError:
        return _absent(adapter, root)
    except DatasetError as error:
        return f"damaged: {error}"
    except OSError as error:
        return f"{error.filename or root} cannot be read: {error.strerror}"
    found = sum(map(len, listing.splits.values()))
    differences = "; ".join(count_differences(adapter, listing))
    if differences:
        return f"in {root}, but differs from the published set: {differences}"
    return f"in {root}: {found:,} images" + (", as published" if adapter.counts else "")


def _absent(adapter: Adapter, root: Path) -> str:
    if adapter.create is not None:
        return f"not in {root}; build generates it"
    if not adapter.archives:
        return f"not in {root}; pass its folder with build --root"
    return "; ".join([f"not in {root}", *_archive_states(adapter.archives, root)])


def _archive_states(archives: tuple[Archive, ...], root: Path) -> Iterator[str]:
    here = [archive for archive in archives if (root / archive.name).is_file()]
    begun = [archive for archive in archives if archive not in here and _part(archive, root).is_file()]
    lacking = [archive for archive in archives if archive not in here + begun]
    groups = {
        "present, build unpacks it": [archive.name for archive in here],
        "partly downloaded, build resumes": [
            f"{decimal(_part(archive, root).stat().st_size)} of {_sized(archive)}" for archive in begun
        ],
        "build downloads": [_sized(archive) for archive in lacking if archive.url is not None],
        "manual download required": [archive.name for archive in lacking if archive.url is None],
    }
    yield from (f"{what}: {', '.join(names)}" for what, names in groups.items() if names)


def _part(archive: Archive, root: Path) -> Path:
    return root / f"{archive.name}.part"


def _sized(archive: Archive) -> str:
    return archive.name + (f" ({decimal(archive.size)})" if archive.size else "")
