"""Slow, independent oracle of the LGCOAMix training step: plain loops, torch float64, autograd.

Written from the mathematical description alone (the papers' equations). One sample, one region, one pair at a time.
"""

import math
from fractions import Fraction

import torch

# --------------------------------------------------------------------------- mixing (item 3)


def slow_mix(images, maps, permutation, selected, count):
    batch, channels, height, width = images.shape
    mixed = images.clone()
    regions = torch.full((batch, height, width), -1, dtype=torch.int64)
    pasted = torch.zeros((batch, height, width), dtype=torch.bool)
    for i in range(batch):
        source = int(permutation[i])
        for y in range(height):
            for x in range(width):
                own = int(maps[i, y, x])
                other = int(maps[source, y, x])
                if 0 <= other < count and bool(selected[i, other]):
                    pasted[i, y, x] = True
                    regions[i, y, x] = count + other
                    for c in range(channels):
                        mixed[i, c, y, x] = images[source, c, y, x]
                elif 0 <= own < count:
                    regions[i, y, x] = own
                # else: no region, the pixel of a stays, id -1
    return mixed, regions, pasted


# --------------------------------------------------------------------------- small pieces


def _linear(x, weight, bias):
    """y = W x + b, one vector."""
    return torch.stack([torch.dot(weight[o], x) + bias[o] for o in range(weight.shape[0])])


def _cross_entropy(row, label):
    return torch.logsumexp(row, 0) - row[int(label)]


def _layer_norm(x, weight, bias, eps=1e-12):
    width = x.shape[0]
    mean = x.sum() / width
    centred = x - mean
    variance = (centred * centred).sum() / width
    return centred / torch.sqrt(variance + eps) * weight + bias


def _unit(x):
    """u = x/|x|; the zero vector (undefined in the text) stays zero."""
    if float((x * x).sum().detach()) == 0.0:
        return x * 0.0
    return x / torch.sqrt((x * x).sum())


