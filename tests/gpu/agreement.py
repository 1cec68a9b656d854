"""The same step in float64 on the CPU and on the device, for every method; and the same crops."""

import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lgcoamix.data.resample import resample_images, resample_maps
from lgcoamix.data.windows import Windows
from lgcoamix.mixing import Mixer, unmixed
from lgcoamix.models import LocalGlobalNet
from lgcoamix.ops.pooling import pool_superpixels
from tests.gpu.day import LeftOut, Row
from tests.gpu.setup import Setup, squares

_CLASSES, _BATCH, _SIDE = 10, 8, 64
_DOUBLE, _SINGLE = 1e-8, 1e-3  # largest errors, relative to the largest value
_TESTS = {  # tests that are skipped without CUDA, and what they need
    "tests/lgcoamix/training/test_epoch.py": (),
    "tests/lgcoamix/mixing/test_mixers.py": (),
    "tests/lgcoamix/data/test_resample.py": ("cv2",),
}


def one_step(mixer: Mixer, backbone: str, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Forward and backward of one mixed batch.

    Parameters
    ----------
    mixer : with its gate open.
    backbone : timm model name; its weights do not depend on device and dtype.

    Returns
    -------
    Mixed images, label weights, logits, terms of the loss, and the gradient of all parameters, on the CPU in float64.
    """
    torch.manual_seed(0)
    network = LocalGlobalNet(backbone, _CLASSES, image_size=_SIDE, local=mixer.needs_local, width=16)
    if network.local_head is not None:  # as it starts, every score is 0, and rounding would choose the regions
        for values in network.local_head.norm.parameters():
            torch.nn.init.normal_(values)
    network.to(device, dtype).train()
    batch = squares(_BATCH, _SIDE, classes=_CLASSES)
    batch = replace(batch, images=batch.images.to(dtype) / 255).to(device)
    with _exact():
        plan = mixer.plan(batch, torch.Generator().manual_seed(0), network)
        mixed = unmixed(batch) if plan is None else mixer.mix(batch, plan)
        output = network(mixed.images, mixed.regions, mixed.count)
        terms = mixer.loss(output, mixed)
        torch.stack(list(terms.values())).sum().backward()
    gradients = [value.grad.flatten() for value in network.parameters() if value.grad is not None]
    mixing = {"images": mixed.images, "weight_a": mixed.weight_a, "weight_b": mixed.weight_b}
    found = {**mixing, "logits": output.logits, **terms, "gradients": torch.cat(gradients)}
    return {name: value.detach().double().cpu() for name, value in found.items()}


def agree(setup: Setup, name: str) -> Row:
    """Compare a step on the device, in float64 and in float32, with float64 on the CPU.

    Raises
    ------
    ValueError : they differ by more than rounding explains.
    """
    backbone, mixer = "test_resnet" if setup.quick else "resnet18", setup.mixer(name)
    expected = one_step(mixer, backbone, torch.device("cpu"), torch.float64)
    row: Row = {"method": name}
    for key, dtype, most in (("double", torch.float64, _DOUBLE), ("single", torch.float32, _SINGLE)):
        errors = relative_errors(one_step(mixer, backbone, setup.torch_device, dtype), expected)
        worst = max(errors, key=errors.__getitem__)
        row |= {key: errors[worst], f"{key}_worst": worst}
        if errors[worst] > most:
            raise ValueError(f"{worst} in {dtype}: {errors[worst]:.1e} off float64 on the CPU, expected {most:.0e}")
    return row


def relative_errors(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """The largest difference of each tensor, divided by the largest expected value; infinite with NaN."""
    if found.keys() != expected.keys():
        raise ValueError(f"expected {', '.join(expected)}, got {', '.join(found)}")
    return {
        name: float(((found[name] - value).abs().max() / value.abs().max().clamp(min=1e-30)).nan_to_num(torch.inf))
        for name, value in expected.items()
    }


def crops_agree(setup: Setup) -> Row:
    """Crop and resize a batch on the device: bit for bit as on the CPU.

    Raises
    ------
    ValueError : a pixel differs.
    """
    batch, draw = squares(16, 80), np.random.default_rng(0)
    heights, widths = draw.integers(8, 80, (2, 16))
    windows = Windows(
        draw.integers(0, 81 - heights), draw.integers(0, 81 - widths), heights, widths, np.arange(16) % 2 == 1
    )
    for make, tensor, more in ((resample_images, batch.images, ()), (resample_maps, batch.maps, (255,))):
        here, there = (make(each, windows, 48, *more) for each in (tensor, tensor.to(setup.torch_device)))
        if not torch.equal(here, there.cpu()):
            raise ValueError(f"{make.__name__} gives other pixels than on the CPU")
    return {"method": "crops of the resident loader", "double": 0.0, "single": 0.0}


def pooling_agrees(setup: Setup) -> Row:
    """Pool maps with channels last in float64 on the device: values and gradient as on the CPU in the other layout.

    Training has this layout; the steps above have the other, as cuDNN has no convolution of it in float64.

    Raises
    ------
    ValueError : they differ by more than rounding explains.
    """
    draw = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 32, 24, 24, generator=draw, dtype=torch.float64)
    regions = torch.randint(-1, 20, (4, 24, 24), generator=draw)
    found = []
    for device, layout in (("cpu", torch.contiguous_format), (setup.torch_device, torch.channels_last)):
        features = maps.clone().to(device).contiguous(memory_format=layout).detach().requires_grad_()
        means = pool_superpixels(features, regions.to(device), 20)
        (means * torch.arange(32, device=device)).sum().backward()
        found.append({"means": means.detach().cpu(), "gradient": features.grad.cpu()})
    errors = relative_errors(found[1], found[0])
    worst = max(errors, key=errors.__getitem__)
    if errors[worst] > _DOUBLE:
        raise ValueError(f"pooling, {worst}: {errors[worst]:.1e} off the CPU, expected {_DOUBLE:.0e}")
    return {"method": "pooling with channels last", "double": errors[worst]}


def existing_tests(setup: Setup) -> Row:
    """The tests of the suite that need a GPU.

    Raises
    ------
    ValueError : one fails.
    """
    if find_spec("pytest") is None:
        raise LeftOut("pytest is missing: `make gpu-wheels` brings it")
    lacking = {file: [name for name in needs if find_spec(name) is None] for file, needs in _TESTS.items()}
    files = [file for file, names in lacking.items() if not names]
    left = (f"; left out without {' '.join(names)}: {Path(file).name}" for file, names in lacking.items() if names)
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "gpu or cuda", *files)
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    last = (done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["nothing"])[-1]
    if done.returncode:
        raise ValueError(f"pytest ended with {done.returncode}: {last}\n{done.stdout[-2000:]}\n{done.stderr[-500:]}")
    return {"method": f"pytest, {', '.join(Path(file).name for file in files)}: {last}{''.join(left)}"}


def _exact() -> AbstractContextManager:
    """Convolutions in float32, where cuDNN would take TF32."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if torch.cuda.is_available() else nullcontext()
