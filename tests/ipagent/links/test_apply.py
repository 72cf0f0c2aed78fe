"""Interfaces brought to what their NodeNetworks say, whatever state they are found in."""

from __future__ import annotations

import dataclasses
import errno
import io
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.agent_settings import LogFormat
from ipagent.links.apply import FIGHT, RETRY, LinkSetter
from ipagent.links.plan import (
    AddAltname,
    Change,
    DeleteAltname,
    LinkStatus,
    Rename,
    SetMtu,
    SetUp,
    WantedLink,
)
from ipagent.log import Log
from ipagent.netlink.devices import Device

pytestmark = pytest.mark.pure

MAC, OTHER = "02:aa:00:00:00:01", "02:aa:00:00:00:02"
ETH0 = Device(1, "eth0", (), "02:aa:00:00:00:00", up=True, mtu=9001)
DOWN = Device(2, "ens6", (), MAC, up=False, mtu=9001)
OAM = WantedLink("n1.oam", MAC, "oam")

Refuse = Callable[[Device, Change], int]


@dataclass
class InMemoryKernel:
    """Devices as the kernel keeps them: a name is unique among all names and alternative names."""

    found: list[Device]
    refuse: Refuse = lambda _device, _change: 0
    changes: list[Change] = field(default_factory=list)

    def devices(self) -> list[Device]:
        return list(self.found)

    def change(self, device: Device, change: Change) -> None:
        if code := self.refuse(device, change):
            raise OSError(code, "refused")
        self.changes.append(change)
        place = next(i for i, each in enumerate(self.found) if each.index == device.index)
        self.found[place] = self._changed(self.found[place], change)

    def _changed(self, device: Device, change: Change) -> Device:
        names = [name for each in self.found for name in each.names]
        match change:
            case SetUp():
                return dataclasses.replace(device, up=True)
            case SetMtu(mtu):
                return dataclasses.replace(device, mtu=mtu)
            case Rename(name):
                assert name not in names
                return dataclasses.replace(device, name=name)
            case AddAltname(name):
                assert name not in names
                return dataclasses.replace(device, altnames=(*device.altnames, name))
            case DeleteAltname(name):
                assert name in device.altnames
                return dataclasses.replace(
                    device, altnames=tuple(each for each in device.altnames if each != name)
                )

    def undo(self, **change: object) -> None:
        """Do what another program does to the second device."""
        self.found[1] = dataclasses.replace(self.found[1], **change)  # type: ignore[arg-type] # of many types


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def setter(kernel: InMemoryKernel, clock: Clock | None = None) -> LinkSetter:
    return LinkSetter(kernel, clock or Clock(), Log(form=LogFormat.JSON, stream=io.StringIO()))


@pytest.mark.parametrize(
    ("device", "wanted", "changes"),
    [
        (DOWN, OAM, [AddAltname("oam"), SetUp()]),
        (dataclasses.replace(DOWN, altnames=("oam",), up=True), OAM, []),
        (dataclasses.replace(DOWN, name="oam", up=True), OAM, []),
        (
            DOWN,
            dataclasses.replace(OAM, rename=True, mtu=1500),
            [Rename("oam"), SetMtu(1500), SetUp()],
        ),
        (
            dataclasses.replace(DOWN, altnames=("oam",)),
            dataclasses.replace(OAM, rename=True),
            [DeleteAltname("oam"), Rename("oam"), SetUp()],
        ),
        (
            dataclasses.replace(DOWN, altnames=("old",), up=True),
            dataclasses.replace(OAM, former="old"),
            [DeleteAltname("old"), AddAltname("oam")],
        ),
        (dataclasses.replace(DOWN, altnames=("theirs",), up=True), OAM, [AddAltname("oam")]),
    ],
)
def test_an_interface_gets_what_it_lacks_and_nothing_else(
    device: Device, wanted: WantedLink, changes: list[Change]
) -> None:
    kernel = InMemoryKernel([ETH0, device])
    (status,) = setter(kernel).apply([wanted])
    assert kernel.changes == changes
    assert kernel.found[0] == ETH0
    (set_up,) = kernel.found[1:]
    assert status == LinkStatus(MAC, set_up.name, up=True, mtu=set_up.mtu)
    assert "oam" in set_up.names


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ([ETH0], "no interface of the node has the MAC 02:aa:00:00:00:01"),
        ([ETH0, dataclasses.replace(DOWN, kind="ipvlan")], "no interface of the node has the MAC"),
        ([DOWN, dataclasses.replace(DOWN, index=3, name="ens7")], "several interfaces have the MAC"),
    ],
)
def test_an_interface_that_cannot_be_told_is_left_alone(devices: list[Device], message: str) -> None:
    kernel = InMemoryKernel(devices)
    (status,) = setter(kernel).apply([OAM])
    assert not kernel.changes
    assert message in status.message
    assert (status.name, status.up) == ("", False)


