"""The recipes of LGCOAMix (Dornaika & Sun, IEEE TIP 2024, arXiv 2512.00130).

Scripts were released for CUB with ResNet-18 and DeiT-B, for Dogs and for CIFAR-100. For figures reported without a
script, every setting that differs between the scripts is inferred.
"""

from dataclasses import replace

from lgcoamix.recipes.recipe import Recipe, in_effect
from lgcoamix.settings.mixers import LGCOAMixOptions
from lgcoamix.settings.sections import DataSettings, ModelSettings, OptimSettings, Settings

SOURCE = "LGCOAMix 2024 (Dornaika & Sun, IEEE TIP; arXiv 2512.00130)"

_DECODER = ("model.width", "model.skip", "model.pool_stem")
_WITHOUT_SCRIPT = (
    *("data.image_size", "data.crop", "data.padding", "data.scale", "data.ratio", "data.flip", "data.test"),
    *("model.weights", "optim.batch_size", "optim.lr", "optim.epochs", "optim.schedule"),
    *("store.segments", "store.compactness", "mixer.gamma_ce", "mixer.gamma_con", "mixer.lam"),
)
# For a data set or method that no script covers, the settings that all scripts share are inferred as well.
EVERYTHING = (
    *_WITHOUT_SCRIPT,
    *("data.normalise", "model.backbone", *_DECODER),
    *("optim.optimiser", "optim.momentum", "optim.nesterov", "optim.weight_decay", "optim.decay"),
    *("mixer.mix_prob", "mixer.select_prob", "mixer.top_ratio", "mixer.temperature", "mixer.base_temperature"),
)

# How images enter the network, how test images are shown, and how the reported figures were measured.
_DOGS = DataSettings(
    image_size=224, crop="resized", scale=(0.08, 1.0), ratio=(1.0, 1.3), test="resize", normalise="none"
)
_CIFAR = DataSettings(image_size=32, crop="pad", padding=4, test="center", normalise="none")
_DATA = {
    "cub": (
        DataSettings(image_size=224, crop="random", test="resize", normalise="none"),
        "full stored image, 256x256, resized to 224",
        "tested on an unreleased list without ImageNet overlap, best test epoch",
    ),
    "dogs": (_DOGS, "full stored image, short side 256, resized to 224x224", "best test epoch"),
    "cifar10": (_CIFAR, "stored images, unchanged", None),
    "cifar100": (_CIFAR, "stored images, unchanged", "best test epoch"),
    "tiny-imagenet": (replace(_CIFAR, image_size=64), "stored images, unchanged", "best test epoch"),
}
_STORED = "The published {} superpixels per crop become {} on the stored 256x256 image: times (256/224)²."
_STORED_CUB = _STORED.format("30 to 40", "39 to 52")


def _recipe(
    dataset: str,
    mixer: LGCOAMixOptions,
    model: ModelSettings,
    optim: OptimSettings,
    inferred: tuple[str, ...] = (),
    **story: str,
) -> Recipe:
    data, shown, measured = _DATA[dataset]
    protocol = f"{shown}; reported: {measured}" if measured else shown
    settings = Settings(method="lgcoamix", mixer=mixer, data=data, model=model, optim=optim)
    inferred = in_effect(inferred, settings)
    return Recipe(dataset=dataset, source=SOURCE, protocol=protocol, settings=settings, inferred=inferred, **story)


