"""Modified backbones: what timm does with its own models it does with these, and what they compute is written out."""

import copy
import pickle
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgcoamix.models import Backbone, LocalGlobalNet, WeightsError
from lgcoamix.models.hub import data_statistics
from lgcoamix.ops.class_activation import classifier_weight, last_map
from tests.conftest import PROOF

BASIC, BOTTLENECK = [64, 64, 128, 256, 512], [64, 256, 512, 1024, 2048]
CHANNELS = {
    "resnet18_cifar": BASIC,
    "resnet34_cifar": BASIC,
    "resnet50_cifar": BOTTLENECK,
    "resnext50_32x4d_cifar": BOTTLENECK,
    "preact_resnet18": BASIC,
    "preact_resnet18_raw": BASIC,
    "preact_resnet34": BASIC,
}
SMALL = list(CHANNELS)
DEEPER = ["resnet34_cifar", "resnet50_cifar", "preact_resnet34"]  # more of the blocks of the others
COMPUTED = [name for name in SMALL if PROOF or name not in DEEPER]
SHALLOW = ["resnet18_cifar", "preact_resnet18"]  # one of each kind, where that is enough
STRIDE_16 = ["resnet18_stride16", "resnet50_stride16", "resnext50_32x4d_stride16"]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _images(count: int = 2, size: int = 32, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(5))


def _stem(net: nn.Module) -> nn.Conv2d:
    return net.conv1 if hasattr(net, "conv1") else net.stem.conv


def _trained(net: nn.Module) -> nn.Module:
    """Give every norm numbers of its own, as training would: fresh ones hide mistakes, and many residuals are zero."""
    generator = torch.Generator().manual_seed(6)
    for value in net.state_dict().values():
        if value.is_floating_point() and value.ndim == 1:
            value.uniform_(0.5, 1.5, generator=generator)
    return net.eval()


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [
        ("resnet18_cifar", 10, 11_173_962),  # pytorch-cifar
        ("resnet18_cifar", 100, 11_220_132),
        ("resnet50_cifar", 100, 23_705_252),
        # Of the ImageNet forms in torchvision: the stem has 3*64*(49 - 9) weights less, the classifier 990 rows.
        ("resnet34_cifar", 10, 21_797_672 - 7_680 - 990 * 513),
        ("resnext50_32x4d_cifar", 10, 25_028_904 - 7_680 - 990 * 2_049),
        # pytorch-cifar, and weight and bias of the final norm.
        ("preact_resnet18", 10, 11_171_146 + 2 * 512),
        ("preact_resnet18_raw", 10, 11_171_146),
        # Beside ResNet-34: no norm after the stem (2*64) and on three shortcuts (2*(128 + 256 + 512)), the first norm
        # of three stages is as wide as their input (2*(64 + 128 + 256) less), and there is a final norm.
        ("preact_resnet34", 10, 21_282_122 - 128 - 1_792 - 896 + 2 * 512),
    ],
)
def test_the_number_of_parameters_is_the_published_one(name, classes, count):
    with torch.device("meta"):
        net = timm.create_model(name, num_classes=classes)
    assert sum(weight.numel() for weight in net.parameters()) == count


@pytest.mark.parametrize("name", SMALL)
def test_maps_have_the_strides_of_small_images(name):
    """Of those whose blocks another has too, shapes alone; in make proof, numbers as well."""
    device = "cpu" if name in COMPUTED else "meta"
    images = _images().to(device)
    with torch.device(device), torch.no_grad():
        net = timm.create_model(name, num_classes=7).eval()
        last, maps = net.forward_intermediates(images)
        assert [tuple(values.shape) for values in maps] == [
            (2, width, side, side) for width, side in zip(CHANNELS[name], (32, 32, 16, 8, 4), strict=True)
        ]
        logits = net(images)
        if name in COMPUTED:
            torch.testing.assert_close(net.forward_head(last), logits)
            torch.testing.assert_close(net.forward_head(net.forward_features(images)), logits)
        assert len(net.forward_intermediates(images, indices=[1, 4], intermediates_only=True)) == 2
    assert logits.shape == (2, 7)
    assert _stem(net).kernel_size == (3, 3)
    assert [level["reduction"] for level in net.feature_info] == [1, 1, 2, 4, 8]
    assert [level["num_chs"] for level in net.feature_info] == CHANNELS[name]


