"""Exported folders: their configuration, weights, and what stands in the place of a file."""

import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.hostile.case import HARMLESS, REFUSED, Case, Place
from tests.hostile.odd import MARK, TEXTS, VALUES, placed, verbatim, without
from tests.hostile.special import SPECIAL, instead

_PREDICT = frozenset({"predict"})
_FIELDS: tuple[tuple, ...] = (
    *((name,) for name in ("architecture", "num_classes", "num_features", "pretrained_cfg", "label_names", "lgcoamix")),
    *(("pretrained_cfg", name) for name in ("input_size", "mean", "std", "interpolation", "crop_pct", "num_classes")),
    *(("lgcoamix", name) for name in ("format", "sha256", "images", "data", "settings", "checkpoint", "store")),
    *(("lgcoamix", "images", name) for name in ("size", "resize", "codec", "pillow")),
    *(("lgcoamix", "data", name) for name in ("image_size", "crop", "padding", "scale", "ratio", "flip", "test")),
    ("label_names", 0),
)
# Whatever timm would fetch, open or run if a configuration asks for it.
_REACHING: dict[str, Callable[[Place], dict[str, Any]]] = {
    "pretrained_cfg.url": lambda place: {"pretrained_cfg": {"url": "http://127.0.0.1:9/x.safetensors"}},
    "pretrained_cfg.file": lambda place: {"pretrained_cfg": {"file": str(place.outside / "evil.pt")}},
    "pretrained_cfg.file, a pipe": lambda place: {"pretrained_cfg": {"file": _pipe(place.outside / "pipe")}},
    "pretrained_cfg.state_dict": lambda place: {"pretrained_cfg": {"state_dict": {"fc.weight": 1}}},
    "pretrained_cfg.hf_hub_id": lambda place: {"pretrained_cfg": {"hf_hub_id": "somebody/model"}},
    "pretrained_cfg.hf_hub_filename": lambda place: {"pretrained_cfg": {"hf_hub_filename": "../../outside/evil.pt"}},
    "pretrained_cfg.source": lambda place: {"pretrained_cfg": {"source": "hf-hub", "hf_hub_id": "somebody/model"}},
    "pretrained_cfg.custom_load": lambda place: {"pretrained_cfg": {"custom_load": True}},
    "model_args.checkpoint_path": lambda place: {"model_args": {"checkpoint_path": str(place.outside / "evil.pt")}},
    "model_args.pretrained": lambda place: {"model_args": {"pretrained": True}},
    "model_args.pretrained_cfg": lambda place: {"model_args": {"pretrained_cfg": {"url": "http://127.0.0.1:9/x"}}},
    "model_args.pretrained_cfg_overlay": lambda place: {
        "model_args": {"pretrained_cfg_overlay": {"file": str(place.outside / "evil.pt")}}
    },
    "model_args.cache_dir": lambda place: {"model_args": {"cache_dir": str(place.outside / "cache")}},
    "model_args.scriptable": lambda place: {"model_args": {"scriptable": True}},
    "model_args.block": lambda place: {"model_args": {"block": "os.system"}},
    "model_args.act_layer": lambda place: {"model_args": {"act_layer": "torch.hub.load"}},
    "model_args, unknown": lambda place: {"model_args": {MARK: 1}},
    "model_args, of another type": lambda place: {"model_args": [1]},
    "model_args.num_classes": lambda place: {"model_args": {"num_classes": 10**9}},
    "model_args.layers": lambda place: {"model_args": {"layers": [10**6] * 4}},
    "model_args.base_width": lambda place: {"model_args": {"base_width": 10**7}},
    "model_args.in_chans": lambda place: {"model_args": {"in_chans": 10**9}},
    "architecture, a folder": lambda place: {"architecture": f"local-dir:{place.outside}"},
    "architecture, of a hub": lambda place: {"architecture": "hf-hub:somebody/model"},
    "architecture, by its old name": lambda place: {"architecture": "hf_hub:somebody/model"},
    "architecture, with a tag": lambda place: {"architecture": "resnet10t.c3_in1k"},
    "architecture, huge": lambda place: {"architecture": "vit_gigantic_patch14_clip_224"},
    "architecture, another": lambda place: {"architecture": "resnet18"},
}


