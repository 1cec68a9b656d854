"""Boxes around class activation maps, and how far they overlap true ones, as in the published evaluator.

References
----------
Choe, Oh, Lee, Chun, Akata, Shim: Evaluating Weakly Supervised Object Localization Methods Right. CVPR 2020,
arXiv 2001.07437.
"""

import numpy as np

from lgcoamix.data.windows import Windows
from lgcoamix.errors import RunError

LEVELS = 255  # of grey: 0 to 254; brighter pixels belong to the object
_SLIVER = 1e-3  # pixels of a box that count as none; float32 leaves edges of a box uncertain by less


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
