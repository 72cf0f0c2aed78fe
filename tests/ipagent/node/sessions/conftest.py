"""A session server for a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from ipagent.node.sessions.listener import listen
from tests.ipagent.node.sessions.peer import FREE, MakeGate
from tests.ipagent.nodeclient.gate import Gate


@pytest.fixture
def gate() -> Iterator[MakeGate]:
    with ExitStack() as stack:

        def make(**arguments: Any) -> Gate:
            limits = arguments.pop("limits", FREE)
            made = Gate(listen("127.0.0.1", 0), limits=limits, **arguments)
            return stack.enter_context(made)

        yield make
