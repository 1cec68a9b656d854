"""The loss terms against torch's own cross-entropy, hand-made values and a double loop over the formula."""

import math

import pytest
import torch
import torch.nn.functional as F

from lgcoamix.ops.losses import local_contrast, local_cross_entropy, mixed_cross_entropy
from tests.conftest import PROOF


def _normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _looped_contrast(rows, labels, temperature, base, exclude_self):
    """The formula of METHODS 1.10, one pair at a time, in Python floats."""
    units = [[value / math.sqrt(sum(v * v for v in row)) for value in row] for row in rows]
    logits = [[sum(a * b for a, b in zip(u, v, strict=True)) / temperature for v in units] for u in units]
    everyone = range(len(rows))
    anchors = []
    for i in everyone:
        positives = [k for k in everyone if labels[k] == labels[i] and not (exclude_self and k == i)]
        rivals = sum(math.exp(logits[i][n]) for n in everyone if labels[n] != labels[i])
        if positives:
            terms = [logits[i][k] - math.log(math.exp(logits[i][k]) + rivals) for k in positives]
            anchors.append(sum(terms) / len(positives))
    return -temperature / base * sum(anchors) / len(anchors) if anchors else 0.0


def test_mixed_cross_entropy_weighs_torchs_own():
    logits, labels_a, labels_b = _normal(0, 4, 3), torch.tensor([0, 1, 2, 2]), torch.tensor([2, 1, 0, 1])
    lam = torch.tensor([0.0, 0.25, 1.0, 0.6], dtype=torch.float64)
    each = (1 - lam) * F.cross_entropy(logits, labels_a, reduction="none")
    each = each + lam * F.cross_entropy(logits, labels_b, reduction="none")
    torch.testing.assert_close(mixed_cross_entropy(logits, labels_a, labels_b, 1 - lam, lam), each.mean())


def test_mixed_cross_entropy_of_even_logits_is_the_log_of_the_classes():
    labels, half = torch.tensor([0, 3]), torch.tensor([0.5, 0.5])
    assert mixed_cross_entropy(torch.zeros(2, 4), labels, labels.flip(0), half, half) == pytest.approx(math.log(4))


def test_mixed_cross_entropy_of_soft_labels_by_hand():
    # Probabilities 1/2, 1/4, 1/4: -log p is 1, 2, 2 times log 2.
    logits = torch.tensor([[math.log(2), 0.0, 0.0]])
    a, b = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[0.75, 0.0, 0.25]])
    found = mixed_cross_entropy(logits, a, b, torch.tensor([0.6]), torch.tensor([0.4]))
    assert float(found) == pytest.approx((0.6 * 1.5 + 0.4 * 1.25) * math.log(2))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.ones(4, 1), r"floating and of the shape of the logits, \(4, 3\), got \(4, 1\) float32"),
        (torch.ones(4, 5), r"got \(4, 5\) float32"),
        (torch.ones(4, 3, dtype=torch.long), r"got \(4, 3\) int64"),
    ],
)
def test_soft_labels_that_do_not_fit_the_logits_are_refused(labels, message):
    half = torch.full((4,), 0.5)
    with pytest.raises(ValueError, match=message):
        mixed_cross_entropy(_normal(0, 4, 3), labels, labels, half, half)


@pytest.mark.parametrize("label", [-1, -100, 3])
def test_a_label_of_no_class_is_named(label):
    half, good = torch.full((2,), 0.5), torch.tensor([0, 2])
    with pytest.raises(ValueError, match=rf"labels must lie in \[0, 3\), the number of classes, got {label}"):
        mixed_cross_entropy(_normal(0, 2, 3), good, torch.tensor([1, label]), half, half)


def test_local_cross_entropy_is_a_sum_over_kept_regions_and_a_mean_over_images():
    logits = _normal(1, 2, 3, 5)
    labels = torch.tensor([[0, 1, 2], [3, 4, 0]])
    kept = torch.tensor([[True, False, True], [False, True, False]])
    rows = logits[0, 0], logits[0, 2], logits[1, 1]
    expected = sum(F.cross_entropy(row, torch.tensor(label)) for row, label in zip(rows, (0, 2, 4), strict=True)) / 2
    torch.testing.assert_close(local_cross_entropy(logits, labels, kept), expected)


