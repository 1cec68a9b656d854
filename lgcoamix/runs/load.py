"""Read a checkpoint, and build its network for inference."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lgcoamix.errors import RunError
from lgcoamix.models import LocalGlobalNet
from lgcoamix.models.backbone import create_net, refuse_misfits
from lgcoamix.runs.checkpoint import load_checkpoint
from lgcoamix.runs.documents import CONFIG, read_document, settings_of
from lgcoamix.settings.sections import Settings
from preprocess.text import one_line

SECTION = "lgcoamix"  # of an exported config.json; timm ignores unknown keys
_BACKBONE = "backbone.net."
_PARTS = ("backbone.", "mid_branch.")  # parts of the network that inference needs
_LOCAL = ("decoder.", "local_head.")


@dataclass(frozen=True)
class Trained:
    """Content of a checkpoint file.

    Parameters
    ----------
    path : checkpoint file.
    config : content of ``config.json``.
    settings : settings of the run.
    when : progress of the training, for example "epoch 8" or "step 500 of epoch 9".
    weights : name of the chosen state dict: ``model_ema`` if present, else ``model``.
    state : state dict.
    figures : row of ``metrics.csv`` measured with these weights; empty in the middle of an epoch.
    """

    path: Path
    config: dict[str, Any]
    settings: Settings
    when: str
    weights: str
    state: dict[str, Tensor]
    figures: dict[str, float]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; logit i belongs to ``classes[i]``."""
        return tuple(self.config["classes"])

    @property
    def has_local(self) -> bool:
        """Whether the weights include the local branch."""
        return any(name.startswith(_LOCAL) for name in self.state)


def exported_config(folder: Path) -> dict[str, Any] | None:
    """Read ``config.json`` of an exported folder; None for anything else."""
    try:
        config = read_document(folder / CONFIG)
        return config if isinstance(config[SECTION]["format"], int) else None
    except (OSError, RunError, LookupError, TypeError):
        return None


def read_trained(path: Path) -> Trained:
    """Read a checkpoint file.

    Raises
    ------
    RunError : the file is missing, damaged, or written by another program or version.
    """
    if exported_config(path.parent) is not None and (not path.exists() or path.suffix in (".safetensors", ".onnx")):
        raise RunError(
            f"{path.parent} is already an export, expected a run folder or its best.pt or last.pt; to classify "
            f"images with it: python -m lgcoamix predict --model {path.parent}"
        )
    if not path.exists():
        last = path.with_name("last.pt")
        if last.is_file():
            raise RunError(f"{path.parent} has no {path.name}, but a last.pt: use --checkpoint {last}")
        raise RunError(f"expected a checkpoint file, or a run folder with best.pt; there is no {path}")
    content = load_checkpoint(path)
    weights = "model_ema" if content.get("model_ema") else "model"
    figures = {} if _within_epoch(content) else content.get("metrics") or {}
    settings = settings_of(content["config"], path)
    return Trained(path, content["config"], settings, _when(content), weights, content[weights], figures)


def make_network(trained: Trained, local: bool = False) -> LocalGlobalNet:
    """Build the network of a checkpoint on the CPU for inference: backbone and mid-level branch, if any.

    Parameters
    ----------
    local : build decoder and local head as well, which inference does not need.

    Raises
    ------
    RunError : the weights do not match the network named in the configuration.
    """
    settings, parts = trained.settings, (*_PARTS, *_LOCAL) if local else _PARTS
    backbone, N = settings.model.backbone, len(trained.classes)
    state = {name: value for name, value in trained.state.items() if name.startswith(parts)}
    inner = {name.removeprefix(_BACKBONE): v for name, v in state.items() if name.startswith(_BACKBONE)}
    try:
        with torch.device("meta"):
            refuse_misfits(inner, create_net(backbone, N, "none", settings.data.image_size).state_dict())
            if local:
                refuse_misfits(state, LocalGlobalNet.of(settings, N, "none", local=True).state_dict())
        model = LocalGlobalNet.of(settings, N, "none", local=local)
        model.load_state_dict(state)
    except (ValueError, RuntimeError) as error:
        raise RunError(
            f"{trained.path} does not match the network {backbone} of its configuration: {one_line(error, 300)}; it "
            "may need the timm version named in its config.json"
        ) from None
    return model.eval().requires_grad_(False)


def _within_epoch(content: dict[str, Any]) -> bool:
    return bool((content.get("position") or {}).get("step"))


def _when(content: dict[str, Any]) -> str:
    if "source" in content["config"]:
        return f"converted from {content['config']['source']['file']}"
    if _within_epoch(content):
        place = content["position"]
        return f"step {place['step']} of epoch {place['epoch'] + 1}"
    return f"epoch {content.get('epoch', -1) + 1}"
