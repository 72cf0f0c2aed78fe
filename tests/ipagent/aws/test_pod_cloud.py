"""How the ENIs are found: by IMDS, or without it by MAC."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NoReturn

import boto3
import pytest

from common.agent_settings import Credentials
from ipagent.assign.address_calls import Assign, Unassign
from ipagent.assign.ec2_error_codes import Fault
from ipagent.assign.errors import (
    AgentError,
    Ec2Error,
    Ec2Unreachable,
    NoEni,
    NoImds,
    NoPermission,
    Throttled,
)
from ipagent.assign.holders import OWNER_TAGS
from ipagent.assign.topology import EniDetails
from ipagent.aws.aws_access import SILENT_SECONDS
from ipagent.aws.ec2_client import Ec2Client
from ipagent.aws.pod_cloud import PodCloud
from ipagent.interrupting_signals import InterruptingSignals, StopSignal
from tests.doubles import Doubles
from tests.doubles import Fault as Injected
from tests.doubles.state.identifiers import attachment_of
from tests.ipagent import worlds
from tests.ipagent.aws.scripted_server import scripted_server
from tests.ipagent.fakes import Lines, Time, ip
from tests.ipagent.worlds import ENI_1, ENI_2, MAC_1, MAC_2, MAC_TWIN, READER, REGION

FOREIGN = "5e:00:00:00:00:01"

Make = Callable[..., PodCloud]
DESCRIBE = "DescribeNetworkInterfaces"


@pytest.fixture
def doubles() -> Iterator[Doubles]:
    with Doubles(worlds.world(secondaries=["10.10.1.60"], role="node")) as served:
        yield served


@pytest.fixture
def make(doubles: Doubles, lines: Lines, monkeypatch: pytest.MonkeyPatch, time: Time) -> Iterator[Make]:
    """Make the agent's cloud with the double's endpoints and more variables; None takes one away."""
    env = worlds.environment(doubles)
    made: list[PodCloud] = []

    def make(credentials: Credentials = Credentials.CHAIN, **more: Any) -> PodCloud:
        given = {name: value for name, value in (env | more).items() if value is not None}
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        for name in set(env) - set(given):
            monkeypatch.delenv(name, raising=False)
        made.append(PodCloud(given, credentials, lines.log, time.timing))
        return made[-1]

    yield make
    for direct in made:
        direct.close()


NO_IMDS = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": REGION}


def test_enis_and_region_come_from_imds_and_addresses_go_to_ec2(
    make: Make, doubles: Doubles, lines: Lines
) -> None:
    direct = make()
    (eni,) = direct.topology({MAC_1}).enis
    assert eni.id == ENI_1
    direct.assign(Assign(ENI_1, (ip("10.10.1.80"),), allow_reassignment=True))
    assert doubles.holder_of("10.10.1.80") == ENI_1
    assert direct.metadata(eni) == frozenset({ip("10.10.1.10"), ip("10.10.1.60"), ip("10.10.1.80")})
    assert direct.describe(ENI_1).secondaries == (ip("10.10.1.60"), ip("10.10.1.80"))
    direct.unassign(Unassign(ENI_1, (ip("10.10.1.80"),)))
    assert doubles.holder_of("10.10.1.80") is None
    (identity,) = lines.of("identity")
    assert identity["message"] == f"Calling EC2 in {REGION} with the credentials of env"


def test_what_is_known_is_not_read_again(make: Make, doubles: Doubles) -> None:
    direct = make()
    direct.topology({MAC_1})
    read = len(doubles.journal())
    direct.topology({MAC_1})
    assert len(doubles.journal()) == read
    assert {eni.mac for eni in direct.topology({MAC_1, MAC_2}).enis} == {MAC_1, MAC_2}
    assert len(direct.topology({MAC_1}, fresh=True).enis) == 4
    read = len(doubles.journal())
    direct.topology({MAC_1, MAC_2})
    assert len(doubles.journal()) == read


def test_a_foreign_mac_is_looked_for_once(make: Make, doubles: Doubles) -> None:
    direct = make()
    assert len(direct.topology({MAC_1, FOREIGN}).enis) == 4
    read = len(doubles.journal())
    assert len(direct.topology({FOREIGN}).enis) == 4
    assert len(doubles.journal()) == read


def test_what_an_earlier_and_smaller_answer_lacks_is_read(make: Make) -> None:
    direct = make()
    for macs in ({MAC_1, FOREIGN}, {MAC_1, MAC_2, FOREIGN}, {MAC_2}, {MAC_1}):
        assert macs - {FOREIGN} <= {eni.mac for eni in direct.topology(macs).enis}


class TestVerified:
    """EC2's word on the ENIs that IMDS shows as a whole, before the first assignment."""

    def test_one_call_for_all_enis_and_only_once(self, make: Make, doubles: Doubles) -> None:
        direct, macs = make(), {MAC_1, MAC_2}
        shown = direct.topology(macs)
        assert not shown.verified
        assert not doubles.journal(DESCRIBE)
        assert direct.verified(shown, macs) == replace(shown, verified=True)
        (call,) = doubles.journal(DESCRIBE)
        assert {call.params[f"Filter.1.Value.{number}"] for number in (1, 2)} == macs
        assert direct.topology(macs).verified
        assert direct.topology({MAC_1}, fresh=True).verified
        assert not direct.topology({MAC_TWIN}).verified
        assert len(doubles.journal(DESCRIBE)) == 1

    @pytest.mark.parametrize("tag", OWNER_TAGS)
    def test_an_eni_of_the_vpc_cni_is_barred_and_asked_for_again(
        self, make: Make, doubles: Doubles, tag: str
    ) -> None:
        direct = make()
        administrator = boto3.client("ec2", region_name=REGION, endpoint_url=doubles.ec2_url)
        administrator.create_tags(Resources=[ENI_1], Tags=[{"Key": tag, "Value": "x"}])
        (eni,) = direct.verified(direct.topology({MAC_1}), {MAC_1}).enis
        assert not eni.usable
        assert f"as its tag {tag}=x says" in eni.barred
        administrator.delete_tags(Resources=[ENI_1], Tags=[{"Key": tag}])
        shown = direct.topology({MAC_1}, fresh=True)
        assert not shown.verified
        assert direct.verified(shown, {MAC_1}).enis[1].usable

    def test_what_ec2_has_detached_is_absent(self, make: Make, doubles: Doubles) -> None:
        direct = make()
        shown = direct.topology({MAC_1})
        administrator = boto3.client("ec2", region_name=REGION, endpoint_url=doubles.ec2_url)
        administrator.detach_network_interface(AttachmentId=attachment_of(ENI_1))
        found = direct.verified(shown, {MAC_1})
        assert (found.enis, found.absent) == ((), {MAC_1: f"{ENI_1}, which is attached to no instance"})
        assert not found.complete

    @pytest.mark.parametrize("instance", ["", "i-0123456789abcdef0"], ids=["without an id", "another"])
    def test_what_is_attached_to_something_else_is_absent(
        self, make: Make, monkeypatch: pytest.MonkeyPatch, instance: str
    ) -> None:
        direct = make()
        shown = direct.topology({MAC_1})
        found = EniDetails(ENI_1, None, (), instance_id=instance, device_number=1, mac=MAC_1)
        monkeypatch.setattr(Ec2Client, "by_mac", lambda *_: (found,))
        judged = direct.verified(shown, {MAC_1})
        says = instance or "whose id EC2 does not show"
        assert judged.absent == {MAC_1: f"{ENI_1}, which is attached to another instance, {says}"}
        assert judged.enis == ()

    def test_without_the_right_imds_has_to_do_and_that_is_said_once(
        self, make: Make, doubles: Doubles, lines: Lines
    ) -> None:
        doubles.put_faults(Injected(DESCRIBE, error="UnauthorizedOperation"))
        direct = make()
        shown = direct.topology({MAC_1})
        assert direct.verified(shown, {MAC_1}) == replace(shown, verified=True)
        direct.verified(shown, {MAC_1})
        (line,) = lines.of("eni-unverified")
        assert line["level"] == "warning"
        assert "UnauthorizedOperation" in line["message"]
        assert direct.topology({MAC_1}, fresh=True).verified

    def test_while_ec2_throttles_the_enis_are_not_known(self, make: Make, doubles: Doubles) -> None:
        doubles.put_faults(Injected(DESCRIBE, error="RequestLimitExceeded", times=1))
        direct = make()
        found = direct.verified(direct.topology({MAC_1}), {MAC_1})
        assert (found.enis, set(found.partial), isinstance(found.doubt, Throttled)) == ((), {MAC_1}, True)
        assert not found.complete
        assert direct.verified(direct.topology({MAC_1}), {MAC_1}).enis[0].usable


