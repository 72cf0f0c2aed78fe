"""`ipagent release` against the double, and what it decides without it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from common.exit_codes import ExitCode
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import AgentError, Ec2Error, NoEni, NoImds
from ipagent.assign.topology import EniDetails
from ipagent.commands import release
from ipagent.commands.context import CommandContext
from ipagent.commands.release import State, address_statuses, release_addresses, warnings, why_not_released
from ipagent.commands.render import Palette
from tests.doubles import Doubles
from tests.doubles import Fault as Injected
from tests.ipagent import worlds
from tests.ipagent.fakes import Time, ip
from tests.ipagent.worlds import ENI_0, ENI_1, NEIGHBOUR, NEIGHBOUR_SECONDARY, READER, REGION

ENI = EniDetails(
    "eni-1",
    ip("10.10.1.10"),
    (ip("10.10.1.60"), ip("2001:db8:1::60")),
    primary_ipv6=ip("2001:db8:1::10"),
    instance_id="i-1",
    device_number=1,
    vpc_id="vpc-1",
)
OTHER = EniDetails("eni-9", ip("10.10.1.9"), (ip("10.10.1.50"),), vpc_id="vpc-1")


class TestDecision:
    pytestmark = pytest.mark.pure

    def test_each_address_is_held_primary_or_absent_on_the_eni(self) -> None:
        asked = ["10.10.1.60", "10.10.1.10", "2001:db8:1::10", "10.10.1.50", "10.10.1.61", "10.10.1.60"]
        found = address_statuses(ENI, list(map(ip, asked)), [OTHER])
        assert [(str(one.address), one.state, one.holder) for one in found] == [
            ("10.10.1.60", State.HELD, None),
            ("10.10.1.10", State.PRIMARY, None),
            ("2001:db8:1::10", State.PRIMARY, None),
            ("10.10.1.50", State.ABSENT, OTHER),
            ("10.10.1.61", State.ABSENT, None),
        ]

    def test_an_address_in_a_prefix_of_the_eni_is_there_and_must_stay(self) -> None:
        eni = replace(ENI, prefixes=(ip_network("10.10.1.48/28"), ip_network("2001:db8:1:0:1::/80")))
        found = address_statuses(eni, list(map(ip, ["10.10.1.50", "2001:db8:1:0:1::5"])), ())
        assert [one.state for one in found] == [State.PREFIX, State.PREFIX]
        assert "prefixes as a whole" in str(why_not_released(eni, found))
        done = release.Release(eni, found, {}, why_not_released(eni, found))
        assert done.exit_code == ExitCode.ADDRESS_REFUSED
        text = release.as_text(done, Palette(False))
        assert "Nothing to do" not in text
        assert text.count("prefix ") == 2

    @pytest.mark.parametrize(
        ("eni", "address", "says"),
        [
            (ENI, "10.10.1.60", ""),
            (ENI, "2001:db8:1::60", ""),
            (ENI, "10.10.1.10", "primary"),
            (ENI, "2001:db8:1::10", "primary"),
            (replace(ENI, device_number=0), "10.10.1.60", "VPC CNI"),
            (replace(ENI, managed=True), "10.10.1.60", "AWS service"),
            # What is not there needs no objection.
            (replace(ENI, device_number=0), "10.10.1.61", ""),
        ],
    )
    def test_addresses_that_must_stay_are_refused(self, eni: EniDetails, address: str, says: str) -> None:
        found = why_not_released(eni, address_statuses(eni, [ip(address)], ()))
        assert bool(found) is bool(says)
        if found:
            assert found.exit_code == ExitCode.ADDRESS_REFUSED
            assert says in str(found)
            assert address in str(found)

    def test_the_user_is_warned_before_the_question(self) -> None:
        found = address_statuses(ENI, [ip("10.10.1.60")], ())
        assert any("no_manage" in text for text in warnings(ENI, found, ()))
        said = warnings(replace(ENI, no_manage=True), found, [ip("10.10.1.60")])
        assert not any("no_manage" in text for text in said)
        assert any("This pod itself holds 10.10.1.60" in text for text in said)


def agree(_: object, __: object) -> bool:
    return True


def refuse(_: object, __: object) -> bool:
    return False


@pytest.fixture
def doubles() -> Iterator[Doubles]:
    world = worlds.world(secondaries=["10.10.1.60", "10.10.1.61"], ipv6s=["2001:db8:1::60"])
    # A secondary address of the VPC CNI's.
    world["instances"][0]["interfaces"][0]["secondaries"] = ["10.10.0.60"]
    with Doubles(world) as served:
        yield served


@pytest.fixture
def make(doubles: Doubles, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., CommandContext]]:
    env = worlds.environment(doubles) | {"AWS_REGION": REGION}
    made: list[CommandContext] = []

    def make(kind: type[CommandContext] = CommandContext, **more: Any) -> CommandContext:
        given = {name: value for name, value in (env | more).items() if value is not None}
        for name in env:
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        made.append(kind(given, Time().timing))
        return made[-1]

    yield make
    for session in made:
        session.close()


Make = Callable[..., CommandContext]


def addresses(*texts: str) -> list[Any]:
    return list(map(ip, texts))


def test_both_families_leave_and_the_rest_stays(make: Make, doubles: Doubles) -> None:
    asked = addresses("10.10.1.60", "2001:db8:1::60")
    done = release_addresses(make(), ENI_1, asked, agree)
    assert done.exit_code == ExitCode.OK
    assert [one.state for one in done.statuses] == [State.RELEASED, State.RELEASED]
    assert doubles.holder_of("10.10.1.60") is None
    assert doubles.holder_of("10.10.1.61") == ENI_1
    changes = [call.action for call in doubles.journal() if call.action.startswith(("Un", "Assign"))]
    assert sorted(changes) == ["UnassignIpv6Addresses", "UnassignPrivateIpAddresses"]
    assert f"Done: EC2 no longer has 10.10.1.60, 2001:db8:1::60 on {ENI_1}" in release.as_text(
        done, Palette(False)
    )


@pytest.mark.parametrize(
    ("eni", "asked", "code"),
    [
        (ENI_1, ["10.10.1.60", "10.10.1.10"], ExitCode.ADDRESS_REFUSED),
        (ENI_0, ["10.10.0.60"], ExitCode.ADDRESS_REFUSED),
    ],
    ids=["a primary among them", "the VPC CNI's"],
)
def test_refused_means_that_nothing_is_done(
    make: Make, doubles: Doubles, eni: str, asked: list[str], code: ExitCode
) -> None:
    done = release_addresses(make(), eni, addresses(*asked), agree)
    assert done.exit_code == code
    assert not [call for call in doubles.journal() if call.action.startswith("Un")]
    assert "Not done: " in release.as_text(done, Palette(False))


def test_not_confirmed_means_that_nothing_is_done(make: Make, doubles: Doubles) -> None:
    done = release_addresses(make(), ENI_1, addresses("10.10.1.60"), refuse)
    assert done.exit_code == ExitCode.USAGE
    assert "--yes" in release.as_text(done, Palette(False))
    assert doubles.holder_of("10.10.1.60") == ENI_1


def test_an_absent_address_counts_as_released_and_its_holder_is_named(make: Make, doubles: Doubles) -> None:
    done = release_addresses(make(), ENI_1, addresses(NEIGHBOUR_SECONDARY, "10.10.1.99"), refuse)
    assert done.exit_code == ExitCode.OK
    assert [one.holder and one.holder.eni_id for one in done.statuses] == [NEIGHBOUR, None]
    assert "i-0b000000000000001" in release.as_text(done, Palette(False))
    assert doubles.holder_of(NEIGHBOUR_SECONDARY) == NEIGHBOUR


def test_a_throttled_call_is_repeated(make: Make, doubles: Doubles) -> None:
    doubles.put_faults(Injected(action="UnassignPrivateIpAddresses", error="RequestLimitExceeded", times=2))
    assert release_addresses(make(), ENI_1, addresses("10.10.1.60"), agree).exit_code == ExitCode.OK
    assert doubles.holder_of("10.10.1.60") is None


def test_throttling_without_end_ends_with_the_deadline(make: Make, doubles: Doubles) -> None:
    doubles.put_faults(Injected(action="UnassignPrivateIpAddresses", error="RequestLimitExceeded"))
    done = release_addresses(make(), ENI_1, addresses("10.10.1.60"), agree)
    assert done.exit_code == ExitCode.DEADLINE
    assert "RequestLimitExceeded" in release.as_text(done, Palette(False))


def test_lacking_the_right_ends_at_once_and_names_the_identity(make: Make, doubles: Doubles) -> None:
    done = release_addresses(make(AWS_ACCESS_KEY_ID=READER), ENI_1, addresses("10.10.1.60"), agree)
    assert done.exit_code == ExitCode.NO_PERMISSION
    assert [one.state for one in done.statuses] == [State.HELD]
    assert "credentials used: env" in release.as_text(done, Palette(False))
    assert len([call for call in doubles.journal() if call.action.startswith("Un")]) == 1


class Stale(CommandContext):
    """EC2's answers lag behind for ever: what was seen first is seen again."""

    def describe(self, eni_ids: Collection[str]) -> tuple[EniDetails, ...]:
        if not hasattr(self, "first"):
            self.first = super().describe(eni_ids)
        return self.first


