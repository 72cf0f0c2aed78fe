"""The relay against an API server that applies requests and shows what a controller answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from common.kube.backoff import REST
from common.kube.client import Client
from common.kube.errors import ApiError, HangingWrite, Unreachable
from ipagent.assign.address_calls import Assign, Call, Move, Outcome, Unassign
from ipagent.assign.addresses import IPAddress
from ipagent.assign.cloud import Cloud
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.assign.executor import run
from ipagent.assign.release import release
from ipagent.assign.retry import Timing
from ipagent.assign.topology import EniDetails
from ipagent.call_relay import MAX_AGE, Action, RelayAnswer, RelayAnswers, RelayCall, RelayRequests
from ipagent.call_relay_status import NODE_RELAY_MANAGER, read_requests, responses_body
from ipagent.node.central.client import RelayClient
from ipagent.node.central.pauses import PAUSE
from ipagent.node.central.relay import LATE, CallRelay
from ipagent.node.central.standing_changes import GRACE, KEPT, MAX_STANDING
from ipagent.node.main import STUCK_SECONDS
from ipagent.node_network_api import ATTACHMENTS, of_node
from tests.common.kube.fake_api import FakeApi, Reply, Request
from tests.ipagent.fakes import Lines, ip

A, B, SIX = ip("10.10.1.81"), ip("10.10.1.82"), ip("2001:db8:1::81")
ASSIGN = RelayCall(0, Action.ASSIGN_IPV4, "eni-1", (A,))
DESCRIBE = RelayCall(0, Action.DESCRIBE, "eni-2")
SHOWN = EniDetails("eni-1", ip("10.10.1.5"), ())
PATIENCE = 0.3
GLIMPSE = 0.05
HANGS = ApiError(500, "InternalError", "failed calling webhook", "write")


def attachment(name: str, eni: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "resourceVersion": "1"},
        "spec": {"instanceID": "i-1"},
        "status": {"eni": eni, "device": 1, "subnet": "subnet-1"},
    }


def nobody(_: RelayRequests) -> RelayAnswers | None:
    return None


def succeed(requests: RelayRequests) -> RelayAnswers:
    """Answer all as a controller with every right."""
    return RelayAnswers(
        requests.session, tuple(RelayAnswer(call.id, frozenset(call.addresses)) for call in requests.calls)
    )


def only_eni_2(requests: RelayRequests) -> RelayAnswers | None:
    return succeed(requests) if requests.calls and requests.calls[0].eni == "eni-2" else None


@dataclass
class Wire:
    """NodeAttachments at the API server. `controller` answers each write of requests; None is silence."""

    controller: Callable[[RelayRequests], RelayAnswers | None] = succeed
    status: int = 200
    broken: str = ""
    """The NodeAttachment whose writes alone are answered with `status`; empty: all."""
    objects: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {
            name: attachment(name, eni) for name, eni in (("n1.oam", "eni-1"), ("n1.sig", "eni-2"))
        }
    )
    written: list[tuple[str, RelayRequests]] = field(default_factory=list)
    version: int = 1
    events: list[bytes] = field(default_factory=list)
    """One for each version from 2 on."""
    changed: threading.Condition = field(default_factory=threading.Condition)
    closed: bool = False

    def answer(self, request: Request) -> Reply:
        if request.method == "PATCH":
            return self._apply(request)
        assert request.parameters["labelSelector"] == of_node("n1")["labelSelector"]
        if request.parameters.get("watch"):
            return Reply(chunks=self._watched(int(request.parameters["resourceVersion"])))
        with self.changed:
            items, version = deepcopy([*self.objects.values()]), str(self.version)
        listed = {"kind": "NodeAttachmentList", "metadata": {"resourceVersion": version}, "items": items}
        return Reply(body=listed, keep=True)

    def _watched(self, version: int) -> Iterator[bytes]:
        while True:
            with self.changed:
                while not self.closed and self.version <= version:
                    self.changed.wait()
                if self.closed:
                    return
                chunk = b"".join(self.events[version - 1 :])
                version = self.version
            yield chunk

    def _apply(self, request: Request) -> Reply:
        assert request.parameters == {"fieldManager": NODE_RELAY_MANAGER, "force": "true"}
        name = request.path.removeprefix(f"{ATTACHMENTS}/").removesuffix("/status")
        if self.status != 200 and self.broken in ("", name):
            return Reply(self.status, {"reason": "Refused", "message": "no"}, keep=True)
        requests = read_requests(request.body["status"])
        assert requests is not None
        self.written.append((name, requests))
        self.show(name, requests=request.body["status"]["requests"])
        if answers := self.controller(requests):
            self.show(name, responses=responses_body(name, answers)["status"]["responses"])
        return Reply(keep=True)

    def show(self, name: str, **status: Any) -> None:
        """Change an object, as the watch shows it."""
        with self.changed:
            self.objects[name]["status"] |= status
            self._event("MODIFIED", name)

    def delete(self, name: str) -> None:
        with self.changed:
            self._event("DELETED", name)
            del self.objects[name]

    def _event(self, kind: str, name: str) -> None:
        self.version += 1
        found = self.objects[name]
        found["metadata"]["resourceVersion"] = str(self.version)
        self.events.append(json.dumps({"type": kind, "object": found}).encode() + b"\n")
        self.changed.notify_all()

    def close(self) -> None:
        """End the watches."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()


