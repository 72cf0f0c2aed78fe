"""EC2 and IMDS of one node over time, on a simulated clock, and the agent of a pod between them.

The agent's own client of IMDS asks over a connection in memory; EC2 answers in the terms of the agent's own
client. What IMDS shows and when is a `History` for each ENI, and `Disturbance` is what befalls its answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network
from typing import Any, NoReturn
from unittest.mock import patch

from botocore.exceptions import NoCredentialsError

from common.agent_settings import ENV_HOST_IP, Credentials, Takeover
from ipagent.assign.address_calls import Assign, Unassign
from ipagent.assign.addresses import IPAddress, IPNetwork, Link
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.assign.report import Report
from ipagent.assign.topology import EniDetails
from ipagent.aws.botocore_errors import failure_of
from ipagent.aws.http_messages import Response
from ipagent.aws.missing_credentials import SUCCESS, role_failure
from ipagent.aws.pod_cloud import PodCloud
from ipagent.direct import init
from ipagent.direct.agent import Agent
from ipagent.direct.sidecar import Follower
from tests.ipagent.fakes import ETH0, FakeSource, Lines, Time, agent, ip

NODE, OTHER_NODE = "i-1", "i-2"
REGION = "eu-central-1"
FOREIGN, PRIMARY_MAC = "5e:00:00:00:00:01", "02:aa:00:00:00:00"
TIMEOUT = 60
CIDRS: dict[str, tuple[IPv4Network, IPv6Network]] = {
    f"subnet-{number}": (IPv4Network(f"10.10.{number}.0/24"), IPv6Network(f"2001:db8:{number}::/64"))
    for number in (1, 2)
}
ALWAYS = 10_000.0
BEFORE = -100.0
ROLES = "/latest/meta-data/iam/security-credentials/"
KEYS = {
    "AccessKeyId": "AKIDEXAMPLE",
    "SecretAccessKey": "secret",
    "Token": "token",
    "Expiration": "2999-01-01T00:00:00Z",
}
MACS = "/latest/meta-data/network/interfaces/macs/"

HANG, RESET = "hang", "reset"
HOST = "10.10.0.1"
PRIMARY = EniDetails("eni-0", ip(HOST), (), instance_id=NODE, device_number=0, subnet_id="s", mac=PRIMARY_MAC)


@dataclass(frozen=True)
class History:
    """An ENI over time, in seconds after the pod's start: created and attached in EC2; in IMDS first in part,
    then whole, then with the ranges of its subnet, first that of IPv4.

    `silent` are seconds after the attachment in which EC2 itself does not show it; `leaving` is what EC2
    shows after the detach: nothing, `detaching`, or `elsewhere`. `late` are the names that IMDS shows last.
    `gap` is a time in which IMDS, which has shown it, does not. `kind` is its type in EC2, `owner` its tag.
    """

    number: int
    subnet: str = "subnet-1"
    created: float = 3 * BEFORE
    attached: float = BEFORE
    detached: float = ALWAYS
    partly: float = BEFORE
    whole: float = BEFORE
    ranged: float = BEFORE
    ranged_ipv6: float = BEFORE
    hidden: float = 2 * ALWAYS
    gap: tuple[float, float] = (ALWAYS, ALWAYS)
    silent: float = 0.0
    kind: str = "interface"
    owner: str = ""
    leaving: str = ""
    late: tuple[str, ...] = ("interface-id",)
    device: int = -1
    card: int = 0
    prefixes: tuple[IPNetwork, ...] = ()
    twin_of: int = 0
    """The number of another ENI with the same MAC, in another VPC; 0 for none."""

    @property
    def id(self) -> str:
        return f"eni-{self.number}"

    @property
    def mac(self) -> str:
        return f"02:aa:00:00:00:{self.twin_of or self.number:02x}"

    @property
    def device_number(self) -> int:
        return self.number if self.device < 0 else self.device

    @property
    def ours(self) -> bool:
        return self.kind == "interface" and not self.owner

    @property
    def stays(self) -> bool:
        """Whether EC2 shows it all the time."""
        return self.attached + self.silent <= 0 and self.detached == ALWAYS

    @property
    def settled(self) -> bool:
        """Whether IMDS, too, shows it as a whole well before the timeout, and for good."""
        ranged = max(self.ranged, self.ranged_ipv6)
        gone = self.gap if self.gap[0] < ALWAYS else (0.0, 0.0)
        return self.stays and max(ranged, gone[1]) < TIMEOUT / 2 and self.hidden >= ALWAYS

    def attached_at(self, now: float) -> bool:
        return self.attached + self.silent <= now < self.detached

    def described(self, now: float, held: Collection[IPAddress]) -> EniDetails:
        there = self.attached_at(now)
        gone = self.leaving if now >= self.detached else ""
        instance = NODE if there or gone == "detaching" else OTHER_NODE if gone == "elsewhere" else ""
        return EniDetails(
            self.id,
            ip(f"10.10.{self.subnet[-1]}.{self.number}"),
            tuple(held),
            instance_id=instance,
            device_number=self.device_number if instance else None,
            mac=self.mac,
            subnet_id=self.subnet,
            interface_type=self.kind,
            owner_tag=self.owner,
            detaching=gone == "detaching",
            network_card=self.card,
            prefixes=self.prefixes,
        )

    def names(self, now: float, held: Collection[IPAddress]) -> dict[str, str]:
        """Return what IMDS shows of it, by name; empty for nothing."""
        if not self.partly <= now < self.hidden or self.gap[0] <= now < self.gap[1]:
            return {}
        ipv4, ipv6 = CIDRS[self.subnet]
        primary = f"10.10.{self.subnet[-1]}.{self.number}"
        found = {
            "interface-id": self.id,
            "device-number": str(self.device_number),
            "network-card": str(self.card),
            "subnet-id": self.subnet,
            "local-ipv4s": "\n".join([primary, *(str(each) for each in held if each.version == 4)]),
            "ipv6s": "\n".join(str(each) for each in held if each.version == 6),
            "subnet-ipv4-cidr-block": str(ipv4) if self.ranged <= now else "",
            "subnet-ipv6-cidr-blocks": str(ipv6) if self.ranged_ipv6 <= now else "",
            "ipv4-prefix": "\n".join(str(each) for each in self.prefixes if each.version == 4),
        }
        late = () if self.whole <= now else self.late
        return {name: text for name, text in found.items() if text and name not in late}


@dataclass(frozen=True)
class Disturbance:
    """What IMDS answers in a time to requests whose `METHOD path` fits: a status, a body, HANG or RESET."""

    path: str
    answer: int | str
    since: float = BEFORE
    until: float = ALWAYS


@dataclass
class Account:
    """EC2 and IMDS of one node.

    `refused` makes EC2 refuse to describe ENIs, without `subnets` it refuses to describe these; `failing` of
    its first calls fail. `wrong` are the ENIs that were given addresses though they were not attached here,
    or not ours.
    """

    time: Time
    enis: tuple[History, ...]
    refused: bool = False
    subnets: bool = True
    failing: int = 0
    disturbances: tuple[Disturbance, ...] = ()
    tokens_end: float = ALWAYS
    """When IMDS forgets the tokens that it has given."""
    held: dict[str, set[IPAddress]] = field(default_factory=dict)
    begun: float = 0.0
    identity: str = "env"
    role: str | None = None
    """The `Code` of the node's role in IMDS, whose credentials EC2 is asked with; empty for no role. None
    where the pod has credentials of its own."""
    wrong: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    _tokens: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.begun = self.time.now
        self.held = {eni.id: set() for eni in self.enis}

    @property
    def now(self) -> float:
        return self.time.now - self.begun

    def _answer(self, *, allowed: bool) -> None:
        if self.failing:
            self.failing -= 1
            raise Ec2Error(Failure(Fault.THROTTLED, "RequestLimitExceeded"))
        if not allowed:
            raise Ec2Error(Failure(Fault.NO_PERMISSION, "UnauthorizedOperation"))

    def _describe(self) -> tuple[EniDetails, ...]:
        self.calls.append("DescribeNetworkInterfaces")
        self._answer(allowed=not self.refused)
        now = self.now
        return tuple(eni.described(now, self.held[eni.id]) for eni in self.enis if eni.created <= now)

    def attached(self, instance_id: str) -> tuple[EniDetails, ...]:
        return (PRIMARY, *(eni for eni in self._describe() if eni.instance_id == instance_id))

    def by_mac(self, macs: Collection[str]) -> tuple[EniDetails, ...]:
        return tuple(eni for eni in self._describe() if eni.mac in macs)

    def describe(self, eni_id: str) -> EniDetails:
        return next(eni for eni in self._describe() if eni.eni_id == eni_id)

    def holders(self, addresses: Collection[IPAddress], _: str) -> tuple[EniDetails, ...]:
        return tuple(eni for eni in (PRIMARY, *self._describe()) if any(map(eni.holds, addresses)))

    prefix_holders = holders

    def subnet_cidrs(self, subnet_ids: Collection[str]) -> dict[str, tuple[IPNetwork, ...]]:
        self.calls.append("DescribeSubnets")
        self._answer(allowed=self.subnets)
        return {each: CIDRS[each] for each in subnet_ids}

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        self.calls.append("Assign")
        eni = next(each for each in self.enis if each.id == call.eni_id)
        if not eni.ours or not eni.attached_at(self.now):
            self.wrong.append(eni.id)
        if not all(any(address in cidr for cidr in CIDRS[eni.subnet]) for address in call.addresses):
            raise Ec2Error(Failure(Fault.REFUSED, "does not fall within the subnet's address range"))
        others = [held for eni_id, held in self.held.items() if eni_id != call.eni_id]
        taking = call.allow_reassignment and call.addresses[0].version == 4
        if not taking and any(held.intersection(call.addresses) for held in others):
            raise Ec2Error(Failure(Fault.HELD_ELSEWHERE, "assigned, but move is not allowed"))
        for held in others:
            held.difference_update(call.addresses)
        self.held[call.eni_id].update(call.addresses)
        return frozenset(call.addresses)

    def unassign(self, call: Unassign) -> None:
        self.held[call.eni_id].difference_update(call.addresses)

    def close(self) -> None:
        pass

    def connect(self, region: str, _: Credentials, role_status: Callable[[], str]) -> Account:
        """Be botocore's connection, as soon as it finds the credentials of the node's role."""
        if not self._finds_credentials():
            failure = failure_of("credentials", NoCredentialsError(), "unknown", region)
            raise Ec2Error(role_failure(failure, "credentials", role_status))
        return self

    def _finds_credentials(self) -> bool:
        """Ask as botocore.utils.InstanceMetadataFetcher does: at once again where it gets no answer."""
        for _ in range(3):
            token = self.answer("PUT", "/latest/api/token", None)
            if token == HANG:
                self.time.sleep(2.0)
            found = self.answer("GET", f"{ROLES}node", str(token))
            if isinstance(found, str) and '"Success"' in found:
                return True
        return False

    # What IMDS answers.

    def answer(self, method: str, path: str, token: str | None) -> int | str:
        """Return a status without a body, or the body of an answer with 200."""
        now = self.now
        for each in self.disturbances:
            if each.since <= now < each.until and fnmatchcase(f"{method} {path}", each.path):
                return each.answer
        if method == "PUT":
            made = f"token-{len(self._tokens)}"
            self._tokens[made] = now
            return made
        given = self._tokens.get(token or "")
        if given is None or given < self.tokens_end <= now:
            return 401
        return self._values(now).get(path, 404)

    def _values(self, now: float) -> dict[str, str]:
        found = {
            "/latest/meta-data/mac": PRIMARY_MAC,
            "/latest/meta-data/instance-id": NODE,
            "/latest/meta-data/placement/region": REGION,
        }
        if self.role:
            keys = KEYS if self.role == SUCCESS else {}
            found |= {ROLES: "node", f"{ROLES}node": json.dumps({"Code": self.role, **keys})}
        primary = {
            "interface-id": "eni-0",
            "device-number": "0",
            "subnet-id": "s",
            "local-ipv4s": HOST,
        }
        entries = {PRIMARY_MAC: primary}
        entries |= {eni.mac: names for eni in self.enis if (names := eni.names(now, self.held[eni.id]))}
        found[MACS] = "\n".join(f"{mac}/" for mac in entries)
        for mac, names in entries.items():
            found |= {f"{MACS}{mac}/{name}": text for name, text in names.items()}
        return found


class Connection:
    """A connection to the IMDS of an account, in the place of HttpConnection; an answer takes no time."""

    TIMEOUT = 1.0
    begun = False

    def __init__(self, account: Account) -> None:
        self._account = account

    def request(self, method: str, path: str, headers: dict[str, str], *, max_bytes: int) -> Response:
        said = self._account.answer(method, path, headers.get("X-aws-ec2-metadata-token"))
        self.begun = said not in (HANG, RESET)
        if said == HANG:
            self._account.time.sleep(self.TIMEOUT)
            raise TimeoutError("timed out")
        if said == RESET:
            raise ConnectionResetError("reset")
        status, body = (said, b"") if isinstance(said, int) else (200, said.encode())
        assert len(body) <= max_bytes
        return Response(status, body, persists=True)

    def close(self) -> None:
        pass


class Unchanged:
    """A kernel in which nothing happens."""

    def wait(self, seconds: float | None, wakeup: int) -> NoReturn:
        raise AssertionError((seconds, wakeup))

    def removed(self) -> frozenset[IPAddress]:
        return frozenset()


@dataclass
class Run:
    """A pod whose net1 has a MAC and an address; `on` are the ENIs that have the address.

    `beside` is another address of net1.
    """

    account: Account
    mac: str
    address: IPAddress
    takeover: Takeover = Takeover.ALWAYS
    region: str = REGION
    """By the environment; empty where only IMDS tells it."""
    beside: str = ""
    host: str = HOST
    """The node's address by the downward API; empty as an older webhook leaves it."""
    interfaces: tuple[str, ...] = ("net1",)
    lines: Lines = field(default_factory=Lines)
    agent: Agent = field(init=False)

    def __post_init__(self) -> None:
        time, lines = self.account.time, self.lines
        env = {"AWS_REGION": self.region, ENV_HOST_IP: self.host}
        cloud = PodCloud(env, Credentials.CHAIN, lines.log, time.timing)
        if self.account.role is None:
            put_in: Any = self.account
            cloud._ec2 = put_in  # noqa: SLF001 - the wire
        link = Link(3, "net1", self.mac)
        held = [(link, address) for address in (str(self.address), self.beside) if address]
        source = FakeSource((ETH0, "10.10.0.21"), *held, links=(ETH0, link))
        given: dict[str, Any] = {"timeout": TIMEOUT, "interfaces": self.interfaces, "takeover": self.takeover}
        self.agent = agent(source, cloud, lines, time.timing, **given)

    def init(self) -> Report:
        time = self.account.time
        with self.connected():
            return init.run(self.agent, time.now + TIMEOUT, time.timing)

    def follow(self, seconds: float) -> None:
        """Let a sidecar follow for so long."""
        time = self.account.time
        with self.connected():
            follower, until = Follower(self.agent, Unchanged()), time.now + seconds
            while time.now < until:
                pause = follower.step()
                time.sleep(until - time.now if pause is None else min(pause, until - time.now))

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Let the agent's clients reach the account."""
        with (
            patch("ipagent.aws.imds_http.HttpConnection", lambda *_, **__: Connection(self.account)),
            patch("ipagent.aws.botocore_connection.BotocoreConnection", self.account.connect),
            patch("ipagent.aws.ec2_client.Ec2Client", lambda _connection: self.account),
        ):
            yield

    @property
    def on(self) -> set[str]:
        return {eni_id for eni_id, held in self.account.held.items() if self.address in held}
