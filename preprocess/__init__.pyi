"""What a type checker sees of the public face: ``__init__.py`` loads these names when they are used."""

from preprocess.build.python import build_store as build_store
from preprocess.datasets import DATASETS as DATASETS
from preprocess.store import Store as Store
from preprocess.superpixels import ALGORITHMS as ALGORITHMS
from preprocess.superpixels import Algorithm as Algorithm
from preprocess.superpixels import Scale as Scale
from preprocess.superpixels import adjusted_rand_index as adjusted_rand_index
from preprocess.superpixels import choose_scales as choose_scales
from preprocess.superpixels import felzenszwalb as felzenszwalb
from preprocess.superpixels import grid as grid
from preprocess.superpixels import slic as slic
from preprocess.superpixels import slic_multiscale as slic_multiscale
from preprocess.superpixels import slico as slico
from preprocess.superpixels import watershed as watershed
