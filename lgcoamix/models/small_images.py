"""Backbones for images of 32 to 64 pixels, registered with timm under new names.

They are timm's networks with a stem for small images: one 3x3 convolution of stride 1 and no max-pool. The maps have
strides 1, 1, 2, 4, 8, and the last map is 4x4 at 32 pixels. ``*_cifar`` are ResNets, DenseNets and EfficientNets, and
``preact_*`` are pre-activation ResNets. EfficientNets have no max-pool: their strides are 1, 2, 4, 8, 16. timm has no
weights for them: ``pretrained=True`` is an error.

As in pytorch-cifar, a shortcut of ``preact_*`` that changes the shape is a 1x1 convolution of the normalised input; any
other is the raw input. In ``preact_resnet18`` and ``preact_resnet34``, norm and ReLU follow the last block, as in the
paper and in timm's ResNetV2. ``preact_resnet18_raw`` pools the raw sum of the last block, as pytorch-cifar and the
networks released for Tiny-ImageNet do: it lacks the 1,024 parameters of that norm.

References
----------
He, Zhang, Ren & Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016, doi:10.1007/978-3-319-46493-0_38.
"""

from collections import OrderedDict
from typing import Any

import timm
from timm.layers import BatchNormAct2d, ClassifierHead, create_conv2d
from timm.models import generate_default_cfgs
from timm.models.densenet import DenseNet
from timm.models.resnet import ResNet
from timm.models.resnetv2 import ResNetV2
from torch import nn

from lgcoamix.models.variants import DENSENETS, RESNETS, register

_CIFAR = {"num_classes": 100, "input_size": (3, 32, 32), "pool_size": (4, 4), "crop_pct": 1.0}
_CIFAR |= {"first_conv": "conv1", "classifier": "fc"}
_TINY_IMAGENET = {"num_classes": 200, "input_size": (3, 64, 64), "pool_size": (8, 8), "crop_pct": 1.0}
_TINY_IMAGENET |= {"first_conv": "stem.conv", "classifier": "head.fc"}

_CIFAR_DENSE = {**_CIFAR, "first_conv": "features.conv0", "classifier": "classifier"}
_CIFAR_EFFICIENT = {**_CIFAR, "pool_size": (2, 2), "first_conv": "conv_stem", "classifier": "classifier"}
_EFFICIENTNETS = tuple(f"efficientnet_{size}" for size in ("b0", "b1", "b6", "b7"))

# register_model looks for this name in the module of an entry point. Mean and standard deviation are timm's default,
# those of ImageNet: a convention, as there are no pretrained weights to match.
default_cfgs = generate_default_cfgs(
    {f"{name}_cifar": _CIFAR for name in RESNETS}
    | {f"{name}_cifar": _CIFAR_DENSE for name in DENSENETS}
    | {f"{name}_cifar": _CIFAR_EFFICIENT for name in _EFFICIENTNETS}
    | dict.fromkeys(("preact_resnet18", "preact_resnet34", "preact_resnet18_raw"), _TINY_IMAGENET)
)


def _small_resnet(**options: object) -> ResNet:
    """Build a ResNet with a small stem."""
    _refuse_other_stems(options)
    net = ResNet(**options)
    net.conv1 = _small_stem(net.conv1)
    net.maxpool = nn.Identity()  # pyrefly: ignore[bad-assignment] - timm's own has one of three types
    _announce_strides(net)
    return net


def _small_densenet(**options: object) -> DenseNet:
    """Build a DenseNet with a small stem."""
    _refuse_other_stems(options)
    net = DenseNet(**options)
    net.features.conv0, net.features.pool0 = _small_stem(net.features.conv0), nn.Identity()
    _announce_strides(net)
    return net


def _small_efficientnet(plain: str, **options: Any) -> nn.Module:
    """Build an EfficientNet whose stem has stride 1."""
    net: Any = timm.create_model(plain, **options)
    stem: nn.Conv2d = net.conv_stem
    stem.stride = (1, 1)
    _announce_strides(net, 2)
    return net


def _small_preact(last_norm: bool = True, **options: object) -> ResNetV2:
    """Build a ResNetV2 with a small stem, and a linear classifier instead of timm's 1x1 convolution."""
    _refuse_other_stems(options)
    net = ResNetV2(**options)
    # No norm and no activation: the first block has them.
    net.stem = nn.Sequential(OrderedDict(conv=_small_stem(net.stem.conv)))
    if not last_norm:
        net.norm = nn.Identity()
    pool = net.head.global_pool.pool_type
    net.head = ClassifierHead(net.num_features, net.num_classes, pool, net.drop_rate).to(net.stem.conv.weight)
    if isinstance(net.head.fc, nn.Linear):  # the identity if there are no classes
        nn.init.normal_(net.head.fc.weight, std=0.01)  # as timm initialises the replaced layer
        nn.init.zeros_(net.head.fc.bias)
    _announce_strides(net)
    return net


def _refuse_other_stems(options: dict[str, object]) -> None:
    for name in ("stem_type", "replace_stem_pool"):
        if options.get(name):
            raise ValueError(
                f"a network for small images accepts no {name}, got {options[name]!r}; its stem is one 3x3 convolution "
                "of stride 1"
            )


def _small_stem(plain: nn.Conv2d) -> nn.Conv2d:
    """Build a 3x3 stem of stride 1 with the type, widths, device and dtype of another, initialised as in timm."""
    conv = type(plain)(plain.in_channels, plain.out_channels, 3, padding=1, bias=False).to(plain.weight)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _announce_strides(net: nn.Module, of_stem: int = 4) -> None:
    for level in net.feature_info:  # a plain stem and its max-pool divide by 2 each
        level["reduction"] = max(1, level["reduction"] // of_stem)


for _name, _model in RESNETS.items():
    register(f"{_name}_cifar", _small_resnet, **_model)
for _name, _model in DENSENETS.items():
    register(f"{_name}_cifar", _small_densenet, **_model)
for _name in _EFFICIENTNETS:
    register(f"{_name}_cifar", _small_efficientnet, plain=_name)
for _name, _plain, _last_norm in (
    ("preact_resnet18", "resnet18", True),
    ("preact_resnet34", "resnet34", True),
    ("preact_resnet18_raw", "resnet18", False),
):
    register(
        _name,
        _small_preact,
        last_norm=_last_norm,
        layers=RESNETS[_plain]["layers"],
        channels=(64, 128, 256, 512),
        basic=True,
        bottle_ratio=1.0,
        conv_layer=create_conv2d,
        norm_layer=BatchNormAct2d,
        feature_cfg={"flatten_sequential": True},  # reads levels inside the containers "stem" and "stages"
    )
