"""Hugging Face data sets on this disk: what ``save_to_disk`` writes, Parquet files, image folders with metadata.

The files are read with pyarrow where they are: the library ``datasets`` would copy Parquet files into its cache. No
code of a data set is run, and nothing is downloaded.
"""

import csv
import io
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from preprocess.datasets.arrow import ArrowTable, ParquetTable, Row, child, import_pyarrow, open_table, told
from preprocess.datasets.base import EVERYTHING, SPLITS, Adapter, Box, Listing, Request, Sample, locate, split_name
from preprocess.datasets.boxes import read_layout
from preprocess.datasets.folder import find_folder
from preprocess.datasets.metadata import read_bytes
from preprocess.datasets.shards import (
    LABELS,
    Label,
    by_split,
    number_labels,
    refuse_unknown_splits,
    split_in,
    unique,
)
from preprocess.datasets.split_column import Words, compare, divide, may_divide, word
from preprocess.datasets.tree import walk
from preprocess.errors import DatasetError, MissingDataError
from preprocess.inputs import check_relative, confined
from preprocess.schema import SchemaError, parse_json
from preprocess.text import listed, shown_name

_IMAGES = ("image", "img", "images", "picture", "photo", "jpg", "png", "pixel_values")
_PATHS = ("file_name", "image", "image_path", "img_path", "path", "filepath", "file", "filename", "img")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_DATA = (".parquet", ".arrow")
_NOWHERE = (None, None)
_LARGEST = 1 << 30  # bytes of a metadata file
_LONGEST = 4096  # characters of a path
_SHOWN = 8
_EMBED = "save the data set with save_to_disk, which stores the images, and build from that folder"


class _Entry(NamedTuple):
    """A row of a table."""

    path: str | None  # of the image, as the table says
    label: Label
    boxes: Any = None
    edges: tuple[Any, Any] = (None, None)  # width and height, if the table says so
    held: Row | None = None  # the image, if the table holds it
    words: Words = ()  # what columns of splits say


@dataclass(frozen=True)
class _Columns:
    """What is read of the tables of a data set: columns, and what these hold."""

    image: str
    leaf: str  # what holds the bytes of the images; empty if there are only paths
    texts: str  # what holds the paths of the images; empty if there are none
    label: str
    names: tuple[str, ...] | None  # of classes
    boxes: str = ""
    edges: tuple[str, ...] = ()  # columns of width and height
    splits: tuple[tuple[str, tuple[str, ...] | None], ...] = ()  # columns that may divide, and names of their numbers
    note: tuple[str, ...] = field(compare=False, default=())


@dataclass(frozen=True)
class _Split:
    """The files of a split, the folders that paths in them start from, and its features if a file beside says them."""

    files: list[Path]
    homes: tuple[Path, ...]
    features: Mapping[str, Any] = field(default_factory=dict)


def find_hf(root: Path, request: Request = EVERYTHING) -> Listing:
    """List a Hugging Face data set on this disk.

    ``root`` is what ``save_to_disk`` wrote for a ``DatasetDict`` or a ``Dataset`` (or a folder up to two levels above),
    a folder with Parquet or Arrow files such as ``data/train-00000-of-00002.parquet``, one with ``metadata.csv``,
    ``.jsonl`` or ``.parquet``, or a folder of images by class. Samples keep the order of the rows. Keys are the paths
    in the tables if these have folders, else split, class and file name, as in a folder of images by class; where a
    table names no file, split, class and row.

    Parameters
    ----------
    root : the folder.
    request : ``image``, ``label`` and ``split`` are names of columns.

    Raises
    ------
    MissingDataError : there is no such data set.
    DatasetError : a file is damaged, no column of images or labels can be told, or labels have no class.

    Notes
    -----
    Where no file names a split, a column such as ``split`` whose values all are words for train, val and test divides
    the rows.
    """
    if not root.is_dir():
        raise MissingDataError(f"there is no folder {root}")
    for read in (_saved_dict, _saved, _metadata, _data_files):
        if found := read(root, request):
            return found
    if request.split is not None:
        raise DatasetError(f"{root} has no tables, and so no column {shown_name(request.split)!r} for --split")
    listing = find_folder(root, request)
    return replace(listing, notes=("no tables: read as a folder of images by class", *listing.notes))


