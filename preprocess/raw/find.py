"""Find, generate or download the raw data of a data set, and list it."""

import contextlib
import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unicodedata import normalize

from preprocess.datasets import EVERYTHING, Adapter, Listing, Request
from preprocess.datasets.census import count_left_out, count_unlisted, name_splits
from preprocess.errors import DatasetError, MissingDataError, SettingError, UnavailableError
from preprocess.raw.division import divide, parts_of

RAW = Path("data/raw")


@dataclass(frozen=True)
class Source:
    """Where images come from, and which of them are asked for.

    Parameters
    ----------
    name : of the data set, in the index of a store.
    adapter : lists it.
    root : its folder, or for some adapters a pattern of files.
    request : the splits to list, and the columns of a table.
    rule : how to divide the training split (:func:`preprocess.raw.division.parse_rule`); empty for not at all.
    """

    name: str
    adapter: Adapter
    root: Path
    request: Request = EVERYTHING
    rule: str = ""

    @property
    def needed(self) -> Request:
        """What to ask the adapter for: the splits that the rule makes are parts of ``train``."""
        made = set(parts_of(self.rule)[1:])
        if self.request.splits is None or not made:
            return self.request
        kept = (name for name in self.request.splits if name not in made)
        return replace(self.request, splits=tuple(dict.fromkeys(("train", *kept))))


def find_raw_data(source: Source, download: bool = False, max_unpacked: int | None = None) -> Listing:
    """List a data set, not yet divided; generate or download it if it is not under its root.

    Archives are downloaded only if ``download`` is set. Archives under the root are unpacked in any case, up to
    ``max_unpacked`` bytes each (:func:`preprocess.raw.unpack.unpack`). What is under the root and not in the listing is
    counted in ``left_out``, beside what the adapter left out of its files.

    Raises
    ------
    DatasetError : the data set is damaged, or missing and not obtainable; the message says what to do.
    """
    adapter, root = source.adapter, source.root
    if adapter.create is not None and not root.exists():
        adapter.create(root)
    try:
        with _uncollected():
            listing = _find(adapter, root, download, max_unpacked, source.needed)
    except UnavailableError as error:
        raise DatasetError(f"{error}\nexpected layout under {root}: {adapter.layout}") from None
    except MissingDataError as error:
        gap = "\n" if "\n" in str(error) else "; "
        raise MissingDataError(
            f"{source.name} was not found under {root}: {error}{gap}expected layout: {adapter.layout}"
        ) from None
    with _uncollected():
        left_out = listing.left_out | _left_out(adapter, root, listing)
    if source.request.splits is not None:
        left_out = name_splits(left_out, source.request.splits)
    total = sum(map(len, listing.splits.values())) + count_unlisted(left_out)
    classes = tuple(normalize("NFC", name) for name in listing.classes)
    return replace(listing, classes=classes, left_out=left_out, total=total)


def choose_splits(source: Source, listing: Listing) -> Listing:
    """Divide a listing by the rule of its source, and keep the splits that are asked for.

    Raises
    ------
    SettingError : as for :func:`preprocess.raw.division.divide`, or a split is not there.
    """
    divided = divide(listing, source.rule)
    splits = {split: samples for split, samples in divided.splits.items() if source.request.wants(split)}
    if lacking := [split for split in source.request.splits or () if split not in splits]:
        expected = " or ".join(divided.splits)
        raise SettingError("splits", f"expected {expected}, as in {source.root}, got {lacking[0]!r}")
    return replace(divided, splits=splits)


def _left_out(adapter: Adapter, root: Path, listing: Listing) -> dict[str, tuple[int, str]]:
    if not root.is_dir():
        return {}
    taken = {sample.path_text for samples in listing.splits.values() for sample in samples}
    taken |= {os.fspath(path) for path in listing.tables}
    taken |= {os.fspath(root / archive.name) for archive in adapter.archives}
    return count_left_out(root, taken, listing.undivided and listing.walked)


def _find(adapter: Adapter, root: Path, download: bool, max_unpacked: int | None, request: Request) -> Listing:
    archives = tuple(archive for archive in adapter.archives if archive.is_needed(request))
    if not archives:
        return adapter.find(root, request)
    from preprocess.raw.download import fetch, unfinished

    try:
        if not unfinished(archives, root):
            return adapter.find(root, request)
    except MissingDataError as lacking:
        try:
            fetch(archives, root, download, max_unpacked)
        except MissingDataError as error:
            raise MissingDataError(f"{lacking}\n{error}") from None
    else:
        fetch(archives, root, download, max_unpacked)
    return adapter.find(root, request)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's search for cycles: millions of samples have none, and it takes 40 % of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
