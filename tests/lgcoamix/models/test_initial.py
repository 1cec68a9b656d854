"""How networks start: against torchvision's own, closed forms, and numbers by hand."""

import math

import pytest
import timm
import torch
import torchvision
from torch import nn

from lgcoamix.models import Backbone, BackboneError, LocalGlobalNet

LAST = {"resnet18": "bn2", "resnet50": "bn3", "resnet18_cifar": "bn2", "resnet50_stride16": "bn3"}


def _net(name: str, init: str, seed: int = 0, classes: int = 7) -> nn.Module:
    torch.manual_seed(seed)
    return Backbone(name, classes, init=init, image_size=64).net


def _last_norms(net: nn.Module, norm: str) -> list[nn.Module]:
    return [getattr(block, norm) for stage in (net.layer1, net.layer2, net.layer3, net.layer4) for block in stage]


@pytest.mark.parametrize(("name", "norm"), LAST.items())
def test_timm_alone_starts_the_last_norm_of_a_block_at_zero(name, norm):
    for init, value in (("timm", 0.0), ("torchvision", 1.0), ("released", 1.0)):
        net = _net(name, init)
        last = _last_norms(net, norm)
        assert len(last) == (8 if "18" in name else 16)
        assert all(bool((part.weight == value).all()) and not part.bias.any() for part in last), init
        others = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d) and part not in last]
        assert all(bool((part.weight == 1).all()) and not part.bias.any() for part in others), init


def _fans(weight: torch.Tensor) -> tuple[int, int]:
    field = weight.shape[2] * weight.shape[3]
    return weight.shape[1] * field, weight.shape[0] * field


@pytest.mark.parametrize("name", ["resnet18", "resnet50_stride16", "resnext50_32x4d_stride16", "resnet18_cifar"])
def test_convolutions_spread_as_the_formulas_say(name):
    for init in ("timm", "torchvision", "released"):
        convs = [part.weight for part in _net(name, init).modules() if isinstance(part, nn.Conv2d)]
        for weight in convs:
            fan_in, fan_out = _fans(weight)
            bound = math.sqrt(6 / (fan_in + fan_out))
            wanted = bound / math.sqrt(3) if init == "released" else math.sqrt(2 / fan_out)
            assert weight.std().item() == pytest.approx(wanted, rel=6 / math.sqrt(weight.numel())), init
            assert abs(weight.mean().item()) < 6 * wanted / math.sqrt(weight.numel())
            if init == "released":
                assert 0.99 * bound < weight.abs().max().item() <= 1.000001 * bound
            else:
                assert weight.abs().max().item() > 2.5 * wanted  # not uniform


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvision_is_the_distribution_of_torchvision_tensor_by_tensor(name):
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)(weights=None, num_classes=7).state_dict()
    ours = _net(name, "torchvision").state_dict()
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        if value.ndim < 2 and key != "fc.bias":
            assert torch.equal(ours[key], value), key
        else:
            tolerance = 9 / math.sqrt(value.numel())
            assert ours[key].std().item() == pytest.approx(value.std().item(), rel=tolerance), key
    assert ours["fc.weight"].abs().max() <= 1 / math.sqrt(ours["fc.weight"].shape[1])


def test_torchvision_draws_the_numbers_that_timm_draws():
    plain, other = _net("resnet18", "timm").state_dict(), _net("resnet18", "torchvision").state_dict()
    differing = {key for key in plain if not torch.equal(plain[key], other[key])}
    assert differing == {f"layer{stage}.{block}.bn2.weight" for stage in (1, 2, 3, 4) for block in (0, 1)}


