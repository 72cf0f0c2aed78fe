"""The metadata client, against the strict double and against services that are odd."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import boto3
import pytest

from ipagent.assign.errors import BadImdsAnswer, NoImds
from ipagent.aws.http_connection import HttpConnection
from ipagent.aws.imds import Imds
from ipagent.aws.imds_http import DEFAULT_ENDPOINT, IPV6_ENDPOINT, MAX_BYTES, endpoint_of
from tests.doubles import Doubles, ManualClock
from tests.ipagent import worlds
from tests.ipagent.aws.ec2_query.raw_server import Sent, answer, raw_server
from tests.ipagent.aws.scripted_server import Answer, Script, ScriptedServer, scripted_server
from tests.ipagent.fakes import Time, ip
from tests.ipagent.worlds import ENI_0, ENI_1, ENI_2, MAC_0, MAC_1, MAC_2, TWIN

MACS = "/latest/meta-data/network/interfaces/macs/"
TOKEN = "/latest/api/token"


@contextmanager
def client(url: str, timeout: float = 5.0) -> Iterator[Imds]:
    with closing(Imds(url, Time().timing, timeout=timeout)) as imds:
        yield imds


@contextmanager
def scripted(
    script: Script, *, keep_alive: bool = True, timeout: float = 5.0
) -> Iterator[tuple[Imds, ScriptedServer]]:
    with scripted_server(script, keep_alive=keep_alive) as service, client(service.url, timeout) as imds:
        yield imds, service


class TestAgainstTheDouble:
    @pytest.mark.parametrize("http_tokens", ["required", "optional"])
    def test_the_nodes_enis(self, http_tokens: str) -> None:
        with Doubles(worlds.world(http_tokens=http_tokens)) as doubles, client(doubles.imds_url) as imds:
            topology = imds.topology()
        assert [(eni.id, eni.device_number) for eni in topology.enis] == [
            (ENI_0, 0),
            (ENI_1, 1),
            (ENI_2, 2),
            (TWIN, 3),
        ]
        assert topology.enis[1].mac == MAC_1
        assert topology.enis[1].subnet_id == worlds.SUBNETS[worlds.POD_CIDR]
        assert topology.enis[1].subnet_cidrs == (IPv4Network(worlds.POD_CIDR),)

    def test_elastic_ips_by_private_address(self) -> None:
        eip = {"id": "eipalloc-0a000000000000001", "public_ip": "198.51.100.1"}
        world = worlds.world() | {"elastic_ips": [eip]}
        with Doubles(world) as doubles, client(doubles.imds_url) as imds:
            assert imds.elastic_ips(MAC_1) == {}
            (key,) = (each for each in world["access_keys"] if "actions" not in each)
            ec2 = boto3.client(
                "ec2",
                endpoint_url=doubles.ec2_url,
                region_name=worlds.REGION,
                aws_access_key_id=key["id"],
                aws_secret_access_key=key["secret"],
            )
            ec2.associate_address(AllocationId=eip["id"], NetworkInterfaceId=ENI_1)
            primary = str(doubles.world.interfaces[ENI_1].primary)
            assert imds.elastic_ips(MAC_1) == {primary: "198.51.100.1"}

    def test_only_what_is_asked_for_is_read_if_all_of_it_is_there(self) -> None:
        with Doubles(worlds.world()) as doubles, client(doubles.imds_url) as imds:
            topology = imds.topology({MAC_2})
            asked = [call.action for call in doubles.journal()]
        assert [eni.id for eni in topology.enis] == [ENI_2]
        assert not any(MAC_0 in action for action in asked)

    def test_a_foreign_mac_has_imds_read_all_enis(self) -> None:
        with Doubles(worlds.world()) as doubles, client(doubles.imds_url) as imds:
            assert len(imds.topology({MAC_2, "5e:00:00:00:00:01"}).enis) == 4

    def test_region_and_addresses(self) -> None:
        with Doubles(worlds.world(secondaries=["10.10.1.80"])) as doubles, client(doubles.imds_url) as imds:
            assert imds.region() == worlds.REGION
            assert imds.addresses(MAC_1) == {ip("10.10.1.10"), ip("10.10.1.80")}
            assert imds.addresses("02:ff:00:00:00:00") == frozenset()

    def test_both_families(self) -> None:
        world = worlds.world(secondaries=["10.10.1.80"], ipv6s=["2001:db8:1::80"])
        with Doubles(world) as doubles, client(doubles.imds_url) as imds:
            (eni,) = imds.topology({MAC_1}).enis
            assert eni.subnet_cidrs == (IPv4Network(worlds.POD_CIDR), IPv6Network(worlds.POD_CIDR6))
            both = {ip("10.10.1.10"), ip("10.10.1.80"), ip("2001:db8:1::80")}
            assert imds.addresses(MAC_1) == both
            assert imds.addresses(MAC_1, {6}) == {ip("2001:db8:1::80")}
            assert imds.addresses(MAC_1, {4}) == both - {ip("2001:db8:1::80")}

    def test_one_token_serves_until_it_has_run_out_and_is_then_renewed(self) -> None:
        clock = ManualClock()
        with Doubles(worlds.world(), clock=clock) as doubles, client(doubles.imds_url) as imds:
            imds.topology()
            imds.region()
            assert len(doubles.journal(f"PUT {TOKEN}")) == 1
            clock.advance(22_000)
            assert imds.region() == worlds.REGION
            assert len(doubles.journal(f"PUT {TOKEN}")) == 2

    def test_a_hop_limit_of_1_is_named_with_its_remedy(self) -> None:
        with (
            Doubles(worlds.world(hop_limit=1)) as doubles,
            client(doubles.imds_url, 0.05) as imds,
            pytest.raises(NoImds, match="hop limit") as caught,
        ):
            imds.topology()
        assert "HttpPutResponseHopLimit to 2" in caught.value.remedy

    def test_a_switched_off_service_is_named(self) -> None:
        with (
            Doubles(worlds.world(http_endpoint="disabled")) as doubles,
            client(doubles.imds_url) as imds,
            pytest.raises(NoImds, match="HttpEndpoint"),
        ):
            imds.topology()


def tree(values: Mapping[str, str]) -> Script:
    def answer(method: str, path: str, _: dict[str, str]) -> Answer:
        if method == "PUT":
            return 200, "a-token"
        return (200, values[path]) if path in values else (404, "")

    return answer


ENI_VALUES = {
    MACS: f"{MAC_1}/\n",
    f"{MACS}{MAC_1}/interface-id": ENI_1,
    f"{MACS}{MAC_1}/device-number": "1",
    f"{MACS}{MAC_1}/subnet-id": "subnet-1",
}


@pytest.mark.parametrize("name", [MAC_1.upper(), MAC_1.replace(":", "-")])
def test_an_entry_is_read_by_the_name_that_imds_gives_it(name: str) -> None:
    values = {path.replace(MAC_1, name): value for path, value in ENI_VALUES.items()}
    values[MACS] = f"{name}/\r\n"
    values[f"{MACS}{name}/local-ipv4s"] = "10.10.1.10\r\n10.10.1.80\r\n"
    values[f"{MACS}{name}/ipv4-associations/"] = "198.51.100.1"
    values[f"{MACS}{name}/ipv4-associations/198.51.100.1"] = "10.10.1.80"
    with scripted(tree(values)) as (imds, _):
        (eni,) = imds.topology({MAC_1}).enis
        assert (eni.id, eni.mac) == (ENI_1, MAC_1)
        assert imds.addresses(MAC_1, {4}) == {ip("10.10.1.10"), ip("10.10.1.80")}
        assert imds.elastic_ips(MAC_1) == {"10.10.1.80": "198.51.100.1"}


ODD = {
    "nothing": (200, ""),
    "an empty line": (200, "\r\n"),
    "a page": (200, "<html><h1>Sign in</h1></html>"),
    "another script": (200, "\uff11"),
    "an object": (200, '{"code": 200}'),
    "redirected": (302, "elsewhere"),
    "unauthorized": (401, ""),
    "too many requests": (429, ""),
    "bad request": (400, "<?xml?>"),
}
WHOLE = ENI_VALUES | {
    f"{MACS}{MAC_1}/subnet-ipv4-cidr-block": "10.10.1.0/24",
    f"{MACS}{MAC_1}/network-card": "1",
    f"{MACS}{MAC_1}/ipv4-prefix": "10.10.1.16/28",
}
WITHOUT: dict[str, dict[str, Any]] = {
    "interface-id": {},
    "device-number": {},
    "subnet-id": {"subnet_id": ""},
    "subnet-ipv4-cidr-block": {"subnet_cidrs": ()},
    "network-card": {"network_card": 0},
    "ipv4-prefix": {"prefixes": ()},
}
"""What an entry is without a name that it need not have."""


@pytest.mark.parametrize("odd", ODD)
def test_whatever_imds_says_of_one_name_the_entry_is_right_or_counts_as_partial(odd: str) -> None:
    name = ""

    def answer(method: str, path: str, headers: dict[str, str]) -> Answer | None:
        odd_path = path == f"{MACS}{MAC_1}/{name}"
        return ODD[odd] if odd_path else tree(WHOLE)(method, path, headers)

    with scripted(answer) as (imds, _):
        (whole,) = imds.topology_as_shown({MAC_1}).enis
        for name, without in WITHOUT.items():
            found = imds.topology_as_shown({MAC_1})
            # And the next request is answered as before.
            assert imds.addresses(MAC_1) == frozenset()
            if not ODD[odd][1].strip() and ODD[odd][0] == 200 and without:
                assert found.enis == (replace(whole, **without),)
            else:
                assert (found.enis, set(found.partial)) == ((), {MAC_1}), name


PAGES = {
    "a page": "<html><head><title>Sign in</title></head><body>Please sign in</body></html>",
    "a page in another script": "<html><title>Bitte anmelden: \u00dcbersicht</title></html>",
    "no UTF-8": "\ufffd\ufffd\ufffd",
    "many words": " ".join(f"word-{number}" for number in range(2000)),
    "almost MACs": "02:aa:00:00:00/\n02:aa:00:00:00:0g/\n02aa.0000.0001\n02:aa:00:00:00:00:01/",
}


@pytest.mark.parametrize("page", PAGES)
def test_what_is_no_list_of_macs_has_nothing_else_asked_for(page: str) -> None:
    with scripted(lambda method, *_: (200, "a-token" if method == "PUT" else PAGES[page])) as (imds, service):
        assert imds.topology_as_shown({MAC_1}).enis == ()
        with pytest.raises(NoImds, match="lists no network interfaces"):
            imds.topology({MAC_1})
    assert service.asked == [f"PUT {TOKEN}", f"GET {MACS}", f"GET {MACS}"]


def test_between_other_lines_of_the_list_the_macs_are_found() -> None:
    values = ENI_VALUES | {MACS: f"\n\n{MAC_1}//\r\n  /\nmacs:\n"}
    with scripted(tree(values)) as (imds, _):
        assert [eni.mac for eni in imds.topology().enis] == [MAC_1]


@pytest.mark.parametrize("name", ["\u00fc", "a\x00b", "\x7f"])
def test_a_public_address_that_can_not_be_asked_for_is_an_error_and_no_crash(name: str) -> None:
    values = ENI_VALUES | {f"{MACS}{MAC_1}/ipv4-associations/": name}
    with scripted(tree(values)) as (imds, _), pytest.raises(NoImds, match="not one of its own"):
        imds.elastic_ips(MAC_1)


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_version_1_is_used_where_version_2_is_refused(status: int) -> None:
    tokens = []

    def answer(method: str, path: str, headers: dict[str, str]) -> Answer | None:
        tokens.append(headers.get("x-aws-ec2-metadata-token"))
        return (status, "") if method == "PUT" else tree(ENI_VALUES)(method, path, headers)

    with scripted(answer) as (imds, service):
        (eni,) = imds.topology().enis
    assert (eni.id, eni.device_number, eni.subnet_cidrs) == (ENI_1, 1, ())
    assert set(tokens) == {None}
    assert service.asked.count(f"PUT {TOKEN}") == 1


def test_a_list_that_is_cut_off_is_asked_for_again() -> None:
    listed = answer(b"10.10.1.10\n10.10.1.80")
    sent = [Sent(answer(b"a-token")), Sent(listed[:-3], hang_up=True), Sent(listed)]
    with raw_server(sent.__getitem__) as served, client(served.url) as imds:
        assert imds.addresses(MAC_1, {4}) == {ip("10.10.1.10"), ip("10.10.1.80")}
    assert len(served.requests) == 3


def test_a_connection_that_was_kept_too_long_is_made_anew() -> None:
    with scripted(tree(ENI_VALUES), keep_alive=False) as (imds, _):
        assert len(imds.topology().enis) == 1


def test_a_busy_service_is_asked_again() -> None:
    busy = iter([503, 429])

    def answer(method: str, path: str, headers: dict[str, str]) -> Answer | None:
        if method == "GET" and (status := next(busy, None)):
            return status, ""
        return tree(ENI_VALUES)(method, path, headers)

    with scripted(answer) as (imds, _):
        assert len(imds.topology().enis) == 1


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({MACS: ""}, "lists no network interfaces"),
        ({MACS: f"{MAC_1}/"}, "without its interface-id"),
        (ENI_VALUES | {f"{MACS}{MAC_1}/device-number": "one"}, "can't be read"),
        (ENI_VALUES | {f"{MACS}{MAC_1}/subnet-ipv4-cidr-block": "banana"}, "can't be read"),
        (ENI_VALUES | {f"{MACS}{MAC_1}/subnet-id": "x" * (MAX_BYTES + 1)}, "more than"),
    ],
    ids=["no interfaces", "no id", "device number", "range", "too large"],
)
def test_answers_that_make_no_sense_are_an_error_that_names_them(values: dict[str, str], says: str) -> None:
    with scripted(tree(values)) as (imds, _), pytest.raises(NoImds, match=says):
        imds.topology()


@pytest.mark.parametrize(
    "document", ["", "{}", "[]", "null", "{", '{"region": 7}', "[" * 5000], ids=lambda text: text[:10]
)
def test_a_document_without_region_is_an_error(document: str) -> None:
    values = {"/latest/dynamic/instance-identity/document": document}
    with scripted(tree(values)) as (imds, _), pytest.raises(NoImds, match="region") as caught:
        imds.region()
    assert "AWS_REGION" in caught.value.remedy


def test_the_region_of_a_document_with_more_in_it() -> None:
    values = {"/latest/dynamic/instance-identity/document": json.dumps({"region": "us-gov-west-1", "a": [1]})}
    with scripted(tree(values)) as (imds, _):
        assert imds.region() == "us-gov-west-1"


@pytest.mark.parametrize("token", ["", "two\nlines", "x" * 2000, "é"])
def test_a_token_that_could_not_be_sent_is_refused(token: str) -> None:
    with (
        scripted(lambda method, *_: (200, token) if method == "PUT" else (200, "")) as (imds, _),
        pytest.raises(NoImds, match="token"),
    ):
        imds.topology()


@pytest.mark.parametrize("status", [400, 401, 500])
def test_any_other_status_is_an_error(status: int) -> None:
    with (
        scripted(lambda method, *_: (200, "t") if method == "PUT" else (status, "")) as (imds, _),
        pytest.raises(NoImds, match=f"HTTP {status}"),
    ):
        imds.topology()


def test_a_token_service_that_is_down_is_an_error_and_no_reason_for_version_1() -> None:
    with scripted(lambda *_: (503, "")) as (imds, service), pytest.raises(NoImds, match="HTTP 503"):
        imds.topology()
    assert not any(asked.startswith("GET") for asked in service.asked)


def test_an_answer_that_never_comes_after_the_token_is_no_hop_limit() -> None:
    with (
        scripted(lambda method, *_: (200, "t") if method == "PUT" else None, timeout=0.05) as (imds, _),
        pytest.raises(NoImds, match="can't be reached"),
    ):
        imds.topology()


class Parts:
    """A socket by which parts of an answer come, and then an error."""

    def __init__(self, error: OSError, *parts: bytes) -> None:
        self._error, self._parts = error, iter(parts)

    def sendall(self, data: bytes) -> None:
        pass

    def recv(self, _size: int) -> bytes:
        if part := next(self._parts, None):
            return part
        raise self._error


@pytest.mark.parametrize("sent", [answer(b"a-token")[:-3], b"SSH-2.0-OpenSSH_9.6\r\n", b"H"])
def test_an_answer_that_can_not_be_read_is_no_hop_limit(sent: bytes) -> None:
    with raw_server(lambda _: Sent(sent, hang_up=True)) as served, client(served.url) as imds:
        with pytest.raises(BadImdsAnswer, match=f"{TOKEN} with what can't be used") as caught:
            imds.region()
        assert not imds.silent
    assert "hop limit is not the cause" in caught.value.remedy
    assert (caught.value.transient, caught.value.early) == (True, False)


@pytest.mark.parametrize("error", [TimeoutError("timed out"), ConnectionResetError("reset")])
def test_an_answer_that_does_not_go_on_is_no_hop_limit(
    error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HttpConnection, "connect", lambda _: Parts(error, answer(b"a-token")[:-3]))
    with client(DEFAULT_ENDPOINT) as imds:
        with pytest.raises(BadImdsAnswer, match=f"with what can't be used: {error}"):
            imds.region()
        assert not imds.silent


def test_a_closed_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with client(f"http://127.0.0.1:{port}") as imds, pytest.raises(NoImds, match="can't be reached"):
        imds.topology()


@pytest.mark.pure
@pytest.mark.parametrize(
    ("env", "endpoint"),
    [
        ({}, DEFAULT_ENDPOINT),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://10.0.0.1:1338/"}, "http://10.0.0.1:1338/"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}, IPV6_ENDPOINT),
        ({"AWS_EC2_METADATA_DISABLED": "false"}, DEFAULT_ENDPOINT),
    ],
)
def test_the_endpoint_is_found_as_the_sdks_find_it(env: dict[str, str], endpoint: str) -> None:
    assert endpoint_of(env) == endpoint


@pytest.mark.pure
def test_imds_can_be_switched_off() -> None:
    with pytest.raises(NoImds, match="AWS_EC2_METADATA_DISABLED"):
        endpoint_of({"AWS_EC2_METADATA_DISABLED": "True"})


@pytest.mark.pure
@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "169.254.169.254",
        "ftp://x",
        "http://",
        "http://x:banana",
        "http://[::1",
        "http://x/a b",
        "http://x y",
        "http://\u00fc",
        "http://x/\u00fc",
    ],
)
def test_an_endpoint_that_is_none_is_an_error(endpoint: str) -> None:
    with pytest.raises(NoImds, match="can't be used"):
        Imds(endpoint, Time().timing)
