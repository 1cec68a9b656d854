"""Class activation by loops over channels, Grad-CAM by finite differences."""

from collections.abc import Callable

import pytest
import timm
import torch

from lgcoamix.models import LocalGlobalNet
from lgcoamix.ops.class_activation import class_activation, is_linear, last_map
from lgcoamix.ops.grad_cam import METHODS, choose_method, grad_cam

LABELS = torch.tensor([3, 1])


def made(name: str, **options: object) -> torch.nn.Module:
    """A network in double precision, whose differences are exact to many digits."""
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5, **options).eval().double()


def images(size: int) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def seen_by(net: torch.nn.Module, part: str, pictures: torch.Tensor) -> torch.Tensor:
    """What a part of a network returns."""
    kept = []
    hook = net.get_submodule(part).register_forward_hook(lambda _module, _given, output: kept.append(output))
    with torch.no_grad():
        net(pictures)
    hook.remove()
    return kept[0]


def by_differences(
    score: Callable[[torch.Tensor], torch.Tensor], features: torch.Tensor, positions: tuple[slice, ...]
) -> torch.Tensor:
    """(B, C) mean gradient over some positions: the last dimension of ``features`` has the channels."""
    count = features[positions][0, ..., 0].numel()
    gradients = []
    for channel in range(features.shape[-1]):
        step = torch.zeros_like(features)
        step[positions][..., channel] = 1e-4
        with torch.no_grad():
            both = score(features + step) - score(features - step)
        gradients.append(both[torch.arange(2), LABELS] / 2e-4 / count)
    return torch.stack(gradients, dim=1)


def test_class_activation_is_the_sum_over_channels_of_weight_times_map():
    net, pictures = made("resnet10t"), images(96)
    features, weight = seen_by(net, "layer4", pictures), net.fc.weight
    found = class_activation(net, pictures, LABELS)
    assert found.shape == (2, 3, 3)
    for image, label in enumerate(LABELS.tolist()):
        for row in range(3):
            for column in range(3):
                terms = zip(weight[label].tolist(), features[image, :, row, column].tolist(), strict=True)
                assert float(found[image, row, column]) == pytest.approx(sum(w * f for w, f in terms))
    logits = net(pictures)[torch.arange(2), LABELS]
    torch.testing.assert_close(found.mean(dim=(1, 2)) + net.fc.bias[LABELS], logits)


def test_grad_cam_of_a_linear_head_is_the_positive_part_of_its_class_activation():
    net, pictures = made("resnet10t"), images(96)
    plain = class_activation(net, pictures, LABELS)
    assert (plain < 0).any()
    torch.testing.assert_close(grad_cam(net, pictures, LABELS), plain.relu() / 9)  # the mean of 9 positions


def test_grad_cam_of_a_network_with_a_norm_behind_the_pool():
    net, pictures = made("test_convnext"), images(96)
    features = seen_by(net, "stages", pictures).permute(0, 2, 3, 1)
    assert features.shape[1:3] == (3, 3)
    mean = by_differences(lambda x: net.forward_head(x.permute(0, 3, 1, 2)), features, (slice(None),))
    expected = torch.einsum("bc,bhwc->bhw", mean, features).relu()
    torch.testing.assert_close(grad_cam(net, pictures, LABELS), expected, rtol=1e-5, atol=1e-9)
    assert (expected > 0).any()


@pytest.mark.parametrize("prefix", [1, 3])
def test_grad_cam_of_a_transformer_shows_the_patches_that_enter_its_last_attention(prefix):
    options = {"img_size": 48, "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 2, "reg_tokens": prefix - 1}
    net, pictures = made("vit_tiny_patch16_224", **options), images(48)
    tokens = seen_by(net, "blocks.0", pictures)
    block = net.blocks[1]
    normalised = block.norm1(tokens).detach()
    assert normalised.shape == (2, prefix + 9, 24)

    def score(entering: torch.Tensor) -> torch.Tensor:
        after = tokens + block.attn(entering)
        after = after + block.mlp(block.norm2(after))
        return net.head(net.norm(after)[:, 0])

    torch.testing.assert_close(score(normalised), net(pictures))
    mean = by_differences(score, normalised, (slice(None), slice(prefix, None)))
    expected = torch.einsum("bc,bnc->bn", mean, normalised[:, prefix:]).relu().view(2, 3, 3)
    torch.testing.assert_close(grad_cam(net, pictures, LABELS), expected, rtol=1e-5, atol=1e-9)
    assert (expected > 0).any()


@pytest.mark.parametrize(
    ("name", "options", "size", "method"),
    [
        ("resnet10t", {}, 64, "CAM"),
        ("test_byobnet", {}, 64, "CAM"),
        ("test_convnext", {}, 64, "Grad-CAM"),  # a norm between pool and classifier
        ("mobilenetv3_small_050", {}, 64, "Grad-CAM"),  # a layer between them
        ("test_vit", {"img_size": 64}, 64, "Grad-CAM"),  # a class token
        ("vit_tiny_patch16_224", {"img_size": 64, "depth": 1, "global_pool": "avg"}, 64, "Grad-CAM"),
        ("deit_tiny_distilled_patch16_224", {"img_size": 64, "depth": 1}, 64, "Grad-CAM"),  # two classifiers
        ("cait_xxs24_224", {"img_size": 64, "depth": 1}, 64, "Grad-CAM"),  # a class token that enters late
    ],
)
def test_every_network_has_a_map_of_its_own_grid(name, options, size, method):
    net, pictures = made(name, **options).float(), images(size).float()
    assert choose_method(net, pictures) == method
    found = METHODS[method](net, pictures, LABELS)
    assert found.shape == (2, *last_map(net, pictures).shape[2:])
    assert found.isfinite().all()
    assert found.abs().max() > 0
    other = METHODS[method](net, pictures, (LABELS + 1) % 5)
    assert not torch.equal(found, other)


def test_another_image_of_the_batch_changes_nothing():
    net, pictures = made("test_convnext"), images(96)
    alone = grad_cam(net, pictures[1:], LABELS[1:])
    torch.testing.assert_close(grad_cam(net, pictures, LABELS)[1:], alone)


def test_a_network_is_left_as_it_was():
    net, pictures = made("test_convnext").train(), images(64)
    expected = grad_cam(net, pictures, LABELS)
    assert all(part.training for part in net.modules())
    assert all(value.grad is None for value in net.parameters())
    assert not pictures.requires_grad
    assert not expected.requires_grad
    net.requires_grad_(False)
    with torch.no_grad():
        torch.testing.assert_close(grad_cam(net, pictures, LABELS), expected)


def test_the_network_of_a_run_is_looked_into():
    torch.manual_seed(0)
    model = LocalGlobalNet("test_vit", 5, image_size=64, local=False)
    pictures = images(64).float()
    assert torch.equal(grad_cam(model, pictures, LABELS), grad_cam(model.backbone.net, pictures, LABELS))


def test_logits_that_do_not_depend_on_the_map_are_refused():
    net = made("test_vit", img_size=64)
    net.global_pool = "cls"  # what this program does not know: later patch tokens have no part in the logits
    net.pool = lambda tokens, pool_type=None: tokens[:, 0]
    with pytest.raises(ValueError, match=r"logits of VisionTransformer do not depend on its last map; choose another"):
        grad_cam(net, images(64), LABELS)


def test_a_classifier_with_a_bias_alone_off_is_not_linear():
    net, pictures = made("resnet10t"), images(64)
    assert is_linear(net, pictures)
    forward = net.forward
    net.forward = lambda x: forward(x) + 0.1
    assert not is_linear(net, pictures)
