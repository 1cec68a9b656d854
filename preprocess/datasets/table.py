"""Images that a table lists, with their labels and perhaps their splits."""

import os
from pathlib import Path

from preprocess.datasets.base import EVERYTHING, Adapter, Listing, Request, Sample
from preprocess.datasets.classes import note_odd
from preprocess.datasets.columns import choose_columns
from preprocess.datasets.lookup import may_look_beside
from preprocess.datasets.rows import open_table
from preprocess.datasets.table_files import find_files
from preprocess.datasets.table_labels import classes_of, compare_splits, leave_unlabelled, note_several
from preprocess.datasets.table_rows import SHOWN, read_rows
from preprocess.datasets.table_splits import (
    name_splits,
    refuse_splits_as_labels,
    splits_in_order,
    splits_of_files,
    with_splits,
)
from preprocess.errors import MissingDataError
from preprocess.text import listed


def find_table(root: Path, request: Request = EVERYTHING) -> Listing:
    """List the images of tables: CSV, TSV or Parquet, or lines ``path label``.

    Several tables are of one split each, which a word in their names says, or have a column of splits.
    ``root`` is the folder that the paths are relative to. Columns are those that ``request`` names, or are guessed from
    their names and from the files that exist; the notes say which. Classes are the labels of ``train``: names sorted as
    texts, or numbers sorted as numbers. Samples keep the order of the table; keys are relative to the root.

    Raises
    ------
    MissingDataError : there is no table, or no folder ``root``.
    DatasetError : the table cannot be read, or a column cannot be told; a row has no image, no label, or one that
        another row has; a file is missing. The message names lines.
    """
    if not request.table:
        raise MissingDataError("say which table lists the images: --table list.csv")
    if not root.is_dir():
        raise MissingDataError(f"there is no folder {root}; give the folder of the images with --root")
    tables = tuple(choose_columns(open_table(path), root, request) for path in request.table)
    named = splits_of_files(tables)
    rows = read_rows(tables, named)
    refuse_splits_as_labels(rows, request)
    rows, said = with_splits(rows, named)
    rows, undivided = name_splits(rows, request)
    rows, notes = leave_unlabelled(rows, request)
    classes, label_of, told = classes_of(rows, tables[0].label_names)
    column = "" if tables[0].table.folders else listed(tables[0].label_names, SHOWN)
    odd = note_odd(len(classes), rows.splits.count("train"), column)
    several = note_several(rows)
    lacking = compare_splits(rows, classes, label_of)
    rows = rows.taken(lambda place: request.wants(rows.splits[place]))
    samples: dict[str, list[Sample]] = {split: [] for split in splits_in_order(rows.splits)}
    keys, found = find_files(rows, root, may_look_beside(root, request))
    for key, label, split in zip(keys, rows.labels, rows.splits, strict=True):
        samples[split].append(Sample(key, label_of[label], root / key))
    inside = [os.path.relpath(path, root) for path in request.table]
    return Listing(
        classes,
        {split: tuple(each) for split, each in samples.items()},
        undivided=undivided,
        tables=tuple(root / path for path in inside if not path.startswith("..")),
        notes=(
            *(note for each in tables for note in each.notes),
            *said,
            *found,
            *odd,
            *several,
            *told,
            *notes,
            *lacking,
        ),
    )


TABLE = Adapter(
    summary="images that a table lists: CSV, TSV, Parquet or text",
    find=find_table,
    layout="a table with a column of paths, a column of labels and, if you like, a column of splits: --table list.csv; "
    "or a table for each split: --table train.csv --table val.csv",
    takes=frozenset({"table", "image", "label", "split"}),
)
