"""Run folders: checkpoints that would run something, unpack to much, or hold what no run wrote."""

import io
import json
import os
import pickle
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from tests.hostile.case import HARMLESS, REFUSED, Case, Place
from tests.hostile.odd import MARK, TEXTS, VALUES, placed, verbatim, without
from tests.hostile.special import SPECIAL, instead

_READ = frozenset({"evaluate", "export", "train --resume"})
_FILES = ("best.pt", "last.pt")
_ENTRIES = ("format", "model", "model_ema", "config", "epoch", "metrics", "position", "optimiser", "rows", "timings")
_CONFIG: tuple[tuple, ...] = (
    *((name,) for name in ("settings", "classes", "store", "recipe", "seed", "val_fraction", "test_split", "versions")),
    *(("settings", name) for name in ("data", "model", "optim", "compute", "method", "mixer")),
    *(("settings", "data", name) for name in ("image_size", "crop", "padding", "scale", "flip", "normalise")),
    *(("settings", "model", name) for name in ("backbone", "weights", "width")),
    *(("settings", "optim", name) for name in ("epochs", "batch_size", "lr", "optimiser", "schedule", "accumulate")),
    *(("store", name) for name in ("path", "name", "images", "keys", "superpixels", "samples")),
    *(("store", "images", name) for name in ("size", "resize", "codec")),
)
_HUGE: dict[tuple, Any] = {
    ("settings", "data", "image_size"): 10**6,
    ("settings", "model", "width"): 10**9,
    ("settings", "optim", "epochs"): 10**12,
    ("settings", "optim", "batch_size"): 10**12,
    ("settings", "optim", "accumulate"): 10**12,
    ("classes",): [str(number) for number in range(300_000)],
    ("settings", "model", "backbone"): "vit_gigantic_patch14_clip_224",
}
_BACKBONES = {
    "a folder": "local-dir:/nowhere",
    "a hub": "hf-hub:somebody/model",
    "unknown": MARK,
    "markup": f"[bold]{MARK}[/bold]",
    "up": "../../outside/evil",
}
_JSON = ("config.json", "results.json")
_TABLES = ("metrics.csv", "timing.csv", "lambdas.csv")


