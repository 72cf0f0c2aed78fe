"""Each error code on the wire, and how an init container ends: exit code, sentence, remedy, tries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from common.agent_settings import Credentials
from common.exit_codes import ExitCode
from ipagent.assign.addresses import Link
from ipagent.assign.ec2_error_codes import CODE_GROUPS, CODES, MESSAGE_RULES, RETRIED, Failure, Fault
from ipagent.assign.errors import error_of
from ipagent.assign.report import Report
from ipagent.aws.pod_cloud import PodCloud
from ipagent.direct import init
from tests.doubles import Doubles
from tests.doubles import Fault as Injected
from tests.ipagent import worlds
from tests.ipagent.fakes import ETH0, FakeSource, Lines, Time, agent
from tests.ipagent.worlds import ENI_1, MAC_1

ADDRESS, OTHER = "10.10.1.80", "10.10.1.81"
NET1 = Link(3, "net1", MAC_1)
ASSIGN = "AssignPrivateIpAddresses"
SENTENCE = "What EC2 says of it"
TIMEOUT = 60

EXIT_CODES = {
    Fault.THROTTLED: ExitCode.DEADLINE,
    Fault.TRANSIENT: ExitCode.DEADLINE,
    Fault.NO_PERMISSION: ExitCode.NO_PERMISSION,
    Fault.NO_CREDENTIALS: ExitCode.NO_CREDENTIALS,
    Fault.NO_ENI: ExitCode.NO_ENI,
    Fault.FOREIGN_ENI: ExitCode.NO_ENI,
    Fault.ENI_FULL: ExitCode.ENI_FULL,
    Fault.SUBNET_FULL: ExitCode.ENI_FULL,
    Fault.QUOTA: ExitCode.ENI_FULL,
    Fault.REFUSED: ExitCode.ADDRESS_REFUSED,
    Fault.NOT_HELD: ExitCode.ADDRESS_REFUSED,
    Fault.BAD_CALL: ExitCode.ADDRESS_REFUSED,
    Fault.UNKNOWN: ExitCode.ADDRESS_REFUSED,
}


@dataclass
class Rig:
    """The doubles, and the way to them that all cases share: botocore's client is made once."""

    doubles: Doubles
    cloud: PodCloud
    time: Time

    def init(self, *faults: Injected, address: str = ADDRESS) -> tuple[Report, int]:
        """Run init where these befall it; returns its report and how often it has called to assign."""
        self.doubles.put_faults(*faults)
        before = len(self.doubles.journal(ASSIGN))
        source = FakeSource((ETH0, "10.10.0.21"), (NET1, address), links=(ETH0, NET1))
        made = agent(source, self.cloud, Lines(), self.time.timing, interfaces=("net1",), timeout=TIMEOUT)
        report = init.run(made, self.time.now + TIMEOUT, self.time.timing)
        return report, len(self.doubles.journal(ASSIGN)) - before


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with pytest.MonkeyPatch.context() as patch, Doubles(worlds.world()) as doubles:
        patch.setenv("AWS_ENDPOINT_URL_EC2", doubles.ec2_url)
        patch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", doubles.imds_url)
        patch.setenv("AWS_ACCESS_KEY_ID", worlds.KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", worlds.SECRET)
        time = Time()
        with closing(PodCloud(dict(os.environ), Credentials.CHAIN, Lines().log, time.timing)) as cloud:
            made = Rig(doubles, cloud, time)
            # botocore's client is made by the first call, while it can see these variables.
            assert made.init(address=OTHER)[0].exit_code == ExitCode.OK
            yield made


def faults(code: str, message: str = SENTENCE) -> Injected:
    return Injected(ASSIGN, error=code, message=message)


def check(ended: tuple[Report, int], code: str, fault: Fault, remedy: str) -> None:
    report, calls = ended
    assert report.exit_code == EXIT_CODES[fault], report.message
    assert f"{ASSIGN} on {ENI_1}: {code}: " in report.message
    assert f"Not assigned: {ADDRESS} (net1) on {ENI_1}: " in report.message
    expected = error_of(Failure(fault, "", remedy=remedy)).remedy
    assert report.message.count(expected) == 1
    assert (calls > 1) is (fault in RETRIED)


@pytest.mark.parametrize("code", sorted(set(CODES) - {"InvalidIPAddress.InUse", "Resource.AlreadyAssigned"}))
def test_each_code_ends_init_as_the_table_says(rig: Rig, code: str) -> None:
    group = CODES[code]
    check(rig.init(faults(code)), code, group.fault, group.remedy)


@pytest.mark.parametrize("rule", MESSAGE_RULES, ids=lambda rule: f"{rule.codes[0]}: {rule.part}")
def test_where_only_the_message_tells_it_decides(rig: Rig, rule: Any) -> None:
    if rule.fault is Fault.HELD_ELSEWHERE:
        report, calls = rig.init(faults(rule.codes[0], f"[{ADDRESS}] assigned: {rule.part}"))
        # Nobody holds it when the agent looks: it tries again.
        assert (report.exit_code, calls > 1) == (ExitCode.HELD_ELSEWHERE, True)
        return
    check(rig.init(faults(rule.codes[0], f"The message: {rule.part}")), rule.codes[0], rule.fault, "")


@pytest.mark.parametrize("code", ["InvalidIPAddress.InUse", "Resource.AlreadyAssigned"])
def test_an_address_that_is_said_to_be_in_use_and_that_nobody_holds_is_tried_again(
    rig: Rig, code: str
) -> None:
    report, calls = rig.init(faults(code))
    assert (report.exit_code, calls > 1) == (ExitCode.HELD_ELSEWHERE, True)


@pytest.mark.parametrize(
    ("code", "status", "fault"),
    [
        ("NeverHeardOf", 400, Fault.UNKNOWN),
        ("NeverHeardOf", 429, Fault.THROTTLED),
        ("NeverHeardOf", 503, Fault.TRANSIENT),
        ("NeverHeardOfLimitExceeded", 400, Fault.QUOTA),
        ("NeverHeardOfAddressLimitExceeded", 400, Fault.ENI_FULL),
    ],
)
def test_an_unknown_ec2_error_code_ends_with_a_neutral_exit_code(
    rig: Rig, code: str, status: int, fault: Fault
) -> None:
    ended = rig.init(Injected(ASSIGN, error=code, message=SENTENCE, status=status))
    check(ended, code, fault, "")


@pytest.mark.parametrize("group", [g for g in CODE_GROUPS if g.fault in RETRIED], ids=lambda g: g.codes[0])
def test_init_outlasts_a_transient_ec2_error(rig: Rig, group: Any) -> None:
    report, calls = rig.init(Injected(ASSIGN, error=group.codes[0], times=2), address=OTHER)
    assert (report.exit_code, calls) == (ExitCode.OK, 3)
