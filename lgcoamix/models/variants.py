"""Modified backbones, registered with timm under new names.

``*_stride16``: the last stage keeps its input's resolution (stride 1, no dilation). At 224 pixels the deepest map is
14x14, as in the released LGCOAMix code; timm's ``output_stride=16`` would dilate the convolutions instead.
No shape changes, so the weights are those of the plain model, under the same tags and from the same hub.
"""

from dataclasses import replace

import timm
from timm.models import PretrainedCfg, build_model_with_cfg, generate_default_cfgs, register_model
from timm.models import resnet as plain
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn


def _cfg(name: str) -> PretrainedCfg:
    """Adapt the configuration of a plain model's weights to stride 16."""
    cfg = timm.get_pretrained_cfg(name)
    return replace(cfg, pool_size=tuple(2 * side for side in cfg.pool_size))


# register_model looks for this name in the module of an entry point. The configurations of the plain models already
# contain their hub names; timm would fill in missing ones with the new names, which are not on the hub.
default_cfgs = generate_default_cfgs(
    {
        f"{name}_stride16.{tag}": _cfg(f"{name}.{tag}")
        for name in ("resnet18", "resnet50", "resnext50_32x4d")
        for tag in plain.default_cfgs[name].tags
    }
)


def _with_stride_16(**options: object) -> ResNet:
    """Build a timm ResNet whose last stage has stride 1."""
    net = ResNet(**options)
    for module in net.layer4[0].modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)
    net.feature_info[-1]["reduction"] = net.feature_info[-2]["reduction"]
    return net


def _create(variant: str, pretrained: bool, **options: object) -> nn.Module:
    return build_model_with_cfg(_with_stride_16, variant, pretrained, **options)


@register_model
def resnet18_stride16(pretrained: bool = False, **options: object) -> ResNet:
    """ResNet-18 whose last stage has stride 1."""
    model = {"block": BasicBlock, "layers": (2, 2, 2, 2)}
    return _create("resnet18_stride16", pretrained, **{**model, **options})


@register_model
def resnet50_stride16(pretrained: bool = False, **options: object) -> ResNet:
    """ResNet-50 whose last stage has stride 1."""
    model = {"block": Bottleneck, "layers": (3, 4, 6, 3)}
    return _create("resnet50_stride16", pretrained, **{**model, **options})


@register_model
def resnext50_32x4d_stride16(pretrained: bool = False, **options: object) -> ResNet:
    """ResNeXt-50 32x4d whose last stage has stride 1."""
    model = {"block": Bottleneck, "layers": (3, 4, 6, 3), "cardinality": 32, "base_width": 4}
    return _create("resnext50_32x4d_stride16", pretrained, **{**model, **options})
