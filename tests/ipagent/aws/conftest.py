"""What the tests of the two clouds share."""

from __future__ import annotations

import pytest

from tests.ipagent.fakes import Lines, Time


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def time() -> Time:
    return Time()
