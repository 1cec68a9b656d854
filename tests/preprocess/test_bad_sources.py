"""Folders with every kind of file that cameras, scanners and broken downloads leave: decoded rightly, or named."""

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image, ImageOps, features
from skimage.segmentation import slic

from preprocess.store import Store
from tests.conftest import PROOF, ROOT
from tests.preprocess.conftest import EPS, QUICK, build_command, ghostscript, here, open_plain, shard_files

SIDE, COUNTS = 16, (4, 9)
FORMS = [("raw", "squash"), ("png", "squash"), ("jpeg", "squash"), ("png", "none"), ("jpeg", "none")]
LONG = 20_000 if PROOF else 4000
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Outcome:
    """A data set, its store in one form, and what both commands said."""

    root: Path
    out: Path
    codec: str
    resize: str
    refused: Result
    published: bool
    skipped: Result


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Coarse noise: fine noise would give JPEG no edges to keep and SLIC no regions to find."""
    random = np.random.default_rng([seed, width, height])
    small = random.integers(0, 256, (-(-height // 4), -(-width // 4), len(mode)), dtype=np.uint8)
    values = small.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]
    return Image.fromarray(values[..., 0] if mode == "L" else np.ascontiguousarray(values), mode)


def coded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return coded(noise(24, 18, seed=orientation), "JPEG", exif=exif)


def transparent_palette() -> bytes:
    picture = noise(20, 12, "L").quantize(8)
    return coded(picture, "PNG", transparency=2)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def bomb(width: int, height: int) -> bytes:
    """A few bytes that declare a huge picture."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def good_files() -> dict[str, bytes]:
    sixteen = np.random.default_rng(1).integers(0, 65536, (14, 22)).astype(np.uint16)
    files = {
        "a/plain.jpg": coded(noise(24, 18), "JPEG"),
        "a/at the stored size.jpg": coded(noise(SIDE, SIDE), "JPEG", quality=60),
        "a/at the stored size.png": coded(noise(SIDE, SIDE), "PNG"),
        "a/name with  spaces .JPG": coded(noise(30, 20, seed=1), "JPEG"),
        "b/Blüte – 花 №1.png": coded(noise(30, 20, seed=2), "PNG"),
        "b/cmyk.jpg": coded(noise(20, 24, "CMYK"), "JPEG", quality=90),
        "b/cmyk at the stored size.jpg": coded(noise(SIDE, SIDE, "CMYK"), "JPEG", quality=90),
        "b/sixteen bits.png": coded(Image.fromarray(sixteen), "PNG"),
        "b/sixteen bits.tiff": coded(Image.fromarray(sixteen), "TIFF"),
        "b/palette.png": transparent_palette(),
        "b/alpha.png": coded(noise(18, 22, "RGBA"), "PNG"),
        "b/grey.jpg": coded(noise(21, 19, "L"), "JPEG"),
        "b/one bit.png": coded(noise(21, 19, "L").convert("1"), "PNG"),
        "b/one pixel.png": coded(noise(1, 1), "PNG"),
        "b/one pixel.jpg": coded(noise(1, 1), "JPEG"),
        "b/long.png": coded(noise(LONG, 10), "PNG"),
        "b/long.jpg": coded(noise(LONG, 10, seed=3), "JPEG"),
        "b/tall.png": coded(noise(10, LONG), "PNG"),
        "c/moving.gif": coded(noise(20, 12, seed=4), "GIF", save_all=True, append_images=[noise(20, 12, seed=5)]),
        "c/old.bmp": coded(noise(20, 12, seed=6), "BMP"),
        "c/scan.tif": coded(noise(20, 12, seed=7), "TIFF"),
        "c/a PNG in truth.jpg": coded(noise(20, 12, seed=8), "PNG"),
    }
    files |= {f"a/turned {orientation}.jpg": turned(orientation) for orientation in range(1, 9)}
    if features.check("webp"):
        files["c/web.webp"] = coded(noise(20, 12, "RGBA", seed=9), "WEBP", lossless=True)
    return {f"train/{name}": data for name, data in files.items()}


