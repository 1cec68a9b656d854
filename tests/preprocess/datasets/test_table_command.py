"""``build table`` as a user calls it."""

from preprocess.store import Store
from tests.conftest import paint
from tests.preprocess.conftest import QUICK, here


def test_a_table_in_the_working_folder_gives_a_store_below_it(tmp_path, monkeypatch):
    for seed in (1, 2):
        paint(tmp_path / "pictures" / f"{seed}.png", seed, size=(8, 8))
    (tmp_path / "list.csv").write_text("path,label\npictures/1.png,owl\npictures/2.png,auk\n")
    monkeypatch.chdir(tmp_path)
    command = ("build", "table", "--table", "list.csv", "--size", 8, "--segments", 4, "--jobs", 1, *QUICK)
    asked = here(*command)
    assert asked.exit_code == 2
    assert "2 classes (auk, owl); images: 2 without a split\nlist.csv: " in asked.stderr
    done = here(*command, "--split", "train")
    assert done.exit_code == 0, done.output
    store = Store("data/table.h5")
    assert (store.classes, store.labels("train").tolist()) == (("auk", "owl"), [1, 0])
    assert "nothing to do" in here(*command, "--split", "train").output
