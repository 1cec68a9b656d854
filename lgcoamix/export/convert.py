"""Convert a released checkpoint: an exported model, and beside it the whole network as a checkpoint of ours."""

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from lgcoamix.errors import RunError, SettingsError
from lgcoamix.export.export import Summary, write_model
from lgcoamix.export.layouts import LAYOUTS, NET, DecoderForm, Layout, find_decoder, of_our_shape, recognise
from lgcoamix.models import Backbone, LocalGlobalNet
from lgcoamix.models.backbone import classifiers, misfits, read_state
from lgcoamix.models.hub import config_of
from lgcoamix.ops.torch_files import check_weights
from lgcoamix.recipes.protocol import stored_text
from lgcoamix.runs.checkpoint import FORMAT
from lgcoamix.runs.documents import NETWORK
from lgcoamix.runs.load import Trained
from lgcoamix.settings.options import ConvertOptions
from lgcoamix.settings.sections import DataSettings, Settings, to_plain
from preprocess.files import digest_of
from preprocess.store import Store
from preprocess.text import listed, one_line, shown_name

_SMALL = 8  # stride of the last map of networks for images of 32 to 64 pixels
_CIFAR = 32  # pixels
_ROUNDING = 1e-6  # 448 * 8 / 7 is a little less than 512, or more
_PACKAGES = ("lgcoamix", "torch", "timm")
_NOTHING = torch.empty(())


@dataclass
class _Found:
    """What a file holds, by our names."""

    state: dict[str, Tensor] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    decoder: DecoderForm | None = None

    def has(self, part: str) -> bool:
        return any(name.startswith(f"{part}.") for name in self.state)


def convert(options: ConvertOptions, store: Store | None) -> tuple[Summary, list[str]]:
    """Read a released checkpoint, give its tensors our names, compare them with the network, and write the folder.

    Parameters
    ----------
    options : file, layout, backbone, classes and output folder.
    store : its images say how those of ``predict`` are resized; None: as in the released test.

    Returns
    -------
    The summary of the export, and what else there is to say.

    Raises
    ------
    SettingsError : the backbone is unknown, or of another form than the released one.
    RunError : the file cannot be read, or is of another layout, network or number of classes. Nothing is written then.
    """
    layout = LAYOUTS[options.layout]
    settings = Settings().with_method(layout.method).with_values("model", backbone=options.backbone, weights="none")
    size = options.image_size or layout.image_size or _own_size(options.backbone)
    with torch.device("meta"):
        backbone = Backbone(options.backbone, len(options.classes), "none", size)
    _check_stride(options, layout, backbone)
    state = _read(options.file)
    found = _translate(options, layout, state, backbone)
    settings = _with_branches(settings, found)
    settings = settings.with_values("data", image_size=size)
    with torch.device("meta"):
        wanted = LocalGlobalNet.of(settings, len(options.classes)).state_dict()
    _check(options, layout, state, found, wanted)
    data, images, protocol, notes = _protocol(options, layout, backbone, size, store)
    settings = settings.with_values("data", test=data.test, normalise=data.normalise)
    config = _config(options, layout, settings, images, protocol, found.notes)
    content = {"format": FORMAT, "model": found.state, "model_ema": None, "config": config}
    trained = Trained(options.file, config, settings, "converted", "model", found.state, {})
    buffer = io.BytesIO()
    torch.save(content, buffer)
    summary = write_model(trained, images, options.out, {NETWORK: buffer.getbuffer()})
    notes += _guesses(options, layout, data)
    if store is None and layout.squashed and images["resize"] == "short":
        notes.append(_resized(images["size"], layout))
    return summary, notes + found.notes


def _guesses(options: ConvertOptions, layout: Layout, data: DataSettings) -> list[str]:
    """Say what of the input neither the file nor its source states, and how to state it."""
    guessed = {}
    if options.image_size is None and layout.image_size is None:
        guessed["--image-size"] = f"{data.image_size} pixels"
    if not layout.margin and options.test is None:
        guessed["--test"] = "the centre of the image" if data.test == "center" else "the whole image"
    if not layout.margin and options.normalise is None:
        guessed["--normalise"] = "normalised"
    if not guessed:
        return []
    example = " (64 for Tiny-ImageNet)" if list(guessed) == ["--image-size"] else ""
    return [
        f"input: {', '.join(guessed.values())}, as in timm's {options.backbone}; the file does not say. If its "
        f"training had another{example}, repeat with {', '.join(guessed)}"
    ]


def _resized(stored: int, layout: Layout) -> str:
    return (
        f"images: resized to a short side of {stored} pixels, as {layout.source} did for {layout.short}; those of "
        f"{layout.squashed} it squashed to {stored}x{stored}: for these, repeat with the --shards of a store that was "
        f"built with --size {stored} --resize squash"
    )


