"""What a user's own loop may pass to a mixer, and what it is told otherwise."""

import math
import re

import numpy as np
import pytest
import torch
from PIL import Image

from lgcoamix.mixing import Batch
from lgcoamix.ops.batch import make_batch

IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 2, 1, 2])
MAPS = torch.arange(8, dtype=torch.uint8).expand(4, 8, 8).contiguous()
NAMES = ["cat", "dog", "bird", "dog"]


def make(**changes: object) -> Batch:
    given = {"images": IMAGES, "labels": LABELS, "maps": MAPS} | changes
    return make_batch(**given)


# What comes in, a part of the message, and what the message says to pass instead: the code is run.
REMEDIES = {
    "images of NumPy": ({"images": IMAGES.numpy()}, "got ndarray (4, 3, 8, 8) float32", "torch.from_numpy(images)"),
    "images of NumPy, channels last": (
        {"images": np.zeros((4, 8, 8, 3), np.uint8)},
        "got ndarray (4, 8, 8, 3) uint8",
        "torch.from_numpy(images).permute(0, 3, 1, 2)",
    ),
    "a list of tensors": ({"images": list(IMAGES)}, "got list of 4 Tensor", "torch.stack(images)"),
    "a list of arrays": (
        {"images": list(IMAGES.numpy())},
        "got list of 4 ndarray",
        "torch.from_numpy(numpy.stack(images))",
    ),
    "a list of PIL images": (
        {"images": [Image.new("L", (8, 8))] * 4},
        "got list of 4 Image",
        'torch.stack([torch.from_numpy(numpy.array(image.convert("RGB"))).permute(2, 0, 1) for image in images])',
    ),
    "channels last": (
        {"images": IMAGES.permute(0, 2, 3, 1)},
        "got (4, 8, 8, 3) float32; channels come first",
        "images.permute(0, 3, 1, 2)",
    ),
    "bytes in int64": ({"images": (IMAGES * 255).long()}, "got (4, 3, 8, 8) int64", "images.to(torch.uint8)"),
    "grey images": ({"images": IMAGES[:, 0]}, "got (4, 8, 8) float32; for one image", "images[:, None]"),
    "labels of NumPy": ({"labels": LABELS.numpy()}, "got ndarray (4,) int64", "torch.from_numpy(labels)"),
    "a list of labels": ({"labels": LABELS.tolist()}, "got list of 4 int", "torch.tensor(labels)"),
    "a list of labels that are tensors": ({"labels": list(LABELS)}, "got list of 4 Tensor", "torch.stack(labels)"),
    "a list of soft labels": ({"labels": [[0.5, 0.5]] * 4}, "got list of 4 list", "torch.tensor(labels)"),
    "float labels": ({"labels": LABELS.float()}, "got (4,) float32", "labels.long()"),
    "bool labels": ({"labels": LABELS > 0}, "got (4,) bool", "labels.long()"),
    "a column of labels": ({"labels": LABELS[:, None]}, "got (4, 1) int64", "labels[:, 0].long()"),
    "a column of float labels": ({"labels": LABELS[:, None].float()}, "got (4, 1) float32", "labels[:, 0].long()"),
    "one-hot integers": ({"labels": torch.eye(4).long()}, "got (4, 4) int64", "labels.float().argmax(1)"),
    "one-hot bools": ({"labels": torch.eye(4) > 0}, "got (4, 4) bool", "labels.float()"),
    "maps of NumPy": ({"maps": MAPS.numpy()}, "got ndarray (4, 8, 8) uint8", "torch.from_numpy(maps)"),
    "a list of maps": ({"maps": list(MAPS)}, "got list of 4 Tensor", "torch.stack(maps)"),
    "maps with a channel": ({"maps": MAPS[:, None]}, "got (4, 1, 8, 8) uint8", "maps[:, 0]"),
    "one map": ({"maps": MAPS[0]}, "got (8, 8) uint8", "maps.expand(4, 8, 8)"),
    "float maps": ({"maps": MAPS.float()}, "got (4, 8, 8) float32", "maps.long()"),
    "bool maps": ({"maps": MAPS > 3}, "got (4, 8, 8) bool", "maps.long()"),
}


