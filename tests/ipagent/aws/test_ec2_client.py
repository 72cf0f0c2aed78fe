"""The EC2 client: botocore against the strict double, errors in our terms."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

from common.agent_settings import Credentials
from ipagent.assign.address_calls import Assign, Unassign
from ipagent.assign.addresses import IPAddress
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.aws import ec2_calls
from ipagent.aws.botocore_connection import BotocoreConnection
from ipagent.aws.ec2_client import Ec2Client, interruptible
from ipagent.aws.ec2_failures import MAX_TEXT
from ipagent.interrupting_signals import InterruptingSignals, StopSignal
from tests.doubles import Doubles
from tests.doubles import Fault as Injected
from tests.ipagent import worlds
from tests.ipagent.aws.connections import CONNECTIONS, Connect, as_a_pod
from tests.ipagent.aws.scripted_server import scripted_server
from tests.ipagent.fakes import ip
from tests.ipagent.worlds import (
    ENI_1,
    ENI_2,
    MAC_1,
    NEIGHBOUR,
    NEIGHBOUR_IPV6,
    NEIGHBOUR_PRIMARY,
    NEIGHBOUR_SECONDARY,
    REGION,
    TWIN,
)

A, B = ip("10.10.1.80"), ip("10.10.1.81")
V6 = ip("2001:db8:1::80")


@pytest.fixture
def doubles() -> Iterator[Doubles]:
    with Doubles(worlds.world(role="node", ipv6=True)) as served:
        yield served


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, doubles: Doubles) -> pytest.MonkeyPatch:
    """Point botocore at the double with the credentials of the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", doubles.ec2_url)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", doubles.imds_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", worlds.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", worlds.SECRET)
    return monkeypatch


@pytest.fixture(params=list(CONNECTIONS.values()), ids=list(CONNECTIONS))
def connected(request: pytest.FixtureRequest) -> Connect:
    """How an EC2 client is made: all that follows is the same for both."""
    made: Connect = request.param
    return made


@pytest.fixture
def client(settings: pytest.MonkeyPatch, connected: Connect) -> Iterator[Ec2Client]:  # noqa: ARG001 - the environment it needs
    # Nothing that these calls meet is a reason to take botocore.
    connect = partial(as_a_pod, botocore=False) if connected is as_a_pod else connected
    with closing(connect(REGION, Credentials.CHAIN)) as made:
        yield made


def assign(*addresses: IPAddress, eni: str = ENI_1, takeover: bool = True) -> Assign:
    return Assign(eni, addresses, allow_reassignment=takeover)


def failure_of(client: Ec2Client, call: Assign | Unassign) -> Failure:
    do: Callable[[], object] = (
        partial(client.assign, call) if isinstance(call, Assign) else partial(client.unassign, call)
    )
    with pytest.raises(Ec2Error) as caught:
        do()
    return caught.value.failure


def test_assigned_addresses_are_on_the_eni_and_listed(client: Ec2Client, doubles: Doubles) -> None:
    assert client.assign(assign(A, B)) == {A, B}
    assert doubles.secondaries(ENI_1) == ("10.10.1.80", "10.10.1.81")
    (call,) = doubles.journal("AssignPrivateIpAddresses")
    assert call.params["AllowReassignment"] == "true"


def test_an_address_is_taken_from_another_eni_only_if_allowed(client: Ec2Client, doubles: Doubles) -> None:
    held = ip(NEIGHBOUR_SECONDARY)
    failure = failure_of(client, assign(held, takeover=False))
    assert failure.fault is Fault.HELD_ELSEWHERE
    assert NEIGHBOUR_SECONDARY in failure.text
    assert doubles.holder_of(NEIGHBOUR_SECONDARY) == NEIGHBOUR
    client.assign(assign(held))
    assert doubles.holder_of(NEIGHBOUR_SECONDARY) == ENI_1