def _own_size(name: str) -> int:
    cfg = config_of(name)
    return cfg.input_size[1] if cfg else DataSettings.image_size


def _check_stride(options: ConvertOptions, layout: Layout, backbone: Backbone) -> None:
    """Refuse a network that has the shapes of the released one, but gives other logits."""
    last, name = backbone.reductions[-1], options.backbone.partition(".")[0]
    if not layout.strides or last in layout.strides:
        return
    others = (f"{name}_stride16", name.removesuffix("_stride16"))
    right = next((other for other in others if other != name and timm.is_model(other)), None)
    raise SettingsError(
        f"the last map of {name} has stride {last}, that of the networks of {layout.source} has "
        f"{' or '.join(map(str, layout.strides))}: the weights would fit, and give other logits; "
        + (f"use --backbone {right}" if right else "choose another --backbone")
    )


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return check_weights(read_state(path))
    except OSError:
        raise
    except Exception as error:  # zip, pickle, key and type errors, and those of safetensors
        raise RunError(
            f"{path} cannot be read: {one_line(error, 300)}; expected a state dict of torch or of safetensors"
        ) from None


def _translate(options: ConvertOptions, layout: Layout, state: Mapping[str, Tensor], backbone: Backbone) -> _Found:
    """Give every tensor our name, and cut the classifier to the classes where the released one has more rows."""
    net, count = backbone.net.state_dict(), len(options.classes)
    found = _Found(decoder=find_decoder(state, backbone) if layout.method == "lgcoamix" else None)
    steps = found.decoder.names if found.decoder else {}
    is_wrapped = layout.method == "lgcoamix" and any(key.startswith("encoder.model.") for key in state)
    for key, value in state.items():
        name = steps.get(key) or layout.rename(key, net)
        if is_wrapped and key in ("head.weight", "head.bias"):
            continue
        if not name or name in found.state:
            found.unknown.append(key)
        else:
            found.state[name] = of_our_shape(key, value) if key in steps else value
    if is_wrapped and "head.weight" in state:
        found.notes.append("left out: the outer head, which the released code never used")
    heads = [f"{NET}{name}" for name in classifiers(backbone.net)]
    for name in (*heads, "local_head.classifier", "mid_branch.4"):
        rows = next(iter(found.state.get(f"{name}.weight", _NOTHING).shape), count)
        if rows > count and is_wrapped and name in heads:
            parts = [f"{name}.{part}" for part in ("weight", "bias")]
            found.state |= {part: found.state[part][:count] for part in parts if part in found.state}
            found.notes.append(
                f"the head: rows 0 to {count - 1} of the {rows} of {name.replace(NET, 'encoder.model.')}; the released "
                f"code trained {count} classes with a head of {rows}"
            )
        elif rows != count:
            raise RunError(
                f"the classifier {name.removeprefix(NET)} of {options.file} has {rows} classes, expected {count}, as "
                "--classes or --shards says"
            )
    return found


def _with_branches(settings: Settings, found: _Found) -> Settings:
    """Set what the branches in a file need."""
    if found.decoder is not None:
        form = found.decoder
        settings = settings.with_values("model", width=form.width, skip=form.skip, pool_stem=form.pool_stem)
        found.notes.append(
            f"{NETWORK} also holds the decoder (model.width={form.width}, model.skip={form.skip}, "
            f"model.pool_stem={str(form.pool_stem).lower()}) and the local head, from which a training can go on; "
            "inference needs the backbone alone"
        )
    if found.has("mid_branch"):
        settings = settings.with_values("mixer", mid=True)
        found.notes.append(
            f"{NETWORK} also holds the mid-level branch (mixer.mid=true), whose logits evaluate adds to those of the "
            "backbone"
        )
    return settings


