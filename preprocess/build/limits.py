"""What options of a build may be, for the command and for ``build_store``. Light: the help of the command needs it."""

from preprocess.build.backends import BACKENDS
from preprocess.images import CODECS, RESIZES
from preprocess.superpixels import ALGORITHMS

RANGES = {"size": (8, 4096), "compactness": (1e-6, 1_000_000), "quality": (1, 100), "shard_size": (1, 65_536)}
CHOICES = {
    "resize": RESIZES,
    "algorithm": tuple(sorted(ALGORITHMS)),
    "codec": ("auto", *CODECS),
    "backend": BACKENDS,
}
