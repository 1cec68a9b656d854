"""Two builders of one store, and a reader beside a builder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocess.store import Store
from tests.conftest import PROOF, ROOT
from tests.preprocess.conftest import QUICK, Built, all_files, build_command, here, run_here

IMAGES = 120
WORKERS = [("--jobs", "1"), *(("--jobs", "2", "--backend", backend) for backend in ("threading", "loky"))]
# The real command, which waits for its fellow before the first task and says at the end how many maps it computed.
TOGETHER = """
import os, sys, time
from pathlib import Path
from preprocess.build import run as build
from preprocess.cli import main

meeting, work = Path(sys.argv.pop(1)), build.run_tasks
def run_tasks(plan, *rest):
    (meeting / str(os.getpid())).touch()
    latest = time.monotonic() + 120
    while len(list(meeting.iterdir())) < 2:
        assert time.monotonic() < latest, "the other builder does not come"
        time.sleep(0.001)
    reports = work(plan, *rest)
    print("counted", sum(report.maps_computed for report in reports.values()), flush=True)
    return reports
build.run_tasks = run_tasks
main(prog_name="preprocess")
"""
READER = """
import sys
from pathlib import Path
import numpy as np
from preprocess.store import Store

def everything(store):
    parts = []
    for split, layout in store.splits.items():
        parts += [store.images(split, range(len(layout))), store.labels(split)]
        parts += [store.maps(split, scale.segments, range(len(layout))) for scale in store.scales]
    return parts

path, end, rounds = sys.argv[1], Path(sys.argv[2]), 0
kept = Store(path)
first = everything(kept)
print("reading", flush=True)
while not end.exists() or rounds < 3:
    for store in (kept, Store(path)):
        assert all(np.array_equal(*pair) for pair in zip(everything(store), first, strict=True))
        store.close()
    rounds += 1
print(rounds)
"""


def start(*command: object) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(*processes: subprocess.Popen) -> list[str]:
    """Wait for processes that must succeed; what they printed."""
    said = []
    for process in processes:
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
        said.append(out + errors)
    return said


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough pictures for 40 shards."""
    root, random = tmp_path_factory.mktemp("many"), np.random.default_rng(3)
    for split, count in (("train", 100), ("test", IMAGES - 100)):
        for place in range(count):
            path = root / split / "ab"[place % 2] / f"{place:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            coarse.resize((48, 48), Image.Resampling.BICUBIC).save(path)
    return root


OPTIONS = ("--size", "48", "--segments", "9,16", "--shard-size", "3", *QUICK)


@pytest.fixture(scope="module")
def alone(many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store that one builder made undisturbed."""
    home = tmp_path_factory.mktemp("alone")
    done = run_here(*build_command(many, home / "x.h5", *OPTIONS))
    assert done.returncode == 0, done.stderr
    assert f": {2 * IMAGES} maps computed" in done.stdout
    return home


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: data for path, (data, _) in all_files(folder).items()}


def assert_undisturbed(home: Path, alone: Path) -> None:
    assert list(home.rglob("*.tmp")) == list(home.rglob(".*")) == []
    assert contents(home) == contents(alone)
    sound = here("verify", home / "x.h5", "--jobs", "1")
    assert sound.exit_code == 0, sound.output


@pytest.mark.parametrize("workers", WORKERS if PROOF else WORKERS[:2])
def test_two_builders_share_the_work_of_one_store(workers, many, alone, tmp_path):
    home, meeting = tmp_path / "home", tmp_path / "meeting"
    meeting.mkdir()
    command = build_command(many, home / "x.h5", *OPTIONS, *workers)[2:]
    said = end(*(start("-c", TOGETHER, meeting, *command) for _ in range(2)))
    computed = [int(re.search(r"counted (\d+)", out).group(1)) for out in said]
    assert 2 * IMAGES <= sum(computed) < 1.6 * 2 * IMAGES
    assert min(computed) > 0
    assert sum(f"wrote {home / 'x.h5'} in" in out for out in said) == 1
    assert sum("another build changed" in out and "nothing to do" in out for out in said) == 1
    assert_undisturbed(home, alone)


def test_two_commands_started_at_once_both_succeed(many, alone, tmp_path):
    home = tmp_path / "home"
    end(*(start(*build_command(many, home / "x.h5", *OPTIONS)) for _ in range(2)))
    assert_undisturbed(home, alone)


@pytest.mark.parametrize("repetition", range(5 if PROOF else 1))
def test_superpixels_that_are_added_at_once_are_both_in_the_index(repetition, noisy, built, tmp_path):
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    wanted = [("--algorithm", "grid"), ("--algorithm", "watershed", "--segments", f"{repetition + 3}")]
    said = end(*(start("-c", TOGETHER, meeting, *built.command[2:], *options) for options in wanted))
    assert all("added the superpixels" in out for out in said)
    sets = Store(built.out).superpixel_sets
    assert set(sets) == {"slic-c10-4,9", "grid-4,9", f"watershed-c10-{repetition + 3}"}
    assert next(iter(sets)) == "slic-c10-4,9"
    assert here("verify", built.out, "--jobs", "1").exit_code == 0
    assert all(Store(built.out, name).has_maps(split) for name in sets for split in ("train", "test"))
    for options in wanted:
        assert "nothing to do" in here(*built.command[2:], *options).output
    assert list(built.out.parent.rglob("*.tmp")) == []


def test_the_same_update_twice_at_once_is_one_update(built: Built, tmp_path):
    (built.root / "train" / "a" / "1.png").write_bytes((built.root / "test" / "b" / "0.png").read_bytes())
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    said = end(*(start("-c", TOGETHER, meeting, *built.command[2:], "--update") for _ in range(2)))
    assert sum("another build changed" in out and "nothing to do" in out for out in said) == 1
    assert here(*build_command(built.root, tmp_path / "fresh.h5")[2:]).exit_code == 0
    assert here("diff", built.out, tmp_path / "fresh.h5").exit_code == 0
    assert here("verify", built.out, "--jobs", "1").exit_code == 0


def test_a_reader_is_not_disturbed_by_a_builder(alone, many, tmp_path):
    built = tmp_path / "home" / "x.h5"
    built.parent.mkdir()
    for path, data in contents(alone).items():
        (built.parent / path).parent.mkdir(parents=True, exist_ok=True)
        (built.parent / path).write_bytes(data)
    reader = start("-c", READER, built, tmp_path / "end")
    assert reader.stdout.readline() == "reading\n"
    try:
        for options in (("--segments", "25"), ("--algorithm", "grid", "--segments", "9")):
            end(start(*build_command(many, built, *OPTIONS, *options)))
    finally:
        (tmp_path / "end").touch()
    (rounds,) = end(reader)
    assert int(rounds) >= 3
    assert len(Store(built).superpixel_sets) == 3
