"""The hypervisor of a cluster's instances: an attached ENI is a link of its node, until it is detached.

As on EC2 the link appears some time after EC2 says `attached`, is down, and has a name of the kernel's
choice. Its other end is a port of the bridge of the ENI's subnet, in the network namespace of the cluster.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from tests.cluster.nodes.cloud import CloudControl
from tests.cluster.nodes.node import RealNode
from tests.cluster.nodes.plan import SUBNETS
from tests.cluster.nodes.sandbox import CommandError, Sandbox
from tests.cluster.processes import ProcessError

ROUND_SECONDS = 0.1
"""Between two looks at what is attached."""


@dataclass(frozen=True, slots=True)
class Plug:
    """A link to make: the ENI, the node that it is attached to, and the bridge of its subnet."""

    eni: str
    node: str
    mac: str
    bridge: str


@dataclass(frozen=True, slots=True)
class Link:
    """A link that is there: its name in the node, and that of its other end."""

    node: str
    name: str
    cable: str


@dataclass(slots=True)
class Slots:
    """Which links are there, and since when EC2 has called an ENI attached that has none. Pure."""

    delay: float
    links: dict[str, Link] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)

    def missing(self, wanted: Mapping[str, Plug], now: float) -> list[Plug]:
        """Return what has been attached for the delay and has no link."""
        self.since = {eni: self.since.get(eni, now) for eni in wanted if eni not in self.links}
        return [wanted[eni] for eni, since in self.since.items() if now - since >= self.delay]

    def superfluous(self, wanted: Mapping[str, Plug]) -> list[str]:
        """Return the ENIs whose links are to go: detached, deleted, or of a node that is down."""
        return [eni for eni, link in self.links.items() if eni not in wanted or wanted[eni].node != link.node]


def wanted_links(
    state: Mapping[str, Any], instances: Mapping[str, str], built_in: frozenset[str]
) -> dict[str, Plug]:
    """Return the links that a state of the double asks for, but those of ENIs that are built in.

    `instances` are the nodes that run, by instance.
    """
    bridges = {subnet.id: subnet.bridge for subnet in SUBNETS}
    return {
        eni["id"]: Plug(eni["id"], instances[eni["instance"]], eni["mac"], bridges[eni["subnet"]])
        for eni in state["interfaces"]
        if eni["status"] == "attached" and eni["instance"] in instances and eni["id"] not in built_in
    }


class Plugger:
    """Plugs ENIs in and out, from `with` to the end of its block; it looks every `round_seconds`.

    `links` says which link an ENI has in its node now. `link_delay` are the seconds from `attached` to the
    link; `seed` chooses the links' names.
    """

    def __init__(
        self,
        outer: Sandbox,
        url: str,
        nodes: Mapping[str, RealNode],
        *,
        link_delay: float = 0.0,
        seed: int = 0,
        round_seconds: float = ROUND_SECONDS,
    ) -> None:
        self._outer = outer
        self._url = url
        self._nodes = nodes
        self._slots = Slots(link_delay)
        self._random = random.Random(seed)
        self._round_seconds = round_seconds
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="plugger", daemon=True)
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(60)
        if self._thread.is_alive() or self._failure:
            raise RuntimeError("the plugger did not end as it should") from self._failure

    @property
    def links(self) -> Mapping[str, Link]:
        """ENI -> its link, of those that have been plugged in."""
        return dict(self._slots.links)

    def check(self) -> None:
        """Raise ProcessError where it has ended by itself."""
        if self._failure:
            raise ProcessError(f"the plugger has ended: {self._failure!r}")

    def _run(self) -> None:
        try:
            with CloudControl(self._url) as cloud:
                while not self._end.wait(self._round_seconds):
                    self._round(cloud.state())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that ends it
            self._failure = error

    def _round(self, state: Mapping[str, Any]) -> None:
        running = [node for node in self._nodes.values() if node.running]
        built_in = frozenset(eni.id for node in running for eni in node.plan.enis)
        wanted = wanted_links(state, {node.instance_id: node.name for node in running}, built_in)
        for eni in self._slots.superfluous(wanted):
            # A node that is down has taken its links along.
            with suppress(CommandError):
                self._outer.run("ip", "link", "delete", self._slots.links[eni].cable)
            del self._slots.links[eni]
        for plug in self._slots.missing(wanted, time.monotonic()):
            link = self._link(plug.node)
            # A node that has just been killed: the next round sees it.
            with suppress(CommandError):
                self._outer.run("ip", "-batch", "-", data=plug_line(plug, link))
                self._slots.links[plug.eni] = link

    def _link(self, node: str) -> Link:
        """Choose a name that no other link of the node has had at the same time, as udev does by PCI slot."""
        used = {link.name for link in self._slots.links.values() if link.node == node}
        while True:
            name = f"{self._random.choice(('ens', 'enp0s', 'eth'))}{self._random.randrange(10, 250)}"
            if name not in used:
                return Link(node, name, f"{node}-{name}")


def plug_line(plug: Plug, link: Link) -> str:
    """Write the line of `ip -batch` that makes a link: down in the node, up outside of it."""
    return (
        f"link add {link.cable} master {plug.bridge} up"
        f" type veth peer name {link.name} address {plug.mac} netns {plug.node}\n"
    )
