"""Archives of a data set: bombs, links, devices, names that leave, sizes that lie, depth."""

import hashlib
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.hostile.case import HARMLESS, REFUSED, Case, Place
from tests.hostile.odd import TEXTS

_BUILD = frozenset({"build cub"})
_BLOCK = bytes(1 << 24)
NAME = "archive"


def archives() -> Iterator[Case]:
    """Tar, compressed tar, and zip; each is the one archive that CUB has in this process."""
    for name, member in _members().items():
        yield _case(f"tar: {name}", "tgz", lambda member=member: _tar(*member))
    for name, text in TEXTS.items():
        yield _case(f"tar: member named {name}", "tgz", lambda text=text: _tar(tarfile.TarInfo(text), b"x"), HARMLESS)
        yield _case(f"zip: member named {name}", "zip", lambda text=text: _zip({text: b"x"}), HARMLESS)
    for name, data in _odd_files().items():
        yield _case(name, name.partition(":")[0], data)


def _case(name: str, ending: str, data: Callable[[], bytes], expect: str = REFUSED) -> Case:
    def make(place: Place) -> None:
        (place.given / f"{NAME}.{ending}").write_bytes(data())

    return Case(name, make, expect, _BUILD, base="nothing")


def described(given: Path) -> dict[str, Any]:
    """The archive of a case, as an adapter would describe it: by its own digest, which proves nothing."""
    path = next(path for path in given.iterdir() if path.stem == NAME)
    digest = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    return {"name": path.name, "url": None, "digest": digest, "size": path.stat().st_size}


def _members() -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int | None = None) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        if size is not None:
            info.size = size
        return info

    return {
        "link that leaves": (member("a", tarfile.SYMTYPE, "../../outside"), b""),
        "hard link that leaves": (member("a", tarfile.LNKTYPE, "../../outside/secret.txt"), b""),
        "device": (member("a", tarfile.CHRTYPE), b""),
        "block device": (member("a", tarfile.BLKTYPE), b""),
        "pipe": (member("a", tarfile.FIFOTYPE), b""),
        "unknown type": (member("a", b"Z"), b""),
        "absolute": (member("/nowhere/evil"), b"x"),
        "up": (member("../../outside/evil"), b"x"),
        "up from within": (member("a/../../../outside/evil"), b"x"),
        "1,000 folders deep": (member("/".join(["d"] * 1000) + "/x"), b"x"),
        "50,000 folders deep": (member("/".join(["d"] * 50_000) + "/x"), b"x"),
        "named as the lock": (member(".fetch.lock"), b"x"),
        "named as the archive": (member(f"{NAME}.tgz"), b"x"),
        "named as what is unpacked": (member(f".unpacked/{NAME}.tgz"), b"x"),
        "of lying size": (member("a", size=10**12), b"x"),
    }


def _tar(info: tarfile.TarInfo, data: bytes, mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        if not info.size:
            info.size = len(data)
        tar.addfile(info) if info.size > len(data) else tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _zip(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name[:65_000] or "none"), data)
    return buffer.getvalue()


def _gzip_bomb(size: int) -> bytes:
    """A compressed tar with one file of zeros."""
    info = tarfile.TarInfo("zeros")
    info.size = size
    packer = zlib.compressobj(1, wbits=31)
    parts = [packer.compress(info.tobuf())]
    parts += [packer.compress(_BLOCK) for _ in range(size // len(_BLOCK))]
    return b"".join([*parts, packer.compress(bytes(10240)), packer.flush()])


def _zip_bomb(size: int) -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("zeros", "w", force_zip64=True) as file,
    ):
        for _ in range(size // len(_BLOCK)):
            file.write(_BLOCK)
    return buffer.getvalue()


def _lying_zip() -> bytes:
    """The headers say one byte; the deflated bytes go on."""
    data = bytearray(_zip_bomb(1 << 26))
    for mark, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        place = data.index(mark) + offset
        data[place : place + 4] = struct.pack("<I", 1)
    return bytes(data)


def _many() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for number in range(20_000):
            tar.addfile(tarfile.TarInfo(f"{number}"))
    return buffer.getvalue()


def _odd_files() -> dict[str, Callable[[], bytes]]:
    G = 1 << 30
    return {
        "tgz: 1 GB of zeros": lambda: _gzip_bomb(G),
        "zip: 1 GB of zeros": lambda: _zip_bomb(G),
        "zip: sizes that lie": _lying_zip,
        "zip: the same name twice": lambda: _zip({"a": b"1", "./a": b"2"}),
        "zip: a file that is a folder": lambda: _zip({"a": b"1", "a/b": b"2"}),
        "zip: empty": lambda: _zip({}),
        "tgz: empty": lambda: b"",
        "tgz: text": lambda: b"zebra" * 1000,
        "tgz: 20,000 empty files": _many,
        "zip: text": lambda: b"zebra" * 1000,
        "tgz: cut": lambda: _tar(tarfile.TarInfo("a"), b"x" * 5000)[:60],
        "tar: sparse": lambda: b"a".ljust(156, b"\0") + b"S" + bytes(355) + bytes(1024),
    }
