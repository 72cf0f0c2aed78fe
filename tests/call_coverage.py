"""Branch coverage of what tests call: pytest's `-p tests.call_coverage`, by scripts/pure-coverage.sh.

Python 3.11 leaves its fast path for every line while something traces, also for what is not measured. So
nothing is traced but the import of the pure modules and the tests' own functions: neither pytest's work
between them, nor fixtures, nor the import of tests and packages. Nor are tests that are marked `no_cover`.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator

import pytest
from coverage import Coverage

from tests.pure_modules import files

COVERAGE = Coverage()
# Each start would wrap os._exit once more, so that after a thousand tests a forked child could not end.
COVERAGE.set_option("run:patch", [])


def pytest_configure() -> None:
    """Measure what runs as the pure modules are imported."""
    COVERAGE.start()
    for file in sorted(files()):
        module = importlib.import_module(file.removesuffix(".py").replace("/", ".").removesuffix(".__init__"))
        # One that is executed late is executed now.
        vars(module)
    COVERAGE.stop()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Measure a test."""
    if item.get_closest_marker("no_cover"):
        return (yield)
    COVERAGE.start()
    try:
        return (yield)
    finally:
        COVERAGE.stop()


def pytest_unconfigure() -> None:
    """Write what was measured to COVERAGE_FILE."""
    COVERAGE.save()
