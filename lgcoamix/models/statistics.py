"""Mean and standard deviation of the inputs that a recipe asks for."""

import torch

from lgcoamix.models.backbone import data_statistics
from lgcoamix.ops.batch import Statistics
from lgcoamix.ops.normalise import make_statistics, no_normalisation
from lgcoamix.settings.sections import Settings


def statistics_of(settings: Settings, device: torch.device | str = "cpu") -> Statistics:
    """Mean and standard deviation that a recipe asks for."""
    if settings.data.normalise == "none":
        return no_normalisation(device)
    return make_statistics(*data_statistics(settings.model.backbone), device)
