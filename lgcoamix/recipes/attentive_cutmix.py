"""The CIFAR figures of Attentive CutMix (Walawalkar et al., ICASSP 2020, arXiv 2003.13048).

The paper's settings were not available and its code was not released: all but the number of cells is inferred.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lgcoamix.recipes.lgcoamix import EVERYTHING, LGCOAMIX
from lgcoamix.recipes.recipe import Recipe, in_effect
from lgcoamix.settings.mixers import AttentiveCutMixOptions, CutMixOptions, MixupOptions, PlainOptions

_OWN = AttentiveCutMixOptions(mix_prob=1.0, top_cells=6, extractor="resnet152")
_METHODS: dict[str, tuple[str, Any]] = {
    "none": ("No mixing", PlainOptions()),
    "mixup": ("Mixup", MixupOptions(alpha=1.0, mix_prob=1.0)),
    "cutmix": ("CutMix", CutMixOptions(alpha=1.0, mix_prob=1.0)),
    "attentive_cutmix": ("Attentive CutMix", _OWN),
}
_REPORTED = {
    "cifar10": {"none": 84.67, "mixup": 88.52, "cutmix": 87.92, "attentive_cutmix": 88.94},
    "cifar100": {"none": 63.14, "mixup": 64.40, "cutmix": 65.90, "attentive_cutmix": 67.16},
}
_UNKNOWN = (*EVERYTHING, "mixer.alpha", "mixer.extractor", "mixer.extractor_size")


def _recipes() -> Iterator[tuple[str, Recipe]]:
    # Those of cifar10 replace the recipes of the same names in compared.py, which have no reported figure.
    base = LGCOAMIX["cifar10-resnet18"].settings
    for dataset, figures in _REPORTED.items():
        title = dataset.replace("cifar", "CIFAR-")
        for name, (method, mixer) in _METHODS.items():
            settings = replace(base, method=name, mixer=mixer)
            recipe = Recipe(
                summary=f"{method} on {title}, ResNet-18 from scratch, {settings.optim.epochs} epochs",
                dataset=dataset,
                source="Attentive CutMix 2020 (Walawalkar et al., ICASSP; arXiv 2003.13048)",
                protocol="stored images, unchanged; how the reported figure was measured is not known",
                settings=settings,
                reported=f"{figures[name]:.2f} top-1",
                inferred=in_effect(_UNKNOWN, settings),
                notes="The paper's settings are not known; these are those of cifar10-resnet18.",
            )
            yield f"{dataset}-resnet18-{name}", recipe


ATTENTIVE_CUTMIX: dict[str, Recipe] = dict(_recipes())
