"""The compiled part of :mod:`preprocess.superpixels.slic`: k-means on pixels, then connected components.

The labels equal scikit-image's bit for bit. ``cluster_plainly`` and ``connect`` define what is computed. ``cluster``
takes three shortcuts, each exact because of a bound below. The number in parentheses is the slowdown without the
shortcut: four scales of a 224-pixel photograph, one core, 512-bit vectors (a second number: 256-bit vectors).

Distances as linear functions (1.2 times; 1.3).
    The difference of a pixel's squared distances to two clusters, ``D_k - D_j``, is linear in the pixel: its terms of
    second order cancel. Over a tile of 16x16 pixels, described by the midpoints and half extents of coordinates and
    colours, it lies between ``gap - 2 spread`` and ``gap + 2 spread``. Let j be the cluster nearest to the midpoint:
    every k with ``gap - 2 spread`` above the slack loses at all 256 pixels. For the other clusters, the 256
    differences are short sums.

Single precision where it suffices (1.4 times).
    The sums are computed in float32, two clusters per pass (1.1 times; 1.4), keeping the best and second best. If
    these differ by more than the rounding errors allow, the label is final. The other pixels, about one in 50,000, are
    compared in float64.

Sums of changed pixels (1.3 times).
    scikit-image adds the colours of a cluster in raster order, so the rounding of a mean depends on that order. Here
    fixed-point integer sums are updated for the pixels that change their label, about a tenth of all. This gives the
    means up to a doubt. The rare pixels for which it matters, such as ties, use means computed in raster order.

The bounds are in units of a squared distance; u = 2^-53, N is the number of pixels, and V = 128 / compactness bounds a
scaled colour. They assume that scikit-image rounds every product and every sum, as its wheels for x86-64 do. A build
that fuses them (``-march=native``) would return other labels.

1. First iteration (``slic.py``): all clusters have the colour 0, so D = i w + C with an integer i and a common C.
   Rounding changes the largest D, L, by at most 2^-52 L. It cannot hide a difference of w if w >= 2^-50 L.
2. Means: scikit-image's sum of n colours, divided, is off by at most n V u (n > 1); fixed point, converted and
   divided, by at most N V 2^-61 + V 2^-52. Together less than e = N V 2^-52 in each channel, N > 2.
3. Distances: a D is off by at most 3 e (2 sqrt(D / 3) + e) <= 2 e (1 + D) for e < 1/6, and rounded by less than D
   2^-49. With ``doubt = 2 e + 2^-48`` no D is off by more than ``doubt (1 + D)``.
4. Tiles of radius r: every distance is at most 2 (D + r^2), where D is the distance of the midpoint, so the doubt of a
   difference is at most 2 doubt (1 + D_k + D_j + 2 r^2). The slack is twice that: gap and spread are themselves
   rounded, by less than 2^-48 (D_k + D_j + 2 r^2), since 2 spread <= 2 |c_k - c_j| r <= D_k + D_j + 2 r^2.
5. float32: a sum of six terms with rounded inputs is off by less than 9 2^-24 M, M = |gap| + 2 spread. Best and second
   best may belong to two clusters, which makes 18 2^-24 M plus the rounding of the comparison; 32 2^-24 M is allowed.
   The doubts of the two clusters and of j are below the sum of the two slacks.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

TILE = 16
SIDE = 4  # tiles along one side of a block
AREA = TILE * TILE
TILES = SIDE * SIDE
BLOCK = TILE * SIDE
MIDDLE = 0.5 * (TILE - 1)
FAR = 1e300

# Offsets in the float32 scratch of one tile. It is one array so that the compiler knows the parts do not overlap.
BEST, SECOND, WINNER, ROW, COLUMN = range(0, 5 * AREA, AREA)
SCRATCH = 5 * AREA

# Offsets for the tiles of a block, side by side (float64), ...
TOP, BOTTOM, LEFT, RIGHT, RADIUS_SQUARED, NEAREST, LEAST, COLOUR = range(0, 8 * TILES, TILES)
EXTENT, CENTRE, SIDES = COLOUR + 3 * TILES, COLOUR + 6 * TILES, COLOUR + 11 * TILES
# ... and for one cluster compared with these tiles.
DISTANCE, COVERS, KEEP, COLUMNS = range(0, 4 * TILES, TILES)

# Columns of the integer sums.
COUNT, SUM_Y, SUM_X, SUM_COLOUR = 0, 1, 2, 3


class Tiles(NamedTuple):
    """The colours of an image, tile by tile."""

    offset: np.ndarray  # (blocks, TILES, 3 * AREA) float32: colours by channel, minus the midpoint of the tile
    # (blocks, 3, TILES) float64: midpoint and half extent. A tile outside the image repeats the first of its block.
    middle: np.ndarray
    half: np.ndarray


class Clusters(NamedTuple):
    """The state of the clusters."""

    centres: np.ndarray  # (5, seeds) float64 means: y, x and three colours
    windows: np.ndarray  # (4, seeds) integers: first and end row, first and end column that a cluster may win
    weight: float  # factor to a squared spatial distance
    doubt: float  # see the module docstring


class Work(NamedTuple):
    """Buffers for an assignment. For ``side``, ``table`` and ``scratch``, see the offsets above."""

    near: np.ndarray  # numbers of the clusters whose windows overlap a block, increasing
    kept: np.ndarray  # positions in ``near`` of the clusters that may win in a tile
    chosen: np.ndarray  # their numbers
    side: np.ndarray
    table: np.ndarray
    # (seeds + 1, 7) float32: a difference of distances as a constant, slopes along y, x and three colours, and the
    # number of the cluster.
    lines: np.ndarray
    scratch: np.ndarray
    changed: np.ndarray  # positions of the pixels of a tile that change their label, with room for one more
    exact: np.ndarray  # means with the sums in raster order
    exact_known: np.ndarray  # whether they have been computed


def _jit(function):
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no writable cache folder: compile in every process
        return njit(nogil=True, error_model="numpy")(function)


@_jit
def look_up(image, table, out):
    """Map every value of a (H, W, 3) uint8 image through a table of 256 entries; write float64 to ``out``."""
    height, width, channels = image.shape
    for y in range(height):
        for x in range(width):
            for channel in range(channels):
                out[y, x, channel] = table[image[y, x, channel]]


@_jit
def lab_planes(xyz, root, ratio, lab):
    """Finish ``rgb2lab``: from XYZ over white and its cube root, (H, W, 3), to ``lab``, (3, H, W), times ``ratio``."""
    height, width = xyz.shape[:2]
    for y in range(height):
        light, green, blue = lab[0, y], lab[1, y], lab[2, y]
        for x in range(width):
            fx = root[y, x, 0] if xyz[y, x, 0] > 0.008856 else 7.787 * xyz[y, x, 0] + 16.0 / 116.0
            fy = root[y, x, 1] if xyz[y, x, 1] > 0.008856 else 7.787 * xyz[y, x, 1] + 16.0 / 116.0
            fz = root[y, x, 2] if xyz[y, x, 2] > 0.008856 else 7.787 * xyz[y, x, 2] + 16.0 / 116.0
            light[x] = (116.0 * fy - 16.0) * ratio
            green[x] = (500.0 * (fx - fy)) * ratio
            blue[x] = (200.0 * (fy - fz)) * ratio


@_jit
def cluster_plainly(lab, first, seeds, window_y, window_x, weight, iterations, adaptive):
    """Run k-means as scikit-image does, window by window in float64; only the loop along a row is vectorised.

    Used for windows too small for tiles, and for SLICO (``adaptive``), whose differences of distances are not linear.
    Parameters and result are those of :func:`cluster`.
    """
    height, width = first.shape
    labels = first.copy()
    distance = np.empty((height, width))
    centres, widest = np.zeros((5, seeds)), np.ones(seeds)
    for iteration in range(iterations):
        if iteration > 0:
            distance[:] = np.inf
            for k in range(seeds):
                if centres[0, k] == centres[0, k]:  # the mean of an empty cluster is NaN
                    _assign_window(labels, distance, lab, centres, widest, k, window_y, window_x, weight)
        if iteration + 1 < iterations:
            _raster_means(lab, labels, centres)
            if adaptive:
                _widen(lab, labels, centres, widest)
    return labels


@_jit
def _assign_window(labels, distance, lab, centres, widest, k, window_y, window_x, weight):
    height, width = labels.shape
    y, x, c0, c1, c2, by = centres[0, k], centres[1, k], centres[2, k], centres[3, k], centres[4, k], widest[k]
    left, right = int(max(x - window_x, 0)), int(min(x + window_x + 1, width))
    number = np.int16(k)
    for row in range(int(max(y - window_y, 0)), int(min(y + window_y + 1, height))):
        p0, p1, p2 = lab[0, row, left:right], lab[1, row, left:right], lab[2, row, left:right]
        nearest, least = labels[row, left:right], distance[row, left:right]
        dy = (y - row) * (y - row)
        for i in range(right - left):
            dx, d0, d1, d2 = x - (left + i), p0[i] - c0, p1[i] - c1, p2[i] - c2
            d = (dy + dx * dx) * weight + (d0 * d0 + d1 * d1 + d2 * d2) / by
            wins = d < least[i]
            nearest[i] = number if wins else nearest[i]
            least[i] = d if wins else least[i]


@_jit
def _raster_means(lab, labels, centres):
    """Means of coordinates and colours, summed in raster order; NaN for an empty cluster: (5, seeds)."""
    height, width = labels.shape
    centres[:] = 0.0
    counts = np.zeros(centres.shape[1], np.int64)
    for y in range(height):
        row, p0, p1, p2 = labels[y], lab[0, y], lab[1, y], lab[2, y]
        for x in range(width):
            k = np.uint32(row[x])
            counts[k] += 1
            centres[0, k] += y
            centres[1, k] += x
            centres[2, k] += p0[x]
            centres[3, k] += p1[x]
            centres[4, k] += p2[x]
    for i in range(5):
        for k in range(len(counts)):
            centres[i, k] /= counts[k]


@_jit
def _widen(lab, labels, centres, widest):
    """SLICO: update the largest squared colour distance of each cluster, which divides its colour distances."""
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            k = np.uint32(labels[y, x])
            d0, d1, d2 = lab[0, y, x] - centres[2, k], lab[1, y, x] - centres[3, k], lab[2, y, x] - centres[4, k]
            widest[k] = max(widest[k], d0 * d0 + d1 * d1 + d2 * d2)


@_jit
def cut_tiles(lab, tiles):
    """Describe the colours of every tile of (3, H, W) planes."""
    offset, middle, half = tiles.offset, tiles.middle, tiles.half
    height, width = lab.shape[1:]
    across = -(-width // BLOCK)
    tile = np.empty(AREA + 2 * TILE)
    for block in range(len(offset)):
        for t in range(TILES):
            top, left = _corner(block, t, across)
            if top >= height or left >= width:
                for channel in range(3):
                    middle[block, channel, t] = middle[block, channel, 0]
                    half[block, channel, t] = half[block, channel, 0]
                continue
            for channel in range(3):
                _copy_tile(lab, channel, top, left, tile)
                low, high = _range_of(tile)
                centre = 0.5 * (low + high)
                middle[block, channel, t] = centre
                half[block, channel, t] = max(centre - low, high - centre)
                out = offset[block, t, channel * AREA : (channel + 1) * AREA]
                for p in range(AREA):
                    out[p] = np.float32(tile[p] - centre)


@_jit
def _range_of(tile):
    """Smallest and largest value of a tile; the array has room for those of its columns behind the tile."""
    least, largest = AREA, AREA + TILE
    for x in range(TILE):
        tile[least + x] = tile[largest + x] = tile[x]
    for y in range(TILE, AREA, TILE):
        for x in range(TILE):
            value, low, high = tile[y + x], tile[least + x], tile[largest + x]
            tile[least + x] = value if value < low else low
            tile[largest + x] = value if value > high else high
    low, high = tile[least], tile[largest]
    for x in range(1, TILE):
        low, high = min(low, tile[least + x]), max(high, tile[largest + x])
    return low, high


@_jit
def _corner(block, t, across):
    return block // across * BLOCK + t // SIDE * TILE, block % across * BLOCK + t % SIDE * TILE


@_jit
def _copy_tile(planes, channel, top, left, tile):
    """Copy a tile of a plane, repeating the last pixels beyond the edge of the image."""
    height, width = planes.shape[1:]
    for y in range(TILE):
        if left + TILE <= width:
            row = planes[channel, min(top + y, height - 1), left : left + TILE]
            out = tile[y * TILE : (y + 1) * TILE]
            for x in range(TILE):
                out[x] = row[x]
        else:
            for x in range(TILE):
                tile[y * TILE + x] = planes[channel, min(top + y, height - 1), min(left + x, width - 1)]


@_jit
def cluster(lab, tiles, first, seeds, window_y, window_x, weight, iterations, doubt, scale):
    """Run k-means.

    Parameters
    ----------
    lab : (3, H, W) float64 scaled colours.
    tiles : from :func:`cut_tiles`.
    first : (H, W) int16 labels after the first iteration.
    seeds : number of clusters.
    window_y, window_x : half size of the search window.
    weight : factor to a squared spatial distance.
    iterations : number of iterations, including the first.
    doubt : see the module docstring.
    scale : fixed-point factor, a power of two.

    Returns
    -------
    (H, W) int16 labels.
    """
    height, width = first.shape
    work = Work(
        np.empty(seeds, np.uint32),
        np.empty(seeds, np.uint32),
        np.empty(seeds, np.uint32),
        np.empty(SIDES),
        np.empty((seeds, COLUMNS)),
        np.empty((seeds + 1, 7), np.float32),
        np.empty(SCRATCH, np.float32),
        np.empty(AREA + 1, np.uint32),
        np.empty((5, seeds)),
        np.zeros(1, np.bool_),
    )
    for p in range(AREA):
        work.scratch[ROW + p], work.scratch[COLUMN + p] = p // TILE - MIDDLE, p % TILE - MIDDLE
    old = _to_tiles(first, len(tiles.offset))
    new = np.empty_like(old)
    sums = _sum_runs(lab, first, seeds, scale)
    clusters = Clusters(np.empty((5, seeds)), np.empty((4, seeds)), weight, doubt)
    for _ in range(1, iterations):
        _update(clusters, sums, scale, window_y, window_x, height, width)
        _assign(old, new, lab, tiles, clusters, scale, sums, work)
        old, new = new, old
    return _to_raster(old, height, width)


@_jit
def _sum_runs(lab, labels, seeds, scale):
    """Count and fixed-point sums of y, x and colours: (seeds, 6) int64."""
    height, width = labels.shape
    sums = np.zeros((seeds, 6), np.int64)
    for y in range(height):
        row = labels[y]
        start = 0
        while start < width:
            k = row[start]
            end = start + 1
            while end < width and row[end] == k:
                end += 1
            sums[k, COUNT] += end - start
            sums[k, SUM_Y] += y * (end - start)
            sums[k, SUM_X] += (start + end - 1) * (end - start) // 2
            for channel in range(3):
                colours = lab[channel, y, start:end]
                total = 0
                for x in range(end - start):
                    total += np.int64(colours[x] * scale)
                sums[k, SUM_COLOUR + channel] += total
            start = end
    return sums


@_jit
def _update(clusters, sums, scale, window_y, window_x, height, width):
    """Write the means of the clusters and their search windows."""
    centres, windows = clusters.centres, clusters.windows
    for k in range(len(sums)):
        count = sums[k, COUNT]
        if count == 0:  # its mean is NaN in scikit-image, so it never wins again
            centres[:, k], windows[:, k] = 0.0, 0.0
            continue
        for i in range(5):
            centres[i, k] = sums[k, 1 + i] / count
            if i >= 2:
                centres[i, k] /= scale
        windows[0, k] = np.floor(max(centres[0, k] - window_y, 0))
        windows[1, k] = np.floor(min(centres[0, k] + window_y + 1, height))
        windows[2, k] = np.floor(max(centres[1, k] - window_x, 0))
        windows[3, k] = np.floor(min(centres[1, k] + window_x + 1, width))


@_jit
def _assign(old, new, lab, tiles, clusters, scale, sums, work):
    """One assignment: compute ``new`` labels from the ``old`` ones and the clusters, and update ``sums``.

    For each block, find the nearby clusters and rank them for its tiles. For each tile, keep the clusters that may win,
    screen them in float32, settle undecided pixels in float64, and move the changed pixels between the sums.
    """
    height, width = lab.shape[1:]
    across = -(-width // BLOCK)
    work.exact_known[0] = False
    for block in range(len(tiles.offset)):
        _lay_out(block, height, width, tiles, clusters.weight, work)
        number = _find_near(block, height, width, clusters, work)
        _rank(number, clusters, work)
        for t in range(TILES):
            top, left = _corner(block, t, across)
            if top < height and left < width:
                count = _keep(t, number, work)
                if work.side[NEAREST + t] < 0:
                    count, unsure = number, _leave_open(number, work)
                elif count == 1:
                    unsure = np.float32(-1)  # no pixel is undecided
                    now = new[block, t]
                    for p in range(AREA):
                        now[p] = np.int16(work.side[NEAREST + t])
                else:
                    unsure = _screen_tile(new, block, t, top, left, tiles, clusters, count, work)
                if unsure >= 0 and _any_within(work, unsure):
                    _settle(old, new, block, t, top, left, lab, clusters, count, unsure, work)
                _move(old, new, block, t, top, left, lab, scale, sums, work)


@_jit
def _lay_out(block, height, width, tiles, weight, work):
    """Write the tiles of a block side by side, for :func:`_rank`."""
    across = -(-width // BLOCK)
    side, middle, half = work.side, tiles.middle, tiles.half
    for t in range(TILES):
        top, left = _corner(block, t, across)
        side[TOP + t], side[BOTTOM + t] = top, min(top + TILE, height)
        side[LEFT + t], side[RIGHT + t] = left, min(left + TILE, width)
        radius_squared = weight * (2 * MIDDLE * MIDDLE)
        for channel in range(3):
            side[COLOUR + channel * TILES + t] = middle[block, channel, t]
            side[EXTENT + channel * TILES + t] = half[block, channel, t]
            radius_squared += half[block, channel, t] ** 2
        side[RADIUS_SQUARED + t] = radius_squared


@_jit
def _find_near(block, height, width, clusters, work):
    """Write the clusters whose window overlaps a block to ``near``, in increasing order; return how many."""
    windows = clusters.windows
    top, left = _corner(block, 0, -(-width // BLOCK))
    bottom, right = min(top + BLOCK, height), min(left + BLOCK, width)
    number = 0
    for k in range(windows.shape[1]):
        work.near[number] = k
        number += windows[0, k] < bottom and windows[1, k] > top and windows[2, k] < right and windows[3, k] > left
    return number


@_jit
def _rank(number, clusters, work):
    """Find the nearest cluster of each tile of a block, and which other clusters may win.

    Writes a row of ``table`` for each cluster in ``near``: its distances at the midpoints of the tiles, whether its
    window covers the tile, and whether to keep it. Writes to ``side`` the number and distance of the nearest cluster
    that covers the tile, or -1.
    """
    near, side, table = work.near, work.side, work.table
    centres, windows, weight, doubt = clusters.centres, clusters.windows, clusters.weight, clusters.doubt
    for t in range(TILES):
        side[NEAREST + t], side[LEAST + t] = -1, FAR
    for i in range(number):
        k = near[i]
        from_y, to_y, from_x, to_x = windows[0, k], windows[1, k], windows[2, k], windows[3, k]
        y, x, c0, c1, c2 = centres[0, k], centres[1, k], centres[2, k], centres[3, k], centres[4, k]
        number_k = float(k)
        row = table[i]
        for t in range(TILES):
            top, bottom, left, right = side[TOP + t], side[BOTTOM + t], side[LEFT + t], side[RIGHT + t]
            dy, dx = y - (top + MIDDLE), x - (left + MIDDLE)
            d0, d1 = c0 - side[COLOUR + t], c1 - side[COLOUR + TILES + t]
            d2 = c2 - side[COLOUR + 2 * TILES + t]
            distance = weight * (dy * dy + dx * dx) + (d0 * d0 + d1 * d1 + d2 * d2)
            covers = (from_y <= top) & (to_y >= bottom) & (from_x <= left) & (to_x >= right)
            touches = (from_y < bottom) & (to_y > top) & (from_x < right) & (to_x > left)
            nearer = covers & (distance < side[LEAST + t])
            side[NEAREST + t] = number_k if nearer else side[NEAREST + t]
            side[LEAST + t] = distance if nearer else side[LEAST + t]
            row[DISTANCE + t] = distance if touches else FAR
            row[COVERS + t] = 1.0 if covers else 0.0
    for t in range(TILES):
        k = np.uint32(max(side[NEAREST + t], 0))
        for i in range(5):
            side[CENTRE + i * TILES + t] = centres[i, k]
    for i in range(number):
        k = near[i]
        y, x, c0, c1, c2 = centres[0, k], centres[1, k], centres[2, k], centres[3, k], centres[4, k]
        row = table[i]
        for t in range(TILES):
            spread = abs(y - side[CENTRE + t]) + abs(x - side[CENTRE + TILES + t])
            spread = weight * MIDDLE * spread + abs(c0 - side[CENTRE + 2 * TILES + t]) * side[EXTENT + t]
            spread += abs(c1 - side[CENTRE + 3 * TILES + t]) * side[EXTENT + TILES + t]
            spread += abs(c2 - side[CENTRE + 4 * TILES + t]) * side[EXTENT + 2 * TILES + t]
            distance, least = row[DISTANCE + t], side[LEAST + t]
            slack = 4 * doubt * (1 + distance + least + 2 * side[RADIUS_SQUARED + t])
            row[KEEP + t] = 1.0 if distance - least - 2 * spread <= slack else 0.0


@_jit
def _keep(t, number, work):
    """Write to ``kept`` the positions in ``near`` of the clusters that may win in a tile; return how many."""
    count = 0
    for i in range(number):
        work.kept[count] = i
        count += work.table[i, KEEP + t] > 0
    return count


@_jit
def _leave_open(number, work):
    """No window covers the tile, so no cluster can be ruled out: compare every pixel with all nearby clusters."""
    for i in range(number):
        work.chosen[i] = work.near[i]
    for p in range(AREA):
        work.scratch[BEST + p] = work.scratch[SECOND + p] = 0.0
    return np.float32(np.inf)


@_jit
def _screen_tile(new, block, t, top, left, tiles, clusters, count, work):
    """Find the best and second-best cluster of every pixel of a tile in float32.

    Writes the numbers of the kept clusters to ``chosen``. Returns the difference below which float32 cannot decide
    between best and second best.
    """
    side, table, lines, scratch = work.side, work.table, work.lines, work.scratch
    centres, windows, weight, doubt = clusters.centres, clusters.windows, clusters.weight, clusters.doubt
    h0, h1, h2 = side[EXTENT + t], side[EXTENT + TILES + t], side[EXTENT + 2 * TILES + t]
    nearest, least, radius_squared = np.uint32(side[NEAREST + t]), side[LEAST + t], side[RADIUS_SQUARED + t]
    number_of_nearest = np.float32(nearest)
    y0, x0 = centres[0, nearest], centres[1, nearest]
    l0, a0, b0 = centres[2, nearest], centres[3, nearest], centres[4, nearest]
    for p in range(AREA):
        scratch[BEST + p], scratch[SECOND + p], scratch[WINNER + p] = 0.0, np.inf, number_of_nearest
    number, error = 0, 0.0
    for i in range(count):
        place = work.kept[i]
        k = work.near[place]
        work.chosen[i] = k
        if k == nearest:
            continue
        y, x = weight * (y0 - centres[0, k]), weight * (x0 - centres[1, k])
        c0, c1, c2 = l0 - centres[2, k], a0 - centres[3, k], b0 - centres[4, k]
        distance = table[place, DISTANCE + t]
        gap = distance - least
        spread = MIDDLE * (abs(y) + abs(x)) + abs(c0) * h0 + abs(c1) * h1 + abs(c2) * h2
        error = max(error, 2.0**-20 * (abs(gap) + 2 * spread) + 4 * doubt * (1 + distance + least + 2 * radius_squared))
        lines[number, 0], lines[number, 1], lines[number, 2] = gap, 2 * y, 2 * x
        lines[number, 3], lines[number, 4], lines[number, 5], lines[number, 6] = 2 * c0, 2 * c1, 2 * c2, k
        if table[place, COVERS + t] > 0:
            number += 1
        else:
            _screen_part(
                scratch, tiles.offset, block, t, lines, number,
                np.float32(windows[0, k] - top - MIDDLE), np.float32(windows[1, k] - top - MIDDLE),
                np.float32(windows[2, k] - left - MIDDLE), np.float32(windows[3, k] - left - MIDDLE),
            )  # fmt: skip
    for i in range(1, 7):
        lines[number, i] = 0.0
    lines[number, 0] = np.inf  # partner of the last cluster if their number is odd; never wins
    for i in range(0, number, 2):
        _screen_pair(scratch, tiles.offset, block, t, lines, i)
    now = new[block, t]
    for p in range(AREA):
        now[p] = np.int16(scratch[WINNER + p])
    return np.float32(2 * error)


@_jit
def _line(lines, i):
    return lines[i, 0], lines[i, 1], lines[i, 2], lines[i, 3], lines[i, 4], lines[i, 5], lines[i, 6]


@_jit
def _screen_pair(scratch, offset, block, t, lines, i):
    """Screen two clusters in one pass, which halves the loads and stores of best, second best and winner."""
    a0, a1, a2, a3, a4, a5, a = _line(lines, i)
    b0, b1, b2, b3, b4, b5, b = _line(lines, i + 1)
    colours = offset[block, t]
    for p in range(AREA):
        y, x = scratch[ROW + p], scratch[COLUMN + p]
        c0, c1, c2 = colours[p], colours[AREA + p], colours[2 * AREA + p]
        of_a = a0 + a1 * y + a2 * x + a3 * c0 + a4 * c1 + a5 * c2
        of_b = b0 + b1 * y + b2 * x + b3 * c0 + b4 * c1 + b5 * c2
        b_wins = of_b < of_a
        low, high = (of_b if b_wins else of_a), (of_a if b_wins else of_b)
        best, runner_up = scratch[BEST + p], scratch[SECOND + p]
        wins = low < best
        loser = best if wins else low
        runner_up = high if high < runner_up else runner_up
        scratch[SECOND + p] = loser if loser < runner_up else runner_up
        scratch[WINNER + p] = (b if b_wins else a) if wins else scratch[WINNER + p]
        scratch[BEST + p] = low if wins else best


@_jit
def _screen_part(scratch, offset, block, t, lines, i, from_y, to_y, from_x, to_x):
    """Screen a cluster whose window covers only part of the tile; rows and columns count from the tile's midpoint."""
    a0, a1, a2, a3, a4, a5, a = _line(lines, i)
    colours = offset[block, t]
    for p in range(AREA):
        y, x = scratch[ROW + p], scratch[COLUMN + p]
        c0, c1, c2 = colours[p], colours[AREA + p], colours[2 * AREA + p]
        value = a0 + a1 * y + a2 * x + a3 * c0 + a4 * c1 + a5 * c2
        inside = (y >= from_y) & (y < to_y) & (x >= from_x) & (x < to_x)
        value = value if inside else np.float32(np.inf)
        best, runner_up = scratch[BEST + p], scratch[SECOND + p]
        wins = value < best
        loser = best if wins else value
        scratch[SECOND + p] = loser if loser < runner_up else runner_up
        scratch[WINNER + p] = a if wins else scratch[WINNER + p]
        scratch[BEST + p] = value if wins else best


