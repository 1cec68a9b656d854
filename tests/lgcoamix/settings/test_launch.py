"""The environment that torchrun sets."""

import pytest

from lgcoamix.errors import SettingsError
from lgcoamix.settings.launch import launched

MORE = ({"MASTER_PORT": "http"}, {"LOCAL_RANK": "x"})
WHOLE = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


def _set(monkeypatch, environment):
    for name in WHOLE:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("environment", "expected"), [({}, (0, 1)), ({"WORLD_SIZE": "1", "RANK": "x"}, (0, 1)), (WHOLE, (3, 4))]
)
def test_rank_and_number_of_processes(monkeypatch, environment, expected):
    _set(monkeypatch, environment)
    assert launched() == expected


@pytest.mark.parametrize(
    "change",
    [
        {"WORLD_SIZE": "two"},
        {"WORLD_SIZE": "0"},
        {"RANK": "4"},
        {"RANK": "-1"},
        {"RANK": ""},
        {"MASTER_ADDR": ""},
        *MORE,
    ],
)
def test_half_of_it_is_a_usage_error(monkeypatch, change):
    _set(monkeypatch, WHOLE | change)
    with pytest.raises(SettingsError, match="use torchrun, or unset WORLD_SIZE"):
        launched()
