"""Weights of a run that was trained on other inputs are named; those of other programs say nothing."""

import timm
import torch

from lgcoamix.mixing import make_mixer
from lgcoamix.settings.sections import Settings
from lgcoamix.training.foreign_inputs import foreign_inputs
from tests.lgcoamix.runs.checkpoints import write_checkpoint


def test_weights_that_were_trained_on_other_inputs_are_named(tmp_path):
    here = Settings().with_method("none").with_values("model", backbone="test_resnet", weights="none")
    raw = here.with_values("data", normalise="none")
    file = write_checkpoint(tmp_path / "raw.pt", raw, ("a", "b"))
    start = here.with_values("model", weights=str(file))
    (line,) = foreign_inputs(start, make_mixer("none"))
    assert line == (  # as timm normalises for test_resnet
        f"warning: {file} was trained with data.normalise=none, inputs of mean 0/0/0 and deviation 1/1/1; the run "
        "gives it inputs of 0.5/0.5/0.5 and 0.5/0.5/0.5: choose with --set data.normalise=..."
    )
    assert not list(foreign_inputs(start.with_values("data", normalise="none"), make_mixer("none")))
    looks = {"extractor": "test_resnet", "extractor_weights": str(file), "extractor_size": 224}
    (line,) = foreign_inputs(raw, make_mixer("attentive_cutmix", **looks))
    assert "the extractor gives it inputs of 0.5/0.5/0.5" in line
    assert line.endswith("--set mixer.extractor_normalise=...")
    assert not list(foreign_inputs(raw, make_mixer("attentive_cutmix", extractor_normalise="none", **looks)))


def test_weights_of_other_programs_do_not_record_their_inputs(tmp_path):
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "other.pt")
    settings = Settings().with_values("model", backbone="test_resnet", weights=str(tmp_path / "other.pt"))
    assert not list(foreign_inputs(settings, make_mixer("none")))
