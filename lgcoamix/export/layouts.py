"""Layouts of released checkpoints: which of somebody's tensors is which of our network.

The names are those of the released classes. Small networks have ``_3k3`` in the names of what they change. LGCOAMix
numbers the steps of its decoder from 5, behind the layers of its ResNet.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lgcoamix.models.backbone import Backbone
from lgcoamix.models.decoder import Decoder

NET = "backbone.net."
_WRAPPED = "encoder.model."  # DeiT in LGCOAMix
_FIRST_STEP = 5
_LOCAL = {
    **{f"SA.{name}.": f"local_head.{name}." for name in ("query", "key", "value")},
    "SA.LayerNorm.": "local_head.norm.",
    "fc_local.": "local_head.classifier.",
}
_SNAPMIX = {
    "conv3.0.": f"{NET}conv1.",
    "conv3.1.": f"{NET}bn1.",
    "conv3.4.": f"{NET}layer1.",
    "conv3.5.": f"{NET}layer2.",
    "conv4.": f"{NET}layer3.",
    "conv5.": f"{NET}layer4.",
    "classifier.": f"{NET}fc.",
    "conv4_1.0.": "mid_branch.0.",
    "mcls.": "mid_branch.4.",
}
_PREACT = {"bn1.": "norm1.", "bn2.": "norm2.", "shortcut.0.": "downsample.conv."}


@dataclass(frozen=True)
class Layout:
    """What somebody's checkpoints look like, and how their networks were tested.

    Parameters
    ----------
    source : whose they are, in words.
    expects : its names, in words.
    marks : one of these sets of names tells the layout.
    rename : our name for one of its names, given those of the timm network; empty for an unknown one.
    strides : of the last map of its networks; none: any.
    method : ours, by which it was trained.
    normalise : as in ``DataSettings``.
    image_size : side of the input; None: that of the backbone.
    margin : what is resized, in sides of the input, before its centre is cut out; 1: the whole image is the input; 0:
        as timm's configuration says.
    short, squashed : the sets whose images were resized by their short side, and those whose images were squashed;
        empty if all were treated alike.
    """

    source: str
    expects: str
    marks: tuple[tuple[str, ...], ...]
    rename: Callable[[str, Iterable[str]], str]
    strides: tuple[int, ...] = ()
    method: str = "none"
    normalise: str = "backbone"
    image_size: int | None = None
    margin: float = 1.0
    short: str = ""
    squashed: str = ""


def _replaced(key: str, prefixes: Mapping[str, str]) -> str:
    return next((new + key.removeprefix(old) for old, new in prefixes.items() if key.startswith(old)), "")


def _resnet(key: str, net: Iterable[str]) -> str:
    """A ResNet of torchvision's names, or a pre-activation ResNet."""
    if "stem.conv.weight" not in net:
        found = re.fullmatch(r"(conv1|bn1|layer[1-4]|fc)(?:_3k3)?\.(.+)", key)
        return f"{NET}{found[1]}.{found[2]}" if found else ""
    found = re.fullmatch(r"layer([1-4])\.(\d+)\.(.+)", key)
    if found:
        return f"{NET}stages.{int(found[1]) - 1}.blocks.{found[2]}.{_replaced(found[3], _PREACT) or found[3]}"
    return _replaced(key, {"conv1.": f"{NET}stem.conv.", "fc.": f"{NET}head.fc."})


def _lgcoamix(key: str, net: Iterable[str]) -> str:
    return _replaced(key, {_WRAPPED: NET} | _LOCAL) or _resnet(key, net)


