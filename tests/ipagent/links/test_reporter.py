"""When the status of an interface is written into its NodeAttachment."""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import Any

import pytest

from common.agent_settings import LogFormat
from common.kube.backoff import FIRST_PATIENCE
from common.kube.client import Answer, Client
from common.kube.errors import OF_ALL, ApiError, HangingWrite, Unreachable
from ipagent.links.node_attachments import LinkAttachment
from ipagent.links.plan import LinkStatus, WantedLink
from ipagent.links.reporter import CAP, RATE, LinkStatusReporter
from ipagent.log import Log
from tests.ipagent.links.pools import MAC, UP

pytestmark = pytest.mark.pure

WANTED = WantedLink("n1.oam", MAC, "oam")


class RecordingClient(Client):
    """Answers with the next of `failures`, and records what it was asked to write."""

    def __init__(self, *failures: Exception | None) -> None:
        self.failures = list(failures)
        self.written: list[tuple[str, dict[str, Any]]] = []

    def apply(
        self,
        path: str,
        what: str,
        body: dict[str, Any],
        *,
        manager: str,
        force: bool,
        patience: float | None = None,
    ) -> Answer:
        assert what == f"report the interface of NodeAttachment {path.split('/')[-2]}"
        assert (manager, force, patience) == ("multus-eni-links", True, None)
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        self.written.append((path, json.loads(json.dumps(body["status"]["link"]))))
        return Answer(body, None)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def reporter(client: Client, clock: Clock | None = None) -> LinkStatusReporter:
    return LinkStatusReporter(client, clock or Clock(), Log(form=LogFormat.JSON, stream=io.StringIO()))


def test_a_status_is_written_once_and_again_when_it_is_another() -> None:
    client = RecordingClient()
    links = reporter(client)
    known = {"n1.oam": LinkAttachment("n1.oam", WANTED)}
    for status in (UP, UP, LinkStatus(MAC, "ens6", up=False, mtu=9001)):
        assert links.report(known, {"n1.oam": status}) is None
    assert [(path.rsplit("/", 2)[1:], link["up"]) for path, link in client.written] == [
        (["n1.oam", "status"], True),
        (["n1.oam", "status"], False),
    ]


def test_a_status_that_the_attachment_has_already_is_not_written() -> None:
    client = RecordingClient()
    assert reporter(client).report({"n1.oam": LinkAttachment("n1.oam", WANTED, UP)}, {"n1.oam": UP}) is None
    assert not client.written


def test_a_status_that_somebody_has_overwritten_is_written_again() -> None:
    client = RecordingClient()
    links = reporter(client)
    links.report({"n1.oam": LinkAttachment("n1.oam", WANTED)}, {"n1.oam": UP})
    links.forget("n1.oam")
    links.report({"n1.oam": LinkAttachment("n1.oam", WANTED, LinkStatus(MAC))}, {"n1.oam": UP})
    assert len(client.written) == 2


@pytest.mark.parametrize(
    ("failure", "others"),
    [(Unreachable("no answer"), []), (ApiError(422, "Invalid", "too long", "report"), ["n1.sig", "n1.x"])],
)
def test_what_is_refused_of_one_holds_up_no_other(failure: Exception, others: list[str]) -> None:
    client, known = RecordingClient(failure), {}
    for name in ("n1.oam", "n1.sig", "n1.x"):
        known[name] = LinkAttachment(name, WantedLink(name, MAC, "oam"))
    pause = reporter(client).report(known, dict.fromkeys(known, UP))
    assert pause is not None
    assert [path.split("/")[-2] for path, _ in client.written] == others


def test_what_is_refused_again_and_again_delays_no_other() -> None:
    refusal = ApiError(422, "Invalid", "too long", "report")
    clock, client = Clock(), RecordingClient(*[refusal] * 9)
    links = reporter(client, clock)
    known = {"n1.oam": LinkAttachment("n1.oam", WANTED)}
    for _ in range(9):
        pause = links.report(known, {"n1.oam": UP})
        assert pause is not None
        clock.now += pause + 0.1
    clock.now -= 1.1
    known["n1.sig"] = LinkAttachment("n1.sig", WantedLink("n1.sig", MAC, "sig"))
    assert links.report(known, dict.fromkeys(known, UP)) == pytest.approx(1.0)
    assert [path.split("/")[-2] for path, _ in client.written] == ["n1.sig"]
    clock.now += 1.1
    assert links.report(known, dict.fromkeys(known, UP)) is None
    assert [path.split("/")[-2] for path, _ in client.written] == ["n1.sig", "n1.oam"]