LGCOAMIX: dict[str, Recipe] = {
    "cub-resnet18": _recipe(
        "cub",
        LGCOAMixOptions(gamma_ce=0.05, gamma_con=0.05, lam="attention"),
        ModelSettings("resnet18_stride16", "pretrained", width=32, skip="add", pool_stem=True),
        OptimSettings(epochs=300, batch_size=8, lr=0.001, schedule="lgcoamix-c"),
        summary="LGCOAMix on CUB-200-2011, ResNet-18 from ImageNet weights, 300 epochs",
        reported="78.87 top-1",
        inferred=_DECODER,
        notes=f"The decoder is that of a related released script. {_STORED_CUB}",
    ),
    "cub-resnext50": _recipe(
        "cub",
        LGCOAMixOptions(gamma_ce=0.05, gamma_con=0.05, lam="mean"),
        ModelSettings("resnext50_32x4d_stride16", "pretrained", width=32, skip="add", pool_stem=True),
        OptimSettings(epochs=600, batch_size=8, lr=0.001, schedule="lgcoamix-a"),
        summary="LGCOAMix on CUB-200-2011, ResNeXt-50 from ImageNet weights, 600 epochs",
        reported="84.37 top-1",
        inferred=_WITHOUT_SCRIPT,
        store="--compactness 8",
        notes=f"From the script of a related paper; input and local terms as for ResNet-18. {_STORED_CUB}",
    ),
    "cub-deit-b": _recipe(
        "cub",
        LGCOAMixOptions(gamma_ce=0.1, gamma_con=0.05, lam="attention"),
        ModelSettings("deit_base_patch16_224", "pretrained", width=64),
        OptimSettings(epochs=600, batch_size=8, lr=0.001, schedule="lgcoamix-a"),
        summary="LGCOAMix on CUB-200-2011, DeiT-B/16 from ImageNet weights, 600 epochs",
        reported="82.20 top-1",
        store="--segments 39:50",
        notes=_STORED.format("30 to 38", "39 to 50"),
    ),
    "dogs-resnet50": _recipe(
        "dogs",
        LGCOAMixOptions(gamma_ce=0.03, gamma_con=0.05, lam="attention"),
        ModelSettings("resnet50_stride16", "none", width=64, skip="concat"),
        OptimSettings(epochs=600, batch_size=16, lr=0.01, schedule="lgcoamix-b"),
        summary="LGCOAMix on Stanford Dogs, ResNet-50 from scratch, 600 epochs",
        reported="70.95 top-1",
        inferred=("data.scale",),
        notes="The crop's share of the area is torchvision's default. The published 40 to 60 superpixels per crop "
        "become 74 to 111 on the stored image, because such a crop covers 0.54 of it on average.",
    ),
    "cifar100-resnet50": _recipe(
        "cifar100",
        LGCOAMixOptions(gamma_ce=0.1, gamma_con=0.05, lam="mean"),
        ModelSettings("resnet50_cifar", "none", width=64, skip="concat"),
        OptimSettings(epochs=600, batch_size=32, lr=0.02, schedule="lgcoamix-a"),
        summary="LGCOAMix on CIFAR-100, ResNet-50 from scratch, 600 epochs",
        reported="83.92 top-1",
    ),
    "cifar10-resnet18": _recipe(
        "cifar10",
        LGCOAMixOptions(gamma_ce=0.1, gamma_con=0.05, lam="mean"),
        ModelSettings("resnet18_cifar", "none", width=64, skip="concat"),
        OptimSettings(epochs=600, batch_size=32, lr=0.02, schedule="lgcoamix-a"),
        summary="LGCOAMix on CIFAR-10, ResNet-18 from scratch, 600 epochs",
        inferred=EVERYTHING,
        notes="Nothing was published; these are the settings of CIFAR-100.",
    ),
    "tiny-imagenet-resnet18": _recipe(
        "tiny-imagenet",
        LGCOAMixOptions(gamma_ce=0.1, gamma_con=0.05, lam="mean"),
        ModelSettings("preact_resnet18", "none", width=64, skip="concat"),
        OptimSettings(epochs=600, batch_size=100, lr=0.02, schedule="lgcoamix-b"),
        summary="LGCOAMix on Tiny-ImageNet, PreAct-ResNet-18 from scratch, 600 epochs",
        reported="68.27 top-1",
        inferred=_WITHOUT_SCRIPT,
        notes="From the script of SuperpixelGridMix; the local terms and λ as for CIFAR-100.",
    ),
    "tiny-imagenet-resnext50": _recipe(
        "tiny-imagenet",
        LGCOAMixOptions(gamma_ce=0.1, gamma_con=0.05, lam="mean"),
        ModelSettings("resnext50_32x4d_cifar", "none", width=64, skip="add"),
        OptimSettings(epochs=600, batch_size=100, lr=0.02, schedule="lgcoamix-b"),
        summary="LGCOAMix on Tiny-ImageNet, ResNeXt-50 from scratch, 600 epochs",
        reported="73.08 top-1",
        inferred=_WITHOUT_SCRIPT,
        notes="From the script of SuperpixelGridMix; the local terms and λ as for CIFAR-100.",
    ),
}
