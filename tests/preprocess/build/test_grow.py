"""A finished store takes in other superpixels and other splits; what it holds already stays as it is."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from skimage import color, filters, segmentation

from lgcoamix.cli import train
from preprocess.store import Store
from tests.preprocess.conftest import Built, all_files, build_command, here

TRAIN = ("--backbone", "resnet10t", "--weights", "none", "--image-size", "32", "--batch-size", "4", "--epochs", "1")
FIRST = "slic-c10-4,9"
GROWTH = {
    "more segments": (("--segments", "16"), "slic-c10-16"),
    "one count old, one new": (("--segments", "9,16"), "slic-c10-9,16"),
    "grid": (("--algorithm", "grid"), "grid-4,9"),
    "watershed": (("--algorithm", "watershed"), "watershed-c10-4,9"),
    "another compactness": (("--compactness", "30"), "slic-c30-4,9"),
    "a range": (("--segments", "9:25", "--scales", "2"), "slic-c10-9:25x2"),
}


def build_here(root: Path, out: Path, *options: str) -> None:
    done = here(*build_command(root, out, *options)[2:])
    assert done.exit_code == 0, done.output


def add(built: Built, run, *options: str) -> str:
    done = run(*built.command, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(built: Built) -> dict:
    return all_files(built.out.parent)


def assert_only_the_index_changed(built: Built, before: dict) -> None:
    after, index = files(built), Path(built.out.name)
    assert {path for path in before if after.get(path) != before[path]} == {index}
    assert all(path.suffix == ".h5" and path.name[0] != "." for path in after.keys() - before.keys())


def assert_equal_content(left: Path, right: Path) -> None:
    done = here("diff", left, right)
    assert done.exit_code == 0, done.output


def oracle(algorithm: str, image: np.ndarray, count: int, compactness: float | None) -> np.ndarray:
    if algorithm == "slic":
        return segmentation.slic(image, n_segments=count, compactness=compactness, start_label=0)
    if algorithm == "watershed":
        gradient = filters.sobel(color.rgb2gray(image))
        return segmentation.watershed(gradient, markers=count, compactness=1e-4 * compactness) - 1
    side = {4: 2, 9: 3}[count]
    lines = [place * side // 16 for place in range(16)]
    return np.array([[y * side + x for x in lines] for y in lines])


def assert_maps_are_right(store: Store, split: str) -> None:
    chosen, rows = store.superpixels, range(len(store.splits[split]))
    for scale in chosen.scales:
        found = store.maps(split, scale.segments, rows)
        for image, ids in zip(store.images(split, rows), found, strict=True):
            wanted = oracle(chosen.algorithm, image, scale.segments, chosen.compactness)
            np.testing.assert_array_equal(ids, wanted)


def content(store: Store) -> list[np.ndarray]:
    parts = []
    for split, layout in store.splits.items():
        parts += [store.images(split, range(len(layout))), store.labels(split), np.array(store.keys(split))]
        parts += [store.maps(split, scale.segments, range(len(layout))) for scale in store.scales]
    return parts


def assert_same(left: list, right: list) -> None:
    for found, wanted in zip(left, right, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("options", "name"), GROWTH.values(), ids=GROWTH)
def test_other_superpixels_are_added_beside_the_first(options, name, built, run, tmp_path):
    before = files(built)
    told = add(built, run, *options)
    assert f"added the superpixels {name}: train.py --superpixels {name}  (the default is still {FIRST})" in told
    assert_only_the_index_changed(built, before)
    assert Store(built.out).superpixels.name == FIRST
    assert list(Store(built.out).superpixel_sets) == [FIRST, name]
    for split in ("train", "test"):
        assert_maps_are_right(Store(built.out), split)
        assert_maps_are_right(Store(built.out, name), split)
    assert here("verify", built.out, "--jobs", "1").exit_code == 0
    build_here(built.root, tmp_path / "fresh.h5")
    build_here(built.root, tmp_path / "fresh.h5", *options)
    assert_equal_content(built.out, tmp_path / "fresh.h5")
    assert Store(built.out, name).content_keys == Store(tmp_path / "fresh.h5", name).content_keys


def test_only_maps_that_are_not_there_are_computed(built, run):
    assert ": 16 maps computed" in add(built, run, "--segments", "4:6")  # drawn: 4 for 4, and 5 for 5 and 6
    before = files(built)
    assert ": 0 maps computed" in add(built, run, "--segments", "4,5")
    assert_only_the_index_changed(built, before)
    assert files(built).keys() == before.keys()
    sets = Store(built.out).superpixel_sets
    assert [scale.weight for scale in sets["slic-c10-4:6x2"].scales] == pytest.approx([1 / 3, 2 / 3])
    assert [scale.weight for scale in sets["slic-c10-4,5"].scales] == [0.5, 0.5]
    assert sets["slic-c10-4:6x2"].columns == sets["slic-c10-4,5"].columns == ("slic-c10-4", "slic-c10-5")


def test_a_compactness_that_differs_little_is_not_taken_for_the_one_in_place(built, run):
    done = run(*built.command, "--compactness", "10.0000001", "--segments", "9")
    assert "Traceback" not in done.stderr
    columns = Store(built.out).document["splits"]["train"]["columns"]
    for each in Store(built.out).superpixel_sets.values():
        assert {columns[name]["recipe"]["compactness"] for name in each.columns} == {each.compactness}


@pytest.mark.parametrize("options", [(), ("--algorithm", "grid")])
def test_a_repeated_command_does_nothing_and_soon(options, built, run, monkeypatch):
    add(built, run, *options)
    before = files(built)
    monkeypatch.setattr("preprocess.build.run.run_tasks", None)  # no task is run, so it ends soon
    told = add(built, run, *options)
    assert told == f"{built.out} is complete; nothing to do\n"
    assert files(built) == before


def test_another_split_is_added(noisy, tmp_path, run):
    out = tmp_path / "store" / "x.h5"
    built = Built(noisy, out, build_command(noisy, out))
    add(built, run, "--splits", "train")
    assert list(Store(out).splits) == ["train"]
    before = files(built)
    assert ": 12 maps computed" in add(built, run)
    assert_only_the_index_changed(built, before)
    assert list(Store(out).splits) == ["train", "test"]
    assert_maps_are_right(Store(out), "test")
    build_here(noisy, tmp_path / "fresh.h5")
    assert_equal_content(out, tmp_path / "fresh.h5")
    assert Store(out).content_keys == Store(tmp_path / "fresh.h5").content_keys


def test_maps_of_one_split_are_added_to_the_other_later(built, run, tmp_path):
    assert ": 20 maps computed" in add(built, run, "--splits", "train", "--algorithm", "grid")
    store = Store(built.out, "grid-4,9")
    assert (store.has_maps("train"), store.has_maps("test")) == (True, False)
    assert_maps_are_right(store, "train")
    before = files(built)
    assert ": 12 maps computed" in add(built, run, "--algorithm", "grid")
    assert_only_the_index_changed(built, before)
    assert_maps_are_right(Store(built.out, "grid-4,9"), "test")
    assert list(Store(built.out).superpixel_sets) == [FIRST, "grid-4,9"]
    build_here(built.root, tmp_path / "fresh.h5")
    build_here(built.root, tmp_path / "fresh.h5", "--algorithm", "grid")
    assert_equal_content(built.out, tmp_path / "fresh.h5")


def test_maps_of_one_split_alone_are_complete_for_that_split(built, run):
    options = ("--splits", "test", "--algorithm", "grid")
    add(built, run, *options)
    assert "is complete; nothing to do" in add(built, run, *options)


def test_an_open_store_keeps_what_it_saw(built, run):
    store = Store(built.out)
    seen, copied = content(store), pickle.dumps(store)
    add(built, run, "--algorithm", "grid")
    assert_same(content(store), seen)
    store.close()
    assert_same(content(store), seen)
    assert_same(content(pickle.loads(copied)), seen)
    assert list(store.superpixel_sets) == [FIRST]
    assert_same(content(Store(built.out)), seen)


def test_coded_images_of_varied_sizes_get_more_maps_too(noisy, tmp_path, run):
    out = tmp_path / "store" / "x.h5"
    varied = ("--resize", "short", "--codec", "png")
    built = Built(noisy, out, build_command(noisy, out, *varied))
    add(built, run)
    before = files(built)
    add(built, run, "--algorithm", "watershed")
    assert_only_the_index_changed(built, before)
    for split in ("train", "test"):
        assert_maps_are_right(Store(out, "watershed-c10-4,9"), split)
    assert_equal_content(out, out)


def test_training_takes_any_superpixels_of_the_store_by_name(built, run, tmp_path):
    add(built, run, "--algorithm", "grid")
    small = ["--shards", str(built.out), *TRAIN, "--workers", "0", "--device", "cpu"]
    done = CliRunner().invoke(train, [*small, "--superpixels", "grid-4,9", "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    refused = CliRunner().invoke(train, [*small, "--superpixels", "grid-5", "--out", str(tmp_path / "other")])
    assert isinstance(refused.exception, SystemExit)
    assert refused.exit_code in (1, 2)
    assert f"choose from {FIRST}, grid-4,9" in " ".join(refused.stderr.split())
    assert not (tmp_path / "other").exists()
