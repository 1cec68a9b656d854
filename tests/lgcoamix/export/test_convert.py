"""``python -m lgcoamix convert``: released checkpoints give the logits of their own networks, or are refused."""

import csv
import hashlib
import html
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from click.testing import CliRunner, Result
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import save_file
from timm.layers import BatchNormAct2d, create_conv2d
from timm.models import generate_default_cfgs
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn

from lgcoamix.cli import main
from lgcoamix.export.layouts import LAYOUTS
from lgcoamix.models import LocalGlobalNet, WeightsError, small_images, variants
from lgcoamix.runs.load import make_network, read_trained
from lgcoamix.settings.options import LAYOUTS as NAMES
from preprocess.store import Store
from tests.conftest import PROOF
from tests.lgcoamix.export import released
from tests.lgcoamix.export.released import Maker, State

_CFG = {"first_conv": "conv1", "classifier": "fc"}
_PREACT = {"first_conv": "stem.conv", "classifier": "head.fc"}
default_cfgs = generate_default_cfgs(
    {
        "narrow_resnet": {**_CFG, "input_size": (3, 64, 64)},
        "narrow_resnet_stride16": {**_CFG, "input_size": (3, 64, 64)},
        "narrow_resnet_cifar": {**_CFG, "input_size": (3, 32, 32)},
        "narrow_preact": {**_PREACT, "input_size": (3, 64, 64)},
        "narrow_preact_raw": {**_PREACT, "input_size": (3, 64, 64)},
    }
)


def _plain(**options: object) -> nn.Module:
    return ResNet(**options)


def _stride16(**options: object) -> nn.Module:
    return variants._with_stride_16(**options)


def _cifar(**options: object) -> nn.Module:
    return small_images._small_resnet(**options)


for _name, _build, _block in (
    ("narrow_resnet", _plain, Bottleneck),
    ("narrow_resnet_stride16", _stride16, Bottleneck),
    ("narrow_resnet_cifar", _cifar, BasicBlock),
):
    variants.register(_name, _build, block=_block, layers=(1, 1, 1, 2), channels=(4, 8, 12, 16))


def _preact(**options: object) -> nn.Module:
    return small_images._small_preact(**options)


def _preact_raw(**options: object) -> nn.Module:
    net = _preact(**options)
    net.norm = nn.Identity()
    return net


for _name, _build in (("narrow_preact", _preact), ("narrow_preact_raw", _preact_raw)):
    variants.register(
        _name,
        _build,
        layers=(1, 1, 1, 2),
        channels=(8, 16, 24, 32),
        basic=True,
        bottle_ratio=1.0,
        conv_layer=create_conv2d,
        norm_layer=BatchNormAct2d,
        feature_cfg={"flatten_sequential": True},
    )


def _invoke(*options: object) -> Result:
    done = CliRunner().invoke(main, list(map(str, options)))
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert "Traceback" not in done.output
    return done


def _convert(file: Path, layout: str, backbone: str, out: Path, *options: object) -> str:
    done = _invoke("convert", file, "--from", layout, "--backbone", backbone, "--out", out, *options)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def _refused(file: Path, layout: str, backbone: str, *options: object, code: int = 1) -> str:
    out = file.parent / "refused"
    done = _invoke("convert", file, "--from", layout, "--backbone", backbone, "--out", out, *options)
    assert done.exit_code == code, done.output
    assert not out.exists()
    return " ".join(done.output.split())


@dataclass(frozen=True)
class Case:
    """A released checkpoint: what is in the file, its tensors, and the logits of its network."""

    layout: str
    backbone: str
    size: int
    state: State
    logits: Callable[[Tensor], Tensor]
    wrap: Callable[[State], Any] = lambda state: state

    def save(self, path: Path) -> Path:
        torch.save(self.wrap(self.state), path)
        return path

    def options(self, count: int = 5) -> tuple[object, ...]:
        return ("--classes", count, "--image-size", self.size)


