"""``inspect``."""

import json

import h5py
import numpy as np

from tests.preprocess.conftest import here, open_plain, shard_files
from tests.preprocess.superpixels.test_algorithms import pair_counting


def regions(store, split: str, count: int) -> np.ndarray:
    """Number of superpixels of every map of a column, counted with numpy."""
    counts = []
    for path in shard_files(store, split, f"slic-c10-{count}"):
        with open_plain(path) as file:
            counts += [len(np.unique(ids)) for ids in file["maps"][()]]
    return np.array(counts)


def mean_agreement(store, split: str) -> str:
    """Adjusted Rand index of the maps at 4 and 9 segments, from all pairs of pixels, averaged over the images."""
    maps = []
    for count in (4, 9):
        column = []
        for path in shard_files(store, split, f"slic-c10-{count}"):
            with open_plain(path) as file:
                column.extend(file["maps"][()])
        maps.append(column)
    return f"{np.mean([pair_counting(left, right) for left, right in zip(*maps, strict=True)]):.2f}"


def test_the_table_shows_every_column_with_weights_and_counts(small_store):
    done = here("inspect", small_store.path)
    assert done.exit_code == 0, done.stderr
    assert "folder, 2 classes, 16x16 pixels, raw\n" in done.stdout
    assert "superpixels slic-c10-4,9: counts (draw weights) 4 (0.500), 9 (0.500)  [default]\n" in done.stdout
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in done.stdout.splitlines() if "│" in line]
    table = {(row[0], row[1]): row[2:8] for row in rows}
    assert len(table) == 6
    assert table["train", "images"] == ["", "", "", "", "10", "3"]
    for split, samples, shards in (("train", "10", "3"), ("test", "6", "2")):
        for count, agreement in ((4, mean_agreement(small_store, split)), (9, "")):
            found = regions(small_store, split, count)
            spread = [str(found.min()), f"{found.mean():.1f}", str(found.max())]
            assert table[split, f"slic-c10-{count}"] == [*spread, agreement, samples, shards]


def test_json_holds_counts_weights_and_the_files(small_store, run):
    done = run("-m", "preprocess", "inspect", small_store.path, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    with h5py.File(small_store.path) as file:
        assert document == json.loads(file["document"][()])
    assert document["superpixels"] == [
        {
            "name": "slic-c10-4,9",
            "algorithm": "slic",
            "compactness": 10.0,
            "scales": [
                {"segments": 4, "weight": 0.5, "column": "slic-c10-4"},
                {"segments": 9, "weight": 0.5, "column": "slic-c10-9"},
            ],
        }
    ]
    assert document["classes"] == ["a", "b"]
    assert document["splits"]["train"]["rows"] == [4, 4, 2]
    assert document["splits"]["test"]["rows"] == [4, 2]
    column = document["splits"]["train"]["columns"]["slic-c10-9"]
    found = regions(small_store, "train", 9)
    assert (column["least_regions"], column["regions"]) == (found.min(), found.sum())
    assert column["largest_id"] == found.max() - 1
    assert len(column["files"]) == 3
