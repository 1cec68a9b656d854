"""Every recipe builds its network and mixer and takes one step; one of each family in every test run."""

from dataclasses import asdict

import pytest
import torch

from lgcoamix.mixing import Batch, make_mixer
from lgcoamix.models import LocalGlobalNet
from lgcoamix.models.statistics import statistics_of
from lgcoamix.ops.normalise import to_inputs
from lgcoamix.recipes import RECIPES
from preprocess.datasets import DATASETS
from tests.conftest import PROOF

FAMILIES = (
    "demo",
    "cifar10-resnet18",
    "tiny-imagenet-resnet18",
    "cifar10-resnet18-occamix",
    "cifar100-densenet121-cutmix",
    "cifar10-efficientnet_b0-mixup",
)
GRID = 5  # superpixels of a side


def test_each_family_of_recipes_has_a_step_here():
    assert set(FAMILIES) <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES if PROOF else FAMILIES)
def test_a_recipe_builds_and_takes_one_step(name, extractor):
    recipe = RECIPES[name]
    settings, N = recipe.settings, DATASETS[recipe.dataset or "cub"].classes
    options = asdict(settings.mixer) | ({"mix_prob": 1.0} if hasattr(settings.mixer, "mix_prob") else {})
    mixer = make_mixer(settings.method, **options | (extractor if settings.method == "attentive_cutmix" else {}))
    mixer.prepare()
    side = settings.data.image_size
    torch.manual_seed(0)
    net = LocalGlobalNet.of(settings, N, "none")
    bands = torch.arange(side) * GRID // side
    maps = (bands[:, None] * GRID + bands).expand(2, side, side)
    images = torch.randint(256, (2, 3, side, side), dtype=torch.uint8)
    statistics = statistics_of(settings, torch.device("cpu"))
    batch = Batch(to_inputs(images, *statistics), torch.tensor([0, 1]), maps, GRID**2, statistics=statistics)
    plan = mixer.plan(batch, torch.Generator().manual_seed(0), net)
    mixed = mixer.mix(batch, plan)
    output = net(mixed.images, mixed.regions, mixed.count)
    loss = sum(mixer.loss(output, mixed).values())
    loss.backward()
    assert output.logits.shape == (2, N)
    assert loss.isfinite()
    assert all(part.grad is not None and part.grad.isfinite().all() for part in net.backbone.parameters())
