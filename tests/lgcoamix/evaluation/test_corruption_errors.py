"""Corruption errors: by hand, from painted tables of right and wrong answers."""

import json
from pathlib import Path

import numpy as np
import pytest

from lgcoamix.errors import RunError, SettingsError
from lgcoamix.evaluation.corruption_errors import describe, read_reference, table
from lgcoamix.evaluation.corruptions import CORRUPTIONS, SEVERITIES

NAMES = list(CORRUPTIONS)
LIBRARY = "albumentations 2.0.8"
KEYS = {"test/images": "33"}


def answers(wrong: dict[str, tuple[int, ...]], n: int = 10, otherwise: int = 1) -> np.ndarray:
    """(n, 65) right answers, but for the first few images: numbers of wrong ones by severity."""
    right = np.ones((n, len(NAMES) * 5), bool)
    for place, name in enumerate(NAMES):
        for severity, count in enumerate(wrong.get(name, (otherwise,) * 5)):
            right[:count, 5 * place + severity] = False
    return right


def write_reference(path: Path, right: np.ndarray, **changes: object) -> Path:
    document = {
        "checkpoint": {"name": "best.pt", "sha256": "a" * 64},
        "store": {"keys": KEYS},
        "split": "test",
        "corruptions": describe(right, 64, LIBRARY, 0),
    }
    path.write_text(json.dumps(document | changes))
    return path


def test_accuracies_are_averaged_over_severities_and_corruptions():
    found = describe(answers({NAMES[0]: (0, 1, 2, 3, 4)}), 64, LIBRARY, 0)
    assert [row["top1"] for row in found["rows"][:6]] == [100, 90, 80, 70, 60, 90]
    assert found["rows"][4]["parameters"] == {"std_range": (0.38, 0.38)}
    assert [row["top1"] for row in found["by_corruption"][:2]] == [80, 90]
    assert found["top1"] == pytest.approx((80 + 90 * 12) / 13)
    assert (found["mce"], found["reference"]) == (None, None)
    assert "error" not in found["by_corruption"][0]


def test_an_accuracy_of_100_percent_over_several_conditions_is_not_certain(tmp_path):
    reference = read_reference(write_reference(tmp_path / "e.json", answers({})), "test", KEYS, LIBRARY, 64, "none")
    found = describe(answers({}, otherwise=0), 64, LIBRARY, 0, reference)
    low = 100 * 10 / (10 + 1.959964**2)  # Wilson's interval of 10 of 10 begins at n / (n + z²)
    assert found["interval"] == pytest.approx((low, 100))
    assert found["by_corruption"][0]["interval"] == pytest.approx((low, 100))
    assert found["by_corruption"][0]["error_interval"] == pytest.approx((0, 10 * (100 - low)))  # 10 % were wrong there


def test_errors_are_relative_to_those_of_the_reference_and_averaged(tmp_path):
    path = write_reference(tmp_path / "evaluation.json", answers({NAMES[0]: (1, 2, 3, 4, 5)}, otherwise=2))
    reference = read_reference(path, "test", KEYS, LIBRARY, 64, "none")
    found = describe(answers({NAMES[0]: (1, 1, 1, 1, 2)}, otherwise=3), 64, LIBRARY, 0, reference)
    # 6 of 15 wrong answers; elsewhere 15 of 10
    assert [row["error"] for row in found["by_corruption"]] == pytest.approx([40] + [150] * 12)
    assert found["mce"] == pytest.approx((40 + 150 * 12) / 13)
    assert found["reference"] == {"path": str(path), "sha256": "a" * 64}


def test_a_network_against_itself_has_an_error_of_100(tmp_path):
    right = np.random.default_rng(0).random((40, 65)) < 0.7
    reference = read_reference(write_reference(tmp_path / "e.json", right), "test", KEYS, LIBRARY, 64, "none")
    found = describe(right, 64, LIBRARY, 0, reference)
    assert found["mce"] == pytest.approx(100)
    assert all(row["error"] == pytest.approx(100) for row in found["by_corruption"])


def test_intervals_are_of_resampled_images(tmp_path):
    right = answers({}, n=400, otherwise=100)  # the same images are wrong everywhere: a share of 0.25
    reference = read_reference(write_reference(tmp_path / "e.json", right), "test", KEYS, LIBRARY, 64, "none")
    found = describe(right, 64, LIBRARY, 0, reference)
    reach = 1.96 * 100 * (0.25 * 0.75 / 400) ** 0.5
    assert found["interval"] == pytest.approx((75 - reach, 75 + reach), abs=0.4)
    assert found["interval"] == found["rows"][0]["interval"] == found["by_corruption"][3]["interval"]
    low, high = found["interval"]
    assert found["mce_interval"] == pytest.approx((100 * (100 - high) / 25, 100 * (100 - low) / 25))


def test_the_table_has_a_row_for_each_severity():
    rows = table(describe(answers({}), 64, LIBRARY, 0), images=10)
    assert len(rows) == len(NAMES) * len(SEVERITIES)
    assert (rows[5]["corruption"], rows[5]["severity"], rows[5]["images"], rows[5]["top1"]) == ("shot_noise", 1, 10, 90)
    assert json.loads(rows[0]["parameters"]) == {"std_range": [0.08, 0.08]}
    assert rows[0]["low"] <= 90 <= rows[0]["high"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tta": "flip"}, "has --tta flip, this evaluation none; evaluate both alike"),
        ({"corruptions": None}, "has no corruptions; evaluate the reference with --corruptions"),
        ({"split": "val"}, "is of other images"),
        ({"store": {"keys": {"test/images": "34"}}}, "is of other images"),
        ({"corruptions": describe(answers({}), 32, LIBRARY, 0)}, "on inputs of 32 pixels, this network on 64: they"),
        (
            {"corruptions": {"library": "albumentations 3", "rows": [], "side": 64}},
            r"other corruptions \(albumentations 3\)",
        ),
        ({"corruptions": {"library": LIBRARY, "rows": [], "side": 64}}, "other corruptions"),
        ({"corruptions": describe(answers({"fog": (0,) * 5}), 64, LIBRARY, 0)}, "makes no mistakes under fog"),
    ],
)
def test_a_reference_that_does_not_fit_is_refused(changes, message, tmp_path):
    path = write_reference(tmp_path / "e.json", answers({}), **changes)
    with pytest.raises(SettingsError, match=message):
        read_reference(path, "test", KEYS, LIBRARY, 64, "none")


def test_a_reference_that_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.json: No such file.*expected an evaluation.json"):
        read_reference(tmp_path / "none.json", "test", KEYS, LIBRARY, 64, "none")
    (tmp_path / "e.json").write_text('{"split": "test"}')
    with pytest.raises(RunError, match=r"e\.json is damaged"):
        read_reference(tmp_path / "e.json", "test", KEYS, LIBRARY, 64, "none")
