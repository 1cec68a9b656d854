"""What a type checker sees of the public face: ``__init__.py`` loads these names when they are used."""

from lgcoamix.data import Augment as Augment
from lgcoamix.data import EpochBatches as EpochBatches
from lgcoamix.data import LiveDataset as LiveDataset
from lgcoamix.data import ResidentDataset as ResidentDataset
from lgcoamix.data import SuperpixelDataset as SuperpixelDataset
from lgcoamix.data import View as View
from lgcoamix.data import hold_out as hold_out
from lgcoamix.data import make_loader as make_loader
from lgcoamix.mixing import MIXERS as MIXERS
from lgcoamix.mixing import AttentiveCutMix as AttentiveCutMix
from lgcoamix.mixing import Batch as Batch
from lgcoamix.mixing import CutMix as CutMix
from lgcoamix.mixing import Cutout as Cutout
from lgcoamix.mixing import LGCOAMix as LGCOAMix
from lgcoamix.mixing import Mixer as Mixer
from lgcoamix.mixing import Mixup as Mixup
from lgcoamix.mixing import OcCaMix as OcCaMix
from lgcoamix.mixing import SnapMix as SnapMix
from lgcoamix.mixing import SuperpixelGrid as SuperpixelGrid
from lgcoamix.mixing import make_mixer as make_mixer
from lgcoamix.models import Decoder as Decoder
from lgcoamix.models import LocalGlobalNet as LocalGlobalNet
from lgcoamix.ops.losses import local_contrast as local_contrast
from lgcoamix.ops.losses import local_cross_entropy as local_cross_entropy
from lgcoamix.ops.losses import mixed_cross_entropy as mixed_cross_entropy
from lgcoamix.ops.pooling import pool_superpixels as pool_superpixels
from lgcoamix.ops.pooling import region_areas as region_areas
from lgcoamix.recipes import RECIPES as RECIPES
from lgcoamix.settings.sections import DataSettings as DataSettings
from lgcoamix.settings.sections import Settings as Settings

__version__: str
