"""The data sets. Each adapter in ``DATASETS`` lists images, labels and the official split under a root folder.

To add a data set, write a file with an ``Adapter``, and add a line here.
"""

from preprocess.datasets.aircraft import AIRCRAFT
from preprocess.datasets.base import EVERYTHING, Adapter, Archive, Box, Listing, Request, Sample, split_name
from preprocess.datasets.cars import CARS
from preprocess.datasets.cifar import CIFAR10, CIFAR100
from preprocess.datasets.cub import CUB, NABIRDS
from preprocess.datasets.demo import DEMO
from preprocess.datasets.dogs import DOGS
from preprocess.datasets.flowers102 import FLOWERS102
from preprocess.datasets.folder import FOLDER
from preprocess.datasets.huggingface import HF
from preprocess.datasets.imagenet import IMAGENET, TINY_IMAGENET
from preprocess.datasets.table import TABLE
from preprocess.datasets.webdataset import WEBDATASET

DATASETS: dict[str, Adapter] = {
    "cub": CUB,
    "dogs": DOGS,
    "cars": CARS,
    "aircraft": AIRCRAFT,
    "nabirds": NABIRDS,
    "flowers102": FLOWERS102,
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
    "tiny-imagenet": TINY_IMAGENET,
    "imagenet": IMAGENET,
    "folder": FOLDER,
    "table": TABLE,
    "hf": HF,
    "webdataset": WEBDATASET,
    "demo": DEMO,
}

__all__ = ["DATASETS", "EVERYTHING", "Adapter", "Archive", "Box", "Listing", "Request", "Sample", "split_name"]