def models() -> Iterator[Case]:
    """Every trick on every file."""
    for name, changes in _REACHING.items():
        yield Case(f"asks for {name}", _merged(changes), HARMLESS, base="model")
    for path in _FIELDS:
        where = ".".join(map(str, path))
        if not isinstance(path[-1], int):
            yield Case(f"no {where}", _config(lambda old, path=path: without(old, path)), HARMLESS, base="model")
        for name, value in VALUES.items():
            yield Case(f"{where}: {name}", _config(_placed(path, value)), HARMLESS, base="model")
    for name, text in TEXTS.items():
        for path in (
            ("label_names", 0),
            ("architecture",),
            ("lgcoamix", "images", "codec"),
            ("lgcoamix", "store", "name"),
        ):
            yield Case(
                f"{'.'.join(map(str, path))} is {name}",
                _config(_placed(path, text)),
                base="model",
                verbatim=verbatim(text),
            )
    for field, value in ((("lgcoamix", "data", "image_size"), 10**6), (("lgcoamix", "images", "size"), 10**6)):
        yield Case(f"{field[-1]} of a million", _config(_placed(field, value)), REFUSED, _PREDICT, base="model")
    yield from _texts()
    yield from _weights()
    for name in ("config.json", "model.safetensors"):
        for what in SPECIAL:
            yield Case(
                f"{name}: {what}",
                lambda place, name=name, what=what: instead(place.given / name, place.outside, what),
                REFUSED,
                _PREDICT,
                base="model",
            )
    yield Case("a link beside the rest", _beside, HARMLESS, base="model")
    yield Case("pytorch_model.bin beside the weights", _pickle_beside(False), HARMLESS, base="model")
    yield Case("pytorch_model.bin in the place of the weights", _pickle_beside(True), REFUSED, _PREDICT, base="model")


def _pipe(path: Path) -> str:
    os.mkfifo(path)
    return str(path)


def _placed(path: tuple, value: Any) -> Callable[[dict], Any]:
    return lambda old: placed(old, path, value)


def _config(change: Callable[[dict], Any]) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        path = place.given / "config.json"
        path.write_text(json.dumps(change(json.loads(path.read_bytes()))))

    return make


def _merged(changes: Callable[[Place], dict[str, Any]]) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        from tests.hostile.kinds.checkpoints import gadget

        (place.outside / "evil.pt").write_bytes(gadget(place.outside / "ran"))

        def change(old: dict) -> dict:
            for name, value in changes(place).items():
                old[name] = {**old.get(name, {}), **value} if isinstance(value, dict) else value
            return old

        _config(change)(place)

    return make


def _texts() -> Iterator[Case]:
    for name, text in {
        "empty": b"",
        "null": b"null",
        "list": b"[]",
        "nested": b"[" * 200_000,
        "nested field": b'{"lgcoamix": {"format": 1}, "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "digits": b'{"lgcoamix": {"format": ' + b"9" * 10_000 + b"}}",
        "NaN": b'{"lgcoamix": {"format": NaN}}',
        "no UTF-8": b'{"lgcoamix": {"format": 1}, "a": "\xff"}',
        "60 MB": b'{"lgcoamix": {"format": 1}}' + b" " * 60_000_000,
    }.items():
        write = lambda place, text=text: (place.given / "config.json").write_bytes(text)  # noqa: E731
        yield Case(f"config.json: {name}", write, REFUSED, _PREDICT, base="model")


def _weights() -> Iterator[Case]:
    def header(text: bytes, size: int | None = None, rest: bytes = b"") -> bytes:
        return struct.pack("<Q", len(text) if size is None else size) + text + rest

    for name, data in {
        "empty": b"",
        "short": b"\1",
        "huge header": header(b"{}", 2**63),
        "header of 4 GB": header(b"{}", 2**32),
        "no JSON": header(b"zebra"),
        "no tensors": header(b"{}"),
        "nested": header(b'{"a":' * 10_000),
        "offsets beyond": header(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'),
        "vast shape": header(
            b'{"a":{"dtype":"F32","shape":[1000000000,1000000000],"data_offsets":[0,4]}}', rest=bytes(4)
        ),
        "negative": header(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[-4,0]}}'),
        "unknown type": header(b'{"a":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}', rest=bytes(4)),
        "a pickle": b"\x80\x02cos\nsystem\nX\x04\0\0\0trueq\0\x85R.",
        "control characters": header(
            b'{"\x1b[2Jzebra":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', rest=bytes(4)
        ),
    }.items():
        for sealed in (True, False):
            yield Case(
                f"weights: {name}{'' if sealed else ', not sealed'}", _write(data, sealed), REFUSED, _PREDICT, "model"
            )


def _write(data: bytes, sealed: bool) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        (place.given / "model.safetensors").write_bytes(data)
        if sealed:
            _config(_placed(("lgcoamix", "sha256"), hashlib.sha256(data).hexdigest()))(place)

    return make


def _beside(place: Place) -> None:
    (place.given / "more").symlink_to(place.outside)


def _pickle_beside(alone: bool) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        from tests.hostile.kinds.checkpoints import gadget

        (place.given / "pytorch_model.bin").write_bytes(gadget(place.outside / "ran"))
        if alone:
            (place.given / "model.safetensors").unlink()

    return make
