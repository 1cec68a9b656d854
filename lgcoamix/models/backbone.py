"""Any timm classifier, with logits and a pyramid of feature maps."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models import clean_state_dict
from torch import Tensor, nn

from lgcoamix.errors import RunError
from lgcoamix.models.hub import BackboneError, config_of, with_tag
from lgcoamix.models.initial import refuse_other_networks, start_backbone
from lgcoamix.ops.torch_files import check_weights, read_torch
from lgcoamix.settings.text import first_line
from lgcoamix.settings.weights import names_file, names_hub

_REMEDY = "use --weights FILE or --weights none"
_LARGEST_KERNEL = 64  # pixels of a side; the largest in timm has 32


class WeightsError(RunError):
    """Weights could not be downloaded or loaded."""


class Backbone(nn.Module):
    """A timm classifier that also returns its feature maps.

    Parameters
    ----------
    name : timm model name.
    num_classes : N.
    weights : ``none``, ``pretrained`` (timm's default on the hub), the tag of others there, such as ``tv_in1k``, or a
        checkpoint file. A classifier of another size is not loaded.
    image_size : side of the input, in pixels; needed by models that are built for one input size.
    pool_stem : return the stem's map after the 3x3 max-pool, not before it (the CUB decoder of LGCOAMix).
    init : how layers without such weights start: ``timm``, ``torchvision`` or ``released``; see ``initial.py``.

    Attributes
    ----------
    channels, reductions : widths and strides of the maps, from shallow to deep. A transformer of a single
        resolution has one map: its tokens after the final norm, without prefix tokens, row by row.
    """

    def __init__(
        self,
        name: str,
        num_classes: int,
        weights: str | os.PathLike[str] = "none",
        image_size: int = 224,
        pool_stem: bool = False,
        init: str = "timm",
    ) -> None:
        super().__init__()
        self.net = create_net(name, num_classes, os.fspath(weights), image_size, init=init)
        info = getattr(self.net, "feature_info", None)
        if info is None or not hasattr(self.net, "forward_intermediates"):
            raise BackboneError(f"timm provides no feature maps for {name}; choose another CNN or transformer")
        levels = info.info if hasattr(info, "info") else info
        self.channels = [level["num_chs"] for level in levels]
        self.reductions = [level["reduction"] for level in levels]
        self.isotropic = len(set(self.reductions)) == 1
        self.pool_stem = False
        if self.isotropic:  # timm reports the width of the blocks; a neck may change it
            self.channels, self.reductions = [self._width_of_last_map(name, image_size)], self.reductions[-1:]
        self.pool_stem = pool_stem
        if pool_stem:
            if self.reductions[0] != 2:
                raise BackboneError(
                    f"pool_stem needs a stem of stride 2; that of {name} has {self.reductions[0]}: "
                    "--set model.pool_stem=false does without"
                )
            self.reductions[0] *= 2

    def forward(self, images: Tensor) -> Tensor:
        """Classify: (B, 3, H, W) -> (B, N) logits."""
        return self.net(images)

    def forward_maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Compute logits and feature maps in one pass.

        Returns
        -------
        logits : (B, N) tensor, as from ``forward``.
        maps : (B, C, h, w) tensors, from shallow to deep.
        """
        # Only the single map of a transformer passes the final norm; a pyramid does not.
        indices, norm = (1, True) if self.isotropic else (None, False)
        last, maps = self.net.forward_intermediates(images, indices=indices, norm=norm, output_fmt="NCHW")
        if self.pool_stem:
            maps = [F.max_pool2d(maps[0], 3, stride=2, padding=1), *maps[1:]]
        return self.net.forward_head(last), maps

    @torch.no_grad()
    def _width_of_last_map(self, name: str, image_size: int) -> int:
        self.eval()
        try:
            width = self.forward_maps(torch.zeros(1, 3, image_size, image_size))[1][-1].shape[1]
        except RuntimeError as error:  # for example, an input smaller than a patch
            raise BackboneError(f"{name} cannot take inputs of {image_size}x{image_size}: {error}") from error
        self.train()
        return width


def create_net(
    name: str, num_classes: int, weights: str, image_size: int, remedy: str = _REMEDY, init: str = "timm"
) -> nn.Module:
    """Build a timm classifier and load its weights; see :class:`Backbone`.

    Parameters
    ----------
    remedy : advice at the end of errors about weights.

    Raises
    ------
    BackboneError, WeightsError
    """
    name, from_hub = with_tag(name, weights), names_hub(weights)
    options: dict[str, Any] = {"num_classes": num_classes}
    cfg = config_of(name)
    if cfg is not None and cfg.fixed_input_size:
        options["img_size"] = image_size
    from_file = names_file(weights)
    if from_file and not Path(weights).exists():
        raise WeightsError(
            f"expected 'pretrained', a tag of timm or a checkpoint file for {name}, there is no file {weights!r}; "
            f"{remedy}"
        )
    try:
        if init != "timm":  # before the download
            with torch.device("meta"):
                refuse_other_networks(timm.create_model(name, **options), name, init)
        net = timm.create_model(name, pretrained=from_hub, **options)
    except BackboneError:
        raise
    except Exception as error:
        if not from_hub:  # for example, timm asserts that patches fit the image
            raise BackboneError(f"timm cannot build {name} for inputs of {image_size}: {error}") from error
        # Failed downloads raise many types: hub, HTTP, socket and operating system errors.
        raise WeightsError(
            f"cannot get weights for {name} from the hub ({_kind_and_line(error)}); check the network connection, or "
            f"{remedy}"
        ) from error
    if not from_hub:  # whose classifier, if new, starts as torch's in all three ways
        start_backbone(net, init)
    if from_file:
        _load_file(net, name, Path(weights), remedy)
    return net


def refuse_misfits(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Compare weights with those of a network, such as one on the device ``meta``, which takes no memory.

    Raises
    ------
    ValueError : tensors are missing, unknown, or of other shapes or types.
    """
    for kind, names in (("missing", wanted.keys() - state.keys()), ("unknown", state.keys() - wanted.keys())):
        if names:
            raise ValueError(f"{len(names)} tensors are {kind}, for example {min(names)[:200]!r}")
    for key, value in state.items():
        if _misfit(value, wanted[key]):
            raise ValueError(f"{key}: expected {_described(wanted[key])}, got {_described(value)}")


def misfits(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> set[str]:
    """Return the names of tensors that are missing, unknown, or of other shapes or types."""
    both = state.keys() & wanted.keys()
    return (state.keys() ^ wanted.keys()) | {key for key in both if _misfit(state[key], wanted[key])}


def _misfit(value: Tensor, wanted: Tensor) -> bool:
    return value.shape != wanted.shape or value.is_floating_point() != wanted.is_floating_point()


def _described(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"


def _load_file(net: nn.Module, name: str, path: Path, remedy: str) -> None:
    """Load a checkpoint of timm, of torch, or of a run (``last.pt``, ``best.pt``) into a network.

    If the run averaged its weights, load the average, which is what was evaluated. The network may be part of another
    module, as a Lightning module saves it. A classifier of another size keeps its initial values; all other tensors
    must match, but for the counters of BatchNorm, which old files lack and training does not use.
    """
    wanted = net.state_dict()
    needed = {key for key in wanted if not key.endswith(".num_batches_tracked")}
    needed -= {key for key in wanted if any(key.startswith(f"{head}.") for head in classifiers(net))}
    try:
        whole = read_state(path)
        state = _part_with(needed, whole)
        inner = state is not whole
        convert = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
        if convert is not None and not inner:  # timm's own: older names, positions of another input size
            _refuse_huge_kernels(state)
            state = convert(state, net)
    except Exception as error:  # other files raise many types: zip, pickle, key and type errors
        raise WeightsError(f"cannot load {str(path)!r} into {name} ({_kind_and_line(error)}); {remedy}") from error
    state = {key: v for key, v in state.items() if isinstance(v, Tensor)}
    if "SA.query.weight" in state and not inner and timm.is_model(f"{name.partition('.')[0]}_stride16"):
        raise WeightsError(
            f"{str(path)!r} is a released checkpoint of LGCOAMix, whose last stage has stride 1: it fits the shapes of "
            f"{name}, and gives other logits; use {name.partition('.')[0]}_stride16"
        )
    fitting = {key: v for key, v in state.items() if key in wanted and not _misfit(v, wanted[key])}
    missing = needed - fitting.keys()
    if missing:
        raise WeightsError(
            f"{str(path)!r} does not match {name}: {len(missing)} of {len(wanted)} tensors are missing or have another "
            f"shape, for example {min(missing)!r}; {remedy}"
        )
    try:
        net.load_state_dict(check_weights(fitting), strict=False)
    except ValueError as error:
        raise WeightsError(f"cannot load {str(path)!r} into {name}: {error}; {remedy}") from None


def _part_with(needed: set[str], state: dict[str, Any]) -> dict[str, Any]:
    """The tensors of a network inside another module, by its own names; all of them if there is none inside."""
    anchor = min(needed)
    prefixes = [name.removesuffix(anchor) for name in state if name.endswith(f".{anchor}")]
    prefixes = [prefix for prefix in prefixes if all(f"{prefix}{name}" in state for name in needed)]
    if anchor in state or not prefixes:
        return state
    if len(prefixes) > 1:
        raise ValueError(f"it holds several such networks: {', '.join(prefixes)}")
    return {name.removeprefix(prefixes[0]): value for name, value in state.items() if name.startswith(prefixes[0])}


def read_state(path: Path) -> dict[str, Any]:
    """Read the state dict in a file, averaged weights first, as timm chooses it.

    Raises
    ------
    OSError, ValueError : the file cannot be opened, or is no checkpoint.
    """
    if path.suffix == ".safetensors":
        import lgcoamix.beside.checked  # noqa: F401 - before preprocess
        from preprocess.inputs import require_regular

        require_regular(path)
        return timm.models.load_state_dict(str(path))
    content = read_torch(path, legacy=True)
    if not isinstance(content, dict):
        raise ValueError("it holds no state dict")
    named = (content.get(name) for name in ("state_dict_ema", "model_ema", "state_dict", "model"))
    state = next((part for part in named if part is not None), content)
    if not isinstance(state, dict):
        raise ValueError("it holds no state dict")
    return clean_state_dict(state)


def _refuse_huge_kernels(state: Mapping[str, Any]) -> None:
    """Refuse what timm would fit to the patches of a transformer by a matrix of (height x width)² numbers."""
    for name, value in state.items():
        if isinstance(value, Mapping):
            _refuse_huge_kernels(value)
        elif isinstance(value, Tensor) and value.ndim == 4 and "weight" in str(name):
            size = tuple(value.shape[2:])
            if max(size) > _LARGEST_KERNEL:
                raise ValueError(f"{name}: expected a kernel of at most {_LARGEST_KERNEL} pixels, got {size}")


def classifiers(net: nn.Module) -> tuple[str, ...]:
    """Return the names of the layers of a timm network that classify."""
    names = getattr(net, "pretrained_cfg", {}).get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _kind_and_line(error: Exception) -> str:
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"
