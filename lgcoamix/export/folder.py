"""A folder that ``export`` wrote: its files, its section of ``config.json``, and how it is read back."""

import json
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
_HUGE = 1e6  # inputs lie in [0, 1]: no mean or deviation of theirs is near it
_REMEDY = "export it again, or copy it anew"


@dataclass(frozen=True)
class Exported:
    """A network, and how images reach it.

    Parameters
    ----------
    net : timm's model, for inference, on the CPU.
    classes : logit i is of ``classes[i]``.
    images : how source images were stored before training saw them, as a store's index says it.
    data : the test protocol is read from it.
    mean, std : of the inputs, for each channel, in [0, 1].
    """

    net: nn.Module
    classes: tuple[str, ...]
    images: dict[str, Any]
    data: DataSettings
    mean: tuple[float, ...]
    std: tuple[float, ...]


def read_exported(folder: Path) -> Exported:
    """Read a folder, the network with timm.

    Raises
    ------
    RunError : the folder is not one that ``export`` wrote, or is damaged.
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
            raise ValueError(f"{len(config['label_names'])} names of classes, the network has {net.num_classes} logits")
        cfg = config["pretrained_cfg"]
        return Exported(
            net.eval().requires_grad_(False),
            tuple(config["label_names"]),
            section["images"],
            DataSettings(**data),
            tuple(cfg["mean"]),
            tuple(cfg["std"]),
        )
    except Exception as error:  # what timm and safetensors raise for a damaged folder has no common type
        reason = " ".join(str(error).split())[:300]
        raise RunError(f"{folder} cannot be loaded: {type(error).__name__}: {reason}; {_REMEDY}") from None


def _faults(config: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a configuration, so that nothing stumbles over it later."""
    names, count = config.get("label_names"), config.get("num_classes")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        yield f"label_names must list the names of the classes, it is {_shown(names)}"
    elif len(names) != count:
        yield f"label_names has {len(names)} names, num_classes is {_shown(count)}"
    cfg = config.get("pretrained_cfg")
    for name, least in (("mean", -_HUGE), ("std", 0)):
        values = cfg.get(name) if isinstance(cfg, dict) else None
        if not _three_numbers(values, least):
            yield f"{name} must be three numbers{', above 0' * (name == 'std')}, it is {_shown(values)}"
    images, data = config[SECTION].get("images"), config[SECTION].get("data")
    if not isinstance(data, dict):
        yield f"data must hold the settings of the images, it is {_shown(data)}"
    if isinstance(images, dict):
        yield from _image_faults(images)
    else:
        yield f"images must say how the images were stored, it is {_shown(images)}"


def _image_faults(images: dict[str, Any]) -> Iterator[str]:
    missing = [name for name in ("size", "resize", "codec") if name not in images]
    if missing:
        yield f"images has no {', '.join(missing)}"
        return
    size, resize, codec, quality = images["size"], images["resize"], images["codec"], images.get("quality")
    if resize not in RESIZES:
        yield f"images.resize must be one of {', '.join(RESIZES)}, it is {_shown(resize)}"
    if size is not None if resize == "none" else not _whole(size, 1):
        yield f"images.size must be a number of pixels (null for resize none), it is {_shown(size)}"
    if codec not in CODECS:
        yield f"images.codec must be one of {', '.join(CODECS)}, it is {_shown(codec)}"
    if codec == "jpeg" and not (_whole(quality, 1) and quality <= 100):
        yield f"images.quality must lie between 1 and 100, it is {_shown(quality)}"
    if not _whole(images.get("banner", 0), 0):
        yield f"images.banner must be a number of rows, it is {_shown(images['banner'])}"


def _three_numbers(values: object, least: float) -> bool:
    return (
        isinstance(values, list)
        and len(values) == 3
        and all(isinstance(value, int | float) and least < value < _HUGE for value in values)  # no NaN either
    )


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _check_weights(folder: Path, section: dict[str, Any]) -> None:
    """Compare the weights with their digest. Exports of earlier versions have none."""
    try:
        if section.get("sha256") in (None, digest_of(folder / WEIGHTS)):
            return
    except OSError as error:
        raise RunError(f"{folder / WEIGHTS} cannot be read: {error.strerror}; {_REMEDY}") from None
    raise RunError(f"{folder / WEIGHTS} is damaged: its bytes do not match the sha256 in {CONFIG}; {_REMEDY}")


def _no_export(folder: Path) -> str:
    expected = f"expected a folder that the command export wrote, {folder} "
    if any((folder / name).is_file() for name in ("best.pt", "last.pt")):
        return f"{expected}is a run: python -m lgcoamix export --checkpoint {folder} --out DIR, then --model DIR"
    if not (folder / CONFIG).is_file():
        return f"{expected}has no {CONFIG}"
    return f"{expected}has a {CONFIG} that does not say how its images are prepared (section {SECTION!r})"
