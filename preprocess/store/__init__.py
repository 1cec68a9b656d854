"""The HDF5 store, the only package that imports h5py. preprocess/README.md describes the format."""

from preprocess.store.format import FORMAT_VERSION
from preprocess.store.layout import SuperpixelSet
from preprocess.store.reader import Store

__all__ = ["FORMAT_VERSION", "Store", "SuperpixelSet"]
