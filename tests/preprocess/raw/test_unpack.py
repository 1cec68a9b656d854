"""Tar and zip files, honest, damaged and malicious, and what they leave on the disk."""

import gzip
import io
import os
import random
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from preprocess.errors import DatasetError
from preprocess.raw.unpack import is_archive, unpack

SIZES = [37 * index for index in range(60)]
TREE = {f"set/{group}/{size}.bin": random.Random(size).randbytes(size) for group in "abc" for size in SIZES}


def make_tar(path: Path, *members: tarfile.TarInfo | tuple[str, bytes]) -> Path:
    """A tar file of regular files, given as name and content, and other members."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def make_zip(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def unix(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[Path], str]:
    """Unpack, which must fail and leave nothing but the archive; returns the message."""

    def check(archive: Path) -> str:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(DatasetError) as caught:
            unpack(archive, tmp_path / "in" / "folder")
        (tmp_path / "in").rmdir()  # fails if anything is left
        assert sorted(tmp_path.rglob("*")) == before
        return str(caught.value)

    return check


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "X.TGZ", "x.zip"])
def test_nested_folders_of_many_files_come_out_as_they_went_in(tmp_path, name):
    assert is_archive(name)
    make = make_zip if name.endswith("zip") else make_tar
    unpack(make(tmp_path / name, *TREE.items()), tmp_path / "out")
    assert content(tmp_path / "out") == TREE


def test_other_files_are_no_archives():
    assert not any(map(is_archive, ("labels.mat", "x.tar.part", "zip", "a.gz")))


def test_leading_dots_empty_folders_and_macos_files_are_fine(tmp_path):
    members = (special("./", tarfile.DIRTYPE), special("./empty/", tarfile.DIRTYPE), ("./a/x", b"1"), ("./a/._x", b"2"))
    unpack(make_tar(tmp_path / "x.tar", *members), tmp_path / "tar")
    zipped = make_zip(tmp_path / "x.zip", ("./", b""), ("empty/", b""), ("./a/x", b"1"), ("a/._x", b"2"))
    unpack(zipped, tmp_path / "zip")
    for folder in (tmp_path / "tar", tmp_path / "zip"):
        assert (folder / "empty").is_dir()
        assert content(folder) == {"a/x": b"1", "a/._x": b"2"}


def test_a_later_member_of_the_same_name_wins(tmp_path):
    unpack(make_tar(tmp_path / "x.tar", ("a", b"old content"), ("a", b"new")), tmp_path / "out")
    assert content(tmp_path / "out") == {"a": b"new"}


def test_neither_owner_nor_setuid_nor_closed_modes_are_taken_over(tmp_path):
    open_one, closed = tarfile.TarInfo("a"), tarfile.TarInfo("closed")
    open_one.mode, closed.mode, closed.type = 0o6777, 0o000, tarfile.DIRTYPE
    unpack(make_tar(tmp_path / "x.tar", closed, open_one), tmp_path / "out")
    (tmp_path / "plain").touch()
    (tmp_path / "folder").mkdir()
    assert (tmp_path / "out" / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "out" / "closed").stat().st_mode == (tmp_path / "folder").stat().st_mode


def test_neither_content_nor_the_list_of_members_is_held_in_memory(tmp_path):
    folders = [special(f"{number % 10}/", tarfile.DIRTYPE) for number in range(5000)]
    archive = make_tar(tmp_path / "x.tar", ("large", bytes(30_000_000)), *folders)
    del folders
    tracemalloc.start()
    unpack(archive, tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_500_000
    assert (tmp_path / "out" / "large").stat().st_size == 30_000_000


BAD_NAMES = {
    "../x": "outside its folder",
    "a/../../x": "outside its folder",
    "a/..": "outside its folder",
    "ROOT/x": "outside its folder",  # absolute
    "..\\x": "outside its folder",
    "C:\\x": "outside its folder",
    "C:x": "outside its folder",
    "a\x1b[31m": "no usable name",
    "a\n": "no usable name",
    "x" * 256: "no usable name",
    "d/" * 40 + "x": "more than 32 folders deep",
    "": "no usable name",
    ".": "no usable name",
}


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("kind", ["tar", "tgz", "zip"])
def test_a_member_with_a_bad_name_condemns_the_archive(tmp_path, refused, kind, name):
    reason, name = BAD_NAMES[name], name.replace("ROOT", str(tmp_path))
    if kind == "zip":
        info = zipfile.ZipInfo("place")
        info.filename = name
        archive = make_zip(tmp_path / "x.zip", ("good", b"1"), (info, b"2"))
    else:
        archive = make_tar(tmp_path / f"x.{kind}", ("good", b"1"), (name, b"2"))
    message = refused(archive)
    assert f"{archive} contains {name!r}, which " in message
    assert reason in message
    assert message.endswith("nothing was unpacked")


def test_a_name_with_a_zero_byte_condemns_a_zip(tmp_path, refused):
    info = zipfile.ZipInfo("place")
    info.filename = "a\0b"
    assert "contains 'a\\x00b', which has no usable name" in refused(make_zip(tmp_path / "x.zip", (info, b"1")))


def test_a_name_that_cannot_be_read_is_damage(tmp_path, refused):
    archive = make_zip(tmp_path / "x.zip", ("\N{SNOWMAN}", b"1"))
    archive.write_bytes(archive.read_bytes().replace("\N{SNOWMAN}".encode(), b"\xff\xff\xff"))
    assert "is damaged" in refused(archive)


SPECIAL = {
    "symbolic link": special("a", tarfile.SYMTYPE, "/etc"),
    "hard link": special("a", tarfile.LNKTYPE, "good"),
    "character device": special("a", tarfile.CHRTYPE),
    "block device": special("a", tarfile.BLKTYPE),
    "pipe": special("a", tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_tar_that_holds_more_than_files_and_folders_is_refused(tmp_path, refused, kind):
    archive = make_tar(tmp_path / "x.tar", ("good", b"1"), SPECIAL[kind], ("a/x", b"2"))
    assert f"{archive} contains 'a', which is neither a file nor a folder" in refused(archive)


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_a_zip_that_holds_more_than_files_and_folders_is_refused(tmp_path, refused, mode):
    archive = make_zip(tmp_path / "x.zip", ("good", b"1"), (unix("a", mode | 0o777), b"/etc"))
    assert f"{archive} contains 'a', which is neither a file nor a folder" in refused(archive)


def test_files_and_folders_of_a_unix_zip_are_fine(tmp_path):
    members = ((unix("a/", stat.S_IFDIR | 0o755), b""), (unix("a/x", stat.S_IFREG | 0o644), b"1"))
    unpack(make_zip(tmp_path / "x.zip", *members), tmp_path / "out")
    assert content(tmp_path / "out") == {"a/x": b"1"}


def test_an_encrypted_zip_is_refused(tmp_path, refused):
    archive = make_zip(tmp_path / "x.zip", ("a", b"1"))
    data = bytearray(archive.read_bytes())
    data[6] |= 1  # flags of the local header
    data[data.index(b"PK\x01\x02") + 8] |= 1  # flags of the central directory
    archive.write_bytes(data)
    assert "contains 'a', which is encrypted" in refused(archive)


def test_a_zip_of_an_unknown_method_is_left_to_other_tools(tmp_path, refused):
    archive = make_zip(tmp_path / "x.zip", ("a", b"1"))
    data = bytearray(archive.read_bytes())
    data[8] = data[data.index(b"PK\x01\x02") + 10] = 97
    archive.write_bytes(data)
    assert "(compression method 97); unpack it with another tool" in refused(archive)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_of_a_method_without_a_bound_is_not_unpacked(tmp_path, refused, method):
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w", method) as file:
        file.writestr("a", bytes(1000))
    assert f"(compression method {method}); unpack it with another tool" in refused(archive)


# Of a tar: in a header, in content, at the end of a member, in its padding, before the end mark.
@pytest.mark.parametrize(
    ("name", "length"),
    [("x.tar", length) for length in (0, 300, 800, 1024, 1536, 1700, 2048, 3000)]
    + [("x.tgz", length) for length in (0, 5, 300, -40, -4)]
    + [("x.zip", length) for length in (0, 300, -30)],
)
def test_a_cut_archive_is_damaged(tmp_path, refused, name, length):
    noise = random.Random(0)
    members = [(f"{index}", noise.randbytes(500 + 512 * (index == 1))) for index in range(3)]
    archive = (make_zip if name.endswith("zip") else make_tar)(tmp_path / name, *members)
    archive.write_bytes(archive.read_bytes()[:length])
    assert f"{archive} is damaged" in refused(archive)


@pytest.mark.parametrize("name", ["x.tgz", "x.zip"])
def test_a_flipped_bit_of_content_is_damage(tmp_path, refused, name):
    archive = (make_zip if name.endswith("zip") else make_tar)(tmp_path / name, ("a", random.Random(0).randbytes(5000)))
    data = bytearray(archive.read_bytes())
    data[2500] ^= 4
    archive.write_bytes(data)
    assert "is damaged" in refused(archive)


def test_a_damaged_header_inside_a_tar_is_not_its_end(tmp_path, refused):
    archive = make_tar(tmp_path / "x.tar", ("a", b"1"), ("b", b"2"), ("c", b"3"))
    data = bytearray(archive.read_bytes())
    data[1024] ^= 1  # the name of b
    archive.write_bytes(data)
    assert "is damaged" in refused(archive)


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.zip"])
def test_something_else_is_damaged(tmp_path, refused, name):
    (tmp_path / name).write_bytes(b"<html>sign in first</html>" * 100)
    assert "is damaged" in refused(tmp_path / name)


@pytest.mark.parametrize("name", ["x.tar", "x.tgz", "x.zip"])
def test_damage_anywhere_is_refused_or_harmless(tmp_path, name):
    make = make_zip if name.endswith("zip") else make_tar
    whole = make(tmp_path / name, ("a/x", b"content" * 30), ("b", random.Random(1).randbytes(700))).read_bytes()
    noise = random.Random(2)
    for trial in range(100):
        data = bytearray(whole)
        for _ in range(noise.choice((1, 1, 8))):
            data[noise.randrange(min(len(data), 3000))] = noise.randrange(256)
        (tmp_path / name).write_bytes(data)
        folder = tmp_path / "in" / str(trial)
        failure = None
        try:
            unpack(tmp_path / name, folder)
        except (DatasetError, OSError) as error:
            failure = error
        assert folder.exists() == (failure is None)
        assert not isinstance(failure, OSError) or failure.filename  # a name that the file system refuses
        assert {path.name for path in tmp_path.iterdir()} <= {name, "in"}


def test_an_existing_folder_is_not_touched(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(FileExistsError):
        unpack(make_tar(tmp_path / "x.tar", ("a", b"1")), tmp_path / "out")
    assert content(tmp_path / "out") == {"mine": b""}


def tar_info(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = special(name, kind)
    info.size = size
    return info


def gzipped_zeros(path: Path, header: tarfile.TarInfo, count: int) -> Path:
    """A header and more zeros than it may be wise to unpack."""
    with gzip.open(path, "wb", 1) as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(count // 1_000_000):
            file.write(bytes(1_000_000))
    return path


def lying_zip(path: Path, size: int) -> Path:
    """A zip of 8 MB of zeros that states another size."""
    data = bytearray(make_zip(path, ("a", bytes(8_000_000))).read_bytes())
    for place in (22, data.index(b"PK\x01\x02") + 24):
        data[place : place + 4] = size.to_bytes(4, "little")
    path.write_bytes(data)
    return path


def overlapping_zip(path: Path) -> Path:
    """A thousand entries of a zip that share one content of 1 MB."""
    file = make_zip(path, ("a", bytes(1_000_000))).read_bytes()
    start = file.index(b"PK\x01\x02")
    listed = file[start : file.index(b"PK\x05\x06")] * 1000
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1000, 1000, len(listed), start, 0)
    path.write_bytes(file[:start] + listed + tail)
    return path


BOMBS = {
    "zeros in a tgz": lambda path: gzipped_zeros(path / "x.tgz", tar_info("a", 9_000_000), 9_000_000),
    "zeros in a zip": lambda path: make_zip(path / "x.zip", ("a", bytes(9_000_000))),
    "a zip with a small size": lambda path: lying_zip(path / "x.zip", 100),
    "a zip with a large size": lambda path: lying_zip(path / "x.zip", 0xFFFF_FFF0),
    "entries that overlap": lambda path: overlapping_zip(path / "x.zip"),
    "empty files": lambda path: make_tar(path / "x.tgz", *((str(number), b"") for number in range(300))),
    "folders": lambda path: make_tar(path / "x.tgz", *(special(f"{n}/", tarfile.DIRTYPE) for n in range(300))),
    "a size of 8 GB": lambda path: make_tar(path / "x.tar", tar_info("a", 8_000_000_000)),
    "a size of 10^20": lambda path: make_tar(path / "x.tar", tar_info("a", 10**20)),
    "zeros after the end": lambda path: gzipped_zeros(path / "x.tgz", special("a/", tarfile.DIRTYPE), 9_000_000),
    "a long header": lambda path: gzipped_zeros(path / "x.tgz", tar_info("a", 9_000_000, tarfile.XHDTYPE), 9_000_000),
    "a long name": lambda path: gzipped_zeros(
        path / "x.tgz", tar_info("a", 9_000_000, tarfile.GNUTYPE_LONGNAME), 9_000_000
    ),
    "a sparse file": lambda path: make_tar(path / "x.tar", tar_info("a", 10**12, tarfile.GNUTYPE_SPARSE)),
    "headers of headers": lambda path: make_tar(
        path / "x.tgz", *[tar_info("a", 0, tarfile.XHDTYPE) for _ in range(3_000)], ("b", b"1")
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_an_archive_that_unpacks_to_too_much_is_stopped_on_its_way(tmp_path, kind):
    archive = BOMBS[kind](tmp_path)
    tracemalloc.start()
    with pytest.raises(DatasetError) as caught:
        unpack(archive, tmp_path / "out", 1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    message = str(caught.value)
    assert "--max-unpacked GB" in message or "is damaged" in message or "neither a file nor a folder" in message, (
        message
    )
    assert peak < 4_000_000
    assert not (tmp_path / "out").exists()


def test_the_bound_is_ten_times_the_archive_and_some(tmp_path, monkeypatch):
    monkeypatch.setattr("preprocess.raw.unpack._SPARE", 200_000)
    archive = make_tar(tmp_path / "x.tgz", ("a", bytes(1_000_000)))
    with pytest.raises(
        DatasetError, match=r"unpacks to more than 2\d\d\.\d kB.*allow more with build --max-unpacked GB"
    ):
        unpack(archive, tmp_path / "out")
    unpack(archive, tmp_path / "out", 1_100_000)
    assert (tmp_path / "out" / "a").stat().st_size == 1_000_000


def test_a_negative_size_in_a_tar_does_not_lead_back(tmp_path, refused):
    archive = make_tar(tmp_path / "x.tar", ("a", b"1"), ("b", b"2"))
    data = bytearray(archive.read_bytes())
    data[1024 + 124 : 1024 + 136] = (-1024).to_bytes(12, "big", signed=True)  # b leads back to a
    data[1024 + 148 : 1024 + 156] = b" " * 8
    data[1024 + 148 : 1024 + 156] = b"%06o\0 " % sum(data[1024:1536])
    archive.write_bytes(data)
    assert "is damaged" in refused(archive)


def test_a_pipe_is_no_archive(tmp_path):
    os.mkfifo(tmp_path / "x.tar")
    with pytest.raises(OSError, match="expected a regular file, it is a FIFO"):
        unpack(tmp_path / "x.tar", tmp_path / "out")