def _kept_count(top_ratio, n):
    share = Fraction(str(top_ratio)) * n
    k = max(1, share.numerator // share.denominator)
    return min(k, n)


def _contrast(units, labels, temperature, base_temperature, exclude_self):
    """Item 10 on a list of unit vectors; None where there is no anchor."""
    m = len(units)
    anchors = []
    for i in range(m):
        dots = [torch.dot(units[i], units[k]) / temperature for k in range(m)]
        biggest = max(float(d.detach()) for d in dots)  # over all k, i included; detached
        shifted = [d - biggest for d in dots]
        positives = [k for k in range(m) if labels[k] == labels[i] and not (exclude_self and k == i)]
        negatives = [k for k in range(m) if labels[k] != labels[i]]
        if not positives:
            continue
        total = 0.0
        for k in positives:
            denominator = torch.logsumexp(torch.stack([shifted[k]] + [shifted[n] for n in negatives]), 0)
            total = total + (shifted[k] - denominator)
        anchors.append(total / len(positives))
    if not anchors:
        return None
    total = 0.0
    for a in anchors:
        total = total + a
    return -(temperature / base_temperature) * total / len(anchors)


# --------------------------------------------------------------------------- losses (items 5-10)


def slow_losses(  # noqa: C901 - one function, top to bottom, as the text it follows
    logits,
    features,
    regions,
    pasted,
    labels_a,
    labels_b,
    count,
    params,
    *,
    top_ratio=0.7,
    lam="attention",
    score="sum",
    contrast_on="logits",
    exclude_self=False,
    temperature=0.7,
    base_temperature=0.07,
):
    if lam not in ("attention", "area", "mean"):
        raise ValueError(lam)
    if score not in ("sum", "pre_norm"):
        raise ValueError(score)
    if contrast_on not in ("logits", "embedding"):
        raise ValueError(contrast_on)
    batch, width_d, height, width = features.shape
    zero = features[0, 0, 0, 0] * 0.0  # a zero that can be differentiated

    area = torch.zeros(batch, dtype=torch.float64)
    attention = torch.zeros(batch, dtype=torch.float64)
    used = torch.zeros(batch, dtype=torch.float64)
    kept_all, scores_all = [], []
    global_sum, local_sum = zero, zero
    contrast_vectors, contrast_labels = [], []

    for i in range(batch):
        # pixels of every present region; area lambda over all H*W pixels
        pixels = {}
        pasted_pixels = 0
        for y in range(height):
            for x in range(width):
                if bool(pasted[i, y, x]):
                    pasted_pixels += 1
                r = int(regions[i, y, x])
                if 0 <= r < 2 * count:
                    pixels.setdefault(r, []).append((y, x))
        ids = sorted(pixels)
        lam_area = pasted_pixels / (height * width)

        # item 5: S_j
        S = {}
        for r in ids:
            acc = torch.zeros(width_d, dtype=torch.float64)
            for y, x in pixels[r]:
                acc = acc + features[i, :, y, x]
            S[r] = acc / len(pixels[r])

        # item 6: self-attention among the present regions of this image
        Q = {r: _linear(S[r], params["query_weight"], params["query_bias"]) for r in ids}
        K = {r: _linear(S[r], params["key_weight"], params["key_bias"]) for r in ids}
        V = {r: _linear(S[r], params["value_weight"], params["value_bias"]) for r in ids}
        Z, t = {}, {}
        for r in ids:
            affinity = torch.stack([torch.dot(Q[r], K[other]) / math.sqrt(width_d) for other in ids])
            normaliser = torch.logsumexp(affinity, 0)
            out = torch.zeros(width_d, dtype=torch.float64)
            for position, other in enumerate(ids):
                out = out + torch.exp(affinity[position] - normaliser) * V[other]
            before = out + S[r]
            Z[r] = _layer_norm(before, params["norm_weight"], params["norm_bias"])
            t[r] = float((Z[r] if score == "sum" else before).detach().sum())  # item 7

        # item 7: the k best, ties to the lowest id (stable sort over ascending ids)
        if ids:
            best_first = sorted(ids, key=lambda r: -t[r])
            kept = sorted(best_first[: _kept_count(top_ratio, len(ids))])
        else:
            kept = []

        # item 8: lambda, plain floats, hence no gradient; over ALL present regions
        numerator, denominator = 0.0, 0.0
        for r in ids:
            s = float(torch.sigmoid(torch.tensor(t[r], dtype=torch.float64)))
            weight = s * len(pixels[r])
            denominator += weight
            if r >= count:
                numerator += weight
        lam_attention = numerator / denominator if denominator != 0.0 else lam_area
        lam_used = {"attention": lam_attention, "area": lam_area, "mean": (lam_area + lam_attention) / 2}[lam]
        area[i], attention[i], used[i] = lam_area, lam_attention, lam_used

        ce_a = _cross_entropy(logits[i], labels_a[i])
        ce_b = _cross_entropy(logits[i], labels_b[i])
        global_sum = global_sum + (1 - lam_used) * ce_a + lam_used * ce_b

        # items 9, 10
        for r in kept:
            label = int(labels_b[i]) if r >= count else int(labels_a[i])
            q = _linear(Z[r], params["classifier_weight"], params["classifier_bias"])
            local_sum = local_sum + _cross_entropy(q, label)
            contrast_vectors.append(_unit(q if contrast_on == "logits" else Z[r]))
            contrast_labels.append(label)
        kept_all.append(kept)
        scores_all.append(t)

    contrast = _contrast(contrast_vectors, contrast_labels, temperature, base_temperature, exclude_self)
    return {
        "global": global_sum / batch,
        "local": local_sum / batch,
        "contrast": zero if contrast is None else contrast,
        "area": area,
        "attention": attention,
        "lam": used,
        "kept": kept_all,
        "scores": scores_all,
    }