def _saved_dict(root: Path, request: Request) -> Listing | None:
    """List a saved ``DatasetDict``."""
    table = _located(root, "dataset_dict.json")
    if table is None:
        return None
    names = _json(table).get("splits")
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise DatasetError(f"{table}: expected names of splits, got {str(names)[:60]!r}; save the data set again")
    splits = {}
    for name in names:
        if split_name(name) in splits:
            raise DatasetError(f"{table}: two splits are both {split_name(name)}; save the data set with other names")
        splits[split_name(name)] = _folder_of(table, name)
    if _is_to_divide(root, splits, request):
        return _list(root, {"train": _saved_split(next(iter(splits.values())))}, request, True, [table])
    known = {name: splits[name] for name in SPLITS if name in splits}
    if request.splits is None and (others := [name for name in splits if name not in known]):
        wanted = ",".join(known) or others[0]
        raise DatasetError(
            f"{table}: the split {shown_name(others[0])!r} is no word for train, val or test; say which to take, such "
            f"as --splits {wanted}"
        )
    refuse_unknown_splits(table.parent, splits, request)
    needed = {name: folder for name, folder in splits.items() if request.wants(name) or name == "train"}
    read = {name: _saved_split(folder) for name, folder in needed.items()}
    return _list(root, read, request, tables=[table])


def _is_to_divide(root: Path, splits: Collection[str], request: Request) -> bool:
    """Whether a column that is asked for is to divide the only split that files name."""
    if request.split is not None and len(splits) > 1:
        raise DatasetError(
            f"{root} is divided by the names of its files already, into {', '.join(map(shown_name, splits))}; "
            f"leave out --split {shown_name(request.split)}"
        )
    return request.split is not None


def _folder_of(table: Path, name: str) -> Path:
    try:
        return confined(table.parent, name)
    except ValueError as error:
        raise DatasetError(f"{table}: {error}") from None


def _saved(root: Path, request: Request) -> Listing | None:
    """List a saved ``Dataset``."""
    table = _located(root, "state.json")
    if table is None:
        return None
    name = _json(table).get("_split")
    split = split_name(name) if isinstance(name, str) else ""
    if split in SPLITS and request.split is None:
        refuse_unknown_splits(table.parent, {split: table}, request)
        return _list(root, {split: _saved_split(table.parent)}, request)
    return _list(root, {"train": _saved_split(table.parent)}, request, undivided=True)


def _saved_split(folder: Path) -> _Split:
    state = folder / "state.json"
    document = _json(state)
    if document.get("_indices_data_files"):
        raise DatasetError(f"{state}: the rows are chosen by indices; save the data set again after flatten_indices()")
    files = document.get("_data_files")
    names = [each.get("filename") for each in files if isinstance(each, dict)] if isinstance(files, list) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise DatasetError(f"{state}: expected names of data files, got {str(files)[:60]!r}; save the data set again")
    info = folder / "dataset_info.json"
    features = _json(info).get("features") if info.exists() else None
    paths = [_folder_of(state, name) for name in names]
    return _Split(paths, (folder,), features if isinstance(features, dict) else {})


def _data_files(root: Path, request: Request) -> Listing | None:
    """List Parquet and Arrow files."""
    files = sorted(Path(level.path, name) for level in walk(root) for name in level.files if name.endswith(_DATA))
    if not files:
        return None
    named = dict.fromkeys(split_in(path.relative_to(root)) or "no split" for path in files)
    splits, undivided = (
        ({"train": files}, True) if _is_to_divide(root, named, request) else by_split(root, files, request)
    )
    for split, mine in splits.items():
        if len(folders := sorted({path.parent for path in mine})) > 1 and (undivided or request.wants(split)):
            raise DatasetError(
                f"{folders[0]} and {folders[1]} both hold files of {split}; if they are two data sets, choose one with "
                "--root, else move the files into one folder"
            )
    needed = {name: mine for name, mine in splits.items() if undivided or request.wants(name) or name == "train"}
    read = {name: _Split(mine, (mine[0].parent, root)) for name, mine in needed.items()}
    return _list(root, read, request, undivided=undivided)


