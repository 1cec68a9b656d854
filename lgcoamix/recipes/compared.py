"""The methods that LGCOAMix is compared with, under its protocols: only the method changes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lgcoamix.recipes.lgcoamix import EVERYTHING, LGCOAMIX, SOURCE
from lgcoamix.recipes.recipe import Recipe, in_effect
from lgcoamix.settings.mixers import (
    AttentiveCutMixOptions,
    CutMixOptions,
    CutoutOptions,
    MixupOptions,
    OcCaMixOptions,
    PlainOptions,
    SnapMixOptions,
    SuperpixelGridOptions,
)

_OCCAMIX_SOURCE = "OcCaMix 2023 (Dornaika, Sun, Hammoudi et al., Pattern Recognition)"
# Display name, usual options, and those options that no publication gives for these data sets.
_METHODS: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "none": ("No mixing", PlainOptions(), ()),
    "cutout": ("Cutout", CutoutOptions(area=0.25, mix_prob=1.0), ("mixer.area", "mixer.mix_prob")),
    "mixup": ("Mixup", MixupOptions(alpha=1.0, mix_prob=1.0), ("mixer.alpha", "mixer.mix_prob")),
    "cutmix": ("CutMix", CutMixOptions(alpha=1.0, mix_prob=1.0), ("mixer.alpha", "mixer.mix_prob")),
    "attentive_cutmix": (
        "Attentive CutMix",
        AttentiveCutMixOptions(top_cells=6),
        ("mixer.top_cells", "mixer.mix_prob", "mixer.extractor", "mixer.extractor_size"),
    ),
    "snapmix": ("SnapMix", SnapMixOptions(beta=1.0, mix_prob=0.5), ("mixer.beta", "mixer.mix_prob")),
    "superpixel_grid": (
        "SuperpixelGridMix",
        SuperpixelGridOptions(mix_prob=0.5, select_prob=0.5),
        ("mixer.mix_prob", "mixer.select_prob", "store.segments", "store.compactness"),
    ),
}

_TITLES = {
    "cub-resnet18": "CUB-200-2011, ResNet-18",
    "dogs-resnet50": "Stanford Dogs, ResNet-50",
    "cifar100-resnet50": "CIFAR-100, ResNet-50",
    "cifar10-resnet18": "CIFAR-10, ResNet-18",
    "tiny-imagenet-resnet18": "Tiny-ImageNet, PreAct-ResNet-18",
}

# (name, recipe that gives the protocol, title, backbone if different, reported figure)
_OCCAMIX = (
    ("cub-resnet18", "cub-resnet18", "CUB-200-2011, ResNet-18", None, "78.40 top-1"),
    ("cub-resnet50", "cub-resnet18", "CUB-200-2011, ResNet-50", "resnet50_stride16", "82.94 top-1"),
    ("cub-resnext50", "cub-resnext50", "CUB-200-2011, ResNeXt-50", None, "83.69 top-1"),
    ("dogs-resnet50", "dogs-resnet50", "Stanford Dogs, ResNet-50", None, None),
    ("cifar10-resnet18", "cifar10-resnet18", "CIFAR-10, ResNet-18", None, None),
    ("cifar100-resnet18", "cifar100-resnet50", "CIFAR-100, ResNet-18", "resnet18_cifar", "81.42 top-1"),
    ("cifar100-resnet50", "cifar100-resnet50", "CIFAR-100, ResNet-50", None, "83.69 top-1"),
    ("cifar100-resnext50", "cifar100-resnet50", "CIFAR-100, ResNeXt-50", "resnext50_32x4d_cifar", "84.01 top-1"),
    ("tiny-imagenet-resnet18", "tiny-imagenet-resnet18", "Tiny-ImageNet, PreAct-ResNet-18", None, "67.35 top-1"),
    ("tiny-imagenet-resnext50", "tiny-imagenet-resnext50", "Tiny-ImageNet, ResNeXt-50", None, "72.23 top-1"),
)


def _shown(protocol: str) -> str:
    """How test images are shown, without the remark on LGCOAMix's reported figure."""
    return LGCOAMIX[protocol].protocol.partition("; reported")[0]


def _under_protocols() -> Iterator[tuple[str, Recipe]]:
    for protocol, title in _TITLES.items():
        base = LGCOAMIX[protocol]
        for name, (method, mixer, inferred) in _METHODS.items():
            if name == "snapmix" and base.settings.model.weights == "pretrained":
                mixer = SnapMixOptions(beta=5.0, mix_prob=1.0)
            settings = replace(base.settings, method=name, mixer=mixer)
            recipe = Recipe(
                summary=f"{method} on {title}, under the protocol of LGCOAMix",
                dataset=base.dataset,
                source=SOURCE,
                protocol=_shown(protocol),
                settings=settings,
                inferred=in_effect((*base.inferred, *inferred), settings),
                notes=f"Data, network and schedule are those of {protocol}, published for LGCOAMix and not for this "
                "method. What is inferred there is inferred here.",
            )
            yield f"{protocol}-{name}", recipe


def _occamix() -> Iterator[tuple[str, Recipe]]:
    for name, protocol, title, backbone, reported in _OCCAMIX:
        base = LGCOAMIX[protocol]
        model = replace(base.settings.model, backbone=backbone or base.settings.model.backbone)
        mixer = OcCaMixOptions(mix_prob=0.5, top_cells=6)
        settings = replace(base.settings, method="occamix", mixer=mixer, model=model)
        unknown = (*EVERYTHING, "mixer.top_cells")
        recipe = Recipe(
            summary=f"OcCaMix on {title}, under the protocol of LGCOAMix",
            dataset=base.dataset,
            source=_OCCAMIX_SOURCE,
            protocol=_shown(protocol) + ("; how the reported figure was measured is not known" if reported else ""),
            settings=settings,
            reported=reported,
            inferred=tuple(key for key in in_effect(unknown, settings) if key != "store.compactness"),
            store=None if base.dataset in ("cub", "dogs") else "--compactness 10",
            notes=f"Only the compactness, 10, was published. 6 cells are used as in Attentive CutMix; the other "
            f"settings are those of {protocol}.",
        )
        yield f"{name}-occamix", recipe


def _superpixel_grid_on_tiny_imagenet() -> Recipe:
    base = LGCOAMIX["tiny-imagenet-resnet18"]
    mixer = SuperpixelGridOptions(mix_prob=0.5, select_prob=0.4)
    settings = replace(base.settings, method="superpixel_grid", mixer=mixer)
    return Recipe(
        summary="SuperpixelGridMix on Tiny-ImageNet, PreAct-ResNet-18 from scratch, 600 epochs",
        dataset=base.dataset,
        source="SuperpixelGridMix 2022 (Hammoudi et al., arXiv 2204.08458)",
        protocol="stored images, unchanged",
        settings=settings,
        inferred=("data.test", "model.weights", "mixer.mix_prob"),
        notes="From the released script, which weights a batch mean by λ and pastes from mixed images. "
        "This implementation does neither.",
    )


COMPARED: dict[str, Recipe] = {
    **dict(_under_protocols()),
    **dict(_occamix()),
    "tiny-imagenet-resnet18-superpixel_grid": _superpixel_grid_on_tiny_imagenet(),
}
