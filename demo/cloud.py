"""EC2 and IMDS: the strict doubles as a process of their own, and what they say about the node."""

from __future__ import annotations

import copy
import json
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from demo.failure import DemoError
from tests.cluster.processes import Process
from tests.netns import IMDS

EC2_PORT = 8080

# Proxies of the environment are not for what is local.
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))

State = dict[str, Any]


@dataclass(frozen=True)
class Eni:
    """An ENI of the node; `cidr` is its subnet's."""

    id: str
    mac: str
    device: int
    cidr: str
    primary: str
    secondaries: tuple[str, ...]

    @property
    def interface(self) -> str:
        """Its name on the node."""
        return f"eth{self.device}"


class Cloud:
    """The doubles at work, asked over their control interface."""

    def __init__(self, process: Process, ec2: str) -> None:
        self.ec2 = ec2
        self._process = process

    def state(self) -> State:
        """What EC2 has now, as the double says."""
        state: State = self._get("state")
        return state

    def ec2_calls(self) -> list[dict[str, Any]]:
        """The EC2 calls so far: action, params, result."""
        return [call for call in self._get("journal") if call["service"] == "ec2"]

    def tail(self) -> str:
        """The end of the doubles' log."""
        return self._process.tail(15)

    def _get(self, what: str) -> Any:
        self._process.check()
        with _DIRECTLY.open(f"{self.ec2}/_double/{what}", timeout=5) as response:
            return json.load(response)


@contextmanager
def cloud(world: Path, address: str, folder: Path) -> Iterator[Cloud]:
    """Run the doubles: EC2 on the node's address, IMDS where every instance finds it."""
    log = folder / "doubles.log"
    argv: list[str | Path] = [sys.executable, "-m", "tests.doubles", "--world", world.absolute()]
    argv += ["--ec2", f"{address}:{EC2_PORT}", "--imds", f"{IMDS}:80"]
    with Process("EC2 and IMDS doubles", argv, log=log) as process:
        urls = process.wait_until(lambda: _ready(log), "line that says where they listen", 20)
        yield Cloud(process, urls["ec2"])


def _ready(log: Path) -> dict[str, str] | None:
    for line in log.read_text(encoding="utf-8").splitlines():
        if line.startswith("{"):
            found: dict[str, str] = json.loads(line)
            return found
    return None


def enis(state: State) -> tuple[Eni, ...]:
    """The ENIs of the first instance, by device number."""
    cidrs = {subnet["id"]: subnet["cidr"] for subnet in state["subnets"]}
    mine = set(state["instances"][0]["interfaces"])
    return tuple(
        Eni(
            id=eni["id"],
            mac=eni["mac"],
            device=eni["device"],
            cidr=cidrs[eni["subnet"]],
            primary=eni["primary"],
            secondaries=tuple(eni["secondaries"]),
        )
        for eni in sorted(state["interfaces"], key=lambda eni: int(eni["device"]))
        if eni["id"] in mine
    )


def check(before: State, after: State, eni: Eni, address: str) -> None:
    """Raise DemoError unless `address` has become a secondary of `eni`, and nothing else has changed."""
    if ip_address(address) not in ip_network(eni.cidr):
        raise DemoError(f"{address} lies outside {eni.cidr}, the subnet of {eni.id}: EC2 can't have it there")
    expected, found = _addresses(before), _addresses(after)
    expected[eni.id] = (expected[eni.id][0], sorted({*expected[eni.id][1], address}, key=ip_address))
    holders = [holder for holder, (_, secondaries) in found.items() if address in secondaries]
    if holders != [eni.id]:
        raise DemoError(
            f"EC2 does not have {address} on {eni.id}: it has it on {', '.join(holders) or 'no ENI at all'}"
        )
    for holder, addresses in expected.items():
        if found.get(holder) != addresses:
            raise DemoError(
                f"EC2 has something else changed: {holder} has {found.get(holder)}, not {addresses}"
            )
    if _without_addresses(before) != _without_addresses(after):
        raise DemoError("EC2 has more changed than addresses: compare the states in --output json")


def _addresses(state: State) -> dict[str, tuple[str, list[str]]]:
    return {
        eni["id"]: (eni["primary"], sorted(eni["secondaries"], key=ip_address)) for eni in state["interfaces"]
    }


def _without_addresses(state: State) -> State:
    rest = copy.deepcopy(state)
    for eni in rest["interfaces"]:
        # What IMDS shows lags behind what EC2 has.
        del eni["secondaries"], eni["imds"]
    for subnet in rest["subnets"]:
        del subnet["free_addresses"]
    return rest