@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("seed", range(40 if PROOF else 4))
def test_local_contrast_agrees_with_a_double_loop(seed, exclude_self):
    rows = _normal(seed, 9, 4)
    labels = torch.randint(4, (9,), generator=torch.Generator().manual_seed(seed))
    options = {"temperature": 0.5, "base_temperature": 0.2, "exclude_self": exclude_self}
    expected = _looped_contrast(rows.tolist(), labels.tolist(), 0.5, 0.2, exclude_self)
    assert float(local_contrast(rows, labels, **options)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("seed", range(40 if PROOF else 4))
def test_local_contrast_of_kept_rows_agrees_with_a_double_loop_over_them(seed, exclude_self):
    draw = torch.Generator().manual_seed(seed)
    rows, labels = _normal(seed, 12, 4), torch.randint(4, (12,), generator=draw)
    kept = torch.rand(12, generator=draw) < 0.6
    expected = _looped_contrast(rows[kept].tolist(), labels[kept].tolist(), 0.5, 0.2, exclude_self)
    found = local_contrast(rows, labels, kept, 0.5, 0.2, exclude_self)
    assert float(found) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("exclude_self", [False, True])
def test_local_contrast_at_the_lowest_temperature_agrees_with_a_double_loop(exclude_self):
    # Exponents of up to 100: e^100 is no float32.
    rows, labels = _normal(9, 8, 3), torch.tensor([0, 0, 1, 1, 1, 2, 2, 3])
    expected = _looped_contrast(rows.tolist(), labels.tolist(), 0.01, 0.07, exclude_self)
    found = local_contrast(rows, labels, None, 0.01, 0.07, exclude_self)
    assert float(found) == pytest.approx(expected, rel=1e-12)
    assert float(local_contrast(rows.float(), labels, None, 0.01, 0.07, exclude_self)) == pytest.approx(expected, 1e-4)


def test_local_contrast_of_two_opposite_rows_by_hand():
    rows = torch.tensor([[3.0, 0], [-2.0, 0]], dtype=torch.float64)
    # Each anchor has itself (u·u = 1) and one rival (u·u = -1), T = 0.5: 2 - log(e^2 + e^-2); factor T/T_base = 5.
    expected = 5 * (math.log(math.exp(2) + math.exp(-2)) - 2)
    assert float(local_contrast(rows, torch.tensor([0, 1]), None, 0.5, 0.1)) == pytest.approx(expected)


def test_local_contrast_sees_kept_rows_only():
    rows, labels = _normal(2, 7, 3), torch.tensor([0, 1, 0, 2, 1, 0, 2])
    kept = torch.tensor([True, True, False, True, True, False, True])
    spoilt = torch.where(kept[:, None], rows, 1e6)
    alone = local_contrast(rows[kept], labels[kept])
    torch.testing.assert_close(local_contrast(spoilt, labels, kept), alone)


def test_local_contrast_with_exclude_self_skips_an_anchor_that_is_alone():
    rows, labels = _normal(3, 4, 3), torch.tensor([0, 0, 1, 2])
    expected = _looped_contrast(rows.tolist(), labels.tolist(), 0.7, 0.07, True)
    assert expected != 0
    assert float(local_contrast(rows, labels, exclude_self=True)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("labels", "kept", "exclude_self"),
    [
        pytest.param([0, 1, 2], [True, True, True], True, id="every anchor is alone"),
        pytest.param([0, 0, 1], [False, False, False], False, id="nothing is kept"),
    ],
)
def test_local_contrast_without_anchors_is_zero_with_zero_gradient(labels, kept, exclude_self):
    rows = _normal(4, 3, 4).requires_grad_()
    loss = local_contrast(rows, torch.tensor(labels), torch.tensor(kept), exclude_self=exclude_self)
    (gradient,) = torch.autograd.grad(loss, rows)
    assert float(loss.detach()) == 0
    assert torch.equal(gradient, torch.zeros_like(rows))


def test_local_contrast_without_negatives_is_zero_with_finite_gradient():
    # Without rivals each term is l - log(e^l) = 0, whatever the rows are.
    rows = _normal(5, 4, 3).requires_grad_()
    loss = local_contrast(rows, torch.tensor([1, 1, 1, 1]))
    (gradient,) = torch.autograd.grad(loss, rows)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(gradient, torch.zeros_like(rows))


def test_a_row_of_zeros_gives_finite_contrast_and_gradient():
    rows = torch.cat((_normal(6, 3, 4), torch.zeros(1, 4, dtype=torch.float64))).requires_grad_()
    loss = local_contrast(rows, torch.tensor([0, 1, 0, 1]))
    (gradient,) = torch.autograd.grad(loss, rows)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_goes_in_and_float32_comes_out(dtype):
    # At a weight of 30 float16 arithmetic would be off by more than 1e-3.
    logits, labels = (30 * _normal(7, 6, 4)).to(dtype), torch.tensor([0, 1, 2, 3, 0, 1])
    half, kept = torch.full((6,), 0.5), torch.ones(6, dtype=torch.bool)
    losses = {
        "global": lambda x: mixed_cross_entropy(x, labels, labels.flip(0), half, half),
        "local": lambda x: local_cross_entropy(x[None], labels[None], kept[None]),
        "contrast": lambda x: local_contrast(x, labels, kept),
    }
    for name, loss in losses.items():
        assert loss(logits).dtype == torch.float32, name
        torch.testing.assert_close(loss(logits).double(), loss(logits.double()), rtol=1e-5, atol=1e-5)


def test_gradients_of_both_local_losses_pass_the_numerical_check():
    labels = torch.tensor([[0, 1, 2, 0], [3, 3, 1, 2]])
    kept = torch.tensor([[True, True, False, True], [True, False, False, False]])  # the second image keeps one
    logits = _normal(8, 2, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: local_cross_entropy(x, labels, kept), logits)
    for exclude_self in (False, True):
        # The detached maximum cancels between numerator and denominator, so the loss is smooth.
        assert torch.autograd.gradcheck(
            lambda x, alone=exclude_self: local_contrast(
                x.flatten(0, 1), labels.flatten(), kept.flatten(), exclude_self=alone
            ),
            logits,
        )


@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize(
    ("labels", "kept"),
    [
        pytest.param([[0, 1, 2], [1, 3, 0]], [[True, False, False], [True, True, True]], id="one region in an image"),
        pytest.param([[0, 1, 2], [1, 3, 0]], [[False, False, False], [True, True, True]], id="none in an image"),
        pytest.param([[0, 1, 2], [1, 3, 0]], [[False] * 3, [False] * 3], id="nothing kept"),
        pytest.param([[2, 2, 2], [2, 2, 2]], [[True, True, True], [True, False, True]], id="no negatives"),
        pytest.param([[2, 2, 1], [2, 2, 1]], [[True, True, False], [True, True, False]], id="negatives not kept"),
        pytest.param([[0, 1, 2], [3, 4, 5]], [[True, True, True], [True, False, True]], id="every anchor alone"),
        pytest.param([[0, 1, 1], [2, 2, 0]], [[True, True, True], [True, False, False]], id="some anchors alone"),
    ],
)
def test_gradients_of_both_local_losses_pass_the_numerical_check_at_the_edges(labels, kept, exclude_self):
    labels, kept = torch.tensor(labels), torch.tensor(kept)
    logits = _normal(10, 2, 3, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: local_cross_entropy(x, labels, kept), logits)
    flat = labels.flatten(), kept.flatten()
    assert torch.autograd.gradcheck(lambda x: local_contrast(x.flatten(0, 1), *flat, exclude_self=exclude_self), logits)
    terms = local_cross_entropy(logits, labels, kept) + local_contrast(logits.flatten(0, 1), *flat)
    (gradient,) = torch.autograd.grad(terms, logits)
    assert not gradient[~kept].any()


def test_weights_are_one_for_each_image():
    labels, weights = torch.tensor([0, 1]), torch.tensor([0.5, 0.5])
    with pytest.raises(ValueError, match=r"weights of labels must be \(2,\), one per image, got \(2, 1\) float32"):
        mixed_cross_entropy(torch.zeros(2, 2), labels, labels, weights[:, None], weights)
    half = torch.tensor(0.5)
    assert float(mixed_cross_entropy(torch.zeros(2, 2), labels, labels, half, half)) == pytest.approx(math.log(2))
