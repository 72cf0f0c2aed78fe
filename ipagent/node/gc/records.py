"""Ownership records: which pod had an address. Only a recorded address may be reclaimed.

A list of pods knows the addresses that pods started with; what is missing there may be a floating address in
use, or somebody else's. So an address counts as leaked only if it is recorded as a pod's own, by its
network-status. The records are kept on disk; what can't be read there counts as no record. Pure.

Thread: the main loop's, through Collector.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from ipagent.assign.addresses import IPAddress, parse_address
from ipagent.assign.release import Pair
from ipagent.node.model.pod import PodKey

VERSION = 1
MAX_RECORDS = 4096
"""A node of 15 ENIs with 50 addresses of each family has 1500."""
MAX_BYTES = 4 << 20
MAX_TEXT = 253
"""Characters of a name: a DNS subdomain (RFC 1123) has no more."""


class Origin(StrEnum):
    """How it is known that the address was the pod's."""

    NETWORK_STATUS = "network-status"
    CLAIM = "claim"
    """The pod claimed it, and its network-status does not name it: a floating address."""
    STATIC_POD = "static-pod"
    """By the network-status of a static pod's mirror: its containers go on when the mirror is gone."""


@dataclass(frozen=True, slots=True)
class OwnershipRecord:
    """The last pod that had an address; `since` is when that began, in seconds since the epoch."""

    pod: PodKey
    origin: Origin
    since: int


@dataclass(frozen=True)
class OwnershipRecords:
    """The last owner of each address, by ENI id and address."""

    entries: Mapping[Pair, OwnershipRecord] = field(default_factory=lambda: MappingProxyType({}))

    def updated(
        self,
        owners: Mapping[Pair, PodKey],
        floating: Collection[Pair] = frozenset(),
        now: float = 0.0,
        mirrors: Collection[PodKey] = frozenset(),
    ) -> OwnershipRecords:
        """Return the records with these owners; itself where nothing is new.

        `floating` are those of them that the pod's own network-status does not name, `mirrors` the pods that
        are mirrors of static pods. Where there are too many records, the oldest are dropped: no address is
        ever reclaimed for lack of a record.
        """
        fresh = {}
        for pair, pod in owners.items():
            if not (pod.namespace and pod.name and pod.uid):
                continue
            known = self.entries.get(pair)
            own = Origin.STATIC_POD if pod in mirrors else Origin.NETWORK_STATUS
            origin = Origin.CLAIM if pair in floating else own
            if known is None or known.pod != pod:
                fresh[pair] = OwnershipRecord(pod, origin, int(now))
            elif known.origin is not origin:
                fresh[pair] = OwnershipRecord(pod, origin, known.since)
        return _bounded({**self.entries, **fresh}) if fresh else self

    def without(self, pairs: Collection[Pair]) -> OwnershipRecords:
        """Return the records without these; itself where there are none of them."""
        if not any(pair in self.entries for pair in pairs):
            return self
        return OwnershipRecords(
            MappingProxyType({p: each for p, each in self.entries.items() if p not in pairs})
        )

    def withdraws(self, other: OwnershipRecords) -> bool:
        """Whether an address is not reclaimable here that is so by the other records: never to be lost."""
        return any(
            each.origin is Origin.NETWORK_STATUS
            and (mine := self.entries.get(pair)) is not None
            and mine.origin is not Origin.NETWORK_STATUS
            for pair, each in other.entries.items()
        )


def _bounded(entries: Mapping[Pair, OwnershipRecord]) -> OwnershipRecords:
    if len(entries) > MAX_RECORDS:
        newest = sorted(entries, key=lambda pair: (-entries[pair].since, pair[0], str(pair[1])))
        entries = {pair: entries[pair] for pair in newest[:MAX_RECORDS]}
    return OwnershipRecords(MappingProxyType(dict(entries)))


def encode(records: OwnershipRecords) -> bytes:
    """Write the records as a document that tells whether it is whole."""
    entries = [
        {
            "eni": eni_id,
            "address": str(address),
            "namespace": each.pod.namespace,
            "name": each.pod.name,
            "uid": each.pod.uid,
            "origin": each.origin.value,
            "since": each.since,
        }
        for (eni_id, address), each in records.entries.items()
    ]
    document = {"version": VERSION, "crc32": _checksum(entries), "records": entries}
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def decode(data: bytes) -> tuple[OwnershipRecords, str]:
    """Read what `encode` wrote; what can't be trusted gives no records, and a text that says why."""
    if len(data) > MAX_BYTES:
        return OwnershipRecords(), f"it has more than {MAX_BYTES} bytes"
    try:
        return _decoded(json.loads(data))
    except (ValueError, RecursionError):
        return OwnershipRecords(), "it is not JSON, or not all of it"


def _decoded(document: object) -> tuple[OwnershipRecords, str]:
    if not isinstance(document, dict) or not _whole(document.get("version")):
        return OwnershipRecords(), "it is not a record of this agent"
    if document["version"] != VERSION:
        return OwnershipRecords(), f"it has version {document['version']}, and this release knows {VERSION}"
    entries = document.get("records")
    if not isinstance(entries, list) or document.get("crc32") != _checksum(entries):
        return OwnershipRecords(), "it is damaged"
    return _read(entries)


def _read(entries: Iterable[object]) -> tuple[OwnershipRecords, str]:
    found = {}
    for entry in entries:
        try:
            pair, record = _entry(entry)
        except (KeyError, TypeError, ValueError):
            return OwnershipRecords(), "an entry can't be read"
        found[pair] = record
    return _bounded(found), ""


def _entry(entry: Any) -> tuple[Pair, OwnershipRecord]:
    names = [_text(entry[key]) for key in ("eni", "namespace", "name", "uid")]
    if not _whole(entry["since"]):
        raise TypeError("since")
    address: IPAddress = parse_address(_text(entry["address"]))
    return (names[0], address), OwnershipRecord(PodKey(*names[1:]), Origin(entry["origin"]), entry["since"])


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise TypeError("text")
    return value


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _checksum(entries: object) -> int:
    return zlib.crc32(json.dumps(entries, sort_keys=True, separators=(",", ":")).encode())