@pytest.mark.parametrize("cls", ["list", "hook", "getter"])
@pytest.mark.parametrize("name", SHALLOW)
def test_timms_feature_extractors_give_the_same_maps(name, cls):
    torch.manual_seed(0)
    net = timm.create_model(name).eval()
    torch.manual_seed(0)  # the same fresh numbers
    features = timm.create_model(name, features_only=True, feature_cls=cls).eval()
    assert features.feature_info.reduction() == [1, 1, 2, 4, 8]
    with torch.no_grad():
        expected, maps = net.forward_intermediates(_images(), intermediates_only=True), features(_images())
        for own, theirs in zip(maps, expected, strict=True):
            torch.testing.assert_close(own, theirs)


def _norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    names = ("running_mean", "running_var", "weight", "bias")
    mean, variance, weight, bias = (state[f"{name}.{part}"][:, None, None] for part in names)
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def test_resnet18_cifar_computes_what_is_written_out_here():
    net = _trained(timm.create_model("resnet18_cifar", num_classes=7))
    state = net.state_dict()
    x = _norm(F.conv2d(_images(), state["conv1.weight"], padding=1), state, "bn1").relu()
    maps = [x]
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            at = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            shortcut = x
            if stride == 2:
                shortcut = _norm(F.conv2d(x, state[f"{at}.downsample.0.weight"], stride=2), state, f"{at}.downsample.1")
            y = F.conv2d(x, state[f"{at}.conv1.weight"], stride=stride, padding=1)
            y = F.conv2d(_norm(y, state, f"{at}.bn1").relu(), state[f"{at}.conv2.weight"], padding=1)
            x = (_norm(y, state, f"{at}.bn2") + shortcut).relu()
        maps.append(x)
    _assert_computes(net, maps, x, F.linear(x.mean(dim=(2, 3)), state["fc.weight"], state["fc.bias"]))


@pytest.mark.parametrize("name", ["preact_resnet18", "preact_resnet18_raw"])
def test_preact_resnet18_computes_what_is_written_out_here(name):
    net = _trained(timm.create_model(name, num_classes=7))
    state = net.state_dict()
    x = F.conv2d(_images(), state["stem.conv.weight"], padding=1)
    maps = [x]
    for stage in (0, 1, 2, 3):
        for block in (0, 1):
            at = f"stages.{stage}.blocks.{block}"
            stride = 2 if stage > 0 and block == 0 else 1
            ready = _norm(x, state, f"{at}.norm1").relu()
            shortcut = F.conv2d(ready, state[f"{at}.downsample.conv.weight"], stride=2) if stride == 2 else x
            y = F.conv2d(ready, state[f"{at}.conv1.weight"], stride=stride, padding=1)
            x = F.conv2d(_norm(y, state, f"{at}.norm2").relu(), state[f"{at}.conv2.weight"], padding=1) + shortcut
        maps.append(x)
    pooled = x if name.endswith("raw") else _norm(x, state, "norm").relu()
    assert not name.endswith("raw") or not any(key.startswith("norm.") for key in state)
    logits = F.linear(pooled.mean(dim=(2, 3)), state["head.fc.weight"], state["head.fc.bias"])
    _assert_computes(net, maps, pooled, logits)


def _assert_computes(net: nn.Module, maps: list[Tensor], pooled: Tensor, logits: Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(net(_images()), logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(net.forward_features(_images()), pooled, rtol=1e-4, atol=1e-4)
        for own, expected in zip(net.forward_intermediates(_images(), intermediates_only=True), maps, strict=True):
            torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SHALLOW)
def test_the_stem_is_a_3x3_convolution_initialised_as_timm_does(name):
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=7, in_chans=5)
    stem = _stem(net)
    assert (stem.kernel_size, stem.stride, stem.padding, stem.bias) == ((3, 3), (1, 1), (1, 1), None)
    assert stem.weight.shape == (64, 5, 3, 3)
    # Kaiming, fan out, ReLU: √(2 / (64 * 9)) = 0.0589; 2,880 draws give it within about 1.3 %.
    assert stem.weight.std().item() == pytest.approx(0.0589, rel=0.06)
    torch.manual_seed(0)
    again = timm.create_model(name, num_classes=7, in_chans=5)
    assert all(map(torch.equal, net.state_dict().values(), again.state_dict().values()))


def test_the_linear_classifier_of_the_preactivation_form_is_initialised_as_timms_convolution():
    torch.manual_seed(0)
    own, timms = timm.create_model("preact_resnet18"), timm.create_model("resnetv2_18", num_classes=200)
    assert own.head.fc.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert timms.head.fc.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not own.head.fc.bias.any()