def bad_files() -> dict[str, tuple[bytes, str]]:
    """Content and a part of the reason."""
    whole = coded(noise(60, 40), "JPEG")
    files = {
        "a/cut.jpg": (whole[: len(whole) // 2], "truncated"),
        "a/cut.png": (coded(noise(60, 40), "PNG")[:-40], "truncated"),
        "a/empty.png": (b"", "empty"),
        "b/text.jpg": (b"404: no such photograph\n", "not an image"),
        "b/nothing but zeros.jpg": (bytes(900), "not an image"),
        "b/bomb.png": (bomb(60_000, 60_000), "too many pixels"),
        "c/lesser bomb.png": (bomb(10_000, 10_000), "too many pixels"),
        "c/drawing.jpg": (EPS, "EPS is not read; formats: JPEG, PNG"),
        "c/phone.jpg": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(16), "JPEG XL is not read; pip install"),
    }
    return {f"train/{name}": entry for name, entry in files.items()}


def reasons() -> dict[str, str]:
    """All that cannot be used, in the order of the listing, with a part of the reason."""
    found = {key: reason for key, (_, reason) in bad_files().items()}
    found["train/c/gone.jpg"] = "No such file"
    if not _root():
        found["train/c/locked.png"] = "Permission denied"
    return {key: found[key] for key in sorted(found)}


def _root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def upright(path: Path) -> Image.Image:
    """What Pillow shows of a file, as RGB."""
    with Image.open(path) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
        if image.mode == "RGBA" or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
        return image.convert("RGB")


def expected_pixels(path: Path, codec: str, resize: str) -> np.ndarray:
    image = upright(path)
    size = image.size if resize == "none" else (SIDE, SIDE)
    if codec == "jpeg" and path.read_bytes()[:2] == b"\xff\xd8" and image.size == size:
        return np.asarray(image)  # the file itself is stored
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    if codec == "jpeg":
        image = Image.open(io.BytesIO(coded(image, "JPEG", comment=b"", quality=95, subsampling=0)))
    return np.asarray(image)


def stored_pixels(store: Store) -> dict[str, np.ndarray]:
    """Read the training images by h5py and Pillow alone."""
    found = {}
    for path in shard_files(store, "train", "images"):
        with open_plain(path) as file:
            keys = [key.decode() for key in file["keys"]]
            if "images" in file:
                images = list(file["images"][()])
            else:
                codes, offsets = file["codes"][()].tobytes(), file["offsets"][()]
                images = [np.asarray(upright(io.BytesIO(codes[a:b]))) for a, b in pairwise(offsets)]
        found |= dict(zip(keys, images, strict=True))
    return found


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sources") / "ümlaut and space"
    for key, data in (good_files() | {key: data for key, (data, _) in bad_files().items()}).items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(data)
    (root / "train/c/gone.jpg").symlink_to("nowhere.jpg")
    if not _root():
        (root / "train/c/locked.png").write_bytes(good_files()["train/a/plain.jpg"])
        (root / "train/c/locked.png").chmod(0)
    return root


@pytest.fixture(scope="module", params=FORMS, ids="-".join)
def outcome(request, sources: Path, tmp_path_factory) -> Outcome:
    codec, resize = request.param
    out = tmp_path_factory.mktemp("out") / "x.h5"
    size = () if resize == "none" else ("--size", SIDE)
    options = ("--codec", codec, "--resize", resize, *size, "--segments", "4,9", "--shard-size", "12", "--jobs", "2")
    command = ("build", "folder", "--root", sources, "--out", out, *options)
    refused = here(*command)
    published = out.exists()
    return Outcome(sources, out, codec, resize, refused, published, here(*command, "--skip-bad"))


@pytest.fixture
def store(outcome: Outcome) -> Store:
    assert outcome.skipped.exit_code == 0, outcome.skipped.stderr
    return Store(outcome.out)


def test_bad_files_withhold_the_index_and_each_is_named_with_its_reason(outcome):
    told = outcome.refused.stderr
    assert outcome.refused.exit_code == 1
    assert not outcome.published
    lines = told.splitlines()
    for key, reason in reasons().items():
        (line,) = (line for line in lines if line.strip().startswith(f"{key}: "))
        assert reason in line
    assert f"{len(reasons())} of {len(reasons()) + len(good_files())} images" in told
    assert not any(f"{key}: " in told for key in good_files())


def test_on_request_the_index_lists_exactly_the_bad_files(outcome):
    assert outcome.skipped.exit_code == 0, outcome.skipped.stderr
    done = here("inspect", outcome.out, "--json")
    failed = json.loads(done.stdout)["splits"]["train"]["failed"]
    assert [entry["key"] for entry in failed] == list(reasons())
    for entry, reason in zip(failed, reasons().values(), strict=True):
        assert reason in entry["reason"]


def test_good_files_are_stored_in_order_with_their_classes(store):
    keys = sorted(good_files(), key=lambda key: Path(key).parts)
    assert store.keys("train") == keys
    assert store.labels("train").tolist() == ["abc".index(key.split("/")[1]) for key in keys]


def test_every_good_file_is_stored_as_pillow_shows_it(outcome, store):
    stored = stored_pixels(store)
    assert set(stored) == set(good_files())
    read = dict(zip(store.keys("train"), store.images("train", range(len(stored))), strict=True))
    for key in stored:
        expected = expected_pixels(outcome.root / key, outcome.codec, outcome.resize)
        np.testing.assert_array_equal(stored[key], expected, err_msg=key)
        np.testing.assert_array_equal(read[key], expected, err_msg=key)


def test_every_good_file_has_the_maps_that_scikit_image_gives(store):
    everything = range(len(good_files()))
    images = store.images("train", everything)
    for count in COUNTS:
        for key, image, ids in zip(store.keys("train"), images, store.maps("train", count, everything), strict=True):
            expected = slic(image, n_segments=count, compactness=10, start_label=0)
            np.testing.assert_array_equal(ids, expected, err_msg=key)


@pytest.mark.parametrize("outcome", FORMS if PROOF else [("jpeg", "none")], ids="-".join, indirect=True)
def test_the_store_is_sound(outcome, store):
    done = here("verify", outcome.out, "--jobs", "1")
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_image_starts_a_program(tmp_path, monkeypatch, jobs):
    mark = ghostscript(tmp_path, monkeypatch)
    save_in(tmp_path, "drawing.jpg", EPS)
    save_in(tmp_path, "inside.tif", EPS[:4] + bytes(60) + EPS)
    done = build_one(tmp_path, "--jobs", jobs)
    assert done.exit_code == 1
    assert "drawing.jpg: EPS is not read" in done.stderr
    assert not mark.exists()


def test_a_pipe_or_a_file_without_an_end_among_the_images_is_named_at_once(tmp_path):
    save_in(tmp_path, "good.png", coded(noise(20, 12), "PNG"))
    os.mkfifo(tmp_path / "raw/train/a/pipe.jpg")
    (tmp_path / "raw/train/a/sparse.jpg").touch()
    os.truncate(tmp_path / "raw/train/a/sparse.jpg", 1 << 40)
    done = build_one(tmp_path, "--size", SIDE)
    assert done.exit_code == 1
    assert "train/a/sparse.jpg: cannot be read: too large: expected at most 1,073,741,824 bytes" in done.stderr
    assert "train/a/pipe.jpg: cannot be read: expected a regular file, it is a FIFO" in done.stderr


def save_in(root: Path, name: str, data: bytes) -> None:
    path = root / "raw/train/a" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def build_one(home: Path, *options: object) -> Result:
    where = ("--root", home / "raw", "--out", home / "x.h5", "--segments", "4", "--jobs", "1")
    return here("build", "folder", *where, *options)


def test_a_long_comment_in_a_gif_does_not_cost_the_build(tmp_path):
    save_in(tmp_path, "good.png", coded(noise(20, 12), "PNG"))
    save_in(tmp_path, "wordy.gif", coded(noise(20, 12), "GIF", comment=b"word " * 14_000))  # JPEG holds 65,533 bytes
    done = build_one(tmp_path, "--codec", "jpeg", "--size", SIDE)
    assert done.exit_code == 0, done.stderr
    (image,) = Store(tmp_path / "x.h5").images("train", [1])
    np.testing.assert_array_equal(image, expected_pixels(tmp_path / "raw/train/a/wordy.gif", "jpeg", "squash"))


def test_the_transparent_value_of_sixteen_bit_grey_becomes_white(tmp_path):
    values = np.array([[0, 1000], [30_000, 65_535]], np.uint16).repeat(8, axis=0).repeat(8, axis=1)
    save_in(tmp_path, "grey.png", coded(Image.fromarray(values), "PNG", transparency=1000))
    done = build_one(tmp_path, "--codec", "raw", "--size", SIDE)
    assert done.exit_code == 0, done.stderr
    expected = np.where(values == 1000, 255, values >> 8)
    np.testing.assert_array_equal(Store(tmp_path / "x.h5").images("train", [0])[0, ..., 0], expected)


@pytest.mark.skipif(not PROOF, reason="SLIC takes seconds for such a picture")
def test_png_takes_a_picture_too_long_for_jpeg(tmp_path):
    save_in(tmp_path, "long.png", coded(noise(70_000, 3), "PNG"))
    done = build_one(tmp_path, "--resize", "none", "--codec", "png")
    assert done.exit_code == 0, done.stderr
    expected = upright(tmp_path / "raw/train/a/long.png")
    np.testing.assert_array_equal(Store(tmp_path / "x.h5").images("train", [0])[0], np.asarray(expected))


def test_a_picture_too_long_for_jpeg_is_named_with_that_reason(tmp_path):
    save_in(tmp_path, "fits.png", coded(noise(20, 12), "PNG"))
    save_in(tmp_path, "long.png", coded(noise(70_000, 3), "PNG"))
    done = build_one(tmp_path, "--resize", "none", "--codec", "jpeg")
    assert done.exit_code == 1
    (line,) = (line for line in done.stderr.splitlines() if "train/a/long.png: " in line)
    # The file is sound and was read: the reason is its size.
    assert "cannot be read" not in line
    assert any(word in line for word in ("large", "long", "70000", "65535", "65500")), line


def test_a_file_without_permission_is_named_and_its_like_are_stored(noisy, tmp_path):
    root = tmp_path / "raw"
    shutil.copytree(noisy, root)
    closed = root / "train" / "a" / "1.png"
    closed.chmod(0)
    prefix = []
    if os.geteuid() == 0:  # whom permissions do not bind, unless these two powers are taken away
        if shutil.which("setpriv") is None:
            pytest.skip("root reads every file, and there is no setpriv")
        prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    command = [*prefix, sys.executable, *build_command(root, tmp_path / "x.h5", *QUICK)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "train/a/1.png: cannot be read: Permission denied" in done.stderr
    assert not (tmp_path / "x.h5").exists()
    done = subprocess.run([*command, "--skip-bad"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    store = Store(tmp_path / "x.h5")
    assert "train/a/1.png" not in store.keys("train")
    assert len(store.keys("train")) == 9
    closed.chmod(0o644)
    done = here(*command[command.index("build") :], "--update")
    assert done.exit_code == 0, done.output
    assert len(Store(tmp_path / "x.h5").keys("train")) == 10
