"""Flipped bits and cut files at random places: verify names the file, and nothing wrong passes as data."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from preprocess.store.pack import pack
from tests.conftest import PROOF
from tests.preprocess.conftest import HEADER_BYTES, SMALL, build_here, flip, here, open_plain, shard_files

PLACES = 200 if PROOF else 12  # in each store: the least that has every kind of damage
STORES = {
    "raw": SMALL,
    "jpeg": replace(SMALL, codec="jpeg"),
    "varied": replace(SMALL, codec="png", resize="short"),
}
# Both scripts run in processes of their own: HDF5 is C, and meets structures here that it never wrote.
SPOILED = """
def spoiled(sound, damage, place):
    if damage == "cut":
        return sound[:place]
    damaged = bytearray(sound)
    damaged[place // 8] ^= 1 << place % 8
    return damaged
"""
# Prints what was odd. Each sample counts alone: it is read right, or its image or map is refused.
CAMPAIGN = """
import json, sys
from pathlib import Path
import numpy as np
from preprocess.errors import StoreError
from preprocess.store import Store
from preprocess.inspect.verify import verify

def attempt(work):
    try:
        return work()
    except StoreError:
        return None

def samples(store):
    found = {}
    for split in store.splits:
        labels, keys = attempt(lambda: store.labels(split).tolist()), attempt(lambda: store.keys(split))
        for row in range(len(store.splits[split])):
            image = attempt(lambda: store.images(split, [row])[0])
            found[split, row] = None if image is None else (image, labels and labels[row], keys and keys[row])
            for scale in store.scales:
                found[split, scale.segments, row] = attempt(lambda: store.maps(split, scale.segments, [row])[0])
    store.close()
    return found

def equal(found, expected):
    if found is None:
        return True
    if isinstance(expected, tuple):
        return all(equal(*pair) for pair in zip(found, expected))
    return np.array_equal(found, expected) and getattr(found, "dtype", 0) == getattr(expected, "dtype", 0)

def check(entry, path, expected):
    try:
        store = Store(entry)
    except StoreError as error:
        return [] if path == entry and str(path) in str(error) else [f"refused: {error}"]
    wrong = [str(place) for place, found in samples(store).items() if not equal(found, expected[place])]
    faults = verify(store, 1, lambda done: None)
    store.close()
    named = [fault.path for fault in faults]
    if named != [str(path.relative_to(entry.parent))] or not all(path.name in line for line in faults[0].lines[:1]):
        wrong.append(f"verify named {named}")
    return wrong

odd = []
for entry, damages in json.loads(sys.argv[1]):
    print(entry, file=sys.stderr, flush=True)  # where it was, if HDF5 crashes
    entry = Path(entry)
    expected = samples(Store(entry))
    assert verify(Store(entry), 1, lambda done: None) == []
    assert not any(found is None for found in expected.values())
    for name, damage, place in damages:
        path = entry.parent / name
        sound = path.read_bytes()
        path.write_bytes(spoiled(sound, damage, place))
        try:
            odd += [[str(entry), name, damage, place, line] for line in check(entry, path, expected)]
        except Exception as error:
            odd.append([str(entry), name, damage, place, repr(error)])
        path.write_bytes(sound)
print(json.dumps(odd))
"""


def files_of(entry: Path) -> list[Path]:
    return sorted(path for path in entry.parent.rglob("*") if path.is_file())


def damages_of(entry: Path, seed: int) -> list[tuple[str, str, int]]:
    """Name of a file, kind of damage, and the bit that flips or the length that is left.

    Half of the files are drawn by their sizes, so that every byte counts; the others evenly, so that the index has its
    share.
    """
    chance, files = random.Random(seed), files_of(entry)
    sizes = [path.stat().st_size for path in files]
    found = []
    for number in range(PLACES):
        path = chance.choices(files, sizes)[0] if number % 2 else chance.choice(files)
        size = path.stat().st_size
        lengths = (0, chance.randrange(1, HEADER_BYTES), chance.randrange(HEADER_BYTES, size), size - 1)
        flipped = ("flip", chance.randrange(8 * size))
        damage = flipped if number % 3 else ("cut", lengths[number // 3 % len(lengths)])
        found.append((str(path.relative_to(entry.parent)), *damage))
    return found


def test_random_damage_in_a_store_is_found_and_never_read_as_data(noisy, tmp_path, run):
    work = []
    for name, settings in STORES.items():
        store = build_here(noisy, tmp_path / name / "small.h5", settings)
        packed = tmp_path / f"{name} packed" / "packed.h5"
        packed.parent.mkdir()
        pack(store, packed, lambda done: None)
        work += [(str(store.path), damages_of(store.path, 11)), (str(packed), damages_of(packed, 12))]
    done = run("-c", SPOILED + CAMPAIGN, json.dumps(work))
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    odd = json.loads(done.stdout)
    assert not odd, "\n".join(map(str, odd))


def verify_says(entry: Path) -> str:
    done = here("verify", entry, "--jobs", "1")
    assert done.exit_code == 1, done.output
    assert done.stderr.count("Error: ") == 1
    return done.stderr


def cut(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])


DAMAGES = [lambda path: flip(path, path.stat().st_size // 2), lambda path: cut(path, 0), lambda path: cut(path, 300)]


@pytest.mark.parametrize("damage", DAMAGES, ids=["a flipped bit", "nothing left", "a part of the user block left"])
@pytest.mark.parametrize("which", ["index", "shard", "pack"])
def test_the_command_line_names_the_damaged_file(small_store, tmp_path, damage, which):
    home = tmp_path / "home"
    shutil.copytree(small_store.path.parent, home)
    entry = home / small_store.path.name
    if which == "pack":
        pack(small_store, home / "packed.h5", lambda done: None)
        entry = home / "packed.h5"
    path = files_of(entry)[-1] if which == "shard" else entry
    damage(path)
    assert str(path) in verify_says(entry)


# Runs every command that reads a store, as the command line does; prints the exceptions that none of them meant.
COMMANDS = """
import contextlib, json, shutil, sys
from pathlib import Path
from click.testing import CliRunner
from preprocess.cli import main

home, work, root, damages, odd = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]), []
build = ["build", "folder", "--root", root, "--out", "small.h5", "--size", "16", "--segments", "4,9", "--shard-size"]
build += ["4", "--jobs", "1"]
commands = {
    "inspect": ["inspect", "small.h5"],
    "diff": ["diff", "small.h5", str(home / "small.h5")],
    "export": ["export", "small.h5", "plain"],
    "show": ["show", "small.h5", "--count", "1"],
    "pack": ["pack", "small.h5", "packed.h5"],
    "verify": ["verify", "small.h5", "--jobs", "1"],
    "build": build,
    "another column": [*build, "--segments", "5"],
    "update": [*build, "--update"],
}
chosen = sys.argv[5].split(",")
for name, damage, place in damages:
    for label in chosen:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(home, work)
        path = work / name
        path.write_bytes(spoiled(path.read_bytes(), damage, place))
        with contextlib.chdir(work):
            done = CliRunner().invoke(main, commands[label])
        if done.exit_code not in (0, 1) or not isinstance(done.exception, (SystemExit, type(None))):
            odd.append([name, damage, place, label, repr(done.exception)])
        if label == "verify" and done.exit_code == 0:
            odd.append([name, damage, place, label, "damage was not found"])
