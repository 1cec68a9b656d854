"""The whole step of LGCOAMix agrees with an independent slow loop, term by term and gradient by gradient."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from lgcoamix.mixing import Batch, LGCOAMix
from lgcoamix.mixing.lgcoamix import top_regions
from lgcoamix.mixing.superpixels import SuperpixelPlan
from lgcoamix.models import LocalHead, Output
from tests.conftest import PROOF
from tests.oracles.slow_lgcoamix import slow_losses, slow_mix

B, D, N, H, W, HALF = 3, 5, 4, 6, 7, 5
SENTINEL = 255
SEEDS = range(40 if PROOF else 4)
EXACT = {"rtol": 1e-9, "atol": 1e-9}


@dataclass
class Case:
    """Inputs of one step, float64."""

    images: Tensor
    maps: Tensor
    labels: Tensor
    permutation: Tensor
    selected: Tensor
    features: Tensor
    logits: Tensor
    head: LocalHead


def _ordinary(seed: int) -> Case:
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    head = LocalHead(D, N).double()
    with torch.no_grad():
        for weight in head.parameters():  # the norm's affine as well: at (1, 0) every score is 0
            weight.copy_(normal(*weight.shape))
    return Case(
        images=torch.rand(B, 3, H, W, generator=draw, dtype=torch.float64),
        maps=torch.randint(HALF, (B, H, W), generator=draw).to(torch.uint8),
        labels=torch.tensor([1, 3, 1]),
        permutation=torch.tensor([1, 2, 0]),
        selected=torch.rand(B, HALF, generator=draw) < 0.5,
        features=normal(B, D, H, W).requires_grad_(),
        logits=normal(B, N).requires_grad_(),
        head=head,
    )


def _absent(case: Case) -> None:
    case.maps[0][case.maps[0] == 2] = 0
    case.maps[1] = 3


def _sentinel_pixels(case: Case) -> None:
    case.maps[:, :2] = SENTINEL
    case.maps[1, 3] = HALF
    case.maps[2, :, 1] = HALF + 3


def _sentinel_image(case: Case) -> None:
    case.maps[0] = SENTINEL


def _no_region(case: Case) -> None:
    case.maps[0] = SENTINEL
    case.permutation = torch.tensor([0, 2, 1])  # it receives from itself: no region at all


def _nothing_pasted(case: Case) -> None:
    case.selected[:] = False


def _everything_pasted(case: Case) -> None:
    case.selected[:] = True


def _fixed_points(case: Case) -> None:
    case.permutation = torch.tensor([0, 2, 1])


def _labels_equal(case: Case) -> None:
    case.labels = torch.tensor([2, 2, 2])


def _labels_distinct(case: Case) -> None:
    case.labels = torch.tensor([0, 2, 3])


CASES = {
    "ordinary": lambda case: None,
    "absent regions": _absent,
    "sentinel pixels": _sentinel_pixels,
    "an image of sentinel": _sentinel_image,
    "an image without any region": _no_region,
    "nothing pasted": _nothing_pasted,
    "everything pasted": _everything_pasted,
    "fixed points": _fixed_points,
    "all labels equal": _labels_equal,
    "one class per image": _labels_distinct,
}

OPTIONS = {
    "area": {"lam": "area"},
    "mean": {"lam": "mean"},
    "pre_norm": {"score": "pre_norm"},
    "embedding": {"contrast_on": "embedding"},
    "exclude_self": {"exclude_self": True},
    "top 0.1": {"top_ratio": 0.1},
    "top 1.0": {"top_ratio": 1.0},
    "temperatures": {"temperature": 0.3, "base_temperature": 0.5},
    "all at once": {"lam": "mean", "score": "pre_norm", "contrast_on": "embedding", "exclude_self": True},
}


def _check(case: Case, **options: object) -> None:
    mixer = LGCOAMix(gamma_ce=0.3, gamma_con=0.2, **options)
    batch = Batch(case.images, case.labels, case.maps, HALF)
    mixed = mixer.mix(batch, SuperpixelPlan(case.permutation, case.selected))
    local = case.head(case.features, mixed.regions, mixed.count)
    output = Output(case.logits, local)
    terms = mixer.loss(output, mixed)

    images, regions, pasted = slow_mix(case.images, case.maps, case.permutation, case.selected, HALF)
    parameters = {name.replace(".", "_"): value for name, value in case.head.named_parameters()}
    labels_b = case.labels[case.permutation]
    slow = slow_losses(case.logits, case.features, regions, pasted, case.labels, labels_b, HALF, parameters, **options)

    assert torch.equal(mixed.images, images)
    assert torch.equal(mixed.regions, regions)
    expected = {"global": slow["global"], "local": 0.3 * slow["local"], "contrast": 0.2 * slow["contrast"]}
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, **EXACT, msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(mixed.lam, slow["area"], **EXACT)
    torch.testing.assert_close(mixer.attention(local, mixed), slow["attention"], **EXACT)
    torch.testing.assert_close(mixer.pasted_weight(output, mixed), slow["lam"], **EXACT)
    rows = local.pre_norm if mixer.score == "pre_norm" else local.embeddings
    index, kept = top_regions(rows.sum(dim=2), local.areas, mixer.top_ratio)
    assert [sorted(ids[keep].tolist()) for ids, keep in zip(index, kept, strict=True)] == slow["kept"]

    leaves = {"features": case.features, "logits": case.logits, **parameters}
    fast = torch.autograd.grad(sum(terms.values()), list(leaves.values()), allow_unused=True, materialize_grads=True)
    wanted = torch.autograd.grad(
        sum(expected.values()), list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    for name, gradient, truth in zip(leaves, fast, wanted, strict=True):
        torch.testing.assert_close(gradient, truth, **EXACT, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("change", CASES.values(), ids=CASES)
def test_step_agrees_with_the_slow_oracle_on(change, seed):
    case = _ordinary(seed)
    change(case)
    _check(case)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_step_agrees_with_the_slow_oracle_under(options, seed):
    case = _ordinary(100 + seed)
    _sentinel_pixels(case)
    _check(case, **options)