class _Gadget:
    """Runs ``touch`` when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.mark}'",)


def gadget(mark: Path, whole: bool = False) -> bytes:
    """A checkpoint that leaves a mark if it is unpickled without care."""
    state = _Gadget(mark)
    buffer = io.BytesIO()
    if whole:
        pickle.dump(state, buffer)
    else:
        torch.save({"format": 1, "model": {"a": state}, "config": {}}, buffer)
    return buffer.getvalue()


def checkpoints() -> Iterator[Case]:
    """Each in the place of ``best.pt`` and ``last.pt``, unless it says another file."""
    yield from _raw()
    for name in _ENTRIES:
        yield Case(f"no {name}", _state(lambda old, name=name: old.pop(name, None)), HARMLESS, base="run")
        for what, value in VALUES.items():
            yield Case(
                f"{name}: {what}", _state(lambda old, name=name, value=value: old.update({name: value})), base="run"
            )
    for path in _CONFIG:
        where = ".".join(map(str, path))
        yield Case(f"no config.{where}", _config(lambda old, path=path: without(old, path)), HARMLESS, base="run")
        for what, value in VALUES.items():
            yield Case(f"config.{where}: {what}", _config(_put(path, value)), HARMLESS, base="run")
    for path, value in _HUGE.items():
        yield Case(f"config.{'.'.join(path)} is huge", _config(_put(path, value)), HARMLESS, base="run")
    for what, name in _BACKBONES.items():
        yield Case(f"backbone: {what}", _config(_put(("settings", "model", "backbone"), name)), REFUSED, _READ, "run")
    for what, text in TEXTS.items():
        for path in (("classes", 0), ("recipe",), ("store", "name"), ("store", "path"), ("hardware",), ("commit",)):
            where = ".".join(map(str, path))
            yield Case(f"config.{where} is {what}", _config(_put(path, text)), base="run", verbatim=verbatim(text))
    yield from _tensors()
    yield from _beside()


def _write(names: tuple[str, ...], data: Callable[[Place], bytes]) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        for name in names:
            (place.given / name).write_bytes(data(place))

    return make


def _state(change: Callable[[dict], Any]) -> Callable[[Place], None]:
    """Change the content of both checkpoints."""

    def make(place: Place) -> None:
        for name in _FILES:
            state = torch.load(place.given / name, weights_only=True)
            change(state)
            torch.save(state, place.given / name)

    return make


def _put(path: tuple, value: Any) -> Callable[[dict], dict]:
    return lambda old: placed(old, path, value)


def _config(change: Callable[[dict], dict]) -> Callable[[Place], None]:
    """Change the configuration in both checkpoints and beside them."""

    def make(place: Place) -> None:
        _state(lambda old: old.update(config=change(old["config"])))(place)
        path = place.given / "config.json"
        path.write_text(json.dumps(change(json.loads(path.read_bytes()))))

    return make


def _zip(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _raw() -> Iterator[Case]:
    content: dict[str, Callable[[Place], bytes]] = {
        "gadget": lambda place: gadget(place.outside / "ran"),
        "gadget, a bare pickle": lambda place: gadget(place.outside / "ran", whole=True),
        "gadget in a zip": lambda place: _zip({"x/data.pkl": gadget(place.outside / "ran", whole=True)}),
        "a script for torch": lambda place: _zip({"x/constants.pkl": b"", "x/code/a.py": b"import os"}),
        "deflated to 1 GB": lambda place: _zip({"x/data.pkl": bytes(1 << 30)}, zipfile.ZIP_DEFLATED),
        "many entries": lambda place: _zip({f"x/data/{number}": b"" for number in range(50_000)}),
        "names that leave": lambda place: _zip({"../../outside/evil": b"1", "x/data.pkl": b"\x80\x02}."}),
        "empty": lambda place: b"",
        "a text": lambda place: b"zebra",
        "an empty zip": lambda place: _zip({}),
        "nested pickle": lambda place: _zip(
            {"x/data.pkl": b"\x80\x02" + b"(" * 10**6 + b"t" * 10**6 + b".", "x/version": b"3"}
        ),
        "long numbers": lambda place: _zip({"x/data.pkl": b"I" + b"9" * 10**5 + b"\n.", "x/version": b"3"}),
        "unknown global": lambda place: _zip(
            {"x/data.pkl": b"cbuiltins\neval\nX\x01\0\0\0" + b"1\x85R.", "x/version": b"3"}
        ),
        "control characters": lambda place: _zip({"x/data.pkl": b"c\x1b[2Jzebra\nforged\n.", "x/version": b"3"}),
    }
    for name, data in content.items():
        yield Case(f"file: {name}", _write(_FILES, data), REFUSED, _READ, base="run")
    for what in SPECIAL:
        for name in (*_FILES, *_JSON):
            yield Case(
                f"{name}: {what}",
                lambda place, name=name, what=what: instead(place.given / name, place.outside, what),
                HARMLESS,
                base="run",
            )
    for seed in range(10):
        yield Case(f"flips {seed}", _damaged(seed, cut=False), REFUSED, _READ, base="run")
        yield Case(f"cut {seed}", _damaged(seed, cut=True), REFUSED, _READ, base="run")


def _damaged(seed: int, cut: bool) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        for name in _FILES:
            pick, path = random.Random(seed), place.given / name
            data = bytearray(path.read_bytes())
            if cut:
                del data[pick.randrange(len(data)) :]
            else:
                names = zipfile.ZipFile(path).infolist()  # a flip between the entries changes nothing
                chosen = pick.choice([entry for entry in names if entry.file_size > 1000])
                data[chosen.header_offset + 500 + pick.randrange(400)] ^= 1 << pick.randrange(8)
            path.write_bytes(data)

    return make


def _tensors() -> Iterator[Case]:
    def changed(change: Callable[[dict], Any]) -> Callable[[Place], None]:
        return _state(lambda old: change(old["model"]))

    def first(model: dict) -> str:
        return next(name for name in model if name.endswith("weight"))

    for what, value in {
        "vast by its strides": lambda old: torch.zeros(1).expand(10**12),
        "of no elements": lambda old: old[:0],
        "complex": lambda old: old.to(torch.complex64),
        "int64": lambda old: old.long(),
        "NaN": lambda old: old * torch.nan,
        "infinite": lambda old: old + torch.inf,
        "sparse": lambda old: old.to_sparse(),
        "on no device": lambda old: old.to("meta"),
        "quantised": lambda old: torch.quantize_per_tensor(old, 0.1, 0, torch.quint8),
        "a number": lambda old: 1.0,
        "a list": lambda old: [1, 2],
        "a text": lambda old: f"[bold]{MARK}[/bold]",
    }.items():
        put = lambda model, value=value: model.update({first(model): value(model[first(model)])})  # noqa: E731
        yield Case(f"tensor {what}", changed(put), HARMLESS, base="run")
    yield Case(
        "tensor more", changed(lambda model: model.update({f"\x1b[2J{MARK}": torch.zeros(1)})), HARMLESS, base="run"
    )
    yield Case("tensor with a number for a name", changed(lambda model: model.update({7: torch.zeros(1)})), base="run")


def _beside() -> Iterator[Case]:
    for name in _JSON:
        for what, text in {
            "empty": b"",
            "a list": b"[]",
            "null": b"null",
            "nested": b"[" * 200_000 + b"]" * 200_000,
            "digits": b'{"seed": ' + b"9" * 10_000 + b"}",
            "NaN": b'{"epochs": NaN, "seed": NaN}',
            "no UTF-8": b"\xff\xfe{}",
            "cut": b'{"seed": 1',
        }.items():
            yield Case(f"{name} {what}", _write((name,), lambda place, text=text: text), HARMLESS, base="run")
    for what, value in VALUES.items():
        for field in ("best_epoch", "epochs", "best_chosen_on", "test_top1"):

            def make(place: Place, field: str = field, value: Any = value) -> None:
                path = place.given / "results.json"
                path.write_text(json.dumps(placed(json.loads(path.read_bytes()), (field,), value)))

            yield Case(f"results.{field}: {what}", make, HARMLESS, base="run")
    for name in _TABLES:
        for what, text in {
            "empty": b"",
            "zeros": bytes(1000),
            "text": b"zebra\n\x1b[2J",
            "wide": b"a," * 100_000,
        }.items():
            yield Case(f"{name} {what}", _write((name,), lambda place, text=text: text), HARMLESS, base="run")
    yield Case(
        "evaluation that is a link",
        lambda place: (place.given / "evaluation-test").symlink_to(place.outside),
        base="run",
    )
