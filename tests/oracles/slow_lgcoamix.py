"""Slow, independent oracle of the LGCOAMix training step: plain loops, torch float64, autograd.

Written from the mathematical description alone (METHODS section 1). One sample, one region, one pair at a time.
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
        biggest = max(float(d.detach()) for d in dots)          # over all k, i included; detached
        l = [d - biggest for d in dots]
        positives = [k for k in range(m) if labels[k] == labels[i] and not (exclude_self and k == i)]
        negatives = [k for k in range(m) if labels[k] != labels[i]]
        if not positives:
            continue
        total = 0.0
        for k in positives:
            denominator = torch.logsumexp(torch.stack([l[k]] + [l[n] for n in negatives]), 0)
            total = total + (l[k] - denominator)
        anchors.append(total / len(positives))
    if not anchors:
        return None
    total = 0.0
    for a in anchors:
        total = total + a
    return -(temperature / base_temperature) * total / len(anchors)


# --------------------------------------------------------------------------- losses (items 5-10)

def slow_losses(logits, features, regions, pasted, labels_a, labels_b, count, params, *, top_ratio=0.7,
                lam="attention", score="sum", contrast_on="logits", exclude_self=False, temperature=0.7,
                base_temperature=0.07):
    if lam not in ("attention", "area", "mean"):
        raise ValueError(lam)
    if score not in ("sum", "pre_norm"):
        raise ValueError(score)
    if contrast_on not in ("logits", "embedding"):
        raise ValueError(contrast_on)
    batch, width_d, height, width = features.shape
    zero = features[0, 0, 0, 0] * 0.0                            # a zero that can be differentiated

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
            for (y, x) in pixels[r]:
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
            t[r] = float((Z[r] if score == "sum" else before).detach().sum())   # item 7

        # item 7: the k best, ties to the lowest id (stable sort over ascending ids)
        if ids:
            best_first = sorted(ids, key=lambda r: -t[r])
            kept = sorted(best_first[:_kept_count(top_ratio, len(ids))])
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
        "area": area, "attention": attention, "lam": used,
        "kept": kept_all, "scores": scores_all,
    }


# --------------------------------------------------------------------------- self-check

def _near(got, want, what, tol=1e-9):
    assert abs(float(got) - want) < tol, (what, float(got), want)


def _check_mix():
    # count 3; one row of 4 pixels; 9 and -1 are sentinels
    images = torch.tensor([[[[1., 2., 3., 4.]]], [[[10., 20., 30., 40.]]]], dtype=torch.float64)
    maps = torch.tensor([[[0, 0, 1, 9]], [[2, 0, -1, 2]]])
    permutation = torch.tensor([1, 0])
    # image 0 takes superpixel 2 of image 1 (pixels 0, 3); image 1 takes 1 of image 0 (pixel 2)
    selected = torch.tensor([[False, False, True], [False, True, False]])
    before = images.clone()
    mixed, regions, pasted = slow_mix(images, maps, permutation, selected, 3)
    assert mixed[:, 0, 0].tolist() == [[10., 2., 3., 40.], [10., 20., 3., 40.]]
    assert regions[:, 0].tolist() == [[5, 0, 1, 5], [2, 0, 4, 2]]
    assert pasted[:, 0].tolist() == [[True, False, False, True], [False, False, True, False]]
    assert torch.equal(images, before)
    # nothing selected: sentinels stay without region; everything selected: sentinels of b are not pasted
    _, regions, pasted = slow_mix(images, maps, permutation, torch.zeros(2, 3, dtype=torch.bool), 3)
    assert regions[:, 0].tolist() == [[0, 0, 1, -1], [2, 0, -1, 2]] and not pasted.any()
    _, regions, _ = slow_mix(images, maps, permutation, torch.ones(2, 3, dtype=torch.bool), 3)
    assert regions[:, 0].tolist() == [[5, 3, 1, 5], [3, 3, 4, 2]]


def _hand_params():
    d = lambda *v: torch.tensor(v, dtype=torch.float64)
    return {
        # Q_j = (sqrt2 ln3, 0) always; K_j = ((S_j1 - 1)/4, 0); V_j = (S_j2 / 2, 1)
        "query_weight": torch.zeros(2, 2, dtype=torch.float64), "query_bias": d(math.sqrt(2) * math.log(3), 0.),
        "key_weight": d([.25, 0.], [0., 0.]), "key_bias": d(-.25, 0.),
        "value_weight": d([0., .5], [0., 0.]), "value_bias": d(0., 1.),
        "norm_weight": d(2., 1.), "norm_bias": d(0., .5),
        "classifier_weight": d([1., 0.], [1., 2.]), "classifier_bias": d(0., 0.),
    }


def _check_hand():
    # One image, one row of 5 pixels, D = 2, N = 2, count = 2. Region 0 (of a): pixels 0, 1; region 3 (superpixel 1 of b):
    # pixels 2, 3, pasted; pixel 4: no region (its feature must not matter).
    #   S_0 = mean (0,2),(2,4) = (1,3);  S_3 = mean (4,0),(6,2) = (5,1)
    #   K_0 = (0,0), K_3 = (1,0); Q.K/sqrt2 = 0 and ln 3 -> softmax (1/4, 3/4) for both rows
    #   V_0 = (1.5,1), V_3 = (.5,1) -> out = (.375+.375, 1) = (.75, 1)
    #   out + S: (1.75, 4), (5.75, 2): channel sums 5.75, 7.75 (score pre_norm)
    #   LayerNorm of two numbers: (-1,1), (1,-1); affine (2,1),(0,.5): Z_0 = (-2, 1.5), Z_3 = (2, -.5); t_0 = -.5, t_3 = 1.5
    #   A = 2, 2: lambda_att = s(1.5) / (s(1.5) + s(-.5)) = .81757/(.81757+.37754) = .68410;  area 2/5
    #   k = max(1, floor(1.4)) = 1: kept {3}; q_3 = (2, 2-1) = (2, 1); q_0 = (-2, -2+3) = (-2, 1)
    #   labels a 0, b 1: local = ln(e^2+e) - 1 = ln(1+e) = 1.31326; contrast: P = {i}, no negative -> 0
    #   logits (0, ln 3): CE_0 = ln 4, CE_1 = ln(4/3)
    features = torch.tensor([[[[0., 2., 4., 6., 77.]], [[2., 4., 0., 2., -5.]]]], dtype=torch.float64)
    regions = torch.tensor([[[0, 0, 3, 3, -1]]])
    pasted = regions == 3
    logits = torch.tensor([[0., math.log(3)]], dtype=torch.float64)
    a, b = torch.tensor([0]), torch.tensor([1])
    run = lambda **kw: slow_losses(logits, features, regions, pasted, kw.pop("a", a), kw.pop("b", b), 2,
                                   kw.pop("params", _hand_params()), **kw)
    sig = lambda v: 1 / (1 + math.exp(-v))
    want = sig(1.5) / (sig(1.5) + sig(-.5))
    _near(want, .68410, "hand lambda", 1e-4)

    r = run()
    _near(r["scores"][0][0], -.5, "t0"); _near(r["scores"][0][3], 1.5, "t3")
    assert r["kept"] == [[3]]
    _near(r["area"][0], .4, "area"); _near(r["attention"][0], want, "attention"); _near(r["lam"][0], want, "lam")
    _near(r["local"], math.log(1 + math.e), "local")
    _near(r["contrast"], 0., "contrast")
    _near(r["global"], (1 - want) * math.log(4) + want * math.log(4 / 3), "global")
    _near(run(lam="area")["global"], .6 * math.log(4) + .4 * math.log(4 / 3), "global area")
    _near(run(lam="mean")["lam"][0], (.4 + want) / 2, "lam mean")
    _near(run(exclude_self=True)["contrast"], 0., "no anchor")

    r = run(score="pre_norm")
    _near(r["scores"][0][0], 5.75, "pre t0"); _near(r["scores"][0][3], 7.75, "pre t3")
    _near(r["attention"][0], sig(7.75) / (sig(7.75) + sig(5.75)), "pre attention")
    _near(r["local"], math.log(1 + math.e), "pre local")

    # both kept: local = ln(1+e) + [ln(e^-2+e) + 2] = ln(1+e) + ln(1+e^3);
    # u_0.u_3 = (-4+1)/5 = -.6; l_ii = 0, l_ik = -1.6/.7; labels differ: 10 ln(1+e^(-1.6/.7)) = .9685
    r = run(top_ratio=1.0)
    assert r["kept"] == [[0, 3]]
    _near(r["local"], math.log(1 + math.e) + math.log(1 + math.exp(3)), "local both")
    _near(r["contrast"], 10 * math.log(1 + math.exp(-1.6 / .7)), "contrast both")
    _near(r["contrast"], .9685, "contrast both, number", 1e-3)
    # on Z: Z_0.Z_3 = -4.75, |Z_0| = 2.5, |Z_3| = sqrt 4.25
    dot = -4.75 / (2.5 * math.sqrt(4.25))
    _near(run(top_ratio=1.0, contrast_on="embedding")["contrast"], 10 * math.log(1 + math.exp((dot - 1) / .7)), "embedding")
    # two equal labels: no negative, every term is 0; different labels with exclude_self: no anchor
    _near(run(top_ratio=1.0, a=b)["contrast"], 0., "same labels")
    _near(run(top_ratio=1.0, exclude_self=True)["contrast"], 0., "exclude_self, none")

    # tie: norm_weight 0 -> t equal for both, lowest id stays; lambda = share among region pixels = 1/2 (not the area 2/5)
    p = _hand_params(); p["norm_weight"] = torch.zeros(2, dtype=torch.float64)
    r = run(params=p)
    assert r["kept"] == [[0]]; _near(r["attention"][0], .5, "tie")
    # all s vanish (t = -2000): area
    p["norm_bias"] = torch.full((2,), -1000., dtype=torch.float64)
    _near(run(params=p)["attention"][0], .4, "vanish")


def _check_contrast():
    # u1=(1,0) y0, u2=(0,1) y0, u3=(-1,0) y1, T = Tb = 1. Dots 12: 0, 13: -1, 23: 0.
    #  i=1: l = (0,-1,-2): k=1 -> -ln(1+e^-2); k=2 -> -1 - ln(e^-1+e^-2) = -ln(1+e^-1)
    #  i=2: l = (-1,0,-1): k=1 -> -ln 2;       k=2 -> -ln(1+e^-1)
    #  i=3: l = (-2,-1,0): k=3 -> -ln(1+e^-2+e^-1)
    u = [torch.tensor(v, dtype=torch.float64) for v in ([1., 0.], [0., 1.], [-1., 0.])]
    e1, e2 = math.exp(-1), math.exp(-2)
    want = ((math.log(1 + e2) + math.log(1 + e1)) / 2 + (math.log(2) + math.log(1 + e1)) / 2 + math.log(1 + e1 + e2)) / 3
    _near(_contrast(u, [0, 0, 1], 1., 1., False), want, "three")
    _near(_contrast(u, [0, 0, 1], 1., 1., True), (math.log(1 + e1) + math.log(2)) / 2, "three, exclude_self")
    assert _contrast([], [], 1., 1., False) is None


def _check_rest():
    assert [_kept_count(.7, n) for n in (1, 2, 3, 10, 90)] == [1, 1, 2, 7, 63]
    assert _kept_count(1.0, 5) == 5 and _kept_count(.1, 5) == 1
    torch.manual_seed(0)
    B, D, N, H, W, count = 3, 3, 3, 2, 4, 3
    rnd = lambda *s: torch.randn(*s, dtype=torch.float64)
    params = {"classifier_weight": rnd(N, D), "classifier_bias": rnd(N), "norm_weight": rnd(D) + 1, "norm_bias": rnd(D)}
    for name in ("query", "key", "value"):
        params[name + "_weight"], params[name + "_bias"] = rnd(D, D), rnd(D)
    regions = torch.tensor([[[0, 0, 1, 4], [2, -1, 4, 4]], [[1, 3, 3, 1], [2, 2, 5, 99]], [[-1] * 4] * 2])
    pasted = (regions >= count) & (regions < 2 * count)
    pasted[2, 0, 0] = True                                       # an image with no region: attention = area = 1/8
    a, b = torch.tensor([0, 1, 2]), torch.tensor([1, 0, 0])
    logits, features = rnd(B, N).requires_grad_(), rnd(B, D, H, W).requires_grad_()
    run = lambda f, l=logits, p=params, **kw: slow_losses(l, f, regions, pasted, a, b, count, p, **kw)
    r = run(features)
    assert r["kept"][2] == [] and r["scores"][2] == {} and len(r["kept"][0]) == 2 and len(r["kept"][1]) == 2
    _near(r["attention"][2], 1 / 8, "empty image")
    for kw in ({}, {"contrast_on": "embedding", "exclude_self": True}, {"score": "pre_norm", "top_ratio": 1.0}):
        assert torch.autograd.gradcheck(lambda f: (run(f, **kw)["local"], run(f, **kw)["contrast"]), (features,))
    names = sorted(params)
    leaves = [params[n].clone().requires_grad_() for n in names]
    f0 = features.detach()
    assert torch.autograd.gradcheck(
        lambda *q: (lambda o: (o["local"], o["contrast"]))(run(f0, p=dict(zip(names, q)))), leaves)
    assert torch.autograd.gradcheck(lambda l: run(f0, l)["global"], (logits,))
    (grad,) = torch.autograd.grad(r["global"], features)
    assert not grad.any()                                        # lambda carries no gradient
    assert not any(r[k].requires_grad for k in ("area", "attention", "lam"))
    # no region anywhere: zeros that can still be differentiated
    none = slow_losses(logits, features, torch.full_like(regions, -1), pasted, a, b, count, params)
    (none["local"] + none["contrast"] + none["global"]).backward()
    assert float(none["local"].detach()) == 0. and float(none["contrast"].detach()) == 0. and torch.equal(none["lam"], none["area"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    _check_mix()
    _check_hand()
    _check_contrast()
    _check_rest()
    print("ok")