class Now:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        return self.now


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def make(wire: Wire, now: Now, tmp_path: Path) -> Iterator[Callable[..., CallRelay]]:
    """Make relays of the node n1, one for each run of its agent."""
    made: list[CallRelay] = []
    with FakeApi(tmp_path, wire.answer) as api:
        client = api.client(tmp_path, keep=5.0)
        log = Lines().log

        def start(patience: float = 10.0, grace: float = GRACE) -> CallRelay:
            timing = Timing(now.clock, time.sleep, lambda: 0.5)
            relay = CallRelay(client, "n1", log, timing, time.time, patience=patience, grace=grace)
            made.append(relay)
            relay.start()
            relay.attachments()
            return relay

        yield start
        for each in made:
            each.stop()
        wire.close()
        for each in made:
            each.join(5.0)
        client.close()


def test_an_answer_is_taken_as_soon_as_it_is_shown(wire: Wire, make: Callable[..., CallRelay]) -> None:
    relay = make()
    assert [each.eni for each in relay.attachments().values()] == ["eni-1", "eni-2"]
    (answer,) = relay.ask({"n1.oam": [ASSIGN]})["n1.oam"]
    assert (answer.addresses, answer.failure) == (frozenset({A}), None)
    ((name, requests),) = wire.written
    assert name == "n1.oam"
    assert abs((requests.time or 0) - time.time()) < 60


def test_several_node_attachments_are_asked_at_once(wire: Wire, make: Callable[..., CallRelay]) -> None:
    held: list[RelayRequests] = []

    def both(requests: RelayRequests) -> RelayAnswers | None:
        # Nothing is answered before everything has been asked for.
        held.append(requests)
        if len(held) < 2:
            return None
        wire.show("n1.oam", responses=responses_body("n1.oam", succeed(held[0]))["status"]["responses"])
        return succeed(requests)

    wire.controller = both
    found = make().ask({"n1.oam": [ASSIGN, ASSIGN], "n1.sig": [DESCRIBE]})
    assert {name: len(answers) for name, answers in found.items()} == {"n1.oam": 2, "n1.sig": 1}


def test_answers_to_a_former_run_or_another_call_are_not_taken(
    wire: Wire, make: Callable[..., CallRelay]
) -> None:
    first = make()
    first.ask({"n1.oam": [ASSIGN]})
    wire.controller = nobody
    second = make(PATIENCE)
    with pytest.raises(Ec2Error, match="has not answered"):
        second.ask({"n1.oam": [ASSIGN]})

    def late(requests: RelayRequests) -> RelayAnswers:
        return RelayAnswers(requests.session, (RelayAnswer(requests.calls[0].id - 1, frozenset({A})),))

    wire.controller = late
    with pytest.raises(Ec2Error, match="has not answered"):
        make(PATIENCE).ask({"n1.oam": [ASSIGN]})


def test_without_an_answer_the_request_is_withdrawn_and_the_remedy_names_the_controller(
    wire: Wire, now: Now, make: Callable[..., CallRelay]
) -> None:
    wire.controller = nobody
    relay = make(PATIENCE)
    with pytest.raises(Ec2Error) as raised:
        relay.ask({"n1.oam": [ASSIGN], "n1.sig": [DESCRIBE]})
    failure = raised.value.failure
    assert failure.fault is Fault.UNREACHABLE
    assert (
        "AssignPrivateIpAddresses on eni-1, DescribeNetworkInterfaces on eni-2: the controller"
        in failure.text
    )
    assert "controller runs and leads" in failure.remedy
    assert [(name, len(requests.calls)) for name, requests in wire.written] == [
        ("n1.oam", 1), ("n1.sig", 1), ("n1.oam", 0), ("n1.sig", 0)
    ]  # fmt: skip
    # Within the same turn nobody waits as long again.
    with pytest.raises(Ec2Error, match="has not answered"):
        relay.ask({"n1.sig": [DESCRIBE]})
    assert len(wire.written) == 4
    wire.controller = succeed
    now.now += PAUSE
    assert relay.ask({"n1.sig": [DESCRIBE]})["n1.sig"][0].failure is None


@pytest.mark.parametrize("gone", ["deleted", "detached"])
def test_a_node_attachment_that_goes_ends_the_wait(
    wire: Wire, make: Callable[..., CallRelay], gone: str
) -> None:
    def go(_: RelayRequests) -> None:
        if gone == "deleted":
            wire.delete("n1.oam")
        else:
            wire.show("n1.oam", device=None)

    wire.controller = go
    with pytest.raises(Ec2Error) as raised:
        make().ask({"n1.oam": [ASSIGN]})
    assert raised.value.failure.fault is Fault.NO_ENI


