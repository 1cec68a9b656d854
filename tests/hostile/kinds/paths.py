"""Strings of an index that become paths: they leave the folder, or lead to what is no regular file."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile.case import HARMLESS, REFUSED, Case, Place
from tests.hostile.commands import ALL
from tests.hostile.craft import edit_document, shard_of
from tests.hostile.odd import TEXTS
from tests.hostile.special import SPECIAL, instead


def paths() -> Iterator[Case]:
    """Shard paths; names of columns, splits, sets and the store; what stands in the place of a file."""
    yield from _shard_paths()
    yield from _in_place_of_a_shard()
    yield from _in_place_of_the_index()
    for name, text in TEXTS.items():
        yield Case(f"column named {name}", _rename_column(text), HARMLESS)
        yield Case(f"split named {name}", _rename_split(text), HARMLESS)
        yield Case(f"store named {name}", _field("name", text), HARMLESS)
        yield Case(f"data set named {name}", _field("dataset", text), HARMLESS)
    for name in ("up", "inner up", "absolute", "dots", "nul", "drive"):
        confined = REFUSED if name != "drive" else HARMLESS
        yield Case(
            f"column that leaves: {name}", _rename_column(TEXTS[name]), confined, frozenset({"verify", "export"})
        )
        yield Case(f"split that leaves: {name}", _rename_split(TEXTS[name]), confined, frozenset({"verify"}))
        yield Case(f"store that leaves: {name}", _field("name", TEXTS[name]), confined, frozenset({"train"}))


def _shard_paths() -> Iterator[Case]:
    """Wherever the path leads, there is a shard with the digest that the index states."""
    targets: dict[str, Callable[[Place], str]] = {
        "absolute": lambda place: str(place.outside / "shard.h5"),
        "up": lambda place: "../outside/shard.h5",
        "up from within": lambda place: "x.shards/../../outside/shard.h5",
        "double slash": lambda place: f"/{place.outside / 'shard.h5'}",
        "of the process": lambda place: "/proc/self/cwd/../outside/shard.h5",
        "through a link": lambda place: _linked(place, "away", place.outside, "away/shard.h5"),
        "through a link in the shards": lambda place: _linked(
            place, "x.shards/a", place.outside, "x.shards/a/shard.h5"
        ),
        "missing": lambda place: "x.shards/none.h5",
        "missing and outside": lambda place: "../outside/none.h5",
        "missing and far outside": lambda place: "/nowhere/at/all.h5",
        "a folder": lambda place: "x.shards",
        "the index": lambda place: "x.h5",
        "device": lambda place: "/dev/zero",
        "null": lambda place: "/dev/null",
        "standard input": lambda place: "/dev/stdin",
        "random": lambda place: "/dev/urandom",
        "memory": lambda place: "/proc/self/mem",
        "home": lambda place: "~/shard.h5",
        "address": lambda place: "http://127.0.0.1:9/shard.h5",
        "bucket": lambda place: "s3://bucket/shard.h5",
        **{f"text {name}": (lambda place, text=text: text) for name, text in TEXTS.items()},
    }
    for name, target in targets.items():
        for column in ("images", "maps"):
            yield Case(
                f"{column} at {name}", _path_of(column, target), REFUSED, frozenset({"verify", "pack", "export"})
            )
    yield Case("two columns with one file", _share, HARMLESS)
    yield Case("without folder", _path_of("images", lambda place: _moved(place)), HARMLESS)


def _path_of(column: str, target: Callable[[Place], str]) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        store = place.given / "x.h5"
        where = target(place)

        def edit(document: dict) -> None:
            columns = document["splits"]["train"]["columns"]
            name = column if column == "images" else next(name for name in columns if name != "images")
            columns[name]["files"][0]["path"] = where

        edit_document(store, edit)

    return make


def _linked(place: Place, name: str, target: Path, path: str) -> str:
    (place.given / name).symlink_to(target)
    return path


def _moved(place: Place) -> str:
    shutil.copy(shard_of(place.given / "x.h5"), place.given / "shard.h5")
    return "shard.h5"


def _share(place: Place) -> None:
    def edit(document: dict) -> None:
        files = [column["files"] for column in document["splits"]["train"]["columns"].values()]
        files[2][0] = files[1][0]

    edit_document(place.given / "x.h5", edit)


def _in_place_of_a_shard() -> Iterator[Case]:
    for what in (*SPECIAL, "link that leaves"):
        for column in ("images", "maps"):

            def make(place: Place, what: str = what, column: str = column) -> None:
                instead(shard_of(place.given / "x.h5", column), place.outside, what)

            yield Case(f"{column}: {what}", make, REFUSED, frozenset({"verify", "pack", "train"}))
    yield Case(
        "images: hard link", lambda place: instead(shard_of(place.given / "x.h5"), place.outside, "hard link"), HARMLESS
    )
    yield Case("folder of shards: link that leaves", _shards_elsewhere, REFUSED, frozenset({"verify"}))


def _shards_elsewhere(place: Place) -> None:
    shutil.move(place.given / "x.shards", place.outside / "x.shards")
    (place.given / "x.shards").symlink_to(place.outside / "x.shards")


def _in_place_of_the_index() -> Iterator[Case]:
    for base in ("raw", "packed"):
        for what in (*SPECIAL, "link that leaves"):
            expect = HARMLESS if what == "link that leaves" else REFUSED  # a user may well link a pack

            def make(place: Place, what: str = what) -> None:
                instead(place.given / "x.h5", place.outside, what)

            yield Case(f"{base} index: {what}", make, expect, ALL, base=base)


def _rename_column(text: str) -> Callable[[Place], None]:
    def edit(document: dict) -> None:
        old = document["superpixels"][0]["scales"][0]["column"]
        document["superpixels"][0]["scales"][0]["column"] = text
        for split in document["splits"].values():
            split["columns"] = {text if name == old else name: column for name, column in split["columns"].items()}

    return lambda place: edit_document(place.given / "x.h5", edit)


def _rename_split(text: str) -> Callable[[Place], None]:
    def edit(document: dict) -> None:
        document["splits"] = {text if name == "test" else name: split for name, split in document["splits"].items()}

    return lambda place: edit_document(place.given / "x.h5", edit)


def _field(name: str, text: str) -> Callable[[Place], None]:
    return lambda place: edit_document(place.given / "x.h5", lambda document: document.update({name: text}))
