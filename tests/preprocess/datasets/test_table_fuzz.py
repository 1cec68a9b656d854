"""Damaged tables: each is refused in clear words, or gives the rows that a reader written here finds in it.

That reader knows the form of the table, so it need not guess; it reads letter by letter, as RFC 4180 says.
"""

import io
import posixpath
import random
import re
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from preprocess.datasets import DATASETS, Request
from preprocess.errors import DatasetError
from preprocess.raw.selection import check_names
from preprocess.text import CONTROLS
from tests.conftest import PROOF

COUNT = 2_000 if PROOF else 150
NAMES = [f"{folder}/{number}.jpg" for folder in ("a", "b b", "c,c") for number in range(6)]
CLASSES = ("cat", "Löwe", "a, b", 'say "x"')
NUMBERS = ("0", "1", "3", "10")
ABORTING = 223  # pyarrow 26 aborts the process when it is asked for a size in this one
LONGEST, LARGEST = 5.0, 1 << 25  # seconds and bytes for one table

Row = tuple[str, str, str]  # image, label, split; the split is train if there is none
TEXTS = {  # separator, whether it has names and splits, its encoding, its ends of lines, its labels
    "commas": (",", True, True, "utf-8", "\n", CLASSES),
    "numbers": (",", True, True, "utf-8-sig", "\r\n", NUMBERS),
    "no names": (",", False, False, "utf-8", "\n", CLASSES),
    "semicolons": (";", True, True, "utf-8", "\r", CLASSES),
    "tabs": ("\t", True, True, "utf-16", "\r\n", CLASSES),
    "words": (" ", False, False, "utf-8", "\n", NUMBERS),
}


def valid(random: random.Random, labels: tuple[str, ...]) -> list[Row]:
    names = random.sample(NAMES, len(NAMES))
    first = [(name, label, "train") for name, label in zip(names, labels, strict=False)]
    rest = [(name, random.choice(labels), random.choice(("train", "val", "test"))) for name in names[len(first) :]]
    return first + rest


def write(form: str, rows: list[Row], random: random.Random, harmless: bool = False) -> bytes:
    """Write a table; ``harmless`` adds what changes no row: quotes, blanks, empty lines, ``./`` and backslashes."""
    separator, named, divided, encoding, end, _ = TEXTS[form]
    lines = [["path", "label", "split"], *map(list, rows)] if named else list(map(list, rows))
    text = ""
    for place, cells in enumerate(lines):
        if harmless and (place or not named):
            cells[0] = random.choice(("", "./")) + cells[0].replace("/", random.choice(("/", "\\", "//")))
        cells = [cell if separator == " " else quoted(cell, harmless and random.random() < 0.3) for cell in cells]
        blank = random.choice(("", " ")) if harmless and separator != "\t" else ""
        text += (separator + blank).join(cells if divided else cells[:2]) + end
        text += random.choice(("", end, f" {end}")) if harmless else ""
    return text.encode(encoding)


def quoted(cell: str, always: bool) -> str:
    return '"' + cell.replace('"', '""') + '"' if always or re.search(r'[",;]', cell) else cell


def letters(text: str, separator: str) -> Iterator[list[str]]:
    """Yield the cells of every row. Raises ValueError where quotes are wrong."""
    row, cell, place = [], "", 0
    text = re.sub("\r\n|\r", "\n", text)
    text += "" if text.endswith("\n") else "\n"
    while place < len(text):
        if not cell and text[place] == " ":
            place += 1
        elif not cell and text[place] == '"':
            while True:
                close = text.index('"', place + 1)
                cell += text[place + 1 : close]
                place = close + 1
                if text[place] != '"':
                    break
                cell += '"'
            if text[place] not in f"{separator}\n":
                raise ValueError("letters after a quote")
            cell = cell or "\0"  # quotes around nothing are no start of a cell
        elif text[place] in f"{separator}\n":
            row.append(cell.replace("\0", "").strip())
            cell = ""
            if text[place] == "\n":
                yield row
                row = []
            place += 1
        else:
            cell += text[place]
            place += 1


def understood(form: str, data: bytes) -> list[Row]:
    """The rows of a table, whatever they say. Raises ValueError if it has no such rows."""
    separator, named, divided, encoding, _, _ = TEXTS[form]
    text = data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    if separator == " ":
        rows = [line.rsplit(None, 1) for line in re.split("\r\n|\r|\n", text) if line.strip()]
    else:
        rows = [row for row in letters(text, separator) if any(row)]
    rows = rows[1:] if named else rows
    return [(tidy(row[0]), row[1], word(row[2]) if divided else "train") for row in rows]


def tidy(path: str) -> str:
    return posixpath.normpath(path.strip().replace("\\", "/"))


def word(split: str) -> str:
    lower = split.lower()
    return {
        "valid": "val",
        "validation": "val",
        "dev": "val",
        "training": "train",
        "testing": "test",
        "eval": "test",
    }.get(lower, lower)


