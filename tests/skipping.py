"""What to do where a program, a right or an image is missing that a test needs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NoReturn

import pytest

from tests.cluster.tools import CONTROL_PLANE, Binaries, Missing, find_binaries


def skip(sentence: object) -> NoReturn:
    """Skip the running test; with MULTUS_ENI_NO_SKIP=1 in the environment fail it instead."""
    if os.environ.get("MULTUS_ENI_NO_SKIP") == "1":
        pytest.fail(str(sentence))
    pytest.skip(str(sentence))  # noqa: TID251 - here alone


def programs(names: Sequence[str] = CONTROL_PLANE) -> Binaries:
    """Find programs, or skip the running test."""
    found = find_binaries(names)
    if isinstance(found, Missing):
        skip(found)
    return found
