"""The instance metadata service: the node's ENIs, region and instance id.

It lags behind EC2, both ways, and shows new entries in part: a name that is not there yet is a 404. Paths are
those of "Instance metadata categories" in the EC2 user guide.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_network

from common.shorten import shortened
from ipagent.assign.addresses import IPAddress, IPNetwork, canonical_mac, parse_address
from ipagent.assign.errors import BadImdsAnswer
from ipagent.assign.retry import Timing
from ipagent.assign.topology import Eni, Topology
from ipagent.aws.imds_http import ImdsConnection

MAX_SILENT_ENTRIES = 3

_MACS = "/latest/meta-data/network/interfaces/macs/"
_IDENTITY = "/latest/dynamic/instance-identity/document"
_REGION = "/latest/meta-data/placement/region"
_INSTANCE_ID = "/latest/meta-data/instance-id"
_PRIMARY_MAC = "/latest/meta-data/mac"
_ROLES = "/latest/meta-data/iam/security-credentials/"
_ADDRESSES = {4: "local-ipv4s", 6: "ipv6s"}
_CIDRS = ("subnet-ipv4-cidr-block", "subnet-ipv6-cidr-blocks")
_PREFIXES = ("ipv4-prefix", "ipv6-prefix")
_NO_INSTANCE_ID = (
    "Let no proxy or metadata emulation answer in place of IMDS. A node agent may be given "
    "MULTUS_ENI_INSTANCE_ID instead."
)
_OCTETS = 6
_MAC_LENGTH = 17
_HEX = frozenset("0123456789abcdef")


class Imds:
    """A client with one kept connection. `timeout` is in seconds, for connecting and for each answer."""

    def __init__(self, endpoint: str, timing: Timing, *, timeout: float = 1.0) -> None:
        self._connection = ImdsConnection(endpoint, timing, timeout=timeout)
        # As IMDS writes them, by MAC.
        self._names: dict[str, str] = {}

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @property
    def silent(self) -> bool:
        """Whether it has been asked, and has not answered once."""
        return self._connection.silent

    def region(self) -> str:
        """Return the node's region; raises NoImds."""
        return self._identity("region", _REGION, "Give the agent AWS_REGION.")

    def instance_id(self) -> str:
        """Return the node's instance id; raises NoImds."""
        return self._identity("instanceId", _INSTANCE_ID, _NO_INSTANCE_ID)

    def role_status(self) -> str:
        """Return the `Code` that stands with the credentials of the node's role; empty without a role.

        `Success` where they are there, else why IMDS has none ("Retrieve security credentials" in the EC2
        user guide). Raises NoImds.
        """
        document = self.role_document()
        if not document:
            return ""
        code = document.get("Code")
        if isinstance(code, str) and _is_name(code):
            return code
        raise BadImdsAnswer("IMDS shows no credentials of the node's role")

    def role_document(self) -> Mapping[str, object]:
        """Return what stands with the credentials of the node's role, empty without a role; raises NoImds."""
        role = next(iter(self._lines(_ROLES)), "")
        if not role:
            return {}
        # Of a page that something else answers with, nothing is asked for.
        text = self._get(_ROLES + role) if role.isascii() and "<" not in role else ""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict):
            return document
        raise BadImdsAnswer(f"IMDS shows no credentials of the node's role {shortened(role)!r}")

    def _identity(self, key: str, path: str, remedy: str) -> str:
        """Return a value of the identity document; where that lacks it or fails, the one at the path."""
        try:
            value = json.loads(self._get(_IDENTITY) or "{}")[key]
            if isinstance(value, str) and value:
                return value
        except (ValueError, TypeError, KeyError, RecursionError, BadImdsAnswer):
            pass
        value = self._get(path)
        if _is_name(value):
            return value
        raise BadImdsAnswer(f"IMDS gives no {key} in its identity document", remedy)

    def topology(self, macs: Collection[str] | None = None) -> Topology:
        """Read the node's ENIs; only those with these MACs if all of them are there.

        Raises NoImds, also where no ENI is shown well enough to be used.
        """
        found = self.topology_as_shown(macs)
        if not found.enis:
            raise BadImdsAnswer(next(iter(found.partial.values()), "IMDS lists no network interfaces"))
        return found

    def topology_as_shown(self, macs: Collection[str] | None = None) -> Topology:
        """Read the ENIs that are shown as a whole, and which are shown in part; raises NoImds.

        Only those with these MACs if all of them are there.
        """
        listed = [line.strip().rstrip("/") for line in self._lines(_MACS)]
        # A proxy or an emulation may answer with a page, of which each word would be asked for.
        known = self._names = {mac: name for name in listed if _is_mac(mac := canonical_mac(name))}
        chosen = {mac: known[mac] for mac in macs} if macs and set(macs) <= set(known) else known
        enis: list[Eni] = []
        partial: dict[str, str] = {}
        silences = 0
        for mac, name in chosen.items():
            try:
                enis.append(self._eni(mac, name))
            except BadImdsAnswer as error:
                # One entry that is not usable says nothing about the others; that IMDS is silent about one
                # after the other says that it is gone, which takes seconds to find out for each.
                silences = silences + 1 if error.silent else 0
                if silences > MAX_SILENT_ENTRIES:
                    raise
                partial[mac] = str(error)
            else:
                silences = 0
        return Topology(tuple(enis), partial=partial)

    def addresses(self, mac: str, versions: Collection[int] = (4, 6)) -> frozenset[IPAddress]:
        """Read the addresses of these families on the ENI with this MAC, the primaries among them."""
        names = [_ADDRESSES[version] for version in sorted(versions)]
        base = f"{_MACS}{self._names.get(mac, mac)}/"
        lines = [line for name in names for line in self._lines(base + name)]
        try:
            return frozenset(map(parse_address, lines))
        except ValueError as error:
            raise BadImdsAnswer(f"IMDS shows addresses of {mac} that can't be read: {error}") from None

    def elastic_ips(self, mac: str) -> dict[str, str]:
        """Read the Elastic IPs of the ENI with this MAC, by private address; raises NoImds."""
        base = f"{_MACS}{self._names.get(mac, mac)}/ipv4-associations/"
        return {self._get(base + public): public for public in self._lines(base)}

    def _eni(self, mac: str, name: str) -> Eni:
        base = f"{_MACS}{name}/"
        eni_id = self._get(base + "interface-id")
        if not eni_id:
            raise BadImdsAnswer(f"IMDS shows the interface {mac} without its interface-id")
        device_number = self._get(base + "device-number")
        if not device_number:
            raise BadImdsAnswer(f"IMDS shows the interface {mac} without its device-number")
        subnet_id = self._get(base + "subnet-id")
        card = self._get(base + "network-card")
        if not card and device_number == "0" and self._is_another_primary(mac):
            raise BadImdsAnswer(f"IMDS shows the interface {mac} without its network-card")
        try:
            return Eni(
                _id(eni_id),
                mac,
                _number(device_number),
                subnet_id and _id(subnet_id),
                self._networks(base, _CIDRS),
                # Instance types with a single network card show none.
                network_card=_number(card or "0"),
                prefixes=self._networks(base, _PREFIXES),
            )
        except ValueError as error:
            text = f"IMDS shows the interface {mac} in a way that can't be read: {error}"
            raise BadImdsAnswer(text) from None

    def _is_another_primary(self, mac: str) -> bool:
        """Whether IMDS names another MAC as that of the instance's primary interface."""
        primary = canonical_mac(self._get(_PRIMARY_MAC))
        return _is_mac(primary) and primary != mac

    def _networks(self, base: str, names: Iterable[str]) -> tuple[IPNetwork, ...]:
        return tuple(ip_network(line) for name in names for line in self._lines(base + name))

    def _lines(self, path: str) -> list[str]:
        return self._get(path).split()

    def _get(self, path: str) -> str:
        return self._connection.get(path)


def _is_name(value: str) -> bool:
    """Whether it may be an id or a region: what an emulation or a proxy answers to every path is none."""
    return value.isascii() and value.replace("-", "").isalnum()


def _is_mac(text: str) -> bool:
    """Whether it is the MAC of an Ethernet device, as `canonical_mac` writes it."""
    octets = text.split(":") if len(text) == _MAC_LENGTH else []
    return len(octets) == _OCTETS and all(len(each) == 2 and _HEX.issuperset(each) for each in octets)


def _id(text: str) -> str:
    """Read an id; raises ValueError."""
    if not _is_name(text):
        raise ValueError(f"{shortened(text)!r} is not an id")
    return text


def _number(text: str) -> int:
    """Read digits; raises ValueError."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{shortened(text)!r} is not a number")
    return int(text)
