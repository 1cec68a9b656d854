"""The traps of the official sets, from their files to a store that the real command built: pixels and boxes."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocess.store import Store
from tests.preprocess.conftest import here
from tests.preprocess.datasets import official
from tests.preprocess.datasets.official import OFFICIAL

QUICK = ("--segments", "4", "--algorithm", "grid")
SQUARE = ("--size", 16, "--resize", "squash", "--codec", "raw")  # some sets have other defaults


def build(name: str, root: Path, out: Path, *options: object) -> Store:
    """Build a part of a set, without workers."""
    done = here("build", name, "--root", root, "--out", out, "--partial", "--jobs", 1, *(options or QUICK))
    assert done.exit_code == 0, done.output
    return Store(out)


def built(name: str, tmp_path: Path, *options: object) -> Store:
    """The small official set with some images of its own, built with the quick options and these."""
    return build(name, tmp_path / "raw", tmp_path / f"{name}.h5", *QUICK, *options)


def image_of(store: Store, split: str, key: str) -> np.ndarray:
    return np.asarray(store.images(split, [list(store.keys(split)).index(key)])[0])


def flat(colour: Sequence[int], size: int = 16) -> np.ndarray:
    return np.full((size, size, 3), colour, np.uint8)


def near(image: np.ndarray, expected: np.ndarray, tolerance: int = 2) -> bool:
    """JPEG moves flat colours by a step or two."""
    return image.shape == expected.shape and bool((np.abs(image.astype(int) - expected) <= tolerance).all())


# ---------------------------------------------------------------------------------------------------------- images


def test_the_command_itself_builds_a_part_of_a_set(tmp_path, run):
    official.make_nabirds(tmp_path / "data" / "raw" / "nabirds" / "nabirds")
    done = run("-m", "preprocess", "build", "nabirds", "--partial", "--size", "16", *QUICK, "--jobs", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    store = Store(tmp_path / "data" / "nabirds.h5")
    assert store.labels("train").tolist() == [2, 0, 1]
    assert store.keys("test")[0] == "0817/0000139e21dc4d0cbfe14cae3c85c829.jpg"


def test_a_part_of_a_set_is_refused_unless_it_is_asked_for(tmp_path):
    OFFICIAL["nabirds"].under(tmp_path / "raw")
    done = here("build", "nabirds", "--root", tmp_path / "raw", "--out", tmp_path / "a.h5", *QUICK, "--jobs", 1)
    assert done.exit_code != 0
    assert "--partial" in done.output
    assert not (tmp_path / "a.h5").exists()


def test_the_transparent_png_among_the_dogs_is_laid_on_white(tmp_path):
    OFFICIAL["dogs"].under(tmp_path / "raw")
    picture = np.zeros((16, 16, 4), np.uint8)  # black and transparent on the left
    picture[:, 8:] = (40, 160, 80, 255)
    name = "n02105855-Shetland_sheepdog/n02105855_2933.jpg"
    official.save_image(tmp_path / "raw" / "Images" / name, Image.fromarray(picture), "PNG")
    store = built("dogs", tmp_path, *SQUARE)
    expected = flat((255, 255, 255))
    expected[:, 8:] = (40, 160, 80)
    assert np.array_equal(image_of(store, "train", name), expected)


def test_greyscale_birds_have_three_equal_channels(tmp_path):
    home = OFFICIAL["cub"].under(tmp_path / "raw")
    key = "002.Laysan_Albatross/Laysan_Albatross_0002_1027.jpg"
    official.save_image(home / "images" / key, Image.new("L", (20, 30), 96), quality=95)
    store = built("cub", tmp_path, *SQUARE)
    assert near(image_of(store, "train", key), flat((96, 96, 96)))


def test_greyscale_tiny_images_have_three_equal_channels_at_their_own_size(tmp_path):
    home = OFFICIAL["tiny-imagenet"].under(tmp_path / "raw")
    grey = official.painted(5, (64, 64)).convert("L")
    key = "train/n04067472/images/n04067472_1.JPEG"
    official.save_image(home / key, grey, quality=95)
    store = built("tiny-imagenet", tmp_path)
    stored = image_of(store, "train", key)
    with Image.open(home / key) as image:
        assert image.mode == "L"
        levels = np.asarray(image)
    assert np.array_equal(stored, np.stack([levels] * 3, axis=-1))


def test_the_png_and_the_cmyk_jpeg_of_imagenet_have_their_colours(tmp_path):
    root = OFFICIAL["imagenet"].under(tmp_path / "raw")
    png, cmyk = "train/n02105855/n02105855_2933.JPEG", "train/n01440764/n01440764_18.JPEG"
    official.save_image(root / png, Image.new("RGB", (20, 12), (12, 34, 56)), "PNG")
    # Cyan nothing, magenta and yellow all, black a fifth: a red of four fifths.
    official.save_image(root / cmyk, Image.new("CMYK", (24, 16), (0, 255, 255, 51)), quality=95)
    with Image.open(root / cmyk) as image:
        assert (image.format, image.mode) == ("JPEG", "CMYK")
    store = built("imagenet", tmp_path, *SQUARE)
    assert near(image_of(store, "train", png), flat((12, 34, 56)), 0)
    assert near(image_of(store, "train", cmyk), flat((204, 0, 0)), 4)


def test_a_cifar_image_is_stored_as_it_is_at_32_pixels(tmp_path):
    for name, split, seed in (("cifar10", "test", 5), ("cifar100", "train", 0)):
        OFFICIAL[name].under(tmp_path / name / "raw")
        store = built(name, tmp_path / name)
        assert np.array_equal(store.images(split, [0, 1, 2]), official.cifar_pixels(seed, 3))
        assert store.labels(split).tolist() == {"cifar10": [3, 8, 8], "cifar100": [19, 29, 0]}[name]


def test_a_tiny_image_is_stored_as_pillow_decodes_it_at_64_pixels(tmp_path):
    home = OFFICIAL["tiny-imagenet"].under(tmp_path / "raw")
    store = built("tiny-imagenet", tmp_path)
    assert list(store.splits) == ["train", "val"]
    for split in store.splits:
        for index, key in enumerate(store.keys(split)):
            with Image.open(home / key) as image:
                assert np.array_equal(store.images(split, [index])[0], np.asarray(image))


# -------------------------------------------------------------------------------------------------------- aircraft


@pytest.mark.parametrize(
    ("resize", "codec"),
    [
        ("squash", "raw"),
        ("squash", "jpeg"),
        ("squash", "png"),
        ("short", "jpeg"),
        ("short", "png"),
        ("none", "jpeg"),
        ("none", "png"),
    ],
)
def test_nothing_of_the_banner_reaches_the_store(resize, codec, tmp_path):
    home = OFFICIAL["aircraft"].under(tmp_path / "raw")
    # The size that is stored, so that a file that could be taken as it is comes along.
    whole = official.bannered(Image.new("RGB", (32, 32 - official.BANNER), (30, 140, 60)))
    tall = official.bannered(Image.new("RGB", (32, 32), (30, 140, 60)))
    wide = official.bannered(Image.new("RGB", (64, 40), (30, 140, 60)))
    for name, image in (("1514522", whole), ("0747566", tall), ("1008575", wide)):
        official.save_image(home / "data" / "images" / f"{name}.jpg", image, subsampling=0, quality=95)
    size = () if resize == "none" else ("--size", 32)
    store = built("aircraft", tmp_path, "--codec", codec, "--resize", resize, "--splits", "test", *size)
    shapes = {
        "squash": [(32, 32), (32, 32), (32, 32)],
        "short": [(32, 85), (32, 32), (32, 51)],  # 12 x 32, 32 x 32 and 40 x 64
        "none": [(12, 32), (32, 32), (40, 64)],
    }[resize]
    for image, shape in zip(store.images("test", [0, 1, 2]), shapes, strict=True):
        assert near(np.asarray(image), np.full((*shape, 3), (30, 140, 60), np.uint8), 3)


def test_an_aircraft_is_cut_first_and_resized_then(tmp_path):
    home = OFFICIAL["aircraft"].under(tmp_path / "raw")
    store = built("aircraft", tmp_path, "--size", 24, "--resize", "squash", "--codec", "raw")
    for split in ("train", "test"):
        for index, key in enumerate(store.keys(split)):
            with Image.open(home / "data" / "images" / key) as image:
                assert image.size == (48, 52)
                expected = image.crop((0, 0, 48, 32)).resize((24, 24), Image.Resampling.BILINEAR)
            assert np.array_equal(store.images(split, [index])[0], np.asarray(expected))


def test_an_aircraft_that_is_no_higher_than_the_banner_is_a_bad_image(tmp_path):
    home = OFFICIAL["aircraft"].under(tmp_path / "raw")
    official.save_image(home / "data" / "images" / "1514522.jpg", Image.new("RGB", (48, 20), official.GLARING))
    arguments = ("--root", tmp_path / "raw", "--out", tmp_path / "a.h5", "--partial", "--jobs", 1, "--size", 24, *QUICK)
    done = here("build", "aircraft", *arguments)
    assert done.exit_code == 1
    assert "1514522.jpg" in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "a.h5").exists()


# ----------------------------------------------------------------------------------------------------------- boxes

NOTHING = [np.nan] * 4
# Fractions by hand, of images of 24 x 16 pixels (cub, dogs, nabirds), 300 x 20 (cars), 48 x 32 (aircraft, without
# the banner) and 64 x 64 (tiny-imagenet).
BOXES = {
    ("cub", "train"): [[[3.5 / 24, 0, 1, 1]], [[0, 1 / 16, 1, 1]], [[1 / 24, 2 / 16, 4 / 24, 6 / 16]]],
    ("cub", "test"): [[[0.25, 0.125, 0.75, 11 / 16]], [[10 / 24, 10 / 16, 1, 1]]],  # the last leaves its image
    ("dogs", "train"): [
        [[7 / 24, 4 / 16, 20 / 24, 15 / 16], NOTHING],
        [[1 / 24, 1 / 16, 12 / 24, 9 / 16], NOTHING],
        [[2 / 24, 3 / 16, 9 / 24, 14 / 16], [11 / 24, 1 / 16, 23 / 24, 15 / 16]],
        [[0, 0, 1, 1], NOTHING],
        [[5 / 24, 0, 21 / 24, 13 / 16], NOTHING],
    ],
    ("nabirds", "test"): [[[8 / 24, 5 / 16, 20 / 24, 14 / 16]], [[20 / 24, 10 / 16, 23 / 24, 15 / 16]]],
    ("cars", "train"): [
        [[38 / 300, 1 / 20, 260 / 300, 19 / 20]],
        [[0, 0, 1, 1]],
        [[256 / 300, 4 / 20, 258 / 300, 6 / 20]],
    ],
    ("cars", "test"): [[[29 / 300, 2 / 20, 246 / 300, 14 / 20]], [[99 / 300, 18 / 20, 299 / 300, 1]]],
    ("aircraft", "train"): [
        [[2 / 48, 3 / 32, 40 / 48, 30 / 32]],
        [[0, 0, 1, 1]],
        [[1 / 48, 8 / 32, 47 / 48, 10 / 32]],
        [[0.25, 0.5, 0.75, 0.75]],
    ],
    ("aircraft", "test"): [[[0.5, 0.25, 1, 1]], [[4 / 48, 5 / 32, 7 / 48, 8 / 32]], [[0, 1 / 32, 0.5, 1]]],
    ("tiny-imagenet", "val"): [
        [[0, 0.5, 45 / 64, 63 / 64]],
        [[0.0625, 0, 1, 0.875]],
        [[10 / 64, 20 / 64, 31 / 64, 41 / 64]],
        [[52 / 64, 55 / 64, 58 / 64, 60 / 64]],
    ],
}


@pytest.mark.parametrize("name", ["cub", "dogs", "nabirds", "cars", "aircraft", "tiny-imagenet"])
def test_boxes_are_fractions_of_the_stored_image(name, tmp_path):
    OFFICIAL[name].under(tmp_path / "raw")
    keeps = ("--resize", "short") if name == "dogs" else ()  # by default they keep their sizes
    store = built(name, tmp_path, "--size", 16, *keeps)
    for split in store.splits:
        boxes = store.boxes(split)
        assert boxes.dtype == np.float32
        assert boxes.shape[0] == len(store.labels(split))
        assert boxes.shape[2] == 4
        if (name, split) in BOXES:
            np.testing.assert_allclose(boxes, np.array(BOXES[name, split]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("resize", ["short", "none"])
def test_boxes_do_not_depend_on_the_stored_size(resize, tmp_path):
    OFFICIAL["dogs"].under(tmp_path / "raw")
    store = built("dogs", tmp_path, "--resize", resize, *(("--size", 12) if resize == "short" else ()))
    np.testing.assert_allclose(store.boxes("train"), np.array(BOXES["dogs", "train"]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "shapes"), [("flowers102", (3, 2, 4)), ("imagenet", (4, 4)), ("cifar100", (3, 2))])
def test_sets_without_boxes_have_none(name, shapes, tmp_path):
    OFFICIAL[name].under(tmp_path / "raw")
    store = built(name, tmp_path, "--size", 16)
    for split, count in zip(store.splits, shapes, strict=True):
        assert store.boxes(split).shape == (count, 0, 4)
        assert store.boxes(split).dtype == np.float32


def test_dogs_without_annotations_have_no_boxes(tmp_path):
    official.make_dogs(tmp_path / "raw", annotation="elsewhere/deep/down")
    store = built("dogs", tmp_path, "--size", 16, "--resize", "short")
    assert store.boxes("train").shape == (5, 0, 4)


def test_boxes_stay_with_their_images_when_a_bad_one_is_left_out(tmp_path):
    home = OFFICIAL["dogs"].under(tmp_path / "raw")
    (home / "Images" / "n02085620-Chihuahua" / "n02085620_4441.jpg").write_bytes(b"no image")
    store = built("dogs", tmp_path, "--skip-bad")
    expected = np.array(BOXES["dogs", "train"])[[0, 2, 3, 4]]
    assert len(store.keys("train")) == 4
    np.testing.assert_allclose(store.boxes("train"), expected, rtol=0, atol=1e-6)


def test_an_edited_box_is_noticed_and_taken_in_by_an_update(tmp_path):
    home = OFFICIAL["nabirds"].under(tmp_path / "raw")
    built("nabirds", tmp_path, "--size", 16)
    table = home / "bounding_boxes.txt"
    table.write_text(table.read_text().replace(" 1 2 3 4", " 1 2 3 10"))
    again = (
        "--root",
        tmp_path / "raw",
        "--out",
        tmp_path / "nabirds.h5",
        "--partial",
        "--jobs",
        1,
        "--size",
        16,
        *QUICK,
    )
    assert here("build", "nabirds", *again).exit_code == 1
    assert here("build", "nabirds", *again, "--update").exit_code == 0
    expected = [[[0, 0, 1, 1]], [[1 / 24, 2 / 16, 4 / 24, 12 / 16]], [[5 / 24, 6 / 16, 12 / 24, 14 / 16]]]
    np.testing.assert_allclose(Store(tmp_path / "nabirds.h5").boxes("train"), expected, rtol=0, atol=1e-6)


# --------------------------------------------------------------------------------------------------- other commands


@pytest.mark.parametrize("name", ["cifar10", "aircraft"])
def test_damaged_images_are_made_again_from_the_raw_data(name, tmp_path):
    OFFICIAL[name].under(tmp_path / "raw")
    store = built(name, tmp_path, "--size", 32, "--resize", "squash", "--codec", "raw")
    before = {split: store.images(split, range(len(store.labels(split)))).copy() for split in store.splits}
    for split in before:
        for shard in (tmp_path / f"{name}.shards" / split / "images").iterdir():
            data = bytearray(shard.read_bytes())
            data[-1000] ^= 4
            shard.write_bytes(data)
    assert here("verify", store.path, "--jobs", 1).exit_code == 1
    assert here("verify", store.path, "--repair", "--root", tmp_path / "raw", "--jobs", 1).exit_code == 0
    mended = Store(store.path)
    for split, images in before.items():
        assert np.array_equal(mended.images(split, range(len(images))), images)


def test_dogs_keep_their_sizes_and_a_size_needs_another_resize(tmp_path):
    OFFICIAL["dogs"].under(tmp_path / "raw")
    store = built("dogs", tmp_path)
    assert (store.size, store.resize) == (None, "none")
    assert store.sizes("train", [0]).tolist() == [[16, 24]]
    done = here("build", "dogs", "--root", tmp_path / "raw", "--out", tmp_path / "x.h5", "--partial", "--size", 16)
    assert done.exit_code == 2
    assert "--size: has no effect with --resize none, which keeps image sizes; add --resize short" in done.output


def test_a_packed_store_has_the_same_boxes(tmp_path):
    OFFICIAL["dogs"].under(tmp_path / "raw")
    store = built("dogs", tmp_path, "--size", 16, "--resize", "short")
    done = here("pack", store.path, tmp_path / "packed.h5")
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(Store(tmp_path / "packed.h5").boxes("train"), store.boxes("train"))


@pytest.mark.parametrize("name", ["cifar10", "aircraft"])
def test_a_dry_run_measures_and_writes_nothing(name, tmp_path):
    OFFICIAL[name].under(tmp_path / "raw")
    out = tmp_path / "dry" / "a.h5"
    done = here("build", name, "--root", tmp_path / "raw", "--out", out, "--partial", "--jobs", 1, *QUICK, "--dry-run")
    assert done.exit_code == 0, done.output
    assert not out.parent.exists()


# ---------------------------------------------------------------------------------------------- one set, two forms

# Labels rise, so that a folder lists the images in the order of the batches.
TWO_FORMS = {
    "data_batch_1": (0, 0, 1),
    "data_batch_2": (1, 2, 3),
    "data_batch_3": (4, 4, 5),
    "data_batch_4": (6, 6, 7),
    "data_batch_5": (8, 8, 9),
    "test_batch": (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
}


def make_two_forms(pickles: Path, folder: Path) -> None:
    """The same images as the pickles of CIFAR-10 and as a folder of PNG files."""
    official.make_cifar10(pickles)
    number = 0
    for seed, (file, labels) in enumerate(TWO_FORMS.items()):
        pixels = official.cifar_pixels(100 + seed, len(labels))
        names = [f"picture_s_{number + row:06d}.png" for row in range(len(labels))]
        batch = official.cifar10_batch(official.CIFAR10_FILES[file], labels, names, official.cifar_rows(pixels))
        official.save_pickles(pickles, {file: batch})
        for name, label, image in zip(names, labels, pixels, strict=True):
            split = "test" if file == "test_batch" else "train"
            path = folder / split / official.CIFAR10_CLASSES[label] / name
            official.save_image(path, Image.fromarray(image), "PNG")
        number += len(labels)


def test_pickles_and_a_folder_of_the_same_images_give_the_same_store(tmp_path):
    make_two_forms(tmp_path / "pickles", tmp_path / "folder")
    # The compactness is said because the two sets have defaults of their own.
    options = ("--size", 32, "--codec", "raw", "--segments", "9,16", "--compactness", 10)
    from_pickles = build("cifar10", tmp_path / "pickles", tmp_path / "a.h5", *options)
    done = here("build", "folder", "--root", tmp_path / "folder", "--out", tmp_path / "b.h5", "--jobs", 1, *options)
    assert done.exit_code == 0, done.output
    from_folder = Store(tmp_path / "b.h5")
    assert from_pickles.classes == from_folder.classes == official.CIFAR10_CLASSES
    assert [scale.segments for scale in from_pickles.scales] == [9, 16]
    for split, count in (("train", 15), ("test", 10)):
        rows = list(range(count))
        assert from_pickles.labels(split).tolist() == from_folder.labels(split).tolist()
        assert from_pickles.labels(split).tolist() == [
            label
            for file, labels in TWO_FORMS.items()
            if (file == "test_batch") == (split == "test")
            for label in labels
        ]
        assert np.array_equal(from_pickles.images(split, rows), from_folder.images(split, rows))
        for segments in (9, 16):
            maps = from_pickles.maps(split, segments, rows)
            assert np.array_equal(maps, from_folder.maps(split, segments, rows))
            assert maps.max() > 0


@pytest.mark.parametrize(("name", "compactness"), [("cifar10", 8), ("tiny-imagenet", 7), ("flowers102", 10)])
def test_a_default_compactness_that_is_written_out_gives_the_same_content_keys(name, compactness, tmp_path):
    OFFICIAL[name].under(tmp_path / "raw")
    options = ("--segments", 9, "--size", 16, "--splits", "test" if name != "tiny-imagenet" else "val")
    keys = []
    for out, more in (("a.h5", ()), ("b.h5", ("--compactness", compactness))):
        build(name, tmp_path / "raw", tmp_path / out, *options, *more)
        document = json.loads(here("inspect", tmp_path / out, "--json").output)
        assert [one["compactness"] for one in document["superpixels"]] == [compactness]
        (split,) = document["splits"].values()
        keys.append({column: entry["content_key"] for column, entry in split["columns"].items()})
    assert keys[0] == keys[1]


@pytest.mark.parametrize("form", ["JPEG", "TIFF", "PNG"])
def test_boxes_are_those_of_the_upright_image(form, tmp_path):
    """An image of 24 x 16 pixels that lies on its side: upright it is 16 wide, 24 high."""
    home = official.make_cub(tmp_path / "raw")
    key = "001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg"
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (24, 16), "red").save(home / "images" / key, form, exif=exif)
    table = home / "bounding_boxes.txt"
    table.write_text(table.read_text().replace("2 3.5 0.0 20.5 16.0", "2 4.0 6.0 8.0 12.0"))
    store = built("cub", tmp_path, *SQUARE)
    boxes = store.boxes("train")[store.keys("train").index(key)]
    np.testing.assert_allclose(boxes, [[4 / 16, 6 / 24, 12 / 16, 18 / 24]], atol=1e-6)


def test_a_set_that_is_raw_by_default_is_coded_where_sizes_vary(tmp_path):
    official.make_cifar10(tmp_path / "raw")
    store = built("cifar10", tmp_path, "--resize", "short", "--size", 48)
    assert store.document["images"]["codec"] == "jpeg"
    assert build("cifar10", tmp_path / "raw", tmp_path / "own.h5").document["images"]["codec"] == "raw"