class TestRanges:
    @pytest.fixture(autouse=True)
    def _hidden(self, doubles: Doubles) -> None:
        doubles.put_faults(Injected("imds", status=404, path=f"*{MAC_2}/subnet-ipv4-cidr-block"))

    def test_what_imds_does_not_show_ec2_tells(self, make: Make, doubles: Doubles) -> None:
        found = make().topology({FOREIGN})
        assert found.complete
        assert all(eni.subnet_cidrs for eni in found.enis)
        (call,) = doubles.journal("DescribeSubnets")
        assert call.params["Filter.1.Value.1"] == worlds.SUBNETS[worlds.OTHER_CIDR]

    def test_without_that_right_imds_is_waited_for(
        self, make: Make, doubles: Doubles, lines: Lines, time: Time
    ) -> None:
        hidden = Injected("imds", status=404, path=f"*{MAC_2}/subnet-ipv4-cidr-block")
        doubles.put_faults(hidden, Injected("DescribeSubnets", error="UnauthorizedOperation"))
        direct = make()
        for _ in range(2):
            assert direct.topology({FOREIGN}).unranged == (ENI_2,)
        # It is not asked at each look, but later: somebody may grant it.
        assert len(doubles.journal("DescribeSubnets")) == 1
        time.now += SILENT_SECONDS
        direct.topology({FOREIGN})
        assert len(doubles.journal("DescribeSubnets")) == 2
        assert [line["level"] for line in lines.of("no-ranges")] == ["warning", "debug"]

    def test_for_the_mac_of_an_eni_no_range_is_asked_for(self, make: Make, doubles: Doubles) -> None:
        doubles.put_faults(Injected("imds", status=404, path=f"*{MAC_1}/interface-id"))
        found = make().topology({MAC_1})
        assert found.complete
        assert not doubles.journal("DescribeSubnets")


