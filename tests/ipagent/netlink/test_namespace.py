"""The kernel's word: dumps and events of real namespaces, and what sockets may do on bad days."""

from __future__ import annotations

import _socket
import errno
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ipagent.netlink import rtnetlink
from ipagent.netlink.namespace import Netlink, NetlinkError
from tests.ipagent.fakes import ip
from tests.ipagent.namespace_probe import probe
from tests.netns import Node
from tests.netns_fixtures import node  # noqa: F401 - a fixture

MAC = "02:aa:00:00:00:01"
PROBE = "netlink.netlink_probe"


@pytest.mark.netns
class TestInAPod:
    def test_a_process_without_rights_reads_links_addresses_and_routes(self, node: Node) -> None:  # noqa: F811
        pod = node.pod()
        pod.add_interface("net1", mac=MAC, addresses=["10.10.1.80/24", "2001:db8::80/64"])
        with probe(pod, PROBE) as asked:
            seen = asked.ask("snapshot")
        assert seen["uid"] == 65534
        assert seen["macs"]["net1"] == MAC
        assert {("eth0", "10.10.0.21"), ("net1", "10.10.1.80"), ("net1", "2001:db8::80")} <= set(
            map(tuple, seen["addresses"])
        )
        assert ["eth0", "0.0.0.0/0"] in seen["routes"]
        assert ["eth0", "169.254.1.1/32"] in seen["routes"]

    def test_what_the_pod_has_made_is_told_from_what_was_moved_into_it(self, node: Node) -> None:  # noqa: F811
        pod = node.pod()
        pod.add_interface("net1", mac=MAC)
        pod.add_above("vrrp.51", "net1", mac="00:00:5e:00:01:33")
        pod.add_own("tun0")
        with probe(pod, PROBE) as asked:
            seen = asked.ask("snapshot")
        local = set(seen["local"])
        assert {"vrrp.51", "tun0"} <= local
        assert local.isdisjoint({"eth0", "net1"})
        assert seen["lower"] == {"vrrp.51": "net1"}

    def test_it_wakes_for_addresses_and_tells_which_went_away(self, node: Node) -> None:  # noqa: F811
        pod = node.pod()
        pod.add_interface("net1", mac=MAC, addresses=["10.10.1.80/24"])
        with probe(pod, PROBE) as asked:
            asked.ask("removed")
            pod.add_address("net1", "10.10.1.81/24")
            assert asked.ask("wait") is True
            assert asked.ask("removed") == []
            pod.delete_address("net1", "10.10.1.80/24")
            pod.add_address("net1", "10.10.1.80/24")
            assert asked.ask("wait") is True
            # Deleting the first address of a subnet takes its secondaries along.
            assert "10.10.1.80" in asked.ask("removed")
            assert ["net1", "10.10.1.80"] in asked.ask("snapshot")["addresses"]
            pod.delete_interface("net1")
            assert asked.ask("wait") is True
            assert "10.10.1.80" in asked.ask("removed")

    def test_it_wakes_for_an_interface_whose_mac_changes(self, node: Node) -> None:  # noqa: F811
        pod = node.pod()
        pod.add_interface("net1", mac=MAC)
        with probe(pod, PROBE) as asked:
            asked.ask("removed")
            pod.set_mac("net1", "02:aa:00:00:00:77")
            kinds: list[int] = []
            # The end of the detection of duplicates wakes it, too.
            while rtnetlink.RTM_NEWLINK not in kinds:
                assert asked.ask("wait") is True
                kinds = asked.ask("kinds")
            assert asked.ask("removed") == []
            assert asked.ask("snapshot")["macs"]["net1"] == "02:aa:00:00:00:77"

    def test_lost_events_are_made_good_by_a_snapshot(self, node: Node) -> None:  # noqa: F811
        pod = node.pod()
        pod.add_interface("net1", mac=MAC)
        with probe(pod, PROBE, "1") as asked:
            asked.ask("removed")
            for last in range(1, 201):
                pod.add_address("net1", f"10.10.1.{last}/24")
            assert asked.ask("wait") is True
            assert asked.ask("lost") > 0
            asked.ask("removed")
            held = {address for name, address in asked.ask("snapshot")["addresses"] if name == "net1"}
            assert {f"10.10.1.{last}" for last in range(1, 201)} <= held
            pod.add_address("net1", "10.10.2.1/24")
            assert asked.ask("wait") is True