@pytest.mark.parametrize(
    ("status", "fault"),
    [(403, Fault.NO_PERMISSION), (404, Fault.NO_ENI), (409, Fault.UNREACHABLE), (500, Fault.UNREACHABLE)],
)
def test_a_write_that_fails_says_why(
    wire: Wire, make: Callable[..., CallRelay], status: int, fault: Fault
) -> None:
    relay = make()
    wire.status = status
    with pytest.raises(Ec2Error) as raised:
        relay.ask({"n1.oam": [ASSIGN]})
    assert raised.value.failure.fault is fault
    assert raised.value.failure.remedy


def test_a_node_attachment_that_can_not_be_written_holds_up_no_calls_for_others(
    wire: Wire, now: Now, make: Callable[..., CallRelay]
) -> None:
    relay = make()
    wire.status, wire.broken = 500, "n1.oam"
    with pytest.raises(Ec2Error) as raised:
        relay.ask({"n1.oam": [ASSIGN]})
    assert "names a webhook" in raised.value.failure.remedy
    assert relay.ask({"n1.sig": [DESCRIBE]})["n1.sig"][0].failure is None
    assert [relay.failing(name) for name in ("n1.oam", "n1.sig")] == [True, False]
    # Within the same turn it is not written again: that may take as long as a webhook may.
    wire.broken = "nobody"
    with pytest.raises(Ec2Error, match="500"):
        relay.ask({"n1.oam": [ASSIGN]})
    now.now += PAUSE
    assert relay.ask({"n1.oam": [ASSIGN]})["n1.oam"][0].failure is None
    assert not relay.failing("n1.oam")


def with_more(wire: Wire, count: int) -> list[str]:
    """Give the node so many NodeAttachments more; returns their names."""
    names = [f"n1.{number}" for number in range(count)]
    for name in names:
        wire.objects[name] = attachment(name, f"eni-{name}")
    return names


def test_a_node_attachment_that_can_not_be_written_hides_no_other(
    wire: Wire, now: Now, make: Callable[..., CallRelay]
) -> None:
    relay = make()
    wire.status, wire.broken = 500, "n1.oam"
    look = {"n1.oam": [DESCRIBE], "n1.sig": [DESCRIBE]}
    found = relay.ask(look)
    assert found["n1.sig"][0].failure is None
    (failed,) = found["n1.oam"]
    assert failed.failure is not None
    assert failed.failure.fault is Fault.UNREACHABLE
    assert "names a webhook" in failed.failure.remedy
    wire.status = 200
    now.now += PAUSE
    assert [each.failure for given in relay.ask(look).values() for each in given] == [None, None]


