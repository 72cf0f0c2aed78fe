"""The instance metadata service: the node's ENIs and region.

It lags behind EC2, both ways, and shows new entries in part: a name that is not there yet is a 404.

Paths and token rules are those of "Use the Instance Metadata Service" and "Instance metadata categories" in
the EC2 user guide. IMDSv2 with a token comes first; where the token request is answered with a refusal,
version 1 is used. A token request that is never answered means a hop limit of 1: the answer's packets die on
their way into the pod. That is an error with its remedy, and no reason to fall back.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_network
from urllib.parse import urlsplit

from ipagent.assign.addresses import IPAddress, IPNetwork, canonical_mac, parse_address
from ipagent.assign.errors import BadImdsAnswer, NoImds, SilentImds
from ipagent.assign.retry import Backoff, Clock
from ipagent.assign.topology import Eni, Topology
from ipagent.signals import Stop

DEFAULT_ENDPOINT = "http://169.254.169.254"
IPV6_ENDPOINT = "http://[fd00:ec2::254]"

MAX_BYTES = 1 << 16
MAX_TOKEN = 1024
MAX_NAME = 64
"""Characters of a wrong id that a message shows."""
MAX_SILENT_ENTRIES = 3
TOKEN_SECONDS = 21_600
"""The longest life that IMDS gives to a token."""

_MACS = "/latest/meta-data/network/interfaces/macs/"
_IDENTITY = "/latest/dynamic/instance-identity/document"
_REGION = "/latest/meta-data/placement/region"
_INSTANCE_ID = "/latest/meta-data/instance-id"
_PRIMARY_MAC = "/latest/meta-data/mac"
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
_TRIES = 3
_PACE = Backoff(0.1, 1.0)
# Besides 404 what proxies and emulations of IMDSv1 say to a PUT; 400 would be our own fault.
_NO_V2 = frozenset({403, 404, 405, 501})


def endpoint_of(env: Mapping[str, str]) -> str:
    """Return the service's URL by the AWS SDKs' variables; raises NoImds if it is switched off."""
    if env.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        raise NoImds("IMDS is switched off by AWS_EC2_METADATA_DISABLED")
    if endpoint := env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT"):
        return endpoint
    mode = env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "")
    return IPV6_ENDPOINT if mode.lower() == "ipv6" else DEFAULT_ENDPOINT


class Imds:
    """A client with one kept connection. `timeout` is in seconds, for connecting and for each answer."""

    def __init__(self, endpoint: str, timing: Clock, *, timeout: float = 1.0) -> None:
        self._endpoint = endpoint
        self._timing = timing
        self._token: str | None = None
        self._asked_for_token = False
        self._has_answered = False
        # As IMDS writes them, by MAC.
        self._names: dict[str, str] = {}
        try:
            parts = urlsplit(endpoint)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise NoImds(f"The IMDS endpoint {endpoint!r} can't be used: {error}") from None
        if parts.scheme != "http" or not host:
            raise NoImds(f"The IMDS endpoint {endpoint!r} can't be used: it is not an http:// URL")
        self._prefix = parts.path.rstrip("/")
        self._connection = http.client.HTTPConnection(host, port or 80, timeout=timeout)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def region(self) -> str:
        """Return the node's region; raises NoImds."""
        return self._identity("region", _REGION, "Give the agent AWS_REGION.")

    def instance_id(self) -> str:
        """Return the node's instance id; raises NoImds."""
        return self._identity("instanceId", _INSTANCE_ID, _NO_INSTANCE_ID)

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
        found = self.shown(macs)
        if not found.enis:
            raise BadImdsAnswer(next(iter(found.partial.values()), "IMDS lists no network interfaces"))
        return found

    def shown(self, macs: Collection[str] | None = None) -> Topology:
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
        """Return the value at a path, empty where there is none; raises NoImds."""
        status, text = 0, ""
        for attempt in range(_TRIES):
            status, text = self._ask("GET", path, self._token_headers())
            if status == 200:
                return text.strip()
            if status == 404:
                return ""
            if status == 401:
                # The token has run out, or the connection leads to another IMDS than before.
                self._asked_for_token = False
            elif status < 500 and status != 429:
                break
            else:
                self._pause(attempt)
        hint = ": is IMDS (HttpEndpoint) enabled on the node?" if status == 403 else ""
        raise _answered(f"IMDS at {self._endpoint} answers {path} with HTTP {status}{hint}", status)

    def _token_headers(self) -> dict[str, str]:
        if not self._asked_for_token:
            self._token = self._new_token()
            self._asked_for_token = True
        return {"X-aws-ec2-metadata-token": self._token} if self._token else {}

    def _new_token(self) -> str | None:
        """Ask for a session token; None where this IMDS knows version 1 only."""
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
        status = 0
        for attempt in range(_TRIES):
            status, text = self._ask("PUT", "/latest/api/token", headers)
            if status == 200:
                token = text.strip()
                if not (token.isascii() and token.isprintable() and 0 < len(token) <= MAX_TOKEN):
                    raise BadImdsAnswer("IMDS gave a token that can't be used")
                return token
            if status in _NO_V2:
                return None
            self._pause(attempt)
        raise _answered(f"IMDS at {self._endpoint} answers the token request with HTTP {status}", status)

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        """Send one request; a lost connection is made anew. Raises NoImds where no answer comes."""
        if not path.isascii():
            raise BadImdsAnswer(f"IMDS has given a name that is not one of its own: {path[-MAX_NAME:]!r}")
        problem: Exception | None = None
        for attempt in range(_TRIES):
            try:
                return self._exchange(method, path, headers)
            except (OSError, http.client.HTTPException) as error:
                problem = error
                self._connection.close()
                if not _kept_connection_ended(error):
                    self._pause(attempt)
            except Stop:
                # The answer is still to come: it must not be taken for that of another request.
                self._connection.close()
                raise
        if self._has_answered:
            lost = BadImdsAnswer(f"{self._no_answer('', problem)} (asked for {path}; it has answered others)")
            lost.silent = True
            raise lost
        raise SilentImds(self._no_answer(method, problem))

    def _exchange(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        self._connection.request(method, self._prefix + path, headers=headers)
        answer = self._connection.getresponse()
        self._has_answered = True
        data = answer.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            self._connection.close()
            raise BadImdsAnswer(f"IMDS answers {path} with more than {MAX_BYTES} bytes")
        return answer.status, data.decode("utf-8", "replace")

    def _pause(self, attempt: int) -> None:
        self._timing.sleep(_PACE.delay(attempt, self._timing.random()))

    def _no_answer(self, method: str, problem: Exception | None) -> str:
        if isinstance(problem, TimeoutError) and method == "PUT":
            return (
                f"IMDS at {self._endpoint} does not answer the token request within the time limit. Most "
                "likely the node's hop limit (HttpPutResponseHopLimit) is too low for pods"
            )
        return f"IMDS at {self._endpoint} can't be reached: {problem or 'no answer'}"


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
        raise ValueError(f"{text[:MAX_NAME]!r} is not an id")
    return text


def _number(text: str) -> int:
    """Read digits; raises ValueError."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text[:MAX_NAME]!r} is not a number")
    return int(text)


def _answered(text: str, status: int) -> BadImdsAnswer:
    error = BadImdsAnswer(text)
    error.silent = status >= 500 or status == 429
    # A token may have run out on its way; any other refusal is meant.
    error.passing = error.silent or status == 401
    return error


def _kept_connection_ended(error: Exception) -> bool:
    return isinstance(error, http.client.RemoteDisconnected | BrokenPipeError | ConnectionResetError)
