"""Localisation: boxes around class activation maps, against the boxes of the store. Needs OpenCV.

References
----------
Choe, Oh, Lee, Chun, Akata, Shim: Evaluating Weakly Supervised Object Localization Methods Right. CVPR 2020,
arXiv 2001.07437; MaxBoxAccV2 in its extension, arXiv 2007.04178.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lgcoamix.data.windows import Windows, fixed_windows
from lgcoamix.errors import RunError
from lgcoamix.evaluation.bootstrap import intervals
from lgcoamix.evaluation.subject import Start, Subject
from lgcoamix.ops.grad_cam import METHODS, choose_method
from preprocess.extras import required
from preprocess.store import Store

IOUS = (0.3, 0.5, 0.7)
THRESHOLDS = np.arange(1000) / 1000
LEVELS = 255  # of grey: 0 to 254; brighter pixels belong to the object
_LEVEL_OF = np.arange(1000) * LEVELS // 1000  # thresholds at one level give the same boxes
_SLIVER = 1e-3  # pixels of a box that count as none; float32 leaves edges of a box uncertain by less


@dataclass(frozen=True)
class Plan:
    """What is localised, and how.

    Parameters
    ----------
    method : name in ``lgcoamix.ops.grad_cam.METHODS``.
    samples : (n,) int64 numbers of the images with a box in view.
    boxes : for each of them, (k, 4) int64 edges x0, y0, x1, y1 in the input.
    without_box : number of images without a box.
    out_of_view : number of images whose boxes all lie outside the window of the test.
    """

    method: str
    samples: np.ndarray
    boxes: list[np.ndarray]
    without_box: int
    out_of_view: int


def plan_localisation(subject: Subject) -> Plan:
    """Read the boxes of a split as the test shows them, and choose how activation maps are computed.

    Raises
    ------
    RunError : the split has no boxes in view, or the network has no activation maps.
    PackageError : OpenCV is missing.
    """
    with required("--localise", "train"):
        import cv2  # noqa: F401 - before a pass over all images
    store, split, settings = subject.store, subject.options.split, subject.trained.settings.data
    boxes, size = store.boxes(split), settings.image_size
    has_box = ~np.isnan(boxes).any(axis=2).all(axis=1)
    if not has_box.any():
        raise RunError(_without_boxes(store, split))
    sizes = store.sizes(split, range(len(boxes)))
    shown = boxes_in_view(boxes, sizes, fixed_windows(settings, sizes), size)
    samples = np.flatnonzero([len(own) for own in shown])
    if not len(samples):
        raise RunError(
            f"the centre crop of {size} pixels shows none of the boxes of split {split!r} of {store.path}; build a "
            "store with a smaller --size"
        )
    noise = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    noise = noise.to(subject.device)
    with _maps_wanted():
        method = choose_method(subject.model, noise)
        maps = METHODS[method](subject.model, noise, torch.zeros(2, dtype=torch.int64, device=noise.device))
    if maps[0].numel() == 1:
        raise RunError(
            f"--localise: the last map of this network has one position for inputs of {size} pixels, which shows no "
            "place; evaluate a network with larger inputs, or another backbone"
        )
    chosen = [shown[sample] for sample in samples]
    return Plan(method, samples, chosen, int((~has_box).sum()), int(has_box.sum()) - len(samples))


def boxes_in_view(boxes: np.ndarray, sizes: np.ndarray, windows: Windows, size: int) -> list[np.ndarray]:
    """Crop and resize boxes as their images are.

    Parameters
    ----------
    boxes : (n, m, 4) float32 array, as from a store: edges x0, y0, x1, y1 as fractions of width and height, or NaN.
    sizes : (n, 2) heights and widths of the stored images.
    windows : n windows that mirror nothing.
    size : side of the input, in pixels.

    Returns
    -------
    n arrays of (k, 4) int64 edges in [0, size]: of the part in the window, without boxes that have none.

    Notes
    -----
    Edges are rounded down, as in the published protocol. In float32 an edge at a whole pixel may be slightly smaller:
    2⁻²⁴ of the side, more than the error, is added before.
    """
    sides = sizes[:, None, None, ::-1].astype(np.float64)  # widths, heights
    corners = np.stack([windows.left, windows.top], axis=1)[:, None, None]
    spans = np.stack([windows.width, windows.height], axis=1)[:, None, None]
    points = boxes.reshape(len(boxes), -1, 2, 2) * sides + sides * 2.0**-24 - corners
    points *= size / spans
    visible = (points[:, :, 1] > _SLIVER).all(axis=2) & (points[:, :, 0] < size - _SLIVER).all(axis=2)
    edges = np.floor(points.clip(0, size)).reshape(boxes.shape)
    return [own[seen].astype(np.int64) for own, seen in zip(edges, visible, strict=True)]


def localise(subject: Subject, plan: Plan, right: np.ndarray, start: Start) -> dict[str, Any]:
    """Localise the true class of every image that has a box in view.

    Parameters
    ----------
    plan : for this subject.
    right : (n,) bool array: whether each of ``plan.samples`` is classified correctly.

    Returns
    -------
    Plain data for JSON: the method, the numbers of images, and what :func:`figures` returns.
    """
    truths, main, best, flat = iter(plan.boxes), [], [], 0
    what = f"{subject.store.name} {subject.options.split}, boxes"
    for images, labels in subject.batches(subject.dataset(plan.samples), what, start):
        with _maps_wanted():
            maps = METHODS[plan.method](subject.model, images, labels)
        for activation in maps.cpu().double().numpy():  # MPS has no float64
            scores = score_map(activation, images.shape[-1])
            flat += not scores.any()
            of_main, of_best = overlaps(scores, next(truths))
            main.append(of_main >= 0.5)
            best.append([of_best >= iou for iou in IOUS])
    return {
        "method": plan.method,
        "images": len(main),
        "without_box": plan.without_box,
        "out_of_view": plan.out_of_view,
        "flat_maps": flat,
        **figures(np.array(main), np.array(best), right, subject.options.seed),
    }


def figures(main: np.ndarray, best: np.ndarray, right: np.ndarray, seed: int) -> dict[str, Any]:
    """Compute the accuracies of n images, in percent.

    Parameters
    ----------
    main : (n, 255) bool array: whether the box of the largest contour has IoU >= 0.5 with a true box, by level of grey.
    best : (n, 3, 255) bool array: whether a box of any contour reaches each of ``IOUS``.
    right : (n,) bool array: whether the image is classified correctly.
    seed : of the intervals.

    Returns
    -------
    max_box_acc : share in ``main`` at the threshold where it is largest; of several, the lowest.
    threshold : that threshold.
    gt_known : the same accuracy: the activation map is that of the true class, whichever class is predicted.
    top1 : share in both ``main``, at that threshold, and ``right``. The map of the predicted class, if it is right, is
        that of the true class.
    max_box_acc_v2 : mean of the accuracies in ``max_box_acc_v2_by_iou``.
    max_box_acc_v2_by_iou : for each of ``IOUS``, the share in ``best`` at the threshold where it is largest.
    interval : for each of these accuracies, the ends of its bootstrap interval; thresholds stay as they are.
    """
    place, hits = _at_best(main)
    by_iou = [_at_best(best[:, number]) for number in range(len(IOUS))]
    rows = [{"iou": iou, "threshold": THRESHOLDS[place].item()} for iou, (place, _) in zip(IOUS, by_iou, strict=True)]
    three = np.stack([found for _, found in by_iou], axis=1)
    parts = {"max_box_acc": hits, "gt_known": hits, "top1": hits & right, "max_box_acc_v2": three / len(IOUS)}
    columns = {name: 100.0 * found.reshape(len(main), -1) for name, found in parts.items()}
    columns |= {row["iou"]: 100.0 * three[:, [number]] for number, row in enumerate(rows)}
    ends = intervals(columns, seed)
    return {
        "threshold": THRESHOLDS[place].item(),
        **{name: _percent(found) for name, found in parts.items()},
        "interval": {name: list(ends[name]) for name in parts},
        "max_box_acc_v2_by_iou": [
            row | {"accuracy": _percent(found), "interval": list(ends[row["iou"]])}
            for row, (_, found) in zip(rows, by_iou, strict=True)
        ],
    }


def score_map(activation: np.ndarray, size: int) -> np.ndarray:
    """Resize an activation map and scale it to [0, 1].

    Parameters
    ----------
    activation : (h, w) float64 array.
    size : side of the input, in pixels.

    Returns
    -------
    (size, size) float64 array: bicubic, then the smallest value to 0 and the largest to 1. Zeros for a constant map.
    """
    import cv2

    if not np.isfinite(activation).all():
        raise RunError("--localise: an activation map is not finite: the training diverged; use another checkpoint")
    if activation.min() == activation.max():  # before resizing, which rounds
        return np.zeros((size, size))
    scores = cv2.resize(activation, (size, size), interpolation=cv2.INTER_CUBIC)
    scores -= scores.min()
    return scores / scores.max()


def overlaps(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compare the boxes around a score map with the true ones, at every level of grey.

    Parameters
    ----------
    scores : (H, W) array as from :func:`score_map`.
    truth : (k, 4) int64 array of edges, k > 0.

    Returns
    -------
    Two (255,) float64 arrays: IoU of the box around the largest contour, and the largest IoU of a box around any
    contour; each with that true box that it overlaps most.

    Notes
    -----
    As in the published protocol, scores become whole levels of grey, 0 to 255, before they are compared with a
    threshold. Masks differ only between levels that occur in the map.
    """
    grey = (scores * LEVELS).astype(np.uint8)
    occurs = np.bincount(grey.ravel(), minlength=LEVELS + 1) > 0
    levels = [0, *(level for level in range(1, LEVELS) if occurs[level])]  # int, else NumPy compares as int64
    traced = [contour_boxes(grey > level) for level in levels]
    firsts = np.cumsum([0, *(len(boxes) for boxes, _ in traced[:-1])])
    found = intersection_over_union(np.concatenate([boxes for boxes, _ in traced]), truth).max(axis=1)
    main, best = found[firsts + [largest for _, largest in traced]], np.maximum.reduceat(found, firsts)
    spans = np.diff(levels, append=LEVELS)
    return main.repeat(spans), best.repeat(spans)