@pytest.mark.parametrize(("change", "found", "remedy"), REMEDIES.values(), ids=REMEDIES)
def test_a_wrong_input_is_refused_and_what_the_error_says_to_pass_is_accepted(change, found, remedy):
    message = _refused(**change)
    assert found in message
    assert remedy in message
    ((name, value),) = change.items()
    mended = eval(remedy, {"torch": torch, "numpy": np, name: value})
    batch = make(**{name: mended})
    assert len(batch.images) == len(batch.labels) == 4


def _refused(**changes: object) -> str:
    with pytest.raises(ValueError, match=r"^(images|labels|maps) must be .*got .*; .*pass ") as caught:
        make(**changes)
    return str(caught.value)


def test_one_image_without_a_batch_axis_gets_one_as_the_error_says():
    assert "pass images[None]" in _refused(images=IMAGES[0])
    assert make(images=IMAGES[0][None], labels=LABELS[:1], maps=MAPS[:1]).labels.tolist() == [0]


@pytest.mark.parametrize("labels", [NAMES, tuple(NAMES), np.array(NAMES), np.array(NAMES, dtype=object)])
def test_names_of_classes_are_numbered_as_the_error_says(labels):
    remedy = re.search(r"pass (torch.*), with the names of all classes in classes$", _refused(labels=labels)).group(1)
    numbers = eval(remedy, {"torch": torch, "labels": labels, "classes": ["ant", "bird", "cat", "dog"]})
    assert make(labels=numbers).labels.tolist() == [2, 3, 1, 3]


@pytest.mark.parametrize("name", ["labels", "maps"])
def test_tensors_on_several_devices_are_refused(name):
    elsewhere = {"labels": LABELS, "maps": MAPS}[name].to("meta")
    with pytest.raises(
        ValueError, match=rf"{name} must be on the device of the images, cpu, got meta; pass {name}.to\(images.device\)"
    ):
        make(**{name: elsewhere})


NO_REMEDY = {
    "nothing": ({"images": None}, "got None; pass a tensor"),
    "an empty list": ({"images": []}, "got list of 0 values; pass a tensor"),
    "a dictionary": ({"images": {}}, "got dict; pass a tensor"),
    "an array of no axes": ({"maps": np.array(3)}, "got ndarray () int64"),
    "images and maps": (
        {"images": (IMAGES, MAPS)},
        "got tuple of 2 Tensor; pass images of one shape as one tensor; maps are an argument of their own",
    ),
    "images of several sizes": ({"images": [IMAGES[0], IMAGES[0, :, :4]]}, "pass images of one shape as one tensor"),
    "no image": (
        {"images": IMAGES[:0], "labels": LABELS[:0], "maps": MAPS[:0]},
        "got (0, 3, 8, 8) float32; a batch holds at least one image",
    ),
    "five axes": ({"images": IMAGES[None]}, "got (1, 4, 3, 8, 8) float32"),
    "a label of no axes": ({"labels": torch.tensor(1)}, "got () int64"),
    "too few labels": ({"labels": LABELS[:3]}, "got (3,) int64"),
    "too few soft labels": ({"labels": torch.rand(3, 4)}, "got (3, 4) float32"),
    "soft labels of no classes": ({"labels": torch.zeros(4, 0)}, "got (4, 0) float32"),
    "labels of three axes": ({"labels": torch.rand(4, 3, 2)}, "got (4, 3, 2) float32"),
    "complex maps": ({"maps": MAPS.to(torch.complex64)}, "got (4, 8, 8) complex64"),
    "maps of another size": (
        {"maps": MAPS[:, :4]},
        "got (4, 4, 8) uint8; crop and resize an image and its map in one step, the map by nearest neighbour",
    ),
    "no superpixels": ({"count": 0}, "count must be K_half, a whole number from 1 on, such as dataset.count, got 0"),
    "a count in words": ({"count": "6"}, "count must be K_half, a whole number from 1 on, such as dataset.count, got"),
}