@pytest.mark.parametrize(
    ("call", "fault", "says"),
    [
        (assign(ip(NEIGHBOUR_PRIMARY)), Fault.REFUSED, "primary"),
        (assign(ip("10.10.2.80")), Fault.REFUSED, "does not fall within the subnet's address range"),
        (assign(ip("10.10.1.1")), Fault.REFUSED, "reserved range"),
        (assign(*(ip(f"10.10.1.{n}") for n in range(100, 106))), Fault.ENI_FULL, "will exceed limit"),
        (assign(A, eni="eni-0123456789abcdef0"), Fault.NO_ENI, "eni-0123456789abcdef0"),
        (assign(A, eni="banana"), Fault.NO_ENI, "banana"),
        (Unassign(ENI_1, (A,)), Fault.NOT_HELD, "not assigned"),
        (Unassign(ENI_1, (ip("10.10.1.10"),)), Fault.REFUSED, "primary"),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_refusals_have_their_kind_and_ec2s_words(
    client: Ec2Client, call: Assign | Unassign, fault: Fault, says: str
) -> None:
    failure = failure_of(client, call)
    assert failure.fault is fault
    assert says in failure.text
    assert "PrivateIpAddresses on " in failure.text


def test_unassigned_addresses_are_off_the_eni(client: Ec2Client, doubles: Doubles) -> None:
    client.assign(assign(A, B))
    client.unassign(Unassign(ENI_1, (A,)))
    assert doubles.secondaries(ENI_1) == ("10.10.1.81",)


def test_a_describe_tells_the_primary_from_the_others_and_whose_the_eni_is(client: Ec2Client) -> None:
    client.assign(assign(A, B))
    client.assign(assign(V6))
    found = client.describe(ENI_1)
    assert (found.primary, found.secondaries, found.primary_ipv6) == (ip("10.10.1.10"), (A, B, V6), None)
    assert (found.instance_id, found.device_number) == ("i-0a000000000000001", 1)


class TestIpv6:
    def test_what_is_new_is_listed_and_what_is_there_already_is_not(self, client: Ec2Client) -> None:
        assert client.assign(assign(V6)) == {V6}
        assert client.assign(assign(V6)) == frozenset()

    def test_another_enis_address_is_never_moved(self, client: Ec2Client, doubles: Doubles) -> None:
        failure = failure_of(client, assign(ip(NEIGHBOUR_IPV6)))
        assert failure.fault is Fault.HELD_ELSEWHERE
        assert doubles.holder_of(NEIGHBOUR_IPV6) == NEIGHBOUR

    def test_unassigned_addresses_are_off_the_eni(self, client: Ec2Client, doubles: Doubles) -> None:
        client.unassign(Unassign(NEIGHBOUR, (ip(NEIGHBOUR_IPV6),)))
        assert doubles.holder_of(NEIGHBOUR_IPV6) is None
        failure = failure_of(client, Unassign(NEIGHBOUR, (ip(NEIGHBOUR_IPV6),)))
        assert failure.fault is Fault.NOT_HELD

    @pytest.mark.parametrize(
        ("call", "fault"),
        [
            (assign(ip("2001:db8:f::80")), Fault.REFUSED),
            (assign(V6, eni="eni-0123456789abcdef0"), Fault.NO_ENI),
            (assign(*(ip(f"2001:db8:1::{n:x}") for n in range(0x80, 0x88))), Fault.ENI_FULL),
        ],
        ids=lambda value: value.name if isinstance(value, Fault) else "",
    )
    def test_refusals_have_their_kind(self, client: Ec2Client, call: Assign, fault: Fault) -> None:
        failure = failure_of(client, call)
        assert failure.fault is fault
        assert "AssignIpv6Addresses on " in failure.text


class TestHolders:
    @pytest.mark.parametrize("address", [NEIGHBOUR_PRIMARY, NEIGHBOUR_SECONDARY, NEIGHBOUR_IPV6])
    def test_whoever_holds_an_address_is_found(self, client: Ec2Client, address: str) -> None:
        (holder,) = client.holders([ip(address)], worlds.SUBNETS[worlds.POD_CIDR])
        assert holder.eni_id == NEIGHBOUR
        assert holder.holds(ip(address))
        assert holder.holds_as_primary(ip(address)) is (address == NEIGHBOUR_PRIMARY)
        assert (holder.instance_id, holder.device_number) == (worlds.NEIGHBOUR_INSTANCE, 1)
        assert holder.description == "pods of node b"
        assert not holder.managed

    def test_in_another_subnet_it_is_another_address(self, client: Ec2Client) -> None:
        assert client.holders([ip(NEIGHBOUR_SECONDARY)], worlds.SUBNETS[worlds.OTHER_CIDR]) == ()

    def test_without_a_known_subnet_all_are_searched(self, client: Ec2Client) -> None:
        (holder,) = client.holders([ip(NEIGHBOUR_SECONDARY)], "")
        assert holder.eni_id == NEIGHBOUR

    def test_more_addresses_than_a_filter_takes_are_several_calls(
        self, client: Ec2Client, doubles: Doubles
    ) -> None:
        many = [ip(f"10.10.1.{n}") for n in range(6, 250)]
        holders = {eni.eni_id for eni in client.holders(many, worlds.SUBNETS[worlds.POD_CIDR])}
        assert holders == {ENI_1, TWIN, NEIGHBOUR}
        assert len(doubles.journal("DescribeNetworkInterfaces")) == 2


def test_an_eni_that_is_gone_can_not_be_described(client: Ec2Client) -> None:
    with pytest.raises(Ec2Error) as caught:
        client.describe("eni-0123456789abcdef0")
    assert caught.value.failure.fault is Fault.NO_ENI


def test_enis_are_found_by_their_macs(client: Ec2Client) -> None:
    (eni,) = client.by_mac([MAC_1, "5e:00:00:00:00:01"])
    assert (eni.eni_id, eni.mac, eni.device_number) == (ENI_1, MAC_1, 1)
    assert eni.subnet_id == worlds.SUBNETS[worlds.POD_CIDR]


@pytest.mark.parametrize(
    ("injected", "fault"),
    [
        (Injected(error="RequestLimitExceeded"), Fault.THROTTLED),
        (Injected(error="InternalError"), Fault.TRANSIENT),
        (Injected(error="Unavailable", status=503), Fault.TRANSIENT),
        (Injected(error="InvalidParameterValue", message="never heard of"), Fault.REFUSED),
        (Injected(error="BrandNewError"), Fault.UNKNOWN),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_one_call_is_one_attempt_whatever_goes_wrong(
    client: Ec2Client, doubles: Doubles, injected: Injected, fault: Fault
) -> None:
    doubles.put_faults(injected)
    assert failure_of(client, assign(A)).fault is fault
    assert len(doubles.journal("AssignPrivateIpAddresses")) == 1


def test_calls_of_several_threads_do_not_meet(client: Ec2Client, doubles: Doubles) -> None:
    # As the releases of a pod's two families at its end.
    client.assign(assign(A, B))
    doubles.put_faults(Injected(delay_ms=50))
    answers: dict[int, frozenset[IPAddress]] = {}

    def describe(number: int) -> None:
        answers[number] = frozenset(client.describe([ENI_1, ENI_2][number % 2]).addresses)

    threads = [threading.Thread(target=describe, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    of_eni_1, of_eni_2 = answers[0], answers[1]
    assert of_eni_1 >= {A, B}
    assert not of_eni_2 & {A, B}
    assert answers == {number: (of_eni_1, of_eni_2)[number % 2] for number in range(8)}


def test_a_silent_ec2_is_unreachable(client: Ec2Client, doubles: Doubles, connected: Connect) -> None:
    with pytest.MonkeyPatch.context() as hurry:
        hurry.setattr(ec2_calls, "READ_SECONDS", 0.05)
        with closing(connected(REGION, Credentials.CHAIN)) as hasty:
            doubles.put_faults(Injected(delay_ms=500, times=1))
            assert failure_of(hasty, assign(A)).fault is Fault.UNREACHABLE
    # The answer was lost, the effect was not: asking again is success.
    assert client.assign(assign(A)) == {A}


def test_a_closed_port_is_unreachable_and_named(settings: pytest.MonkeyPatch, connected: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    settings.setenv("AWS_ENDPOINT_URL_EC2", url)
    with closing(connected(REGION, Credentials.CHAIN)) as made:
        failure = failure_of(made, assign(A))
    assert failure.fault is Fault.UNREACHABLE
    assert url in failure.text


@pytest.mark.parametrize("url", ["http://ec2_double:8080", "nonsense", "http://127.0.0.1:99999"])
def test_an_endpoint_that_is_no_url_is_named(
    settings: pytest.MonkeyPatch, connected: Connect, url: str
) -> None:
    settings.setenv("AWS_ENDPOINT_URL_EC2", url)
    with pytest.raises(Ec2Error) as caught:
        connected(REGION, Credentials.CHAIN)
    assert caught.value.failure.fault is Fault.UNKNOWN
    assert "AWS_ENDPOINT_URL_EC2" in caught.value.failure.text


class TestIdentity:
    def test_a_refusal_for_lack_of_rights_names_identity_and_region_and_no_secret(
        self, settings: pytest.MonkeyPatch, connected: Connect
    ) -> None:
        settings.setenv("AWS_ACCESS_KEY_ID", worlds.READER)
        with closing(connected(REGION, Credentials.CHAIN)) as made:
            failure = failure_of(made, assign(A))
        assert failure.fault is Fault.NO_PERMISSION
        assert f"(credentials used: env; region: {REGION})" in failure.text
        assert "not authorized to perform: ec2:AssignPrivateIpAddresses" in failure.text
        assert "Encoded" not in failure.text
        assert worlds.SECRET not in failure.text

    @pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
    def test_a_line_break_in_credentials_is_named_and_they_are_not(
        self, settings: pytest.MonkeyPatch, doubles: Doubles, connected: Connect, name: str
    ) -> None:
        settings.setenv(name, "hidden\n")
        with closing(connected(REGION, Credentials.CHAIN)) as made:
            failure = failure_of(made, assign(A))
        assert failure.fault is Fault.NO_CREDENTIALS
        assert "line break" in failure.text
        assert "hidden" not in failure.text
        assert not doubles.journal("AssignPrivateIpAddresses")

    def test_unknown_keys_are_no_credentials(self, settings: pytest.MonkeyPatch, connected: Connect) -> None:
        settings.setenv("AWS_ACCESS_KEY_ID", "AKIAUNKNOWNEXAMPLE00")
        with closing(connected(REGION, Credentials.CHAIN)) as made:
            assert failure_of(made, assign(A)).fault is Fault.NO_CREDENTIALS

    def test_the_nodes_role_wins_over_the_environment_if_it_is_asked_for(
        self, settings: pytest.MonkeyPatch, doubles: Doubles, connected: Connect
    ) -> None:
        settings.setenv("AWS_ACCESS_KEY_ID", worlds.READER)
        with closing(connected(REGION, Credentials.NODE)) as made:
            assert made.identity == "iam-role"
            assert made.assign(assign(A)) == {A}
        assert ":assumed-role/node/" in (doubles.journal("AssignPrivateIpAddresses")[0].identity or "")

    @pytest.mark.parametrize("credentials", Credentials)
    def test_no_credentials_at_all(
        self, settings: pytest.MonkeyPatch, credentials: Credentials, connected: Connect
    ) -> None:
        settings.delenv("AWS_ACCESS_KEY_ID")
        settings.delenv("AWS_SECRET_ACCESS_KEY")
        settings.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with pytest.raises(Ec2Error) as caught:
            connected(REGION, credentials)
        assert caught.value.failure.fault is Fault.NO_CREDENTIALS

    def test_a_profile_that_does_not_exist_is_no_credentials(
        self, settings: pytest.MonkeyPatch, connected: Connect
    ) -> None:
        settings.setenv("AWS_PROFILE", "nowhere")
        with pytest.raises(Ec2Error) as caught:
            connected(REGION, Credentials.CHAIN)
        assert caught.value.failure.fault is Fault.NO_CREDENTIALS
        assert "nowhere" in caught.value.failure.text

    def test_a_role_for_service_accounts_that_refuses_is_no_credentials(
        self, settings: pytest.MonkeyPatch, tmp_path: Path, doubles: Doubles, connected: Connect
    ) -> None:
        token = tmp_path / "token"
        token.write_text("a-web-identity-token")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            settings.delenv(name)
        settings.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
        settings.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/app")
        # The double is no STS: it refuses the action, as STS does a role whose trust policy says no.
        settings.setenv("AWS_ENDPOINT_URL_STS", doubles.ec2_url)
        with closing(connected(REGION, Credentials.CHAIN)) as made:
            assert made.identity == "assume-role-with-web-identity"
            failure = failure_of(made, assign(A))
        assert failure.fault is Fault.NO_CREDENTIALS
        assert "AssumeRoleWithWebIdentity" in failure.text


def client_error(code: str, operation: str) -> aws.ClientError:
    return aws.ClientError({"Error": {"Code": code, "Message": "m"}}, operation)


@pytest.mark.parametrize(
    ("raised", "fault"),
    [
        (client_error("AccessDenied", "AssumeRoleWithWebIdentity"), Fault.NO_CREDENTIALS),
        (client_error("Throttling", "AssumeRoleWithWebIdentity"), Fault.THROTTLED),
        (aws.ClientError({}, "AssignPrivateIpAddresses"), Fault.UNKNOWN),
        (aws.CredentialRetrievalError(provider="p", error_msg="m"), Fault.NO_CREDENTIALS),
        (aws.NoCredentialsError(), Fault.NO_CREDENTIALS),
        (aws.ConnectTimeoutError(endpoint_url="u", error="e"), Fault.UNREACHABLE),
        (aws.SSLError(endpoint_url="u", error=OSError("e")), Fault.UNREACHABLE),
        (aws.ProxyConnectionError(proxy_url="u", error="e"), Fault.UNREACHABLE),
        (aws.ConnectionClosedError(endpoint_url="u", error="e"), Fault.UNREACHABLE),
        (aws.HTTPClientError(error="e"), Fault.UNREACHABLE),
        (ResponseParserError("no XML"), Fault.TRANSIENT),
        (aws.ParamValidationError(report="r"), Fault.UNKNOWN),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_error_of_botocore_has_a_kind(
    settings: pytest.MonkeyPatch, raised: Exception, fault: Fault
) -> None:
    def fail(**_: object) -> None:
        raise raised

    connection = BotocoreConnection(REGION, Credentials.CHAIN)
    settings.setattr(connection._client, "assign_private_ip_addresses", fail)  # noqa: SLF001 - the seam
    with closing(Ec2Client(connection)) as client:
        failure = failure_of(client, assign(A))
    assert failure.fault is fault
    assert "AssignPrivateIpAddresses on" in failure.text


class OtherServer:
    """What answers in EC2's place, or EC2 as it is not documented."""

    def __init__(self) -> None:
        self.answer = (200, "")
        self.later: list[tuple[int, str]] = []
        """The answers after the first; the last one stays."""

    def __call__(self, *_: object) -> tuple[int, str]:
        """Return the next answer."""
        answer = self.answer
        self.answer = self.later.pop(0) if self.later else answer
        return answer


@pytest.fixture
def other(settings: pytest.MonkeyPatch) -> Iterator[OtherServer]:
    made = OtherServer()
    with scripted_server(made) as served:
        settings.setenv("AWS_ENDPOINT_URL_EC2", served.url)
        yield made


def error_document(code: str) -> str:
    error = f"<Error><Code>{code}</Code><Message>EC2's sentence.</Message></Error>"
    return f"<?xml version='1.0'?><Response><Errors>{error}</Errors><RequestID>r</RequestID></Response>"


INTERFACES = "<networkInterfaceSet><item>{}</item></networkInterfaceSet>"
DESCRIBED = (
    "<DescribeNetworkInterfacesResponse><requestId>r</requestId>{}</DescribeNetworkInterfacesResponse>"
)
CALLS: dict[str, Callable[[Ec2Client], object]] = {
    "assign": lambda ec2: ec2.assign(assign(A)),
    "assign IPv6": lambda ec2: ec2.assign(assign(V6)),
    "unassign": lambda ec2: ec2.unassign(Unassign(ENI_1, (A,))),
    "describe": lambda ec2: ec2.describe(ENI_1),
    "by MAC": lambda ec2: ec2.by_mac([MAC_1]),
    "holders": lambda ec2: ec2.holders([A], "subnet-1"),
    "prefix holders": lambda ec2: ec2.prefix_holders([A], "subnet-1"),
    "subnets": lambda ec2: ec2.subnet_cidrs(["subnet-1"]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("answer", "fault", "says"),
    [
        ((200, "<html><body>Sign in<br></body></html>"), Fault.TRANSIENT, "it begins with b'<html>"),
        ((200, "<html><body><p>Welcome</p></body></html>"), Fault.TRANSIENT, "it begins with b'<html>"),
        ((200, ""), Fault.TRANSIENT, "the answer can't be read"),
        ((200, "<Whatever><return>false</return></Whatever>"), Fault.TRANSIENT, "the answer can't be read"),
        ((200, error_document("RequestLimitExceeded")), Fault.THROTTLED, "RequestLimitExceeded: EC2's"),
        ((200, error_document("UnauthorizedOperation")), Fault.NO_PERMISSION, "UnauthorizedOperation: EC2's"),
        ((403, "<html><h1>Forbidden</h1></html>"), Fault.UNREACHABLE, "HTTP 403 without an error of EC2's"),
        ((407, "<html><h1>Login</h1></html>"), Fault.UNREACHABLE, "HTTP 407 without an error of EC2's"),
        ((302, "<html><h1>There</h1></html>"), Fault.UNREACHABLE, "HTTP 302 without an error of EC2's"),
        ((400, error_document("RequestExpired")), Fault.NO_CREDENTIALS, "RequestExpired"),
        ((503, "down"), Fault.TRANSIENT, ""),
    ],
    ids=lambda value: f"{value[0]} {value[1][:60]}" if isinstance(value, tuple) else "",
)
def test_what_is_no_answer_of_ec2s_is_an_error_with_its_kind(
    other: OtherServer,
    call: Callable[[Ec2Client], object],
    answer: tuple[int, str],
    fault: Fault,
    says: str,
    connected: Connect,
) -> None:
    other.answer = answer
    with closing(connected(REGION, Credentials.CHAIN)) as ec2, pytest.raises(Ec2Error) as caught:
        call(ec2)
    failure = caught.value.failure
    assert failure.fault is fault
    assert says in failure.text
    if fault in (Fault.TRANSIENT, Fault.UNREACHABLE) and answer[0] < 500:
        assert "AWS_ENDPOINT_URL_EC2" in failure.remedy


@pytest.mark.parametrize(
    "contents",
    [
        "",
        INTERFACES.format("<subnetId>subnet-1</subnetId>"),
        INTERFACES.format(
            "<networkInterfaceId>eni-1</networkInterfaceId><privateIpAddress>x</privateIpAddress>"
        ),
        INTERFACES.format(
            "<networkInterfaceId>eni-1</networkInterfaceId>"
            "<attachment><deviceIndex>x</deviceIndex></attachment>"
        ),
    ],
    ids=["nothing", "an ENI without id", "an address that is none", "a number that is none"],
)
def test_an_answer_of_ec2s_that_lacks_what_it_must_have_is_an_error(
    other: OtherServer, contents: str, connected: Connect
) -> None:
    other.answer = 200, DESCRIBED.format(contents)
    with closing(connected(REGION, Credentials.CHAIN)) as ec2, pytest.raises(Ec2Error) as caught:
        ec2.attached("i-1")
    assert caught.value.failure.fault is Fault.TRANSIENT


def page(eni: str, token: str) -> tuple[int, str]:
    found = INTERFACES.format(f"<networkInterfaceId>{eni}</networkInterfaceId><unknown><item/></unknown>")
    return 200, DESCRIBED.format(f"{found}<nextToken>{token}</nextToken><soon>x</soon>")


@pytest.mark.parametrize("last", ["", "<nextToken></nextToken>"], ids=["no token", "an empty one"])
def test_an_answer_that_ec2_divides_unasked_is_read_to_its_end(
    other: OtherServer, last: str, connected: Connect
) -> None:
    other.answer = page("eni-1", "next")
    other.later = [page("eni-2", "last"), (200, DESCRIBED.format(f"<networkInterfaceSet/>{last}"))]
    with closing(connected(REGION, Credentials.CHAIN)) as ec2:
        assert [eni.eni_id for eni in ec2.attached("i-1")] == ["eni-1", "eni-2"]


@pytest.mark.parametrize("name", ["by MAC", "prefix holders"])
def test_pages_without_end_are_an_error(other: OtherServer, name: str, connected: Connect) -> None:
    other.answer = page("eni-1", "first")
    other.later = [page("eni-2", "second"), page("eni-3", "first")]
    with closing(connected(REGION, Credentials.CHAIN)) as ec2, pytest.raises(Ec2Error) as caught:
        CALLS[name](ec2)
    assert caught.value.failure.fault is Fault.TRANSIENT
    assert "a page points to an earlier one" in caught.value.failure.text


def test_a_long_message_is_cut(client: Ec2Client, doubles: Doubles) -> None:
    doubles.put_faults(Injected(error="InternalError", message="x" * 5000))
    assert len(failure_of(client, assign(A)).text) <= MAX_TEXT


def test_calls_are_counted_by_action_and_result(client: Ec2Client, doubles: Doubles) -> None:
    client.assign(assign(A))
    doubles.put_faults(Injected(error="RequestLimitExceeded", times=1))
    assert failure_of(client, assign(A)).fault is Fault.THROTTLED
    client.describe(ENI_1)
    assert dict(client.calls) == {
        ("AssignPrivateIpAddresses", "ok"): 1,
        ("AssignPrivateIpAddresses", "throttled"): 1,
        ("DescribeNetworkInterfaces", "ok"): 1,
    }


def test_an_eni_of_another_subnet_is_untouched(client: Ec2Client, doubles: Doubles) -> None:
    before = json.dumps(doubles.secondaries(ENI_2))
    client.assign(assign(A))
    assert json.dumps(doubles.secondaries(ENI_2)) == before


class TestInterruptible:
    """Waiting for calls that hear no signal."""

    def test_the_answer_is_the_calls_own(self) -> None:
        assert interruptible(lambda: 7, 10) == 7
        assert interruptible(lambda: None, 10) is None

    def test_an_interruptible_call_raises_the_functions_error(self) -> None:
        def fail() -> None:
            raise KeyError("a")

        with pytest.raises(KeyError, match="a"):
            interruptible(fail, 10)

    def test_a_call_that_takes_too_long_is_left_behind(self) -> None:
        over = threading.Event()
        with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
            interruptible(over.wait, 0.01)
        over.set()

    def test_a_signal_ends_the_waiting(self) -> None:
        over = threading.Event()

        def ring_and_wait() -> None:
            # To the process, as a timer does: the kernel prefers the main thread.
            os.kill(os.getpid(), signal.SIGALRM)
            over.wait()

        with InterruptingSignals(), pytest.raises(StopSignal):
            interruptible(ring_and_wait, 60)
        over.set()