def test_devices_above_the_interface_have_its_mac_and_are_left_alone() -> None:
    vlan = dataclasses.replace(DOWN, index=3, name="ens6.100", kind="vlan", lower=2)
    kernel = InMemoryKernel([ETH0, DOWN, vlan])
    setter(kernel).apply([OAM])
    assert kernel.found[2] == vlan
    assert kernel.found[1].up


def test_a_name_that_another_interface_has_is_reported_and_the_rest_is_set_up() -> None:
    kernel = InMemoryKernel([dataclasses.replace(ETH0, altnames=("oam",)), DOWN])
    (status,) = setter(kernel).apply([OAM])
    assert "the name oam belongs to the interface eth0" in status.message
    assert status.name_owner == "eth0"
    assert status.up
    assert kernel.changes == [SetUp()]


def test_two_networks_that_want_one_name_are_told_who_has_it() -> None:
    kernel = InMemoryKernel([DOWN, dataclasses.replace(DOWN, index=3, name="ens7", hardware_address=OTHER)])
    first, second = setter(kernel).apply([OAM, WantedLink("n1.sig", OTHER, "oam")])
    assert (first.message, first.name_owner, second.name_owner) == ("", "", "ens6")
    assert f"the name oam belongs to the interface ens6 ({MAC})" in second.message


def test_where_the_kernel_refuses_to_rename_the_name_is_an_alternative_one() -> None:
    kernel = InMemoryKernel([ETH0, DOWN], lambda _, change: errno.EBUSY * isinstance(change, Rename))
    (status,) = setter(kernel).apply([dataclasses.replace(OAM, rename=True)])
    assert kernel.found[1].altnames == ("oam",)
    assert status.up
    assert (
        "oam is an alternative name of ens6, which is renamed when it is down the next time" in status.message
    )
    assert Rename("oam") not in kernel.changes


@pytest.mark.parametrize(
    ("refused", "code", "message"),
    [
        (SetMtu, errno.EINVAL, "ens6 does not take the MTU 99999: correct spec.link.mtu"),
        (
            SetUp,
            errno.EPERM,
            "setting up of ens6 is not permitted: the container needs the capability NET_ADMIN",
        ),
        (AddAltname, errno.EOPNOTSUPP, "adding the name oam of ens6 failed: Operation not supported"),
    ],
)
def test_a_refusal_is_reported_and_tried_again_later(refused: type[Change], code: int, message: str) -> None:
    clock, tries = Clock(), []

    def refuse(_: Device, change: Change) -> int:
        if isinstance(change, refused):
            tries.append(change)
            return code
        return 0

    links = setter(InMemoryKernel([ETH0, DOWN], refuse), clock)
    wanted = [dataclasses.replace(OAM, mtu=99999)]
    assert message in links.apply(wanted)[0].message
    assert message in links.apply(wanted)[0].message
    assert len(tries) == 1
    assert links.retry_in() == RETRY
    clock.now += RETRY
    assert message in links.apply(wanted)[0].message
    assert len(tries) == 2


