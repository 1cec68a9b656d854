"""Tell weights of a run of ours that were trained on inputs of other mean and standard deviation."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from lgcoamix.errors import RunError
from lgcoamix.mixing import Mixer
from lgcoamix.mixing.attentive_cutmix import AttentiveCutMix
from lgcoamix.models.statistics import statistics_of
from lgcoamix.runs.load import read_trained
from lgcoamix.settings.sections import Settings
from lgcoamix.settings.weights import names_file


def foreign_inputs(settings: Settings, mixer: Mixer) -> Iterator[str]:
    """Say of which files the inputs differ. Files of other programs do not record theirs."""
    start = settings.model.weights
    yield from _differing(start, statistics_of(settings), "the run", "data.normalise")
    if isinstance(mixer, AttentiveCutMix):
        net = mixer.extractor_net
        yield from _differing(
            mixer.extractor_weights, (net.mean, net.std), "the extractor", "mixer.extractor_normalise"
        )


def _differing(file: str, mine: tuple[Tensor, Tensor], who: str, setting: str) -> Iterator[str]:
    if not names_file(file):
        return
    try:
        trained = read_trained(Path(file))
    except (RunError, OSError):
        return
    theirs = statistics_of(trained.settings)
    if any(not torch.equal(ours.cpu(), other) for ours, other in zip(mine, theirs, strict=True)):
        yield (
            f"warning: {file} was trained with data.normalise={trained.settings.data.normalise}, inputs of mean "
            f"{_shown(theirs[0])} and deviation {_shown(theirs[1])}; {who} gives it inputs of {_shown(mine[0])} and "
            f"{_shown(mine[1])}: choose with --set {setting}=..."
        )


def _shown(values: Tensor) -> str:
    return "/".join(f"{value:.3g}" for value in values.flatten().tolist())
