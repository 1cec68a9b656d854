"""The figures of Attentive CutMix (Walawalkar et al., ICASSP 2020, arXiv 2003.13048), from one table.

The paper's settings were not available and its code was not released: all but the number of cells is inferred.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lgcoamix.recipes.compared import OF_METHODS
from lgcoamix.recipes.lgcoamix import LGCOAMIX, everything
from lgcoamix.recipes.recipe import Recipe, StoreSettings, because, in_effect
from lgcoamix.settings.mixers import AttentiveCutMixOptions, CutMixOptions, MixupOptions, PlainOptions
from lgcoamix.settings.sections import DataSettings, ModelSettings, OptimSettings, Settings

_SOURCE = "Attentive CutMix 2020 (Walawalkar et al., ICASSP; arXiv 2003.13048)"
_METHODS: dict[str, tuple[str, Any]] = {
    "none": ("No mixing", PlainOptions()),
    "mixup": ("Mixup", MixupOptions(alpha=1.0, mix_prob=1.0)),
    "cutmix": ("CutMix", CutMixOptions(alpha=1.0, mix_prob=1.0)),
    "attentive_cutmix": (
        "Attentive CutMix",
        AttentiveCutMixOptions(mix_prob=1.0, top_cells=6, extractor="resnet152"),
    ),
}
_SETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet": "ImageNet"}
_Row = tuple[float, float, float, float]
# Title and name of the network; top-1 without mixing, with Mixup, CutMix, Attentive CutMix; CIFAR-10, -100, ImageNet.
_TABLE: tuple[tuple[str, str, tuple[_Row, _Row, _Row]], ...] = (
    (
        "ResNet-18",
        "resnet18",
        ((84.67, 88.52, 87.92, 88.94), (63.14, 64.40, 65.90, 67.16), (73.54, 74.46, 75.32, 75.78)),
    ),
    (
        "ResNet-34",
        "resnet34",
        ((87.12, 88.70, 88.75, 90.40), (65.54, 67.83, 68.32, 70.03), (77.31, 79.03, 79.22, 80.13)),
    ),
    (
        "ResNet-101",
        "resnet101",
        ((90.47, 91.89, 92.13, 93.25), (68.24, 70.76, 71.32, 72.86), (78.73, 79.42, 80.56, 81.16)),
    ),
    (
        "ResNet-152",
        "resnet152",
        ((92.45, 94.21, 94.35, 94.79), (71.49, 74.81, 73.21, 75.37), (78.98, 80.01, 80.25, 80.93)),
    ),
    (
        "DenseNet-121",
        "densenet121",
        ((85.65, 87.56, 87.98, 88.34), (65.12, 66.84, 67.62, 69.23), (75.87, 76.89, 77.34, 77.98)),
    ),
    (
        "DenseNet-169",
        "densenet169",
        ((87.67, 89.12, 89.23, 90.45), (66.42, 68.24, 69.58, 71.34), (77.03, 79.10, 79.32, 79.78)),
    ),
    (
        "DenseNet-201",
        "densenet201",
        ((91.21, 93.21, 93.45, 94.16), (70.28, 72.89, 73.57, 74.65), (78.67, 80.14, 80.23, 80.87)),
    ),
    (
        "DenseNet-264",
        "densenet264",
        ((92.78, 94.20, 94.34, 94.83), (73.51, 76.49, 75.23, 77.58), (79.59, 82.11, 82.36, 82.79)),
    ),
    (
        "EfficientNet-B0",
        "efficientnet_b0",
        ((87.45, 88.07, 88.67, 88.94), (64.67, 65.78, 66.95, 67.48), (76.12, 78.19, 78.21, 78.79)),
    ),
    (
        "EfficientNet-B1",
        "efficientnet_b1",
        ((90.12, 90.99, 91.37, 92.10), (66.89, 68.23, 68.12, 68.96), (78.47, 79.96, 80.17, 81.03)),
    ),
    (
        "EfficientNet-B6",
        "efficientnet_b6",
        ((92.74, 93.76, 93.28, 93.92), (71.34, 73.56, 73.75, 74.82), (83.89, 84.43, 84.60, 85.29)),
    ),
    (
        "EfficientNet-B7",
        "efficientnet_b7",
        ((94.95, 95.11, 95.25, 95.86), (75.67, 77.21, 77.57, 78.52), (84.34, 85.12, 85.19, 85.32)),
    ),
)
_OF_CIFAR = everything("the paper's settings are not known; as in cifar10-resnet18")
_OF_IMAGENET = everything("the paper's settings are not known; usual for ImageNet")
_OF_METHOD = because("the usual value", "mixer.alpha", "mixer.mix_prob") | because(
    "the paper names ResNet-152 as an example", "mixer.extractor"
)
_OF_METHOD |= because("the input of the network in its training", "mixer.extractor_size")
_IMAGENET = Settings(
    data=DataSettings(image_size=224, crop="resized", scale=(0.08, 1.0), test="center", normalise="backbone"),
    optim=OptimSettings(epochs=100, batch_size=256, lr=0.1, weight_decay=1e-4, schedule="cosine"),
)


def _settings(dataset: str, network: str) -> Settings:
    init = "torchvision" if network.startswith("resnet") else "timm"
    if dataset == "imagenet":
        return replace(_IMAGENET, model=ModelSettings(network, "none", init=init))
    return replace(LGCOAMIX["cifar10-resnet18"].settings, model=ModelSettings(f"{network}_cifar", "none", init=init))


def _recipes() -> Iterator[tuple[str, Recipe]]:
    # Some of cifar10 replace recipes of the same names in compared.py, which have no reported figure.
    store = {
        "cifar10": LGCOAMIX["cifar10-resnet18"].store,
        "cifar100": LGCOAMIX["cifar100-resnet50"].store,
        "imagenet": StoreSettings(256, "short", "56:74"),
    }
    for title, network, figures in _TABLE:
        for (dataset, set_title), row in zip(_SETS.items(), figures, strict=True):
            base = _settings(dataset, network)
            for (name, (method, mixer)), figure in zip(_METHODS.items(), row, strict=True):
                settings = replace(base, method=name, mixer=mixer)
                unknown = (_OF_IMAGENET if dataset == "imagenet" else _OF_CIFAR) | _OF_METHOD
                recipe = Recipe(
                    summary=f"{method} on {set_title}, {title} from scratch, {settings.optim.epochs} epochs",
                    dataset=dataset,
                    source=_SOURCE,
                    settings=settings,
                    store=store[dataset],
                    reported=f"{figure:.2f} top-1",
                    inferred=in_effect(unknown, settings),
                    departures=OF_METHODS.get(name, ()),
                    notes=_note(dataset, network),
                )
                yield f"{dataset}-{network}-{name}", recipe


def _note(dataset: str, network: str) -> str:
    if network == "densenet264":
        return "timm has no DenseNet-264; lgcoamix.models adds it: blocks of 6, 12, 64 and 48 layers that grow by 32."
    if dataset != "imagenet":
        return "How the paper's network takes images of 32 pixels is not known; ours has a stem of stride 1."
    return "All settings but the number of cells are ours."


ATTENTIVE_CUTMIX: dict[str, Recipe] = dict(_recipes())