def test_an_address_that_ec2_still_shows_is_not_reported_as_released(make: Make) -> None:
    done = release_addresses(make(Stale), ENI_1, addresses("10.10.1.60"), agree)
    assert done.exit_code == ExitCode.DEADLINE
    assert "still shows" in release.as_text(done, Palette(False))


class Blind(CommandContext):
    """EC2 can be looked at once."""

    def describe(self, eni_ids: Collection[str]) -> tuple[EniDetails, ...]:
        if hasattr(self, "seen"):
            raise NoEni("the ENI is gone")
        self.seen = True
        return super().describe(eni_ids)


def test_an_unverified_release_is_not_reported_as_done(make: Make) -> None:
    done = release_addresses(make(Blind), ENI_1, addresses("10.10.1.60"), agree)
    assert (done.exit_code, done.held) == (ExitCode.NO_ENI, (ip("10.10.1.60"),))


def test_a_lost_answer_is_resolved_by_describing_the_eni(make: Make, doubles: Doubles) -> None:
    class Lossy(CommandContext):
        """The first answer to a change is lost, after the effect."""

        lost = False

        def ec2(self) -> Any:
            found = super().ec2()
            unassign = found.unassign

            def lose(call: Any) -> None:
                unassign(call)
                if not Lossy.lost:
                    Lossy.lost = True
                    raise Ec2Error(Failure(Fault.UNREACHABLE, "the answer was lost"))

            found.unassign = lose  # type: ignore[method-assign] # the wire between
            return found

    assert release_addresses(make(Lossy), ENI_1, addresses("10.10.1.60"), agree).exit_code == ExitCode.OK
    assert doubles.holder_of("10.10.1.60") is None


