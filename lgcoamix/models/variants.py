"""Modified backbones, registered with timm under names of their own.

``*_stride16``: the last stage keeps its input's resolution (stride 1, no dilation), so that at 224 the deepest map is
14x14, as in the released LGCOAMix code. timm's own ``output_stride=16`` would dilate the convolutions instead.
The weights are those of the plain model: no shape changes.
"""

import timm
from timm.models import register_model
from timm.models.resnet import ResNet
from torch import nn


def _with_stride_16(name: str, pretrained: bool, **options: object) -> ResNet:
    net = timm.create_model(name, pretrained=pretrained, **options)
    for module in net.layer4[0].modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)
    net.feature_info[-1] = {**net.feature_info[-1], "reduction": 16}
    return net


@register_model
def resnet18_stride16(pretrained: bool = False, **options: object) -> ResNet:
    """ResNet-18 whose last stage has stride 1."""
    return _with_stride_16("resnet18", pretrained, **options)


@register_model
def resnet50_stride16(pretrained: bool = False, **options: object) -> ResNet:
    """ResNet-50 whose last stage has stride 1."""
    return _with_stride_16("resnet50", pretrained, **options)


@register_model
def resnext50_32x4d_stride16(pretrained: bool = False, **options: object) -> ResNet:
    """ResNeXt-50 32x4d whose last stage has stride 1."""
    return _with_stride_16("resnext50_32x4d", pretrained, **options)
