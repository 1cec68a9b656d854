"""The pictures of a run show what they say: the colours of the inputs are in them."""

import numpy as np
import pytest
import torch
from PIL import Image
from timm.utils import ModelEmaV3 as Average

from lgcoamix.mixing import MIXERS, Batch
from lgcoamix.models import LocalGlobalNet
from lgcoamix.ops.distributed import Ranks
from lgcoamix.ops.normalise import no_normalisation
from lgcoamix.training.plots import mixed_plot
from lgcoamix.training.step import Step

COLOURS = [(250, 10, 10), (10, 250, 10), (10, 10, 250)]


@pytest.mark.parametrize("name", MIXERS)
def test_the_sheet_of_a_mixed_batch_shows_every_source(name, tmp_path, extractor):
    images = torch.tensor(COLOURS, dtype=torch.uint8)[:, :, None, None].expand(3, 3, 32, 32)
    maps = (torch.arange(32) // 8).expand(3, 32, 32)
    mixer = MIXERS[name](**(extractor if name == "attentive_cutmix" else {}))
    model = LocalGlobalNet("resnet10t", 3, local=mixer.needs_local, width=8)
    step = Step(model, mixer, torch.optim.SGD(model.parameters(), 0.1), no_normalisation(), Ranks(torch.device("cpu")))
    batch = Batch(images, torch.arange(3), maps if mixer.needs_maps else None, 4 if mixer.needs_maps else 0)
    shown = images.permute(0, 2, 3, 1).numpy().repeat(2, axis=1).repeat(2, axis=2)  # pictures are larger than inputs
    figure = mixed_plot(step, batch, shown, ("red", "green", "blue")).figure
    figure.savefig(tmp_path / "mixed.png", dpi=110)
    sheet = np.asarray(Image.open(tmp_path / "mixed.png").convert("RGB")).astype(int)
    for colour in COLOURS:
        assert (np.abs(sheet - colour).max(axis=2) <= 2).sum() > 1000
    begin = "λ of b: area 0." if name == "lgcoamix" else "λ of b: 0."  # which need not be a share of the area
    lams = [text.get_text() for text in figure.axes[0].texts if text.get_text().startswith(begin)]
    assert len(lams) == (0 if name == "none" else 3)
    assert all(("attention 0." in text) == (name == "lgcoamix") for text in lams)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["snapmix", "occamix"])
def test_a_picture_during_the_training_leaves_the_network_as_it_is(name, training):
    model = LocalGlobalNet("resnet10t", 3, local=False).train(training)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    mixer, optimiser = MIXERS[name](), torch.optim.SGD(model.parameters(), 0.1)
    step = Step(model, mixer, optimiser, no_normalisation(), Ranks(torch.device("cpu")), average=Average(model))
    maps = (torch.arange(32) // 8).expand(3, 32, 32)
    batch = Batch(torch.rand(3, 3, 32, 32), torch.arange(3), maps if mixer.needs_maps else None, 4)
    mixed_plot(step, batch, np.zeros((3, 64, 64, 3), np.uint8), ("red", "green", "blue"))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.training == training
