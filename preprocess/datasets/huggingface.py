"""Hugging Face data sets on this disk: what ``save_to_disk`` writes, Parquet files, image folders with metadata.

The files are read with pyarrow where they are: the library ``datasets`` would copy Parquet files into its cache. No
code of a data set is run, and nothing is downloaded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from preprocess.datasets.arrow import ParquetTable, Row, child, import_pyarrow, open_table, plain, told
from preprocess.datasets.base import EVERYTHING, SPLITS, Adapter, Listing, Request, located, split_name
from preprocess.datasets.folder import find_folder
from preprocess.datasets.hf_columns import HfColumns, choose_hf_columns
from preprocess.datasets.hf_metadata import find_metadata
from preprocess.datasets.hf_rows import LONGEST, Entry, Rows
from preprocess.datasets.metadata import read_bytes
from preprocess.datasets.shards import (
    Label,
    by_split,
    note_gaps,
    refuse_missing_parts,
    refuse_unknown_splits,
    split_in,
)
from preprocess.datasets.split_column import Words, is_to_divide, word
from preprocess.datasets.tree import walk
from preprocess.errors import DatasetError, MissingDataError
from preprocess.inputs import confined
from preprocess.schema import SchemaError, parse_json
from preprocess.text import shown_name

_DATA = (".parquet", ".arrow")


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
    DatasetError : a file is damaged, missing or there twice, no column of images or labels can be told, or labels have
        no class.

    Notes
    -----
    Where no file names a split, a column such as ``split`` whose values all are words for train, val and test divides
    the rows.
    """
    if not root.is_dir():
        raise MissingDataError(f"there is no folder {root}")
    for read in (_saved_dict, _saved, find_metadata, _data_files):
        if found := read(root, request):
            return found
    if request.split is not None:
        raise DatasetError(f"{root} has no tables, and so no column {shown_name(request.split)!r} for --split")
    listing = find_folder(root, request)
    return replace(listing, notes=("no tables: read as a folder of images by class", *listing.notes))


def _saved_dict(root: Path, request: Request) -> Listing | None:
    """List a saved ``DatasetDict``."""
    table = located(root, "dataset_dict.json")
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
    if is_to_divide(root, splits, request):
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


def _folder_of(table: Path, name: str) -> Path:
    try:
        return confined(table.parent, name)
    except ValueError as error:
        raise DatasetError(f"{table}: {error}") from None


def _saved(root: Path, request: Request) -> Listing | None:
    """List a saved ``Dataset``."""
    table = located(root, "state.json")
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
        ({"train": files}, True) if is_to_divide(root, named, request) else by_split(root, files, request)
    )
    for split, mine in splits.items():
        if len(folders := sorted({path.parent for path in mine})) > 1 and (undivided or request.wants(split)):
            raise DatasetError(
                f"{folders[0]} and {folders[1]} both hold files of {split}; if they are two data sets, choose one with "
                "--root, else move the files into one folder"
            )
    needed = {name: mine for name, mine in splits.items() if undivided or request.wants(name) or name == "train"}
    used = [path for mine in needed.values() for path in mine]
    refuse_missing_parts(used)
    read = {name: _Split(mine, (mine[0].parent, root)) for name, mine in needed.items()}
    listing = _list(root, read, request, undivided=undivided)
    return replace(listing, notes=(*listing.notes, *note_gaps(used)))


def _list(
    root: Path, splits: dict[str, _Split], request: Request, undivided: bool = False, tables: Sequence[Path] = ()
) -> Listing:
    """List the splits of tables."""
    columns: HfColumns | None = None
    first = Path()
    entries: dict[str, list[Entry]] = {}
    for split, mine in splits.items():
        entries[split] = []
        for path in mine.files:
            with told(path, DatasetError):
                found = choose_hf_columns(open_table(path), path, mine.features, request)
                if columns is None:
                    columns, first = found, path
                elif columns != found:
                    raise DatasetError(f"{path} has other columns or classes than {first}; build from one data set")
                entries[split] += _entries(path, found)
    inputs = [*tables, *(path for mine in splits.values() for path in mine.files)]
    inputs += [path.parent / name for path in inputs for name in ("state.json", "dataset_info.json")]
    used = tuple(path for path in dict.fromkeys(inputs) if path.exists())
    homes = {split: (*mine.homes, root) for split, mine in splits.items()}
    rows = Rows(root, homes, request, undivided, columns.boxes, columns.names, columns.note, used)
    return rows.divided_listing(entries)


def _entries(path: Path, columns: HfColumns) -> Iterator[Entry]:
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
        cells = [[(name, word(each, names)) for each in plain(part[name])] for name, names in columns.splits]
        said = [shared.setdefault(words, words) for words in zip(*cells, strict=True)] or [()] * len(labels)
        for text, label, mine, words, *size in zip(paths, labels, found, said, *edges, strict=True):
            if text is not None and len(text) > LONGEST:
                raise DatasetError(f"{path}: row {number:,} names a path of {len(text):,} characters")
            held = None
            if sizes[number] >= 0 or not text:
                held = Row("", 0, path, column=columns.leaf, row=number, length=max(sizes[number], 0))
            yield Entry(text, label, mine, (size[0], size[1]), held, words, path, number)
            number += 1


def _texts(array: Any) -> list[str | None]:
    """Paths of a column of them, or of structs."""
    return plain(child(array, "path") if array.type.num_fields else array)


def _labels(path: Path, column: str, array: Any) -> list[Label]:
    values = plain(array)
    if import_pyarrow().types.is_floating(array.type):  # as pandas writes integers if some are missing
        values = [None if value is None or value != value else value for value in values]
        if odd := [value for value in values if value is not None and not value.is_integer()]:
            raise DatasetError(f"{path}: expected labels in {column!r}, got {odd[0]}; choose a column with --label")
        return [None if value is None else int(value) for value in values]
    return [int(value) if isinstance(value, bool) else value for value in values]


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
