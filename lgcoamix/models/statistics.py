"""Mean and standard deviation of the network's inputs."""

import torch

from lgcoamix.models.hub import data_statistics
from lgcoamix.ops.batch import Statistics
from lgcoamix.ops.normalise import make_statistics, no_normalisation
from lgcoamix.settings.sections import Settings

# Mean and standard deviation of CIFAR-10 and CIFAR-100 in OpenMixup's configurations.
_CIFAR = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.201)


def statistics_of(settings: Settings, device: torch.device | str = "cpu") -> Statistics:
    """Return the mean and standard deviation that the settings ask for."""
    if settings.data.normalise == "none":
        return no_normalisation(device)
    if settings.data.normalise == "cifar":
        return make_statistics(*_CIFAR, device)
    return make_statistics(*data_statistics(settings.model.backbone, settings.model.weights), device)
