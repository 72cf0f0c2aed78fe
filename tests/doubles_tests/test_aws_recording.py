"""`make test-aws` against the double in place of EC2: it records, compares, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.aws import __main__ as command
from tests.aws.__main__ import DOUBLES_ENI, DOUBLES_SUBNET, ENI, SUBNET, world
from tests.aws.record_refusals import ATTACHED, ATTACHED_WITH_IPV6, CASES, WITH_IPV6, WITHOUT_IPV6
from tests.doubles import Doubles, Fault
from tests.doubles.config.credentials import DEFAULT_KEY_ID, DEFAULT_SECRET


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The SDK's environment, without what the machine may have of it."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", DEFAULT_KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", DEFAULT_SECRET)
    return monkeypatch


def recorded(path: Path) -> dict[str, dict[str, Any]]:
    return {each["case"]: each for each in json.loads(path.read_text(encoding="utf-8"))["refusals"]}


@pytest.mark.parametrize("ipv6", [True, False])
@pytest.mark.parametrize("attached", [True, False])
def test_every_call_is_refused_and_recorded(
    aws: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ipv6: bool,
    attached: bool,
) -> None:
    file = tmp_path / "new" / "errors.json"
    with Doubles(world(ipv6=ipv6)) as ec2:
        aws.setenv("AWS_ENDPOINT_URL_EC2", ec2.ec2_url)
        before = ec2.state()
        env = {SUBNET: DOUBLES_SUBNET, **({ENI: DOUBLES_ENI} if attached else {})}
        assert command.main([str(file)], env) == 0
        assert ec2.state() == before
    expected = [*CASES, *(WITH_IPV6 if ipv6 else WITHOUT_IPV6)]
    if attached:
        expected += [*ATTACHED, *(ATTACHED_WITH_IPV6 if ipv6 else ())]
    found = recorded(file)
    assert list(found) == expected
    assert {case: each["status"] for case, each in found.items() if each["status"] < 400} == {}
    text = file.read_text(encoding="utf-8")
    assert not any(part in text for part in ("10.0.1.", "subnet-0", "eni-0a", "2001:db8:1:"))
    assert capsys.readouterr().out.splitlines()[0] == "EC2 answers as the double does"


def test_another_wording_is_shown_beside_the_doubles(
    aws: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Doubles(world(ipv6=True)) as ec2:
        aws.setenv("AWS_ENDPOINT_URL_EC2", ec2.ec2_url)
        ec2.put_faults(Fault("UnassignIpv6Addresses", error="InvalidAddress", message="No such thing."))
        assert command.main([str(tmp_path / "it.json")], {SUBNET: DOUBLES_SUBNET}) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [
        "unassigning an IPv6 address that it does not have:",
        "  EC2:    400 InvalidAddress: No such thing.",
    ]
    assert said[2].startswith("  double: 400 InvalidParameterValue: The address '{other.ipv6}' is not mapped")
    assert len(said) == 4


def test_interfaces_are_deleted_where_the_recording_breaks_off(
    aws: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "it.json"
    with Doubles(world(ipv6=False)) as ec2:
        aws.setenv("AWS_ENDPOINT_URL_EC2", ec2.ec2_url)
        before = ec2.state()
        ec2.put_faults(Fault("CreateNetworkInterface", error="UnauthorizedOperation", skip=1))
        assert command.main([str(file)], {SUBNET: DOUBLES_SUBNET}) == 1
        assert ec2.state() == before
    assert not file.exists()
    assert "ec2:CreateNetworkInterface" in capsys.readouterr().err


def test_without_a_subnet_nothing_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["it.json"], {}) == 1
    assert SUBNET in capsys.readouterr().err
