"""Outputs: what a command may replace, and what it never does."""

import errno
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from preprocess.errors import OutputError, StoreError
from preprocess.files import describe, making_aside, writing_aside
from preprocess.inspect.export import _write
from preprocess.outputs import COMPARISON, PREDICTIONS, check_output, making
from tests.conftest import ROOT
from tests.preprocess.conftest import all_files, here

COMMANDS = {
    "duplicates": (("--exact", "--jobs", 1, "--out"), "copies.txt"),
    "show": (("--count", 1, "--out"), "sheet.png"),
    "show jpg": (("--count", 1, "--out"), "sheet.jpg"),
    "show pdf": (("--count", 1, "--out"), "sheet.pdf"),
    "report": (("--count", 1, "--out"), "page.html"),
    "pack": ((), "packed.h5"),
    "export": ((), "plain"),
}


def write(command: str, store: object, out: Path, *more: object):
    """Run a command that writes ``out``."""
    return here(command.split()[0], store, *COMMANDS[command][0], out, *more)


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_is_made_an_output_replaced_and_something_else_only_by_force(command, own_store, tmp_path):
    out = tmp_path / "out" / COMMANDS[command][1]
    for _ in range(2):
        done = write(command, own_store.path, out)
        assert done.exit_code == 0, done.output
    shutil.rmtree(out) if out.is_dir() else out.unlink()
    mine = out if command != "export" else out / "labels.csv"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    done = write(command, own_store.path, out)
    assert (done.exit_code, mine.read_text()) == (2, "mine")
    assert "or pass --force" in words(done.output)
    done = write(command, own_store.path, out, "--force")
    assert done.exit_code == 0, done.output
    assert mine.read_bytes() != b"mine"
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize("name", ["images/notes.txt", "mine/by-hand.png", "images/train/by-hand.png"])
def test_files_of_others_stay_in_a_folder_that_force_writes_into(name, own_store, tmp_path):
    out = tmp_path / "plain"
    assert write("export", own_store.path, out).exit_code == 0
    exported = all_files(out)
    notes = out / name
    notes.parent.mkdir(exist_ok=True)
    notes.write_text("mine")
    done = write("export", own_store.path, out)
    assert (done.exit_code, f"holds {name}" in words(done.output)) == (2, True)
    assert write("export", own_store.path, out, "--force").exit_code == 0
    assert notes.read_text() == "mine"
    notes.unlink()
    assert all_files(out).keys() == exported.keys()


def test_an_image_of_an_earlier_export_goes_even_beside_files_of_others(own_store, tmp_path):
    out = tmp_path / "plain"
    assert write("export", own_store.path, out).exit_code == 0
    (out / "notes.txt").write_text("mine")
    with (out / "labels.csv").open("a") as table:
        table.write("train,earlier,0,tulip\n")
    (out / "images" / "earlier.png").touch()
    assert write("export", own_store.path, out, "--force").exit_code == 0
    assert not (out / "images" / "earlier.png").exists()


@pytest.mark.parametrize("command", ["duplicates", "pack", "export"])
def test_an_input_is_refused_under_every_name_also_by_force(command, own_store, tmp_path):
    store, home = own_store.path, own_store.path.parent
    shards = store.with_suffix(".shards")
    (tmp_path / "link").mkdir()
    os.link(store, tmp_path / "link" / "hard.h5")
    (tmp_path / "link" / "soft.h5").symlink_to(store)
    (tmp_path / "link" / "folder").symlink_to(shards)
    names = [store, home / "." / store.name, shards / ".." / store.name, *(tmp_path / "link").glob("*.h5")]
    names += [shards / "new.h5", tmp_path / "link" / "folder" / "deep" / "new.h5", shards, tmp_path]
    before = all_files(tmp_path)
    for name in names:
        done = write(command, store, name, "--force")
        assert done.exit_code == 2, (name, done.output)
        assert all_files(tmp_path) == before, name


@pytest.mark.parametrize("command", ["duplicates", "pack", "export"])
def test_the_shards_of_a_renamed_store_are_its_inputs(command, own_store, tmp_path):
    other, shards = own_store.path.rename(tmp_path / "other.h5"), own_store.path.with_suffix(".shards")
    before = all_files(tmp_path)
    for name in (next(shards.rglob("*.h5")), shards / "new.h5", shards):
        done = write(command, other, name, "--force")
        assert done.exit_code == 2, (name, done.output)
        assert all_files(tmp_path) == before, name


def test_a_store_is_not_built_over_or_among_what_it_is_made_from(noisy, tmp_path):
    root = shutil.copytree(noisy, tmp_path / "raw")
    (tmp_path / "keys.h5").write_text("# none\n")
    before = all_files(tmp_path)
    for out, options in ((root / "new" / "x.h5", ()), (tmp_path / "keys.h5", ("--exclude", tmp_path / "keys.h5"))):
        done = here("build", "folder", "--root", root, "--out", out, *options)
        assert (done.exit_code, "input of this command" in words(done.output)) == (2, True), done.output
    assert all_files(tmp_path) == before


def test_a_link_to_an_earlier_output_stays_a_link(own_store, tmp_path):
    real, link = tmp_path / "real" / "copies.txt", tmp_path / "copies.txt"
    assert write("duplicates", own_store.path, real).exit_code == 0
    link.symlink_to(real)
    before = real.stat().st_ino
    assert write("duplicates", own_store.path, link).exit_code == 0
    assert link.is_symlink()
    assert real.stat().st_ino != before
    real.unlink()
    done = write("duplicates", own_store.path, link, "--force")
    assert (done.exit_code, "which does not exist" in words(done.output)) == (2, True)


