"""SnapMix against direct computations: loops for the activation, torch's own resizing for the pasted box."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F

from lgcoamix.mixing import Batch, SnapMix
from lgcoamix.mixing.snapmix import SnapMixPlan, resize_box, semantic_percent
from lgcoamix.ops.class_activation import classifier_weight, last_map

PAIR = torch.tensor([1, 0])


def box(*edges: int) -> torch.Tensor:
    """Top, bottom, left, right."""
    return torch.tensor(edges)


@pytest.mark.parametrize("seed", range(20))
def test_a_box_is_resized_as_torch_resizes_its_crop(seed):
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, 9, 12, generator=draw, dtype=torch.float64)
    spans = []
    for length in (9, 12, 9, 12):
        first, last = sorted(torch.randint(length + 1, (2,), generator=draw).tolist())
        spans.append((min(first, length - 1), max(last, min(first, length - 1) + 1)))
    (t0, t1), (l0, l1), (u0, u1), (k0, k1) = spans
    found = resize_box(images, box(t0, t1, l0, l1), box(u0, u1, k0, k1))[:, :, u0:u1, k0:k1]
    crop = images[:, :, t0:t1, l0:l1]
    expected = F.interpolate(crop, size=(u1 - u0, k1 - k0), mode="bilinear", align_corners=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


def test_a_box_of_the_same_size_is_copied_bit_for_bit():
    images = torch.rand(1, 3, 8, 8)
    found = resize_box(images, box(1, 6, 2, 7), box(3, 8, 0, 5))[:, :, 3:8, 0:5]
    assert torch.equal(found, images[:, :, 1:6, 2:7])


def test_the_activation_of_the_own_class_is_spread_over_the_pixels():
    draw = torch.Generator().manual_seed(0)
    features, weight = torch.randn(3, 4, 2, 2, generator=draw), torch.randn(5, 4, generator=draw)
    labels = torch.tensor([4, 0, 2])
    found = semantic_percent(features, weight, labels, (6, 6))
    for image, label in enumerate(labels.tolist()):
        activation = torch.zeros(2, 2)
        for row in range(2):
            for column in range(2):
                seen = [max(float(features[image, k, row, column]), 0.0) for k in range(4)]
                activation[row, column] = sum(float(weight[label, k]) * seen[k] for k in range(4))
        large = F.interpolate(activation[None, None], (6, 6), mode="bilinear", align_corners=False)[0, 0]
        expected = (large - large.min()) / (large - large.min()).sum()
        torch.testing.assert_close(found[image], expected)
    torch.testing.assert_close(found.sum(dim=(1, 2)), torch.ones(3))


# Two images of 4 x 4 pixels; what is seen lies in the corners of the first, and in one pixel of the second.
PERCENT = torch.zeros(2, 4, 4)
PERCENT[0, 0, 0], PERCENT[0, 0, 3], PERCENT[0, 3, 0], PERCENT[0, 3, 3] = 0.1, 0.2, 0.3, 0.4
PERCENT[1, 1, 1] = 1.0


def mixed_of(box_a: torch.Tensor, box_b: torch.Tensor, percent: torch.Tensor = PERCENT, labels: tuple = (0, 1)):
    images = torch.stack([torch.zeros(3, 4, 4), torch.arange(16.0).view(4, 4).expand(3, 4, 4)])
    return SnapMix().mix(Batch(images, torch.tensor(labels)), SnapMixPlan(PAIR, box_a, box_b, percent))


def test_each_label_weighs_what_is_left_and_what_is_shown():
    mixed = mixed_of(box(0, 2, 0, 4), box(1, 4, 0, 2))
    # a loses its upper half; b shows rows 1 to 3 of columns 0 and 1.
    torch.testing.assert_close(mixed.weight_a, torch.tensor([0.7, 0.0]))
    torch.testing.assert_close(mixed.weight_b, torch.tensor([1.0, 0.3]))
    assert (mixed.labels_a.tolist(), mixed.labels_b.tolist()) == ([0, 1], [1, 0])
    # Image 0 receives rows 1 to 3 (4, 8, 12) stretched to 2 rows, columns 0 and 1 to 4: corners stay corners.
    torch.testing.assert_close(
        mixed.images[0, 0, :2], torch.tensor([[4, 4 + 1 / 3, 4 + 2 / 3, 5], [12, 12 + 1 / 3, 12 + 2 / 3, 13]])
    )
    assert (mixed.images[0, 0, 2:] == 0).all()
    assert (mixed.images[1, 0, :2] == 0).all()
    assert mixed.images[1, 0, 2:].tolist() == [[8, 9, 10, 11], [12, 13, 14, 15]]


def test_an_image_without_activation_weighs_by_the_covered_area():
    percent = PERCENT.clone()
    percent[0] = torch.nan
    mixed = mixed_of(box(0, 2, 0, 2), box(0, 4, 0, 4), percent)
    torch.testing.assert_close(mixed.weight_a, torch.tensor([0.75, 0.0]))
    torch.testing.assert_close(mixed.weight_b, torch.tensor([1.0, 0.25]))


@pytest.mark.parametrize("boxes", [(box(2, 2, 0, 4), box(0, 4, 0, 4)), (box(0, 4, 0, 4), box(1, 3, 2, 2))])
def test_an_empty_box_leaves_the_batch_as_it_is(boxes):
    mixed = mixed_of(*boxes)
    assert mixed.weight_a.tolist() == [1, 1]
    assert mixed.weight_b.tolist() == [0, 0]
    assert (mixed.images[0] == 0).all()
    assert torch.equal(mixed.images[1, 0], torch.arange(16.0).view(4, 4))


def test_one_label_counts_its_weights_once():
    """The released code counts a pair of one label twice."""
    mixed = mixed_of(box(0, 2, 0, 4), box(1, 4, 0, 2), labels=(3, 3))
    targets = mixed.soft_targets(5)
    torch.testing.assert_close(targets[:, 3], torch.tensor([1.7, 0.3]))
    assert targets.sum() == targets[:, 3].sum()


def test_the_plan_holds_what_the_network_sees_in_eval_mode():
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=4)
    before = copy.deepcopy(model.state_dict())
    batch = Batch(torch.rand(3, 3, 64, 64), torch.tensor([3, 0, 1]))
    plan = SnapMix(cam="eval").plan(batch, torch.Generator().manual_seed(0), model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    features = last_map(model, batch.images)
    expected = semantic_percent(features, classifier_weight(model, 512), batch.labels, (64, 64))
    assert torch.equal(plan.percent, expected)
    assert not torch.equal(plan.box_a[1] - plan.box_a[0], plan.box_b[1] - plan.box_b[0])


def test_the_plan_holds_what_the_network_sees_in_training_and_its_statistics_move():
    """As the released code: one pass of the network in training over the unmixed batch."""
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=4).train()
    twin = copy.deepcopy(model)
    batch = Batch(torch.rand(3, 3, 64, 64), torch.tensor([3, 0, 1]))
    mixer = SnapMix()
    plan = mixer.plan(batch, torch.Generator().manual_seed(0), model)
    assert mixer.cam == "train"
    assert model.training
    assert all(part.grad is None for part in model.parameters())
    with torch.no_grad():
        twin(batch.images)  # which moves the statistics, once
        first = F.conv2d(batch.images, model.conv1.weight, stride=2, padding=3)
        features = copy.deepcopy(twin).forward_features(batch.images)
    found, wanted = model.state_dict(), twin.state_dict()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    torch.testing.assert_close(model.bn1.running_mean, 0.1 * first.mean(dim=(0, 2, 3)))  # it began at 0
    torch.testing.assert_close(model.bn1.running_var, 0.9 + 0.1 * first.var(dim=(0, 2, 3)))
    for image, label in enumerate([3, 0, 1]):
        seen = (model.fc.weight[label].detach()[:, None, None] * features[image].clamp(min=0)).sum(dim=0)
        large = F.interpolate(seen[None, None], (64, 64), mode="bilinear", align_corners=False)[0, 0]
        expected = (large - large.min()) / (large - large.min()).sum()
        torch.testing.assert_close(plan.percent[image], expected, rtol=1e-4, atol=1e-7)
    other = SnapMix(cam="eval").plan(batch, torch.Generator().manual_seed(0), model)
    assert torch.equal(other.box_a, plan.box_a)
    assert (other.percent - plan.percent).abs().max() > 1e-5


def test_a_norm_that_is_frozen_stays_so():
    model = timm.create_model("resnet10t", num_classes=4).train()
    model.bn1.eval()
    before = model.bn1.running_mean.clone()
    batch = Batch(torch.rand(2, 3, 64, 64), torch.arange(2))
    SnapMix().plan(batch, torch.Generator().manual_seed(0), model)
    assert torch.equal(model.bn1.running_mean, before)
    assert model.layer1[0].bn1.running_mean.any()
    assert not model.bn1.training


def test_boxes_have_the_expected_size():
    """The mean of 1 - λ is a half for any beta; clipping takes some of it."""
    batch, draw = Batch(torch.rand(2, 3, 32, 32), torch.arange(2)), torch.Generator().manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=2)
    areas = []
    for _ in range(200):
        plan = SnapMix().plan(batch, draw, model)
        for top, bottom, left, right in (plan.box_a.tolist(), plan.box_b.tolist()):
            assert 0 <= top <= bottom <= 32
            assert 0 <= left <= right <= 32
            areas.append((bottom - top) * (right - left) / 32**2)
    assert 0.2 < sum(areas) / len(areas) < 0.5


def test_an_activation_that_differs_by_rounding_is_none():
    features = torch.full((3, 1, 2, 2), 3.0)
    features[1, 0, 0, 0] += 1e-6
    features[2, 0, 0, 0] += 1e-2
    found = semantic_percent(features, torch.ones(1, 1), torch.zeros(3, dtype=torch.long), (4, 4))
    assert found[:2].isnan().all()
    assert found[2].sum() == pytest.approx(1)


def test_an_activation_of_nothing_is_none():
    found = semantic_percent(-torch.ones(1, 2, 2, 2), torch.ones(1, 2), torch.zeros(1, dtype=torch.long), (4, 4))
    assert found.isnan().all()


def test_half_precision_neither_overflows_nor_loses_the_sum():
    draw = torch.Generator().manual_seed(3)
    features, weight = torch.rand(2, 512, 7, 7, generator=draw) * 2, torch.rand(4, 512, generator=draw)
    labels = torch.tensor([1, 3])
    expected = semantic_percent(features, weight, labels, (224, 224))
    for dtype in (torch.float16, torch.bfloat16):
        percent = semantic_percent(features.to(dtype), weight.to(dtype), labels, (224, 224))
        torch.testing.assert_close(percent.sum(dim=(1, 2)), torch.ones(2))
        torch.testing.assert_close(percent, expected, rtol=0.05, atol=1e-6)


def test_weights_stay_within_0_and_1_where_the_shares_are_rounded_up():
    percent = torch.full((2, 4, 4), (1 + 1e-4) / 16)
    whole = torch.tensor([0, 4, 0, 4])
    plan = SnapMixPlan(torch.tensor([1, 0]), whole, whole, percent)
    mixed = SnapMix().mix(Batch(torch.rand(2, 3, 4, 4), torch.tensor([0, 1])), plan)
    assert mixed.weight_a.tolist() == [0, 0]
    assert mixed.weight_b.tolist() == [1, 1]