def _list(
    root: Path, splits: dict[str, _Split], request: Request, undivided: bool = False, tables: Sequence[Path] = ()
) -> Listing:
    """List the splits of tables."""
    columns: _Columns | None = None
    first = Path()
    entries: dict[str, list[_Entry]] = {}
    for split, mine in splits.items():
        entries[split] = []
        for path in mine.files:
            with told(path, DatasetError):
                found = _columns(open_table(path), path, mine.features, request)
                if columns is None:
                    columns, first = found, path
                elif columns != found:
                    raise DatasetError(f"{path} has other columns or classes than {first}; build from one data set")
                entries[split] += _entries(path, found)
    inputs = [*tables, *(path for mine in splits.values() for path in mine.files)]
    inputs += [path.parent / name for path in inputs for name in ("state.json", "dataset_info.json")]
    used = tuple(path for path in dict.fromkeys(inputs) if path.exists())
    homes = {split: (*mine.homes, root) for split, mine in splits.items()}
    rows = _Rows(root, homes, request, undivided, columns.boxes)
    return rows.divided_listing(entries, columns.names, columns.note, used)


def _columns(table: ArrowTable | ParquetTable, path: Path, features: Mapping[str, Any], request: Request) -> _Columns:
    """Choose the columns of images and labels."""
    names = table.schema.names
    if len(set(names)) < len(names):
        raise DatasetError(f"{path} has two columns of one name: {shown_name(listed(names, _SHOWN))}; rename one")
    features = _features(table, path) or features
    kinds = {name: _kind(table.schema.field(name).type) for name in names}
    image, others = _choose_image(path, table, kinds, features, request.image)
    label, more = _choose_label(path, table, image, features, request.label)
    classes = _names(path, features.get(label), label)
    boxes = next((name for name in ("objects", "bbox", "bboxes", "boxes") if name in names), "")
    edges = ("width", "height") if {"width", "height"} <= set(names) else ()
    also = f"; {', '.join(more)} may be meant (--label)" if more else ""
    divide_by = _choose_splits(path, table, (image, label), features, request)
    said = [f"images: column {image}; labels: column {label}{also}"]
    said += [f"not stored: the images of {', '.join(others)}; the store has no place for masks"] if others else []
    leaf, texts = (f"{image}{inner}" if inner is not None else "" for inner in kinds[image])
    return _Columns(image, leaf, texts, label, classes, boxes, edges, divide_by, tuple(map(shown_name, said)))


def _features(table: ArrowTable | ParquetTable, path: Path) -> dict[str, Any]:
    """What the library says of columns, in the file itself."""
    text = (table.schema.metadata or {}).get(b"huggingface")
    try:
        document = parse_json(text) if text else {}
    except SchemaError as error:
        raise DatasetError(f"{path}: its features: {error}; fetch or write it again") from None
    for name in ("info", "features"):
        document = document.get(name) if isinstance(document, dict) else {}
    return document if isinstance(document, dict) else {}


def _names(path: Path, feature: Any, label: str) -> tuple[str, ...] | None:
    """Names of classes, of a feature ``ClassLabel``."""
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel" or feature.get("names") is None:
        return None
    names = feature["names"]
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise DatasetError(f"{path}: expected names of the classes of {label!r}, got {str(names)[:60]!r}")
    return tuple(names)


def _kind(type_: Any) -> tuple[str | None, str | None]:
    """Where in a column there are bytes and paths of images: in a field, in the column itself (empty), or nowhere."""
    types = import_pyarrow().types
    if types.is_struct(type_):
        inner = {type_.field(number).name: type_.field(number).type for number in range(type_.num_fields)}
        found = {name: _kind(inner[name]) for name in ("bytes", "path") if name in inner}
        return (
            ".bytes" if found.get("bytes", _NOWHERE)[0] == "" else None,
            ".path" if found.get("path", _NOWHERE)[1] == "" else None,
        )
    if types.is_binary(type_) or types.is_large_binary(type_) or types.is_binary_view(type_):
        return "", None
    return (None, "") if _is_text(type_) else _NOWHERE