def test_many_that_hang_hold_up_one_look_for_two_of_them(
    wire: Wire, now: Now, make: Callable[..., CallRelay], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = with_more(wire, 8)
    relay, tries = make(), []
    applied = Client.apply

    def hang(client: Client, path: str, *arguments: Any, **more: Any) -> Any:
        if any(f"/{name}/" in path for name in names):
            tries.append(path)
            now.now += 15
            raise Unreachable("timed out")
        return applied(client, path, *arguments, **more)

    monkeypatch.setattr(Client, "apply", hang)
    look = {name: [DESCRIBE] for name in ("n1.sig", *names)}
    found = relay.ask(look)
    assert len(tries) == 2
    assert [name for name in look if found[name][0].failure is None] == ["n1.sig"]
    first, last = (found[name][0].failure for name in ("n1.0", "n1.7"))
    assert first is not None
    assert "names a webhook" in first.remedy
    assert last is not None
    assert "the requests of NodeAttachment n1.7 wait for others" in last.text
    # Within the same turn nothing else is written: it may take as long.
    with pytest.raises(Ec2Error, match="timed out"):
        relay.ask({"n1.sig": [DESCRIBE]})
    now.now += PAUSE
    assert relay.ask({name: [DESCRIBE] for name in ("n1.sig", "n1.0")})["n1.sig"][0].failure is None
    assert len(tries) == 2
    now.now += 15 * REST
    monkeypatch.undo()
    found = relay.ask({"n1.sig": [DESCRIBE], "n1.0": [DESCRIBE]})
    assert [each.failure for given in found.values() for each in given] == [None, None]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_requests_that_hang_while_reads_are_answered_are_not_put_down_to_the_nodes_network(
    wire: Wire, make: Callable[..., CallRelay], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    names, relay = with_more(wire, number), make()
    applied = Client.apply

    def hang(client: Client, path: str, *arguments: Any, **more: Any) -> Any:
        if any(f"/{name}/" in path for name in names):
            raise HangingWrite(f"cannot write {path}: it answers reads")
        return applied(client, path, *arguments, **more)

    monkeypatch.setattr(Client, "apply", hang)
    with pytest.raises(Ec2Error, match="it answers reads") as raised:
        relay.ask({name: [DESCRIBE] for name in names})
    assert "admission webhook whose rules have nodeattachments/status" in raised.value.failure.remedy
    # It takes others' requests at once.
    assert relay.ask({"n1.sig": [DESCRIBE]})["n1.sig"][0].failure is None


def test_an_answer_that_does_not_come_hides_no_other(wire: Wire, make: Callable[..., CallRelay]) -> None:
    """The controller can't write it, as the node agent can't write requests."""
    wire.controller = only_eni_2
    relay = make(PATIENCE)
    found = relay.ask({"n1.oam": [ASSIGN], "n1.sig": [DESCRIBE]})
    assert found["n1.sig"][0].failure is None
    (failed,) = found["n1.oam"]
    assert failed.failure is not None
    assert "AssignPrivateIpAddresses on eni-1: the controller has not answered" in failed.failure.text
    assert [(name, len(requests.calls)) for name, requests in wire.written] == [
        ("n1.oam", 1), ("n1.sig", 1), ("n1.oam", 0)
    ]  # fmt: skip
    with pytest.raises(Ec2Error, match="has not answered"):
        relay.ask({"n1.oam": [ASSIGN]})


def test_what_is_not_written_since_others_take_long_is_not_refused_itself(
    wire: Wire, now: Now, make: Callable[..., CallRelay], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = with_more(wire, 3)
    relay, applied = make(), Client.apply

    def refuse(client: Client, path: str, *arguments: Any, **more: Any) -> Any:
        if "/n1.sig/" in path:
            return applied(client, path, *arguments, **more)
        now.now += 10
        raise ApiError(403, "Forbidden", "denied the request", "write the requests of n1.1")

    monkeypatch.setattr(Client, "apply", refuse)
    (answer,) = relay.ask({name: [DESCRIBE] for name in ("n1.sig", *names)})["n1.2"]
    failure = answer.failure
    assert failure is not None
    assert failure.fault is Fault.UNREACHABLE
    assert failure.text.startswith("the requests of NodeAttachment n1.2 wait for others")


def test_several_late_answers_are_asked_for_again_soon(
    wire: Wire, now: Now, make: Callable[..., CallRelay]
) -> None:
    """A leader that ends after its first answer leaves the others to the next one."""
    names = with_more(wire, 3)

    def slow(requests: RelayRequests) -> RelayAnswers | None:
        # To withdraw them takes a while, too.
        now.now += 0 if requests.calls else 0.9
        return only_eni_2(requests)

    wire.controller = slow
    relay = make(PATIENCE)
    look = {"n1.sig": [DESCRIBE]} | {name: [replace(DESCRIBE, eni=f"eni-{name}")] for name in names}
    found = relay.ask(look)
    assert [name for name in look if found[name][0].failure is None] == ["n1.sig"]
    assert [name for name, requests in wire.written if not requests.calls] == names
    wire.controller = succeed
    now.now += PAUSE
    assert [each.failure for given in relay.ask(look).values() for each in given] == [None] * 4


@pytest.mark.parametrize("error", [Unreachable("timed out"), HANGS])
def test_an_api_server_that_falls_silent_after_the_first_answer_costs_no_turn_for_each_eni(
    wire: Wire, now: Now, make: Callable[..., CallRelay], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    names = with_more(wire, 9)
    wire.controller = only_eni_2
    relay, applied, begun = make(PATIENCE), Client.apply, now.now
    look = {"n1.sig": [DESCRIBE]} | {name: [replace(DESCRIBE, eni=f"eni-{name}")] for name in names}

    def fall_silent(client: Client, *arguments: Any, **more: Any) -> Any:
        if len(wire.written) < len(look):
            return applied(client, *arguments, **more)
        now.now += 15
        raise error

    monkeypatch.setattr(Client, "apply", fall_silent)
    assert relay.ask(look)["n1.sig"][0].failure is None
    # What the same turn wants beside that.
    with pytest.raises(Ec2Error):
        relay.ask({"n1.sig": [DESCRIBE], "n1.oam": [DESCRIBE]})
    assert now.now - begun + LATE < STUCK_SECONDS


def test_an_assign_that_is_never_answered_holds_up_the_other_enis_once(
    wire: Wire, now: Now, make: Callable[..., CallRelay]
) -> None:
    wire.controller = only_eni_2
    relay = make(PATIENCE)
    with pytest.raises(Ec2Error) as raised:
        relay.ask({"n1.oam": [ASSIGN]})
    assert "controller runs and leads" in raised.value.failure.remedy
    with pytest.raises(Ec2Error, match=r"waits for others.*eni-1: the controller has not answered") as raised:
        relay.ask({"n1.sig": [DESCRIBE]})
    assert raised.value.failure.pending
    assert relay.silences.keys() == {"n1.oam"}
    for _ in range(2):
        now.now += PAUSE
        assert relay.ask({"n1.sig": [DESCRIBE]})["n1.sig"][0].failure is None
        with pytest.raises(Ec2Error) as raised:
            relay.ask({"n1.oam": [ASSIGN]})
        assert "answers others" in raised.value.failure.remedy
        assert raised.value.failure.lasting
        now.now += PAUSE
        assert relay.ask({"n1.sig": [DESCRIBE]})["n1.sig"][0].failure is None


class Slow:
    """A controller that answers for eni-1 when it is told to, and what only looks at once."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.asked: list[RelayRequests] = []
        self.given: dict[int, RelayAnswer] = {}
        wire.controller = self

    def __call__(self, requests: RelayRequests) -> RelayAnswers | None:
        if requests.calls and requests.calls[0].eni == "eni-1":
            self.asked.append(requests)
            looks = (each for each in requests.calls if each.change is None)
            self.given |= {each.id: RelayAnswer(each.id, interfaces=(SHOWN,)) for each in looks}
            return RelayAnswers(
                requests.session,
                tuple(self.given[each.id] for each in requests.calls if each.id in self.given),
            )
        return succeed(requests)

    def answer(self, relay: CallRelay, failure: Failure | None = None) -> None:
        """Answer the last requests of eni-1, and wait until that is known."""
        requests = self.asked[-1]
        self.given |= {
            each.id: RelayAnswer(each.id, frozenset(each.addresses), (), failure) for each in requests.calls
        }
        answers = RelayAnswers(requests.session, tuple(self.given[each.id] for each in requests.calls))
        self.wire.show("n1.oam", responses=responses_body("n1.oam", answers)["status"]["responses"])
        # This answer is shown after it.
        assert relay.ask({"n1.sig": [DESCRIBE]})["n1.sig"][0].failure is None


def taken_off(requests: RelayRequests) -> RelayAnswers:
    """Answer a change, and show that its ENI has the address before it."""
    answers = (
        RelayAnswer(each.id, frozenset(each.addresses), (replace(SHOWN, secondaries=(A,)),))
        for each in requests.calls
    )
    return RelayAnswers(requests.session, tuple(answers))


def pending(relay: CallRelay, *calls: RelayCall) -> str:
    """Ask for calls by n1.oam that are not answered yet; returns what is said."""
    with pytest.raises(Ec2Error) as raised:
        relay.ask({"n1.oam": [*calls]})
    assert raised.value.failure.pending
    assert raised.value.failure.fault is Fault.UNREACHABLE
    assert "the controller's log" in raised.value.failure.remedy
    return raised.value.failure.text


def answer_to(relay: CallRelay, name: str, call: RelayCall) -> RelayAnswer:
    """Ask for a call until it is answered."""
    while True:
        try:
            return relay.ask({name: [call]})[name][0]
        except Ec2Error as error:
            if not error.failure.pending:
                raise


def test_a_change_that_is_not_answered_yet_holds_up_no_other_eni_and_is_not_sent_again(
    wire: Wire, make: Callable[..., CallRelay]
) -> None:
    slow = Slow(wire)
    relay = make(grace=GLIMPSE)
    assert pending(relay, ASSIGN) == "AssignPrivateIpAddresses on eni-1: the controller has not answered yet"
    assert answer_to(relay, "n1.sig", replace(ASSIGN, eni="eni-2")).failure is None
    pending(relay, ASSIGN)
    # Nothing else is changed on this ENI meanwhile.
    pending(relay, replace(ASSIGN, action=Action.UNASSIGN_IPV4))
    assert [name for name, _ in wire.written] == ["n1.oam", "n1.sig"]
    assert [replace(each, id=0) for each in relay.standing("n1.oam")] == [ASSIGN]
    slow.answer(relay)
    assert relay.ask({"n1.oam": [ASSIGN]})["n1.oam"][0].addresses == {A}
    assert (len(slow.asked), relay.standing("n1.oam")) == (1, ())


def test_a_look_is_made_beside_a_change_that_is_not_answered_yet(
    wire: Wire, make: Callable[..., CallRelay]
) -> None:
    slow = Slow(wire)
    relay = make(grace=GLIMPSE)
    pending(relay, ASSIGN)
    found = relay.ask({"n1.oam": [replace(DESCRIBE, eni="eni-1")], "n1.sig": [DESCRIBE]})
    assert [each.failure for given in found.values() for each in given] == [None, None]
    (change,), (same, look) = (each.calls for each in slow.asked)
    assert (same, look.action) == (change, Action.DESCRIBE)
    pending(relay, ASSIGN, *[DESCRIBE] * MAX_STANDING)
    pending(relay, *[replace(DESCRIBE, eni="eni-1")] * (MAX_STANDING + 1))
    slow.answer(relay)
    assert relay.ask({"n1.oam": [ASSIGN]})["n1.oam"][0].failure is None
    assert len(slow.asked) == 2


def test_what_has_come_since_is_sent_once_the_first_change_is_answered(
    wire: Wire, make: Callable[..., CallRelay]
) -> None:
    slow, more = Slow(wire), replace(ASSIGN, addresses=(ip("10.10.1.82"),))
    relay = make(grace=GLIMPSE)
    pending(relay, ASSIGN)
    pending(relay, ASSIGN, more)
    slow.answer(relay)
    wire.controller = succeed
    first, second = relay.ask({"n1.oam": [ASSIGN, more]})["n1.oam"]
    assert (first.addresses, second.addresses) == (frozenset({A}), frozenset(more.addresses))
    assert [replace(each, id=0) for each in wire.written[-1][1].calls] == [more]


def test_after_a_refusal_the_rest_is_not_sent(wire: Wire, make: Callable[..., CallRelay]) -> None:
    slow, more = Slow(wire), replace(ASSIGN, addresses=(ip("10.10.1.82"),))
    relay = make(grace=GLIMPSE)
    pending(relay, ASSIGN)
    slow.answer(relay, Failure(Fault.THROTTLED, "too many"))
    answers = relay.ask({"n1.oam": [ASSIGN, more]})["n1.oam"]
    assert [each.failure and each.failure.fault for each in answers] == [Fault.THROTTLED] * 2
    assert len(slow.asked) == 1
    with pytest.raises(Ec2Error, match="too many"):
        relay.ask({"n1.sig": [DESCRIBE]})


@pytest.mark.parametrize("same", [True, False])
def test_a_change_that_is_never_answered_is_withdrawn_and_the_next_one_is_not_waited_for(
    wire: Wire, now: Now, make: Callable[..., CallRelay], same: bool
) -> None:
    slow, other = Slow(wire), replace(ASSIGN, addresses=(B,))
    relay = make(patience=10.0, grace=GLIMPSE)
    pending(relay, ASSIGN)
    now.now += 10
    if same:
        with pytest.raises(Ec2Error, match="has not answered within 10 s") as raised:
            relay.ask({"n1.oam": [ASSIGN]})
        assert not raised.value.failure.pending
        assert wire.written[-1][1].calls == ()
    # What is asked for now takes its place, and nobody else is held up.
    pending(relay, other)
    assert [replace(each, id=0) for each in wire.written[-1][1].calls] == [other]
    assert relay.ask({"n1.sig": [DESCRIBE]})["n1.sig"][0].failure is None
    now.now += GRACE
    slow.answer(relay)
    assert relay.ask({"n1.oam": [other]})["n1.oam"][0].failure is None


def test_a_change_by_a_node_attachment_that_goes_is_forgotten(
    wire: Wire, make: Callable[..., CallRelay]
) -> None:
    Slow(wire)
    relay = make(grace=GLIMPSE)
    pending(relay, ASSIGN)
    wire.delete("n1.oam")
    assert relay.ask({"n1.sig": [DESCRIBE]})["n1.sig"][0].failure is None
    relay.ask({"n1.sig": [DESCRIBE]})
    assert relay.standing("n1.oam") == ()


def test_a_node_attachment_that_is_gone_has_no_other_rest_for_longer(
    wire: Wire, now: Now, make: Callable[..., CallRelay], monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.objects["n1.old"] = attachment("n1.old", "eni-3")
    relay, applied = make(), Client.apply

    def hang(client: Client, path: str, *arguments: Any, **more: Any) -> Any:
        if "/n1.sig/" in path:
            return applied(client, path, *arguments, **more)
        now.now += 10
        raise HANGS

    monkeypatch.setattr(Client, "apply", hang)
    assert relay.ask({"n1.old": [DESCRIBE], "n1.sig": [DESCRIBE]})["n1.old"][0].failure
    wire.delete("n1.old")
    now.now += PAUSE
    # This answer is shown after the deletion.
    assert relay.ask({"n1.sig": [DESCRIBE]})["n1.sig"][0].failure is None
    assert relay.ask({"n1.oam": [DESCRIBE], "n1.sig": [DESCRIBE]})["n1.oam"][0].failure
    monkeypatch.undo()
    now.now += 10 * REST
    assert relay.ask({"n1.oam": [DESCRIBE]})["n1.oam"][0].failure is None


def client_of(relay: CallRelay, now: Now) -> RelayClient:
    return RelayClient(relay, Timing(now.clock, time.sleep, lambda: 0.5))


def assign_of(*addresses: IPAddress) -> Assign:
    return Assign("eni-1", addresses, allow_reassignment=False)


def outcome(client: RelayClient, call: Call) -> Outcome:
    """Run a call that has one outcome."""
    (found,) = run(call, client)
    return found


class Soon(Slow):
    """Answers each change of eni-1 a while after it was asked for, those of `refused` with a refusal."""

    def __init__(self, wire: Wire, *refused: IPAddress) -> None:
        super().__init__(wire)
        self.refused = {*refused}

    def __call__(self, requests: RelayRequests) -> RelayAnswers | None:
        found = super().__call__(requests)
        if any(each.change is not None and each.id not in self.given for each in requests.calls):
            threading.Timer(2 * GLIMPSE, self.show, [requests]).start()
        return found

    def show(self, requests: RelayRequests) -> None:
        refusal = Failure(Fault.REFUSED, "one of them is refused")
        for each in requests.calls:
            refused = not self.refused.isdisjoint(each.addresses)
            listed = frozenset() if refused else frozenset(each.addresses)
            self.given[each.id] = RelayAnswer(each.id, listed, (), refusal if refused else None)
        answers = RelayAnswers(requests.session, tuple(self.given[each.id] for each in requests.calls))
        self.wire.show("n1.oam", responses=responses_body("n1.oam", answers)["status"]["responses"])


def test_pods_that_come_one_after_the_other_all_get_their_addresses_on_a_slow_eni(
    wire: Wire, now: Now, make: Callable[..., CallRelay]
) -> None:
    slow = Slow(wire)
    relay = make(grace=GLIMPSE)
    client = client_of(relay, now)
    with pytest.raises(Ec2Error, match="not answered yet"):
        client.assign(assign_of(A))
    now.now += GRACE
    slow.answer(relay)
    soon = Soon(wire)
    soon.given = slow.given
    assert client.assign(assign_of(A, B)) == {A, B}
    assert [each.addresses for asked in (*slow.asked, *soon.asked) for each in asked.calls] == [(A,), (B,)]


@pytest.mark.parametrize(
    "change", [replace(ASSIGN, action=Action.UNASSIGN_IPV4), replace(ASSIGN, allow_reassignment=True)]
)
def test_what_takes_an_address_off_an_eni_is_waited_for(
    wire: Wire, make: Callable[..., CallRelay], change: RelayCall
) -> None:
    """Whoever wants that looks first whose the address is, and acts on what comes of it."""
    Slow(wire)
    relay = make(PATIENCE, grace=GLIMPSE)
    with pytest.raises(Ec2Error, match="has not answered within") as raised:
        relay.ask({"n1.oam": [change]})
    assert not raised.value.failure.pending
    assert wire.written[-1][1].calls == ()
    assert relay.standing("n1.oam") == ()


def test_the_parts_of_a_batch_that_was_refused_are_waited_for(
    wire: Wire, now: Now, make: Callable[..., CallRelay]
) -> None:
    """The next time the batch begins from the start, and would never get beyond its first part."""
    slow = Slow(wire)
    relay = make(grace=GLIMPSE)
    client = client_of(relay, now)
    failure = outcome(client, assign_of(A, B)).failure
    assert failure is not None
    assert failure.pending
    now.now += GRACE
    slow.answer(relay, Failure(Fault.REFUSED, "one of them is refused"))
    soon = Soon(wire, B)
    soon.given = slow.given
    outcomes = [*run(assign_of(A, B), client)]
    assert [each.failure and each.failure.fault for each in outcomes] == [None, Fault.REFUSED]
    assert [each.call.addresses for each in outcomes] == [(A,), (B,)]
    Slow(wire)
    # What is a batch of its own is not waited for.
    pending(relay, replace(ASSIGN, addresses=(ip("10.10.1.83"),)))


def test_an_answer_is_there_for_who_looks_first_and_then_asks_again(
    wire: Wire, now: Now, make: Callable[..., CallRelay]
) -> None:
    """A throttled call is answered after long: dropped, it would be sent again at once, and again."""
    slow, move = Slow(wire), Move("eni-1", "subnet-1", (SIX,), allow_reassignment=False)
    relay = make(grace=GLIMPSE)
    client = client_of(relay, now)
    for _ in range(2):
        failure = outcome(client, move).failure
        assert failure is not None
        assert failure.pending
    now.now += 15.0 - LATE
    slow.answer(relay, Failure(Fault.THROTTLED, "too many"))
    failure = outcome(client, move).failure
    assert (failure and failure.fault, relay.standing("n1.oam")) == (Fault.THROTTLED, ())
    asked = {each.id: each.action for asked in slow.asked for each in asked.calls}
    assert [*asked.values()] == [Action.HOLDERS, Action.ASSIGN_IPV6]
    # The other ENIs wait for that, too, and no longer than a turn.
    with pytest.raises(Ec2Error, match="too many"):
        relay.ask({"n1.sig": [DESCRIBE]})


def test_who_looks_first_is_told_as_well_that_a_change_is_never_answered(
    wire: Wire, now: Now, make: Callable[..., CallRelay]
) -> None:
    Slow(wire)
    relay = make(patience=10.0, grace=GLIMPSE)
    client, move = client_of(relay, now), Move("eni-1", "subnet-1", (SIX,), allow_reassignment=False)
    assert outcome(client, move).failure
    now.now += 10.2
    failure = outcome(client, move).failure
    assert failure is not None
    assert not failure.pending
    assert "has not answered within 10 s" in failure.text
    assert wire.written[-1][1].calls == ()


def test_an_address_that_is_on_its_way_counts_as_possibly_there_when_its_pod_has_gone(
    wire: Wire, now: Now, make: Callable[..., CallRelay]
) -> None:
    """Not shown yet it would be called gone, and stay on the ENI once EC2 has carried it out."""
    slow, relay = Slow(wire), make(grace=GLIMPSE)
    client = client_of(relay, now)
    failure = outcome(client, assign_of(A)).failure
    assert failure is not None
    assert failure.pending
    (released,) = release(Unassign("eni-1", (A,)), cast(Cloud, client))
    assert released.failure is not None
    assert released.failure.pending
    assert client.describe("eni-1").arriving == (A,)
    slow.answer(relay)
    wire.controller = taken_off
    (released,) = release(Unassign("eni-1", (A,)), cast(Cloud, client))
    assert released.failure is None
    assert relay.standing("n1.oam") == ()


def test_the_answer_to_a_change_is_nobodys_after_a_minute(
    wire: Wire, now: Now, make: Callable[..., CallRelay]
) -> None:
    """Its pod has gone, and others may have the address now: it is sent for the next pod, and looks pass."""
    slow, relay = Slow(wire), make(grace=GLIMPSE)
    pending(relay, ASSIGN)
    slow.answer(relay)
    wire.controller = succeed
    now.now += MAX_AGE
    asked = len(wire.written)
    assert relay.standing("n1.oam") == ()
    assert relay.ask({"n1.oam": [replace(DESCRIBE, eni="eni-1")]})
    assert answer_to(relay, "n1.oam", ASSIGN).addresses == {A}
    assert len(wire.written) > asked + 1


@pytest.mark.parametrize("gone", [False, True])
def test_an_answer_is_kept_from_another_change_until_it_is_taken_or_its_pod_has_gone(
    wire: Wire, now: Now, make: Callable[..., CallRelay], gone: bool
) -> None:
    slow, other = Slow(wire), replace(ASSIGN, addresses=(B,))
    relay = make(grace=GLIMPSE)
    pending(relay, ASSIGN)
    slow.answer(relay)
    pending(relay, other)
    assert len(slow.asked) == 1
    if gone:
        now.now += KEPT
    else:
        assert relay.ask({"n1.oam": [ASSIGN]})["n1.oam"][0].addresses == {A}
    wire.controller = succeed
    assert answer_to(relay, "n1.oam", other).addresses == {B}
    assert [replace(each, id=0) for each in wire.written[-1][1].calls] == [other]


def test_requests_that_hang_one_by_one_hold_up_a_turn_for_one_of_them(
    wire: Wire, now: Now, make: Callable[..., CallRelay], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each costs a timeout, and another one to withdraw it."""
    names = with_more(wire, 5)
    relay, begun, tries = make(), now.now, []
    applied = Client.apply

    def hang(client: Client, path: str, *arguments: Any, **more: Any) -> Any:
        if not any(f"/{name}/" in path for name in names):
            return applied(client, path, *arguments, **more)
        tries.append(path)
        now.now += 15
        raise HangingWrite(f"cannot write {path}: it answers reads")

    monkeypatch.setattr(Client, "apply", hang)
    for name in names:
        with pytest.raises(Ec2Error, match="it answers reads") as raised:
            relay.ask({name: [replace(ASSIGN, eni=f"eni-{name}")]})
        assert "admission webhook" in raised.value.failure.remedy
    # To take it back would hang as long: the next write replaces it.
    assert (now.now - begun, len(tries)) == (15, 1)
    now.now += PAUSE
    assert relay.ask({"n1.sig": [DESCRIBE]})["n1.sig"][0].failure is None
    with pytest.raises(Ec2Error, match=r"n1\.1"):
        relay.ask({"n1.1": [replace(ASSIGN, eni="eni-n1.1")]})


def test_changes_that_can_not_be_withdrawn_hold_up_a_turn_for_one_of_them(
    wire: Wire, now: Now, make: Callable[..., CallRelay], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = with_more(wire, 9)
    wire.controller = only_eni_2
    relay = make(grace=GLIMPSE)
    wanted = {name: replace(ASSIGN, eni=f"eni-{name}") for name in names}
    for name, call in wanted.items():
        with pytest.raises(Ec2Error, match="not answered yet"):
            relay.ask({name: [call]})
    begun = now.now = now.now + 10

    def hang(_: Client, path: str, *_arguments: object, **_more: object) -> None:
        now.now += 15
        raise HangingWrite(f"cannot write {path}: it answers reads")

    monkeypatch.setattr(Client, "apply", hang)
    for name, call in wanted.items():
        with pytest.raises(Ec2Error, match="has not answered within"):
            relay.ask({name: [call]})
    assert now.now - begun == 15


def test_an_api_server_that_is_away_costs_a_turn_two_timeouts_however_many_enis_the_node_has(
    wire: Wire, make: Callable[..., CallRelay], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may be half a minute, and a turn of two minutes counts as stuck."""
    names = with_more(wire, 8)
    relay, tries = make(), []

    def silent(_: Client, path: str, *_arguments: object, **_more: object) -> None:
        tries.append(path)
        raise Unreachable("timed out")

    monkeypatch.setattr(Client, "apply", silent)
    with pytest.raises(Ec2Error, match="timed out"):
        relay.ask({name: [DESCRIBE] for name in names})
    assert len(tries) == 2


def test_an_api_server_that_is_away_is_told_as_such(tmp_path: Path, now: Now) -> None:
    with FakeApi(tmp_path, lambda _: Reply(503)) as api:
        client = api.client(tmp_path)
        timing = Timing(now.clock, time.sleep, lambda: 0.5)
        relay = CallRelay(client, "n1", Lines().log, timing, time.time, patience=PATIENCE)
        relay.start()
        with pytest.raises(Ec2Error) as raised:
            relay.attachments()
        relay.stop()
        relay.join(5.0)
    assert raised.value.failure.fault is Fault.UNREACHABLE
    assert "reaches the API server" in raised.value.failure.remedy