@_jit
def _any_within(work, unsure):
    scratch, found = work.scratch, False
    for p in range(AREA):
        found |= scratch[SECOND + p] - scratch[BEST + p] <= unsure
    return found


@_jit
def _settle(old, new, block, t, top, left, lab, clusters, count, unsure, work):
    """Decide the pixels that float32 leaves open: first with the approximate means, then with exact ones."""
    height, width = lab.shape[1:]
    for p in range(AREA):
        y, x = top + p // TILE, left + p % TILE
        if y < height and x < width and work.scratch[SECOND + p] - work.scratch[BEST + p] <= unsure:
            was = old[block, t, p]
            winner, sure = _compare(y, x, was, count, lab, clusters.centres, clusters, work)
            if not sure:
                if not work.exact_known[0]:
                    _raster_means(lab, _to_raster(old, height, width), work.exact)
                    work.exact_known[0] = True
                winner, _ = _compare(y, x, was, count, lab, work.exact, clusters, work)
            new[block, t, p] = winner


@_jit
def _compare(y, x, old, count, lab, centres, clusters, work):
    """Compare as scikit-image does: in float64, by increasing cluster number.

    Returns
    -------
    The winner (the old label if no window contains the pixel), and whether it is certain for means that are off by up
    to ``doubt``. A single candidate is never certain.
    """
    windows = clusters.windows
    winner, best, second = old, np.inf, np.inf
    for i in range(count):
        k = work.chosen[i]
        if windows[0, k] <= y < windows[1, k] and windows[2, k] <= x < windows[3, k]:
            dy, dx = centres[0, k] - y, centres[1, k] - x
            c0, c1, c2 = lab[0, y, x] - centres[2, k], lab[1, y, x] - centres[3, k], lab[2, y, x] - centres[4, k]
            distance = (dy * dy + dx * dx) * clusters.weight + ((c0 * c0 + c1 * c1) + c2 * c2)
            if distance < best:
                winner, best, second = np.int16(k), distance, best
            elif distance < second:
                second = distance
    return winner, not second - best <= clusters.doubt * (2 + best + second)


