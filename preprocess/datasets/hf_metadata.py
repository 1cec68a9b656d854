"""Image folders with tables of metadata beside the images, as the library ``datasets`` reads them."""

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preprocess.datasets.arrow import open_table, plain, told
from preprocess.datasets.base import SPLITS, Listing, Request, split_name
from preprocess.datasets.hf_columns import BOXES, PATHS, SHOWN
from preprocess.datasets.hf_rows import LONGEST, Entry, Rows
from preprocess.datasets.metadata import read_bytes
from preprocess.datasets.shards import LABELS, refuse_unknown_splits, split_in
from preprocess.datasets.split_column import is_to_divide, may_divide, word
from preprocess.datasets.tree import walk
from preprocess.errors import DatasetError
from preprocess.schema import SchemaError, parse_json
from preprocess.text import listed, shown_name

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_LARGEST = 1 << 30  # bytes of a table


def find_metadata(root: Path, request: Request) -> Listing | None:
    """List an image folder with tables of metadata; None if there are no tables.

    Raises
    ------
    DatasetError : a table cannot be read, or lacks columns; a row names no image.
    """
    tables = sorted(Path(level.path, name) for level in walk(root) for name in level.files if name in _METADATA)
    if not tables:
        return None
    found: list[Entry] = []
    notes: dict[str, None] = {}
    labelled, lacking = 0, ""
    boxes = BOXES[0]
    for table in tables:
        rows = _rows(table)
        names = dict.fromkeys(name for row in rows for name in row)
        image, label = _named_columns(table, names, request)
        boxes = next((name for name in BOXES if name in names), boxes)
        labelled += label is not None
        lacking = lacking or (_no_labels(table, names, request) if label is None else "")
        no_labels = f"no labels, of {os.path.relpath(table, root)}"
        notes[f"images: {image}; {no_labels if label is None else f'labels: {label}, of {table.name}'}"] = None
        divide_by = [name for name in names if name not in (image, label) and may_divide(name, request)]
        for number, row in enumerate(rows, start=1):
            text = row.get(image)
            if not isinstance(text, str) or not 0 < len(text) < LONGEST:
                raise DatasetError(f"{table}, row {number:,}: expected a path in {image!r}, got {str(text)[:60]!r}")
            value = None if label is None else row.get(label)
            if isinstance(value, bool) or not isinstance(value, int | str | None):
                raise DatasetError(f"{table}, row {number:,}: expected a label in {label!r}, got {str(value)[:60]!r}")
            path = Path(os.path.relpath(table.parent / text, root))  # a path of the table starts from its folder
            edges = (row.get("width"), row.get("height"))
            words = tuple((name, word(row.get(name))) for name in divide_by)
            said = None if value == "" else value
            found.append(Entry(path.as_posix(), said, row.get(boxes), edges, words=words, table=table, row=number))
    if not labelled:
        raise DatasetError(lacking)
    entries, words = _by_folders(found, request)
    notes |= dict.fromkeys(words)
    others = entries.pop("", [])
    if entries and is_to_divide(root, entries, request):
        others += entries.popitem()[1]
    undivided = not entries
    if others and not undivided and request.splits is None:
        raise DatasetError(
            f"{others[0].path} lies in no folder of a split, as {next(iter(entries.values()))[0].path} does; move it, "
            f"or leave it out with --splits {','.join(entries)}"
        )
    if not undivided:
        refuse_unknown_splits(root, entries, request)
    kept = {name: entries[name] for name in SPLITS if name in entries} or {"train": others}
    homes, said = dict.fromkeys(kept, (root,)), tuple(map(shown_name, notes))
    return Rows(root, homes, request, undivided, boxes, None, said, tuple(tables)).divided_listing(kept)


def _by_folders(rows: list[Entry], request: Request) -> tuple[dict[str, list[Entry]], list[str]]:
    """Rows by the split that a folder of theirs is called, and notes; "" stands for none."""
    found: dict[str, list[Entry]] = {}
    for each in rows:
        parts = map(split_name, (each.path or "").split("/")[:-1])
        found.setdefault(next((part for part in parts if part in SPLITS), ""), []).append(each)
    return _by_words(rows) if found.keys() == {""} and request.split is None else (found, [])


def _by_words(entries: list[Entry]) -> tuple[dict[str, list[Entry]], list[str]]:
    """Rows by the splits that words in folders say, such as ``trainset`` and ``testset``, and a note of them.

    Every row must have one: a class may be called train_station. A warning names those that have none.
    """
    found: dict[str, list[Entry]] = {}
    for each in entries:
        found.setdefault(split_in(Path(each.path or "").parent) or "", []).append(each)
    others = found.pop("", [])
    said = ", ".join(f"{split} has {mine[0].path}" for split, mine in found.items())
    if len(found) < 2 or "train" not in found:
        return {"": entries}, []
    if others:
        return {"": entries}, [
            f"warning: some folders are called as splits ({said}), but that of {others[0].path} is not; if they are, "
            "rename them to train, val and test"
        ]
    return found, [f"splits from words in the names of folders: {said}"]


def _rows(table: Path) -> list[dict[str, Any]]:
    """The rows of a table of metadata, by column."""
    if table.suffix == ".parquet":
        with told(table, DatasetError):
            names = open_table(table).schema.names
            batches = open_table(table, names).read(names)
            columns = [[plain(batch.column(name)) for name in names] for batch in batches]
            return [dict(zip(names, row, strict=True)) for batch in columns for row in zip(*batch, strict=True)]
    try:
        text = read_bytes(table, _LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DatasetError(f"{table} is not UTF-8 text") from None
    try:
        if table.suffix == ".csv":
            return list(csv.DictReader(io.StringIO(text, newline=""), restkey="", strict=True))
        rows = [parse_json(line) for line in text.split("\n") if line.strip()]
    except (csv.Error, SchemaError) as error:
        raise DatasetError(f"{table} cannot be read: {error}") from None
    if odd := [row for row in rows if not isinstance(row, dict)]:
        raise DatasetError(f"{table}: expected lines of columns by name, got {str(odd[0])[:60]!r}")
    return rows


def _named_columns(table: Path, names: Mapping[str, None], request: Request) -> tuple[str, str | None]:
    """The columns of paths and labels of a table of metadata; None if it has no labels, as that of a test split."""
    for option, wanted in (("--image", request.image), ("--split", request.split)):
        if wanted is not None and wanted not in names:
            raise DatasetError(f"{table}: {option} {wanted}: the columns are {_shown(names)}")
    image = request.image or next((name for name in PATHS if name in names), None)
    wanted = LABELS if request.label is None else (request.label,)
    label = next((name for name in wanted if name in names), None)
    if image is None:
        raise DatasetError(f"{table} has no column file_name; choose one with --image; it has {_shown(names)}")
    if request.split in (image, label) and request.split is not None:
        raise DatasetError(f"{table}: --split {request.split}: this column holds images or labels; name another")
    return image, label


def _no_labels(table: Path, names: Mapping[str, None], request: Request) -> str:
    if request.label is not None:
        return f"{table}: --label {request.label}: the columns are {_shown(names)}"
    return (
        f"{table} has no column of labels such as {', '.join(LABELS[:3])}; it has {_shown(names)}; choose one with "
        "--label, or, if the folders are the classes, use build folder"
    )


def _shown(names: Mapping[str, None]) -> str:
    return shown_name(listed([str(name)[:60] for name in names], SHOWN))