def contour_boxes(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Find the boxes around the contours of a mask, as OpenCV traces them.

    Parameters
    ----------
    mask : (H, W) bool array.

    Returns
    -------
    boxes : (k, 4) int64 array of edges x0, y0, x1, y1; x1 is at most W - 1, y1 at most H - 1. Contours run around
        components of pixels that touch at sides or corners, and around their holes. (0, 0, 0, 0) for an empty mask.
    largest : place of the contour that encloses the largest area, between the centres of its pixels.
    """
    import cv2

    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return np.zeros((1, 4), np.int64), 0
    boxes = np.array([cv2.boundingRect(contour) for contour in contours], np.int64)
    boxes[:, 2:] = np.minimum(boxes[:, :2] + boxes[:, 2:], np.subtract(mask.shape[::-1], 1))
    return boxes, int(np.argmax([cv2.contourArea(contour) for contour in contours]))


def intersection_over_union(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of each box with each other one: (k, 4) and (m, 4) edges -> (k, m) array.

    Both ends of a span are counted, as in the published protocol: from x0 to x1 there are x1 - x0 + 1 pixels.
    """
    a, b = boxes[:, None], others[None]
    common = (np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1).clip(min=0).prod(axis=2)
    areas = ((each[..., 2:] - each[..., :2] + 1).prod(axis=2) for each in (a, b))
    return common / (sum(areas) - common)


def _at_best(found: np.ndarray) -> tuple[int, np.ndarray]:
    """Place of the lowest threshold at which most of (n, 255) are true, and the (n,) values there."""
    place = int(found.sum(axis=0)[_LEVEL_OF].argmax())
    return place, found[:, _LEVEL_OF[place]]


def _percent(found: np.ndarray) -> float:
    return 100 * found.sum().item() / len(found)


def _without_boxes(store: Store, split: str) -> str:
    others = [name for name in store.splits if name != split and not np.isnan(store.boxes(name)).all()]
    remedy = f"choose --split {' or '.join(others)}" if others else "build a store from a data set with boxes"
    return f"--localise: {store.path} has no boxes in split {split!r}; {remedy}, or evaluate without --localise"


@contextmanager
def _maps_wanted() -> Iterator[None]:
    """Say what a network without activation maps was needed for."""
    try:
        yield
    except ValueError as error:
        raise RunError(f"--localise: {error}") from None