@_jit
def _move(old, new, block, t, top, left, lab, scale, sums, work):
    """Update the sums for the pixels of a tile that change their label."""
    was, now, changed = old[block, t], new[block, t], work.changed
    differs = np.int16(0)
    for p in range(AREA):
        differs |= was[p] ^ now[p]
    if differs == 0:
        return
    height, width = lab.shape[1:]
    count = 0
    for p in range(AREA):
        changed[count] = p
        count += was[p] != now[p]
    for i in range(count):
        p = changed[i]
        y, x = top + p // TILE, left + p % TILE
        if y < height and x < width:
            a, b = np.uint32(was[p]), np.uint32(now[p])
            sums[a, COUNT] -= 1
            sums[b, COUNT] += 1
            sums[a, SUM_Y] -= y
            sums[b, SUM_Y] += y
            sums[a, SUM_X] -= x
            sums[b, SUM_X] += x
            for channel in range(3):
                colour = np.int64(lab[channel, y, x] * scale)
                sums[a, SUM_COLOUR + channel] -= colour
                sums[b, SUM_COLOUR + channel] += colour


@_jit
def _to_tiles(labels, blocks):
    across, planes = -(-labels.shape[1] // BLOCK), labels.reshape(1, *labels.shape)
    tiles = np.zeros((blocks, TILES, AREA), np.int16)
    for block in range(blocks):
        for t in range(TILES):
            top, left = _corner(block, t, across)
            if top < labels.shape[0] and left < labels.shape[1]:
                _copy_tile(planes, 0, top, left, tiles[block, t])
    return tiles


@_jit
def _to_raster(tiles, height, width):
    across = -(-width // BLOCK)
    labels = np.empty((height, width), np.int16)
    for block in range(len(tiles)):
        for t in range(TILES):
            top, left = _corner(block, t, across)
            for y in range(max(0, min(TILE, height - top))):
                row = tiles[block, t, y * TILE : (y + 1) * TILE]
                if left + TILE <= width:
                    out = labels[top + y, left : left + TILE]
                    for x in range(TILE):
                        out[x] = row[x]
                else:
                    for x in range(max(0, width - left)):
                        labels[top + y, left + x] = row[x]
    return labels


@_jit
def connect(labels, least, most, connected):
    """Number the connected components; merge those under ``least`` pixels, and split those over ``most``.

    Same search in the same order as scikit-image: breadth first; right, left, down, up. A small component takes the id
    of the numbered neighbour found last, or else the id of the next component. What remains after a split starts new
    components. A frame of zeros replaces the border checks, and neighbours are visited without branches. This takes a
    fifth of scikit-image's time.

    Parameters
    ----------
    labels : (H, W) int16.
    connected : (H, W) int64, filled with ids, dense from 0.
    """
    height, width = labels.shape
    pitch = width + 2
    # 0: the frame; positive: label + 1 of a waiting pixel; negative: the mark -1 - id of a numbered pixel
    state = np.zeros((height + 2) * pitch, np.int32)
    for y in range(height):
        line = state[(y + 1) * pitch + 1 : (y + 2) * pitch - 1]
        for x in range(width):
            line[x] = labels[y, x] + 1
    queue = np.empty(most + 4, np.uint32)
    steps = np.array([1, -1, pitch, -pitch]).astype(np.uint32)
    ids = 0
    for y in range(height):
        for x in range(width):
            start = np.uint32((y + 1) * pitch + 1 + x)
            if state[start] > 0:
                mine = np.int32(-1 - ids)
                size, last = _flood(state, queue, steps, start, mine, most)
                if size < least:
                    for i in range(size):
                        state[queue[i]] = last
                else:
                    ids += 1
    for y in range(height):
        line, out = state[(y + 1) * pitch + 1 : (y + 2) * pitch - 1], connected[y]
        for x in range(width):
            out[x] = -1 - line[x]


@_jit
def _flood(state, queue, steps, start, mine, most):
    """Mark up to ``most`` pixels of a component; return how many, and the mark of the last other component found."""
    label, last = state[start], mine
    state[start], queue[0] = mine, start
    size, done = 1, 0
    while done < size and size + 4 <= most:
        here = queue[np.uint32(done)]
        for step in range(4):
            size, last = _meet(state, queue, np.uint32(here + steps[step]), label, mine, size, last)
        done += 1
    while done < size and size < most:  # a full component visits no more neighbours
        here = queue[np.uint32(done)]
        for step in range(4):
            if size < most:
                size, last = _meet(state, queue, np.uint32(here + steps[step]), label, mine, size, last)
        done += 1
    return size, last


@_jit
def _meet(state, queue, place, label, mine, size, last):
    """Add a waiting neighbour with the same label to the component; note the mark of another component."""
    found = state[place]
    same = found == label
    queue[np.uint32(size)] = place
    state[place] = mine if same else found
    return size + same, found if (found < 0) & (found != mine) else last
