"""Which changes an informer passes on, what it leaves out, and what it logs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

import pytest

from common.kube.client import Client
from common.kube.errors import Unreachable
from common.kube.informer import Informer
from common.kube.reflector import Target

pytestmark = pytest.mark.pure


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def warning(self, event: str, *, message: str) -> None:
        self.lines.append((event, message))


class Followed:
    """An informer of things, whose `spec.size` counts, driven as its reflector drives it."""

    def __init__(self) -> None:
        self.log = Log()
        self.notified: list[set[str]] = []
        target = Target("/things", "things")
        # The reflector connects when it is started.
        client = cast("Client", None)
        self.informer: Informer[int] = Informer(client, target, self._read, self._notify, self.log)

    def _read(self, found: Mapping[str, Any]) -> int | None:
        size = found["spec"]["size"]
        return None if size == "none" else int(size)

    def _notify(self, names: Collection[str]) -> None:
        self.notified.append(set(names))

    def list(self, **sizes: object) -> None:
        self.informer.on_list(tuple(self.informer._take(thing(*each)) for each in sizes.items()))  # noqa: SLF001

    def change(self, name: str, size: object, *, gone: bool = False) -> None:
        self.informer.on_change(self.informer._take(thing(name, size)), gone=gone)  # noqa: SLF001


def thing(name: str, size: object) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {} if size is None else {"size": size}}


def test_a_list_replaces_everything_and_notifies_of_what_it_lacks_too() -> None:
    followed = Followed()
    synced = [followed.informer.synced]
    followed.list(b=2, a=1)
    assert [*synced, followed.informer.synced] == [False, True]
    assert list(followed.informer.items().items()) == [("a", 1), ("b", 2)]
    followed.list(c=3)
    assert followed.informer.items() == {"c": 3}
    assert followed.notified == [{"a", "b"}, {"a", "b", "c"}]


@pytest.mark.parametrize(
    ("size", "gone", "left", "notified"),
    [
        pytest.param(2, False, {"a": 2}, True, id="another value"),
        pytest.param(1, False, {"a": 1}, False, id="the same value"),
        pytest.param(1, True, {}, True, id="gone"),
        pytest.param("none", False, {}, True, id="it counts no more"),
        pytest.param("x", False, {}, True, id="it can't be read any more"),
    ],
)
def test_a_change_notifies_if_it_makes_a_difference(
    size: object, gone: bool, left: dict[str, int], notified: bool
) -> None:
    followed = Followed()
    followed.list(a=1)
    followed.change("a", size, gone=gone)
    assert followed.informer.items() == left
    assert followed.notified[1:] == [{"a"}] * notified


@pytest.mark.parametrize("size", [None, "x", []])
def test_an_object_that_cannot_be_read_is_logged_and_left_out(size: object) -> None:
    followed = Followed()
    followed.list(a=size, b=2)
    assert followed.informer.items() == {"b": 2}
    ((event, message),) = followed.log.lines
    assert event == "unreadable"
    assert message.startswith("things: a can't be read and is ignored: ")


@pytest.mark.parametrize("found", [{}, {"metadata": {}}, {"metadata": None}, {"metadata": []}])
def test_an_object_without_a_name_is_logged_and_left_out(found: dict[str, Any]) -> None:
    followed = Followed()
    followed.list(b=2)
    followed.informer.on_change(followed.informer._take(found), gone=False)  # noqa: SLF001
    assert followed.informer.items() == {"b": 2}
    ((event, message),) = followed.log.lines
    assert event == "unreadable"
    assert message.startswith("things: one can't be read and is ignored: ")


def test_a_failure_is_logged_once_until_the_api_server_answers_again() -> None:
    followed = Followed()
    followed.list(a=1)
    for text in ("refused", "refused", "timed out", "timed out"):
        followed.informer.on_error(Unreachable(text))
    followed.informer.on_recovery()
    followed.informer.on_error(Unreachable("timed out"))
    assert [event for event, _ in followed.log.lines] == ["watch-failed"] * 3
    assert [message.partition(";")[0] for _, message in followed.log.lines] == [
        "refused",
        "timed out",
        "timed out",
    ]
