"""The race counts only what shows the right pixels: its check finds every other kind of batch."""

import numpy as np
import pytest

from tests.benchmarks.race.peers import memory_map
from tests.benchmarks.race.samples import SHOWN, SIZE, Check

_COUNT = 24  # that all are mirrored alike by chance happens once in 8 million times


@pytest.fixture(scope="module")
def check() -> Check:
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (_COUNT, SIZE, SIZE, 3), np.uint8)
    return Check(pictures, random.integers(0, 40, (_COUNT, SIZE, SIZE), np.uint8), np.arange(_COUNT) % 3)


@pytest.fixture
def shown(check: Check) -> dict[str, np.ndarray]:
    """Windows by hand: sample i at (i, i), every second one mirrored."""
    cuts = [np.s_[i, i : i + SHOWN, i : i + SHOWN] for i in range(_COUNT)]
    images, maps = (np.stack([values[cut] for cut in cuts]) for values in (check.pictures, check.maps))
    images[::2], maps[::2] = images[::2, :, ::-1].copy(), maps[::2, :, ::-1].copy()
    return {"images": images.transpose(0, 3, 1, 2), "maps": maps, "labels": check.labels.copy()}


def test_right_windows_pass(check, shown):
    check(**shown)


@pytest.mark.parametrize("name", ["images", "maps"])
def test_an_image_and_a_map_of_different_windows_are_found(check, shown, name):
    shown[name] = np.roll(shown[name], 1, axis=-1)
    with pytest.raises(ValueError, match="no window of any picture"):
        check(**shown)


def test_a_map_that_is_not_mirrored_is_found(check, shown):
    shown["maps"][0] = shown["maps"][0, :, ::-1].copy()
    with pytest.raises(ValueError, match="no window of any picture"):
        check(**shown)


def test_a_sample_that_is_shown_twice_is_found(check, shown):
    shown["labels"] = np.append(shown["labels"], 0)
    with pytest.raises(ValueError, match="each of 24 samples once in an epoch, got 25"):
        check(**shown)


def test_windows_that_are_always_the_same_are_found(check, shown):
    shown["images"] = check.pictures[:, :SHOWN, :SHOWN].transpose(0, 3, 1, 2)
    shown["maps"] = check.maps[:, :SHOWN, :SHOWN]
    with pytest.raises(ValueError, match="expected random tops, got 0 in all of 24 samples"):
        check(**shown)


def test_what_all_peers_do_alike_passes(check, tmp_path):
    samples = [(bytes(i), bytes(m), int(n)) for i, m, n in zip(check.pictures, check.maps, check.labels, strict=True)]
    memory_map.write(tmp_path, samples)
    epoch = [[values.numpy() for values in batch] for batch in memory_map.read(tmp_path, "plain", workers=0)]
    check(*(np.concatenate(values) for values in zip(*epoch, strict=True)))