@pytest.mark.parametrize("name", SHALLOW)
def test_the_classifier_is_linear_on_the_last_map_and_can_be_replaced(name):
    net = timm.create_model(name, num_classes=7, global_pool="max", drop_path_rate=0.1)
    wide = CHANNELS[name][-1]
    assert isinstance(net.get_classifier(), nn.Linear)
    assert classifier_weight(net, wide).shape == (7, wide)
    assert last_map(net, _images(1)).shape == (1, wide, 4, 4)
    assert sum(type(part).__name__ == "DropPath" for part in net.modules()) > 0
    net.eval().reset_classifier(3)
    with torch.no_grad():
        features = net.forward_features(_images())
        expected = F.linear(features.amax(dim=(2, 3)), net.get_classifier().weight, net.get_classifier().bias)
        torch.testing.assert_close(net(_images()), expected)
        net.reset_classifier(0, "avg")
        torch.testing.assert_close(net(_images()), features.mean(dim=(2, 3)))
    assert isinstance(net.get_classifier(), nn.Identity)


@pytest.mark.parametrize("name", SHALLOW)
@pytest.mark.parametrize("classes", [0, 7])
def test_dropout_acts_before_the_classifier(name, classes):
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=classes, drop_rate=0.5).train()
    values = net.forward_head(torch.ones(1, 512, 4, 4), pre_logits=True)
    assert sorted(set(values.flatten().tolist())) == [0.0, 2.0]


@pytest.mark.parametrize("name", SHALLOW)
def test_other_stems_are_refused(name):
    with pytest.raises(ValueError, match=r"accepts no stem_type, got 'deep'; its stem is one 3x3"):
        timm.create_model(name, stem_type="deep")


def test_timm_lists_them_and_knows_what_they_take():
    listed = {name for name in timm.list_models("*cifar*") if not name.startswith("narrow_")}  # those of other tests
    assert listed == {*SMALL[:4], *OTHERS}
    assert timm.list_models("preact_*") == SMALL[4:]
    assert timm.list_models("*cifar*", pretrained=True) == []
    for name in SMALL:
        cfg = timm.get_pretrained_cfg(name, allow_unregistered=True)
        preact = name.startswith("preact")
        assert cfg.architecture == name
        assert (cfg.input_size, cfg.pool_size) == (((3, 64, 64), (8, 8)) if preact else ((3, 32, 32), (4, 4)))
        assert (cfg.first_conv, cfg.classifier) == (("stem.conv", "head.fc") if preact else ("conv1", "fc"))
        assert data_statistics(name) == IMAGENET
        with torch.device("meta"):
            net = timm.create_model(name)
        assert net.get_submodule(cfg.first_conv).kernel_size == (3, 3)
        assert net.get_submodule(cfg.classifier).out_features == cfg.num_classes == (200 if preact else 100)


# Networks of Attentive CutMix at 32 pixels: maps of the deepest width, strides, and what the small stem saves.
# A stem of 3x3 instead of 7x7 has 64 x 3 x (49 - 9) = 7,680 weights less.
WIDE = {f"resnet{depth}_cifar": (2048, [1, 1, 2, 4, 8], 7680) for depth in (101, 152)}
# From 64 channels, every block adds 32 a layer, and every transition halves them: 121 layers give 1,024 in the end.
DENSE = {121: 1024, 169: 1664, 201: 1920, 264: 2688}
WIDE |= {f"densenet{depth}_cifar": (width, [1, 1, 2, 4, 8], 7680) for depth, width in DENSE.items()}
# 320 channels times 1.0, 1.0, 1.8 and 2.0; the 3x3 stem stays, with stride 1.
EFFICIENT = {"b0": 320, "b1": 320, "b6": 576, "b7": 640}
WIDE |= {f"efficientnet_{size}_cifar": (width, [1, 2, 4, 8, 16], 0) for size, width in EFFICIENT.items()}
OTHERS = tuple(WIDE)


def _parameters(net: nn.Module) -> int:
    return sum(part.numel() for part in net.parameters())