def test_a_device_is_written_to_and_stays_one(own_store, tmp_path):
    null = tmp_path / "null.txt"
    try:
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        null.write_text("")
    except OSError:
        pytest.skip("making a device takes root")
    for more in ((), ("--force",)):
        assert write("duplicates", own_store.path, null, *more).exit_code == 0
        assert stat.S_ISCHR(null.stat().st_mode)
    done = write("export", own_store.path, null, "--force")
    assert (done.exit_code, "is a device" in words(done.output)) == (2, True)


def test_a_fifo_goes_to_its_reader_and_is_not_waited_for(own_store, tmp_path):
    fifo, heard = tmp_path / "copies.txt", []
    os.mkfifo(fifo)
    done = write("duplicates", own_store.path, fifo, "--force")
    assert (done.exit_code, "nobody reads" in words(done.output)) == (2, True)
    reader = threading.Thread(target=lambda: heard.append(fifo.read_bytes()), daemon=True)
    reader.start()
    while write("duplicates", own_store.path, fifo).exit_code == 2:  # until the thread has opened it
        pass
    reader.join(10)
    assert heard[0].startswith(b"# python -m preprocess duplicates")
    assert fifo.is_fifo()


def test_a_socket_and_a_pack_into_a_fifo_are_refused(own_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("copies.txt")
        done = write("duplicates", own_store.path, Path("copies.txt"), "--force")
        assert (done.exit_code, "is a socket" in words(done.output)) == (2, True)
    os.mkfifo("packed.h5")
    done = write("pack", own_store.path, Path("packed.h5"), "--force")
    assert (done.exit_code, "is a FIFO" in words(done.output)) == (2, True)
    assert Path("packed.h5").is_fifo()


def test_where_the_command_prints_is_no_output(tmp_path):
    log = tmp_path / "log.txt"
    with log.open("w") as stream:
        before = os.dup(1)
        os.dup2(stream.fileno(), 1)
        try:
            with pytest.raises(OutputError, match="takes what the command prints"):
                check_output(Path("/dev/stdout"), PREDICTIONS, False)
        finally:
            os.dup2(before, 1)
            os.close(before)


def test_a_run_takes_results_in_folders_of_its_own(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").touch()
    check_output(tmp_path / "run" / "comparison", COMPARISON, False, runs=[tmp_path / "run"])
    with pytest.raises(OutputError, match="is an input"):
        check_output(tmp_path / "run", COMPARISON, True, runs=[tmp_path / "run"])


def test_two_keys_never_give_one_file(tmp_path):
    pixels = np.zeros((2, 2, 3), np.uint8)
    for keys in (["a", "a"], ["b", "b.png/c"], ["d.png/e", "d"], ["../f"]):
        with pytest.raises(StoreError, match="cannot be exported"):
            _write(tmp_path, "images", keys, [pixels] * len(keys))


def test_a_failure_names_the_file_and_the_remedy(tmp_path):
    def fail() -> None:
        with making(tmp_path / "new" / "plain", COMPARISON) as aside, writing_aside(aside / "comparison.csv"):
            raise OSError(errno.ENOSPC, "No space left on device", str(aside / "comparison.csv"))

    with pytest.raises(OSError, match="No space left") as caught:
        fail()
    assert describe(caught.value) == (
        f"{tmp_path}/new/plain/comparison.csv: No space left on device; free space on that disk and run the "
        "same command again"
    )
    assert list(tmp_path.iterdir()) == []  # nor the folder around it


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from preprocess import interrupt
from preprocess.outputs import COMPARISON, making, writing
def command():
    with writing(Path("out")) if sys.argv[1] == "file" else making(Path("out"), COMPARISON):
        os.kill(os.getpid(), signal.SIGINT)
interrupt.run(command)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_ctrl_c_says_what_was_not_written_and_leaves_nothing(kind, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", INTERRUPTED, kind]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr.split("\n")[-2]) == (130, "interrupted; out was not written")
    assert list(tmp_path.iterdir()) == []


def test_the_next_run_removes_what_killed_ones_left_but_not_the_work_of_running_ones(tmp_path):
    (tmp_path / ".out.1-00000000.tmp").mkdir()
    (tmp_path / ".out.2-00000000.tmp").touch()
    (tmp_path / ".out.notes.tmp").touch()  # nobody's but the user's
    with making_aside(tmp_path / "out") as running:
        with making(tmp_path / "out", COMPARISON) as aside:
            assert sorted(tmp_path.iterdir()) == sorted([tmp_path / ".out.notes.tmp", running, aside])
        (running / "later").touch()
        shutil.rmtree(tmp_path / "out")
    assert (tmp_path / "out" / "later").exists()


def test_nothing_lies_above_the_root(tmp_path):
    with pytest.raises(OutputError, match="/ holds"):
        check_output(Path("/"), COMPARISON, None)
    with pytest.raises(OutputError, match="inside of an input"):
        check_output(tmp_path / "x.csv", PREDICTIONS, None, inputs=[Path("/")])


def test_nothing_is_written_beside_the_folder_that_one_is_in(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("mine")
    (home / "comparison.json").write_text('{"spread": "sample standard deviation of before"}')
    (home / "compare.png").write_bytes(b"of before")
    monkeypatch.chdir(home)
    with making(Path(), COMPARISON) as aside:
        assert aside.resolve().parent == home
        (aside / "comparison.json").write_text("{}")
        (aside / "comparison.csv").write_text("a")
    found = {path.name: path.read_text() for path in home.iterdir()}
    assert found == {"thesis.txt": "mine", "comparison.json": "{}", "comparison.csv": "a"}
