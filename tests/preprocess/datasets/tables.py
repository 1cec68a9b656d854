"""Write tables of images, and list them."""

import io
from collections.abc import Iterable
from pathlib import Path

import pytest

from preprocess.datasets import DATASETS, Listing, Request
from preprocess.errors import DatasetError
from preprocess.raw.selection import check_names
from tests.conftest import ROOT

CASES = ROOT.parent / "shared" / "cases"
TWO = ("a/1.jpg", "b/2.jpg")
PLAIN = "path,label\na/1.jpg,cat\nb/2.jpg,dog\n"


def files(root: Path, names: Iterable[str] = TWO) -> Path:
    """Empty files: the adapter lists names, and opens no image."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def find(root: Path, table: str | bytes, name: str = "list.csv", home: Path | None = None, **wanted: object) -> Listing:
    """Write a table under ``root``, and list it; ``home`` is another root of the images."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(table if isinstance(table, bytes) else table.encode())
    listing = DATASETS["table"].find(home or root, Request(table=(path,), **wanted))
    check_names(listing)
    return listing


def refused(*arguments: object, **wanted: object) -> str:
    with pytest.raises(DatasetError) as caught:
        find(*arguments, **wanted)
    return str(caught.value)


def rows(listing: Listing) -> list[tuple[str, str, str]]:
    """Split, key and class of every sample."""
    return [
        (split, sample.key, listing.classes[sample.label])
        for split, samples in listing.splits.items()
        for sample in samples
    ]


CAT_AND_DOG = [("train", "a/1.jpg", "cat"), ("train", "b/2.jpg", "dog")]


def parquet(**columns: object) -> bytes:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    data = io.BytesIO()
    pq.write_table(pa.table(columns), data)
    return data.getvalue()
