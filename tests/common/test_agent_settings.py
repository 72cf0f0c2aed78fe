import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.agent_settings import (
    CONTRACT,
    ENV_BACKEND,
    ENV_CONTRACT,
    ENV_CREDENTIALS,
    ENV_LOG_FORMAT,
    ENV_LOG_LEVEL,
    ENV_NODE_PORT,
    ENV_RELEASE_ON_EXIT,
    ENV_RESTART_POLICY,
    ENV_TAKEOVER,
    ENV_TIMEOUT,
    MAX_PORT,
    MAX_TIMEOUT,
    AgentSettings,
    Backend,
    ContractError,
    Credentials,
    LogFormat,
    LogLevel,
    RestartPolicy,
    Takeover,
    parse_timeout,
)
from common.exit_codes import ExitCode

pytestmark = pytest.mark.pure

RELEASES = Path(__file__).parents[1] / "cases" / "contract"

words = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.:/", min_size=1, max_size=15)
settings = st.builds(
    AgentSettings,
    interfaces=st.lists(words, max_size=4).map(tuple),
    guessed_interfaces=st.lists(words, max_size=4).map(tuple),
    timeout=st.integers(1, MAX_TIMEOUT),
    takeover=st.sampled_from(Takeover),
    release_on_exit=st.booleans(),
    allowed_cidrs=st.lists(words, max_size=4).map(tuple),
    credentials=st.sampled_from(Credentials),
    backend=st.sampled_from(Backend),
    node_port=st.integers(1, MAX_PORT),
    restart_policy=st.none() | st.sampled_from(RestartPolicy),
    eip_wait=st.lists(words, max_size=4).map(tuple),
    log_level=st.sampled_from(LogLevel),
    log_format=st.sampled_from(LogFormat),
)


@given(settings)
def test_the_agent_reads_what_the_webhook_wrote(written: AgentSettings) -> None:
    assert AgentSettings.from_env(written.to_env()) == written


@given(settings, st.dictionaries(words.map(lambda word: f"MULTUS_ENI_{word}_LATER"), words))
def test_variables_of_later_releases_are_ignored(written: AgentSettings, later: dict[str, str]) -> None:
    assert AgentSettings.from_env({**later, **written.to_env()}) == written


def test_what_an_older_webhook_did_not_write_has_its_default() -> None:
    assert AgentSettings.from_env({}) == AgentSettings()


def test_a_newer_contract_is_refused_with_the_remedy() -> None:
    with pytest.raises(ContractError, match=r"MULTUS_ENI_CONTRACT: .*agent image at least as new"):
        AgentSettings.from_env({ENV_CONTRACT: str(CONTRACT + 1)})


@pytest.mark.parametrize("text", ["0", "-1", "1.0", "x", "9999999999", "\u0661"])
def test_a_contract_that_is_no_number_of_ours_is_refused(text: str) -> None:
    with pytest.raises(ContractError, match="MULTUS_ENI_CONTRACT"):
        AgentSettings.from_env({ENV_CONTRACT: text})


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        (ENV_TIMEOUT, "soon"),
        (ENV_TAKEOVER, "maybe"),
        (ENV_RELEASE_ON_EXIT, "1"),
        (ENV_CREDENTIALS, "root"),
        (ENV_BACKEND, "cloud"),
        (ENV_NODE_PORT, "0"),
        (ENV_NODE_PORT, "65536"),
        (ENV_NODE_PORT, "٩٤٠٧"),
        (ENV_NODE_PORT, "9407/tcp"),
        (ENV_LOG_LEVEL, "loud"),
        (ENV_LOG_FORMAT, "xml"),
    ],
)
def test_a_value_that_cannot_be_read_names_its_variable_and_itself(variable: str, text: str) -> None:
    with pytest.raises(ContractError, match=f"{variable}: '{text}'"):
        AgentSettings.from_env({variable: text})


