"""The guides of ``preprocess/README.md`` work as they are written. In a file of its own: another process may run it."""

import re

from tests.guides.follow import follow


def test_the_guides_of_preprocessing_work_as_they_are_written(clone, reader):
    said = follow("preprocess/README.md", clone, reader)
    assert "== Guide: on a cluster" in said
    assert "== Guide: a superpixel algorithm of your own" in said
    for path in ("data/on-dask.h5", "data/photos-packed.h5", "bricks.png", "runs/bricks/results.json"):
        assert (clone / path).is_file(), path
    assert re.search(r"^\d+ passed", said, re.MULTILINE), "tests of the new algorithm"
