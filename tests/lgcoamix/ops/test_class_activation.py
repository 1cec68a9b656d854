"""The last map of timm's classifiers and the weights of their heads, against the models' own logits."""

import pytest
import timm
import torch

from lgcoamix.mixing.occamix import best_cells
from lgcoamix.mixing.snapmix import semantic_percent
from lgcoamix.models import LocalGlobalNet
from lgcoamix.ops.class_activation import classifier_weight, last_map


def made(name: str, **options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5, **options).eval()


# Networks whose classifier is linear on the mean of the map: the mean classified is the logits.
@pytest.mark.parametrize(
    ("name", "size", "grid"),
    [
        ("resnet10t", 64, (2, 2)),
        ("efficientnet_b0", 64, (2, 2)),
        ("densenet121", 64, (2, 2)),
        ("dla46_c", 64, (2, 2)),  # classifies by a convolution of 1x1
        ("swin_tiny_patch4_window7_224", 224, (7, 7)),
        ("resmlp_12_224", 224, (14, 14)),
    ],
)
def test_the_mean_of_the_map_classified_is_what_the_network_says(name, size, grid):
    model, images = made(name), torch.rand(2, 3, size, size)
    features = last_map(model, images)
    assert features.shape[2:] == grid
    logits = features.mean(dim=(2, 3)) @ classifier_weight(model, features.shape[1]).T + model.get_classifier().bias
    torch.testing.assert_close(logits, model(images), rtol=1e-4, atol=1e-5)


def test_the_tokens_of_a_transformer_lie_row_by_row_without_the_class_token():
    model, images = made("vit_tiny_patch16_224", img_size=(32, 64)), torch.rand(2, 3, 32, 64)
    features = last_map(model, images)
    assert features.shape == (2, 192, 2, 4)
    tokens = model.forward_features(images)
    for row in range(2):
        for column in range(4):
            torch.testing.assert_close(features[:, :, row, column], tokens[:, 1 + 4 * row + column])


def test_the_network_of_a_run_is_looked_into():
    torch.manual_seed(0)
    model, images = LocalGlobalNet("resnet10t", 5, image_size=64), torch.rand(1, 3, 64, 64)
    inner = model.backbone.net
    features = last_map(model, images)
    assert torch.equal(features, last_map(inner, images))
    assert torch.equal(classifier_weight(model, 512), inner.fc.weight)


@pytest.mark.parametrize(
    ("name", "found"),
    [("mobilenetv3_small_050", "Linear of 1024 inputs"), ("deit_tiny_distilled_patch16_224", "tuple")],
)
def test_a_head_that_is_not_linear_on_the_map_is_refused(name, found):
    model = made(name)
    with pytest.raises(ValueError, match=f"single linear layer on the .* pooled channels .* got {found}"):
        classifier_weight(model, model.num_features)


def test_every_part_gets_its_mode_back_even_after_an_error():
    model = made("resnet10t").train()
    model.layer2.eval()
    modes = [part.training for part in model.modules()]
    model.forward_features = lambda images: pytest.fail("in training") if model.training else 1 / 0
    with pytest.raises(ZeroDivisionError):
        last_map(model, torch.rand(1, 3, 32, 32))
    assert [part.training for part in model.modules()] == modes


@pytest.mark.parametrize(
    ("name", "message"), [("crossvit_tiny_240", "no single last map"), ("volo_d1_224", "form no grid")]
)
def test_networks_without_a_last_map_are_refused(name, message):
    net = timm.create_model(name, num_classes=3)
    size = net.pretrained_cfg["input_size"][1]
    with pytest.raises(ValueError, match=message):
        last_map(net, torch.zeros(1, 3, size, size))


def test_what_is_no_classifier_of_timm_is_refused_and_a_wrapped_one_taken():
    with pytest.raises(
        ValueError,
        match=r"model= must be a timm classifier.*, got Sequential; pass the one inside it, or give it",
    ):
        last_map(torch.nn.Sequential(), torch.zeros(1, 3, 32, 32))
    net = timm.create_model("resnet10t", num_classes=3)
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(last_map(torch.nn.DataParallel(net), images), last_map(net, images))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_attention_is_the_same_within_the_autocast_of_a_training_loop(dtype):
    """In float16 the sum over pixels of an activation map overflows, and the map becomes 0."""
    model, images, labels = made("resnet10t"), torch.rand(2, 3, 64, 64), torch.tensor([0, 3])
    draw = torch.Generator().manual_seed(0)
    features, weight = 4 * torch.rand(2, 512, 7, 7, generator=draw), torch.randn(5, 512, generator=draw)

    def found() -> list[torch.Tensor]:
        percent = semantic_percent(features, weight, labels, (224, 224))
        return [last_map(model, images), percent, best_cells(features, weight, 6)]

    expected = found()
    with torch.autocast("cpu", dtype):
        for one, other in zip(found(), expected, strict=True):
            assert torch.equal(one, other)