LAYOUTS = {
    "lgcoamix": Layout(
        "LGCOAMix (Dornaika & Sun, IEEE TIP 2024)",
        "a ResNet (conv1, layer1 to layer4, fc; conv1_3k3 if small) or encoder.model, with the decoder (conv5, bn5, "
        "...), SA and fc_local",
        (("SA.query.weight", "fc_local.weight"),),
        _lgcoamix,
        (8, 16),
        "lgcoamix",
        "none",
    ),
    "occamix": Layout(
        "OcCaMix",
        "a ResNet (conv1, layer1 to layer4, fc; conv1_3k3 if small) and nothing else",
        (("conv1_3k3.weight", "fc.weight"), ("conv1.weight", "layer1.0.bn1.weight", "fc.weight")),
        _resnet,
        (8, 16),
        "occamix",
        "none",
    ),
    "snapmix": Layout(
        "SnapMix (Huang et al., AAAI 2021)",
        "conv3, conv4, conv5 and classifier; with the mid-level branch conv4_1 and mcls",
        (("conv3.0.weight", "classifier.weight"),),
        lambda key, _: _replaced(key, _SNAPMIX),
        (32,),
        "snapmix",
        image_size=448,
        margin=8 / 7,
        short="CUB and NABirds",
        squashed="Stanford Cars and FGVC-Aircraft",
    ),
    "openmixup": Layout(
        "OpenMixup",
        "a ResNet under backbone (conv1, bn1, layer1 to layer4), and head.fc",
        (("backbone.conv1.weight", "head.fc.weight"),),
        lambda key, _: _replaced(key, {"backbone.": NET, "head.fc.": f"{NET}fc."}),
        (8, 32),
        margin=8 / 7,
    ),
    "timm": Layout(
        "timm",
        "the names of timm's network",
        (
            ("conv1.weight", "layer1.0.bn1.weight", "fc.weight"),
            ("stem.conv.weight", "head.fc.weight"),
            ("cls_token", "head.weight"),
            ("conv_stem.weight", "classifier.weight"),
        ),
        lambda key, _: f"{NET}{key}",
        margin=0,
    ),
}


def recognise(keys: Iterable[str]) -> list[str]:
    """Names of the layouts whose marks are among some names. LGCOAMix's other layers are those of a plain ResNet."""
    keys = set(keys)
    found = [name for name, layout in LAYOUTS.items() if any(keys.issuperset(marks) for marks in layout.marks)]
    return ["lgcoamix"] if "lgcoamix" in found else found


@dataclass(frozen=True)
class DecoderForm:
    """The form of a released decoder.

    Parameters
    ----------
    width, skip, pool_stem : as in ``ModelSettings``.
    names : the released name of each tensor -> ours, of the whole network.
    """

    width: int
    skip: str
    pool_stem: bool
    names: Mapping[str, str]


def find_decoder(state: Mapping[str, Tensor], backbone: Backbone) -> DecoderForm | None:
    """Tell the form of a decoder from the shapes of its steps; None if none of ours has them."""
    query = state.get("SA.query.weight")
    if query is None or query.ndim != 2:
        return None
    steps = {key: value for key, value in state.items() if _is_step(key)}
    for skip in ("concat", "add"):
        for pool_stem in (False, True)[: 1 + (backbone.reductions[0] == 2)]:
            reductions = [backbone.reductions[0] * (1 + pool_stem), *backbone.reductions[1:]]
            with torch.device("meta"):
                wanted = Decoder(backbone.channels, reductions, query.shape[0], skip).state_dict()
            names = _decoder_names(wanted)
            if steps.keys() == names.keys() and all(
                of_our_shape(key, value).shape == wanted[names[key]].shape for key, value in steps.items()
            ):
                ours = {key: f"decoder.{name}" for key, name in names.items()}
                return DecoderForm(query.shape[0], skip, pool_stem, ours)
    return None


def of_our_shape(key: str, value: Tensor) -> Tensor:
    """Turn the weight of a transposed 1x1 convolution into that of a plain one."""
    is_1x1 = key.startswith("conv") and _is_step(key) and value.ndim == 4 and value.shape[2:] == (1, 1)
    return value.transpose(0, 1) if is_1x1 else value


def _is_step(key: str) -> bool:
    found = re.fullmatch(r"(?:conv|bn)(\d{1,3})\.\w+", key)
    return found is not None and int(found[1]) >= _FIRST_STEP


def _decoder_names(wanted: Mapping[str, Tensor]) -> dict[str, str]:
    """Number the steps of our decoder as released: every convolution is followed by the tensors of its norm."""
    names, number = {}, _FIRST_STEP - 1
    for name, value in wanted.items():
        is_convolution = value.ndim == 4
        number += is_convolution
        names[f"{'conv' if is_convolution else 'bn'}{number}.{name.rpartition('.')[2]}"] = name
    return names