def _check(
    options: ConvertOptions, layout: Layout, state: Mapping[str, Tensor], found: _Found, wanted: Mapping[str, Tensor]
) -> None:
    """Refuse a file that lacks a tensor of the network, or has another one or another shape."""
    if layout.method == "lgcoamix" and found.decoder is None and "SA.query.weight" in state:
        steps = [f"{key} {tuple(state[key].shape)}" for key in ("conv5.weight", "conv6.weight") if key in state]
        raise RunError(
            f"{options.file} does not fit --backbone {options.backbone}: its decoder ({', '.join(steps)}, ...) is none "
            "of the released ones for that network; choose another --backbone"
        )
    counters = [name for name in wanted.keys() - found.state.keys() if name.endswith(".num_batches_tracked")]
    if counters:
        found.state |= {name: torch.tensor(0) for name in counters}
        found.notes.append(f"set to 0: {len(counters)} counters of BatchNorm, which inference does not use")
    odd = misfits(found.state, wanted)
    shapes = sorted(odd & found.state.keys() & wanted.keys())
    faults = {
        "unknown": sorted(found.unknown) + sorted(odd - wanted.keys()),
        "missing": sorted(odd - found.state.keys()),
        "of another shape": [
            f"{name} {tuple(found.state[name].shape)} instead of {tuple(wanted[name].shape)}" for name in shapes
        ],
    }
    told = [f"{len(names)} {kind} ({_some(names)})" for kind, names in faults.items() if names]
    if told:
        raise RunError(
            f"{options.file} does not fit --from {options.layout} with --backbone {options.backbone}: tensors are "
            f"{'; '.join(told)}. Expected {layout.expects}{_hint(options, state, faults['missing'])}"
        )
    dense = torch.contiguous_format  # parts of larger tensors would be written with the whole
    found.state = {name: value.detach().clone(memory_format=dense) for name, value in found.state.items()}


def _some(names: list[str]) -> str:
    return listed([shown_name(name.removeprefix(NET)[:100]) for name in names])


def _hint(options: ConvertOptions, state: Mapping[str, Tensor], missing: list[str]) -> str:
    """Say which other layout or network a file has."""
    if any(key.startswith(NET) for key in state):
        return (
            "; it is of this program: of a run, python -m lgcoamix export --checkpoint FILE --out DIR; of a "
            "LocalGlobalNet in a loop of your own, save model.backbone.net.state_dict()"
        )
    layouts, name = recognise(state), options.backbone.partition(".")[0]
    if missing and all(part.startswith(f"{NET}norm.") for part in missing) and timm.is_model(f"{name}_raw"):
        return f"; did you mean --backbone {name}_raw, which has no last norm?"
    if not layouts or options.layout in layouts:
        return ""
    bends = layouts == ["lgcoamix"] and timm.is_model(f"{name}_stride16")
    backbone = f" --backbone {name}_stride16" if bends else ""
    return f"; did you mean --from {' or --from '.join(layouts)}{backbone}?"


def _protocol(
    options: ConvertOptions, layout: Layout, backbone: Backbone, size: int, store: Store | None
) -> tuple[DataSettings, dict[str, Any], str, list[str]]:
    """Return the test protocol, how images are resized before, both in words, and what is odd about them."""
    margin = layout.margin
    if not margin:
        cfg = config_of(options.backbone)
        margin = 1 / cfg.crop_pct if cfg else 1
    if backbone.reductions[-1] == _SMALL or options.test == "resize":
        margin = 1
    stored = math.floor(size * margin + _ROUNDING)
    is_cifar = options.layout == "openmixup" and backbone.reductions[-1] == _SMALL and size == _CIFAR
    data = DataSettings(
        image_size=size,
        test=options.test or ("center" if margin > 1 else "resize"),
        normalise=options.normalise or ("cifar" if is_cifar else layout.normalise),
    )
    test = "test that was stated" if options.test or options.normalise else f"test of {layout.source}"
    if store is None:
        images = {"size": stored, "resize": "short" if data.test == "center" else "squash"}
        return data, images | {"codec": "raw", "pillow": version("pillow")}, test, []
    if data.test == "center" and (store.size is None or store.size < size):
        whose = "--test center" if options.test else layout.source
        raise RunError(
            f"{whose} tests on the centre of {size} pixels, but {store.path} has "
            f"{'images of many sizes' if store.size is None else f'images of {store.size} pixels'}; build a store with "
            f"--size {stored}, or choose --image-size or --test resize"
        )
    images = store.document["images"]
    if data.test == "resize" or options.test or (images["size"], images["resize"]) == (stored, "short"):
        return data, images, f"images of the store {store.name}, {test}", []
    odd = (
        f"images: the store has {stored_text(images['size'], images['resize'])}, and its centre of {size} pixels is "
        f"the input; the {test} has a short side of {stored} pixels: for the same, build a store with --size {stored} "
        "--resize short"
    )
    return data, images, f"images of the store {store.name}, not those of the {test}", [odd]


def _config(
    options: ConvertOptions, layout: Layout, settings: Settings, images: dict[str, Any], protocol: str, notes: list[str]
) -> dict[str, Any]:
    config = {
        "settings": to_plain(settings),
        "store": {"keys": {}, "images": images},
        "classes": list(options.classes),
        "versions": {name: version(name) for name in _PACKAGES},
        "source": {
            "file": shown_name(options.file.name),
            "sha256": digest_of(options.file),
            "layout": f"{options.layout}, of {layout.source}",
            "protocol": protocol,
            "notes": notes,
        },
    }
    return json.loads(json.dumps(config))  # lists, not tuples
