"""The recipes of LGCOAMix (Dornaika & Sun, IEEE TIP 2024, arXiv 2512.00130).

Scripts were released for CUB with ResNet-18 and DeiT-B, for Dogs and for CIFAR-100. For figures reported without a
script, every setting that differs between the scripts is inferred.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lgcoamix.recipes.recipe import Departure, Recipe, StoreSettings, because, in_effect
from lgcoamix.settings.mixers import LGCOAMixOptions
from lgcoamix.settings.sections import DataSettings, ModelSettings, OptimSettings, Settings

SOURCE = "LGCOAMix 2024 (Dornaika & Sun, IEEE TIP; arXiv 2512.00130)"
TORCHVISION = "tv_in1k"  # timm's tag of torchvision's first ImageNet weights, which the released scripts load
PREACT = "preact_resnet18_raw"  # without a norm after the last block, as released

_DECODER = ("model.width", "model.skip", "model.pool_stem")
_OF_SCRIPTS = (
    *("data.image_size", "data.crop", "data.padding", "data.scale", "data.ratio", "data.flip", "data.test"),
    *("model.weights", "model.init", "optim.batch_size", "optim.lr", "optim.epochs", "optim.schedule"),
    *("store.size", "store.resize", "store.segments", "store.compactness"),
    *("mixer.gamma_ce", "mixer.gamma_con", "mixer.lam"),
)
_SHARED = (  # by all scripts
    *("data.normalise", "model.backbone", *_DECODER),
    *("optim.optimiser", "optim.momentum", "optim.nesterov", "optim.weight_decay", "optim.decay"),
    "optim.new_layers",
    *("mixer.mix_prob", "mixer.select_prob", "mixer.top_ratio", "mixer.temperature", "mixer.base_temperature"),
)


def without_script(why: str) -> dict[str, str]:
    """What is inferred for a data set or backbone that no script covers: all that differs between the scripts."""
    return because(why, *_OF_SCRIPTS)


def everything(why: str) -> dict[str, str]:
    """What is inferred for a method or data set of which nothing is known: also what all scripts share."""
    return because(why, *_OF_SCRIPTS, *_SHARED)


# How images enter the network, and how they are stored. The counts of superpixels keep the size of a superpixel.
_DOGS = DataSettings(
    image_size=224, crop="resized", scale=(0.08, 1.0), ratio=(1.0, 1.3), test="resize", normalise="none"
)
_CIFAR = DataSettings(image_size=32, crop="pad", padding=4, test="center", normalise="none")
_DATA = {
    "cub": DataSettings(image_size=224, crop="random", test="resize", normalise="none"),
    "dogs": _DOGS,
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
    "tiny-imagenet": replace(_CIFAR, image_size=64),
}
_STORES = {
    "cub": StoreSettings(256, "squash", "39:52", 10.0),  # 30 to 40 per crop of 224, times (256/224)²
    "dogs": StoreSettings(None, "none", "74:111", 10.0),  # 40 to 60 per crop, which covers 0.54 of the image
    "cifar10": StoreSettings(32, "squash", "30:35", 8.0),
    "cifar100": StoreSettings(32, "squash", "30:35", 8.0),
    "tiny-imagenet": StoreSettings(64, "squash", "64", 7.0),
}
_SPLITS = {"cub": "test images without those of ImageNet, by an unreleased list", "tiny-imagenet": "val"}

_CROPS = "of every augmented crop, with another count for each role of an image"
_STORED = "cut from those of the stored image, one count per image and step"
_OF_DATA = {
    "cub": (
        Departure(
            "test input",
            "the original resized to 224 at once",
            "resized to 256, then to 224: 0.89 of the mean gradient; README, Recipes, says how to test as published",
        ),
        Departure(
            "test images", "those without ImageNet's, by an unreleased list", "all, or build with --exclude FILE"
        ),
    ),
}
OF_SCRIPTS = (  # of the project that all these scripts belong to
    Departure("optimiser's state", "lost after every epoch: the optimiser is built again", "kept"),
    Departure(
        "figure",
        "the best test epoch, in some runs from a preset best",
        "last, best and median of the last 10 epochs, named as such",
    ),
)
OF_MAPS = Departure("superpixels", _CROPS, _STORED)
_OF_METHOD = (
    OF_MAPS,
    Departure("axes before SLIC and pooling", "reshaped, which scrambles pixels", "moved"),
    Departure("contrast loss", "in a file that the scripts do not import", "inferred from that file"),
    Departure(
        "decoder and local head in unmixed steps",
        "keep momentum and decay: zero_grad left zeros (1 % of the norm after 400 steps)",
        "are not changed",
    ),
    *OF_SCRIPTS,
)
_EQUAL = Departure("decoder's start", "a constant filling, equal in all output channels", "Kaiming")
_FAN_OUT = Departure(
    "decoder's start",
    "Kaiming; for its two 1x1 steps, transposed convolutions, by the input channels (deviations 0.072 and 0.125)",
    "Kaiming by the output channels (0.177 for both)",
)


def _recipe(
    dataset: str,
    mixer: LGCOAMixOptions,
    model: ModelSettings,
    optim: OptimSettings,
    inferred: Mapping[str, str] | None = None,
    store: StoreSettings | None = None,
    departures: tuple[Departure, ...] = (),
    **story: Any,
) -> Recipe:
    settings = Settings(method="lgcoamix", mixer=mixer, data=_DATA[dataset], model=model, optim=optim)
    story |= {"split": _SPLITS.get(dataset, "test"), "best": "chosen on that split"} if "reported" in story else {}
    return Recipe(
        dataset=dataset,
        source=SOURCE,
        settings=settings,
        store=store or _STORES[dataset],
        inferred=in_effect(inferred or {}, settings),
        departures=(*departures, *_OF_DATA.get(dataset, ()), *_OF_METHOD),
        **story,
    )


def _counts(published: str, how: str) -> Departure:
    return Departure("store.segments", f"{published} on each crop", how)


_LARGER = "times (256/224)², on the stored image"
_SISTER = "as in the script of a related paper"
_AS_GRID = "as in the script of SuperpixelGridMix"
_AS_CIFAR = "as for CIFAR-100"
_TINY = without_script(_AS_GRID) | because(_AS_CIFAR, "mixer.gamma_ce", "mixer.gamma_con", "mixer.lam")
_TINY |= because("images of 64 pixels are stored as they are", "store.size", "store.resize")
_NOT_PUBLISHED = "nothing was published; as for CIFAR-100"

LGCOAMIX: dict[str, Recipe] = {
    "cub-resnet18": _recipe(
        "cub",
        LGCOAMixOptions(gamma_ce=0.05, gamma_con=0.05, lam="attention"),
        ModelSettings("resnet18_stride16", TORCHVISION, width=32, skip="add", pool_stem=True),
        OptimSettings(epochs=300, batch_size=8, lr=0.001, schedule="lgcoamix-c"),
        summary="LGCOAMix on CUB-200-2011, ResNet-18 from ImageNet weights, 300 epochs",
        reported="78.87 top-1",
        inferred=because("as in the decoder of a related script", *_DECODER),
        departures=(_counts("30:40", _LARGER), _EQUAL),
    ),
    "cub-resnext50": _recipe(
        "cub",
        LGCOAMixOptions(gamma_ce=0.05, gamma_con=0.05, lam="mean"),
        ModelSettings("resnext50_32x4d_stride16", TORCHVISION, width=32, skip="add", pool_stem=True),
        OptimSettings(epochs=600, batch_size=8, lr=0.001, schedule="lgcoamix-a"),
        summary="LGCOAMix on CUB-200-2011, ResNeXt-50 from ImageNet weights, 600 epochs",
        reported="84.37 top-1",
        inferred=without_script(_SISTER)
        | because("as for ResNet-18", "data.image_size", "data.crop", "data.flip", "data.test", "mixer.gamma_ce")
        | because("as for ResNet-18", "mixer.gamma_con", "store.size", "store.resize")
        | because("torchvision's first weights, which the scripts load for other ResNets", "model.weights"),
        store=replace(_STORES["cub"], compactness=8.0),
        departures=(_counts("30:40", _LARGER), _EQUAL),
    ),
    "cub-deit-b": _recipe(
        "cub",
        LGCOAMixOptions(gamma_ce=0.1, gamma_con=0.05, lam="attention"),
        ModelSettings("deit_base_patch16_224", "fb_in1k", width=64),
        OptimSettings(epochs=600, batch_size=8, lr=0.001, schedule="lgcoamix-a"),
        summary="LGCOAMix on CUB-200-2011, DeiT-B/16 from ImageNet weights, 600 epochs",
        reported="82.20 top-1",
        inferred=because(
            "ImageNet weights, it is not known which; these are the only ones of this network in timm, by its authors",
            "model.weights",
        ),
        store=replace(_STORES["cub"], segments="39:50"),
        departures=(
            _counts("30:38", _LARGER),
            _EQUAL,
            Departure("tokens", "class token kept, last patch dropped, rows and columns not transposed", "as they lie"),
            Departure("classifier", "timm's own of 1000 classes; the new one of 200 is never used", "one of 200"),
        ),
    ),
    "dogs-resnet50": _recipe(
        "dogs",
        LGCOAMixOptions(gamma_ce=0.03, gamma_con=0.05, lam="attention"),
        ModelSettings("resnet50_stride16", "none", init="released", width=64, skip="concat"),
        OptimSettings(epochs=600, batch_size=16, lr=0.01, schedule="lgcoamix-b"),
        summary="LGCOAMix on Stanford Dogs, ResNet-50 from scratch, 600 epochs",
        reported="70.95 top-1",
        inferred=because("torchvision's default", "data.scale"),
        departures=(
            _counts("40:60", "divided by 0.54, the share of the image that a crop covers on average"),
            _EQUAL,
        ),
    ),
    "cifar100-resnet50": _recipe(
        "cifar100",
        LGCOAMixOptions(gamma_ce=0.1, gamma_con=0.05, lam="mean"),
        ModelSettings("resnet50_cifar", "none", init="torchvision", width=64, skip="concat"),
        OptimSettings(epochs=600, batch_size=32, lr=0.02, schedule="lgcoamix-a"),
        summary="LGCOAMix on CIFAR-100, ResNet-50 from scratch, 600 epochs",
        reported="83.92 top-1",
        departures=(_FAN_OUT,),
    ),
    "cifar10-resnet18": _recipe(
        "cifar10",
        LGCOAMixOptions(gamma_ce=0.1, gamma_con=0.05, lam="mean"),
        ModelSettings("resnet18_cifar", "none", init="torchvision", width=64, skip="concat"),
        OptimSettings(epochs=600, batch_size=32, lr=0.02, schedule="lgcoamix-a"),
        summary="LGCOAMix on CIFAR-10, ResNet-18 from scratch, 600 epochs",
        inferred=everything(_NOT_PUBLISHED),
    ),
    "tiny-imagenet-resnet18": _recipe(
        "tiny-imagenet",
        LGCOAMixOptions(gamma_ce=0.1, gamma_con=0.05, lam="mean"),
        ModelSettings(PREACT, "none", init="released", width=64, skip="concat"),
        OptimSettings(epochs=600, batch_size=100, lr=0.02, schedule="lgcoamix-b"),
        summary="LGCOAMix on Tiny-ImageNet, PreAct-ResNet-18 from scratch, 600 epochs",
        reported="68.27 top-1",
        inferred=_TINY | because("as in a released file that counts the parameters of this network", "model.init"),
        departures=(_EQUAL,),
    ),
    "tiny-imagenet-resnext50": _recipe(
        "tiny-imagenet",
        LGCOAMixOptions(gamma_ce=0.1, gamma_con=0.05, lam="mean"),
        ModelSettings("resnext50_32x4d_cifar", "none", init="torchvision", width=64, skip="add"),
        OptimSettings(epochs=600, batch_size=100, lr=0.02, schedule="lgcoamix-b"),
        summary="LGCOAMix on Tiny-ImageNet, ResNeXt-50 from scratch, 600 epochs",
        reported="73.08 top-1",
        inferred=_TINY,
        departures=(_EQUAL,),
    ),
}
