"""Where the weights of a backbone come from: files, the hub, and what is said when they cannot be had."""

from pathlib import Path

import huggingface_hub.constants
import pytest
import safetensors.torch
import timm
import torch

from lgcoamix.models import LocalGlobalNet, WeightsError


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
    loaded = LocalGlobalNet(name, 5, weights=str(saved), local=False).backbone.net.state_dict()
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


def test_the_checkpoint_of_a_run_is_taken_or_refused_but_not_ignored(tmp_path):
    torch.manual_seed(0)
    trained = LocalGlobalNet("resnet18", 5, width=8)
    torch.save({"model": trained.state_dict(), "epoch": 3, "config": {}}, tmp_path / "best.pt")
    torch.manual_seed(1)
    try:
        loaded = LocalGlobalNet("resnet18", 5, weights=str(tmp_path / "best.pt"), width=8)
    except WeightsError:
        return
    assert torch.equal(loaded.backbone.net.conv1.weight, trained.backbone.net.conv1.weight)


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
        match=r"'pretrained' or a checkpoint file for resnet18, there is no file '.*nowhere\.pth'; .*--weights none",
    ):
        LocalGlobalNet("resnet18", 5, weights=str(tmp_path / "nowhere.pth"))


def test_a_file_that_is_no_checkpoint_is_refused_with_a_remedy(tmp_path):
    (tmp_path / "notes.pth").write_text("not weights")
    with pytest.raises(WeightsError, match=r"notes\.pth.*--weights none"):
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