def _is_text(type_: Any) -> bool:
    types = import_pyarrow().types
    if types.is_dictionary(type_):
        return _is_text(type_.value_type)
    return types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_)


def _is_label(type_: Any) -> bool:
    types = import_pyarrow().types
    return _is_text(type_) or types.is_integer(type_) or types.is_floating(type_) or types.is_boolean(type_)


def _choose_image(
    path: Path,
    table: ArrowTable | ParquetTable,
    kinds: Mapping[str, tuple],
    features: Mapping[str, Any],
    wanted: str | None,
) -> tuple[str, list[str]]:
    """The column of images, and others that hold images too."""
    able = [name for name, kind in kinds.items() if kind != _NOWHERE]
    meant = [name for name in able if _type_of(features.get(name)) == "Image"]
    held = [name for name in able if kinds[name][0] is not None]
    named = [name for name in _PATHS if name in able][:1]
    found = meant or held or named
    if wanted is not None:
        if wanted not in able:
            raise DatasetError(
                f"{path}: --image {wanted}: {_no_column(table, 'bytes, a struct of bytes and path, or paths')}"
            )
        return wanted, [name for name in meant or held if name != wanted]
    first = next((name for name in _IMAGES if name in found), found[0] if len(found) == 1 else "")
    if not first:
        several = f"several columns of images: {', '.join(found)}; choose one with --image" if found else ""
        sought = "bytes, a struct of bytes and path, or paths; choose a column with --image"
        raise DatasetError(f"{path} has " + shown_name(several or f"no column of images: {_no_column(table, sought)}"))
    return first, [name for name in found if name != first]


def _choose_label(
    path: Path, table: ArrowTable | ParquetTable, image: str, features: Mapping[str, Any], wanted: str | None
) -> tuple[str, list[str]]:
    """The column of labels, and others that may be meant."""
    fit = [name for name in table.schema.names if name != image and _is_label(table.schema.field(name).type)]
    if wanted is not None:
        if wanted not in fit:
            raise DatasetError(f"{path}: --label {wanted}: {_no_column(table, 'numbers or names')}")
        return wanted, []
    meant = [name for name in fit if _type_of(features.get(name)) == "ClassLabel"]
    found = meant or [name for name in LABELS if name in fit]
    first = next((name for name in LABELS if name in found), found[0] if len(found) == 1 else "")
    if not first:
        several = f"several columns of labels: {', '.join(found)}; choose one with --label" if found else ""
        sought = f"{', '.join(LABELS[:3])} or the like with numbers or names; choose a column with --label"
        raise DatasetError(f"{path} has " + shown_name(several or f"no column of labels: {_no_column(table, sought)}"))
    return first, [name for name in found if name != first]


def _choose_splits(
    path: Path, table: ArrowTable | ParquetTable, taken: tuple[str, str], features: Mapping[str, Any], request: Request
) -> tuple[tuple[str, tuple[str, ...] | None], ...]:
    """Columns that may say the splits, and names of their numbers."""
    fit = [name for name in table.schema.names if name not in taken and _is_label(table.schema.field(name).type)]
    found = [name for name in fit if may_divide(name, request)]
    if request.split is not None and not found:
        sought = "words for train, val and test, in another column than images and labels"
        raise DatasetError(f"{path}: --split {shown_name(request.split)}: {_no_column(table, sought)}")
    return tuple((name, _names(path, features.get(name), name)) for name in found)


def _type_of(feature: Any) -> Any:
    return feature.get("_type") if isinstance(feature, dict) else None


def _no_column(table: ArrowTable | ParquetTable, sought: str) -> str:
    have = [f"{each.name} ({str(each.type)[:60]})" for each in table.schema]
    return f"expected {sought}; it has {shown_name(listed(have, _SHOWN))}"


