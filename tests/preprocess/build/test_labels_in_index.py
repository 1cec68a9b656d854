"""Labels of a split are in the index, so that no shard is opened for them; an index of an earlier version has none."""

import shutil
from dataclasses import replace

import numpy as np

from preprocess.build.plan import make_plan
from preprocess.build.run import build
from preprocess.datasets import DATASETS
from preprocess.store import Store
from preprocess.store.index import index_bytes
from preprocess.superpixels import Scale
from tests.preprocess.conftest import SMALL
from tests.preprocess.store.foreign import rewrite

TRAIN, TEST = [0] * 5 + [1] * 5, [0] * 3 + [1] * 3  # the folders a and b of the pictures


def test_labels_need_no_shard(own_store):
    shutil.rmtree(own_store.home / "small.shards")
    store = Store(own_store.path)
    assert (store.labels("train").tolist(), store.labels("test").tolist()) == (TRAIN, TEST)
    assert store.labels("train").dtype == np.int64


def test_an_index_without_labels_has_them_after_the_next_build(own_store, noisy):
    rewrite(own_store.path, "index", lambda file: file.pop("labels"))
    store = Store(own_store.path)
    assert not store.index.labels
    assert (store.labels("train").tolist(), store.labels("test").tolist()) == (TRAIN, TEST)
    settings = replace(SMALL, scales=(Scale(6, 1.0),))
    plan = make_plan(own_store.path, DATASETS["folder"].find(noisy), settings, store.index)
    assert build(plan, 1, skip_bad=False, advance=lambda done: None) is not None
    more = Store(own_store.path)
    assert {split: labels.tolist() for split, labels in more.index.labels.items()} == {"train": TRAIN, "test": TEST}
    assert more.content_keys["train/images"] == store.content_keys["train/images"]


def test_equal_contents_are_equal_bytes(small_store):
    index = small_store.index
    turned = replace(index, labels=dict(reversed(index.labels.items())))
    assert index_bytes(turned) == index_bytes(index) == small_store.path.read_bytes()
