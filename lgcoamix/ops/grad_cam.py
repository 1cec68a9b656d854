"""Grad-CAM, for networks whose logits are not linear in the last map, and the choice between it and plain CAM.

Needs only torch; the network is a timm model, or contains one.
"""

import torch
from torch import Tensor, nn

from lgcoamix.ops.class_activation import as_inputs, as_map, class_activation, evaluating, is_linear, timm_net


def choose_method(model: nn.Module, images: Tensor) -> str:
    """Choose among ``METHODS``: CAM if the logits are linear in the mean of the last map, else Grad-CAM.

    Parameters
    ----------
    images : (B, 3, H, W) floating tensor, normalised; their logits decide.
    """
    return "CAM" if is_linear(model, images) else "Grad-CAM"


def grad_cam(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Compute ReLU(Σ_c α_c·F_c), where α_c is the mean gradient of the class's logit over the positions of F_c.

    Parameters
    ----------
    model : a timm classifier or :class:`lgcoamix.models.LocalGlobalNet`; runs in eval mode; no gradients are kept.
    images : (B, 3, H, W) floating tensor, normalised as the network takes it.
    labels : (B,) int64 tensor of classes.

    Returns
    -------
    (B, h, w) tensor.

    Raises
    ------
    ValueError : the network has no single last map, or the logits do not depend on it.

    Notes
    -----
    F is the last map. Behind the last attention, a network that classifies by its class token takes nothing from other
    tokens: there, F is the patch tokens that enter that attention, normalised.

    References
    ----------
    Selvaraju et al.: Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization. ICCV 2017,
    arXiv 1610.02391.
    """
    net, entering = timm_net(model), []
    images = as_inputs(net, images).detach().requires_grad_()  # for a graph even if all parameters are frozen
    watched = _last_attention_norm(net)
    hook = watched and watched.register_forward_hook(lambda _module, _given, output: entering.append(output))
    try:
        with evaluating(net), torch.enable_grad():
            features = net.forward_features(images)
            score = net.forward_head(features).gather(1, labels[:, None]).sum()
    finally:
        if hook:
            hook.remove()
    last = as_map(net, features, images.shape[-2:])
    shown = entering[0] if watched else features
    (gradient,) = torch.autograd.grad(score, shown)
    if watched:  # patches come last
        h, w = last.shape[2:]
        last, gradient = (part[:, -h * w :].transpose(1, 2).unflatten(2, (h, w)) for part in (shown, gradient))
    else:
        gradient = as_map(net, gradient, images.shape[-2:])
    if not gradient.any():
        raise ValueError(f"the logits of {type(net).__name__} do not depend on its last map; choose another backbone")
    return torch.einsum("bc,bchw->bhw", gradient.mean(dim=(2, 3)), last.detach()).relu()


METHODS = {"CAM": class_activation, "Grad-CAM": grad_cam}


def usable_method(model: nn.Module, side: int, device: torch.device) -> str:
    """Choose among ``METHODS``, and try it; empty if its map has a single position, which shows no place.

    Parameters
    ----------
    model : on ``device``.
    side : of the inputs, in pixels.

    Raises
    ------
    ValueError : as of the method.
    """
    noise = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    method = choose_method(model, noise)
    maps = METHODS[method](model, noise, torch.zeros(2, dtype=torch.int64, device=device))
    return method if maps[0].numel() > 1 else ""


def _last_attention_norm(net: nn.Module) -> nn.Module | None:
    """Find the norm before the last attention of a network that classifies by a class token."""
    if getattr(net, "global_pool", None) != "token":
        return None
    return getattr(net.blocks[-1], "norm1", None) if hasattr(net, "blocks") else None