@pytest.mark.parametrize("name", WIDE if PROOF else ["resnet101_cifar", "densenet121_cifar", "efficientnet_b6_cifar"])
def test_other_networks_for_small_images_differ_from_timms_in_the_stem_alone(name):
    width, strides, saved = WIDE[name]
    with torch.device("meta"):
        theirs, net = (timm.create_model(each, num_classes=10).eval() for each in (name.removesuffix("_cifar"), name))
        assert _parameters(theirs) - _parameters(net) == saved
        _, maps = net.forward_intermediates(torch.zeros(1, 3, 32, 32))
    assert [32 // each.shape[-1] for each in maps] == strides
    assert [level["reduction"] for level in net.feature_info] == strides
    assert maps[-1].shape[1] == width
    assert timm.get_pretrained_cfg(name).pool_size == (32 // strides[-1],) * 2
    assert net.get_submodule(timm.get_pretrained_cfg(name).classifier).out_features == 10


def test_densenet_264_has_the_blocks_of_the_paper():
    with torch.device("meta"):
        net = timm.create_model("densenet264")
    assert [len(block) for name, block in net.features.named_children() if "block" in name] == [6, 12, 64, 48]
    assert (net.num_features, net.num_classes) == (2688, 1000)
    assert not timm.get_pretrained_cfg("densenet264").has_weights


@pytest.mark.parametrize("name", SMALL)
def test_weights_that_nobody_published_are_refused(name):
    with torch.device("meta"), pytest.raises(RuntimeError, match=f"No pretrained weights exist for {name}"):
        timm.create_model(name, pretrained=True)
    with (
        torch.device("meta"),
        pytest.raises(WeightsError, match=f"cannot get weights for {name} .*No pretrained weights exist"),
    ):
        Backbone(name, 7, weights="pretrained", image_size=32)


def test_weights_of_the_plain_form_do_not_fit(tmp_path):
    torch.save(timm.create_model("resnet18", num_classes=7).state_dict(), tmp_path / "plain.pth")
    with pytest.raises(WeightsError, match=r"does not match resnet18_cifar: 1 of 122 tensors .*'conv1\.weight'"):
        Backbone("resnet18_cifar", 7, weights=str(tmp_path / "plain.pth"))


@pytest.mark.parametrize("name", SHALLOW)
def test_a_saved_network_gives_the_same_logits_and_a_fresh_head_for_other_classes(name, tmp_path):
    saved = _trained(Backbone(name, 7, image_size=32))
    path = tmp_path / "net.pth"
    torch.save(saved.net.state_dict(), path)
    with torch.no_grad():
        expected = saved(_images())
        assert torch.equal(Backbone(name, 7, weights=str(path), image_size=32).eval()(_images()), expected)
        torch.manual_seed(1)
        fresh = Backbone(name, 4, image_size=32)
        torch.manual_seed(1)
        other = Backbone(name, 4, weights=str(path), image_size=32).eval()
        assert torch.equal(other.net.forward_features(_images()), saved.net.forward_features(_images()))
    assert torch.equal(other.net.get_classifier().weight, fresh.net.get_classifier().weight)
    assert other(_images()).shape == (2, 4)


@pytest.mark.parametrize("name", SHALLOW)
def test_copies_and_pickles_compute_the_same(name):
    net = _trained(timm.create_model(name, num_classes=7))
    with torch.no_grad():
        expected = net(_images())
        assert torch.equal(copy.deepcopy(net)(_images()), expected)
        assert torch.equal(pickle.loads(pickle.dumps(net))(_images()), expected)


@pytest.mark.parametrize("name", COMPUTED)
def test_the_local_branch_gives_finite_numbers_for_regions(name):
    torch.manual_seed(0)
    net = LocalGlobalNet(name, 5, image_size=32).eval()
    assert net.backbone.channels == CHANNELS[name]
    assert net.backbone.reductions == [1, 1, 2, 4, 8]
    regions = (torch.arange(32) // 8)[:, None].expand(2, 32, 32)  # four bands; id 4 stays absent
    with torch.no_grad():
        out = net(_images(), regions, 5)
        torch.testing.assert_close(out.logits, net(_images()).logits)
    assert out.local.logits.shape == (2, 5, 5)
    assert out.local.areas.tolist() == [[256, 256, 256, 256, 0]] * 2
    assert all(torch.isfinite(values).all() for values in (out.local.logits, out.local.embeddings))
    assert out.local.pre_norm[:, :4].std() > 0


@pytest.mark.parametrize("name", SHALLOW)
def test_a_training_step_reaches_every_parameter(name):
    torch.manual_seed(0)
    net = LocalGlobalNet(name, 5, image_size=32, width=8)
    regions = (torch.arange(32) // 8)[:, None].expand(2, 32, 32)
    out = net(_images(), regions, 4)
    (out.logits.square().sum() + out.local.logits.square().sum()).backward()
    assert [key for key, weight in net.named_parameters() if weight.grad is None] == []
    assert all(torch.isfinite(weight.grad).all() for weight in net.parameters())
    assert _stem(net.backbone.net).weight.grad.any()


# (channels in, channels out, kernel, side of the output), METHODS 1.
R50 = [(2048, 512, 3, 8), (1536, 256, 3, 16), (768, 128, 3, 32), (384, 64, 1, 32), (128, 64, 1, 32)]
PREACT = [(512, 128, 3, 16), (384, 64, 3, 32), (192, 32, 3, 64), (96, 64, 1, 64), (128, 64, 1, 64)]
RESNEXT50 = [(2048, 1024, 3, 16), (1024, 512, 3, 32), (512, 256, 3, 64), (256, 64, 1, 64), (64, 64, 1, 64)]


@pytest.mark.parametrize(
    ("name", "skip", "size", "steps"),
    [
        ("resnet50_cifar", "concat", 32, R50),
        ("preact_resnet18", "concat", 64, PREACT),
        ("resnext50_32x4d_cifar", "add", 64, RESNEXT50),
    ],
)
def test_decoder_steps_are_those_of_the_published_table(name, skip, size, steps):
    seen = []

    def note(module: nn.Module, _: object, out: Tensor) -> None:
        seen.append((module.in_channels, module.out_channels, module.kernel_size[0], out.shape[-1]))

    with torch.device("meta"):  # shapes alone, nothing is computed
        net = LocalGlobalNet(name, 7, image_size=size, width=64, skip=skip).eval()
        for module in net.decoder.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.register_forward_hook(note)
        maps = net.backbone.forward_maps(torch.zeros(1, 3, size, size))[1]
        assert net.decoder(maps, (size, size)).shape == (1, 64, size, size)
    assert seen == steps


@pytest.mark.parametrize("name", STRIDE_16)
def test_the_weights_of_a_stride_16_form_are_those_of_the_plain_model(name):
    plain = timm.get_pretrained_cfg(name.removesuffix("_stride16"))
    cfg = timm.get_pretrained_cfg(name, allow_unregistered=True)
    assert (cfg.hf_hub_id, cfg.url, cfg.tag) == (plain.hf_hub_id, plain.url, plain.tag)
    assert cfg.hf_hub_id == f"timm/{name.removesuffix('_stride16')}.{cfg.tag}"
    assert (cfg.architecture, cfg.classifier, cfg.first_conv) == (name, "fc", "conv1")
    assert (cfg.input_size, cfg.pool_size) == ((3, 224, 224), (14, 14))
    assert data_statistics(name) == (tuple(plain.mean), tuple(plain.std)) == IMAGENET
    assert timm.is_model_pretrained(name)
    with torch.device("meta"):
        net = timm.create_model(name, num_classes=7)
        theirs = timm.create_model(name.removesuffix("_stride16"), num_classes=7)
    shapes, expected = ({key: v.shape for key, v in n.state_dict().items()} for n in (net, theirs))
    assert shapes == expected
    assert net.pretrained_cfg["hf_hub_id"] == cfg.hf_hub_id


def test_a_stride_16_form_takes_any_tag_of_the_plain_model():
    with torch.device("meta"):
        net = timm.create_model("resnet18_stride16.tv_in1k")
    assert net.pretrained_cfg["hf_hub_id"] == "timm/resnet18.tv_in1k"
    assert net.pretrained_cfg["tag"] == "tv_in1k"
    assert data_statistics("resnet18_stride16.tv_in1k") == IMAGENET


def test_pretrained_weights_fill_a_stride_16_form(tmp_path: Path):
    torch.manual_seed(0)
    plain = timm.create_model("resnet18")
    torch.save(plain.state_dict(), tmp_path / "plain.pth")
    # The file stands for the hub's: timm's loader, with the configuration of the model.
    overlay = {"file": str(tmp_path / "plain.pth")}
    net = timm.create_model("resnet18_stride16", pretrained=True, pretrained_cfg_overlay=overlay, num_classes=7)
    for key, value in plain.state_dict().items():
        if not key.startswith("fc."):
            assert torch.equal(net.state_dict()[key], value), key
    assert net.fc.weight.shape == (7, 512)


def test_timms_feature_extractor_takes_a_stride_16_form():
    with torch.device("meta"):
        features = timm.create_model("resnet18_stride16", features_only=True)
        assert features.feature_info.reduction() == [2, 4, 8, 16, 16]
        assert [values.shape[-1] for values in features(torch.zeros(1, 3, 224, 224))] == [112, 56, 28, 14, 14]
