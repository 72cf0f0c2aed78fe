"""The built images, unpacked, and containers of them as a `restricted` pod starts them.

They need root, buildah, runc, objdump, docker-registry, helm and what `make images` made. `make test-images`
runs them; elsewhere they are not collected.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from multus_eni.version import VERSION
from tests.images.container import Container, Image

if os.environ.get("MULTUS_ENI_IMAGES") != "1":
    collect_ignore = ["test_running.py", "test_contents.py", "test_push.py"]


@pytest.fixture(scope="session")
def agent() -> Iterator[Image]:
    with Image(f"localhost/multus-eni-agent:{VERSION}") as image:
        yield image


@pytest.fixture(scope="session")
def webhook() -> Iterator[Image]:
    with Image(f"localhost/multus-eni-webhook:{VERSION}") as image:
        yield image


@pytest.fixture(params=["agent", "webhook"])
def image(request: pytest.FixtureRequest) -> Image:
    found: Image = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)
