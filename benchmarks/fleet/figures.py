"""What a run of a scenario came to, by when network-status was written and what EC2 was asked. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.common.percentiles import percentile

ASSIGN = "AssignPrivateIpAddresses"
THROTTLED = "RequestLimitExceeded"


@dataclass(frozen=True, slots=True)
class Written:
    """When a pod's network-status was sent to the API server and when it had answered (monotonic seconds).

    Where a whole fleet is to see it in one instant, both are that instant.
    """

    address: str
    sent: float
    answered: float


@dataclass(frozen=True, slots=True)
class Call:
    """A call that EC2 received, and what came of it."""

    at: float
    action: str
    result: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One scenario with one backend. Times are seconds.

    `p50`, `p99` and `longest` are of all pods that became routable, from their network-status on. `span` is
    from the first network-status to the last address assigned. `restarts` are of containers that failed.
    """

    scenario: str
    backend: str
    pods: int
    missing: int
    assigns: int
    other: int
    throttled: int
    p50: float
    p99: float
    longest: float
    span: float
    restarts: int = 0


def read_calls(journal: Iterable[Mapping[str, Any]]) -> tuple[Call, ...]:
    """Read the double's journal: the calls to EC2 in their order."""
    return tuple(
        Call(entry["monotonic"], entry["action"], entry["result"], _addresses(entry["params"]))
        for entry in journal
        if entry["service"] == "ec2"
    )


def _addresses(params: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(value for name, value in params.items() if name.startswith("PrivateIpAddress."))


def assigned_at(calls: Iterable[Call]) -> dict[str, float]:
    """Tell when each address was assigned first."""
    found: dict[str, float] = {}
    for call in calls:
        if call.action == ASSIGN and call.result == "ok":
            for address in call.addresses:
                found.setdefault(address, call.at)
    return found


def received_at(calls: Iterable[Call]) -> dict[str, float]:
    """Tell when EC2 was asked for each address first, whatever it answered."""
    found: dict[str, float] = {}
    for call in calls:
        if call.action == ASSIGN:
            for address in call.addresses:
                found.setdefault(address, call.at)
    return found


def outcome(
    scenario: str, backend: str, written: Sequence[Written], calls: Sequence[Call], restarts: int = 0
) -> Outcome:
    """Put together what came of a scenario; raises ValueError where nothing was assigned."""
    assigned = assigned_at(calls)
    waits = [assigned[each.address] - each.sent for each in written if each.address in assigned]
    if not waits:
        raise ValueError(f"{scenario}, {backend}: no address was assigned")
    counted = Counter(call.action for call in calls)
    first = min(each.sent for each in written)
    return Outcome(
        scenario,
        backend,
        pods=len(written),
        missing=len(written) - len(waits),
        assigns=counted[ASSIGN],
        other=counted.total() - counted[ASSIGN],
        throttled=sum(call.result == THROTTLED for call in calls),
        p50=percentile(waits, 0.5),
        p99=percentile(waits, 0.99),
        longest=max(waits),
        span=max(assigned[each.address] for each in written if each.address in assigned) - first,
        restarts=restarts,
    )


@dataclass(frozen=True, slots=True)
class Ended:
    """How a pod's injected container ended in the end: its exit code, and when (monotonic seconds)."""

    pod: str
    code: int
    at: float


@dataclass(frozen=True, slots=True)
class Starts:
    """The injected containers of pods that came at once. Times are seconds from their network-status on.

    `addresses` is SINGLE or PREFIXES; with `ec2_off` EC2 reset every connection. `failed` are pods whose
    container did not end with 0, `calls` those that EC2 had until the last had ended, whatever became of
    them. `cpu_ms` are the CPU milliseconds of all agents, which for the backend `node` are the node agents.
    """

    addresses: str
    backend: str
    ec2_off: bool
    pods: int
    failed: int
    calls: int
    throttled: int
    p50: float
    longest: float
    cpu_ms: float

    @property
    def name(self) -> str:
        """Return it in words."""
        off = ", EC2 off" if self.ec2_off else ""
        return f"{self.pods} pods at once, {self.addresses}, {self.backend}{off}"


SINGLE, PREFIXES = "single addresses", "prefixes"
NODE, DIRECT = "node", "direct"


def starts(  # noqa: PLR0913 - what it is of, by name
    ended: Sequence[Ended],
    calls: Sequence[Call],
    *,
    begin: float,
    cpu_ms: float,
    addresses: str,
    backend: str,
    ec2_off: bool = False,
) -> Starts:
    """Put together how containers ended that began at `begin`; raises ValueError where there were none."""
    waits = [each.at - begin for each in ended]
    return Starts(
        addresses,
        backend,
        ec2_off,
        pods=len(ended),
        failed=sum(each.code != 0 for each in ended),
        calls=len(calls),
        throttled=sum(call.result == THROTTLED for call in calls),
        p50=percentile(waits, 0.5),
        longest=max(waits),
        cpu_ms=cpu_ms,
    )


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds until EC2 has the call for a pod that comes alone, over `turns` of them.

    `p50`, `p99` and `longest` count from sending network-status to the API server, `answered` is the median
    from its answer on.
    """

    turns: int
    p50: float
    p99: float
    longest: float
    answered: float


def latency(written: Sequence[Written], calls: Sequence[Call]) -> Latency:
    """Compare; raises ValueError where EC2 was not asked for one of the addresses."""
    received = received_at(calls)
    if lost := [each.address for each in written if each.address not in received]:
        raise ValueError(f"EC2 was never asked for {', '.join(lost)}")
    sent = [(received[each.address] - each.sent) * 1000 for each in written]
    answered = [(received[each.address] - each.answered) * 1000 for each in written]
    return Latency(
        len(sent), percentile(sent, 0.5), percentile(sent, 0.99), max(sent), percentile(answered, 0.5)
    )


@dataclass(frozen=True, slots=True)
class Moves:
    """Milliseconds from a pod's statement of a floating address that another node has until EC2 moved it."""

    turns: int
    p50: float
    p99: float
    longest: float


def moves(sent: Sequence[tuple[str, float]], calls: Iterable[Call]) -> Moves:
    """Compare; `sent` are addresses, and when each was stated on another node (monotonic seconds).

    Raises ValueError where EC2 has not moved one.
    """
    given = [call for call in calls if call.action == ASSIGN and call.result == "ok"]
    waits = []
    for address, at in sent:
        moved = min((call.at for call in given if call.at >= at and address in call.addresses), default=None)
        if moved is None:
            raise ValueError(f"EC2 has not moved {address}")
        waits.append((moved - at) * 1000)
    return Moves(len(waits), percentile(waits, 0.5), percentile(waits, 0.99), max(waits))


@dataclass(frozen=True, slots=True)
class Failover:
    """A burst whose leader is killed; `recovered` are seconds from that to the last address assigned."""

    outcome: Outcome
    recovered: float


def failover(found: Outcome, killed: float, calls: Iterable[Call]) -> Failover:
    """Put together what came of it; raises ValueError where nothing was assigned after the leader's end."""
    after = [at for at in assigned_at(calls).values() if at > killed]
    if not after:
        raise ValueError("all addresses were assigned before the leader was killed")
    return Failover(found, max(after) - killed)


@dataclass(frozen=True, slots=True)
class Rest:
    """Node agents that have nothing to do: CPU milliseconds and context switches of one, a second."""

    seconds: float
    cpu_ms: float
    switches: float


@dataclass(frozen=True, slots=True)
class Crowd:
    """Megabytes of the node agents after a scenario: the largest peak RSS, and the mean PSS."""

    agents: int
    pods: int
    peak: float
    pss: float
