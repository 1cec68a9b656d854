"""Read a folder written by ``export``."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from torch import nn

import lgcoamix.models  # noqa: F401 - registers the modified backbones with timm
from lgcoamix.errors import RunError
from lgcoamix.runs.load import CONFIG, SECTION, exported_config
from lgcoamix.settings.sections import DataSettings
from preprocess.files import digest_of
from preprocess.images import CODECS, RESIZES

WEIGHTS, CARD, ONNX = "model.safetensors", "README.md", "model.onnx"
FORMAT = 1
_HUGE = 1e6  # far above any mean or deviation of inputs in [0, 1]
_REMEDY = "export or copy it again"


@dataclass(frozen=True)
class Exported:
    """A network and its preprocessing.

    Parameters
    ----------
    net : timm model for inference, on the CPU.
    classes : logit i belongs to ``classes[i]``.
    images : how the store converted source images, as in its index.
    data : test protocol.
    mean, std : statistics of the inputs for each channel, in [0, 1].
    """

    net: nn.Module
    classes: tuple[str, ...]
    images: dict[str, Any]
    data: DataSettings
    mean: tuple[float, ...]
    std: tuple[float, ...]


def read_exported(folder: Path) -> Exported:
    """Read a folder, and its network with timm.

    Raises
    ------
    RunError : the folder is damaged or was not written by ``export``.
    """
    config = exported_config(folder)
    if config is None:
        raise RunError(_no_export(folder))
    section = config[SECTION]
    if section["format"] != FORMAT:
        raise RunError(f"{folder} has export format {section['format']}, this program reads {FORMAT}")
    faults = list(_faults(config))
    if faults:
        raise RunError(f"{folder / CONFIG} is damaged: {'; '.join(faults)}; {_REMEDY}")
    _check_weights(folder, section)
    try:
        data = {name: tuple(value) if isinstance(value, list) else value for name, value in section["data"].items()}
        net = timm.create_model(f"local-dir:{folder}", pretrained=True)
        if net.num_classes != len(config["label_names"]):
            raise ValueError(f"{len(config['label_names'])} class names, but the network has {net.num_classes} logits")
        cfg = config["pretrained_cfg"]
        return Exported(
            net.eval().requires_grad_(False),
            tuple(config["label_names"]),
            section["images"],
            DataSettings(**data),
            tuple(cfg["mean"]),
            tuple(cfg["std"]),
        )
    except Exception as error:  # exceptions of timm and safetensors have no common type
        reason = " ".join(str(error).split())[:300]
        raise RunError(f"{folder} cannot be loaded: {type(error).__name__}: {reason}; {_REMEDY}") from None


def _faults(config: dict[str, Any]) -> Iterator[str]:
    """Describe every invalid field, so that no later step fails on it."""
    names, count, cfg = (config.get(name) for name in ("label_names", "num_classes", "pretrained_cfg"))
    mean, std = (cfg.get(name) if isinstance(cfg, dict) else None for name in ("mean", "std"))
    data, images = (config[SECTION].get(name) for name in ("data", "images"))
    are_names = isinstance(names, list) and names and all(isinstance(name, str) for name in names)
    fields = [  # name, value, whether it is valid, what it must be
        ("label_names", names, are_names, "list the names of the classes"),
        ("mean", mean, _three_numbers(mean, -_HUGE), "be three numbers"),
        ("std", std, _three_numbers(std, 0), "be three numbers, above 0"),
        ("data", data, isinstance(data, dict), "contain the settings of the images"),
        ("images", images, isinstance(images, dict), "describe how the images were stored"),
    ]
    if are_names and len(names) != count:
        yield f"label_names has {len(names)} names, num_classes is {_shown(count)}"
    missing = [name for name in ("size", "resize", "codec") if isinstance(images, dict) and name not in images]
    if missing:
        yield f"images has no {', '.join(missing)}"
    elif isinstance(images, dict):
        size, resize, codec, quality = (images.get(name) for name in ("size", "resize", "codec", "quality"))
        sized = size is None if resize == "none" else _is_count(size, 1)
        fields += [
            ("images.resize", resize, resize in RESIZES, f"be one of {', '.join(RESIZES)}"),
            ("images.size", size, sized, "be a number of pixels (null for resize none)"),
            ("images.codec", codec, codec in CODECS, f"be one of {', '.join(CODECS)}"),
            ("images.quality", quality, codec != "jpeg" or _is_count(quality, 1, 100), "lie between 1 and 100"),
            ("images.banner", images.get("banner"), _is_count(images.get("banner", 0), 0), "be a number of rows"),
        ]
    yield from (f"{name} must {rule}, it is {_shown(value)}" for name, value, valid, rule in fields if not valid)


def _three_numbers(values: object, least: float) -> bool:
    return (
        isinstance(values, list)
        and len(values) == 3
        and all(isinstance(value, int | float) and least < value < _HUGE for value in values)  # no NaN either
    )


def _is_count(value: object, least: int, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _check_weights(folder: Path, section: dict[str, Any]) -> None:
    """Check the weights against their digest. Exports of earlier versions have none."""
    try:
        if section.get("sha256") in (None, digest_of(folder / WEIGHTS)):
            return
    except OSError as error:
        raise RunError(f"{folder / WEIGHTS} cannot be read: {error.strerror}; {_REMEDY}") from None
    raise RunError(f"{folder / WEIGHTS} is damaged: its bytes do not match the sha256 in {CONFIG}; {_REMEDY}")


def _no_export(folder: Path) -> str:
    expected = f"expected a folder written by the command export, {folder} "
    if any((folder / name).is_file() for name in ("best.pt", "last.pt")):
        return f"{expected}is a run: python -m lgcoamix export --checkpoint {folder} --out DIR, then --model DIR"
    if not (folder / CONFIG).is_file():
        return f"{expected}has no {CONFIG}"
    return f"{expected}has a {CONFIG} without the preprocessing of images (section {SECTION!r})"
