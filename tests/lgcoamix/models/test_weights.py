"""Where the weights of a backbone come from: files, the hub, and what is said when they cannot be had."""

from pathlib import Path

import huggingface_hub.constants
import pytest
import safetensors.torch
import timm
import torch

from lgcoamix.mixing import AttentiveCutMix
from lgcoamix.models import Backbone, BackboneError, LocalGlobalNet, WeightsError
from lgcoamix.models.extractor import Extractor
from lgcoamix.models.hub import data_statistics, hub_name
from lgcoamix.settings.weights import names_file


@pytest.fixture(scope="module")
def thousand() -> torch.nn.Module:
    """ResNet-18 with the classifier of ImageNet's size."""
    torch.manual_seed(0)
    return timm.create_model("resnet18", num_classes=1000)


@pytest.fixture(scope="module", params=["safetensors", "pth"])
def saved(request: pytest.FixtureRequest, thousand: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / f"resnet18.{request.param}"
    if request.param == "pth":
        torch.save(thousand.state_dict(), path)
    else:
        safetensors.torch.save_file(thousand.state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["resnet18", "resnet18_stride16"])
def test_a_file_fills_the_body_and_leaves_the_classifier_of_another_size(name, saved, thousand):
    torch.manual_seed(1)
    loaded = LocalGlobalNet(name, 5, weights=saved, local=False).backbone.net.state_dict()
    for key, value in thousand.state_dict().items():
        if not key.startswith("fc."):
            assert torch.equal(loaded[key], value), key
    assert loaded["fc.weight"].shape == (5, 512)


def test_a_stride_16_backbone_differs_from_the_plain_one_in_its_deepest_map_alone():
    torch.manual_seed(0)
    plain, modified = (timm.create_model(name, num_classes=3).eval() for name in ("resnet18", "resnet18_stride16"))
    modified.load_state_dict(plain.state_dict())
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        theirs, ours = (net.forward_intermediates(images, intermediates_only=True) for net in (plain, modified))
    for a, b in zip(theirs[:-1], ours[:-1], strict=True):
        assert torch.equal(a, b)
    assert theirs[-1].shape[-2:] == (7, 7)
    assert ours[-1].shape[-2:] == (14, 14)
    # Stride 1 without dilation: the first 3x3 convolution sees what it saw, at twice the density.
    assert modified.layer4[0].conv1.dilation == (1, 1)
    assert modified.layer4[0].conv2.dilation == (1, 1)


def test_a_file_with_a_classifier_of_the_same_size_fills_that_too(tmp_path):
    torch.manual_seed(0)
    trained = timm.create_model("resnet18", num_classes=5)
    torch.save(trained.state_dict(), tmp_path / "five.pth")
    torch.manual_seed(1)
    loaded = LocalGlobalNet("resnet18", 5, weights=str(tmp_path / "five.pth"), local=False).backbone.net
    assert torch.equal(loaded.fc.weight, trained.fc.weight)


def test_a_file_of_another_architecture_is_refused(tmp_path):
    other = timm.create_model("vit_tiny_patch16_224", num_classes=1000, img_size=32, depth=1)
    torch.save(other.state_dict(), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="resnet18"):
        LocalGlobalNet("resnet18", 5, weights=str(tmp_path / "other.pth"), local=False)


@pytest.mark.parametrize(
    "place",
    [
        "model: ",  # best.pt of a run
        "state_dict: model.",  # a Lightning module that has our network as its model
    ],
)
def test_a_network_with_a_local_branch_gives_its_backbone(place, tmp_path):
    torch.manual_seed(0)
    trained = LocalGlobalNet("resnet18", 5, width=8)
    key, prefix = place.split(": ")
    state = {f"{prefix}{name}": value for name, value in trained.state_dict().items()}
    torch.save({key: state, "epoch": 3, "config": {}}, tmp_path / "best.pt")
    torch.manual_seed(1)
    loaded = LocalGlobalNet("resnet18", 5, weights=str(tmp_path / "best.pt"), width=8)
    assert torch.equal(loaded.backbone.net.conv1.weight, trained.backbone.net.conv1.weight)
    assert torch.equal(loaded.backbone.net.fc.weight, trained.backbone.net.fc.weight)


def test_a_network_inside_another_module_is_found_and_of_two_none_is_guessed(thousand, tmp_path):
    state = {f"net.{name}": value for name, value in thousand.state_dict().items()}
    torch.save({"state_dict": {**state, "net.layer1.0.bn3.bias": torch.ones(64)}}, tmp_path / "inside.ckpt")
    loaded = LocalGlobalNet("resnet18", 5, weights=str(tmp_path / "inside.ckpt"), local=False).backbone.net
    assert torch.equal(loaded.layer4[1].bn2.running_var, thousand.layer4[1].bn2.running_var)
    assert torch.equal(loaded.conv1.weight, thousand.conv1.weight)
    twice = {f"{prefix}.{name}": value for name, value in state.items() for prefix in ("student", "teacher")}
    torch.save(twice, tmp_path / "twice.pth")
    with pytest.raises(WeightsError, match=r"it holds several such networks: student\.net\., teacher\.net\."):
        LocalGlobalNet("resnet18", 5, weights=str(tmp_path / "twice.pth"), local=False)


def test_a_file_of_early_torchvision_has_no_counters_of_batchnorm(thousand, tmp_path):
    state = {name: value for name, value in thousand.state_dict().items() if "num_batches_tracked" not in name}
    torch.save(state, tmp_path / "old.pth")
    loaded = LocalGlobalNet("resnet18", 5, weights=str(tmp_path / "old.pth"), local=False).backbone.net
    assert torch.equal(loaded.conv1.weight, thousand.conv1.weight)
    del state["bn1.running_mean"]
    torch.save(state, tmp_path / "old.pth")
    with pytest.raises(WeightsError, match=r"1 of 122 tensors are missing .*'bn1\.running_mean'"):
        LocalGlobalNet("resnet18", 5, weights=str(tmp_path / "old.pth"), local=False)


@pytest.mark.parametrize("place", ["patch_embed.proj.weight", "model"])
def test_patches_are_not_resampled_by_a_matrix_that_fills_the_memory(place, tmp_path):
    kernel = torch.zeros(1, 1, 300, 300)  # 0.4 MB: the matrix would have 32 GB
    state = {"patch_embed.proj.weight": kernel} if place != "model" else {"model": {"visual.conv1.weight": kernel}}
    torch.save({"state_dict": state}, tmp_path / "huge.pth")
    with pytest.raises(WeightsError, match=r"expected a kernel of at most 64 pixels, got \(300, 300\)"):
        LocalGlobalNet("vit_tiny_patch16_224", 2, weights=str(tmp_path / "huge.pth"), local=False)


def test_a_missing_file_says_what_may_stand_there(tmp_path):
    with pytest.raises(
        WeightsError,
        match=r"tag of timm or a checkpoint file for resnet18, there is no file '.*nowhere\.pth'; .*--weights none",
    ):
        LocalGlobalNet("resnet18", 5, weights=str(tmp_path / "nowhere.pth"))


def test_a_file_that_is_no_checkpoint_is_refused_with_a_remedy(tmp_path):
    (tmp_path / "notes.pth").write_text("not weights")
    with pytest.raises(
        WeightsError, match=r"notes\.pth' into resnet18 \([^;]*\); use --weights FILE or --weights none$"
    ):
        LocalGlobalNet("resnet18", 5, weights=str(tmp_path / "notes.pth"))


def test_an_unreachable_hub_is_told_with_a_remedy(monkeypatch, tmp_path):
    # Offline, and with an empty cache; with the real network gone the hub's client tries for 45 s before it gives up.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        WeightsError,
        match=r"weights for resnet18 .*check the network connection, or use --weights FILE",
    ):
        LocalGlobalNet("resnet18", 5, weights="pretrained")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The cache of the hub's client as downloads would have left it, offline; see :func:`put`."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put(hub: Path, name: str, seed: int) -> dict[str, torch.Tensor]:
    """Store weights under a name of timm's hub, and return them."""
    torch.manual_seed(seed)
    state = timm.create_model(name.partition(".")[0], num_classes=1000).state_dict()
    place = hub / f"models--timm--{name}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0" * 40)
    (place / "snapshots" / ("0" * 40)).mkdir(parents=True)
    safetensors.torch.save_file(state, place / "snapshots" / ("0" * 40) / "model.safetensors")
    return state


