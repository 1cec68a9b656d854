"""Odd texts and values, and documents with one of them in the place of a node."""

import copy
import random
from collections.abc import Iterator
from typing import Any

MARK = "zebra"  # in every odd text that may be printed, so that a test finds it again
TEXTS = {
    "markup": f"[bold red]{MARK}[/bold red]",
    "closing tag": f"{MARK}[/nothing]",
    "link markup": f"[link=http://127.0.0.1/]{MARK}[/link]",
    "escape": f"{MARK}\x1b[2J\x1b]0;title\x07",
    "c1": f"{MARK}\x9b2J",
    "newline": f"{MARK}\nforged: line",
    "return": f"{MARK}\rforged",
    "line separator": f"{MARK}\u2028forged",
    "nul": f"{MARK}\0tail",
    "right to left": f"{MARK}\u202etxt.exe",
    "isolate": f"\u2066{MARK}",
    "zero width": f"ze\u200bbra{MARK}",
    "tag": f"{MARK}\U000e0041",
    "formula": "=cmd|' /C calc'!A0",
    "plus": "+cmd|' /C calc'!A0",
    "at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "script": f"<script>{MARK}</script>",
    "attribute": f'"><img src=x onerror={MARK}>',
    "table": f"{MARK} | [x](http://127.0.0.1) `{MARK}`",
    "long": "z" * 100_000,
    "wide": MARK + "e\u0301" * 5_000,
    "empty": "",
    "space": " ",
    "dot": ".",
    "dots": "..",
    "up": "../../outside/evil",
    "inner up": "a/../../../outside/evil",
    "absolute": "/nowhere/evil",
    "double slash": "a//b",
    "trailing slash": "a/",
    "backslashes": "..\\..\\evil",
    "drive": "C:\\evil",
    "tilde": "~/evil",
    "option": "--out",
    "format": "%s%n{0.__class__}{{7*7}}",
    "no character": f"{MARK}\uffff",
}
HUGE = 10**400
VALUES = {
    "null": None,
    "true": True,
    "zero": 0,
    "minus one": -1,
    "half": 0.5,
    "minus zero": -0.0,
    "2^31": 2**31,
    "2^63": 2**63,
    "minus 2^63": -(2**63),
    "10^400": HUGE,
    "1e308": 1e308,
    "empty text": "",
    "digits": "7",
    "empty list": [],
    "list": [1, "a", None],
    "nested": [[[[[[[[]]]]]]]],
    "empty object": {},
    "object": {MARK: 1, "path": "../x"},
    "ten thousand": list(range(10_000)),
}


def verbatim(text: str) -> str:
    """The text if it has markup and is printed as it is; else empty."""
    return text if MARK in text and "[" in text and text.isprintable() else ""


def nodes(document: Any, path: tuple = ()) -> Iterator[tuple]:
    """Path of every node below the root; of long lists, of the first and last entry."""
    if isinstance(document, dict):
        children = list(document.items())
    elif isinstance(document, list):
        children = list(enumerate(document))
        children = children if len(children) <= 2 else [children[0], children[-1]]
    else:
        return
    for name, child in children:
        yield (*path, name)
        yield from nodes(child, (*path, name))


def placed(document: Any, path: tuple, value: Any) -> Any:
    """A copy of a document with another value at a path."""
    changed = copy.deepcopy(document)
    parent = changed
    for name in path[:-1]:
        parent = parent[name]
    parent[path[-1]] = value
    return changed


def without(document: Any, path: tuple) -> Any:
    """A copy of a document without a node."""
    changed = copy.deepcopy(document)
    parent = changed
    for name in path[:-1]:
        parent = parent[name]
    del parent[path[-1]]
    return changed


def mutated(document: Any, seed: int) -> tuple[str, Any]:
    """What was done, and a document of which one or two nodes were replaced, removed or renamed."""
    pick, told = random.Random(seed), []
    for _ in range(pick.choice((1, 1, 1, 2))):
        found = list(nodes(document))
        if not found:
            break
        path = pick.choice(found)
        where = ".".join(map(str, path))
        how = pick.choice(("value", "value", "text", "text", "remove", "near"))
        if how == "remove":
            document = without(document, path)
            told.append(f"no {where}")
            continue
        name, value = _other(how, document, path, pick)
        document = placed(document, path, value)
        told.append(f"{where}: {name}")
    return "; ".join(told), document


def _other(how: str, document: Any, path: tuple, pick: random.Random) -> tuple[str, Any]:
    if how != "near":
        return pick.choice(sorted((VALUES if how == "value" else TEXTS).items(), key=lambda item: item[0]))
    for name in path:
        document = document[name]
    if isinstance(document, bool | None) or not isinstance(document, int | float | str):
        return "null", None
    if isinstance(document, str):
        return pick.choice((("doubled", document * 2), ("cut", document[:-1]), ("upper case", document.upper())))
    return pick.choice((("one more", document + 1), ("one less", document - 1), ("negative", -document)))
