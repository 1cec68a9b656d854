"""What a type checker sees of the room: ``__init__.py`` loads some of these names when they are used."""

from lgcoamix.data.augment import Augment as Augment
from lgcoamix.data.dataset import SuperpixelDataset as SuperpixelDataset
from lgcoamix.data.epoch_batches import EpochBatches as EpochBatches
from lgcoamix.data.live import LiveDataset as LiveDataset
from lgcoamix.data.loader import make_loader as make_loader
from lgcoamix.data.loader import on_device as on_device
from lgcoamix.data.order import RunBatches as RunBatches
from lgcoamix.data.order import hold_out as hold_out
from lgcoamix.data.resident import ResidentDataset as ResidentDataset
from lgcoamix.data.windows import View as View