def _entries(path: Path, columns: _Columns) -> Iterator[_Entry]:
    """Read the rows of a table, without its images."""
    table = open_table(path, [each for each in (columns.label, columns.texts, *dict(columns.splits)) if each])
    sizes = table.sizes(columns.leaf) if columns.leaf else [-1] * table.rows
    boxes = table.leaves(columns.boxes)
    boxes = [leaf for leaf in boxes if ".bbox" in leaf] or boxes
    texts = [columns.texts if isinstance(table, ParquetTable) else columns.image] if columns.texts else []
    wanted = [*texts, columns.label, *boxes, *columns.edges, *dict(columns.splits)]
    shared: dict[Words, Words] = {}
    number = 0
    for batch in table.read(wanted):
        part = {name: batch.column(name) for name in batch.schema.names}
        labels = _labels(path, columns.label, part[columns.label])
        paths = _texts(part[columns.image]) if columns.texts else [None] * len(labels)
        found = part[columns.boxes].to_pylist() if boxes else [None] * len(labels)
        edges = [part[name].to_pylist() if name in part else [None] * len(labels) for name in ("width", "height")]
        cells = [[(name, word(each, names)) for each in _plain(part[name])] for name, names in columns.splits]
        said = [shared.setdefault(words, words) for words in zip(*cells, strict=True)] or [()] * len(labels)
        for text, label, mine, words, *size in zip(paths, labels, found, said, *edges, strict=True):
            if text is not None and len(text) > _LONGEST:
                raise DatasetError(f"{path}: row {number:,} names a path of {len(text):,} characters")
            held = None
            if sizes[number] >= 0 or not text:
                held = Row("", 0, path, column=columns.leaf, row=number, length=max(sizes[number], 0))
            yield _Entry(text, label, mine, (size[0], size[1]), held, words)
            number += 1


def _texts(array: Any) -> list[str | None]:
    """Paths of a column of them, or of structs."""
    return _plain(child(array, "path") if array.type.num_fields else array)


def _plain(array: Any) -> list[Any]:
    """Values of an array; each text of a dictionary is there once."""
    if import_pyarrow().types.is_dictionary(array.type):
        values = array.dictionary.to_pylist()
        return [None if place is None else values[place] for place in array.indices.to_pylist()]
    return array.to_pylist()


def _labels(path: Path, column: str, array: Any) -> list[Label]:
    values = _plain(array)
    if import_pyarrow().types.is_floating(array.type):  # as pandas writes integers if some are missing
        values = [None if value is None or value != value else value for value in values]
        if odd := [value for value in values if value is not None and not value.is_integer()]:
            raise DatasetError(f"{path}: expected labels in {column!r}, got {odd[0]}; choose a column with --label")
        return [None if value is None else int(value) for value in values]
    return [int(value) if isinstance(value, bool) else value for value in values]


def _metadata(root: Path, request: Request) -> Listing | None:
    """List an image folder with tables of metadata."""
    tables = sorted(Path(level.path, name) for level in walk(root) for name in level.files if name in _METADATA)
    if not tables:
        return None
    entries: dict[str, list[_Entry]] = {}
    notes: dict[str, None] = {}
    for table in tables:
        rows = _rows(table)
        names = dict.fromkeys(name for row in rows for name in row)
        image, label = _named_columns(table, names, request)
        notes[f"images: {image}; labels: {label}, of {table.name}"] = None
        divide_by = [name for name in names if name not in (image, label) and may_divide(name, request)]
        for number, row in enumerate(rows, start=1):
            text = row.get(image)
            if not isinstance(text, str) or not 0 < len(text) < _LONGEST:
                raise DatasetError(f"{table}, row {number:,}: expected a path in {image!r}, got {str(text)[:60]!r}")
            value = row.get(label)
            if isinstance(value, bool) or not isinstance(value, int | str | None):
                raise DatasetError(f"{table}, row {number:,}: expected a label in {label!r}, got {str(value)[:60]!r}")
            path = Path(os.path.relpath(table.parent / text, root))  # a path of the table starts from its folder
            split = next((split_name(part) for part in path.parts[:-1] if split_name(part) in SPLITS), "")
            edges = (row.get("width"), row.get("height"))
            words = tuple((name, word(row.get(name))) for name in divide_by)
            mine = _Entry(path.as_posix(), None if value == "" else value, row.get("objects"), edges, words=words)
            entries.setdefault(split, []).append(mine)
    others = entries.pop("", [])
    if entries and _is_to_divide(root, entries, request):
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
    rows = _Rows(root, dict.fromkeys(kept, (root,)), request, undivided, "objects")
    return rows.divided_listing(kept, None, tuple(map(shown_name, notes)), tuple(tables))


