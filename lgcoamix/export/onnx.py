"""Export a network to ONNX and check it against PyTorch. Imports the packages of the extra ``onnx`` on use."""

import io
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lgcoamix.errors import RunError
from preprocess.files import named
from preprocess.text import one_line

TOLERANCE = 1e-4  # largest absolute difference of a logit
_OPSET = 18
_BATCHES = (1, 3)
_LARGEST = 1.9e9  # bytes of weights; protocol buffers, hence ONNX files, are limited to 2 GB


def write_onnx(net: nn.Module, size: int, path: Path) -> float:
    """Write a network and check the file with onnxruntime.

    Parameters
    ----------
    net : maps (B, 3, S, S) float32 normalised images to (B, N) logits; in eval mode, on the CPU.
    size : S.
    path : output file, with input ``images``, output ``logits`` and dynamic B. Weights of more than 2 GB go to a
        second file next to it.

    Returns
    -------
    Largest absolute difference from PyTorch's logits, over batches of 1 and 3 images.

    Raises
    ------
    RunError : the network cannot be exported, or a logit differs by ``TOLERANCE`` or more.
    """
    weights = sum(value.numel() * value.element_size() for value in net.state_dict().values())
    example = torch.zeros(2, 3, size, size)  # two images: the exporter treats a batch of one as constant
    try:
        with named(path), warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                net,
                (example,),
                path,
                input_names=["images"],
                output_names=["logits"],
                opset_version=_OPSET,
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=weights > _LARGEST,
                verbose=False,
            )
    except OSError:  # such as a full disk
        raise
    except Exception as error:  # the exporter and its dependencies have no common type
        raise RunError(
            f"this network cannot be written as ONNX: {type(error).__name__}: {one_line(error, 300)}; nothing was "
            "written, export without --onnx"
        ) from None
    difference = _largest_difference(net, size, path)
    if not difference < TOLERANCE:
        raise RunError(
            f"logits of the ONNX file differ from PyTorch's by {difference:.1e}, expected less than {TOLERANCE:g}; "
            "nothing was written, export without --onnx"
        )
    return difference


@torch.no_grad()
def _largest_difference(net: nn.Module, size: int, path: Path) -> float:
    import onnxruntime

    generator, largest = torch.Generator().manual_seed(0), 0.0
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for count in _BATCHES:
            images = torch.randn(count, 3, size, size, generator=generator)
            (logits,) = session.run(["logits"], {"images": images.numpy()})
            largest = np.maximum(largest, np.abs(logits - net(images).numpy()).max())  # keeps NaN
    except Exception as error:  # onnxruntime's exceptions have no common type
        raise RunError(
            f"onnxruntime cannot run the ONNX file of this network: {one_line(error, 300)}; nothing was written, "
            "export without --onnx"
        ) from None
    return float(largest)
