"""What ``make gpu`` finds out, in this order."""

import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial

import torch

from preprocess.machine import cores, processor
from tests.benchmarks.step import Case, time_step
from tests.gpu.agreement import agree, crops_agree, existing_tests, pooling_agrees
from tests.gpu.cells import cells
from tests.gpu.day import Item, Part, Row
from tests.gpu.isolation import contrast, copying, pooling
from tests.gpu.setup import METHODS, Setup
from tests.gpu.sync import steps_without_waiting, waits
from tests.gpu.waiting import loader_without_waiting, share_of_waiting

_COMPILED = ("none", "lgcoamix", *METHODS)  # in this order, each once
_FAR = 0.05  # largest relative difference of the loss of compiled steps


def make_parts(setup: Setup) -> dict[str, Part]:
    """All parts, by the name that the command line takes."""
    return {
        "agreement": Part(
            "The step against float64 on the CPU",
            1.5,
            _fixed({name: partial(agree, setup, name) for name in METHODS} | _tests(setup)),
            {
                "method": "{method}",
                "float64": "{double:.0e}",
                "float32": "{single:.0e}",
                "furthest off": "{single_worst}",
            },
            "Largest error of images, weights, logits, losses and gradients, relative to the largest value.",
        ),
        "sync": Part(
            "Steps that make the host wait for the device",
            0.7,
            _fixed(
                {name: partial(_synchronisation, setup, name) for name in METHODS}
                | {"resident loader": partial(loader_without_waiting, setup)}
            ),
            {"method": "{method}", "steps": "{steps}", "waits": "{waits}"},
        ),
        "methods": Part(
            f"Training step, {_title(setup)}",
            1.2,
            _methods(setup),
            {"method": "{method}", "ms": "{milliseconds:.1f}", "images/s": "{images:.0f}", "of plain": "{of_plain:.2f}"}
            | {"peak GB": "{peak:.1f}"},
            "Forward, backward and optimiser; every batch is mixed.",
        ),
        "isolation": Part(
            "Pooling and contrast alone",
            0.6,
            _fixed(_isolated(setup)),
            {"what": "{what}", "shape": "{shape}", "ms": "{milliseconds:.3f}", "GB/s": "{rate:.0f}"}
            | {"of the copy": "{of_copy:.2f}"},
            "GB/s: the least number of bytes that must move (tests/gpu/isolation.py), by the time.",
        ),
        "waiting": Part(
            "Waiting for the resident loader",
            1.0,
            _fixed(_loading(setup)),
            {"network": "{what}", "method": "{method}", "ms a step": "{milliseconds:.1f}", "images/s": "{images:.0f}"}
            | {"waiting": "{waiting:.1f} %"},
            "On images of CIFAR-10; waiting includes the crops, which the device makes between two steps.",
        ),
        "compile": Part(
            f"Compilation, {_title(setup)}",
            2.5,
            _fixed(
                {name: partial(_compilation, setup, name) for name in (_COMPILED[:1] if setup.quick else _COMPILED)}
            ),
            {"method": "{method}", "ms": "{eager:.1f}", "ms, compiled": "{compiled:.1f}", "faster": "{gain:.2f}x"}
            | {"s to compile": "{first:.0f}"},
        ),
        "cells": Part(
            "make cifar10",
            5.0,
            lambda left: {"make cifar10": partial(cells, setup, left)},
            {"method": "{method}", "epochs": "{epochs}", "top-1": "{top1:.2f} %", "s": "{seconds:.0f}"}
            | {"images/s": "{images:.0f}", "waiting": "{waiting:.0f} %", "state": "{state}"},
            "Seed 0. Cells run at once share the device: their images/s are those of each.",
        ),
    }


def machine(setup: Setup) -> Part:
    """What this runs on; it comes before the parts."""
    return Part("Machine", 1.0, _fixed({"machine": partial(_machine, setup)}), {})


def _machine(setup: Setup) -> Row:
    row = {"cores": cores(), "processor": processor(), "python": platform.python_version(), "torch": torch.__version__}
    row |= {"threads": torch.get_num_threads(), "system": platform.platform()}
    if setup.device != "cuda":
        return row | {"name": f"CPU, {torch.get_num_threads()} threads"}
    if not torch.cuda.is_available():
        raise RuntimeError(f"torch {torch.__version__} finds no CUDA device here; to try the path: DEVICE=cpu QUICK=1")
    found = torch.cuda.get_device_properties(0)
    memory = {"memory": found.total_memory, "multiprocessors": found.multi_processor_count}
    return row | memory | {"name": found.name, "cuda": torch.version.cuda}


