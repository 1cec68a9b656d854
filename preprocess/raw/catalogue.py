"""The data sets that are known, their defaults, and which of them are here."""

from collections.abc import Iterator
from pathlib import Path

from rich.filesize import decimal

from preprocess.datasets import DATASETS, Adapter, Archive
from preprocess.errors import DatasetError, MissingDataError
from preprocess.raw.selection import count_differences


def describe(name: str) -> str:
    """Say in lines what a data set is and what ``build`` makes of it by default."""
    return "\n".join(_lines(DATASETS[name]))


def _lines(adapter: Adapter) -> Iterator[str]:
    images = ", ".join(f"{split} {count:,}" for split, count in adapter.counts.items())
    yield adapter.summary + (f": {adapter.classes:,} classes; images: {images}" if images else "")
    sizes = {"squash": f"{adapter.size}x{adapter.size} pixels", "short": f"short side {adapter.size} pixels"}
    banner = f", after the lowest {adapter.banner} rows are cut off" if adapter.banner else ""
    yield (
        f"stored: --size {adapter.size} --resize {adapter.resize} ({sizes[adapter.resize]}{banner}), "
        f"--codec {adapter.codec}, --segments {adapter.segments}, --compactness {adapter.compactness:g}"
    )
    yield f"from: {adapter.source}"
    yield f"licence: {adapter.licence}"
    yield f"layout: {adapter.layout}"


def local_state(name: str, root: Path) -> str:
    """Say whether a data set lies under its root, and whole.

    Parameters
    ----------
    name : in ``DATASETS``.
    root : where it is looked for; every file of it is listed, none is read.
    """
    adapter = DATASETS[name]
    try:
        listing = adapter.find(root)
    except MissingDataError:
        return _absent(adapter, root)
    except DatasetError as error:
        return f"damaged: {error}"
    except OSError as error:
        return f"{error.filename or root} cannot be read: {error.strerror}"
    found = sum(map(len, listing.splits.values()))
    differences = "; ".join(count_differences(adapter, listing))
    if differences:
        return f"in {root}, but not as published: {differences}"
    return f"in {root}: {found:,} images" + (", as published" if adapter.counts else "")


def _absent(adapter: Adapter, root: Path) -> str:
    if adapter.create is not None:
        return f"not in {root}; build generates it"
    if not adapter.archives:
        return f"not in {root}; give its folder: build --root"
    return "; ".join([f"not in {root}", *_archive_states(adapter.archives, root)])


def _archive_states(archives: tuple[Archive, ...], root: Path) -> Iterator[str]:
    here = [archive for archive in archives if (root / archive.name).is_file()]
    begun = [archive for archive in archives if archive not in here and _part(archive, root).is_file()]
    lacking = [archive for archive in archives if archive not in here + begun]
    groups = {
        "there, build goes on from it": [archive.name for archive in here],
        "partly downloaded, build goes on": [
            f"{_sized(archive)}, {decimal(_part(archive, root).stat().st_size)} of it" for archive in begun
        ],
        "build downloads": [_sized(archive) for archive in lacking if archive.url is not None],
        "to be fetched by hand": [archive.name for archive in lacking if archive.url is None],
    }
    yield from (f"{what}: {', '.join(names)}" for what, names in groups.items() if names)


def _part(archive: Archive, root: Path) -> Path:
    return root / f"{archive.name}.part"


def _sized(archive: Archive) -> str:
    return archive.name + (f" ({decimal(archive.size)})" if archive.size else "")
