"""Backbones from timm, the decoder and the local branch. Needs only torch and timm.

Importing this package registers the modified backbones of ``variants.py`` and ``small_images.py`` with timm.
"""

from lgcoamix.models import small_images as small_images
from lgcoamix.models import variants as variants
from lgcoamix.models.backbone import Backbone, WeightsError
from lgcoamix.models.decoder import Decoder
from lgcoamix.models.hub import BackboneError
from lgcoamix.models.local_global import LocalGlobalNet, LocalHead
from lgcoamix.ops.output import LocalOutput, Output

__all__ = [
    "Backbone",
    "BackboneError",
    "Decoder",
    "LocalGlobalNet",
    "LocalHead",
    "LocalOutput",
    "Output",
    "WeightsError",
]
