"""Attention and classification over regions, against torch's own attention and the numerical gradient."""

import pytest
import torch
import torch.nn.functional as F

from lgcoamix.models import LocalHead

COUNT = 5
# The first image has regions 0, 2 and 4 and pixels of none; the second has region 3 alone; the third has no region.
REGIONS = torch.tensor(
    [
        [[0, 0, 2], [2, 4, -1], [4, 4, 9]],
        [[3, 3, 3], [3, 3, 3], [3, 3, 3]],
        [[-1, 5, 7], [-1, 5, 7], [255, 255, 255]],
    ]
)


def _head(seed: int = 0, width: int = 4, classes: int = 3) -> LocalHead:
    draw = torch.Generator().manual_seed(seed)
    head = LocalHead(width, classes).double()
    with torch.no_grad():
        for weight in head.parameters():
            weight.copy_(torch.randn(weight.shape, generator=draw, dtype=torch.float64))
    return head


def _features(seed: int = 1) -> torch.Tensor:
    return torch.randn(3, 4, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_present_regions_attend_to_present_regions_alone():
    head, features = _head(), _features()
    first = features[0].flatten(1)
    pooled = torch.stack([first[:, [0, 1]].mean(1), first[:, [2, 3]].mean(1), first[:, [4, 6, 7]].mean(1)])
    attended = pooled + F.scaled_dot_product_attention(
        head.query(pooled)[None], head.key(pooled)[None], head.value(pooled)[None]
    ).squeeze(0)
    normed = F.layer_norm(attended, (4,), head.norm.weight, head.norm.bias, eps=1e-12)
    out = head(features, REGIONS, COUNT)
    present = [0, 2, 4]
    torch.testing.assert_close(out.pre_norm[0, present], attended)
    torch.testing.assert_close(out.embeddings[0, present], normed)
    torch.testing.assert_close(out.logits[0, present], F.linear(normed, head.classifier.weight, head.classifier.bias))
    assert out.areas.tolist() == [[2, 0, 2, 0, 3], [0, 0, 0, 9, 0], [0] * 5]


def test_absent_regions_give_zero_rows_and_never_nan():
    out = _head()(_features(), REGIONS, COUNT)
    absent = out.areas == 0
    assert absent.sum() == 11
    assert torch.equal(out.embeddings[absent], torch.zeros(11, 4, dtype=torch.float64))
    assert torch.equal(out.pre_norm[absent], torch.zeros(11, 4, dtype=torch.float64))
    assert torch.isfinite(out.logits).all()


def test_a_larger_bound_on_the_ids_changes_nothing():
    head, features = _head(), _features()
    regions = torch.where((REGIONS >= 0) & (REGIONS < COUNT), REGIONS, -1)
    small, large = head(features, regions, COUNT), head(features, regions, COUNT + 7)
    torch.testing.assert_close(large.embeddings[:, :COUNT], small.embeddings)


def test_at_initialisation_every_score_is_zero():
    # The channel sum after LayerNorm with weight 1 and bias 0: METHODS 1.
    torch.manual_seed(0)
    scores = LocalHead(4, 3).double()(_features(), REGIONS, COUNT).embeddings.sum(dim=2)
    torch.testing.assert_close(scores, torch.zeros(3, COUNT, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_features_are_handled_in_float32_under_autocast(dtype):
    head, features = _head().float(), _features().to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = head(features, REGIONS, COUNT)
    exact = head(features.float(), REGIONS, COUNT)
    assert out.logits.dtype == out.embeddings.dtype == torch.float32
    assert torch.equal(out.logits, exact.logits)


@pytest.mark.parametrize("part", ["embeddings", "pre_norm", "logits"])
def test_gradients_pass_the_numerical_check_with_absent_and_single_regions(part):
    head, features = _head(), _features().requires_grad_()
    parameters = dict(head.named_parameters())

    def run(values: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        replaced = dict(zip(parameters, weights, strict=True))
        return getattr(torch.func.functional_call(head, replaced, (values, REGIONS, COUNT)), part)

    assert torch.autograd.gradcheck(run, (features, *parameters.values()), fast_mode=True)


def test_a_network_in_bfloat16_has_regions_too():
    torch.manual_seed(0)
    head, features = LocalHead(4, 3), _features().float()
    output, half = head(features, REGIONS, COUNT), head.bfloat16()(features.bfloat16(), REGIONS, COUNT)
    assert half.logits.dtype == torch.bfloat16
    torch.testing.assert_close(half.logits.float(), output.logits, rtol=0.05, atol=0.05)
