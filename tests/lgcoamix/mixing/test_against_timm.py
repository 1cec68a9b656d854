"""Mixup and CutMix against timm's, with the same draws."""

import numpy as np
import pytest
import timm.data.mixup as theirs
import torch

from lgcoamix.mixing import Batch, CutMix, Mixup
from lgcoamix.mixing.boxes import draw_box
from lgcoamix.mixing.cutmix import CutMixPlan
from lgcoamix.mixing.mixup import MixupPlan

N = 7


class Draws:
    """Stands for numpy.random in timm's module: gives what the test wants to be drawn."""

    def __init__(self, lam: float, centres: tuple[int, ...] = ()) -> None:
        self.lam, self.centres = lam, list(centres)

    def rand(self) -> float:
        return 0.0

    def beta(self, *_: float) -> float:
        return self.lam

    def randint(self, *_: int, size: None) -> int:
        return self.centres.pop(0)


def _timm(monkeypatch: pytest.MonkeyPatch, draws: Draws, batch: Batch, smoothing: float, **options: object) -> tuple:
    numpy = type("Numpy", (), {**vars(np), "random": draws})
    monkeypatch.setattr(theirs, "np", numpy)
    mixup = theirs.Mixup(label_smoothing=smoothing, num_classes=N, **options)
    return mixup(batch.images.clone(), batch.labels)


def _batch(size: tuple[int, int]) -> Batch:
    draw = torch.Generator().manual_seed(1)
    return Batch(torch.randn(6, 3, *size, generator=draw), torch.randint(N, (6,), generator=draw))


FLIP = torch.arange(5, -1, -1)  # timm pairs the first image with the last


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.999])
def test_mixup_is_timms(kept, smoothing, monkeypatch):
    batch = _batch((9, 8))
    images, targets = _timm(monkeypatch, Draws(kept), batch, smoothing, mixup_alpha=1.0)
    mixed = Mixup().mix(batch, MixupPlan(FLIP, torch.tensor(1 - kept, dtype=torch.float64)))
    torch.testing.assert_close(mixed.images, images)
    torch.testing.assert_close(mixed.soft_targets(N, smoothing), targets)


@pytest.mark.parametrize("correct", [True, False])
@pytest.mark.parametrize("centre", [(16, 12), (0, 0), (31, 5), (2, 23)])
@pytest.mark.parametrize("kept", [0.75, 0.4375, 0.9375])  # sides of a half, three quarters and a quarter: even ones
def test_cutmix_is_timms(kept, centre, correct, monkeypatch):
    batch = _batch((32, 24))
    images, targets = _timm(
        monkeypatch, Draws(kept, centre), batch, 0.1, mixup_alpha=0.0, cutmix_alpha=1.0, correct_lam=correct
    )
    chosen = iter(centre)
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor(next(chosen)))
    box = draw_box((32, 24), 1 - kept, torch.Generator())
    plan = CutMixPlan(FLIP, box, torch.tensor(1 - kept, dtype=torch.float64))
    mixed = CutMix(correct_lam=correct).mix(batch, plan)
    assert torch.equal(mixed.images, images)
    torch.testing.assert_close(mixed.soft_targets(N, 0.1), targets)


def test_a_box_of_odd_sides_loses_a_row_as_in_the_published_code_where_timm_keeps_it(monkeypatch):
    kept = 1 - (7 / 16) ** 2 - 1e-9  # sides of 7 of 16
    monkeypatch.setattr(theirs, "np", type("Numpy", (), {**vars(np), "random": Draws(kept, (8, 8))}))
    assert tuple(map(int, theirs.rand_bbox((16, 16), kept))) == (5, 12, 5, 12)
    chosen = iter((8, 8))
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor(next(chosen)))
    assert draw_box((16, 16), 1 - kept, torch.Generator()).tolist() == [5, 11, 5, 11]
