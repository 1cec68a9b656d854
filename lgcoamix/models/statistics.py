"""Mean and standard deviation of the network's inputs."""

import torch

from lgcoamix.models.hub import data_statistics
from lgcoamix.ops.batch import Statistics
from lgcoamix.ops.normalise import make_statistics, no_normalisation
from lgcoamix.settings.sections import Settings


def statistics_of(settings: Settings, device: torch.device | str = "cpu") -> Statistics:
    """Return the mean and standard deviation that the settings ask for."""
    if settings.data.normalise == "none":
        return no_normalisation(device)
    return make_statistics(*data_statistics(settings.model.backbone, settings.model.weights), device)
