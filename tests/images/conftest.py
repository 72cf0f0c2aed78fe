"""The built images, unpacked, and containers of them as a `restricted` pod starts them.

They need root, runc, and buildah or images that it has built already. Where one is missing the tests are
skipped with a sentence; with MULTUS_ENI_NO_SKIP=1 in the environment they fail instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from images.archives import Archive, ready
from images.local_build import local_build
from images.run import CommandError
from images.store import cache_folder
from tests.images.container import Container, Image
from tests.skipping import skip


def need(*programs: str, target: str = "system") -> None:
    """Skip the test, or fail it, where the user is not root or a program is missing.

    `target` is what installs it.
    """
    if os.geteuid() != 0:
        skip("images are unpacked and started by root")
    for program in programs:
        if shutil.which(program) is None:
            skip(f"{program} is not installed: `make {target}` installs it")


def built(platform: str = "") -> Mapping[str, Archive]:
    """Return the archives for a platform, this machine's by default."""
    need()
    try:
        return {archive.image: archive for archive in ready(cache_folder(), local_build(platform=platform))}
    except (CommandError, OSError) as error:
        skip(f"the images can't be built: {error}")


@pytest.fixture(scope="session")
def archives() -> Mapping[str, Archive]:
    return built()


@pytest.fixture(scope="session")
def agent(archives: Mapping[str, Archive], tmp_path_factory: pytest.TempPathFactory) -> Image:
    return Image(archives["agent"], tmp_path_factory.mktemp("agent"))


@pytest.fixture(scope="session")
def webhook(archives: Mapping[str, Archive], tmp_path_factory: pytest.TempPathFactory) -> Image:
    return Image(archives["webhook"], tmp_path_factory.mktemp("webhook"))


@pytest.fixture(params=["agent", "webhook"])
def image(request: pytest.FixtureRequest) -> Image:
    found: Image = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def container(tmp_path: Path) -> Container:
    need("runc")
    return Container(tmp_path)
