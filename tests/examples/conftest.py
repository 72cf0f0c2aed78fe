"""The program that the examples are checked by; skipped where it is not built."""

from __future__ import annotations

import pytest

from tests.examples.check_nodegroup import CheckNodegroup
from tests.skipping import programs


@pytest.fixture(scope="session")
def check() -> CheckNodegroup:
    """Terraform's language, and CEL as nodeadm evaluates it."""
    return CheckNodegroup(programs(["check-nodegroup"])["check-nodegroup"])