print(json.dumps(odd))
"""
COMMAND_NAMES = ("inspect", "diff", "export", "pack", "verify", "build", "another column", "update")
COMMAND_NAMES += ("show",) if PROOF else ()


def test_no_command_answers_damage_with_a_traceback(noisy, small_store, tmp_path, run):
    """Each command ends with exit code 0 or one message: a flipped bit beside the images, and random damage."""
    shard = shard_files(small_store, "train", "images")[0]
    with open_plain(shard) as file:
        starts = [file[name].id.get_offset() for name in ("keys", "labels", "sources", "checksums", "failed")]
    relative = str(shard.relative_to(small_store.path.parent))
    damages = [(relative, "flip", 8 * start + 7) for start in starts]
    damages += damages_of(small_store.path, 13)[: 60 if PROOF else 4]
    home, names = small_store.path.parent, ",".join(COMMAND_NAMES)
    done = run("-c", SPOILED + COMMANDS, home, tmp_path / "work", noisy, json.dumps(damages), names)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    odd = json.loads(done.stdout)
    assert not odd, "\n".join(map(str, odd))


@pytest.mark.parametrize("column", ["images", "slic-c10-9"])
def test_a_damaged_shard_does_not_become_part_of_a_sound_pack(own_store, column):
    shard = shard_files(own_store, "train", column)[0]
    with open_plain(shard) as file:
        start = file["maps" if "slic" in column else "images"].id.get_chunk_info(0).byte_offset
    own_store.close()
    flip(shard, start + 40)
    packed = own_store.path.with_name("packed.h5")
    if here("pack", own_store.path, packed).exit_code == 0:
        verify_says(packed)
    else:
        assert not packed.exists()
