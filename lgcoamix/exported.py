"""A folder that ``export`` wrote: its files, its section of ``config.json``, and how it is read back."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from torch import nn

import lgcoamix.models  # noqa: F401 - registers the modified backbones with timm
from lgcoamix.config import DataSettings
from lgcoamix.errors import RunError

CONFIG, WEIGHTS, CARD, ONNX = "config.json", "model.safetensors", "README.md", "model.onnx"
SECTION = "lgcoamix"  # of config.json; timm passes over what it does not know
FORMAT = 1


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


def exported_config(folder: Path) -> dict[str, Any] | None:
    """``config.json`` of an exported folder; None for anything else."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        return config if isinstance(config[SECTION]["format"], int) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


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
    try:
        data = {name: tuple(value) if isinstance(value, list) else value for name, value in section["data"].items()}
        net = timm.create_model(f"local-dir:{folder}", pretrained=True)
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
        raise RunError(
            f"{folder} cannot be loaded: {type(error).__name__}: {reason}; export it again, or copy it anew"
        ) from None


def _no_export(folder: Path) -> str:
    expected = f"expected a folder that the command export wrote, {folder} "
    if any((folder / name).is_file() for name in ("best.pt", "last.pt")):
        return f"{expected}is a run: python -m lgcoamix export --checkpoint {folder} --out DIR, then --model DIR"
    if not (folder / CONFIG).is_file():
        return f"{expected}has no {CONFIG}"
    return f"{expected}has a {CONFIG} that does not say how its images are prepared (section {SECTION!r})"