@pytest.mark.parametrize(("change", "message"), NO_REMEDY.values(), ids=NO_REMEDY)
def test_what_cannot_be_a_batch_is_refused(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make(**change)


NO_DISTRIBUTIONS = {
    "scores": ([[1.0, 1.5]] * 4, "got a row from 1 that sums to 2.5; pass labels.softmax(1)"),
    "several classes at once": ([[0.0, 1.0]] * 3 + [[1.0, 1.0]], "got a row from 1 that sums to 2"),
    "nothing": ([[0.0, 0.0]] * 4, "got a row from 0 that sums to 0"),
    "a negative share": ([[-0.5, 1.5]] * 4, "got a row from -0.5 that sums to 1"),
    "no number": ([[math.nan, 1.0]] * 4, "got a row from nan that sums to nan"),
}


@pytest.mark.parametrize(("rows", "message"), NO_DISTRIBUTIONS.values(), ids=NO_DISTRIBUTIONS)
def test_soft_labels_that_are_no_distributions_are_refused_on_a_cpu(rows, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make(labels=torch.tensor(rows))
    elsewhere = (tensor.to("meta") for tensor in (IMAGES, torch.tensor(rows)))
    assert make_batch(*elsewhere).labels.shape == (4, 2)  # a look at the values would wait for a GPU


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("number", [4, 1000])
def test_soft_labels_may_be_rounded(dtype, number):
    draw = torch.Generator().manual_seed(0)
    spread = (torch.randn(4, number, generator=draw) * 3).softmax(dim=1).to(dtype)
    smooth = (torch.eye(4, number) * 0.9 + 0.1 / number).to(dtype)
    for labels in (spread, smooth):
        assert make(labels=labels).labels.dtype == torch.float32


def test_a_compiled_step_checks_soft_labels_without_a_break():
    soft = torch.full((4, 5), 0.2)
    compiled = torch.compile(lambda labels: make_batch(IMAGES, labels).labels, fullgraph=True, backend="eager")
    assert torch.equal(compiled(soft), soft)


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 3, 8, 3), (2, 1, 8, 8), (2, 4, 3, 3), (2, 13, 32, 32)])
def test_small_images_and_images_of_other_channels_are_not_taken_for_channels_last(shape):
    assert make_batch(torch.zeros(shape), torch.tensor([0, 1])).images.shape == shape


def test_a_batch_of_tensors_keeps_them_without_a_copy():
    soft = torch.rand(4, 5).softmax(dim=1)
    batch = make(labels=soft, count=np.int64(9))
    assert (batch.images is IMAGES, batch.labels is soft, batch.maps is MAPS, batch.count) == (True, True, True, 9)
    assert make(labels=soft.half()).labels.dtype == torch.float32
    assert make(labels=LABELS.to(torch.uint8)).labels.dtype == torch.int64


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ((0.5,), r"statistics must be \(mean, std\), got 1 values"),
        ((0.5, 0.5, 0.5), r"statistics must be \(mean, std\), got 3 values"),
        (((123.7, 116.3, 103.5), (58.4, 57.1, 57.4)), r"images in \[0, 1\], got a mean of 123\.7; divide by 255"),
        ((0.5, (0.2, 0.0, 0.2)), "statistics must have a std above 0, got 0"),
        ((math.nan, 0.2), r"got a mean of nan"),
    ],
)
def test_statistics_that_no_images_have_are_refused(statistics, message):
    with pytest.raises(ValueError, match=message):
        make(statistics=statistics)
