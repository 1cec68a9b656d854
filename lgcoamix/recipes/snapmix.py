"""The recipes of SnapMix (Huang et al., AAAI 2021, arXiv 2012.04846) and its baselines, from one table of figures."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lgcoamix.recipes.compared import OF_METHODS, PRETRAINED_SNAPMIX, SCRATCH_SNAPMIX
from lgcoamix.recipes.lgcoamix import OF_SCRIPTS, TORCHVISION
from lgcoamix.recipes.recipe import Recipe, StoreSettings, because, in_effect
from lgcoamix.settings.mixers import CutMixOptions, MixupOptions, PlainOptions, SnapMixOptions
from lgcoamix.settings.sections import DataSettings, ModelSettings, OptimSettings, Settings

_SOURCE = "SnapMix 2021 (Huang et al., AAAI; arXiv 2012.04846)"
_DATA = DataSettings(image_size=448, crop="random", test="center", normalise="backbone")
_PRETRAINED = OptimSettings(
    epochs=200, batch_size=16, lr=0.001, nesterov=True, weight_decay=1e-4, new_layers=10.0, schedule="snapmix"
)
_SCRATCH = replace(_PRETRAINED, epochs=300, lr=0.01, new_layers=1.0, schedule="snapmix-scratch")
_SHORT, _SQUASH = StoreSettings(512, "short", "39:52"), StoreSettings(512, "squash", "39:52")

_BACKBONES = {"resnet18": "ResNet-18", "resnet34": "ResNet-34", "resnet50": "ResNet-50", "resnet101": "ResNet-101"}
_METHODS: dict[str, tuple[str, str, Any]] = {
    "snapmix": ("SnapMix", "snapmix", PRETRAINED_SNAPMIX),
    "snapmix-mid": ("SnapMix with the mid-level branch", "snapmix", replace(PRETRAINED_SNAPMIX, mid=True)),
    "none": ("No mixing", "none", PlainOptions()),
    "mixup": ("Mixup", "mixup", MixupOptions(alpha=1.0, mix_prob=0.5)),
    "cutmix": ("CutMix", "cutmix", CutMixOptions(alpha=3.0, mix_prob=1.0)),
}
# Title, store, and what is known of figures without their settings.
_SETS = {
    "cub": ("CUB-200-2011", _SHORT, "89.6 and 75.53"),
    "cars": ("Stanford Cars", _SQUASH, "90.1"),
    "aircraft": ("FGVC-Aircraft", _SQUASH, "82.96"),
    "nabirds": ("NABirds", _SHORT, None),
    "flowers102": ("Flowers-102", _SHORT, "59.79 (test) and 65.71 (val)"),
}
# Top-1 by data set, backbone, start and method; all that is known.
_REPORTED = {
    "cub-resnet18-snapmix-448": 84.29,
    "cub-resnet50-snapmix-448": 87.75,
    "cub-resnet50-snapmix-mid-448": 88.70,
    "cub-resnet50-none-448": 85.49,
    "cub-resnet18-snapmix-scratch": 70.31,
    "cub-resnet50-snapmix-scratch": 72.17,
    "cars-resnet18-snapmix-448": 93.12,
    "cars-resnet50-snapmix-448": 94.30,
    "aircraft-resnet18-snapmix-448": 90.17,
    "aircraft-resnet50-snapmix-448": 92.08,
}

_UNKNOWN = (
    *("data.image_size", "data.crop", "data.flip", "data.test", "data.normalise", "store.size", "store.resize"),
    *("model.backbone", "model.weights", "model.init", "mixer.alpha", "mixer.beta", "mixer.mix_prob", "mixer.mid"),
    *(f"optim.{key}" for key in ("epochs", "batch_size", "optimiser", "lr", "momentum", "weight_decay", "nesterov")),
    *("optim.decay", "optim.new_layers", "optim.schedule"),
)


def _recipe(name: str, dataset: str, backbone: str, variant: str, scratch: bool) -> Recipe:
    title, store, listed = _SETS[dataset]
    label, method, mixer = _METHODS[variant]
    if scratch and method == "snapmix":
        mixer = from_scratch(mixer)
    start, optim = ("from scratch", _SCRATCH) if scratch else ("from ImageNet weights", _PRETRAINED)
    model = ModelSettings(backbone, "none", init="torchvision") if scratch else ModelSettings(backbone, TORCHVISION)
    settings = Settings(method=method, mixer=mixer, data=_DATA, model=model, optim=optim)
    figure = _REPORTED.get(name)
    unknown = because("as on CUB; nothing was published for Flowers-102", *_UNKNOWN) if dataset == "flowers102" else {}
    return Recipe(
        summary=f"{label} on {title}, {_BACKBONES[backbone]} {start}, {optim.epochs} epochs",
        dataset=dataset,
        source=_SOURCE,
        settings=settings,
        store=store,
        reported=None if figure is None else f"{figure:.2f} top-1",
        split="test",
        best="chosen on that split",
        inferred=in_effect(unknown, settings),
        departures=(*OF_METHODS.get(method, ()), OF_SCRIPTS[-1]),
        notes=_notes(method, mixer, listed),
    )


def from_scratch(mixer: SnapMixOptions) -> SnapMixOptions:
    """Give the options that the paper has for networks without ImageNet weights."""
    return replace(mixer, beta=SCRATCH_SNAPMIX.beta, mix_prob=SCRATCH_SNAPMIX.mix_prob)


def _notes(method: str, mixer: Any, listed: str | None) -> str | None:
    if method != "snapmix":
        return None
    branch = "With mixer.mid, logits of a second classifier are added when testing. "
    if not mixer.mid:
        branch = "Without the mid-level branch (--set mixer.mid=true adds it). "
    return branch + (f"A benchmark listing also has {listed} for SnapMix, with unknown settings." if listed else "")


def _recipes() -> Iterator[tuple[str, Recipe]]:
    for dataset in _SETS:
        for backbone in _BACKBONES:
            for variant in _METHODS:
                name = f"{dataset}-{backbone}-{variant}-448"
                yield name, _recipe(name, dataset, backbone, variant, scratch=False)
    for backbone in _BACKBONES:  # the paper trains on CUB alone from scratch
        for variant in _METHODS:
            name = f"cub-{backbone}-{variant}-scratch"
            yield name, _recipe(name, "cub", backbone, variant, scratch=True)


SNAPMIX: dict[str, Recipe] = dict(_recipes())
