"""Check a listing against the official counts, and select the images to store."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from preprocess.datasets import Adapter, Listing, Sample
from preprocess.datasets.base import Box
from preprocess.datasets.classes import refuse_unlearnt
from preprocess.errors import DatasetError
from preprocess.inputs import check_relative, read_regular
from preprocess.raw.division import parts_of
from preprocess.store.schema import is_word
from preprocess.text import listed, shown_name

_SHOWN = 5
_LARGEST_LIST = 1 << 28  # bytes: the keys of millions of images
_LONGEST_SHOWN = 300  # characters of a key
_MOST_COMPARED = 20_000  # keys searched for a suggestion


def check_counts(name: str, adapter: Adapter, listing: Listing) -> None:
    """Compare a listing with the official counts.

    Raises
    ------
    DatasetError : they differ; the message lists the differences.
    """
    lines = list(count_differences(adapter, listing))
    if lines:
        again = any(archive.url for archive in adapter.archives)
        how = (
            " (remove its whole folder and run the same command again)"
            if again
            else f" (from {adapter.source})"
            if adapter.archives
            else ""
        )
        raise DatasetError(
            f"{name} differs from the published set:\n  "
            + "\n  ".join(lines)
            + f"\ncomplete it{how}, or use it as it is with --partial"
        )


def count_differences(adapter: Adapter, listing: Listing) -> Iterator[str]:
    """Yield a line for each difference from the official counts; nothing if there are no official counts."""
    if not adapter.counts:
        return
    for split, samples in listing.splits.items():
        # Not of a walk: a look at 1.28 million files takes seconds, and minutes over a network.
        if lost := [] if listing.walked else [sample.key for sample in samples if not sample.path.exists()]:
            yield f"{split}: {len(lost):,} files are missing, the first is {lost[0]}"
    found = {split: len(samples) for split, samples in listing.splits.items()}
    for split in adapter.counts | found:
        expected = adapter.counts.get(split, 0)
        if found.get(split, 0) != expected:
            yield f"{split}: expected {expected:,} images, found {found.get(split, 0):,}"
    if len(listing.classes) != adapter.classes:
        yield f"expected {adapter.classes} classes, found {len(listing.classes)}"


def check_names(listing: Listing) -> None:
    """Refuse names that no store may hold.

    Raises
    ------
    DatasetError : a class name is empty, not printable or there twice; a split has a name that is no word; a label is
        the number of no class; a key is there twice in a split, or is not a printable path inside the data set folder;
        a box is not one.
    """
    for name in listing.classes:
        if not name.strip() or shown_name(name) != name:
            raise DatasetError(f"the class name {name!r} is not printable UTF-8; rename the class or its folder")
    if repeated := [name for name, count in Counter(listing.classes).items() if count > 1]:
        raise DatasetError(f"the class names {listed(repeated, _SHOWN)} are listed twice; rename or merge the classes")
    most = len(listing.classes) - 1
    for split, samples in listing.splits.items():
        if not is_word(split):
            raise DatasetError(f"the name of the split {split!r} is no word; rename it, such as to val or test")
        seen: set[str] = set()
        for sample in samples:
            if not 0 <= sample.label <= most:
                raise DatasetError(
                    f"{split}: expected the number of a class, 0 to {most}, for {sample.key}, got {sample.label}"
                )
            if sample.key in seen:
                raise DatasetError(f"{split}: the image {sample.key} is listed twice")
            _check_key_and_boxes(split, sample)
            seen.add(sample.key)


def _check_key_and_boxes(split: str, sample: Sample) -> None:
    try:
        check_relative(sample.key)
    except ValueError as error:
        raise DatasetError(
            f"{split}: the key {sample.key[:_LONGEST_SHOWN]!r} is not a path inside the data set folder: "
            f"{error}; rename the file"
        ) from None
    if odd := next((box for box in sample.boxes if not _is_box(box)), None):
        raise DatasetError(
            f"{split}: expected boxes of four numbers x0, y0, x1, y1 in pixels, x0 <= x1 and y0 <= y1, for "
            f"{sample.key}, got {odd}"
        )


def _is_box(box: Box) -> bool:
    return len(box) == 4 and all(map(math.isfinite, box)) and box[0] <= box[2] and box[1] <= box[3]


def look_alikes(listing: Listing) -> Iterator[str]:
    """Yield warnings: classes, and keys of a split, that look the same to a reader."""
    if alike := _groups(listing.classes, _bare):
        shown = listed([" and ".join(map(repr, names)) for names in alike], _SHOWN)
        yield (
            "warning: classes that differ only by case, spaces, - or _, zeros before a number, or Unicode form: "
            f"{shown}; if they are one class, give it one name"
        )
    for split, samples in listing.splits.items():
        if alike := _groups((sample.key for sample in samples if not sample.key.isascii()), _composed):
            yield (
                f"warning: {split}: {len(alike):,} images have names that differ only by Unicode form, the first is "
                f"{alike[0][0]}; a Mac would take them for one file"
            )


def _groups(names: Iterable[str], form: Callable[[str], str]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(form(name), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _bare(name: str) -> str:
    """Return a name without case, what separates words, zeros before numbers, Unicode form, invisible characters."""
    seen = (letter for letter in unicodedata.normalize("NFKC", name) if unicodedata.category(letter) != "Cf")
    words = re.split(r"[\s_-]+", re.sub(r"(?<!\d)0+(?=\d)", "", "".join(seen).casefold()))
    return " ".join(filter(None, words))


def read_exclude_list(path: Path) -> tuple[str, ...]:
    """Read one key per line, or SPLIT, a tab and a key; skip empty lines and lines that start with ``#``."""
    return tuple(dict.fromkeys(line for line in _lines(path) if line and not line.startswith("#")))


