"""pytest fixtures on `tests.netns`: import those that a test module or its conftest.py wants.

::

    from tests.netns_fixtures import node  # noqa: F401 - a fixture

    @pytest.mark.netns
    def test_it(node: Node) -> None:
        pod = node.pod()

`node` is a fresh node for each test, with all of its pods and processes gone afterwards. Where the system
forbids namespaces the test is skipped with a sentence that says what to allow; with MULTUS_ENI_NO_SKIP=1
in the environment it fails instead.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns import Node, require


@pytest.fixture
def node() -> Iterator[Node]:
    require()
    with Node() as made:
        yield made