NARROW = {"layers": (1, 1, 1, 2), "widths": (4, 8, 12, 16)}
R50 = {"layers": (3, 4, 6, 3), "widths": (64, 128, 256, 512), "expansion": 4}
DOGS = [(64, 24, 1), (72, 16, 3), (48, 8, 3), (24, 8, 3), (72, 8, 3)]  # steps of the narrow networks
CUB = [(64, 48, 1), (48, 32, 3), (32, 16, 3), (16, 64, 1), (64, 8, 3), (8, 8, 3)]
CIFAR = [(16, 6, 3), (18, 4, 3), (12, 2, 3), (6, 8, 1), (72, 8, 1)]
PREACT_R18 = [(512, 128, 3), (384, 64, 3), (192, 32, 3), (96, 64, 1), (128, 64, 1)]
PREACT = [(32, 12, 3), (36, 8, 3), (24, 4, 3), (12, 8, 1), (72, 8, 1)]
VIT = [(64, 32, 3), (32, 16, 3), (16, 8, 3), (8, 8, 3)]
DOGS_R50 = [(2048, 512, 1), (1536, 256, 3), (768, 128, 3), (384, 64, 3), (128, 64, 3)]
CIFAR_R50 = [(2048, 512, 3), (1536, 256, 3), (768, 128, 3), (384, 64, 1), (128, 64, 1)]
DEIT_B = [(768, 256, 3), (256, 128, 3), (128, 64, 3), (64, 64, 3)]


def _resnet(
    layout: str,
    backbone: str,
    names: tuple[str, ...],
    size: int,
    stride: int = 2,
    more: Callable[[Maker, list[int]], object] = lambda maker, maps: None,
    wrap: Callable[[State], Any] = lambda state: state,
    **shape: Any,
) -> Case:
    """A ResNet under somebody's names, and what else is in the file."""
    maker, side = Maker(), 3 if "cifar" in backbone else 7
    more(maker, released.resnet(maker, names, count=5, side=side, **{**NARROW, "expansion": 4, **shape}))
    state = maker.state
    return Case(
        layout,
        backbone,
        size,
        state,
        lambda x: released.logits(state, names[-1], released.resnet_maps(state, names, x, stride)[-1]),
        wrap,
    )


def _lgcoamix(backbone: str, names: tuple[str, ...], steps: list, size: int, **shape: Any) -> Case:
    stride = 2 if names is released.SMALL else 1
    return _resnet("lgcoamix", backbone, names, size, stride, lambda maker, _: released.local(maker, steps, 5), **shape)


def _tiny_imagenet(
    backbone: str = "narrow_preact_raw",
    layers: tuple[int, ...] = (1, 1, 1, 2),
    widths: tuple[int, ...] = (8, 16, 24, 32),
    steps: list = PREACT,
) -> Case:
    maker = Maker()
    released.preact(maker, layers, widths, 5)
    released.local(maker, steps, 5)
    state = maker.state
    return Case(
        "lgcoamix",
        backbone,
        64,
        state,
        lambda x: released.logits(state, "fc", released.preact_maps(state, x)[-1]),
    )


