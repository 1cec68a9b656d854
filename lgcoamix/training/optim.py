"""Optimisers and weight averaging from timm, as a recipe sets them."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from timm.optim import NvNovoGrad, create_optimizer_v2, get_optimizer_info, list_optimizers
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from lgcoamix.errors import SettingsError
from lgcoamix.ops.class_activation import timm_net
from lgcoamix.settings.checks import shown
from lgcoamix.settings.schedules import learning_rate
from lgcoamix.settings.sections import OptimSettings
from lgcoamix.settings.text import suggest

_FUSED = ("sgd", "adam", "adamw")
_MOVES = ("lr", "step")  # of a group, in training: both numbers; all else stays as it is set
_MACHINE = ("foreach", "fused")  # how a step is computed on a device
_SHAPED = ("momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "square_avg")  # state like the weights


def make_optimiser(model: nn.Module, settings: OptimSettings, scaled: bool = False) -> torch.optim.Optimizer:
    """Build the optimiser.

    Parameters
    ----------
    scaled : whether the loss is scaled on a GPU. Fused optimisers can then skip a step without waiting for the device.

    Raises
    ------
    SettingsError : timm has no such optimiser, or it needs a second derivative, or has no Nesterov form and one is set.
    """
    name = settings.optimiser
    if name not in list_optimizers():
        raise SettingsError(f"no optimiser {name!r}; {suggest(name, list_optimizers())}")
    if get_optimizer_info(name).second_order:
        raise SettingsError(f"optim.optimiser={name} needs second derivatives, which training does not compute")
    # Of a module, timm would leave out of the decay what the network lists, such as positions.
    decayed = model if settings.decay == "weights" else [part for part in model.parameters() if part.requires_grad]
    try:
        optimiser = create_optimizer_v2(
            decayed,
            name,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
            filter_bias_and_bn=settings.decay == "weights",
            **_nesterov(settings),
            **({"fused": True} if scaled and name in _FUSED else {}),
        )
    except (ImportError, TypeError, ValueError, AssertionError, RuntimeError) as error:  # some need packages, or a GPU
        raise SettingsError(f"optim.optimiser={name}: {error}") from error
    _split(optimiser, model, settings)
    return optimiser


def _nesterov(settings: OptimSettings) -> dict[str, bool]:
    """The form of the momentum. timm's own defaults differ: its sgd is Nesterov's. Names of that form keep it."""
    name, kind = settings.optimiser, get_optimizer_info(settings.optimiser).opt_class
    if not callable(kind):  # of a package that is not installed
        return {}
    if "nesterov" not in inspect.signature(kind).parameters:
        if settings.nesterov:
            raise SettingsError(f"optim.nesterov=true: timm's {name} has no Nesterov momentum; leave it out")
        return {}
    in_name = name.startswith("nesterov") or (name[0] == "n" and name[1:] in list_optimizers())
    return {"nesterov": settings.nesterov or in_name}


def _split(optimiser: torch.optim.Optimizer, model: nn.Module, settings: OptimSettings) -> None:
    """Put new layers into separate groups; ``lr_scale`` multiplies the scheduled rate."""
    new = {id(part) for part in _new_layers(model)} if settings.new_layers != 1 else set()
    groups = []
    for group in optimiser.param_groups:
        for is_new, scale in ((False, 1.0), (True, settings.new_layers)):
            own = [part for part in group["params"] if (id(part) in new) == is_new]
            groups += [{**group, "params": own, "lr": settings.lr * scale, "lr_scale": scale}] if own else []
    optimiser.param_groups[:] = groups


def _new_layers(model: nn.Module) -> Iterator[nn.Parameter]:
    """Layers without pretrained weights: the classifier, and everything outside the backbone."""
    net = timm_net(model)
    heads = net.get_classifier()
    heads = heads if isinstance(heads, tuple) else (heads,)  # distilled transformers have two
    old = {id(part) for part in net.parameters()} - {id(part) for head in heads for part in head.parameters()}
    return (part for part in model.parameters() if id(part) not in old)


def set_rate(optimiser: torch.optim.Optimizer, settings: OptimSettings, epoch: int) -> float:
    """Set the learning rate of an epoch, and return it."""
    rate = learning_rate(settings.schedule, settings.lr, epoch, settings.epochs, settings.warmup)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["lr_scale"]
    return rate


def refuse_other_optimiser(optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Check the state of an optimiser from a checkpoint: torch would find out in the first step, if at all.

    Raises
    ------
    ValueError : it has other groups, options or kinds of values, or moments of other shapes.
    """
    mine = optimiser.state_dict()["param_groups"]
    theirs = state["param_groups"]
    if [group["params"] for group in mine] != [group.get("params") for group in theirs]:
        raise ValueError("its optimiser has other groups of parameters")
    for place, (group, other) in enumerate(zip(mine, theirs, strict=True)):
        for name in sorted(group.keys() & other.keys() | {"lr", "lr_scale"}):
            expected = _expected(name, group[name], other.get(name))
            if expected:
                found = shown(other.get(name))
                raise ValueError(f"optimiser.param_groups.{place}.{name}: expected {expected}, got {found}")
    parameters = [part for group in optimiser.param_groups for part in group["params"]]
    shaped = {*_SHAPED} - ({"exp_avg_sq"} if isinstance(optimiser, NvNovoGrad) else set())  # one number there
    for number, moments in state["state"].items():
        shape = parameters[number].shape if number < len(parameters) else None
        for name, value in moments.items():
            if name in shaped and (not isinstance(value, Tensor) or value.shape != shape):
                raise ValueError(f"optimiser.state.{number}.{name}: expected a tensor of shape {shape}")


def _expected(name: str, mine: object, other: object) -> str:
    """What an option of a group has to be, if it is something else."""
    if name in _MOVES:
        return "" if _is_number(other) else "a number"
    if name in _MACHINE:
        return "" if other is None or isinstance(other, bool) else "True or False"
    return "" if _is_equal(mine, other) else repr(mine)


def _is_number(value: object) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_equal(mine: object, other: object) -> bool:
    if isinstance(mine, Tensor) or isinstance(other, Tensor):
        return _is_number(mine) and _is_number(other) and float(mine) == float(other)
    if isinstance(mine, tuple | list):
        return isinstance(other, tuple | list) and len(mine) == len(other) and all(map(_is_equal, mine, other))
    return _is_number(mine) == _is_number(other) and mine == other


def make_average(model: nn.Module, settings: OptimSettings) -> ModelEmaV3 | None:
    """Start averaging the weights, if the recipe asks for it."""
    return ModelEmaV3(model, decay=settings.ema) if settings.ema else None