def test_addresses_of_pods_on_the_node_are_reported_with_cause_and_remedy() -> None:
    wanted = dataclasses.replace(OAM, address="10.10.1.5")
    own = dataclasses.replace(DOWN, addresses=("10.10.1.5",))
    (status,) = setter(InMemoryKernel([ETH0, own])).apply([wanted])
    assert (status.message, status.host_addresses) == ("", ())
    aliased = dataclasses.replace(DOWN, addresses=("10.10.1.5", "10.10.1.80", "10.10.1.81"))
    (status,) = setter(InMemoryKernel([ETH0, aliased])).apply([wanted])
    assert status.host_addresses == ("10.10.1.80", "10.10.1.81")
    assert "the node itself has 10.10.1.80, 10.10.1.81 on ens6" in status.message
    assert "amazon-ec2-net-utils, nm-cloud-setup, cloud-init or DHCPv6 has put it there" in status.message
    assert "set nodeAgent.unmanageLinks" in status.message
    assert status.up
    both = dataclasses.replace(DOWN, addresses=("10.10.1.5", "2001:db8::5", "2001:db8::80"))
    first = dataclasses.replace(wanted, ipv6_addresses=("2001:db8::5",))
    (status,) = setter(InMemoryKernel([ETH0, both])).apply([first])
    assert status.host_addresses == ("2001:db8::80",)
    (status,) = setter(InMemoryKernel([ETH0, both])).apply([wanted])
    assert status.host_addresses == ("2001:db8::5", "2001:db8::80")
    # Which address is the ENI's own is not known before the controller has said it.
    (status,) = setter(InMemoryKernel([ETH0, aliased])).apply([OAM])
    assert status.host_addresses == ()


def test_what_another_program_undoes_again_and_again_is_left_alone_for_a_while() -> None:
    clock = Clock()
    kernel = InMemoryKernel([ETH0, DOWN])
    links = setter(kernel, clock)
    for _ in range(FIGHT):
        (status,) = links.apply([OAM])
        assert status.up
        clock.now += 1
        kernel.undo(up=False)
    (status,) = links.apply([OAM])
    assert not status.up
    assert "another program manages the interface" in status.message
    clock.now += RETRY
    assert links.apply([OAM])[0].up


def test_an_interface_that_comes_back_from_a_pod_is_set_up_again() -> None:
    clock = Clock()
    kernel = InMemoryKernel([ETH0, DOWN])
    links = setter(kernel, clock)
    for number in range(20):
        assert links.apply([OAM])[0].up
        taken = kernel.found.pop()
        assert links.apply([OAM])[0].message.startswith("no interface of the node has the MAC")
        kernel.found.append(dataclasses.replace(taken, index=10 + number, up=False))
        clock.now += 2
    assert [each for each in kernel.changes if isinstance(each, AddAltname)] == [AddAltname("oam")]


_NAMES = st.sampled_from(["eth0", "ens6", "oam", "sig", "old"])


@st.composite
def _devices(draw: st.DrawFn) -> list[Device]:
    names = draw(st.permutations(["eth0", "ens6", "ens7", "oam", "sig", "old"]))
    macs = draw(st.lists(st.sampled_from([MAC, OTHER, "02:aa:00:00:00:09"]), max_size=3))
    return [
        Device(
            index=place + 1,
            name=names[2 * place],
            altnames=tuple(names[2 * place + 1 : 2 * place + 1 + draw(st.integers(0, 1))]),
            hardware_address=mac,
            up=draw(st.booleans()),
            mtu=draw(st.sampled_from([1500, 9001])),
            kind=draw(st.sampled_from(["", "", "", "vlan"])),
        )
        for place, mac in enumerate(macs)
    ]


@given(
    _devices(),
    st.lists(
        st.builds(
            WantedLink,
            st.just("n1.x"),
            st.sampled_from([MAC, OTHER]),
            _NAMES,
            rename=st.booleans(),
            mtu=st.sampled_from([0, 1500]),
            former=st.sampled_from(["", "old"]),
        ),
        max_size=2,
        unique_by=(lambda each: each.mac, lambda each: each.name),
    ),
)
@settings(max_examples=150)
def test_each_interface_is_as_wanted_or_the_message_says_why(
    devices: list[Device], wanted: list[WantedLink]
) -> None:
    kernel = InMemoryKernel(list(devices))
    statuses = setter(kernel).apply(wanted)
    ours = {each.mac for each in wanted}
    for before, after in zip(devices, kernel.found, strict=True):
        if before.hardware_address not in ours or before.kind == "vlan":
            assert before == after
    for each, status in zip(wanted, statuses, strict=True):
        found = [device for device in kernel.found if device.hardware_address == each.mac and not device.kind]
        if status.message:
            continue
        (device,) = found
        assert status == LinkStatus(each.mac, device.name, up=True, mtu=each.mtu or device.mtu)
        assert device.mtu == status.mtu
        assert each.name == device.name if each.rename else each.name in device.names
    done = len(kernel.changes)
    assert setter(kernel).apply(wanted) == statuses
    assert len(kernel.changes) == done