@pytest.mark.parametrize(
    ("eni", "env", "kind"),
    [
        ("eni-0123456789abcdef0", {}, NoEni),
        (ENI_1, {"AWS_REGION": None, "AWS_EC2_METADATA_DISABLED": "true"}, NoImds),
    ],
)
def test_an_eni_that_cannot_be_described_is_an_error_before_any_change(
    make: Make, eni: str, env: dict[str, str | None], kind: type[AgentError]
) -> None:
    with pytest.raises(kind):
        release_addresses(make(**env), eni, addresses("10.10.1.60"), agree)


def test_the_region_is_the_nodes_where_none_is_given(make: Make) -> None:
    session = make(AWS_REGION=None)
    assert release_addresses(session, ENI_1, addresses("10.10.1.60"), agree).exit_code == ExitCode.OK
    assert session.access()["region"] == REGION


def test_the_document_has_its_keys(make: Make) -> None:
    done = release_addresses(make(), ENI_1, addresses("10.10.1.60", NEIGHBOUR_SECONDARY), agree)
    document = release.as_document(done)
    assert set(document) == {"eni", "addresses", "ec2", "error"}
    assert document["addresses"] == [
        {"address": "10.10.1.60", "state": "released", "heldElsewhere": None},
        {
            "address": NEIGHBOUR_SECONDARY,
            "state": "absent",
            "heldElsewhere": {"eni": NEIGHBOUR, "instance": "i-0b000000000000001"},
        },
    ]
    assert document["eni"]["id"] == ENI_1
    assert document["ec2"] == {"region": REGION, "identity": "env", "error": None}