@pytest.mark.parametrize("text", ["Sometimes", "never", ""])
def test_a_restart_policy_of_a_later_kubernetes_fails_no_pod(text: str) -> None:
    assert AgentSettings.from_env({ENV_RESTART_POLICY: text}).restart_policy is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1), ("90s", 90), ("2m", 120), ("60m", 3600), ("3600s", 3600)]
)
def test_timeouts(text: str, seconds: int) -> None:
    assert parse_timeout(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "0s", "90", "1h", "-1s", "1.5s", "61m", "3601s", "٣s", "9" * 5000 + "s", " 1s"]
)
def test_malformed_timeouts_are_refused(text: str) -> None:
    with pytest.raises(ContractError, match="90s or 2m"):
        parse_timeout(text)


@given(st.text())
def test_a_timeout_is_read_or_refused_never_a_crash(text: str) -> None:
    with contextlib.suppress(ContractError):
        assert 1 <= parse_timeout(text) <= MAX_TIMEOUT


def test_settings_are_immutable_and_usable_as_keys() -> None:
    one, same, other = AgentSettings(), AgentSettings(), AgentSettings(timeout=7)
    assert {one, same, other} == {one, other}
    assert one != "AgentSettings"
    assert "timeout=7" in repr(other)
    with pytest.raises(AttributeError, match="timeout"):
        other.timeout = 8


@pytest.mark.parametrize("field", AgentSettings.__slots__)
def test_settings_that_differ_in_any_field_are_different_keys(field: str) -> None:
    every: dict[str, Any] = {**RECORDED, **ADDED["1-eip"]}
    other = AgentSettings(**{field: every[field]})
    assert (AgentSettings() != other, hash(AgentSettings()) != hash(other)) == (True, True)
    assert f"{field}={every[field]!r}" in repr(other)


def test_exit_codes_are_distinct_and_only_ok_is_zero() -> None:
    assert [code for code in ExitCode if code == 0] == [ExitCode.OK]
    assert len({code.value for code in ExitCode}) == len(ExitCode.__members__)


RECORDED: dict[str, Any] = {
    "interfaces": ("net1", "sig0"),
    "timeout": 90,
    "takeover": Takeover.NEVER,
    "release_on_exit": True,
    "allowed_cidrs": ("10.10.0.0/16", "2001:db8::/48"),
    "credentials": Credentials.NODE,
    "log_level": LogLevel.DEBUG,
    "log_format": LogFormat.JSON,
}
_NODE: dict[str, Any] = {"backend": Backend.NODE, "node_port": 19407}
ADDED: dict[str, dict[str, Any]] = {
    "1": {},
    "1-node": _NODE,
    "1-pod": {**_NODE, "guessed_interfaces": ("net1",), "restart_policy": RestartPolicy.NEVER},
}
ADDED["1-eip"] = {**ADDED["1-pod"], "eip_wait": ("net1",)}
"""What each recorded environment says beside: a file for each release that added a variable."""


@pytest.mark.parametrize("file", sorted(RELEASES.glob("*.env")), ids=lambda file: file.stem)
def test_the_environment_that_each_release_wrote_is_still_read(file: Path) -> None:
    env = dict(line.split("=", 1) for line in file.read_text(encoding="utf-8").splitlines())
    assert AgentSettings.from_env(env) == AgentSettings(**RECORDED, **ADDED[file.stem])


def test_what_this_release_writes_is_on_record() -> None:
    recorded = [file.read_text(encoding="utf-8") for file in RELEASES.glob(f"{CONTRACT}*.env")]
    written = AgentSettings(**RECORDED, **ADDED["1-eip"]).to_env()
    assert "".join(f"{name}={value}\n" for name, value in written.items()) in recorded


def test_the_slim_agent_pays_for_no_heavy_import() -> None:
    script = "import sys; import common.agent_settings; print(*sys.modules)"
    listing = subprocess.run(
        [sys.executable, "-S", "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert not {"dataclasses", "inspect", "typing", "re", "ssl", "logging"} & set(listing.stdout.split())