def test_a_tag_and_pretrained_choose_among_the_weights_of_the_hub(hub):
    wanted = {"tv_in1k": put(hub, "resnet18.tv_in1k", 1), "pretrained": put(hub, "resnet18.a1_in1k", 2)}
    for weights, state in wanted.items():
        for name in ("resnet18", "resnet18_stride16"):
            loaded = Backbone(name, 5, weights).net.state_dict()
            assert all(torch.equal(loaded[key], v) for key, v in state.items() if not key.startswith("fc.")), name
            assert loaded["fc.weight"].shape == (5, 512)
    named = Backbone("resnet18.tv_in1k", 5, "pretrained").net.state_dict()
    assert torch.equal(named["conv1.weight"], wanted["tv_in1k"]["conv1.weight"])
    started = Backbone("resnet18", 5, "tv_in1k", init="released").net.state_dict()
    assert torch.equal(started["conv1.weight"], wanted["tv_in1k"]["conv1.weight"])
    assert torch.equal(started["layer1.0.bn2.weight"], wanted["tv_in1k"]["layer1.0.bn2.weight"])


def test_an_extractor_takes_a_tag_too(hub):
    state = put(hub, "test_resnet.r160_in1k", 3)
    net = Extractor("test_resnet", "r160_in1k", 64, "none").net.state_dict()
    assert torch.equal(net["conv1.0.weight"], state["conv1.0.weight"])
    assert AttentiveCutMix(extractor_weights="tv_in1k").fetches == "resnet50"
    assert AttentiveCutMix(extractor_weights="runs/x/last.pt").fetches is None


