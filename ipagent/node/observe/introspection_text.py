"""`ipagent node status`: what the node's agent knows, as a document for machines and a text for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from common.version import VERSION
from ipagent.assign.plan import Item
from ipagent.assign.release import Pair
from ipagent.assign.selection import sort_key
from ipagent.node.gc.rules import Decision, Verdict
from ipagent.node.model.ownership import GcMode
from ipagent.node.model.pod import PodKey
from ipagent.node.observe.metrics import state_of

Document = dict[str, Any]


@dataclass(frozen=True)
class AgentState:
    """What the agent knows. `verdicts` are those of the last sweep, `swept` whether there was one."""

    node: str
    instance: str = ""
    watch_age: float | None = None
    items: tuple[Item, ...] = ()
    owners: Mapping[Pair, PodKey] = field(default_factory=dict)
    mode: GcMode = GcMode.REPORT
    swept: bool = False
    verdicts: tuple[Verdict, ...] = ()


def document(known: AgentState, now: float) -> Document:
    """Describe it; `now` is on the clock of the sweep."""
    items = sorted(known.items, key=lambda item: (item.eni_id, sort_key(item.address)))
    left = [each for each in known.verdicts if each.decision is not Decision.KEEP]
    kept = [each for each in known.verdicts if each.decision is Decision.KEEP]
    held = {(item.eni_id, item.address) for item in items}
    return {
        "version": VERSION,
        "node": known.node,
        "instance": known.instance,
        "watchAgeSeconds": None if known.watch_age is None else round(known.watch_age, 1),
        "addresses": [_address(item, known.owners) for item in items],
        "garbageCollection": {
            "mode": str(known.mode),
            "swept": known.swept,
            "leaked": [_verdict(each, now) for each in left],
            "kept": [_verdict(each, now) for each in kept if each.pair not in held],
        },
    }


def to_text(found: Document) -> str:
    """Write the document for people."""
    age = found["watchAgeSeconds"]
    heard = "never" if age is None else f"{age:g} s ago"
    where = f" on {found['instance']}" if found["instance"] else ""
    lines = [
        f"node:         {found['node']}{where}, ipagent {found['version']}",
        f"API server:   heard of {heard}",
        *_table("addresses", map(_address_line, found["addresses"])),
        *_garbage_collection(found["garbageCollection"]),
    ]
    return "\n".join(lines) + "\n"


def _garbage_collection(found: Document) -> Iterator[str]:
    mode = found["mode"]
    yield f"gc:           {mode}{'' if found['swept'] or mode == GcMode.OFF else ', no sweep so far'}"
    yield from _table("leaked", map(_verdict_line, found["leaked"]))
    yield from _table("kept", map(_verdict_line, found["kept"]))


def _table(title: str, rows: Iterable[str]) -> Iterator[str]:
    found = list(rows)
    yield f"{title + ':':13} {len(found)}"
    yield from (f"  {row}" for row in found)


def _address(item: Item, owners: Mapping[Pair, PodKey]) -> Document:
    pod = owners.get((item.eni_id, item.address))
    return {
        "address": str(item.address),
        "eni": item.eni_id,
        "interface": item.placement.holding.interface,
        "pod": str(pod) if pod else "",
        "state": state_of(item),
        "reason": item.failure.text if item.failure else "",
    }


def _address_line(each: Document) -> str:
    why = f": {each['reason']}" if each["reason"] else ""
    return f"{each['address']:15} {each['eni']}  {each['state']:8} {each['pod']}{why}"


def _verdict(each: Verdict, now: float) -> Document:
    return {
        "address": str(each.address),
        "eni": each.eni_id,
        "pod": str(each.pod) if each.pod else "",
        "why": str(each.why),
        "text": each.text,
        "dueInSeconds": None if each.until is None else max(0, round(each.until - now)),
    }


def _verdict_line(each: Document) -> str:
    due = each["dueInSeconds"]
    when = "" if due is None else f" (due in {due} s)" if due else " (due)"
    return f"{each['address']:15} {each['eni']}  {each['text']}{when}"
