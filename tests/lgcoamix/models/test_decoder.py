"""The decoder's steps are those of the published tables (METHODS 1), copied by hand."""

import pytest
import torch
from torch import nn

from lgcoamix.models import Decoder, LocalGlobalNet

# (channels in, channels out, kernel, side of the output at 224)
DOGS_R50 = [(2048, 512, 1, 14), (1536, 256, 3, 28), (768, 128, 3, 56), (384, 64, 3, 112), (128, 64, 3, 224)]
DOGS_R18 = [(512, 128, 1, 14), (384, 64, 3, 28), (192, 32, 3, 56), (96, 64, 3, 112), (128, 64, 3, 224)]
CUB_R18 = [(512, 256, 1, 14), (256, 128, 3, 28), (128, 64, 3, 56), (64, 64, 1, 56), (64, 32, 3, 112), (32, 32, 3, 224)]
CUB_RESNEXT50 = [
    *[(2048, 1024, 1, 14), (1024, 512, 3, 28), (512, 256, 3, 56)],
    *[(256, 64, 1, 56), (64, 32, 3, 112), (32, 32, 3, 224)],
]
DEIT_B = [(768, 256, 3, 28), (256, 128, 3, 56), (128, 64, 3, 112), (64, 64, 3, 224)]

TABLE = {
    "Dogs R50": ("resnet50_stride16", {}, DOGS_R50),
    "CUB R18": ("resnet18_stride16", {"width": 32, "skip": "add", "pool_stem": True}, CUB_R18),
    "CUB ResNeXt50": ("resnext50_32x4d_stride16", {"width": 32, "skip": "add", "pool_stem": True}, CUB_RESNEXT50),
    "DeiT-B": ("deit_base_patch16_224", {}, DEIT_B),
    "Dogs R18": ("resnet18_stride16", {}, DOGS_R18),
}


@pytest.mark.parametrize(("name", "options", "steps"), TABLE.values(), ids=TABLE)
def test_steps_are_those_of_the_published_decoder(name, options, steps):
    seen = []

    def note(module: nn.Module, _: object, out: torch.Tensor) -> None:
        assert module.bias is None
        seen.append((module.in_channels, module.out_channels, module.kernel_size[0], out.shape[-1]))

    with torch.device("meta"):  # shapes alone, nothing is computed
        net = LocalGlobalNet(name, 7, **options).eval()
        for module in net.decoder.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.register_forward_hook(note)
        maps = net.backbone.forward_maps(torch.zeros(1, 3, 224, 224))[1]
        assert net.decoder(maps, (224, 224)).shape == (1, options.get("width", 64), 224, 224)
    assert seen == steps


def test_every_step_but_the_last_ends_in_a_relu():
    decoder = Decoder([4, 8], [2, 4], width=6)
    kinds = [type(module).__name__ for module in decoder.modules() if not list(module.children())]
    assert kinds == ["ConvTranspose2d", "BatchNorm2d", "ReLU", "ConvTranspose2d", "BatchNorm2d"]


def test_output_channels_differ_from_the_start():
    # The released initialisation makes them all equal: METHODS 8.
    torch.manual_seed(0)
    for module in Decoder([4, 8], [2, 4], width=6).modules():
        if isinstance(module, nn.ConvTranspose2d):
            assert module.weight.std(dim=1).min() > 0


def test_skipped_maps_are_joined_as_told():
    maps = [torch.rand(2, 4, 8, 8), torch.rand(2, 8, 4, 4)]
    for skip, joined in (("concat", 6 + 4), ("add", 4)):
        decoder = Decoder([4, 8], [2, 4], width=6, skip=skip)
        assert decoder.tail[0].in_channels == joined
        assert decoder(maps, (16, 16)).shape == (2, 6, 16, 16)


def test_an_unknown_way_to_join_is_refused():
    with pytest.raises(ValueError, match="skip must be 'concat' or 'add', got 'sum'"):
        Decoder([4, 8], [2, 4], skip="sum")