def _rows(table: Path) -> list[dict[str, Any]]:
    """The rows of a table of metadata, by column."""
    if table.suffix == ".parquet":
        with told(table, DatasetError):
            names = open_table(table).schema.names
            batches = open_table(table, names).read(names)
            columns = [[_plain(batch.column(name)) for name in names] for batch in batches]
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


def _named_columns(table: Path, names: Mapping[str, None], request: Request) -> tuple[str, str]:
    """The columns of paths and labels of a table of metadata."""
    have = shown_name(listed([str(name)[:60] for name in names], _SHOWN))
    for option, wanted in (("--image", request.image), ("--label", request.label), ("--split", request.split)):
        if wanted is not None and wanted not in names:
            raise DatasetError(f"{table}: {option} {wanted}: the columns are {have}")
    image = request.image or next((name for name in _PATHS if name in names), None)
    label = request.label or next((name for name in LABELS if name in names), None)
    if image is None:
        raise DatasetError(f"{table} has no column file_name; choose one with --image; it has {have}")
    if request.split in (image, label) and request.split is not None:
        raise DatasetError(f"{table}: --split {request.split}: this column holds images or labels; name another")
    if label is None:
        raise DatasetError(
            f"{table} has no column of labels such as {', '.join(LABELS[:3])}; it has {have}; choose one with --label, "
            "or, if the folders are the classes, use build folder"
        )
    return image, label


