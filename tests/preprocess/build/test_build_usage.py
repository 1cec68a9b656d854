"""What a user can ask wrongly: one message that says what came and what to do; 2 for usage, 1 for failure."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from preprocess.cli import main
from tests.conftest import paint, run_command
from tests.preprocess.conftest import build_command, build_here


def assert_message(done, code: int, *parts: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("Error: ") == 1
    message = done.stderr[done.stderr.index("Error: ") :]
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--segments", "40:30"), ["--segments", "LO:HI", "'40:30'"]),
        (("--segments", "257"), ["--segments", "257", "256 pixels"]),
        (("--scales", "few"), ["--scales", "positive integer or 'all'", "'few'"]),
        (("--segments", "1:" + "9" * 20), ["--segments", "positive integers up to 65534"]),
        (("--segments", "9" * 5000), ["--segments", "positive integers up to 65534"]),
        (("--segments", "1:255", "--scales", "9" * 5000), ["--scales", "positive integer or 'all'"]),
        (
            ("--size", "64", "--segments", ",".join(map(str, range(1, 300)))),
            ["--segments", "at most 256 can be stored"],
        ),
        (("--jobs", "100000"), ["--jobs", "is not in the range"]),
        (("--shard-size", "1000000000"), ["--shard-size", "is not in the range"]),
        (("--compactness", "1e300"), ["--compactness", "is not in the range"]),
        (("--scheduler", "", "--backend", "dask"), ["--scheduler", "expected an address such as 127.0.0.1:8786"]),
        (("--scales", "²"), ["--scales", "positive integer or 'all'", "'²'"]),
        (("--compactness", "nan"), ["--compactness"]),
        (("--algorithm", "grid", "--compactness", "5"), ["--compactness", "grid has no compactness"]),
        (("--algorithm", "slick"), ["--algorithm", "'slick'", "slico"]),
        (("--splits", "train,valid"), ["--splits", "train or test", "val"]),
        (("--root", "no/such/folder"), ["--root", "no/such/folder"]),
        (("--out", "store.hdf5"), ["--out", ".h5", "store.hdf5"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_option_that_cannot_be_is_a_usage_error(noisy, tmp_path, monkeypatch, options, parts):
    monkeypatch.chdir(tmp_path)
    command = build_command(noisy, tmp_path / "x.h5", *options)
    done = CliRunner().invoke(main, command[2:])  # without "-m preprocess"
    assert isinstance(done.exception, SystemExit), done.exc_info
    assert done.exit_code == 2
    for part in parts:
        assert part in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_usage_error_shows_no_traceback(noisy, tmp_path):
    assert_message(run_command(*build_command(noisy, tmp_path / "x.h5", "--segments", "x")), 2, "--segments", "'x'")


def test_an_unknown_data_set_is_a_usage_error_that_lists_the_known(run):
    assert_message(run("-m", "preprocess", "build", "cubs"), 2, "'cubs'", "cub", "demo", "folder")


def test_cub_without_its_data_says_what_to_fetch_and_where_to_put_it(tmp_path, run):
    done = run("-m", "preprocess", "build", "cub", "--no-download", cwd=tmp_path)
    fetched = (
        "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
        "97eceeb196236b17998738112f37df78",
    )
    assert_message(done, 1, *fetched, "data/raw/cub/CUB_200_2011.tgz", "CUB_200_2011/{images.txt, image_class_labels")
    assert list(tmp_path.iterdir()) == []


def add_class(root: Path, *splits: str) -> None:
    for split in splits:
        paint(root / split / "c" / "0.png", 5)


def test_an_empty_class_is_named(painted, tmp_path, run):
    add_class(painted, "test")
    (painted / "train" / "c").mkdir()
    done = run(*build_command(painted, tmp_path / "x.h5"))
    assert_message(done, 1, "class 'c' of train/ has no images", "it is empty; add images")
    assert done.stderr.count("\n") == 1


def test_a_class_of_test_that_train_lacks_is_named(painted, tmp_path, run):
    add_class(painted, "test")
    done = run(*build_command(painted, tmp_path / "x.h5"))
    assert_message(done, 1, "test has classes that train/ lacks", "c; give train/ images", "--splits train")
    assert done.stderr.count("\n") == 1


def test_a_folder_without_a_split_is_told_how_to_divide_it(tmp_path, run):
    paint(tmp_path / "raw" / "a" / "0.png", 1)
    done = run(*build_command(tmp_path / "raw", tmp_path / "x.h5"))
    assert_message(done, 2, "--split: the images are not divided", "--split val=0.1,test=0.2", "--split train")


def test_an_output_folder_that_cannot_be_is_one_message(noisy, tmp_path, run):
    (tmp_path / "file").write_text("in the way")
    assert_message(run(*build_command(noisy, tmp_path / "file" / "x.h5")), 2, "file is a file, not a folder")


def test_a_file_name_that_is_not_utf8_is_one_message_or_no_trouble(noisy, tmp_path, run):
    folder = tmp_path / "raw" / "train" / "a"
    folder.mkdir(parents=True)
    name = "caf\udce9.png"  # byte 0xE9, as an archive from an old Windows leaves it
    try:
        (folder / name).write_bytes((noisy / "train" / "a" / "0.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    done = run(*build_command(tmp_path / "raw", tmp_path / "x.h5"))
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or "Error: " in done.stderr


def test_names_beyond_ascii_are_kept(noisy, tmp_path):
    picture = tmp_path / "raw" / "train" / "Nelke Gänseblümchen" / "花 1.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes((noisy / "train" / "a" / "0.png").read_bytes())
    store = build_here(tmp_path / "raw", tmp_path / "blüte.h5")
    assert store.keys("train") == ["train/Nelke Gänseblümchen/花 1.png"]
    assert (store.name, store.classes) == ("blüte", ("Nelke Gänseblümchen",))