def same(listing: object, expected: list[Row]) -> None:
    found = [
        (sample.key, listing.classes[sample.label], split)
        for split, samples in listing.splits.items()
        for sample in samples
    ]
    numbers = all(re.fullmatch(r"[+-]?(0|[1-9]\d*)(\.0+)?", label) for _, label, _ in expected)
    expected = [(key, str(int(float(label))) if numbers else label, split) for key, label, split in expected]
    assert sorted(found) == sorted(expected)
    for split in {split for _, _, split in expected}:  # in the order of the table
        assert [row for row in found if row[2] == split] == [row for row in expected if row[2] == split]


def damage(data: bytes, random: random.Random) -> bytes:
    """Flip, cut, repeat, insert or exchange some bytes; once or twice."""
    for _ in range(random.randint(1, 2)):
        first, second = sorted(random.randrange(len(data) + 1) for _ in range(2))
        short = data[first : min(second, first + 40)]
        kind = random.randrange(7)
        if kind == 0 and first < len(data):
            data = data[:first] + bytes([data[first] ^ 1 << random.randrange(8)]) + data[first + 1 :]
        elif kind == 1:
            data = data[:second]
        elif kind == 2:
            data = data[:second] + short + data[second:]
        elif kind == 3:
            odd = (
                b'"',
                b",",
                b"\n",
                b"\r",
                b"\0",
                b"\xff",
                b"\t",
                b";",
                b" ",
                b"#",
                b"../",
                b"\xe2\x80\xa8",
                b"\x1b[2J",
            )
            data = data[:first] + random.choice(odd) + data[first:]
        elif kind == 4:
            data = data[:first] + data[first + len(short) :]
        elif kind == 5:
            data = random.randbytes(3).join((data[:first], data[first:]))
        else:
            cells = re.split(rb"([,;\t\r\n ])", data)
            one, other = random.randrange(len(cells)), random.randrange(len(cells))
            cells[one], cells[other] = cells[other], cells[one]
            data = b"".join(cells)
        data = data or b"x"
    return data


def listed(root: Path, data: bytes) -> object:
    """The listing, or the error; in bounded time and memory."""
    path = root / "list.csv"
    path.write_bytes(data)
    tracemalloc.start()
    start = time.monotonic()
    try:
        listing = DATASETS["table"].find(root, Request(table=(path,)))
        check_names(listing)
        return listing
    except DatasetError as error:
        return error
    finally:
        assert time.monotonic() - start < LONGEST
        assert tracemalloc.get_traced_memory()[1] < LARGEST
        tracemalloc.stop()


def is_clear(error: DatasetError) -> bool:
    text = str(error)
    return 30 < len(text) < 1500 and not CONTROLS.search(text.replace("\n", ""))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    home = tmp_path_factory.mktemp("fuzz")
    for name in NAMES:
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).touch()
    return home


@pytest.mark.parametrize("form", TEXTS)
def test_what_changes_no_row_changes_no_listing(root, form):
    for seed in range(COUNT // 15):
        chance = random.Random(f"{form} {seed}")
        rows = valid(chance, TEXTS[form][-1])
        rows = rows if TEXTS[form][2] else [(image, label, "train") for image, label, _ in rows]
        data = write(form, rows, chance, harmless=True)
        assert understood(form, data) == rows, seed
        same(listed(root, data), rows)


@pytest.mark.parametrize("form", TEXTS)
def test_damaged_texts_are_refused_or_read_right(root, form):
    outcomes = {"read": 0, "refused": 0}
    for seed in range(COUNT // 7):
        chance = random.Random(f"damaged {form} {seed}")
        data = damage(write(form, valid(chance, TEXTS[form][-1]), chance), chance)
        found = listed(root, data)
        outcomes["refused" if isinstance(found, DatasetError) else "read"] += 1
        if isinstance(found, DatasetError):
            assert is_clear(found), (seed, str(found))
        else:
            same(found, understood(form, data))
    assert min(outcomes.values()) > 0 or not PROOF


def test_damaged_parquet_is_refused_or_read_right(root):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    for seed in {ABORTING, *range(COUNT - 6 * (COUNT // 7))}:
        chance = random.Random(f"damaged parquet {seed}")
        columns = dict(zip(("path", "label", "split"), zip(*valid(chance, CLASSES), strict=True), strict=True))
        whole = io.BytesIO()
        pq.write_table(pa.table(columns), whole, compression=chance.choice(("none", "snappy", "gzip", "zstd")))
        data = damage(whole.getvalue(), chance)
        found = listed(root, data)
        if isinstance(found, DatasetError):
            assert is_clear(found), (seed, str(found))
        else:
            held = pq.read_table(io.BytesIO(data)).to_pydict()
            assert sum(map(len, found.splits.values())) == len(next(iter(held.values())))
            if held.keys() == columns.keys():
                same(
                    found, [(tidy(path), label, word(split)) for path, label, split in zip(*held.values(), strict=True)]
                )
    assert pa.default_memory_pool().max_memory() < 1 << 28
