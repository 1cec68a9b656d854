"""Paths and files from somebody else."""

import os
import socket
from pathlib import Path

import pytest

from preprocess.inputs import check_relative, confined, open_regular


@pytest.mark.parametrize(
    "path", ["a", "a/b.h5", "train/slic-c10-30/00000-ab.h5", "..a/b..", "é/日本.jpg", "a b", "a\xa0b", "a/" * 199 + "b"]
)
def test_a_path_below_a_folder_is_taken(path: str, tmp_path: Path) -> None:
    assert confined(tmp_path, path) == tmp_path / path


LONG = ("x" * 256, "é" * 128, "a/" * 200 + "b")


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "..", "../a", "a/../../b", "a//b", "a/.", "//host/b", "a\nb", "a\0b", "a\x1b[31m", *LONG],
)
def test_a_path_that_leaves_a_folder_or_is_none_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        check_relative(path)


def test_a_link_may_not_leave_the_folder(tmp_path: Path) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    home.mkdir()
    other.mkdir()
    (home / "out").symlink_to(other)
    (home / "real").mkdir()
    (home / "within").symlink_to(home / "real")
    assert confined(home, "within/a") == home / "within/a"
    with pytest.raises(ValueError, match="leaves it"):
        confined(home, "out/a")


def test_only_regular_files_are_opened_and_nothing_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_bytes(b"x")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name, kind in (("fifo", "a FIFO"), ("socket", "a socket"), (".", "a folder"), ("/dev/zero", "a device")):
            with pytest.raises(OSError, match=f"expected a regular file, it is {kind}"):
                open_regular(tmp_path / name)
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"x"