def test_an_interface_that_goes_up_and_down_all_the_time_is_reported_in_rate_and_in_the_end() -> None:
    clock, client, known = Clock(), RecordingClient(), attachments("n1.oam", "n1.sig")
    links, began = reporter(client, clock), clock.now
    for number in range(2000):
        flapping = LinkStatus(MAC, "ens6", up=number % 2 == 0, mtu=9001)
        pause = links.report(known, {"n1.oam": flapping, "n1.sig": UP if number < 1000 else LinkStatus(MAC)})
        clock.now += 0.1
    of = Counter(path.split("/")[-2] for path, _ in client.written)
    assert of["n1.oam"] <= RATE.burst + RATE.refill * (clock.now - began) + 1
    # The other one does not wait.
    assert of["n1.sig"] == 2
    assert pause is not None
    clock.now += pause
    assert links.report(known, {"n1.oam": flapping, "n1.sig": LinkStatus(MAC)}) is None
    assert client.written[-1][1]["up"] is flapping.up


@pytest.mark.parametrize("code", sorted(OF_ALL))
def test_an_api_server_that_takes_no_write_is_asked_once(code: int) -> None:
    client = RecordingClient(ApiError(code, "Refused", "not now", "report"))
    links, known = reporter(client), attachments("n1.oam", "n1.sig")
    assert links.report(known, dict.fromkeys(known, UP)) is not None
    assert (client.failures, client.written) == ([], [])


class HangingClient(Client):
    """A webhook hangs for the writes of some, until they are given up."""

    def __init__(self, clock: Clock, hanging: set[str]) -> None:
        self.clock = clock
        self.hanging = hanging
        self.tried: list[str] = []
        self.waited = 0.0

    def apply(self, path: str, *_: object, patience: float | None = None, **__: object) -> Answer:
        name = path.split("/")[-2]
        self.tried.append(name)
        if name in self.hanging:
            took = 17.0 if patience is None else patience
            self.clock.now += took
            self.waited += took
            raise HangingWrite(f"cannot report {name}: it answers reads")
        return Answer({}, None)


def attachments(*names: str) -> dict[str, LinkAttachment]:
    return {name: LinkAttachment(name, WantedLink(name, MAC, "oam")) for name in names}


def test_only_the_one_for_which_a_webhook_hangs_waits() -> None:
    clock = Clock()
    client = HangingClient(clock, {"n1.oam"})
    links, known = reporter(client, clock), attachments("n1.oam", "n1.sig", "n1.x")
    # The interfaces have their turn in between, and then the others their reports.
    assert links.report(known, dict.fromkeys(known, UP)) == 0.0
    pause = links.report(known, dict.fromkeys(known, UP))
    assert client.tried == ["n1.oam", "n1.sig", "n1.x"]
    assert pause is not None
    clock.now += 1.0
    down = LinkStatus(MAC, "ens6", up=False, mtu=9001)
    assert links.report(known, dict.fromkeys(known, down)) == pytest.approx(pause - 1.0)
    assert client.tried[3:] == ["n1.sig", "n1.x"]
    client.hanging.clear()
    clock.now += pause
    assert links.report(known, dict.fromkeys(known, down)) is None
    assert client.tried[5:] == ["n1.oam"]


def test_a_webhook_that_hangs_for_all_is_waited_for_once_a_turn_and_a_tenth_of_the_time() -> None:
    clock, names = Clock(), [f"n1.net{number}" for number in range(8)]
    client = HangingClient(clock, set(names))
    links, known = reporter(client, clock), attachments(*names)

    def run(seconds: float) -> None:
        end = clock.now + seconds
        while clock.now < end:
            before = len(client.tried)
            pause = links.report(known, dict.fromkeys(known, UP))
            assert len(client.tried) <= before + 1
            clock.now += pause or 0.1

    run(17.0 + 7 * FIRST_PATIENCE)
    assert client.tried[:8] == names
    run(3600.0)
    began, before = clock.now, client.waited
    run(3600.0)
    assert 0.05 * (clock.now - began) <= client.waited - before <= 0.13 * (clock.now - began)
    # Once one is taken, the others are not waited for any longer.
    client.hanging.clear()
    while clock.now < began + 7200.0 and links.report(known, dict.fromkeys(known, UP)) is not None:
        clock.now += 30.0
    assert links.report(known, dict.fromkeys(known, UP)) is None
    assert {*client.tried[-8:]} == {*names}


