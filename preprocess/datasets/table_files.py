"""The image files of the rows of tables: by whole paths, or looked up by the ends of paths."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from preprocess.datasets.columns import FOLDERS
from preprocess.datasets.lookup import (
    Found,
    Lookup,
    alike,
    beside,
    end_of,
    folders_of,
    folders_with_all,
    in_other_form,
    in_the_root,
    look_up,
)
from preprocess.datasets.paths import better_root, is_address, is_inside, names_folder
from preprocess.datasets.table_rows import LINE, LONGEST, SHOWN, Rows
from preprocess.datasets.table_splits import split_of
from preprocess.errors import DatasetError, PreprocessError
from preprocess.text import listed, shown_name


def find_files(rows: Rows, root: Path, near: bool) -> tuple[list[str], list[str]]:
    """Return the paths of the files, relative to the root, and notes; all of them exist.

    ``near`` says whether errors may advise folders beside the root.
    """
    _refuse_rows(rows, "no path of an image", "write their paths, or delete these rows", lambda image: not image)
    _refuse_rows(
        rows,
        f"column {rows.tables[0].names[rows.tables[0].image]!r} holds addresses, not files,",
        "download the images, and list their files",
        is_address,
    )
    ways = [each.way for each in rows.tables]
    lookup, notes = _looked_up(rows, root, near)
    ways = [lookup if isinstance(way, Lookup) else way for way in ways]
    keys = [ways[number // LINE].key(image) for number, image in zip(rows.numbers, rows.images, strict=True)]
    missing = [place for place, key in enumerate(keys) if not _is_file(root, key)]
    if there := _in_other_form(root, [keys[place] for place in missing]):
        missing = [place for place in missing if keys[place] not in there]
        keys = [there.get(key, key) for key in keys]
        notes.append(
            f"{rows.name}: {len(there):,} images are found by names in another Unicode form, such as "
            f"{shown_name(next(iter(there.values())))}"
        )
    if missing:
        raise DatasetError(_advise(rows, root, keys, missing, near))
    seen: dict[str, int] = {}
    repeated = [place for place, key in enumerate(keys) if seen.setdefault(key, place) != place]
    if repeated:
        shown = [f"{shown_name(keys[place])} in {rows.where([seen[keys[place]], place])}" for place in repeated[:SHOWN]]
        more = f" and {len(repeated) - SHOWN:,} more" if len(repeated) > SHOWN else ""
        raise DatasetError(f"{rows.path} lists images twice: {', '.join(shown)}{more}; keep one row for each image")
    return keys, notes


def _in_other_form(root: Path, missing: Sequence[str]) -> dict[str, str]:
    """Find missing files whose names with accents are in NFC in the table and in NFD on the disk, or the reverse."""
    if all(map(str.isascii, missing)):
        return {}
    with suppress(OSError, PreprocessError):  # of a folder that cannot be walked
        return in_other_form(root, missing)
    return {}


def _is_file(root: Path, key: str) -> bool:
    return is_inside(key) and os.path.isfile(f"{root}/{key}")  # noqa: PTH113 - millions of them


def _refuse_rows(rows: Rows, what: str, remedy: str, is_odd: Callable[[str], bool]) -> None:
    if odd := [place for place, image in enumerate(rows.images) if is_odd(image)]:
        raise DatasetError(f"{rows.path}: {what} in {rows.where(odd)}; {remedy}")


def _looked_up(rows: Rows, root: Path, near: bool) -> tuple[Lookup, list[str]]:
    """Find images by the ends of their paths, where these are not whole: each is there once, or nothing is guessed."""
    rows = rows.taken(lambda place: isinstance(rows.columns(place).way, Lookup))
    if not rows.images:
        return Lookup(root, {}), []
    found = look_up(root, rows.images)
    direct = in_the_root(found)
    several = sum(map(len, found.values()))
    if direct is None:
        own = _own_splits(rows)
        found = _below_own(rows, found, own)
        _refuse_other_splits(rows, root, found, {*own} - {""})
        _refuse_choice(rows, root, found, beside(root, found) if near else [])
    found = direct or found
    if not all(found.values()):
        return Lookup(root, found), []
    counts = [f"{shown_name(folder) or 'the root'} ({count:,})" for folder, count in sorted(folders_of(found).items())]
    note = f"{rows.name}: images are looked up by name, in {listed(counts, SHOWN)}"
    if direct is None and several > len(found):
        note += "; other files of these names, outside of folders of their split, are not taken"
    return Lookup(root, found), [note, *_note_other_splits(rows, found)]


def _note_other_splits(rows: Rows, found: Found) -> list[str]:
    """Return a warning if images of a table that says no splits were found below folders of val or test."""
    splits = set().union(*(_splits_above(key, end) for end, keys in found.items() for key in keys))
    if rows.tables[0].splits or any(_own_splits(rows)) or splits <= {"train"}:
        return []
    return [
        f"warning: {rows.name} says no splits, but its images are in folders of {' and '.join(sorted(splits))}: if "
        "names start anew in each of them, these may be other images; write the whole paths into the table if they "
        "are right"
    ]


def _own_splits(rows: Rows) -> Sequence[str]:
    """The split of each row by the name of its table; empty if it says none."""
    if rows.tables[0].splits or "trainval" in rows.name.lower():
        return [""] * len(rows.images)
    return rows.splits if len(rows.tables) > 1 else [split_of(rows.tables[0].table.path.stem)] * len(rows.images)


def _below_own(rows: Rows, found: Found, own: Sequence[str]) -> Found:
    """Keep of several files of a name those below a folder of the split of its row, if there are such."""
    splits: dict[str, set[str]] = {}
    for image, split in zip(rows.images, own, strict=True):
        splits.setdefault(end_of(image), set()).add(split)
    return {
        end: [key for key in keys if splits.get(end, set()) == _splits_above(key, end)] or keys
        for end, keys in found.items()
    }


def _splits_above(key: str, end: str) -> set[str]:
    """The splits that the folders of a file mean, without those that its row names."""
    parts = key.split("/")
    return {split_of(part) for part in parts[: len(parts) - 1 - end.count("/")]} - {""}


def _refuse_other_splits(rows: Rows, root: Path, found: Found, own: set[str]) -> None:
    """Refuse files that are only below folders of other splits than those of the tables: ids may start anew there."""
    odd: dict[int, str] = {}
    for place, image in enumerate(rows.images if own else ()):
        keys = found.get(end := end_of(image), ())
        if keys and all((words := _splits_above(key, end)) and words.isdisjoint(own) for key in keys):
            odd[place] = keys[0]
    if odd:
        shown = [f"{rows.where([place])}: {shown_name(key)}" for place, key in list(odd.items())[:SHOWN]]
        raise DatasetError(
            f"{rows.path}: the name says {' and '.join(sorted(own))}, but {len(odd):,} of {len(rows.images):,} images "
            f"are only in folders of other splits under {root}, which may be other images of the same names:"
            f"{_one_below_another(shown, len(odd))}\nunpack the images of {' and '.join(sorted(own))}; if these are "
            "right, give their folder with --root, or write their whole paths into the table, and a column of splits"
        )


def _refuse_choice(rows: Rows, root: Path, found: Found, near: Sequence[Path]) -> None:
    """Refuse ends of paths that several files have, and images beside the folder of the table that fit as well."""
    twice = [place for place, image in enumerate(rows.images) if len(found.get(end_of(image), ())) > 1]
    if not twice and (not near or not all(found.values())):
        return
    if len(found) < len(rows.images):  # no root gives every row an image of its own
        near = []
    folders = [root / folder for folder in folders_with_all(found)] if len(found) == len(rows.images) else []
    if not twice:
        inside = listed([shown_name(root / folder) for folder in folders_of(found)], SHOWN)
        other = "" if folders else f", or say --root {shown_name(root)}"
        raise DatasetError(
            f"{rows.path}: its images may be those in {inside}, or those in "
            f"{listed(list(map(shown_name, near)), SHOWN)}; choose with {_roots(folders, near)}{other}"
        )
    shown = [
        f"{rows.where([place])}: {shown_name(listed(found[end_of(rows.images[place])], 2))}" for place in twice[:SHOWN]
    ]
    advice = (
        f"each of these folders has one image for every row: choose with {_roots(folders, near)}"
        if folders or near
        else "write the whole paths into the table, or move all but one of them out of the root"
    )
    raise DatasetError(
        f"{rows.path}: {len(twice):,} of {len(rows.images):,} images may be one of several files under {root}:"
        f"{_one_below_another(shown, len(twice))}\n{advice}"
    )


def _roots(*folders: Sequence[Path]) -> str:
    return listed([f"--root {shown_name(folder)}" for each in folders for folder in each], SHOWN)


def _advise(rows: Rows, root: Path, keys: Sequence[str], missing: Sequence[int], near: bool) -> str:
    shown = [f"{rows.where([place])}: {shown_name(keys[place][:LONGEST])}" for place in missing[:SHOWN]]
    outside = any(not is_inside(keys[place]) for place in missing)
    return (
        f"{rows.path}: {len(missing):,} of {len(keys):,} images {'are not' if outside else 'are missing'} under "
        f"{root}:{_one_below_another(shown, len(missing))}\n{_remedy(rows, root, keys, missing, near)}"
    )


def _one_below_another(shown: Sequence[str], count: int) -> str:
    """Lines of a message: the rows that are shown, and how many more of ``count`` there are."""
    more = [f"and {count - len(shown):,} more"] if count > len(shown) else []
    return "".join(f"\n  {line}" for line in (*shown, *more))


def _remedy(rows: Rows, root: Path, keys: Sequence[str], missing: Sequence[int], near: bool) -> str:
    if all(names_folder(root, rows.images[place]) for place in missing[:SHOWN]):
        return f"these are folders, {FOLDERS}"
    found: dict[str, list[str]] = {}
    with suppress(OSError, PreprocessError):  # of a folder that cannot be walked
        found = look_up(root, rows.images)
    folders = [root / folder for folder in folders_with_all(found)] if len(found) == len(set(rows.images)) else []
    if near and not folders:
        folders = beside(root, map(end_of, rows.images))
    if not folders and (other := better_root(root, rows.home, rows.images, keys)):
        folders = [other]
    if folders:
        return f"all of them are found with {_roots(folders)}" + ("; choose one" if len(folders) > 1 else "")
    if elsewhere := [key for place in missing for key in found.get(end_of(rows.images[place]), ())]:
        inside = sorted({shown_name(os.path.dirname(key)) or "the root" for key in elsewhere})  # noqa: PTH120
        return (
            f"files of these names are in {listed(inside, SHOWN)}: write these paths into the table, or move the files"
        )
    if like := _advise_alike(root, [keys[place] for place in missing]):
        return like
    if len(missing) == len(keys):
        return "give the folder that the paths start from with --root, or another column with --image"
    if list(missing) == [0] and rows.tables[0].table.unit == "line":
        return "add this file, or delete its row; if it is a header line, name its column of images with --image"
    outside = any(not is_inside(keys[place]) for place in missing)
    return "add these files, or delete their rows" + (" (or move them under the root)" if outside else "")


def _advise_alike(root: Path, missing: Sequence[str]) -> str:
    """Say which files have the paths of missing ones but for case and suffix; nothing if there are none."""
    found: dict[str, str] = {}
    with suppress(OSError, PreprocessError):  # of a folder that cannot be walked
        found = alike(root, missing)
    if not found:
        return ""
    first, there = next(iter(found.items()))
    rest = len(set(missing)) - len(found)
    others = f" (for {len(found):,} of them), and add the other files, or delete their rows" if rest else ""
    return (
        f"{shown_name(there)} is there, which differs from {shown_name(first)} by case or suffix only: correct the "
        f"table{others}"
    )
