"""Real images as a folder, a table, a Hugging Face set, tar files and objects of torchvision give one store.

``make test`` takes a few images of three classes, ``make proof`` all of cub100 and CIFAR-10.
"""

import csv
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import preprocess
from tests.conftest import PROOF, ROOT
from tests.preprocess.conftest import here

OPTIONS = {"size": 32, "segments": "9", "algorithm": "grid", "jobs": 2}
CLASSES, IMAGES = (None, None) if PROOF else (3, 4)
SPLITS = ("train", "test")


@pytest.fixture(scope="module", params=["cub100.tar", "cifar10.tar.gz"])
def photos(request, tmp_path_factory) -> Path:
    """A folder ``<split>/<class>/NNNN.jpg``."""
    archive = Path(os.environ.get("LGCOAMIX_REAL_DATA", ROOT.parent / "shared" / "data")) / request.param
    if not archive.is_file():
        pytest.skip(f"real photographs are not at {archive}; set LGCOAMIX_REAL_DATA to their folder")
    home, classes, counts = tmp_path_factory.mktemp("photos"), [], {}
    with tarfile.open(archive) as tar:
        for member in tar:
            if not member.isfile():
                continue
            _, split, name, _ = member.name.split("/")
            classes += [] if name in classes or (CLASSES and len(classes) == CLASSES) else [name]
            if name in classes and (not IMAGES or counts.get((split, name), 0) < IMAGES):
                counts[split, name] = counts.get((split, name), 0) + 1
                path = home / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(tar.extractfile(member).read())
            elif IMAGES and len(counts) == 2 * CLASSES and all(count == IMAGES for count in counts.values()):
                break
    (root,) = home.iterdir()
    return root


def files(root: Path, split: str) -> list[Path]:
    return sorted((root / split).rglob("*.jpg"))


def names(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "train").iterdir())


def as_table(root: Path, home: Path) -> tuple:
    with (home / "list.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file", "species", "set"))
        for split in SPLITS:
            table.writerows((path.relative_to(root), path.parent.name, split) for path in files(root, split))
    return "table", "--table", home / "list.csv", "--root", root


def as_saved(root: Path, home: Path) -> tuple:
    datasets(root).save_to_disk(home / "saved")
    return "hf", "--root", home / "saved"


def as_parquet(root: Path, home: Path) -> tuple:
    (home / "data").mkdir()
    for split, rows in datasets(root).items():
        rows.to_parquet(home / "data" / f"{split}-00000-of-00001.parquet")
    return "hf", "--root", home


def datasets(root: Path):
    library = pytest.importorskip("datasets")
    features = library.Features(image=library.Image(), label=library.ClassLabel(names=names(root)))

    def rows(split: str) -> dict:
        paths = files(root, split)
        images = [{"path": path.relative_to(root).as_posix(), "bytes": path.read_bytes()} for path in paths]
        return {"image": images, "label": [path.parent.name for path in paths]}

    return library.DatasetDict({split: library.Dataset.from_dict(rows(split), features) for split in SPLITS})


def as_tars(root: Path, home: Path) -> tuple:
    library = pytest.importorskip("webdataset")
    (home / "classes.txt").write_text("\n".join(names(root)))
    for split in SPLITS:
        with library.ShardWriter(f"{home}/{split}-%04d.tar", maxcount=1000 if PROOF else 5, verbose=0) as writer:
            for path in files(root, split):
                key = path.relative_to(root).with_suffix("").as_posix()
                writer.write({"__key__": key, "jpg": path.read_bytes(), "cls": names(root).index(path.parent.name)})
    return "webdataset", "--root", home


FORMS: dict[str, Callable[[Path, Path], tuple]] = {
    "table": as_table,
    "saved": as_saved,
    "parquet": as_parquet,
    "tars": as_tars,
}


def command(out: Path, *options: object) -> tuple:
    given = (("--" + name, value) for name, value in OPTIONS.items())
    return ("build", *options, "--out", out, *(each for pair in given for each in pair))


@pytest.fixture(scope="module")
def from_folder(photos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("folder") / "x.h5"
    done = here(*command(out, "folder", "--root", photos))
    assert done.exit_code == 0, done.output
    return out


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_store(photos, from_folder, tmp_path, form):
    (tmp_path / form).mkdir()
    done = here(*command(tmp_path / "x.h5", *FORMS[form](photos, tmp_path / form)))
    assert done.exit_code == 0, done.output
    told = here("diff", from_folder, tmp_path / "x.h5")
    assert told.exit_code == 0, told.output


def test_objects_of_torchvision_give_the_same_store(photos, from_folder, tmp_path):
    from torchvision.datasets import ImageFolder

    preprocess.build_store({split: ImageFolder(photos / split) for split in SPLITS}, tmp_path / "x.h5", **OPTIONS)
    told = here("diff", from_folder, tmp_path / "x.h5")
    assert told.exit_code == 0, told.output