def commented_keys(path: Path, listing: Listing) -> list[str]:
    """Lines of an exclude list that start with ``#``, and so exclude nothing, but are keys of images."""
    comments = {line: None for line in _lines(path) if line.startswith("#")}
    keys = {sample.key for samples in listing.splits.values() for sample in samples} if comments else set()
    return [line for line in comments if line in keys]


def _lines(path: Path) -> list[str]:
    data = read_regular(path, _LARGEST_LIST)
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DatasetError(f"{path} is not UTF-8 text; expected one key per line") from None
    return [line.strip() for line in lines]


def refuse_unknown_keys(listing: Listing, keys: Iterable[str]) -> None:
    """Raise a DatasetError for lines of an exclude list that name no image, or images of several splits."""
    lines = sorted(set(keys))
    splits: dict[str, list[str]] = {line.rpartition("\t")[2]: [] for line in lines}  # by key
    for split, samples in listing.splits.items():
        for key in splits.keys() & {sample.key for sample in samples} if splits else ():
            splits[key].append(split)
    unknown = []
    for line in lines:
        split, tab, key = line.rpartition("\t")
        found = splits[key]
        if not tab and len(found) > 1:
            raise DatasetError(
                f"the key {line[:_LONGEST_SHOWN]} is in {listed(found)}; in the exclude list write the split, a tab "
                "and the key"
            )
        if not found or (tab and split not in found):
            unknown.append(line)
    if unknown:
        unknown = [key[:_LONGEST_SHOWN] for key in unknown]
        known = [sample.key for samples in listing.splits.values() for sample in samples]
        near = get_close_matches(unknown[0], known[:_MOST_COMPARED], n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; keys look like {known[0]}" if known else ""
        raise DatasetError(f"no image has the key {listed(unknown, _SHOWN)}{hint}")


def select(listing: Listing, excluded: Iterable[str], limit: int | None) -> Listing:
    """Leave out images, and all but the first ``limit`` of each class and split; None keeps all.

    Parameters
    ----------
    excluded : lines of an exclude list.

    Raises
    ------
    DatasetError : no image of a split is left, or a class of another split has none in ``train`` any more.
    """
    chosen = _selected(listing, excluded, limit)
    _refuse_emptied(listing, chosen)
    return chosen


def emptied_classes(listing: Listing, chosen: Listing) -> list[str]:
    """Classes that had images before a selection, and have none in any split after it."""
    before, after = (
        {each.label for samples in which.splits.values() for each in samples} for which in (listing, chosen)
    )
    return [listing.classes[label] for label in sorted(before - after)]


def _refuse_emptied(listing: Listing, chosen: Listing) -> None:
    for split, samples in listing.splits.items():
        if samples and not chosen.splits[split]:
            others = ",".join(name for name, rest in chosen.splits.items() if rest)
            otherwise = f", or leave the split out: --splits {others}" if others and split != "train" else ""
            raise DatasetError(f"the exclude list leaves no image of {split}; take lines off it{otherwise}")
    left = {split: {each.label for each in samples} for split, samples in chosen.splits.items()}
    lost = {each.label for each in listing.splits.get("train", ())} - left.get("train", set())
    for split, labels in left.items():
        unknown = (listing.classes[label] for label in lost & labels)
        remedy = f"take lines of train off the exclude list, exclude their images of {split} as well"
        refuse_unlearnt(unknown, f"without the excluded images, the split {split}", "train", remedy)


def _selected(listing: Listing, excluded: Iterable[str], limit: int | None) -> Listing:
    lines = set(excluded)
    splits, left_out = {}, {}
    for split, samples in listing.splits.items():
        here = {line.removeprefix(f"{split}\t") for line in lines}
        splits[split] = tuple(_first_of_each_class((each for each in samples if each.key not in here), limit))
        if gone := tuple(sorted(here.intersection(sample.key for sample in samples))):
            left_out[split] = gone
    return replace(listing, splits=splits, excluded=left_out, limit=limit)


def _first_of_each_class(samples: Iterable[Sample], limit: int | None) -> Iterator[Sample]:
    taken: Counter[int] = Counter()
    for sample in samples:
        taken[sample.label] += 1
        if limit is None or taken[sample.label] <= limit:
            yield sample


def describe_selection(left_out: dict) -> str:
    """Describe the result of :func:`left_out_of`, or an index entry, in words."""
    excluded, limit = len(left_out.get("excluded", ())), left_out.get("limit_per_class")
    parts = [f"divided by --split {left_out['divided']}"] if "divided" in left_out else []
    parts += [f"without {excluded} excluded images"] if excluded else []
    parts += [f"at most {limit} per class"] if limit else []
    return ", ".join(parts) or "all images"


def same_selection(left_out: dict, entry: dict) -> bool:
    """Whether an index entry left out the same images."""
    return all(left_out.get(name) == entry.get(name) for name in ("excluded", "limit_per_class", "divided"))


def left_out_of(listing: Listing, split: str) -> dict:
    """Return the index fields that say how the images of a split were chosen; empty if all were taken."""
    excluded = {"excluded": list(listing.excluded[split])} if split in listing.excluded else {}
    divided = {"divided": listing.rule} if split in parts_of(listing.rule) else {}
    return excluded | ({} if listing.limit is None else {"limit_per_class": listing.limit}) | divided


def select_as_stored(listing: Listing, entries: dict[str, dict]) -> Listing:
    """Leave out the same images as a store, by its index entries. Drops other splits; missing ones become empty."""
    splits = {}
    for split, entry in entries.items():
        mine = Listing(listing.classes, {split: listing.splits.get(split, ())})
        splits |= _selected(mine, entry.get("excluded", ()), entry.get("limit_per_class")).splits
    return Listing(listing.classes, splits)