def test_those_that_hung_once_and_want_no_report_any_more_slow_no_other_down() -> None:
    clock, names = Clock(), [f"n1.net{number}" for number in range(8)]
    client = HangingClient(clock, set(names))
    links, known = reporter(client, clock), attachments(*names)
    for _ in names:
        links.report(known, dict.fromkeys(known, UP))
    # They are again as they were reported last.
    known = {name: LinkAttachment(name, each.wanted, UP) for name, each in known.items()}
    clock.now += 3600.0
    assert links.report(known, dict.fromkeys(known, UP)) is None
    clock.now += 3600.0
    assert links.report(known, dict.fromkeys(known, UP)) is None
    before = clock.now
    pause = links.report(known, {**dict.fromkeys(known, UP), names[0]: LinkStatus(MAC)})
    assert clock.now - before == 17.0, "its first try is given up no sooner"
    assert pause == pytest.approx(9 * 17.0)


def test_what_was_given_up_sooner_in_vain_is_waited_for_as_long_as_usual_at_its_next_try() -> None:
    """An API server may be slow beside a webhook that hangs."""
    clock = Clock()

    class Slow(HangingClient):
        def apply(self, path: str, *_: object, patience: float | None = None, **__: object) -> Answer:
            if "n1.oam" in path:
                return super().apply(path, patience=patience)
            tries.append(patience)
            raise Unreachable("no answer, and to a read no answer")

    tries: list[float | None] = []
    links, known = reporter(Slow(clock, {"n1.oam"}), clock), attachments("n1.oam", "n1.sig")
    for _ in range(3):
        clock.now += links.report(known, dict.fromkeys(known, UP)) or 0.0
    assert tries == [FIRST_PATIENCE, None]


def test_one_that_is_never_answered_holds_up_no_other() -> None:
    """An admission webhook may hang for longer than an answer is waited for."""
    clock, client = Clock(), RecordingClient(*[Unreachable("no answer")] * 2)
    links, names = reporter(client, clock), ["n1.oam", "n1.sig", "n1.x"]
    known = {name: LinkAttachment(name, WantedLink(name, MAC, "oam")) for name in names}
    for _ in range(3):
        pause = links.report(known, dict.fromkeys(known, UP))
        clock.now += pause or 0.0
    assert [path.split("/")[-2] for path, _ in client.written] == ["n1.x", "n1.oam", "n1.sig"]


@pytest.mark.parametrize(
    "failure", [Unreachable("no answer"), ApiError(403, "Forbidden", "no rights", "report")]
)
def test_a_write_that_fails_is_tried_again_later_and_not_before(failure: Exception) -> None:
    clock, client = Clock(), RecordingClient(failure, failure)
    links = reporter(client, clock)
    known = {"n1.oam": LinkAttachment("n1.oam", WANTED)}
    pause = links.report(known, {"n1.oam": UP})
    assert pause is not None
    assert 0 < pause <= CAP
    assert links.report(known, {"n1.oam": UP}) == pytest.approx(pause)
    assert len(client.failures) == 1
    clock.now += pause
    second = links.report(known, {"n1.oam": UP})
    assert second is not None
    clock.now += second
    assert links.report(known, {"n1.oam": UP}) is None
    assert len(client.written) == 1
    assert links.failures == 0


def test_an_attachment_that_is_gone_needs_no_status() -> None:
    client = RecordingClient(ApiError(404, "NotFound", "gone", "report"))
    links = reporter(client)
    known = {"n1.oam": LinkAttachment("n1.oam", WANTED)}
    assert links.report(known, {"n1.oam": UP}) is None
    assert links.report(known, {"n1.oam": UP}) is None
    assert not client.written
