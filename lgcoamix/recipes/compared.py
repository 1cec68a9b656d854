"""The methods that LGCOAMix is compared with, under its protocols: only the method changes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lgcoamix.recipes.lgcoamix import LGCOAMIX, OF_MAPS, OF_SCRIPTS, SOURCE, TORCHVISION, everything
from lgcoamix.recipes.recipe import Departure, Recipe, because, in_effect
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

# SnapMix's own options, by the start of the network.
PRETRAINED_SNAPMIX, SCRATCH_SNAPMIX = SnapMixOptions(beta=5.0, mix_prob=1.0), SnapMixOptions(beta=1.0, mix_prob=0.5)
_OCCAMIX_SOURCE = "OcCaMix 2023 (Dornaika, Sun, Hammoudi et al., Pattern Recognition)"
_USUAL = "the usual value; nothing was published for this data set"
_AS_PAPER = "the paper's value for other data sets"
# Display name, usual options, and those options that no publication gives for these data sets.
_METHODS: dict[str, tuple[str, Any, dict[str, str]]] = {
    "none": ("No mixing", PlainOptions(), {}),
    "cutout": ("Cutout", CutoutOptions(area=0.25, mix_prob=1.0), because(_USUAL, "mixer.area", "mixer.mix_prob")),
    "mixup": ("Mixup", MixupOptions(alpha=1.0, mix_prob=1.0), because(_USUAL, "mixer.alpha", "mixer.mix_prob")),
    "cutmix": ("CutMix", CutMixOptions(alpha=1.0, mix_prob=1.0), because(_USUAL, "mixer.alpha", "mixer.mix_prob")),
    "attentive_cutmix": (
        "Attentive CutMix",
        AttentiveCutMixOptions(top_cells=6),
        because(_AS_PAPER, "mixer.top_cells")
        | because("ours", "mixer.extractor", "mixer.extractor_size")
        | because(_USUAL, "mixer.mix_prob"),
    ),
    "snapmix": (
        "SnapMix",
        SCRATCH_SNAPMIX,
        because(_AS_PAPER, "mixer.beta", "mixer.mix_prob"),
    ),
    "superpixel_grid": (
        "SuperpixelGridMix",
        SuperpixelGridOptions(mix_prob=0.5, select_prob=0.5),
        because("as for LGCOAMix", "mixer.mix_prob", "mixer.select_prob", "store.segments", "store.compactness"),
    ),
}
OF_METHODS: dict[str, tuple[Departure, ...]] = {
    "attentive_cutmix": (
        Departure("attention", '"heatmap" of an external classifier', "mean over the channels of its last map"),
    ),
    "snapmix": (Departure("pairs of one label", "count both weights, and so count twice", "count each weight once"),),
    "superpixel_grid": (OF_MAPS,),
    "occamix": (
        OF_MAPS,
        Departure("attentive cells", "the class maximum of a wrong view: they are not cells", "of the cells"),
        Departure("network after the attention pass", "stays in eval mode", "goes on in training mode"),
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


def _inputs(protocol: str) -> tuple[Departure, ...]:
    """The departures of a recipe that have nothing to do with its method."""
    names = ("test input", "test images")
    return tuple(part for part in LGCOAMIX[protocol].departures if part.what in names)


def _counts(protocol: str) -> tuple[Departure, ...]:
    return tuple(part for part in LGCOAMIX[protocol].departures if part.what == "store.segments")


def _under_protocols() -> Iterator[tuple[str, Recipe]]:
    for protocol, title in _TITLES.items():
        base = LGCOAMIX[protocol]
        for name, (method, mixer, inferred) in _METHODS.items():
            if name == "snapmix" and base.settings.model.weights == TORCHVISION:
                mixer = PRETRAINED_SNAPMIX
            settings = replace(base.settings, method=name, mixer=mixer)
            counts = _counts(protocol) if settings.mixer.needs_maps else ()
            recipe = Recipe(
                summary=f"{method} on {title}, under the protocol of LGCOAMix",
                dataset=base.dataset,
                source=SOURCE,
                settings=settings,
                store=base.store,
                inferred=in_effect({**base.inferred, **inferred}, settings),
                departures=(*counts, *_inputs(protocol), *OF_METHODS.get(name, ()), *OF_SCRIPTS),
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
        unknown = everything(f"as for {protocol}") | because("as in Attentive CutMix", "mixer.top_cells")
        recipe = Recipe(
            summary=f"OcCaMix on {title}, under the protocol of LGCOAMix",
            dataset=base.dataset,
            source=_OCCAMIX_SOURCE,
            settings=settings,
            store=base.store and replace(base.store, compactness=10.0),
            reported=reported,
            inferred={key: why for key, why in in_effect(unknown, settings).items() if key != "store.compactness"},
            departures=(*_inputs(protocol), *OF_METHODS["occamix"], *OF_SCRIPTS),
            notes="Of all settings only the compactness, 10, was published.",
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
        settings=settings,
        store=base.store,
        inferred=because("the images have the size of the input", "data.test")
        | because("from scratch, as for CIFAR-100", "model.weights")
        | because(base.inferred["model.init"], "model.init")
        | because("as for LGCOAMix", "mixer.mix_prob"),
        departures=(
            OF_MAPS,
            Departure("label weights", "λ weights the mean of a batch", "λ of each image weights its own loss"),
            Departure("pasted images", "perhaps already mixed: pasted in place", "as they were before mixing"),
            *OF_SCRIPTS,
        ),
    )


COMPARED: dict[str, Recipe] = {
    **dict(_under_protocols()),
    **dict(_occamix()),
    "tiny-imagenet-resnet18-superpixel_grid": _superpixel_grid_on_tiny_imagenet(),
}
