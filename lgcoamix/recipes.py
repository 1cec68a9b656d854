"""Named settings. A recipe says where it comes from, under which protocol, and what was reported with it."""

from dataclasses import dataclass

from lgcoamix.config import DataSettings, ModelSettings, OptimSettings, Settings
from lgcoamix.methods import LGCOAMixOptions


@dataclass(frozen=True)
class Recipe:
    """Settings with their story.

    Parameters
    ----------
    summary : one line for ``--list-recipes``.
    source : the publication, or why these values.
    protocol : how the reported figure was measured.
    reported : the reported figure, or None.
    settings : the settings.
    """

    summary: str
    source: str
    protocol: str
    reported: str | None
    settings: Settings


RECIPES: dict[str, Recipe] = {
    "general": Recipe(
        summary="ResNet-18 from ImageNet weights at 224, 100 epochs: a start for any folder of images",
        source="ours: sensible values, not tuned on any data set",
        protocol="whole stored image resized to 224",
        reported=None,
        settings=Settings(),
    ),
    "demo": Recipe(
        summary="a small ResNet from scratch on the generated beetles, for the CPU",
        source="ours: chosen so that both runs of `make demo` fit two minutes each on two cores",
        protocol="centre crop of 64 from the stored 80",
        reported=None,
        settings=Settings(
            mixer=LGCOAMixOptions(),
            data=DataSettings(image_size=64, crop="random", test="center", normalise="none"),
            model=ModelSettings(backbone="resnet10t", weights="none"),
            optim=OptimSettings(epochs=12, batch_size=32, lr=0.02, schedule="cosine"),
        ),
    ),
    "cub-resnet18": Recipe(
        summary="LGCOAMix on CUB-200-2011, ResNet-18 from ImageNet weights, 300 epochs",
        source="LGCOAMix (Dornaika & Sun, IEEE TIP 2024); the decoder is inferred from a sister file. The published 30 "
        "to 40 superpixels a crop are 39 to 52 on the stored 256x256 image: times (256/224)²",
        protocol="stored 256x256, whole image resized to 224; reported: tested on an unreleased list without ImageNet "
        "overlap, best test epoch",
        reported="78.87 top-1",
        settings=Settings(
            mixer=LGCOAMixOptions(gamma_ce=0.05, gamma_con=0.05, lam="attention"),
            data=DataSettings(image_size=224, crop="random", test="resize", normalise="none"),
            model=ModelSettings(
                backbone="resnet18_stride16", weights="pretrained", width=32, skip="add", pool_stem=True
            ),
            optim=OptimSettings(epochs=300, batch_size=8, lr=0.001, schedule="lgcoamix-c"),
        ),
    ),
}

_OF_DATASET = {"cub": "cub-resnet18", "demo": "demo"}


def recipe_for(dataset: str) -> str:
    """Name of the recipe that belongs to a store's data set; ``general`` for any other."""
    return _OF_DATASET.get(dataset, "general")
