"""The data sets: ``DATASETS[name]`` finds the images, labels and official split under a root folder.

A new data set is one new file with one ``Adapter`` and one line here.
"""

from preprocess.datasets.base import Adapter, Listing, Sample
from preprocess.datasets.cub import CUB
from preprocess.datasets.demo import DEMO
from preprocess.datasets.folder import FOLDER

DATASETS: dict[str, Adapter] = {"cub": CUB, "demo": DEMO, "folder": FOLDER}

__all__ = ["DATASETS", "Adapter", "Listing", "Sample"]
