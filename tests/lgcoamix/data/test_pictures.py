"""Pictures for people show what the network sees, from the stored pixels."""

import cv2
import numpy as np
import pytest
import torch

from lgcoamix.data import ResidentDataset, SuperpixelDataset, View
from lgcoamix.data.pictures import pictures
from lgcoamix.settings.sections import DataSettings
from preprocess.store import Store

INDICES = [(2, 5), (2, 0), (2, 11)]


@pytest.fixture(scope="module")
def store(flowers_store) -> Store:
    return Store(flowers_store)


def _dataset(store: Store, train: bool, augment: str | None = None, **data: object) -> SuperpixelDataset:
    view = View(DataSettings(image_size=16, **data), train=train)
    return SuperpixelDataset(store, "train", view, seed=7, maps=False, augment=augment)


def _inputs(dataset: SuperpixelDataset | ResidentDataset) -> np.ndarray:
    return dataset.__getitems__(INDICES).images.permute(0, 2, 3, 1).numpy()


def test_a_resized_test_image_is_shown_as_it_is_stored(store):
    shown = pictures(_dataset(store, train=False, test="resize"), INDICES, side=store.size)
    np.testing.assert_array_equal(shown, store.images("train", [place for _, place in INDICES]))


def test_a_resized_window_is_that_of_the_network(store):
    dataset = _dataset(store, train=True, crop="resized")
    shown = pictures(dataset, INDICES, side=128)
    assert shown.shape == (3, 128, 128, 3)
    small = np.stack([cv2.resize(picture, (16, 16), interpolation=cv2.INTER_AREA) for picture in shown])
    assert np.abs(small.astype(int) - _inputs(dataset)).mean() < 3
    assert np.abs(small[::-1].astype(int) - _inputs(dataset)).mean() > 20  # other images differ


@pytest.mark.parametrize("data", [{"crop": "random"}, {"crop": "resized", "augment": "strong"}])
def test_windows_that_keep_their_pixels_and_augmented_images_are_the_input_itself(data, store):
    dataset = _dataset(store, train=True, **data)
    np.testing.assert_array_equal(pictures(dataset, INDICES), _inputs(dataset))


def test_the_resident_data_set_shows_the_same(store):
    source = _dataset(store, train=True, crop="resized")
    resident = ResidentDataset(source, torch.device("cpu"))
    np.testing.assert_array_equal(pictures(resident, INDICES), pictures(source, INDICES))