def test_without_imds_the_mac_names_the_eni(make: Make, lines: Lines) -> None:
    direct = make(**NO_IMDS)
    (eni,) = direct.topology({MAC_1}).enis
    assert (eni.id, eni.device_number) == (ENI_1, 1)
    assert direct.metadata(eni) is None
    assert lines.events("warning") == ["no-imds"]


NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
ROLES = "*/iam/security-credentials/*"


@pytest.mark.parametrize("credentials", Credentials)
@pytest.mark.parametrize("status", [429, 503])
def test_while_imds_is_busy_the_nodes_role_may_come_in_a_moment(
    make: Make, doubles: Doubles, credentials: Credentials, status: int
) -> None:
    direct = make(credentials, **NO_KEYS)
    direct.topology({MAC_1})
    doubles.put_faults(Injected("imds", status=status, path=ROLES))
    with pytest.raises(Ec2Error) as caught:
        direct.describe(ENI_1)
    failure = caught.value.failure
    assert failure.fault is Fault.TRANSIENT
    assert f"security-credentials/ with HTTP {status}" in failure.text
    assert "IMDS limits how often" in failure.remedy
    doubles.put_faults()
    assert direct.describe(ENI_1).eni_id == ENI_1


def test_credentials_that_can_not_be_renewed_while_imds_is_busy_may_be_in_a_moment(
    make: Make, doubles: Doubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [clock.time()]
    monkeypatch.setattr(clock, "time", lambda: now[0])
    direct = make(Credentials.NODE, **NO_KEYS)
    direct.topology({MAC_1})
    direct.describe(ENI_1)
    now[0] += 86_400
    doubles.put_faults(Injected("imds", status=503, path=ROLES))
    with pytest.raises(Ec2Error) as caught:
        direct.describe(ENI_1)
    assert caught.value.failure.fault is Fault.TRANSIENT
    assert "with HTTP 503" in caught.value.failure.text


@pytest.mark.parametrize("credentials", Credentials)
def test_an_instance_without_a_role_has_none_in_a_moment_either(
    make: Make, doubles: Doubles, credentials: Credentials
) -> None:
    doubles.put_faults(Injected("imds", status=404, path="*/iam/*"))
    direct = make(credentials, **NO_KEYS)
    direct.topology({MAC_1})
    with pytest.raises(Ec2Error) as caught:
        direct.describe(ENI_1)
    assert caught.value.failure.fault is Fault.NO_CREDENTIALS


class TestTheNodesAddress:
    """Without IMDS it tells which ENIs are those of the node."""

    HOST, OTHER_HOST = "10.10.0.10", "10.10.0.11"

    def test_it_shows_that_the_eni_is_here(self, make: Make, doubles: Doubles) -> None:
        direct = make(**NO_IMDS, MULTUS_ENI_HOST_IP=self.HOST)
        for _ in range(2):
            assert direct.topology({MAC_1}, fresh=True).enis[0].id == ENI_1
        # Once by address, and by MAC each time.
        assert len(doubles.journal(DESCRIBE)) == 3

    def test_an_eni_of_another_node_gets_nothing(self, make: Make) -> None:
        direct = make(**NO_IMDS, MULTUS_ENI_HOST_IP=self.OTHER_HOST)
        with pytest.raises(
            NoEni, match=f"{ENI_1} is attached to another instance, i-0a000000000000001"
        ) as caught:
            direct.topology({MAC_1})
        assert caught.value.transient

    def test_an_address_that_ec2_does_not_show_decides_nothing(self, make: Make) -> None:
        direct = make(**NO_IMDS, MULTUS_ENI_HOST_IP="10.10.0.99")
        with pytest.raises(NoEni, match=r"no ENI with the node.s address 10\.10\.0\.99") as caught:
            direct.topology({MAC_1})
        assert "AWS_REGION" in caught.value.remedy

    @pytest.mark.parametrize("host", ["", "node-a.internal"])
    def test_without_one_the_mac_decides_as_it_did(self, make: Make, host: str) -> None:
        assert make(**NO_IMDS, MULTUS_ENI_HOST_IP=host).topology({MAC_1}).enis[0].id == ENI_1


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_of_the_environment_wins(make: Make, doubles: Doubles, name: str) -> None:
    make(**{name: REGION}).topology({MAC_1})
    assert not [call for call in doubles.journal() if "identity" in call.action]


@pytest.mark.parametrize(
    ("macs", "credentials", "env", "says"),
    [
        ({MAC_1}, Credentials.CHAIN, {"AWS_REGION": None}, "switched off"),
        ({MAC_1}, Credentials.NODE, {}, "switched off"),
        ({MAC_1, FOREIGN}, Credentials.CHAIN, {}, f"no ENI with the MAC {FOREIGN}"),
        ({MAC_1}, Credentials.CHAIN, {"AWS_ACCESS_KEY_ID": "AKIAUNKNOWNEXAMPLE00"}, "no credentials"),
        (
            {MAC_1},
            Credentials.CHAIN,
            {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
            "no credentials",
        ),
    ],
    ids=["no region", "the node's role", "a foreign MAC", "wrong credentials", "no credentials"],
)
def test_without_imds_and_another_way_to_the_enis_no_imds_is_the_error(
    make: Make, macs: set[str], credentials: Credentials, env: dict[str, str | None], says: str
) -> None:
    with pytest.raises(NoImds, match=says):
        make(credentials, **{**NO_IMDS, **env}).topology(macs)


@pytest.mark.parametrize(
    ("injected", "kind", "transient"),
    [
        (Injected(error="RequestLimitExceeded"), AgentError, True),
        (Injected(error="UnauthorizedOperation"), NoPermission, False),
        (Injected(error="InternalError"), AgentError, True),
    ],
)
def test_a_lookup_by_mac_that_fails_is_told_as_what_it_is(
    make: Make, doubles: Doubles, injected: Injected, kind: type[AgentError], transient: bool
) -> None:
    doubles.put_faults(injected)
    with pytest.raises(kind) as caught:
        make(**NO_IMDS).topology({MAC_1})
    assert caught.value.transient is transient


def test_an_unreachable_ec2_during_the_lookup(make: Make) -> None:
    with pytest.raises(Ec2Unreachable):
        make(**NO_IMDS, AWS_ENDPOINT_URL_EC2="http://127.0.0.1:1").topology({MAC_1})


def test_imds_that_is_lost_later_shows_nothing_and_is_no_error(make: Make, lines: Lines, time: Time) -> None:
    names = {"": f"{MAC_1}/", "/interface-id": ENI_1, "/device-number": "1"}
    macs = "/latest/meta-data/network/interfaces/macs/"
    values = {(macs + MAC_1 + name if name else macs): value for name, value in names.items()}

    def answer(method: str, path: str, _: dict[str, str]) -> tuple[int, str]:
        return (200, "a-token") if method == "PUT" else (200 if path in values else 404, values.get(path, ""))

    with scripted_server(answer, keep_alive=False) as service:
        direct = make(AWS_EC2_METADATA_SERVICE_ENDPOINT=service.url, AWS_REGION=REGION)
        (eni,) = direct.topology({MAC_1}).enis
        assert direct.metadata(eni) == frozenset()
    assert direct.metadata(eni) is None
    assert lines.events("debug") == ["imds-failed"]
    # Finding that out takes time: it is left alone for a while, and then asked again.
    assert direct.metadata(eni) is None
    assert lines.events("debug") == ["imds-failed"]
    time.sleep(SILENT_SECONDS)
    assert direct.metadata(eni) is None
    assert lines.events("debug") == ["imds-failed"] * 2


def test_the_readers_key_may_look_but_not_touch(make: Make) -> None:
    direct = make(AWS_ACCESS_KEY_ID=READER)
    assert direct.topology({MAC_1}).enis[0].id == ENI_1
    assert direct.describe(ENI_1).secondaries == (ip("10.10.1.60"),)


def test_a_signal_while_imds_is_silent_tells_that_imds_was_being_waited_for(
    make: Make, doubles: Doubles
) -> None:
    cloud = make()
    doubles.put_faults(Injected("imds", delay_ms=5000))
    with InterruptingSignals() as signals:
        signals.alarm(0.5)
        with pytest.raises(StopSignal) as caught:
            cloud.topology([MAC_1])
    assert (caught.value.timed_out, caught.value.waiting_for) == (True, "IMDS")


class InterruptedEc2:
    """EC2 in whose calls the alarm rings."""

    def attached(self, _: str) -> NoReturn:
        raise StopSignal(14)

    def close(self) -> None:
        pass


def test_a_signal_while_ec2_is_asked_tells_that_ec2_was_being_waited_for(make: Make) -> None:
    cloud = make()
    interrupted: Any = InterruptedEc2()
    cloud._ec2 = interrupted  # noqa: SLF001 - the wire
    with pytest.raises(StopSignal) as caught:
        cloud.topology([FOREIGN])
    assert caught.value.waiting_for == "EC2"