def _fixed(items: Mapping[str, Item]) -> Callable[[Callable[[], float]], Mapping[str, Item]]:
    """Items that do not ask for the time that is left."""
    return lambda _: items


def _tests(setup: Setup) -> dict[str, Item]:
    more = {"crops": crops_agree, "pooling": pooling_agrees}
    return {name: partial(check, setup) for name, check in more.items()} | {"pytest": partial(existing_tests, setup)}


def _case(setup: Setup, compiled: bool = False) -> Case:
    steps, repeats = (1, 1) if setup.quick else (10, 5)
    return Case(setup.backbone, setup.batch, setup.side, setup.compute(compiled), steps, repeats, setup.extractor)


def _title(setup: Setup) -> str:
    return f"{setup.backbone}, {setup.batch} images of {setup.side} pixels, bfloat16, channels last"


def _synchronisation(setup: Setup, name: str) -> Row:
    backbone = "test_resnet" if setup.quick else "resnet18"
    given = (setup.mixer(name), backbone, setup.torch_device, setup.compute(), 2 if setup.quick else 10)
    return {"method": name, "steps": steps_without_waiting(*given), "waits": waits(setup.torch_device)}


def _methods(setup: Setup) -> Callable[[Callable[[], float]], Mapping[str, Item]]:
    """The step of every method, and its ratio to that of plain cross-entropy, which comes first."""
    plain: list[float] = []

    def timed(name: str) -> Row:
        case = _case(setup)
        found = time_step(case, name, setup.torch_device)
        if name == "none":
            plain.append(found.step)
        row = {"method": name, "milliseconds": 1e3 * found.step, "images": case.batch / found.step}
        return row | {"peak": found.peak / 1e9, **({"of_plain": found.step / plain[0]} if plain else {})}

    return _fixed({name: partial(timed, name) for name in METHODS})


def _compilation(setup: Setup, name: str) -> Row:
    with _traced_only() if setup.quick else nullcontext():
        eager, compiled = (time_step(_case(setup, flag), name, setup.torch_device) for flag in (False, True))
    row = {"method": name, "eager": 1e3 * eager.step, "compiled": 1e3 * compiled.step, "first": compiled.first}
    row |= {"gain": eager.step / compiled.step, "eager_loss": eager.loss, "compiled_loss": compiled.loss}
    if not abs(compiled.loss - eager.loss) <= _FAR * abs(eager.loss):
        raise ValueError(f"compiled steps have another loss: {compiled.loss:.4f}, not {eager.loss:.4f}; {row}")
    return row


@contextmanager
def _traced_only() -> Iterator[None]:
    """Let torch.compile trace everything, but not generate code, which takes minutes on a CPU."""
    before = torch.compile
    torch.compile = partial(before, backend="eager")
    try:
        yield
    finally:
        torch.compile = before


def _isolated(setup: Setup) -> dict[str, Item]:
    """A copy, and the others with their rate beside that of the copy."""
    copied: list[float] = []

    def compared(name: str, item: Callable[[], Row]) -> Row:
        row = item()
        if name == "copy":
            copied.append(row["rate"])
        return row | ({"of_copy": row["rate"] / copied[0]} if copied else {})

    items = {"copy": partial(copying, setup)}
    for backward in (False, True):
        mark = ", backward" * backward
        for dtype in (torch.float32, torch.bfloat16):
            items[f"pooling {dtype}{mark}"] = partial(pooling, setup, dtype, backward)
        for rows in (64,) if setup.quick else (3584, 8064):  # batch 64 of 40 superpixels; batch 128 of 45: 0.7 are kept
            items[f"contrast {rows}{mark}"] = partial(contrast, setup, rows, backward)
    return {name: partial(compared, name, item) for name, item in items.items()}


def _loading(setup: Setup) -> dict[str, Item]:
    cases = [("test_resnet", 32, 4)] if setup.quick else [("resnet18_cifar", 32, 128), ("resnet50", 224, 64)]
    return {
        f"{backbone} {method}": partial(share_of_waiting, setup, method, backbone, side, batch)
        for backbone, side, batch in cases
        for method in ("none", "lgcoamix")
    }
