# SPDX-License-Identifier: Apache-2.0
"""What all tests share: hypothesis profiles, sample data, and the rule for a missing simulator."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent

hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")


@cache
def _why_no_simulator() -> str | None:
    from l1ml.cosim import simulators
    from l1ml.errors import ToolError

    try:
        simulators.require_verilator()
        simulators.require_compiler()
    except ToolError as error:
        return str(error)
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a ``sim`` test where there is no simulator; fail it where one is required."""
    if item.get_closest_marker("sim") is None:
        return
    reason = _why_no_simulator()
    if reason is None:
        return
    if os.environ.get("L1ML_REQUIRE_SIM") == "1" or os.environ.get("CI") == "true":
        pytest.fail(f"a simulator is required here, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


def _beside(name: str) -> Path:
    folder = ROOT.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(f"the sample folder ../shared/{name} is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Models of other people with stored answers, beside the checkout; skips where absent."""
    return _beside("corpus")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Larger samples beside the checkout; skips where absent."""
    return _beside("data")
