"""The node agent's settings file."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.agent_settings import Credentials, LogFormat, LogLevel
from ipagent.node.model.gc_policy import GcMode, GcPolicy
from ipagent.node.model.grants import Grant
from ipagent.node.model.settings_readers import SettingsError
from ipagent.node.settings import MAX_BYTES, NodeSettings, read_settings

pytestmark = pytest.mark.pure


def read(**keys: Any) -> NodeSettings:
    return read_settings(json.dumps(keys).encode())


def test_every_key_is_read() -> None:
    found = read(
        port=9500,
        healthPort=9501,
        watchOnly=True,
        grants={"apps": {"cidrs": ["10.10.1.192/28"], "takeover": True}},
        allowedCIDRs=["10.10.1.0/24"],
        gc={
            "mode": "on",
            "cooldown": "45s",
            "interval": "1h",
            "managedCIDRs": ["10.10.1.0/24", "2001:db8:1::/64"],
            "protectedCIDRs": ["10.10.1.192/28"],
            "noFloatingAddresses": True,
        },
        credentials="node",
        requireTag=False,
        podCondition=True,
        nodeNetworks=True,
        central=True,
        logLevel="debug",
        logFormat="json",
    )
    assert found == NodeSettings(
        port=9500,
        health_port=9501,
        watch_only=True,
        grants=found.grants,
        rules=GcPolicy(
            mode=GcMode.ON,
            cooldown=45.0,
            interval=3600.0,
            managed=(ip_network("10.10.1.0/24"), ip_network("2001:db8:1::/64")),
            protected=(ip_network("10.10.1.192/28"),),
            no_floating=True,
        ),
        credentials=Credentials.NODE,
        require_tag=False,
        pod_condition=True,
        node_networks=True,
        central=True,
        log_level=LogLevel.DEBUG,
        log_format=LogFormat.JSON,
    )
    allowed = (ip_network("10.10.1.0/24"),)
    assert found.grants.of("apps") == Grant((ip_network("10.10.1.192/28"),), takeover=True, allowed=allowed)
    assert found.grants.of("others") == Grant(allowed=allowed)


@pytest.mark.parametrize("keys", [{}, {"gc": {}}, {"gc": {"mode": None, "managedCIDRs": None}, "port": None}])
def test_what_is_missing_or_null_has_its_default(keys: dict[str, Any]) -> None:
    found = read(**keys)
    assert (found.port, found.health_port, found.require_tag, found.watch_only) == (9407, 9408, True, False)
    assert found.rules == GcPolicy(mode=GcMode.REPORT, cooldown=120.0, interval=300.0)
    assert found.grants.of("apps") == Grant()


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (
            {"ports": 1},
            "ports: is not one of port, healthPort, watchOnly, grants, allowedCIDRs, gc, credentials",
        ),
        ({"gc": {"Mode": "on"}}, "gc.Mode: is not one of mode, cooldown, interval, managedCIDRs"),
        ({"gc": {"mode": "yes"}}, "gc.mode: 'yes' is not one of off, report, on"),
        ({"gc": {"mode": True}}, "gc.mode: True is not one of off, report, on"),
        ({"gc": []}, r"gc: \[\] is not a mapping"),
        ({"gc": {"cooldown": "29s"}}, "gc.cooldown: '29s' is not a duration from 30s to 24h, such as 2m"),
        ({"gc": {"cooldown": 60}}, "gc.cooldown: 60 is not a duration"),
        ({"gc": {"cooldown": "25h"}}, "gc.cooldown: '25h' is not a duration"),
        ({"gc": {"cooldown": "\uff12m"}}, "gc.cooldown: '.m' is not a duration"),
        ({"gc": {"cooldown": "2m\n"}}, "gc.cooldown: '2m.*' is not a duration"),
        ({"gc": {"interval": "9s"}}, "gc.interval: '9s' is not a duration from 10s to 24h"),
        ({"gc": {"managedCIDRs": "10.10.1.0/24"}}, "gc.managedCIDRs: is not a list"),
        ({"gc": {"managedCIDRs": ["10.10.1.1/24"]}}, r"gc.managedCIDRs\[0\]: '10.10.1.1/24' is not a CIDR"),
        ({"gc": {"protectedCIDRs": ["10.10.1.0/24", 7]}}, r"gc.protectedCIDRs\[1\]: 7 is not a CIDR"),
        (
            {"gc": {"protectedCIDRs": ["10.10.1.0/24"] * 257}},
            "gc.protectedCIDRs: is not a list of at most 256",
        ),
        ({"gc": {"noFloatingAddresses": "yes"}}, "gc.noFloatingAddresses: 'yes' is neither true nor false"),
        ({"port": 0}, "port: 0 is not a port from 1 to 65535"),
        ({"port": True}, "port: True is not a port"),
        ({"port": "9407"}, "port: '9407' is not a port"),
        ({"healthPort": 9407}, "healthPort: 9407 is the port for claims already"),
        ({"watchOnly": 1}, "watchOnly: 1 is neither true nor false"),
        ({"credentials": "root"}, "credentials: 'root' is not one of chain, node"),
        ({"logLevel": "loud"}, "logLevel: 'loud' is not one of debug, info, warning, error"),
        ({"grants": {"Apps": {}}}, "grants: 'Apps' is neither the name of a namespace"),
        ({"watchOnly": True, "gc": {"mode": "on"}}, "gc.mode: 'on' with watchOnly: .*gc.protectedCIDRs"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_what_is_allowed(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=f"(?s)^{says}"):
        read(**keys)


@pytest.mark.parametrize(
    "gc",
    [
        {"mode": "on", "protectedCIDRs": ["10.10.1.192/28"]},
        {"mode": "on", "noFloatingAddresses": True},
        {"mode": "report"},
        {"mode": "off"},
    ],
)
def test_watch_only_sweeps_with_a_word_about_floating_addresses(gc: dict[str, Any]) -> None:
    assert read(watchOnly=True, gc=gc).rules.mode == gc["mode"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON"),
        (b"port: 1", "not JSON"),
        (b"[]", r"the file: \[\] is not a mapping"),
        (b'{"port": 1, "port": 2}', "port: is there twice"),
        (b'{"gc": {"mode": "on", "mode": "off"}}', "mode: is there twice"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b" " * (MAX_BYTES + 1), "larger than"),
    ],
    ids=["empty", "YAML", "a list", "twice", "twice below", "no UTF-8", "deep", "large"],
)
def test_what_is_no_settings_file_is_told(data: bytes, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        read_settings(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "port",
        "healthPort",
        "watchOnly",
        "gc",
        "grants",
        "allowedCIDRs",
        "credentials",
        "requireTag",
        "podCondition",
    ]
)
GC = st.dictionaries(st.sampled_from(["mode", "cooldown", "interval", "managedCIDRs"]), JSON, max_size=3)


@given(st.dictionaries(NAMES, JSON | GC, max_size=4))
def test_any_document_gives_settings_or_a_sentence(keys: dict[str, Any]) -> None:
    try:
        found = read(**keys)
    except SettingsError as error:
        assert ": " in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert found.rules.cooldown >= 30
        assert found.rules.interval >= 10
