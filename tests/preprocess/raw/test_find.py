"""From nothing to a store: the command fetches a set in its official layout from a real server, once."""

import gc
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result

from preprocess.datasets import DATASETS, Archive, Request
from preprocess.errors import MissingDataError
from preprocess.raw import adapters, catalogue, download
from preprocess.raw.find import Source, find_raw_data
from preprocess.store import Store
from tests.conftest import paint
from tests.preprocess.conftest import QUICK, here
from tests.preprocess.datasets import official
from tests.preprocess.raw.loopback import Behaviour, Loopback, serving

OPTIONS = ("--size", 16, "--segments", 4, "--jobs", 1, "--partial", *QUICK)


def tar(folder: Path) -> bytes:
    """A gzipped tar of what a folder holds."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for entry in sorted(folder.iterdir()):
            archive.add(entry, entry.name)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """CUB's archive, with a few images."""
    home = tmp_path_factory.mktemp("published")
    official.make_cub(home / "CUB_200_2011")
    return tar(home)


@pytest.fixture
def server(published: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Loopback]:
    """Publishes the archive at the address that the adapter of CUB has; the current folder is empty."""
    monkeypatch.setattr(download, "_FIRST_WAIT", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    with serving(published) as running:
        archive = Archive("CUB_200_2011.tgz", running.url, f"md5:{hashlib.md5(published).hexdigest()}", len(published))
        known = DATASETS | {"cub": replace(DATASETS["cub"], archives=(archive,))}
        for module in (adapters, catalogue):
            monkeypatch.setattr(module, "DATASETS", known)
        yield running


def build(*options: object) -> Result:
    return here("build", "cub", *OPTIONS, *options)


def test_a_set_that_is_not_there_is_fetched_once_and_built(server):
    assert build().exit_code == 0
    first = len(Store("data/cub.h5").splits["train"])
    assert first > 0
    assert (Path("data/raw/cub/CUB_200_2011") / "images.txt").is_file()
    again = build()
    assert again.exit_code == 0
    assert "nothing to do" in again.output
    assert build("--out", "data/other.h5").exit_code == 0
    assert len(server.seen) == 1


def test_a_broken_download_goes_on_and_a_busy_server_is_asked_again(server, published):
    server.then = [Behaviour(status=503), Behaviour(cut=1000)]
    done = build()
    assert done.exit_code == 0, done.output
    assert server.ranges == [None, None, "bytes=1000-"]
    assert server.sent == len(published)


def test_an_archive_that_lies_there_is_unpacked_without_the_network(server, published):
    root = Path("data/raw/cub")
    root.mkdir(parents=True)
    (root / "CUB_200_2011.tgz").write_bytes(published)
    assert "present, build unpacks it: CUB_200_2011.tgz" in " ".join(here("datasets", "cub").output.split())
    assert build("--no-download").exit_code == 0
    assert server.seen == []


@pytest.mark.parametrize("options", [("--no-download",), ("--dry-run",)])
def test_without_a_download_the_message_says_what_to_fetch_and_where_to_put_it(server, options, tmp_path):
    done = build(*options)
    assert done.exit_code == 1
    assert "cub was not found under data/raw/cub" in done.output
    assert f"CUB_200_2011.tgz is missing: download it from {server.url}" in done.output
    assert "data/raw/cub/CUB_200_2011.tgz" in done.output
    assert "CUB_200_2011/{images.txt, image_class_labels.txt" in done.output
    assert server.seen == []
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_the_message_says_the_same(server):
    server.shutdown()
    server.server_close()
    done = build()
    assert done.exit_code == 1
    assert "Connection refused" in done.output
    assert server.url in done.output
    assert "save it as data/raw/cub/CUB_200_2011.tgz" in done.output
    assert "CUB_200_2011/{images.txt, image_class_labels.txt" in done.output


def test_a_root_that_is_misspelt_is_a_mistake_and_nothing_is_fetched(server, tmp_path):
    done = build("--root", tmp_path / "cbu")
    assert done.exit_code == 2
    assert "does not exist" in done.output
    assert server.seen == []
    (tmp_path / "cub").mkdir()
    assert build("--root", tmp_path / "cub").exit_code == 0
    assert (tmp_path / "cub" / "CUB_200_2011").is_dir()


@pytest.fixture
def kennel(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loopback:
    """Serves the three archives of Stanford Dogs, by the order in which they are asked for."""
    home = official.make_dogs(tmp_path / "kennel")
    bodies = {}
    for name, entries in (("images", ["Images"]), ("annotation", ["Annotation"]), ("lists", ["*.mat"])):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for path in sorted(path for entry in entries for path in home.glob(entry)):
                archive.add(path, path.name)
        bodies[name] = buffer.getvalue()
    archives = tuple(
        replace(each, url=f"{server.url}/{each.name}", digest=None, size=None) for each in DATASETS["dogs"].archives
    )
    known = DATASETS | {"dogs": replace(DATASETS["dogs"], archives=archives)}
    for module in (adapters, catalogue):
        monkeypatch.setattr(module, "DATASETS", known)
    server.bodies = {f"/file/{name}.tar": body for name, body in bodies.items()}
    return server


def build_dogs() -> Result:
    return here("build", "dogs", *OPTIONS, "--resize", "short")


def test_a_set_in_several_archives_is_complete_or_not_there(kennel):
    """Annotations are optional where people leave them out, but not after a download that broke off."""
    kennel.then = [Behaviour(), Behaviour(status=404)]
    assert build_dogs().exit_code == 1
    done = build_dogs()
    assert done.exit_code == 0, done.output
    assert Store("data/dogs.h5").boxes("train").shape[1] == 2


def test_what_was_unpacked_by_hand_is_not_fetched_again(kennel, tmp_path):
    root = Path("data/raw/dogs")
    root.mkdir(parents=True)
    for name in ("Images", "Annotation"):
        (tmp_path / "kennel" / name).rename(root / name)
    done = build_dogs()
    assert done.exit_code == 0, done.output
    assert kennel.paths == ["/file/lists.tar"]


def test_what_is_missing_is_named_before_what_is_to_be_fetched(kennel, tmp_path):
    root = Path("data/raw/dogs")
    official.make_dogs(root)
    (root / "test_list.mat").unlink()
    done = here("build", "dogs", *OPTIONS, "--resize", "short", "--no-download")
    assert done.exit_code == 1
    assert done.output.startswith("Error: dogs was not found under data/raw/dogs: no test_list.mat")
    assert "lists.tar is missing" in done.output
    assert "images.tar" not in done.output


def test_a_set_that_cannot_be_downloaded_lists_every_file_to_fetch(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = here("build", "cars", *OPTIONS)
    assert done.exit_code == 1
    for name in ("cars_train.tgz", "cars_test.tgz", "car_devkit.tgz", "cars_test_annos_withlabels.mat"):
        assert f"data/raw/cars/{name}" in done.output
    assert "512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288" in done.output
    assert "stanford_cars/{devkit/{cars_train_annos.mat" in done.output
    assert list(tmp_path.iterdir()) == []


def told(*names: str) -> str:
    done = here("datasets", *names)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.replace("│", " ").split())


def test_the_list_names_every_set_with_counts_licence_source_and_defaults(server):
    text = told()
    for name, adapter in DATASETS.items():
        assert f"{name} {adapter.summary}" in text
        assert f"licence: {adapter.licence}" in text
        assert f"from: {adapter.source}" in text
    assert "200 classes; images: train 5,994, test 5,794" in text
    assert "stored: --resize none (images keep their sizes), --codec jpeg, --segments 74:111" in text
    assert "--size 32 --resize squash (32x32 pixels), --codec raw, --segments 30:35, --compactness 8" in text
    assert "512x512 pixels, with the bottom 20 rows cropped" in text


def test_the_list_says_what_is_here(server, published):
    assert f"here: not in data/raw/cub; build downloads: CUB_200_2011.tgz ({len(published) / 1000:.1f} kB)" in told(
        "cub"
    )
    root = Path("data/raw/cub")
    root.mkdir(parents=True)
    (root / "CUB_200_2011.tgz.part").write_bytes(published[:2000])
    assert "2.0 kB of CUB_200_2011.tgz" in told("cub")
    assert build().exit_code == 0
    assert "here: in data/raw/cub, but differs from the published set: train: " in told("cub")
    (root / "CUB_200_2011" / "train_test_split.txt").unlink()
    assert "damaged: data/raw/cub/CUB_200_2011/train_test_split.txt cannot be read" in told("cub")


def test_the_list_says_that_a_whole_set_is_whole(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert "build generates it" in told("demo")
    small = replace(DATASETS["demo"], classes=1, counts={"train": 2, "test": 1})
    monkeypatch.setattr(catalogue, "DATASETS", {"demo": small})
    for key in ("train/a/0.png", "train/a/1.png", "test/a/0.png"):
        paint(tmp_path / "data" / "raw" / "demo" / key, 1)
    assert "here: in data/raw/demo: 3 images, as published" in told("demo")


def test_an_unknown_set_is_a_usage_error():
    assert here("datasets", "cubs").exit_code == 2


def test_the_files_of_splits_that_are_not_asked_for_are_not_fetched(tmp_path):
    with pytest.raises(MissingDataError) as caught:
        find_raw_data(Source("cars", DATASETS["cars"], tmp_path, Request(splits=("train",))))
    assert "cars_train.tgz is missing" in str(caught.value)
    assert "cars_test" not in str(caught.value).split("expected layout")[0]
    with pytest.raises(MissingDataError, match=r"cars_test_annos_withlabels\.mat is missing"):
        find_raw_data(Source("cars", DATASETS["cars"], tmp_path))


def test_a_folder_without_images_says_once_what_is_expected(tmp_path):
    with pytest.raises(MissingDataError) as caught:
        find_raw_data(Source("folder", DATASETS["folder"], tmp_path))
    told = str(caught.value)
    assert "it is empty; expected layout: train/<class>/<images> next to test/" in told
    assert told.endswith("or <class>/<images>; images that a table lists are read by build table")
    assert told.count("train/<class>") == 1


def test_listing_leaves_the_collector_as_it_was(tmp_path):
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            with pytest.raises(MissingDataError):
                find_raw_data(Source("folder", DATASETS["folder"], tmp_path))
            assert gc.isenabled() == enabled
        finally:
            gc.enable()
