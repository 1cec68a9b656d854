"""The recipes of SnapMix (Huang et al., AAAI 2021, arXiv 2012.04846) and of its baselines."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lgcoamix.recipes.recipe import Recipe
from lgcoamix.settings.mixers import CutMixOptions, MixupOptions, PlainOptions, SnapMixOptions
from lgcoamix.settings.sections import DataSettings, ModelSettings, OptimSettings, Settings

_SOURCE = "SnapMix 2021 (Huang et al., AAAI; arXiv 2012.04846)"
_DATA = DataSettings(image_size=448, crop="random", test="center", normalise="backbone")
_PRETRAINED = OptimSettings(
    epochs=200, batch_size=16, lr=0.001, nesterov=True, weight_decay=1e-4, new_layers=10.0, schedule="snapmix"
)
_SCRATCH = replace(_PRETRAINED, epochs=300, lr=0.01, new_layers=1.0, schedule="snapmix-scratch")

_SETS = {"cub": "CUB-200-2011", "cars": "Stanford Cars", "aircraft": "FGVC-Aircraft"}
_TITLES = {"snapmix": "SnapMix", "cutmix": "CutMix", "mixup": "Mixup", "none": "No mixing"}
_BACKBONES = {"resnet18": "ResNet-18", "resnet50": "ResNet-50"}
_REPORTED = {"cub-resnet18-snapmix-448": "84.29 top-1", "cub-resnet50-snapmix-448": "87.75 top-1"}
_CUB_STORE = "--size 512 --resize short --out data/cub-512.h5"
_MID = "--set mixer.mid=true adds the mid-level branch."
_MID_OR_NOT = " Whether the reported figure includes it is not known."


def _recipe(
    dataset: str,
    backbone: str,
    method: str,
    mixer: Any,
    scratch: bool = False,
    reported: str | None = None,
    inferred: tuple[str, ...] = (),
) -> Recipe:
    start, optim = ("from scratch", _SCRATCH) if scratch else ("from ImageNet weights", _PRETRAINED)
    model = ModelSettings(backbone, "none" if scratch else "pretrained")
    stored = "short side 512" if dataset == "cub" else "512x512"
    return Recipe(
        summary=f"{_TITLES[method]} on {_SETS[dataset]}, {_BACKBONES[backbone]} {start}, {optim.epochs} epochs",
        dataset=dataset,
        source=_SOURCE,
        protocol=f"centre crop of 448, stored {stored}" + ("; reported: best test epoch" if reported else ""),
        settings=Settings(method=method, mixer=mixer, data=_DATA, model=model, optim=optim),
        reported=reported,
        inferred=inferred,
        store=_CUB_STORE if dataset == "cub" else None,
        notes=_MID + (_MID_OR_NOT if reported else "") if method == "snapmix" else None,
    )


def _recipes() -> Iterator[tuple[str, Recipe]]:
    for dataset in _SETS:
        for backbone in _BACKBONES:
            name = f"{dataset}-{backbone}-snapmix-448"
            mixer = SnapMixOptions(beta=5.0, mix_prob=1.0)
            yield name, _recipe(dataset, backbone, "snapmix", mixer, reported=_REPORTED.get(name))
    for backbone in _BACKBONES:
        mixer = SnapMixOptions(beta=1.0, mix_prob=0.5)
        yield f"cub-{backbone}-snapmix-scratch", _recipe("cub", backbone, "snapmix", mixer, scratch=True)
    compared = {
        "none": (PlainOptions(), ()),
        "mixup": (MixupOptions(alpha=1.0, mix_prob=0.5), ("mixer.alpha",)),
        "cutmix": (CutMixOptions(alpha=3.0, mix_prob=1.0), ("mixer.mix_prob",)),
    }
    for method, (mixer, inferred) in compared.items():
        yield f"cub-resnet50-{method}-448", _recipe("cub", "resnet50", method, mixer, inferred=inferred)


SNAPMIX: dict[str, Recipe] = dict(_recipes())