@dataclass(frozen=True)
class _Rows:
    """Turn the rows of tables into samples."""

    root: Path
    homes: dict[str, tuple[Path, ...]]  # folders that paths start from, by split
    request: Request
    undivided: bool
    boxes: str  # column

    def divided_listing(
        self,
        entries: dict[str, list[_Entry]],
        names: Sequence[str] | None,
        notes: tuple[str, ...],
        tables: tuple[Path, ...],
    ) -> Listing:
        """List the rows, which a column divides where no file names a split."""
        if not self.undivided:
            said = (compare(split, {each.words for each in mine}, len(entries) == 1) for split, mine in entries.items())
            return self.listing(entries, names, (*notes, *(note for each in said for note in each)), tables)
        division = divide(self.root, {each.words for each in entries["train"]}, self.request)
        notes = (*notes, *division.notes)
        if not division.split_of:
            return self.listing(entries, names, notes, tables)
        found: dict[str, list[_Entry]] = {split: [] for split in SPLITS if split in division.split_of.values()}
        for each in entries["train"]:
            found.setdefault(division.split_of[each.words], []).append(each)
        homes = dict.fromkeys(found, self.homes["train"])
        return replace(self, homes=homes, undivided=False).listing(found, names, notes, tables)

    def listing(
        self,
        entries: dict[str, list[_Entry]],
        names: Sequence[str] | None,
        notes: tuple[str, ...],
        tables: tuple[Path, ...],
    ) -> Listing:
        """List the rows of every split."""
        if empty := [split for split, mine in entries.items() if not mine]:
            raise DatasetError(f"{self.root}: the tables of {empty[0]} have no rows")
        values = {split: [each.label for each in mine] for split, mine in entries.items()}
        wanted = replace(self.request, splits=None) if self.undivided else self.request
        numbered = number_labels(values, names, wanted)
        shown = ((each.boxes, each.edges) for split in numbered.labels for each in entries[split])
        layout = read_layout(shown, self.boxes)
        said = [layout.note] if layout.note else []
        splits = {}
        for split, labels in numbered.labels.items():
            folders = [self._folder(split, number, name) for number, name in enumerate(numbered.classes)]
            samples = [
                self._sample(split, each, label, folders[label], number, layout.of(each.boxes))
                for number, (each, label) in enumerate(zip(entries[split], labels, strict=True))
                if label is not None
            ]
            keys, changed = unique(sample.key for sample in samples)
            pairs = zip(samples, keys, strict=True)
            splits[split] = tuple(each if each.key == key else replace(each, key=key) for each, key in pairs)
            if changed:
                said.append(
                    f"{split}: {changed:,} images have the name of another; -2, -3, ... was added to their keys"
                )
        self._refuse_missing(splits)
        notes = (*notes, *said, *numbered.notes)
        return Listing(
            numbered.classes,
            splits,
            undivided=self.undivided,
            tables=tables,
            notes=notes,
            left_out=numbered.left_out,
        )

    def _sample(
        self, split: str, entry: _Entry, label: int, folder: str, number: int, boxes: tuple[Box, ...]
    ) -> Sample:
        if entry.held is not None:
            return replace(entry.held, key=_key(entry.path, folder, number), label=label, boxes=boxes)
        path = self._path(split, entry.path)
        return Sample(path.relative_to(self.root).as_posix(), label, path, boxes)

    def _path(self, split: str, text: str) -> Path:
        """Where an image is that a table names."""
        paths = [home / text for home in self.homes[split]]
        if Path(text).is_absolute():
            inside = Path(text).is_relative_to(self.root.absolute())
            paths = [self.root / Path(text).relative_to(self.root.absolute())] if inside else []
        try:
            check_relative(paths[0].relative_to(self.root).as_posix() if paths else text)
        except ValueError:
            raise DatasetError(f"{split}: the image {text[:200]!r} lies outside of {self.root}; {_EMBED}") from None
        return next((path for path in paths if path.exists()), paths[-1])

    def _refuse_missing(self, splits: dict[str, tuple[Sample, ...]]) -> None:
        for split, samples in splits.items():
            missing = [each.path for each in samples if not isinstance(each, Row) and not each.path.exists()]
            if missing:
                raise DatasetError(
                    f"{split}: {len(missing):,} of {len(samples):,} images are missing, the first is {missing[0]}; put "
                    f"them there, or {_EMBED}"
                )

    def _folder(self, split: str, number: int, name: str) -> str:
        """The folder that a class would have in a folder of images."""
        plain = name.replace("/", "_")
        try:
            check_relative(plain)
        except ValueError:
            plain = str(number)
        return plain if self.undivided else f"{split}/{plain}"


def _key(text: str | None, folder: str, number: int) -> str:
    """Name an image that a table holds: by its path if that has folders, else by class and name, or by row."""
    name = (text or "").replace("\\", "/").rpartition("/")[2]
    for key in ((text,) if text and "/" in text else ()) + ((f"{folder}/{name}",) if name else ()):
        try:
            check_relative(key)
        except ValueError:
            continue
        return key
    return f"{folder}/{number:06d}"


def _located(root: Path, name: str) -> Path | None:
    try:
        return locate(root, name)
    except MissingDataError:
        return None


def _json(path: Path) -> dict[str, Any]:
    try:
        document = parse_json(read_bytes(path))
    except SchemaError as error:
        raise DatasetError(f"{path}: {error}; save the data set again") from None
    if not isinstance(document, dict):
        raise DatasetError(f"{path}: expected fields by name, got {type(document).__name__}; save the data set again")
    return document


HF = Adapter(
    summary="a Hugging Face data set on this disk: save_to_disk, Parquet, or an image folder",
    find=find_hf,
    layout="dataset_dict.json and train/data-00000-of-00001.arrow; data/train-00000-of-00002.parquet; or metadata.csv "
    "beside images",
    takes=frozenset({"image", "label", "split"}),
)
