"""The optimiser of a recipe and the average of its weights: timm's."""

from collections.abc import Iterator

import torch
from timm.optim import create_optimizer_v2, get_optimizer_info, list_optimizers
from timm.utils import ModelEmaV3
from torch import nn

from lgcoamix.errors import SettingsError
from lgcoamix.ops.class_activation import timm_net
from lgcoamix.settings.schedules import learning_rate
from lgcoamix.settings.sections import OptimSettings
from lgcoamix.settings.text import suggest

_FUSED = ("sgd", "adam", "adamw")


def make_optimiser(model: nn.Module, settings: OptimSettings, scaled: bool = False) -> torch.optim.Optimizer:
    """Build the optimiser.

    Parameters
    ----------
    scaled : the loss is scaled, on a GPU: torch's own optimisers can then skip a step without a wait for the device.

    Raises
    ------
    SettingsError : timm has no such optimiser, or it needs a second derivative.
    """
    name = settings.optimiser
    if name not in list_optimizers():
        raise SettingsError(f"no optimiser {name!r}; {suggest(name, list_optimizers())}")
    if get_optimizer_info(name).second_order:
        raise SettingsError(f"optim.optimiser={name} needs second derivatives, which the engine does not compute")
    if name == "sgd" and not settings.nesterov:
        name = "momentum"  # timm's name of the plain form: its sgd is Nesterov's
    try:
        optimiser = create_optimizer_v2(
            model,
            name,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
            filter_bias_and_bn=settings.decay == "weights",
            **({"fused": True} if scaled and settings.optimiser in _FUSED else {}),
        )
    except (ImportError, TypeError, AssertionError, RuntimeError) as error:  # some need packages, or a GPU
        raise SettingsError(f"optim.optimiser={name}: {error}") from error
    _split(optimiser, model, settings)
    return optimiser


def _split(optimiser: torch.optim.Optimizer, model: nn.Module, settings: OptimSettings) -> None:
    """Give new layers groups of their own; ``lr_scale`` is the factor on the rate of the schedule."""
    new = {id(part) for part in _new_layers(model)} if settings.new_layers != 1 else set()
    groups = []
    for group in optimiser.param_groups:
        for is_new, scale in ((False, 1.0), (True, settings.new_layers)):
            own = [part for part in group["params"] if (id(part) in new) == is_new]
            groups += [{**group, "params": own, "lr": settings.lr * scale, "lr_scale": scale}] if own else []
    optimiser.param_groups[:] = groups


def _new_layers(model: nn.Module) -> Iterator[nn.Parameter]:
    """What no backbone's weights bring along: all besides the backbone, and its classifier."""
    net = timm_net(model)
    heads = net.get_classifier()
    heads = heads if isinstance(heads, tuple) else (heads,)  # distilled transformers have two
    old = {id(part) for part in net.parameters()} - {id(part) for head in heads for part in head.parameters()}
    return (part for part in model.parameters() if id(part) not in old)


def set_rate(optimiser: torch.optim.Optimizer, settings: OptimSettings, epoch: int) -> float:
    """Give an optimiser the rate of an epoch, and return it."""
    rate = learning_rate(settings.schedule, settings.lr, epoch, settings.epochs, settings.warmup)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["lr_scale"]
    return rate


def make_average(model: nn.Module, settings: OptimSettings) -> ModelEmaV3 | None:
    """Start the average of the weights, where the recipe has one."""
    return ModelEmaV3(model, decay=settings.ema) if settings.ema else None