def _deit(
    steps: list,
    backbone: str = "test_vit",
    size: int = 64,
    width: int = 64,
    depth: int = 6,
    heads: int = 2,
    ratio: int = 3,
) -> Case:
    prefix, maker = "encoder.model.", Maker()
    released.vit(maker, width, depth, 16, (size // 16) ** 2, ratio, 1000, prefix)
    released.local(maker, steps, 5)
    maker.linear("head", 5, width)  # never used
    state = maker.state

    def logits(x: Tensor) -> Tensor:
        token = released.vit_tokens(state, prefix, x, heads)[:, 0]
        return F.linear(token, state[f"{prefix}head.weight"], state[f"{prefix}head.bias"])[:, :5]

    return Case("lgcoamix", backbone, size, state, logits)


def _snapmix(backbone: str = "narrow_resnet", size: int = 64, mid: bool = True, **shape: Any) -> Case:
    def more(maker: Maker, maps: list[int]) -> None:
        if mid:
            maker.conv("conv4_1.0", maps[-2], maps[-2], 1, bias=True)
            maker.linear("mcls", 5, maps[-2])

    def wrap(state: State) -> dict[str, Any]:
        return {"epoch": 200, "state_dict": state, "best_score": 88.7}

    return _resnet("snapmix", backbone, released.SNAPMIX, size, more=more, wrap=wrap, **shape)


def _in_mmcv(state: State) -> dict[str, Any]:
    return {"meta": {"epoch": 200, "config": "model = dict(...)"}, "state_dict": state}


def _parallel(state: State) -> State:
    return {f"module.{name}": value for name, value in state.items()}


CASES = {
    "lgcoamix, Dogs": lambda: _lgcoamix("narrow_resnet_stride16", released.PLAIN, DOGS, 64),
    "lgcoamix, CUB": lambda: _lgcoamix("narrow_resnet_stride16", released.PLAIN, CUB, 64),
    "lgcoamix, CIFAR": lambda: _lgcoamix("narrow_resnet_cifar", released.SMALL, CIFAR, 32, expansion=1),
    "lgcoamix, DeiT": lambda: _deit(VIT),
    "lgcoamix, Tiny-ImageNet": _tiny_imagenet,
    "occamix": lambda: _resnet("occamix", "narrow_resnet_cifar", released.SMALL, 32, wrap=_parallel, expansion=1),
    "snapmix": _snapmix,
    "snapmix, without mid-level branch": lambda: _snapmix(mid=False),
    "openmixup": lambda: _resnet("openmixup", "narrow_resnet", released.OPENMIXUP, 64, wrap=_in_mmcv),
    "openmixup, CIFAR": lambda: _resnet(
        "openmixup", "narrow_resnet_cifar", released.OPENMIXUP, 32, wrap=_in_mmcv, expansion=1
    ),
    "timm": lambda: _resnet("timm", "narrow_resnet", released.PLAIN, 64),
}
LARGE = {
    "lgcoamix, Dogs R50": lambda: _lgcoamix("resnet50_stride16", released.PLAIN, DOGS_R50, 224, **R50),
    "lgcoamix, CIFAR R50": lambda: _lgcoamix("resnet50_cifar", released.SMALL, CIFAR_R50, 32, **R50),
    "lgcoamix, DeiT-B": lambda: _deit(DEIT_B, "deit_base_patch16_224", 224, 768, 12, 12, 4),
    "lgcoamix, Tiny-ImageNet R18": lambda: _tiny_imagenet(
        "preact_resnet18_raw", (2, 2, 2, 2), (64, 128, 256, 512), PREACT_R18
    ),
    "occamix, CIFAR R50": lambda: _resnet("occamix", "resnet50_cifar", released.SMALL, 32, **R50),
    "snapmix, R50": lambda: _snapmix("resnet50", 224, **R50),
    "openmixup, R50": lambda: _resnet("openmixup", "resnet50", released.OPENMIXUP, 224, wrap=_in_mmcv, **R50),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The released files, read-only."""
    home = tmp_path_factory.mktemp("released")
    return {name: make().save(home / f"{number}.pt") for number, (name, make) in enumerate(CASES.items())}


@pytest.fixture(scope="module")
def converted(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, str]]:
    """Convert a case, once: its folder, read-only, and what the command said."""

    @cache
    def get(name: str) -> tuple[Path, str]:
        case, out = (CASES | LARGE)[name](), tmp_path_factory.mktemp("converted") / "model"
        file = files[name] if name in files else case.save(out.parent / "x.pt")
        return out, _convert(file, case.layout, case.backbone, out, *case.options())

    return get


@pytest.mark.parametrize("name", [*CASES, *(LARGE if PROOF else ())])
@torch.no_grad()
def test_the_exported_model_gives_the_logits_of_the_released_network(name, converted):
    case, (out, said) = (CASES | LARGE)[name](), converted(name)
    images = torch.rand(2, 3, case.size, case.size, generator=torch.Generator().manual_seed(1))
    images[1] *= 0.3
    wanted = case.logits(images)
    assert wanted.std(dim=0).min() > 1e-3  # they tell images apart
    found = timm.create_model(f"local-dir:{out}", pretrained=True).eval()(images)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert f"5 classes, input {case.size} pixels" in said
    trained = read_trained(out / "network.pt")
    assert trained.settings.method == ("none" if case.layout in ("openmixup", "timm") else case.layout)
    output = make_network(trained)(images)
    torch.testing.assert_close(output.logits, wanted, rtol=1e-4, atol=1e-4)
    if name in ("snapmix", "snapmix, R50"):
        before_last = released.resnet_maps(case.state, released.SNAPMIX, images)[-2]
        both = wanted + released.mid_logits(case.state, before_last)
        torch.testing.assert_close(output.prediction, both, rtol=1e-4, atol=1e-4)
        assert "mid-level branch" in said
    else:
        assert output.mid is None


LOCAL = {
    "lgcoamix, Dogs": ("concat", False, 8),
    "lgcoamix, CUB": ("add", True, 8),
    "lgcoamix, CIFAR": ("concat", False, 8),
    "lgcoamix, DeiT": ("concat", False, 8),
    "lgcoamix, Tiny-ImageNet": ("concat", False, 8),
}
LARGE_LOCAL = {name: ("concat", False, 64) for name in LARGE if name.startswith("lgcoamix")}


@pytest.mark.parametrize("name", [*LOCAL, *(LARGE_LOCAL if PROOF else ())])
@torch.no_grad()
def test_a_training_that_starts_from_the_whole_network_has_its_decoder_and_local_head(name, converted):
    case, (skip, pool_stem, width) = (CASES | LARGE)[name](), (LOCAL | LARGE_LOCAL)[name]
    out, _ = converted(name)
    model = read_trained(out / "network.pt").settings.model
    assert (model.skip, model.pool_stem, model.width) == (skip, pool_stem, width)
    weights = str(out / "network.pt")
    net = LocalGlobalNet(case.backbone, 5, weights, case.size, width=width, skip=skip, pool_stem=pool_stem).eval()
    assert net.filled == ("decoder", "local_head")
    images = torch.rand(1, 3, case.size, case.size, generator=torch.Generator().manual_seed(1))
    half = case.size // 2
    images[:, :, :half] *= 0.3
    regions = (torch.arange(case.size) // half * 2)[:, None] + torch.arange(case.size) // half  # four squares
    features = released.decoded(case.state, _maps(name, case, images), adds=skip == "add")
    assert features.shape == (1, width, case.size, case.size)
    assert features.std(dim=(2, 3)).min() > 1e-2  # they tell pixels apart
    ours = net.decoder(net.backbone.forward_maps(images)[1], (case.size, case.size))
    torch.testing.assert_close(ours, features, rtol=1e-3, atol=1e-3)
    wanted = released.local_logits(case.state, features[0], regions, 4)
    torch.testing.assert_close(net(images, regions[None], 4).local.logits[0], wanted, rtol=1e-3, atol=1e-4)


def _maps(name: str, case: Case, images: Tensor) -> list[Tensor]:
    if "DeiT" in name:
        heads = 2 if case.size == 64 else 12
        tokens = released.vit_tokens(case.state, "encoder.model.", images, heads)[:, 1:]
        side = case.size // 16
        return [tokens.transpose(1, 2).reshape(1, -1, side, side)]
    if "Tiny" in name:
        return released.preact_maps(case.state, images)
    small = "CIFAR" in name
    names, stride = (released.SMALL, 2) if small else (released.PLAIN, 1)
    return released.resnet_maps(case.state, names, images, stride, pool_first="CUB" in name)


# Traps


def test_a_network_of_the_same_shapes_and_other_strides_is_refused_and_the_right_one_named(files):
    dogs = files["lgcoamix, Dogs"]
    assert "use --backbone resnet50_stride16" in _refused(dogs, "lgcoamix", "resnet50", "--classes", 120, code=2)
    assert "use --backbone resnet18_stride16" in _refused(dogs, "occamix", "resnet18.tv_in1k", "--classes", 5, code=2)
    assert "use --backbone resnet50 " in _refused(dogs, "snapmix", "resnet50_stride16", "--classes", 5, code=2) + " "
    said = _refused(dogs, "timm", "narrow_resnet", "--classes", 5)
    assert "unknown (SA.LayerNorm.bias, SA.LayerNorm.weight, SA.key.bias and" in said
    assert "did you mean --from lgcoamix --backbone narrow_resnet_stride16?" in said


@pytest.mark.parametrize("name", ["narrow_resnet", "narrow_resnet_stride16"])
def test_a_training_does_not_start_a_plain_network_from_a_released_checkpoint_either(name, files):
    weights = str(files["lgcoamix, Dogs"])
    if name.endswith("_stride16"):
        assert LocalGlobalNet(name, 5, weights, 64, width=8).filled == ()  # the backbone alone has its names
        return
    with pytest.raises(WeightsError, match=r"last stage has stride 1.*use narrow_resnet_stride16"):
        LocalGlobalNet(name, 5, weights, 64, width=8)


def test_a_head_of_1000_rows_is_cut_to_the_classes_that_are_stated(files, converted):
    out, said = converted("lgcoamix, DeiT")
    assert "rows 0 to 4 of the 1000 of encoder.model.head" in said
    assert "left out: the outer head" in said
    assert "rows 0 to 4 of the 1000" in (out / "README.md").read_text()
    said = _refused(files["lgcoamix, DeiT"], "lgcoamix", "test_vit", "--image-size", 64, code=2)
    assert "expected --classes FILE, --classes NUMBER or --shards STORE" in said
    said = _refused(files["lgcoamix, DeiT"], "lgcoamix", "test_vit", "--classes", 4, "--image-size", 64)
    assert "the classifier local_head.classifier" in said
    assert "has 5 classes, expected 4" in said


@pytest.mark.parametrize("name", ["lgcoamix, Dogs", "occamix", "snapmix", "openmixup", "timm"])
def test_another_number_of_classes_is_refused(name, files):
    case = CASES[name]()
    said = _refused(files[name], case.layout, case.backbone, *case.options(4))
    assert "has 5 classes, expected 4, as --classes or --shards says" in said


# Files that do not fit


def test_a_file_of_another_layout_is_refused_and_its_own_named(files):
    meant = {
        "lgcoamix, Dogs": "--from lgcoamix",
        "occamix": "--from occamix",
        "snapmix": "--from snapmix",
        "openmixup": "--from openmixup",
        "timm": "--from occamix or --from timm",
    }
    wrong = {
        "lgcoamix, Dogs": "occamix",
        "occamix": "lgcoamix",
        "snapmix": "openmixup",
        "openmixup": "timm",
        "timm": "snapmix",
    }
    backbones = {"lgcoamix": "narrow_resnet_stride16", "occamix": "narrow_resnet_stride16"}
    for name, right in meant.items():
        for layout in NAMES:
            if layout in right or (layout != wrong[name] and not PROOF):
                continue
            said = _refused(
                files[name], layout, backbones.get(layout, "narrow_resnet"), "--classes", 5, "--image-size", 64
            )
            assert f"did you mean {right}" in said, (name, layout, said)
            assert LAYOUTS[layout].expects in said


def _changed(name: str, tmp_path: Path, change: Callable[[State], object]) -> tuple[Path, Case]:
    case = CASES[name]()
    change(case.state)
    return case.save(tmp_path / "changed.pt"), case


@pytest.mark.parametrize("name", ["lgcoamix, Dogs", "snapmix", "openmixup", "timm"])
def test_missing_unknown_and_misshapen_tensors_are_named(name, tmp_path):
    stem = {"snapmix": "conv3.0", "openmixup": "backbone.conv1"}.get(name, "conv1")
    head = {"snapmix": "classifier", "openmixup": "head.fc"}.get(name, "fc")

    def change(state: State) -> None:
        state["teacher.weight"] = torch.zeros(2)
        state[f"{stem}.weight"] = torch.zeros(64, 3, 5, 5)
        del state[f"{head}.bias"]

    file, case = _changed(name, tmp_path, change)
    said = _refused(file, case.layout, case.backbone, *case.options())
    assert f"does not fit --from {case.layout} with --backbone {case.backbone}" in said
    assert "1 unknown (teacher.weight)" in said
    assert "1 missing (fc.bias)" in said
    assert "1 of another shape (conv1.weight (64, 3, 5, 5) instead of (64, 3, 7, 7))" in said


def test_a_decoder_that_is_none_of_the_released_ones_is_refused(tmp_path):
    def change(state: State) -> None:
        state["conv6.weight"] = torch.zeros(72, 17, 3, 3)

    file, case = _changed("lgcoamix, Dogs", tmp_path, change)
    said = _refused(file, "lgcoamix", case.backbone, *case.options())
    assert "its decoder (conv5.weight (64, 24, 1, 1), conv6.weight (72, 17, 3, 3), ...) is none of the released" in said


def test_the_network_without_a_last_norm_is_named(files):
    said = _refused(files["lgcoamix, Tiny-ImageNet"], "lgcoamix", "narrow_preact", "--classes", 5)
    assert "4 missing (norm.bias" in said
    assert "did you mean --backbone narrow_preact_raw, which has no last norm?" in said


def test_counters_of_old_files_may_be_missing(tmp_path):
    def change(state: State) -> None:
        for key in [key for key in state if key.endswith("num_batches_tracked")]:
            del state[key]

    file, case = _changed("timm", tmp_path, change)
    assert "counters of BatchNorm" in _convert(file, "timm", case.backbone, tmp_path / "out", *case.options())


def test_weights_that_diverged_or_run_code_are_refused(tmp_path):
    file, case = _changed("timm", tmp_path, lambda state: state["fc.weight"].fill_(float("nan")))
    assert "fc.weight is not finite" in _refused(file, "timm", case.backbone, *case.options())
    torch.save({"fc.weight": Path("x")}, file)
    assert "other things than plain tensors" in _refused(file, "timm", case.backbone, *case.options())
    torch.save([1], file)
    assert "it holds no state dict" in _refused(file, "timm", case.backbone, *case.options())
    file.write_text("hello")
    assert "it is no file of torch" in _refused(file, "timm", case.backbone, *case.options())


def test_a_checkpoint_of_our_own_is_sent_to_export(converted, tmp_path):
    shutil.copy(converted("timm")[0] / "network.pt", tmp_path)
    said = _refused(tmp_path / "network.pt", "timm", "narrow_resnet", "--classes", 5)
    assert "python -m lgcoamix export --checkpoint" in said


def test_an_unknown_backbone_and_layout_are_met_with_those_that_may_be_meant(files):
    assert "did you mean" in _refused(files["timm"], "timm", "narow_resnet", "--classes", 5, code=2)
    assert "did you mean 'snapmix'" in _refused(files["timm"], "snapmx", "narrow_resnet", "--classes", 5, code=2)


def test_safetensors_are_read(files, tmp_path):
    save_file(torch.load(files["timm"]), tmp_path / "x.safetensors")
    _convert(tmp_path / "x.safetensors", "timm", "narrow_resnet", tmp_path / "out", "--classes", 5)


# What the folder says


def test_class_names_come_from_a_file(files, tmp_path):
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\ndog\neel\n")
    out = tmp_path / "out"
    _convert(files["timm"], "timm", "narrow_resnet", out, "--classes", tmp_path / "names.txt")
    assert json.loads((out / "config.json").read_text())["label_names"] == ["ant", "bee", "cat", "dog", "eel"]
    _convert(files["timm"], "timm", "narrow_resnet", out, "--classes", 5)  # an earlier output is replaced
    assert json.loads((out / "config.json").read_text())["label_names"] == ["0", "1", "2", "3", "4"]


def test_names_that_cannot_be_classes_are_refused(files, tmp_path):
    path = tmp_path / "names.txt"
    for text, said in (("ant\nant\n", "different names"), ("ant\n\nbee\n", "one name a line"), ("", "one name a line")):
        path.write_text(text)
        assert said in _refused(files["timm"], "timm", "narrow_resnet", "--classes", path, code=2)
    path.write_bytes(b"\xff\xfe\xfa")
    assert "no text in UTF-8" in _refused(files["timm"], "timm", "narrow_resnet", "--classes", path, code=2)
    for number in (0, 10_000_000):
        assert "from 1 to 999,999" in _refused(files["timm"], "timm", "narrow_resnet", "--classes", number, code=2)
    said = _refused(files["timm"], "timm", "narrow_resnet", "--classes", tmp_path / "nowhere.txt", code=2)
    assert "No such file" in said


def test_a_folder_of_somebody_else_needs_force(files, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    options = (
        files["timm"],
        "--from",
        "timm",
        "--backbone",
        "narrow_resnet",
        "--classes",
        5,
        "--out",
        tmp_path / "out",
    )
    done = _invoke("convert", *options)
    assert done.exit_code == 2
    assert "--force" in done.output
    assert _invoke("convert", *options, "--force").exit_code == 0
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"
    inside = ("--from", "timm", "--backbone", "narrow_resnet", "--classes", 5, "--out", files["timm"].parent)
    assert "holds an input" in _invoke("convert", files["timm"], *inside).output


IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
PROTOCOLS = {  # as their configurations have it: stored size, how, input, mean and deviation
    "lgcoamix, Dogs": (64, "squash", 64, ([0.0] * 3, [1.0] * 3)),
    "occamix": (32, "squash", 32, ([0.0] * 3, [1.0] * 3)),
    "snapmix": (73, "short", 64, IMAGENET),
    "openmixup": (73, "short", 64, IMAGENET),
    "openmixup, CIFAR": (32, "squash", 32, ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.201])),
    "timm": (73, "short", 64, IMAGENET),  # timm's own crop of 0.875
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_images_are_prepared_as_in_the_released_test(name, converted):
    config = json.loads((converted(name)[0] / "config.json").read_text())
    images, cfg = config["lgcoamix"]["images"], config["pretrained_cfg"]
    found = images["size"], images["resize"], cfg["input_size"][1], (cfg["mean"], cfg["std"])
    assert found == PROTOCOLS[name]
    assert config["lgcoamix"]["data"]["test"] == ("center" if images["resize"] == "short" else "resize")


def test_an_input_that_nobody_stated_is_said(files, tmp_path):
    file, options = files["timm"], ("--classes", 5)
    said = _convert(file, "timm", "narrow_resnet", tmp_path / "guessed", *options)
    assert (
        "input: 64 pixels, the centre of the image, normalised, as in timm's narrow_resnet; the file does not" in said
    )
    assert "repeat with --image-size, --test, --normalise" in said
    stated = ("--image-size", 64, "--test", "center", "--normalise", "backbone")
    assert "input: " not in _convert(file, "timm", "narrow_resnet", tmp_path / "stated", *options, *stated)
    size = ("--image-size", 64)
    said = _convert(files["openmixup"], "openmixup", "narrow_resnet", tmp_path / "known", *options)
    assert "input: 64 pixels, as in timm's narrow_resnet" in said
    said = _convert(files["openmixup"], "openmixup", "narrow_resnet", tmp_path / "all-known", *options, *size)
    assert "input: " not in said


def test_the_test_of_a_loop_of_ones_own_can_be_stated(files, flowers_store, flowers, tmp_path):
    maker = Maker()
    released.resnet(maker, released.PLAIN, expansion=4, count=3, **NARROW)
    torch.save(maker.state, tmp_path / "own.pt")
    model, stated = tmp_path / "model", ("--image-size", 32, "--test", "resize", "--normalise", "none")
    _convert(tmp_path / "own.pt", "timm", "narrow_resnet", model, "--shards", flowers_store, *stated)
    card = (model / "README.md").read_text()
    assert "32 pixels, as in the images of the store" in card
    assert "test that was stated" in card
    photos = sorted((flowers / "test").rglob("*.jpg"))[:1]
    done = _invoke("predict", "--model", model, *photos, "--out", tmp_path / "p.csv", "--device", "cpu", "--workers", 0)
    assert done.exit_code == 0, done.output
    with Image.open(photos[0]) as image:  # as the loop did: squashed to the store's 64 pixels, then to 32, in [0, 1]
        pixels = torch.from_numpy(np.array(image.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)))
    means = F.avg_pool2d(pixels.permute(2, 0, 1)[None].double(), 2)
    inputs = (means + 0.5).floor().float() / 255
    with torch.no_grad():
        maps = released.resnet_maps(maker.state, released.PLAIN, inputs, 2)
        shares = released.logits(maker.state, "fc", maps[-1])[0].softmax(dim=0)
    with (tmp_path / "p.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert abs(float(row["probability_1"]) - float(shares.max())) < 1e-4
    assert row["class_1"] == Store(flowers_store).classes[int(shares.argmax())]


def test_snapmix_resized_some_sets_otherwise_and_that_is_said(files, flowers_store, tmp_path):
    said = _convert(files["snapmix"], "snapmix", "narrow_resnet", tmp_path / "x", "--classes", 5, "--image-size", 64)
    assert "images: resized to a short side of 73 pixels, as SnapMix (Huang et al., AAAI 2021) did for CUB" in said
    assert "Stanford Cars and FGVC-Aircraft it squashed to 73x73" in said
    assert "built with --size 73 --resize squash" in said
    said = _convert(files["timm"], "timm", "narrow_resnet", tmp_path / "y", "--classes", 5)
    assert "images: resized" not in said


def test_the_card_says_that_the_weights_are_somebody_elses(files, converted):
    card = (converted("lgcoamix, Dogs")[0] / "README.md").read_text()
    text = html.unescape(card).replace("\\", "")
    digest = hashlib.sha256(files["lgcoamix, Dogs"].read_bytes()).hexdigest()
    for said in (
        "Its weights are not ours",
        digest,
        "LGCOAMix (Dornaika & Sun, IEEE TIP 2024)",
        "None of ours: figures that were published for these weights are their authors'",
        "--checkpoint model --shards STORE",
        "inputs lie in [0, 1] and are not normalised",
        "model.skip=concat",
        "licence of their source",
    ):
        assert said in text, said
    for wrong in ("None |", "seed", "trained from scratch", "All settings", "--license", str(files["timm"].parent)):
        assert wrong not in card, wrong


# To the end


@pytest.fixture(scope="module")
def flower_model(flowers_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted network of LGCOAMix for the three flowers of a store, read-only."""
    home, maker = tmp_path_factory.mktemp("flower-model"), Maker()
    released.resnet(maker, released.PLAIN, expansion=4, count=3, **NARROW)
    released.local(maker, DOGS, 3)
    torch.save(_parallel(maker.state), home / "released.pt")
    said = _convert(
        home / "released.pt",
        "lgcoamix",
        "narrow_resnet_stride16",
        home / "model",
        *("--shards", flowers_store, "--image-size", 64),
    )
    assert "3 classes" in said
    return home / "model"


def test_predict_and_evaluate_give_the_predictions_of_the_released_network(
    flower_model, flowers_store, flowers, tmp_path, monkeypatch
):
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)  # pictures take most of the time
    state = torch.load(flower_model.parent / "released.pt")
    state = {name.removeprefix("module."): value for name, value in state.items()}
    store = Store(flowers_store)
    pixels = torch.from_numpy(store.images("test", range(len(store.splits["test"])))).permute(0, 3, 1, 2)
    with torch.no_grad():
        maps = released.resnet_maps(state, released.PLAIN, pixels.float() / 255, 1)
        logits = released.logits(state, "fc", maps[-1])
    wanted = [store.classes[label] for label in logits.argmax(dim=1).tolist()]
    here = ("--device", "cpu", "--workers", 0)
    done = _invoke(
        *("evaluate", "--checkpoint", flower_model, "--shards", flowers_store, "--out", tmp_path / "e", *here),
        *("--fgsm", "none", "--drop", "none"),
    )
    assert done.exit_code == 0, done.output
    assert "network.pt, converted from released.pt" in done.output
    said = " ".join(done.output.split())
    whose = "converted from released.pt (lgcoamix, of LGCOAMix (Dornaika & Sun, IEEE TIP 2024))"
    assert f"protocol: {whose}; stored 64x64" in said
    with (tmp_path / "e" / "predictions.csv").open(newline="") as file:
        assert [row["prediction"] for row in csv.DictReader(file)] == wanted
    key = store.keys("test")[0]
    photo = flowers / key
    done = _invoke("predict", "--model", flower_model, photo, "--out", tmp_path / "p.csv", *here)
    assert done.exit_code == 0, done.output
    with (tmp_path / "p.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    shares = logits[0].softmax(dim=0)
    assert row["class_1"] == wanted[0]
    assert abs(float(row["probability_1"]) - float(shares.max())) < 1e-4


def test_another_store_is_refused_and_what_to_do_is_said(flowers_store, converted):
    done = _invoke(
        *("evaluate", "--checkpoint", converted("timm")[0], "--shards", flowers_store, "--out", "never"),
        *("--device", "cpu"),
    )
    assert done.exit_code == 1
    assert "convert it again with --shards" in " ".join(done.output.split())


def test_a_centre_needs_a_store_that_is_large_enough(flowers_store, files):
    said = _refused(files["snapmix"], "snapmix", "narrow_resnet", "--shards", flowers_store)
    assert "has 5 classes, expected 3" in said
    maker = Maker()
    released.resnet(maker, released.SNAPMIX, expansion=4, count=3, **NARROW)
    torch.save({"state_dict": maker.state}, files["snapmix"].parent / "three.pt")
    said = _refused(files["snapmix"].parent / "three.pt", "snapmix", "narrow_resnet", "--shards", flowers_store)
    assert "tests on the centre of 448 pixels" in said
    assert "--size 512" in said
    given = ("--shards", flowers_store, "--image-size", 48)
    out = files["snapmix"].parent / "three"
    said = _convert(files["snapmix"].parent / "three.pt", "snapmix", "narrow_resnet", out, *given)
    assert "the store has 64x64, and its centre of 48 pixels is the input; the test of SnapMix" in said
    assert "a short side of 54 pixels: for the same, build a store with --size 54 --resize short" in said
    assert "not those of the test of SnapMix" in (out / "README.md").read_text()


def test_a_training_goes_on_from_the_whole_network(flower_model, flowers_store, tmp_path):
    done = _invoke(
        *("train", "--shards", flowers_store, "--mixer", "lgcoamix", "--backbone", "narrow_resnet_stride16"),
        *("--weights", flower_model / "network.pt", "--image-size", 64, "--batch-size", 12, "--epochs", 1),
        *("--set", "model.width=8", "--set", "optim.lr=1e-30"),
        *("--device", "cpu", "--workers", 0, "--no-pictures", "--no-tensorboard", "--out", tmp_path / "run"),
    )
    assert done.exit_code == 0, done.output
    assert "holds a whole network: decoder, local_head start from it as well" in " ".join(done.output.split())
    before = torch.load(flower_model / "network.pt")["model"]
    after = torch.load(tmp_path / "run" / "last.pt")["model"]
    assert before.keys() == after.keys()
    for name, value in before.items():
        if "running_" not in name and "num_batches" not in name:
            assert torch.equal(after[name], value), name


def test_another_decoder_in_the_file_is_refused_and_a_classifier_of_another_size_starts_afresh(flower_model):
    weights = str(flower_model / "network.pt")
    with pytest.raises(
        WeightsError, match=r"another decoder.*set model\.width, model.skip and model.pool_stem as there"
    ):
        LocalGlobalNet("narrow_resnet_stride16", 3, weights, 64, width=16)
    net, saved = LocalGlobalNet("narrow_resnet_stride16", 7, weights, 64, width=8), torch.load(weights)["model"]
    assert net.filled == ("decoder", "local_head")
    assert net.local_head.classifier.weight.shape == (7, 8)
    assert torch.equal(net.local_head.query.weight, saved["local_head.query.weight"])
    assert LocalGlobalNet("narrow_resnet_stride16", 3, weights, 64, local=False).filled == ()


def test_every_layout_that_the_command_offers_is_there():
    assert tuple(LAYOUTS) == NAMES
