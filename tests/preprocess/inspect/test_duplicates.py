"""``duplicates``: exact and near copies, within and across splits."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from PIL import Image, ImageEnhance

from preprocess.inspect.duplicates import (
    Duplicates,
    copies,
    exclude_lines,
    find_duplicates,
    likely_pairs,
    similarity,
    summary,
)
from preprocess.store import Store
from tests.preprocess.conftest import SMALL, build_here, here

SIDE = 48


def noise(seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """A picture of smooth noise, coarse and fine."""
    random = np.random.default_rng(seed)
    layers = []
    for cells, strength in ((4, 120), (12, 60)):
        values = random.integers(0, strength, (cells, cells, 3), dtype=np.uint8)
        layers.append(np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)))
    return Image.fromarray(sum(layers) + np.uint8(30))


def jpeg(picture: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=50)
    return Image.open(buffer).convert("RGB")


def crop(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    box = (0.06 * width, 0.03 * height, 0.96 * width, 0.93 * height)
    return picture.resize(picture.size, Image.Resampling.BICUBIC, box=box)


def halve(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width // 2, picture.height // 2)).resize(picture.size, Image.Resampling.BICUBIC)


def mirror(picture: Image.Image) -> Image.Image:
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "recompressed": jpeg,
    "cropped": crop,
    "halved": halve,
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.25),
    "flatter": lambda picture: ImageEnhance.Contrast(picture).enhance(0.6),
    "mirrored": mirror,
    "mirrored and recompressed": lambda picture: jpeg(mirror(picture)),
}


@pytest.fixture
def store_of(tmp_path: Path) -> Callable[..., Store]:
    """Pictures by their key without suffix (``train/a/0``) -> a store."""

    def build(pictures: dict[str, Image.Image], **settings: object) -> Store:
        for key, picture in pictures.items():
            path = tmp_path / "raw" / f"{key}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
        settings = {"size": SIDE, "codec": "png", "algorithm": "grid", "compactness": None, **settings}
        return build_here(tmp_path / "raw", tmp_path / "s.h5", replace(SMALL, **settings))

    return build


def found(duplicates: Duplicates) -> list[tuple[str, str, str, bool]]:
    """(key to keep, key of the copy, kind, mirrored), without folders and suffixes of one split."""
    return [
        (group.kept.key.removesuffix(".png"), copy.image.key.removesuffix(".png"), copy.kind, copy.mirrored)
        for group in duplicates.groups
        for copy in group.copies
    ]


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_copy_is_found_among_unrelated_pictures(store_of, edit):
    pictures = {f"train/a/{index}": noise(index) for index in range(12)}
    store = store_of({**pictures, "train/b/copy": EDITS[edit](noise(7))})
    assert found(find_duplicates(store)) == [("train/a/7", "train/b/copy", "near", edit.startswith("mirrored"))]


def test_equal_pixels_are_exact_copies_at_similarity_1(store_of):
    store = store_of({"train/a/0": noise(0), "train/a/1": noise(1), "train/a/2": noise(0)})
    for near in (False, True):
        (group,) = find_duplicates(store, near=near).groups
        (copy,) = group.copies
        assert (group.kept.place, copy.image.place, copy.kind, copy.similarity) == (0, 2, "exact", 1.0)


def test_edited_copies_are_not_looked_for_when_only_exact_ones_are_wanted(store_of):
    store = store_of({"train/a/0": noise(0), "train/a/1": jpeg(noise(0))})
    assert find_duplicates(store, near=False).groups == []


def test_copies_across_splits_leave_the_one_of_the_evaluation(store_of):
    store = store_of(
        {
            "train/a/first": noise(0),
            "train/a/second": noise(1),
            "train/a/third": noise(2),
            "val/a/0": jpeg(noise(1)),
            "val/a/1": noise(5),
            "test/a/0": noise(0),
            "test/a/1": mirror(noise(5)),
        }
    )
    duplicates = find_duplicates(store)
    assert found(duplicates) == [
        ("test/a/0", "train/a/first", "exact", False),
        ("test/a/1", "val/a/1", "near", True),
        ("val/a/0", "train/a/second", "near", False),
    ]
    assert duplicates.shared == {
        ("test", "val"): (0, 1),
        ("test", "train"): (1, 1),
        ("val", "test"): (0, 1),
        ("val", "train"): (0, 1),
        ("train", "test"): (1, 1),
        ("train", "val"): (0, 1),
    }


def test_images_are_counted_not_pairs(store_of):
    """Three equal training images and an edited test copy: three images of train have copies in train and in test."""
    trio = {f"train/a/{index}": noise(0) for index in range(3)}
    duplicates = find_duplicates(store_of({**trio, "test/a/0": jpeg(noise(0)), "test/a/1": noise(3)}))
    assert duplicates.shared == {("train", "train"): (3, 3), ("test", "train"): (0, 1), ("train", "test"): (0, 3)}
    assert [len(group.copies) for group in duplicates.groups] == [3]


def test_blank_pictures_are_copies_only_of_the_same_colour(store_of):
    greys = (100, 100, 101, 180, 255, 255)
    blank = {f"train/a/{index}": Image.new("RGB", (SIDE, SIDE), (grey,) * 3) for index, grey in enumerate(greys)}
    random = np.random.default_rng(0)
    faint = {
        f"train/b/{index}": Image.fromarray(random.integers(127, 130, (SIDE, SIDE, 3), dtype=np.uint8))
        for index in range(9)
    }
    assert found(find_duplicates(store_of({**blank, **faint}))) == [
        ("train/a/0", "train/a/1", "exact", False),
        ("train/a/4", "train/a/5", "exact", False),
    ]


def test_a_common_frame_makes_no_copies(store_of):
    pictures = {}
    for index in range(6):
        framed = Image.new("RGB", (SIDE, SIDE), "white")
        framed.paste(noise(index, (SIDE - 12, SIDE - 12)), (6, 6))
        pictures[f"train/a/{index}"] = framed
    assert find_duplicates(store_of(pictures)).groups == []


def test_a_chain_does_not_join_its_ends(store_of, monkeypatch):
    """1 is like 0 and 2, which are unlike: 2 is no copy of 0 and stays."""
    alike = {(0, 1): 0.95, (1, 2): 0.95, (0, 2): 0.1}
    monkeypatch.setattr("preprocess.inspect.duplicates._similarities", lambda start, *_: (start, list(alike.values())))
    monkeypatch.setattr(
        "preprocess.inspect.duplicates.likely_pairs", lambda *_: np.array([(*pair, 0) for pair in alike])
    )
    store = store_of({f"train/a/{index}": noise(index) for index in range(3)})
    assert found(find_duplicates(store)) == [("train/a/0", "train/a/1", "near", False)]


@pytest.mark.parametrize("shapes", [((80, 60), (40, 30)), ((60, 60), (90, 60))])
def test_pictures_of_varied_sizes_are_compared(store_of, shapes):
    """A copy at half the size; and one that was squeezed."""
    whole, other = shapes
    pictures = {f"train/a/{index}": noise(index, whole) for index in range(4)}
    store = store_of({**pictures, "train/a/copy": noise(2, whole).resize(other)}, size=24, resize="short")
    assert not store.uniform
    assert found(find_duplicates(store)) == [("train/a/2", "train/a/copy", "near", False)]


def test_same_pixels_in_another_shape_are_no_exact_copy(store_of):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 24, 3), dtype=np.uint8)
    pictures = {"train/a/0": Image.fromarray(pixels), "train/a/1": Image.fromarray(pixels.reshape(24, 8, 3))}
    assert find_duplicates(store_of(pictures, size=None, resize="none"), near=False).groups == []


def test_a_key_that_is_in_several_splits_is_listed_with_its_own(store_of):
    """As of WebDatasets, whose keys begin again in each split."""
    groups = find_duplicates(store_of({"train/a/0": noise(0), "test/a/0": noise(0)})).groups
    of_both = SimpleNamespace(splits=("train", "test"), keys=lambda _: ["train/a/0.png"])
    lines = exclude_lines(of_both, groups)
    assert lines[1:] == ["# train: 1 copies", "# exact copy of test/a/0.png", "train\ttrain/a/0.png"]


def test_one_image_has_no_copies(store_of):
    duplicates = find_duplicates(store_of({"train/a/0": noise(0)}))
    assert (duplicates.groups, duplicates.shared) == ([], {})


def test_a_split_without_images_is_passed_over(tmp_path):
    for key, data in (("train/a/0", noise(0)), ("train/a/1", noise(0))):
        path = tmp_path / "raw" / f"{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        data.save(path)
    store = build_here(tmp_path / "raw", tmp_path / "s.h5", replace(SMALL, size=SIDE), empty=("test",))
    assert len(store.splits["test"]) == 0
    assert found(find_duplicates(store)) == [("train/a/0", "train/a/1", "exact", False)]


@pytest.mark.parametrize("turned", [False, True])
def test_the_order_of_the_images_does_not_matter(store_of, turned):
    numbers = [5, 3, 8, 1, 9]
    pictures = [noise(number) for number in numbers] + [jpeg(crop(noise(3))), mirror(noise(9))]
    names = [*map(str, numbers), "3", "9"]
    order = range(len(pictures))[:: -1 if turned else 1]
    store = store_of({f"train/a/{place}-{names[index]}": pictures[index] for place, index in enumerate(order)})
    pairs = {(kept.split("-")[1], copy.split("-")[1]) for kept, copy, _, _ in found(find_duplicates(store))}
    assert pairs == {("3", "3"), ("9", "9")}


def test_more_processes_find_the_same(store_of):
    pictures = {f"train/a/{index}": noise(index) for index in range(4)}
    store = store_of({**pictures, **{f"test/a/{index}": jpeg(noise(index)) for index in range(3)}})
    assert find_duplicates(store, jobs=2) == find_duplicates(store)
    get_reusable_executor().shutdown()  # other tests count the children of this process


def test_the_exclude_file_lists_the_copies_below_comments(store_of):
    store = store_of(
        {
            "train/a/0": noise(0),
            "train/b/0": noise(0),
            "train/b/1": noise(4),
            "train/b/2": mirror(noise(4)),
            "test/a/0": noise(0),
            "test/b/0": noise(9),
            "test/b/1": noise(9),
        }
    )
    duplicates = find_duplicates(store)
    lines = exclude_lines(store, duplicates.groups)
    assert lines[0].startswith("# python -m preprocess duplicates")  # by which the next run knows its own list
    assert lines[1:] == [
        "# train: 3 copies",
        "# exact copy of test/a/0.png",
        "train/a/0.png",
        "# exact copy of test/a/0.png, with a different label",
        "train/b/0.png",
        "# near, mirrored copy of train/b/1.png",
        "train/b/2.png",
        "# test: 1 copies",
        "# exact copy of test/b/0.png",
        "test/b/1.png",
    ]
    assert [group.labels_differ for group in duplicates.groups] == [True, False, False]
    keys = {key for split in store.splits for key in store.keys(split)}
    assert {line for line in lines if not line.startswith("#")} < keys


def test_the_tables_count_and_put_differing_labels_first(store_of):
    store = store_of({"train/a/0": noise(0), "train/a/1": noise(0), "train/a/2": noise(2), "train/b/0": noise(2)})
    duplicates = find_duplicates(store)
    counts = [list(column.cells) for column in summary(store, duplicates).columns]
    assert counts == [["train"], ["train"], ["4"], ["4"], ["100.00 %"]]
    table = copies(store, duplicates.groups)
    assert list(table.columns[1].cells) == ["train/b/0.png", "train/a/1.png"]
    assert list(table.columns[4].cells) == ["a / b: differ", "a"]
    assert copies(store, duplicates.groups, shown=1).row_count == 1


def test_the_search_finds_what_all_pairs_one_by_one_show(monkeypatch):
    """In blocks smaller than the set; mirrored: the odd features change their sign."""
    monkeypatch.setattr("preprocess.inspect.duplicates._ROWS", 16)
    monkeypatch.setattr("preprocess.inspect.duplicates._COLUMNS", 40)
    random = np.random.default_rng(1)
    features = random.standard_normal((150, 12)).astype(np.float32)
    odd = np.arange(12) % 3 == 0
    signs = np.where(odd, -1, 1)
    features[100:] = features[:50] * np.where(np.arange(50)[:, None] % 2, signs, 1) + 0.3 * features[100:]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    expected = set()
    for first in range(150):
        for second in range(first + 1, 150):
            plain, mirrored = (float(features[first] @ (features[second] * sign)) for sign in (1, signs))
            if max(plain, mirrored) >= 0.8:
                expected.add((first, second, int(mirrored > plain)))
    done = []
    pairs = likely_pairs(features, odd, 0.8, done.append)
    assert len(expected) > 40
    assert sorted(map(tuple, pairs.tolist())) == sorted(expected)
    assert sum(done) == 150


def test_an_image_like_all_others_keeps_the_most_alike(monkeypatch):
    monkeypatch.setattr("preprocess.inspect.duplicates._MOST", 3)
    monkeypatch.setattr("preprocess.inspect.duplicates._COLUMNS", 4)
    angles = np.array([0, 0.5, 0.4, 0.3, 0.2, 0.1, 0.6])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    pairs = likely_pairs(features, np.array([False, False]), 0.5, lambda done: None)
    assert sorted(pairs[pairs[:, 0] == 0, 1].tolist()) == [3, 4, 5]


def test_similarity_is_1_for_equal_and_little_for_unrelated_pictures():
    first, second = (np.asarray(noise(seed, (32, 32))) for seed in (0, 1))
    assert similarity(first, first) > 0.97
    assert similarity(first, second) < 0.5
    assert similarity(first, np.full_like(first, 90)) == 0


@pytest.mark.parametrize("threshold", [0, -1, 1.5])
def test_a_threshold_that_is_none_is_refused(small_store, threshold):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        find_duplicates(small_store, threshold)


def test_the_command_lists_copies_and_its_file_leaves_them_out(store_of, tmp_path):
    pictures = {"train/a/0": noise(0), "train/a/1": noise(1), "train/b/0": mirror(noise(1)), "train/b/1": noise(2)}
    store = store_of({**pictures, "test/a/0": noise(0), "test/b/0": noise(3)})
    done = here("duplicates", store.path, "--out", tmp_path / "twice.txt", "--jobs", 1)
    assert done.exit_code == 0, done.output
    assert "2 copies of 2 images; 1 of these groups have different labels" in done.output
    options = ("--size", SIDE, "--codec", "png", "--segments", 4, "--algorithm", "grid", "--jobs", 1)
    raw, out = tmp_path / "raw", tmp_path / "once.h5"
    built = here("build", "folder", "--root", raw, "--out", out, *options, "--exclude", tmp_path / "twice.txt")
    assert built.exit_code == 0, built.output
    assert Store(out).keys("train") == ["train/a/1.png", "train/b/1.png"]
    assert "has no duplicate images" in here("duplicates", out, "--jobs", 1).output


def test_a_copy_whose_key_would_be_a_comment_is_left_out_too(tmp_path):
    for name, seed in (("#cats/0", 0), ("#cats/1", 0), ("dogs/2", 2)):
        path = tmp_path / "raw" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(seed).save(path)
    options = ("--split", "train", "--size", SIDE, "--segments", 4, "--algorithm", "grid", "--jobs", 1)
    command = ("build", "folder", "--root", tmp_path / "raw", *options, "--out")
    assert here(*command, tmp_path / "s.h5").exit_code == 0
    assert here("duplicates", tmp_path / "s.h5", "--out", tmp_path / "twice.txt", "--jobs", 1).exit_code == 0
    assert (tmp_path / "twice.txt").read_text().endswith("\ntrain\t#cats/1.png\n")
    built = here(*command, tmp_path / "once.h5", "--exclude", tmp_path / "twice.txt")
    assert Store(tmp_path / "once.h5").keys("train") == ["#cats/0.png", "dogs/2.png"]
    assert "count as comments" not in built.output
    (tmp_path / "by-hand.txt").write_text("# mine\n#cats/1.png\n#cats/5.png\n")
    told = here(*command, tmp_path / "both.h5", "--exclude", tmp_path / "by-hand.txt").output
    assert (
        "1 keys begin with # and count as comments, the first is #cats/1.png; to exclude such an image, write" in told
    )


def test_the_command_takes_no_threshold_for_exact_copies(store_of):
    done = here("duplicates", store_of({"train/a/0": noise(0)}).path, "--exact", "--threshold", 0.5)
    assert done.exit_code == 2
    assert "--threshold" in done.output
