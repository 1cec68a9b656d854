"""Names that somebody chose: of classes, keys and reasons, which are printed, written to tables, or become files."""

from collections.abc import Callable, Iterator

import h5py
import numpy as np

from tests.hostile.case import HARMLESS, REFUSED, SOUND, Case, Place
from tests.hostile.commands import IMAGES
from tests.hostile.craft import edit_document, edit_shard, put
from tests.hostile.odd import MARK, TEXTS, verbatim

_NO_KEY = ("escape", "c1", "newline", "return", "nul", "empty", "dots", "up", "inner up", "absolute")
_KEYS = frozenset({"verify", "export", "duplicates"})


def names() -> Iterator[Case]:
    """Each odd text in every place that holds a name."""
    for name, text in TEXTS.items():
        yield Case(f"class: {name}", _class(text), HARMLESS, verbatim=verbatim(text))
        yield Case(f"reason: {name}", _failed("reason", text), HARMLESS, verbatim=verbatim(text))
        yield Case(f"failed key: {name}", _failed("key", text), HARMLESS, verbatim=verbatim(text))
        yield Case(f"excluded key: {name}", _excluded(text), HARMLESS, verbatim=verbatim(text))
        expect, readers = (REFUSED, _KEYS) if name in _NO_KEY else (HARMLESS, frozenset())
        yield Case(f"key: {name}", _key(text.encode()), expect, readers, verbatim=verbatim(text))
    for name, text in {
        "brackets": f"IMG_1 [{MARK}]",
        "umlaut": "Ä",
        "comma": 'a, "b"',
        "markup": "[bold]x[/bold]",
    }.items():
        # Not by verify: the keys of the content are still those of the name before.
        readers = frozenset({"export", "train", "duplicates", "show", "report"})
        yield Case(f"legitimate key: {name}", _key(text.encode()), SOUND, readers, verbatim=verbatim(text))
        yield Case(f"legitimate class: {name}", _class(text), SOUND, verbatim=verbatim(text))
    yield Case("class: lone surrogate", _class("\ud800"), REFUSED, frozenset({"verify"}))
    yield Case("classes: the same twice", _classes(["a", "a"]), REFUSED, frozenset({"verify", "train"}))
    yield Case("classes: none", _classes([]), REFUSED, IMAGES)
    yield Case("classes: one for two labels", _classes(["a"]), REFUSED, IMAGES)
    yield Case("classes: a million", _classes([str(number) for number in range(1_000_000)]), HARMLESS)
    for name, key in {"not UTF-8": b"\xff\xfe", "overlong": b"\xc0\x80", "surrogate": b"\xed\xa0\x80"}.items():
        yield Case(f"key: {name}", _key(key), REFUSED, _KEYS)
    yield Case("keys: the same twice", _second_key_is_first, REFUSED, _KEYS)
    yield Case("keys: one is the folder of another", _key(b"train/a"), HARMLESS)


def _class(text: str) -> Callable[[Place], None]:
    return _classes([text, "b"])


def _classes(names: list[str]) -> Callable[[Place], None]:
    return lambda place: edit_document(place.given / "x.h5", lambda document: document.update(classes=names))


def _failed(field: str, text: str) -> Callable[[Place], None]:
    entry = {"key": "train/a/9.png", "reason": "broken", "source": ""} | {field: text}

    def edit(document: dict) -> None:
        document["splits"]["train"]["failed"] = [entry]

    return lambda place: edit_document(place.given / "x.h5", edit)


def _excluded(text: str) -> Callable[[Place], None]:
    return lambda place: edit_document(
        place.given / "x.h5", lambda document: document["splits"]["train"].update(excluded=[text])
    )


def _key(text: bytes) -> Callable[[Place], None]:
    def edit(file: h5py.File) -> None:
        keys = [text, *file["keys"][1:].tolist()]
        put(file, "keys", np.asarray(keys, h5py.string_dtype("utf-8", max(map(len, keys)))))

    return lambda place: edit_shard(place.given / "x.h5", edit)


def _second_key_is_first(place: Place) -> None:
    def edit(file: h5py.File) -> None:
        file["keys"][1] = file["keys"][0]

    edit_shard(place.given / "x.h5", edit)
