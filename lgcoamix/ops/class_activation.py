"""Class activation: the last feature map of a network and the weights of its classifier.

Needs only torch; the network is a timm model, or contains one.
"""

import torch
from torch import Tensor, nn


@torch.no_grad()
def last_map(model: nn.Module, images: Tensor, in_eval: bool = True) -> Tensor:
    """Compute the feature map that enters the global pool of a classifier.

    Parameters
    ----------
    model : a timm classifier or :class:`lgcoamix.models.LocalGlobalNet`.
    images : (B, 3, H, W) floating tensor, normalised as the network takes it; any floating dtype.
    in_eval : run in eval mode: BatchNorm statistics and the mode of every module do not change. False runs in the mode
        that the network is in: in training mode, running statistics move.

    Returns
    -------
    (B, C, h, w) tensor; for a transformer, its last tokens without prefix tokens, row by row.

    Raises
    ------
    ValueError : the images are not floating, so not what the network was trained on; or the network has no single
        last map.
    """
    if not images.is_floating_point():
        raise ValueError(f"images must be floating and normalised for the network, got {images.dtype}")
    net = timm_net(model)
    modes = [(part, part.training) for part in net.modules()]
    if in_eval:
        net.eval()
    try:
        features = net.forward_features(images.to(next(net.parameters()).dtype))
    finally:
        for part, training in modes:
            part.training = training
    if not isinstance(features, Tensor) or features.ndim not in (3, 4):
        raise ValueError(f"{type(net).__name__} has no single last map; choose another backbone")
    if features.ndim == 3:
        features = features[:, getattr(net, "num_prefix_tokens", 0) :]
        rows = max(1, round((features.shape[1] * images.shape[-2] / images.shape[-1]) ** 0.5))
        if features.shape[1] % rows:
            raise ValueError(
                f"the {features.shape[1]} tokens of {type(net).__name__} form no grid; choose another backbone"
            )
        return features.transpose(1, 2).unflatten(2, (rows, -1))
    return features.permute(0, 3, 1, 2) if str(getattr(net, "output_fmt", "NCHW")) == "NHWC" else features


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
    if not isinstance(head, nn.Linear) or head.in_features != width:
        found = f"{type(head).__name__}" + (f" of {head.in_features} inputs" if isinstance(head, nn.Linear) else "")
        raise ValueError(
            f"this method needs a network whose classifier is a single linear layer on the {width} pooled channels of "
            f"its last map, got {found}; choose another backbone"
        )
    return head.weight.detach()


def timm_net(model: nn.Module) -> nn.Module:
    """Find the timm classifier in a model.

    Raises
    ------
    ValueError : the model contains none.
    """
    inner = getattr(model, "module", model)  # DataParallel, DistributedDataParallel
    net = getattr(getattr(inner, "backbone", inner), "net", inner)
    if not hasattr(net, "forward_features"):
        raise ValueError(f"model= must be a timm classifier or a LocalGlobalNet, got {type(model).__name__}")
    return net
