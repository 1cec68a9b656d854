"""Builds run in this process; tests about processes start real ones with ``run_command``."""

import pytest

from tests.conftest import Run
from tests.preprocess.conftest import run_here


@pytest.fixture(scope="session")
def run() -> Run:
    return run_here
