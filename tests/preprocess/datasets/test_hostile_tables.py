"""Tables of data sets from somebody else: nothing waits, unpacks without a bound or leaves the folder of the set."""

import os
import struct
import zlib
from pathlib import Path

import pytest

from preprocess.datasets import DATASETS
from preprocess.errors import DatasetError
from preprocess.raw.selection import check_names
from tests.preprocess.datasets import official

BILLION_LAUGHS = '<!DOCTYPE x [<!ENTITY a0 "ha">{}]><annotation>&a40;</annotation>'.format(
    "".join(f'<!ENTITY a{level} "&a{level - 1};&a{level - 1};">' for level in range(1, 41))
)


def matlab_bomb() -> bytes:
    """A MATLAB file of 80 kB with a variable of 80 MB."""
    body = struct.pack("<2I", 14, 80_000_000) + bytes(80_000_000)
    packed = zlib.compress(body, 1)
    return (
        b"MATLAB 5.0 MAT-file".ljust(124)
        + struct.pack("<H", 0x0100)
        + b"IM"
        + struct.pack("<2I", 15, len(packed))
        + packed
    )


def refused(name: str, root: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        check_names(DATASETS[name].find(root))
    return str(caught.value)


TABLES = {
    "cub": (official.make_cub, "images.txt"),
    "flowers102": (official.make_flowers102, "setid.mat"),
    "cifar100": (official.make_cifar100, "train"),
    "dogs": (official.make_dogs, "Annotation/n02085620-Chihuahua/*"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_pipe_in_the_place_of_a_table_is_refused_at_once(tmp_path, name):
    make, pattern = TABLES[name]
    table = next(iter(sorted(make(tmp_path).rglob(pattern))))
    table.unlink()
    os.mkfifo(table)
    assert f"{table} cannot be read: expected a regular file, it is a FIFO" in refused(name, tmp_path)


@pytest.mark.parametrize("name", ["cub", "dogs"])
def test_a_table_without_an_end_is_refused(tmp_path, name):
    make, pattern = TABLES[name]
    table = next(iter(sorted(make(tmp_path).rglob(pattern))))
    os.truncate(table, 1 << 40)
    assert f"{table} cannot be read: too large: expected at most" in refused(name, tmp_path)


def test_a_matlab_file_that_unpacks_to_much_is_refused(tmp_path):
    table = next(official.make_flowers102(tmp_path).rglob("setid.mat"))
    table.write_bytes(matlab_bomb())
    assert "it unpacks to more than 67,108,864 bytes" in refused("flowers102", tmp_path)


def test_an_annotation_whose_entities_grow_is_refused(tmp_path):
    annotation = sorted(official.make_dogs(tmp_path).rglob("Annotation/n02085620-Chihuahua/*"))[0]
    annotation.write_text(BILLION_LAUGHS)
    assert f"{annotation} is not a published annotation" in refused("dogs", tmp_path)


@pytest.mark.parametrize("path", ["../../../etc/passwd", "/etc/passwd", "a\x1b[31m.jpg"])
def test_a_table_names_no_file_outside_of_its_set(tmp_path, path):
    table = next(official.make_cub(tmp_path).rglob("images.txt"))
    (first, _), *rest = (line.split(maxsplit=1) for line in table.read_text().splitlines())
    table.write_text("\n".join([f"{first} {path}", *map(" ".join, rest)]))
    assert "is not a path inside the data set folder" in refused("cub", tmp_path)


def test_ids_of_tiny_imagenet_lead_to_no_folder_outside(tmp_path):
    table = next(official.make_tiny_imagenet(tmp_path).rglob("wnids.txt"))
    table.write_text(table.read_text() + "../../../etc\n")
    assert "expected ids like n01440764, got '../../../etc'" in refused("tiny-imagenet", tmp_path)
