"""Class activation: the last feature map of a network and the weights of its classifier.

Needs only torch; the network is a timm model, or contains one.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ROUNDING = 1e-3  # relative to the largest logit: of float32, and of the 10 bits with which GPUs multiply by default
_FLAT = 1e-5  # relative to the largest activation: smaller ranges are rounding errors


@torch.no_grad()
def last_map(model: nn.Module, images: Tensor, in_eval: bool = True) -> Tensor:
    """Compute the feature map that enters the global pool of a classifier.

    Parameters
    ----------
    model : a timm classifier or :class:`lgcoamix.models.LocalGlobalNet`.
    images : (B, 3, H, W) floating tensor, normalised as the network takes it; any floating dtype.
    in_eval : run in eval mode: BatchNorm statistics and the mode of every module do not change. False runs in the mode
        that the network is in: in training mode, running statistics move. A surrounding autocast does not apply.

    Returns
    -------
    (B, C, h, w) tensor; for a transformer, its last tokens without prefix tokens, row by row.

    Raises
    ------
    ValueError : the images are not floating, so not what the network was trained on; or the network has no single
        last map.
    """
    net = timm_net(model)
    whole = torch.autocast(images.device.type, enabled=False)
    with whole, evaluating(net) if in_eval else nullcontext():
        features = net.forward_features(as_inputs(net, images))
    return as_map(net, features, images.shape[-2:])


@torch.no_grad()
def classifier_weight(model: nn.Module, width: int) -> Tensor:
    """Return the weights W of the linear layer on the pooled map: (N, C) tensor.

    Parameters
    ----------
    width : C, the channels of the map.

    Raises
    ------
    ValueError : the head is not a single linear layer on the pooled map.
    """
    head = timm_net(model).get_classifier()
    linear = isinstance(head, nn.Linear) or (isinstance(head, nn.Conv2d) and head.kernel_size == (1, 1))
    if not linear or head.weight.shape[1] != width:
        found = f"{type(head).__name__}" + (f" of {head.weight.shape[1]} inputs" if linear else "")
        raise ValueError(
            f"this method needs a network whose classifier is a single linear layer on the {width} pooled channels of "
            f"its last map, got {found}; choose another backbone"
        )
    return head.weight.detach().flatten(1)


@torch.no_grad()
def class_activation(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Compute the class activation map (CAM) of one class of each image: Σ_c W[y, c]·F_c.

    Parameters
    ----------
    model, images : as for :func:`last_map`; runs in eval mode.
    labels : (B,) int64 tensor of classes y.

    Returns
    -------
    (B, h, w) tensor. Its mean plus the bias of the class is the logit, where :func:`is_linear`.

    Raises
    ------
    ValueError : the network has no last map, or its head is not a single linear layer on it.

    References
    ----------
    Zhou, Khosla, Lapedriza, Oliva, Torralba: Learning Deep Features for Discriminative Localization. CVPR 2016,
    arXiv 1512.04150.
    """
    features = last_map(model, images)
    return torch.einsum("bc,bchw->bhw", classifier_weight(model, features.shape[1])[labels], features)


@torch.no_grad()
def is_linear(model: nn.Module, images: Tensor) -> bool:
    """Whether the logits of these images are those of the linear classifier on the mean of the last map.

    Then the class activation map shows what each position adds to a logit. A normalisation between pool and classifier,
    a class token or another pool makes them differ.
    """
    net, features = timm_net(model), last_map(model, images)
    try:
        weight = classifier_weight(model, features.shape[1])
    except ValueError:
        return False
    with evaluating(net):
        logits = net(as_inputs(net, images))
    pooled = F.linear(features.mean(dim=(2, 3)), weight, net.get_classifier().bias)
    return bool((logits - pooled).abs().max() <= _ROUNDING * logits.abs().max())


def is_flat(least: Tensor, most: Tensor) -> Tensor:
    """Whether maps with these lowest and highest activations are constant up to rounding, so show nothing."""
    return most - least <= _FLAT * torch.maximum(most.abs(), least.abs())


def timm_net(model: nn.Module) -> nn.Module:
    """Find the timm classifier in a model.

    Raises
    ------
    ValueError : the model contains none.
    """
    inner = getattr(model, "module", model)  # DataParallel, DistributedDataParallel
    net = getattr(getattr(inner, "backbone", inner), "net", inner)
    if not hasattr(net, "forward_features"):
        raise ValueError(
            f"model= must be a timm classifier or a LocalGlobalNet, got {type(model).__name__}; pass the one "
            "inside it, or give it forward_features(images) and get_classifier()"
        )
    return net


def as_inputs(net: nn.Module, images: Tensor) -> Tensor:
    """Convert normalised images to the type of a network's parameters.

    Raises
    ------
    ValueError : the images are not floating, so not what the network was trained on.
    """
    if not images.is_floating_point():
        raise ValueError(f"images must be floating and normalised for the network, got {images.dtype}")
    return images.to(next(net.parameters()).dtype)


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Run a network in eval mode; afterwards every module has its mode back."""
    modes = [(part, part.training) for part in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def as_map(net: nn.Module, features: Tensor, size: tuple[int, int]) -> Tensor:
    """Arrange what ``forward_features`` of a timm network returns as (B, C, h, w), without prefix tokens.

    Parameters
    ----------
    size : (H, W) of the images.

    Raises
    ------
    ValueError : it is no single map.
    """
    if not isinstance(features, Tensor) or features.ndim not in (3, 4):
        raise ValueError(f"{type(net).__name__} has no single last map; choose another backbone")
    if features.ndim == 3:
        features = features[:, getattr(net, "num_prefix_tokens", 0) :]
        rows = max(1, round((features.shape[1] * size[0] / size[1]) ** 0.5))
        if features.shape[1] % rows:
            raise ValueError(
                f"the {features.shape[1]} tokens of {type(net).__name__} form no grid; choose another backbone"
            )
        return features.transpose(1, 2).unflatten(2, (rows, -1))
    return features.permute(0, 3, 1, 2) if str(getattr(net, "output_fmt", "NCHW")) == "NHWC" else features
