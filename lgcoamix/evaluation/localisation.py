"""Localisation: how often the boxes around class activation maps meet those of the store. Needs OpenCV.

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

from lgcoamix.data.windows import fixed_windows
from lgcoamix.errors import RunError
from lgcoamix.evaluation.bootstrap import intervals
from lgcoamix.evaluation.boxes import LEVELS, boxes_in_view, overlaps, score_map
from lgcoamix.evaluation.subject import Subject
from lgcoamix.ops.grad_cam import METHODS, usable_method
from lgcoamix.settings.report import Start
from preprocess.extras import required
from preprocess.store import Store

IOUS = (0.3, 0.5, 0.7)
THRESHOLDS = np.arange(1000) / 1000
_LEVEL_OF = np.arange(1000) * LEVELS // 1000  # thresholds at one level give the same boxes


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
    with _maps_wanted():
        method = usable_method(subject.model, size, subject.device)
    if not method:
        raise RunError(
            f"--localise: the last map of this network has one position for inputs of {size} pixels, which shows no "
            "place; evaluate a network with larger inputs, or another backbone"
        )
    chosen = [shown[sample] for sample in samples]
    return Plan(method, samples, chosen, int((~has_box).sum()), int(has_box.sum()) - len(samples))


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
    parts = {"max_box_acc": hits, "gt_known": hits, "top1": hits & right, "max_box_acc_v2": three.mean(axis=1)}
    columns = {name: 100.0 * found[:, None] for name, found in parts.items()}
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