@pytest.mark.parametrize(
    ("name", "weights", "found"),
    [
        ("resnet18", "pretrained", "resnet18.a1_in1k"),
        ("resnet18", "tv_in1k", "resnet18.tv_in1k"),
        ("resnet18.tv_in1k", "pretrained", "resnet18.tv_in1k"),
        ("resnet18.tv_in1k", "tv_in1k", "resnet18.tv_in1k"),
        ("resnet50_stride16", "tv_in1k", "resnet50.tv_in1k"),
        ("resnet18", "none", None),
        ("resnet18", "x.pth", None),
    ],
)
def test_weights_of_the_hub_have_a_full_name(name, weights, found):
    assert hub_name(name, weights) == found


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        *((f"resnet{depth}", "tv_in1k") for depth in (18, 34, 50, 101, 152)),
        *((f"{name}_stride16", "tv_in1k") for name in ("resnet18", "resnet50", "resnext50_32x4d")),
        *((f"densenet{depth}", "tv_in1k") for depth in (121, 169, 201)),
        ("deit_base_patch16_224", "fb_in1k"),
    ],
)
def test_the_weights_of_the_published_scripts_have_tags(name, tag):
    assert hub_name(name, tag) == f"{name.removesuffix('_stride16')}.{tag}"


def test_an_unknown_tag_is_refused_before_anything_is_loaded(hub):
    hub.mkdir()
    with pytest.raises(
        BackboneError,
        match=r"resnet18 has the weights a1_in1k, .*tv_in1k; got 'tv', which is neither one of them nor a",
    ):
        Backbone("resnet18", 5, "tv")
    assert list(hub.iterdir()) == []


def test_a_word_is_a_file_if_it_looks_like_one_or_exists(tmp_path, monkeypatch, thousand):
    monkeypatch.chdir(tmp_path)
    files = ("x.pt", "x.pth", "x.safetensors", "x.bin", "runs/best", "./tv_in1k", "C:\\best")
    assert all(map(names_file, files))
    assert not any(map(names_file, ("none", "pretrained", "tv_in1k", "fb_swsl_ig1b_ft_in1k", "")))
    (tmp_path / "folder").mkdir()
    assert not names_file("folder")
    torch.save(thousand.state_dict(), tmp_path / "best")
    assert names_file("best")
    assert names_file("best", tmp_path)
    assert not names_file("best", tmp_path / "folder")
    loaded = Backbone("resnet18", 5, "best").net
    assert torch.equal(loaded.conv1.weight, thousand.conv1.weight)


def test_inputs_are_normalised_as_in_the_training_of_the_chosen_weights():
    half, imagenet = ((0.5,) * 3, (0.5,) * 3), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    name = "vit_base_patch16_224"
    for weights, wanted in (("pretrained", half), ("none", half), ("x.pth", half), ("dino", imagenet)):
        assert data_statistics(name, weights) == wanted, weights
    assert data_statistics(f"{name}.dino", "pretrained") == imagenet