def message(kind: int, sequence: int, body: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


DONE = rtnetlink.NLMSG_DONE
Reply = Callable[[int], bytes]


class FakeSocket:
    """A netlink socket that answers each request with the next of its scripts."""

    def __init__(self, *scripts: list[Reply]) -> None:
        self._scripts = list(scripts)
        self._waiting: list[tuple[bytes, int, int]] = []
        self.requests = 0

    def sendto(self, data: bytes, _: object) -> None:
        ((_, _, sequence, _),) = rtnetlink.messages(data)
        self.requests += 1
        self._waiting = [(reply(sequence), 0, 0) for reply in self._scripts.pop(0)]

    def put(self, data: bytes, *, flags: int = 0, sender: int = 0) -> None:
        self._waiting.append((data, flags, sender))

    def recvmsg(self, _: int) -> tuple[bytes, list[object], int, tuple[int, int]]:
        if not self._waiting:
            raise BlockingIOError
        data, flags, sender = self._waiting.pop(0)
        if data == b"lost":
            raise OSError(errno.ENOBUFS, "no buffer space")
        return data, [], flags, (sender, 0)

    def close(self) -> None:
        """Nothing to close."""


ADDRESS = struct.pack("=BBBBI", 2, 24, 0, 0, 3) + struct.pack("=HH", 8, 2) + bytes([10, 10, 1, 80])


@pytest.fixture
def reader() -> Iterator[Netlink]:
    with Netlink() as made:
        yield made


def dumping(reader: Netlink, *scripts: list[Reply]) -> FakeSocket:
    reader._dumps.close()  # noqa: SLF001 - the seam
    fake = FakeSocket(*scripts)
    reader._dumps = fake  # type: ignore[assignment] # noqa: SLF001 - the seam
    return fake


def hearing(reader: Netlink) -> FakeSocket:
    reader._events.close()  # noqa: SLF001 - the seam
    fake = FakeSocket()
    reader._events = fake  # type: ignore[assignment] # noqa: SLF001 - the seam
    return fake


def test_an_interrupted_dump_is_repeated(reader: Netlink) -> None:
    torn: list[Reply] = [
        lambda s: message(rtnetlink.RTM_NEWADDR, s, ADDRESS, rtnetlink.NLM_F_DUMP_INTR),
        lambda s: message(DONE, s, bytes(4)),
    ]
    whole: list[Reply] = [lambda s: message(rtnetlink.RTM_NEWADDR, s, ADDRESS) + message(DONE, s, bytes(4))]
    nothing: list[Reply] = [lambda s: message(DONE, s, bytes(4))]
    fake = dumping(reader, nothing, torn, torn, whole)
    (entry,) = reader.snapshot(routes=False).addresses
    assert entry.address == ip("10.10.1.80")
    assert fake.requests == 4


def test_a_dump_that_is_always_interrupted_is_an_error(reader: Netlink) -> None:
    torn: list[Reply] = [lambda s: message(DONE, s, bytes(4), rtnetlink.NLM_F_DUMP_INTR)]
    dumping(reader, *[torn] * 100)
    with pytest.raises(NetlinkError, match="changed during each"):
        reader.snapshot(routes=False)


@pytest.mark.parametrize(
    ("replies", "says"),
    [
        ([lambda s: message(rtnetlink.NLMSG_ERROR, s, struct.pack("=i", -errno.EPERM))], "not permitted"),
        ([lambda s: message(DONE, s, struct.pack("=i", -errno.EINVAL))], "Invalid argument"),
        ([lambda _: b"banana"], "cut off"),
        (
            [lambda s: message(rtnetlink.RTM_NEWLINK, s, b"????") + message(DONE, s, bytes(4))],
            "can't be read",
        ),
        ([], "failed"),
    ],
    ids=["refused", "ended by an error", "no message", "no link", "silence"],
)
def test_a_netlink_error_carries_the_kernels_text(reader: Netlink, replies: list[Reply], says: str) -> None:
    dumping(reader, replies, [lambda s: message(DONE, s, bytes(4))])
    with pytest.raises(NetlinkError, match=says):
        reader.snapshot(routes=False)


def test_answers_to_an_older_request_are_ignored(reader: Netlink) -> None:
    stale: list[Reply] = [
        lambda s: message(rtnetlink.RTM_NEWADDR, s - 1, ADDRESS),
        lambda s: message(DONE, s, bytes(4)),
    ]
    dumping(reader, stale, stale)
    assert reader.snapshot(routes=False).addresses == ()


def test_messages_of_other_processes_are_ignored(reader: Netlink) -> None:
    fake = hearing(reader)
    fake.put(message(rtnetlink.RTM_DELADDR, 0, ADDRESS), sender=4711)
    assert reader.removed() == frozenset()
    fake.put(message(rtnetlink.RTM_DELADDR, 0, ADDRESS))
    assert reader.removed() == {ip("10.10.1.80")}


def test_events_after_lost_ones_are_received(reader: Netlink) -> None:
    fake = hearing(reader)
    fake.put(b"lost")
    fake.put(message(rtnetlink.RTM_DELADDR, 0, ADDRESS))
    assert reader.removed() == {ip("10.10.1.80")}


@pytest.mark.parametrize(
    ("data", "flags"), [(b"banana", 0), (b"", socket.MSG_TRUNC)], ids=["no message", "cut off"]
)
def test_events_that_make_no_sense_are_an_error(reader: Netlink, data: bytes, flags: int) -> None:
    hearing(reader).put(data, flags=flags)
    with pytest.raises(NetlinkError):
        reader.removed()


def test_a_forbidden_socket_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object) -> socket.socket:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(_socket, "socket", forbid)
    with pytest.raises(NetlinkError, match="Permission denied") as caught:
        Netlink()
    assert "seccomp" in caught.value.remedy


def test_a_group_that_can_not_be_joined_leaves_no_socket_open(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stubborn(_socket.socket):
        def bind(self, address: Any) -> None:
            if address[1]:
                raise PermissionError(errno.EPERM, "Operation not permitted")
            super().bind(address)

    monkeypatch.setattr(_socket, "socket", Stubborn)
    with pytest.raises(NetlinkError, match="can't be bound"):
        Netlink()
