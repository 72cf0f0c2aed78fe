"""What the kernel is told of connections that may die without a word."""

from __future__ import annotations

import resource
import socket

import pytest

from common.keepalive import IDLE, INTERVAL, PROBES, USER_TIMEOUT_MS, keep_alive
from common.open_files_limit import raise_descriptor_limit

pytestmark = pytest.mark.pure


def options(connection: socket.socket) -> list[int]:
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
    values = [connection.getsockopt(socket.IPPROTO_TCP, name) for name in names]
    return [connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *values]


def test_a_dead_peer_is_found_within_two_minutes() -> None:
    with socket.socket() as connection:
        keep_alive(connection)
        assert options(connection) == [1, IDLE, INTERVAL, PROBES, USER_TIMEOUT_MS]
    assert IDLE + INTERVAL * PROBES <= 120


def test_a_watch_may_ask_earlier() -> None:
    with socket.socket() as connection:
        keep_alive(connection, idle=15, probes=3)
        assert options(connection) == [1, 15, INTERVAL, 3, USER_TIMEOUT_MS]


def test_a_process_may_open_as_many_files_as_it_is_allowed_at_all() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert raise_descriptor_limit() == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
