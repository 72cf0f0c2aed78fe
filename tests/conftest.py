"""What holds for all tests: how far property tests search, what measures coverage, when garbage is sought.

Property tests judge what code does, never how fast the machine is. `--hypothesis-profile=soak` searches two
hundred times as far as `make test` does, each night; `quick` half as far, for `make check`.
"""

from __future__ import annotations

import gc
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

settings.register_profile(
    "test", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=15
)
settings.register_profile("quick", settings.get_profile("test"), max_examples=7)
settings.register_profile("soak", settings.get_profile("test"), max_examples=3000)
settings.load_profile("test")

# Modules and tests stay to the end: looking through them again and again takes a sixth of the CPU time.
gc.disable()
SOUGHT_AFTER = 20_000
"""New objects after which garbage is looked for among them; 700 by default."""

ALL_PURE = re.compile(r"^pytestmark = \[?pytest\.mark\.pure\b", re.MULTILINE)
UNTRACED = re.compile(
    r"tests/(doubles_tests|examples|images|multus_eni)/|tests/test_|tests/check/test_hostile_\w+\.py"
    r"|tests/ipagent/(test_agent_docs|aws/test_trim_botocore|controller/kube/\w+)\.py"
    r"|tests/ipagent/direct/test_change_lookups\.py"
    r"|tests/ipagent/node/reconcile/test_(controller_budget|memory)\.py"
)
"""Tests of whole programs, of what is no pure room, and of long histories. What they reach of the pure rooms,
the rooms' own tests reach, too; traced, they take three times as long."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file without a test of the layer that `-m` asks for: importing takes most of the collection.

    `-m` alone decides which tests run; a file that is imported in vain costs a second at most.
    """
    layer = config.option.markexpr.partition(" and ")[0]
    if collection_path.suffix != ".py" or layer not in ("pure", "not pure"):
        return None
    text = collection_path.read_text(encoding="utf-8")
    left_out = ALL_PURE.search(text) if layer == "not pure" else "pytest.mark.pure" not in text
    return True if left_out else None


# Last: `-m` chooses by a test's own marks.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave property tests and UNTRACED out of the coverage: the others reach 95 % alone."""
    for item in items:
        if is_hypothesis_test(getattr(item, "obj", None)) or UNTRACED.match(item.nodeid):
            item.add_marker(pytest.mark.no_cover)


def pytest_collection_finish() -> None:
    """Look for garbage from now on, but not among what is there before the first test."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(SOUGHT_AFTER)
    gc.enable()