@pytest.mark.parametrize("init", ["timm", "torchvision", "released"])
def test_the_same_seed_gives_the_same_network(init):
    def state(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return LocalGlobalNet("resnet18_cifar", 5, width=16, image_size=32, init=init).state_dict()

    first, again, other = state(0), state(0), state(1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["backbone.net.conv1.weight"], other["backbone.net.conv1.weight"])


def test_released_starts_queries_keys_and_values_small_and_nothing_else_of_the_local_branch():
    torch.manual_seed(0)
    net = LocalGlobalNet("resnet18_cifar", 5, width=64, image_size=32, init="released")
    for layer in (net.local_head.query, net.local_head.key, net.local_head.value):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=6 / 64)
        assert layer.weight.abs().max().item() > 0.025  # normal: torch's own is uniform within 1/8
        assert not layer.bias.any()
    for layer in (net.local_head.classifier, net.backbone.net.fc):  # replaced after the start, so torch's own
        bound = 1 / math.sqrt(layer.in_features)
        assert 0.9 * bound < layer.weight.abs().max().item() <= 1.000001 * bound
        assert layer.bias.any()
    for layer in net.decoder.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            _, fan_out = _fans(layer.weight)
            assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.1)


@pytest.mark.parametrize("init", ["timm", "torchvision"])
def test_otherwise_queries_keys_and_values_start_as_torchs_linear_layers(init):
    torch.manual_seed(0)
    net = LocalGlobalNet("resnet18_cifar", 5, width=64, image_size=32, init=init)
    for layer in (net.local_head.query, net.local_head.key, net.local_head.value):
        assert layer.weight.std().item() == pytest.approx(1 / 8 / math.sqrt(3), rel=0.05)
        assert 0.99 / 8 < layer.weight.abs().max().item() <= 1 / 8
        assert layer.bias.any()


def test_released_starts_a_pre_activation_network_too():
    net = _net("preact_resnet18", "released", classes=200)
    weight = net.stages[1].blocks[0].conv1.weight  # 64 to 128 channels: √(2 / (9 * (64 + 128))) = 0.0340
    assert weight.std().item() == pytest.approx(0.0340, rel=0.03)
    bound = 1 / math.sqrt(512)
    assert 0.99 * bound < net.head.fc.weight.abs().max().item() <= 1.000001 * bound


def test_a_file_replaces_the_start_and_leaves_the_rest(tmp_path):
    torch.manual_seed(3)
    saved = timm.create_model("resnet18", num_classes=1000)
    torch.save(saved.state_dict(), tmp_path / "x.pth")
    net = LocalGlobalNet("resnet18", 5, str(tmp_path / "x.pth"), width=64, init="released")
    assert torch.equal(net.backbone.net.conv1.weight, saved.conv1.weight)
    assert torch.equal(net.backbone.net.layer1[0].bn2.weight, saved.layer1[0].bn2.weight)
    assert net.local_head.query.weight.std().item() == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    ("name", "init", "message"),
    [
        ("vit_tiny_patch16_224", "torchvision", r"applies to ResNets of timm, such as resnet18, .*vit_tiny\w+ is none"),
        ("efficientnet_b0", "released", r"model.init=released applies to .* and to pre-activation ResNets"),
        ("preact_resnet18", "torchvision", r"preact_resnet18 is none: use model.init=timm"),
        ("resnet18", "xavier", r"init must be one of timm, torchvision, released, got 'xavier'"),
    ],
)
@pytest.mark.parametrize("weights", ["none", "pretrained"])  # which are not downloaded
def test_a_start_is_refused_with_what_it_applies_to(name, init, message, weights, monkeypatch):
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda *_, **__: pytest.fail("downloads"))
    with pytest.raises(BackboneError, match=message):
        Backbone(name, 5, weights, init=init)


def test_a_block_passes_on_more_than_its_input_from_the_start():
    """Written out by hand: with timm's start a residual is 0, with torchvision's it is the normalised convolution."""
    x = torch.rand(2, 64, 8, 8, generator=torch.Generator().manual_seed(1))
    for init, factor in (("timm", 0.0), ("torchvision", 1.0), ("released", 1.0)):
        block = _net("resnet18", init).layer1[0].train()
        y = nn.functional.conv2d(x, block.conv1.weight, padding=1)
        y = nn.functional.conv2d(_normalised(y).relu(), block.conv2.weight, padding=1)
        torch.testing.assert_close(block(x), (factor * _normalised(y) + x).relu(), rtol=1e-4, atol=1e-4)


def _normalised(x: torch.Tensor) -> torch.Tensor:
    mean = x.mean(dim=(0, 2, 3), keepdim=True)
    return (x - mean) / (((x - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True) + 1e-5).sqrt()
