"""Backbones of every kind: one training step, and logits and maps that equal timm's own."""

import pytest
import timm
import torch

from lgcoamix.mixing import LGCOAMix
from lgcoamix.models import BackboneError, LocalGlobalNet
from tests.conftest import PROOF

N, COUNT, SIZE = 5, 6, 64
BACKBONES = (
    "resnet18",
    "resnet18_stride16",
    "resnext50_32x4d",
    "densenet121",
    "efficientnet_b0",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    *(("deit_base_patch16_224",) if PROOF else ()),
)


@pytest.fixture(scope="module", params=BACKBONES)
def net(request: pytest.FixtureRequest) -> LocalGlobalNet:
    torch.manual_seed(0)
    net = LocalGlobalNet(request.param, N, image_size=SIZE, width=8)
    net.name = request.param
    return net


def _images(count: int = 3, size: int = SIZE, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def _blocks(count: int = 3, size: int = SIZE) -> torch.Tensor:
    """Maps of three bands and an outer column of no superpixel."""
    maps = (torch.arange(size) * 3 // size)[:, None].repeat(1, size)
    maps[:, -1] = 255
    return maps.expand(count, size, size).to(torch.uint8)


def _plain(name: str, **options: object) -> torch.nn.Module:
    fixed = name.startswith(("vit", "deit", "swin"))
    return timm.create_model(name, num_classes=N, **({"img_size": SIZE} if fixed else {}), **options)


def test_logits_equal_the_plain_timm_model_with_and_without_regions(net):
    plain = _plain(net.name)
    plain.load_state_dict(net.backbone.net.state_dict())
    net.eval(), plain.eval()
    with torch.no_grad():
        expected = plain(_images())
        torch.testing.assert_close(net(_images()).logits, expected)
        out = net(_images(), _blocks(), COUNT)
    torch.testing.assert_close(out.logits, expected, rtol=1e-5, atol=1e-5)
    assert out.local.logits.shape == (3, COUNT, N)
    assert out.local.areas[:, :3].sum().item() == 3 * SIZE * (SIZE - 1)


def test_one_training_step_reaches_every_parameter(net):
    net.train()
    net.zero_grad(set_to_none=True)
    mixer = LGCOAMix(mix_prob=1.0)
    generator = torch.Generator().manual_seed(1)
    mixed = mixer(_images(), torch.tensor([0, 1, 2]), _blocks(), generator=generator, count=3)
    terms = mixer.loss(net(mixed.images, mixed.regions, mixed.count), mixed)
    sum(terms.values()).backward()
    assert terms.keys() == {"global", "local", "contrast"}
    assert all(torch.isfinite(value) for value in terms.values())
    missing = [name for name, weight in net.named_parameters() if weight.grad is None]
    assert missing == []
    assert all(torch.isfinite(weight.grad).all() for weight in net.parameters())
    # The bias of the keys moves all affinities of a row alike: the softmax does not see it.
    local = [*net.decoder.named_parameters(), *net.local_head.named_parameters()]
    idle = [name for name, weight in local if not weight.grad.any() and name != "key.bias"]
    assert idle == []


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
def test_the_maps_of_a_cnn_are_those_of_timms_feature_extractor(name):
    net = LocalGlobalNet(name, N, width=8).eval()
    plain = _plain(name, features_only=True).eval()
    assert plain.load_state_dict(net.backbone.net.state_dict(), strict=False).missing_keys == []
    with torch.no_grad():
        maps = net.backbone.forward_maps(_images())[1]
        for own, theirs in zip(maps, plain(_images()), strict=True):
            torch.testing.assert_close(own, theirs)
    assert [SIZE // values.shape[-1] for values in maps] == net.backbone.reductions
    assert [values.shape[1] for values in maps] == net.backbone.channels


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", *(["deit_base_patch16_224"] if PROOF else [])])
def test_the_map_of_a_transformer_is_its_normed_patch_tokens_row_by_row(name):
    net = LocalGlobalNet(name, N, image_size=SIZE, width=8).eval()
    with torch.no_grad():
        tokens = net.backbone.net.forward_features(_images())  # the class token first, then 4 rows of 4
        (values,) = net.backbone.forward_maps(_images())[1]
    assert values.shape[-2:] == (4, 4)
    for row in range(4):
        for column in range(4):
            torch.testing.assert_close(values[:, :, row, column], tokens[:, 1 + 4 * row + column])


def test_the_map_of_swin_lies_as_its_image_does():
    # Its maps are channels-last inside timm. What changes in one corner of the image shows most in that corner.
    torch.manual_seed(0)
    net = LocalGlobalNet("swin_tiny_patch4_window7_224", N, image_size=SIZE, width=8).eval()
    changed = _images()
    changed[:, :, :16, 48:] = 0
    with torch.no_grad():
        before, after = (net.backbone.forward_maps(images)[1][0] for images in (_images(), changed))
    difference = (after - before).abs().sum(dim=1).mean(dim=0)
    assert before.shape[1:] == (96, 16, 16)
    row, column = divmod(int(difference.argmax()), 16)
    assert row < 4
    assert column >= 12


@pytest.mark.parametrize("size", [75, 64, 33])
@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
def test_the_decoder_gives_the_resolution_of_the_input_also_for_odd_sizes(name, size):
    net = LocalGlobalNet(name, N, width=8).eval()
    images = _images(1, size)
    with torch.no_grad():
        maps = net.backbone.forward_maps(images)[1]
        assert net.decoder(maps, images.shape[-2:]).shape == (1, 8, size, size)
        areas = net(images, _blocks(1, size), COUNT).local.areas
    assert areas.sum().item() == size * (size - 1)


def test_images_may_be_oblong():
    net = LocalGlobalNet("resnet18", N, width=8).eval()
    out = net(torch.rand(1, 3, 64, 96), torch.zeros(1, 64, 96, dtype=torch.int64), COUNT)
    assert out.local.areas[0, 0].item() == 64 * 96


def test_a_network_without_local_branch_is_the_plain_classifier_and_refuses_regions():
    net = LocalGlobalNet("resnet18", N, local=False)
    count = sum(weight.numel() for weight in net.parameters())
    assert count == sum(weight.numel() for weight in _plain("resnet18").parameters())
    with pytest.raises(ValueError, match="local=False"):
        net(_images(), _blocks(), COUNT)


def test_a_transformer_whose_neck_changes_the_width_works_with_regions():
    # SAM announces 768 channels; its neck leaves 256.
    net = LocalGlobalNet("samvit_base_patch16", N, image_size=SIZE, width=8).eval()
    with torch.no_grad():
        out = net(_images(1), _blocks(1), COUNT)
        torch.testing.assert_close(out.logits, net(_images(1)).logits)
    assert out.local.embeddings.shape == (1, COUNT, 8)


def test_an_unknown_backbone_is_refused_with_a_suggestion():
    with pytest.raises(BackboneError, match=r"'resnt18'; did you mean .*resnet18"):
        LocalGlobalNet("resnt18", N)


@pytest.mark.parametrize("name", ["resnet18_cifar", "vit_tiny_patch16_224"])
def test_pooling_the_stem_is_refused_where_the_stem_does_not_halve(name):
    with pytest.raises(
        BackboneError, match=f"pool_stem needs a stem of stride 2; that of {name} has .*=false does without"
    ):
        LocalGlobalNet(name, 3, image_size=32, pool_stem=True)
