"""How layers start that take no weights from elsewhere.

``timm``: as timm builds the network. ``torchvision``: as torchvision builds its ResNets. timm's do the same (Kaiming
convolutions, fan out), but for the last BatchNorm of each residual block, whose weight timm sets to 0. ``released``: as
LGCOAMix's code builds its networks for Dogs (and, in a file that counts parameters, for Tiny-ImageNet). Convolutions of
the backbone are uniform within ±√(6 / (fan in + fan out)); Q, K and V of the local head are N(0, 0.01) without bias.
Both classifiers are replaced there later, and so keep torch's default; the decoder starts as it always does here.

References
----------
Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
"""

from timm.models.resnet import ResNet
from timm.models.resnetv2 import ResNetV2
from torch import nn

from lgcoamix.models.hub import BackboneError

_RESNETS = "ResNets of timm, such as resnet18, resnet50_stride16 or resnet18_cifar"
_APPLIES: dict[str, tuple[tuple[type[nn.Module], ...], str]] = {
    "timm": ((nn.Module,), "every network"),
    "torchvision": ((ResNet,), _RESNETS),
    "released": ((ResNet, ResNetV2), f"{_RESNETS}, and to pre-activation ResNets, such as preact_resnet18"),
}
_ATTENTION_STD = 0.01


def refuse_other_networks(net: nn.Module, name: str, init: str) -> None:
    """Check that a network, perhaps on the device ``meta``, can start in this way.

    Raises
    ------
    BackboneError : the message says what this start applies to.
    """
    if init not in _APPLIES:
        raise BackboneError(f"init must be one of {', '.join(_APPLIES)}, got {init!r}")
    kinds, text = _APPLIES[init]
    if not isinstance(net, kinds):
        raise BackboneError(f"model.init={init} applies to {text}; {name} is none: use model.init=timm")


def start_backbone(net: nn.Module, init: str) -> None:
    """Give a classifier that timm has just built its initial values, in place."""
    if init == "timm":
        return
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d | nn.GroupNorm) and part.affine:
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Conv2d) and init == "released":
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    head = net.get_classifier()
    if isinstance(head, nn.Linear) and init == "released":  # of pre-activation networks, timm starts it as N(0, 0.01)
        head.reset_parameters()


def start_attention(layers: tuple[nn.Linear, ...], init: str) -> None:
    """Give Q, K and V of the local head their initial values, in place."""
    for layer in layers if init == "released" else ():
        nn.init.normal_(layer.weight, std=_ATTENTION_STD)
        nn.init.zeros_(layer.bias)
