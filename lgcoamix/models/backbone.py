"""Any timm classifier as logits plus a pyramid of feature maps."""

import difflib
from pathlib import Path

import timm
import torch.nn.functional as F
from torch import Tensor, nn


class BackboneError(ValueError):
    """timm has no model of this name, or it gives no feature maps, or it does not take inputs of this size."""


class WeightsError(RuntimeError):
    """Pretrained weights could not be had."""


class Backbone(nn.Module):
    """A timm classifier that also gives its feature maps.

    Parameters
    ----------
    name : timm model name.
    num_classes : N.
    weights : ``none``, ``pretrained`` (from the hub), or the path of a checkpoint file; a classifier of another size
        is left out.
    image_size : side of the input, in pixels; for models whose input size is fixed when they are built.
    pool_stem : give the map of the stem after the 3x3 max-pool, not before it (the CUB decoder of LGCOAMix).

    Attributes
    ----------
    channels, reductions : widths and strides of the maps, from shallow to deep. A transformer that has one
        resolution gives one map: its tokens after the final norm, without prefix tokens, row by row.
    """

    def __init__(
        self, name: str, num_classes: int, weights: str = "none", image_size: int = 224, pool_stem: bool = False
    ) -> None:
        super().__init__()
        self.net = _create(name, num_classes, weights, image_size)
        info = getattr(self.net, "feature_info", None)
        if info is None or not hasattr(self.net, "forward_intermediates"):
            raise BackboneError(f"{name} gives no feature maps in timm; choose a CNN or a transformer that does")
        levels = info.info if hasattr(info, "info") else info
        self.channels = [level["num_chs"] for level in levels]
        self.reductions = [level["reduction"] for level in levels]
        self.isotropic = len(set(self.reductions)) == 1
        if self.isotropic:
            self.channels, self.reductions = self.channels[-1:], self.reductions[-1:]
        self.pool_stem = pool_stem
        if pool_stem:
            self.reductions[0] *= 2

    def forward(self, images: Tensor) -> Tensor:
        """Classify: (B, 3, H, W) -> (B, N) logits."""
        return self.net(images)

    def forward_maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Classify and keep the maps, in one pass.

        Returns
        -------
        logits : (B, N) tensor, the same as ``forward`` gives.
        maps : (B, C, h, w) tensors, from shallow to deep.
        """
        # Only a transformer's single map goes through the final norm; a pyramid is taken as it is.
        indices, norm = (1, True) if self.isotropic else (None, False)
        last, maps = self.net.forward_intermediates(images, indices=indices, norm=norm, output_fmt="NCHW")
        if self.pool_stem:
            maps = [F.max_pool2d(maps[0], 3, stride=2, padding=1), *maps[1:]]
        return self.net.forward_head(last), maps


def _create(name: str, num_classes: int, weights: str, image_size: int) -> nn.Module:
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "python -c 'import timm; print(timm.list_models())'"
        raise BackboneError(f"timm has no model {name!r}; {hint}")
    options: dict[str, object] = {}
    cfg = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if cfg is not None and cfg.fixed_input_size:
        options["img_size"] = image_size
    if weights not in ("none", "pretrained"):
        if not Path(weights).is_file():
            raise WeightsError(f"expected weights 'pretrained', 'none' or a checkpoint file, got {weights!r}")
        options["pretrained_cfg_overlay"] = {"file": weights}
    try:
        return timm.create_model(name, pretrained=weights != "none", num_classes=num_classes, **options)
    except Exception as error:
        if weights == "none":  # timm asserts, for example, that the patches of a transformer fit the image
            raise BackboneError(f"timm cannot build {name} for inputs of {image_size}: {error}") from error
        # Download and file problems surface as many types: hub, HTTP, socket, pickle, shape errors.
        reason = str(error).strip().split("\n")[0]
        raise WeightsError(
            f"no weights for {name} from {weights!r} ({type(error).__name__}: {reason}); "
            "check the network, or give --weights FILE or --weights none"
        ) from error


def data_statistics(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, in [0, 1], of the inputs that a timm model was trained with."""
    cfg = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if cfg is None:
        return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return tuple(cfg.mean), tuple(cfg.std)
