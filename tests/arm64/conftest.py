"""The fixtures of tests/images, of arm64: tests that are imported from there have these."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from images.archives import Archive
from tests.arm64.emulated import PLATFORM, PROGRAM, EmulatedContainer
from tests.images.conftest import agent, built, image, need, webhook

__all__ = ["agent", "image", "webhook"]


@pytest.fixture(scope="session")
def archives() -> Mapping[str, Archive]:
    return built(PLATFORM)


@pytest.fixture
def container(tmp_path: Path) -> EmulatedContainer:
    need("runc", PROGRAM, target="test-arm64")
    return EmulatedContainer(tmp_path)
