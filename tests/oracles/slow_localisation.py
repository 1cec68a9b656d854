"""The protocol of localisation in plain loops: every threshold, components by scipy instead of contours.

A box is a tuple of edges x0, y0, x1, y1.
"""

import numpy as np
from scipy import ndimage

Box = tuple[int, int, int, int]
_CORNERS = np.ones((3, 3))  # pixels that touch at a corner are of one component
_SIDES = None  # scipy's default, for holes


def contours_of(mask: np.ndarray) -> list[tuple[Box, float]]:
    """The box and the enclosed area of every component of a mask; then of every hole, with an area of 0.

    Components come in the order of OpenCV: the one whose first pixel is last, row by row, comes first.
    """
    components, count = ndimage.label(mask, _CORNERS)
    parts = sorted((components == number for number in range(1, count + 1)), key=np.argmax, reverse=True)
    found = [(_box_of(part, 0, mask.shape), _enclosed(part)) for part in parts]
    outside, count = ndimage.label(np.pad(~mask, 1, constant_values=True), _SIDES)
    for number in range(1, count + 1):
        if number != outside[0, 0]:
            found.append((_box_of((outside == number)[1:-1, 1:-1], 1, mask.shape), 0.0))  # of the pixels around it
    return found


def _box_of(pixels: np.ndarray, border: int, shape: tuple[int, int]) -> Box:
    rows, columns = np.nonzero(pixels)
    right, below = columns.max() + border + 1, rows.max() + border + 1
    corner = columns.min() - border, rows.min() - border
    return int(corner[0]), int(corner[1]), int(min(right, shape[1] - 1)), int(min(below, shape[0] - 1))


def _enclosed(component: np.ndarray) -> float:
    """Area of the polygon through the centres of the outer pixels: a square of four of them counts 1, of three 1/2."""
    filled = ndimage.binary_fill_holes(component).astype(int)
    corners = filled[:-1, :-1] + filled[1:, :-1] + filled[:-1, 1:] + filled[1:, 1:]
    return float((corners == 4).sum() + (corners == 3).sum() / 2)


def iou(a: Box, b: Box) -> float:
    """Count the pixels of both, with both ends."""
    columns, rows = ([set(range(box[axis], box[axis + 2] + 1)) for box in (a, b)] for axis in (0, 1))
    common = len(columns[0] & columns[1]) * len(rows[0] & rows[1])
    areas = (len(columns[side]) * len(rows[side]) for side in (0, 1))
    return common / (sum(areas) - common)


def overlaps_at(grey: np.ndarray, level: int, truth: list[Box]) -> tuple[float, float]:
    """IoU of the largest contour, of several the first, and of the best of all."""
    found = contours_of(grey > level) or [((0, 0, 0, 0), 0.0)]
    areas = [area for _, area in found]
    overlaps = [max(iou(box, other) for other in truth) for box, _ in found]
    return overlaps[areas.index(max(areas))], max(overlaps)


def accuracies(maps: list[np.ndarray], truths: list[list[Box]], right: list[bool]) -> dict[str, float]:
    """The accuracies of score maps in [0, 1], in percent, over all thresholds."""
    main, top1, best = [], [], {0.3: [], 0.5: [], 0.7: []}
    greys = [np.array([[int(value * 255) for value in row] for row in scores.tolist()]) for scores in maps]
    known: dict[tuple[int, int], tuple[float, float]] = {}
    for threshold in range(1000):
        level, hits, all_hits, both = threshold * 255 // 1000, 0, dict.fromkeys(best, 0), 0
        for number, (grey, truth) in enumerate(zip(greys, truths, strict=True)):
            if (number, level) not in known:
                known[number, level] = overlaps_at(grey, level, truth)
            of_main, of_best = known[number, level]
            hits += of_main >= 0.5
            both += of_main >= 0.5 and right[number]
            for least in best:
                all_hits[least] += of_best >= least
        main.append(100 * hits / len(maps))
        top1.append(100 * both / len(maps))
        for least in best:
            best[least].append(100 * all_hits[least] / len(maps))
    place = main.index(max(main))
    by_iou = {f"at {least}": max(values) for least, values in best.items()}
    return {
        "max_box_acc": main[place],
        "threshold": place / 1000,
        "top1": top1[place],
        "max_box_acc_v2": sum(by_iou.values()) / 3,
        **by_iou,
    }
