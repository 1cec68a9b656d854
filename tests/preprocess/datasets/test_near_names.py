"""Files that a browser or a person has named a little otherwise: the advice is taken literally, and works."""

import re
from pathlib import Path

import pytest

from preprocess.datasets.base import Archive, locate
from preprocess.errors import MissingDataError
from preprocess.raw.download import fetch

RENAME = re.compile(r"; ([^;]+) looks like it: rename it to (\S+)$")


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ("setid.mat", "setid (1).mat"),
        ("cars_test_annos_withlabels.mat", "cars_test_annos_withlabels (1).mat"),
        ("images.tar", "Images.tar"),
        ("Annotation", "annotations"),
        ("images.txt", "images - Copy.txt"),
        ("images.txt", "copy of images.txt"),
        ("devkit/cars_meta.mat", "inner/devkit/cars_meta(2).mat"),
    ],
)
def test_a_name_that_is_almost_right_is_told_and_the_advice_works(tmp_path, wanted, there):
    path = tmp_path / there
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with pytest.raises(MissingDataError) as caught:
        locate(tmp_path, wanted)
    old, new = RENAME.search(str(caught.value)).groups()
    Path(old).rename(Path(old).with_name(new))
    assert locate(tmp_path, wanted).name == Path(wanted).name


def test_another_file_is_not_taken_for_it(tmp_path):
    for name in ("cars_test_annos.mat", "imagelabels.mat", "setid.txt", "setid2.mat"):
        (tmp_path / name).touch()
    for wanted in ("cars_test_annos_withlabels.mat", "setid.mat"):
        with pytest.raises(MissingDataError) as caught:
            locate(tmp_path, wanted)
        assert "looks like" not in str(caught.value)


def test_an_archive_that_is_almost_named_right_is_told(tmp_path):
    (tmp_path / "CUB_200_2011 (1).tgz").touch()
    archives = (Archive("CUB_200_2011.tgz", "https://127.0.0.1:9/CUB_200_2011.tgz", None, holds="CUB_200_2011"),)
    with pytest.raises(MissingDataError) as caught:
        fetch(archives, tmp_path, download=False)
    assert RENAME.search(str(caught.value)).groups() == (str(tmp_path / "CUB_200_2011 (1).tgz"), "CUB_200_2011.tgz")
