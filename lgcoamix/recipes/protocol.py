"""The line that stands with every figure: weights, resolution, epochs, split, and how the best epoch was chosen."""

from collections.abc import Mapping
from typing import Any

from lgcoamix.settings.weights import names_file


def protocol_line(
    settings: Mapping[str, Any],
    stored: str | None,
    split: str | None = None,
    best: str | None = None,
    source: str | None = None,
) -> str:
    """Describe the conditions of a figure in one line.

    Parameters
    ----------
    settings : sections by name, as in ``config.json``; what is missing was not recorded.
    stored : how images are stored, see :func:`stored_text`; None if not known.
    split : what the figure was measured on; None leaves it out.
    best : how the best epoch was chosen; None leaves it out.
    source : whose training it was, in place of weights and epochs; None: one of this program.

    Examples
    --------
    >>> from lgcoamix import RECIPES
    >>> RECIPES["cub-resnet18-none"].protocol
    'weights tv_in1k; stored 256x256, input 224, tested on the whole image; 300 epochs'
    """
    model, data, optim = (settings.get(name) or {} for name in ("model", "data", "optim"))
    epochs = optim.get("epochs", "?")
    training = (_start(model), f"{epochs} epoch{'s' * (epochs != 1)}") if source is None else (source, "")
    parts = [part for part in (training[0], _pixels(data, stored), training[1]) if part]
    parts += [f"split: {split}"] if split else []
    parts += [f"best epoch: {best}"] if best else []
    return "; ".join(parts)


def _start(model: Mapping[str, Any]) -> str:
    weights, init = str(model.get("weights", "not recorded")), model.get("init", "timm")
    if weights == "none":
        return "from scratch" + ("" if init == "timm" else f", initialised as {init}")
    if weights == "pretrained":
        return "weights: timm's default"
    return "weights of a file" if weights.startswith("sha256 ") or names_file(weights) else f"weights {weights}"


def _pixels(data: Mapping[str, Any], stored: str | None) -> str:
    side = data.get("image_size", "?")
    how = {"center": "tested on the centre", "resize": "tested on the whole image"}.get(str(data.get("test")), "")
    return ", ".join(filter(None, (stored and f"stored {stored}", f"input {side}", how)))


def stored_text(size: int | None, resize: str) -> str:
    """Say how images are stored: ``256x256``, ``short side 512`` or ``at full size``."""
    return {"squash": f"{size}x{size}", "short": f"short side {size}", "none": "at full size"}[resize]
