"""Modified backbones, registered with timm under new names.

``*_stride16``: the last stage keeps its input's resolution (stride 1, no dilation). At 224 pixels the deepest map is
14x14, as in the released LGCOAMix code; timm's ``output_stride=16`` would dilate the convolutions instead.
No shape changes, so the weights are those of the plain model, under the same tags and from the same hub.

``densenet264``: the largest network of the DenseNet paper, which timm lacks (its ``densenet264d`` is another). There
are no weights for it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import timm
from timm.models import PretrainedCfg, build_model_with_cfg, generate_default_cfgs, register_model
from timm.models import resnet as plain
from timm.models.densenet import DenseNet
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn

RESNETS: dict[str, dict[str, Any]] = {
    "resnet18": {"block": BasicBlock, "layers": (2, 2, 2, 2)},
    "resnet34": {"block": BasicBlock, "layers": (3, 4, 6, 3)},
    "resnet50": {"block": Bottleneck, "layers": (3, 4, 6, 3)},
    "resnet101": {"block": Bottleneck, "layers": (3, 4, 23, 3)},
    "resnet152": {"block": Bottleneck, "layers": (3, 8, 36, 3)},
    "resnext50_32x4d": {"block": Bottleneck, "layers": (3, 4, 6, 3), "cardinality": 32, "base_width": 4},
}
DENSENETS: dict[str, dict[str, Any]] = {
    name: {"growth_rate": 32, "block_config": blocks, "feature_cfg": {"flatten_sequential": True}}
    for name, blocks in {
        "densenet121": (6, 12, 24, 16),
        "densenet169": (6, 12, 32, 32),
        "densenet201": (6, 12, 48, 32),
        "densenet264": (6, 12, 64, 48),
    }.items()
}
_MODIFIED = ("resnet18", "resnet50", "resnext50_32x4d")


def register(name: str, build: Callable[..., nn.Module], **model: Any) -> None:
    """Register a network with timm: ``build`` makes it from ``model`` and the options of ``timm.create_model``."""

    def entry(pretrained: bool = False, **options: Any) -> nn.Module:
        return build_model_with_cfg(build, name, pretrained, **{**model, **options})

    entry.__name__, entry.__module__ = name, build.__module__
    register_model(entry)


def _cfg(name: str) -> PretrainedCfg:
    """Adapt the configuration of a plain model's weights to stride 16."""
    cfg = timm.get_pretrained_cfg(name)
    return replace(cfg, pool_size=tuple(2 * side for side in cfg.pool_size))


# register_model looks for this name in the module of an entry point. The configurations of the plain models already
# contain their hub names; timm would fill in missing ones with the new names, which are not on the hub.
_DENSENET = {"num_classes": 1000, "input_size": (3, 224, 224), "pool_size": (7, 7)}
_DENSENET |= {"first_conv": "features.conv0", "classifier": "classifier"}
default_cfgs = generate_default_cfgs(
    {"densenet264": _DENSENET}
    | {f"{name}_stride16.{tag}": _cfg(f"{name}.{tag}") for name in _MODIFIED for tag in plain.default_cfgs[name].tags}
)


def _with_stride_16(**options: object) -> ResNet:
    """Build a timm ResNet whose last stage has stride 1."""
    net = ResNet(**options)
    for module in net.layer4[0].modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)
    net.feature_info[-1]["reduction"] = net.feature_info[-2]["reduction"]
    return net


def _densenet(**options: object) -> DenseNet:
    return DenseNet(**options)


register("densenet264", _densenet, **DENSENETS["densenet264"])
for _name in _MODIFIED:
    register(f"{_name}_stride16", _with_stride_16, **RESNETS[_name])
