"""Recipes of this project."""

from lgcoamix.recipes.recipe import Recipe, StoreSettings
from lgcoamix.settings.mixers import LGCOAMixOptions
from lgcoamix.settings.sections import DataSettings, ModelSettings, OptimSettings, Settings

OURS: dict[str, Recipe] = {
    "general": Recipe(
        summary="ResNet-18 from ImageNet weights at 224, 100 epochs: a starting point for any image folder",
        dataset=None,
        source="ours",
        notes="Sensible values, not tuned on any data set. LGCOAMix has its published options: of nine changes to its "
        "parts, the three that gained most did not gain beyond the spread with new seeds (flowers; tests/study). On "
        "birds SnapMix gained 2.7 points, LGCOAMix 0.5 (README.md): compare them on your images.",
        settings=Settings(),
    ),
    "demo": Recipe(
        summary="a small ResNet from scratch on the generated beetles, for the CPU",
        dataset="demo",
        source="ours",
        store=StoreSettings(80, "squash", "47:62"),
        measured="53.44 top-1 of the last epoch, seed 0, 320 test images; none 55.00",
        notes="Chosen so that its 12 epochs take at most two minutes on two cores; `make demo` trains for 4.",
        settings=Settings(
            mixer=LGCOAMixOptions(),
            data=DataSettings(image_size=64, crop="random", test="center", normalise="none"),
            model=ModelSettings(backbone="resnet10t", weights="none"),
            optim=OptimSettings(epochs=12, batch_size=32, lr=0.02, schedule="cosine"),
        ),
    ),
}
