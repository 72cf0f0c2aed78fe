"""How the ENIs are found: by IMDS, or without it by MAC."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from common.contract import Credentials
from ipagent.assign.calls import Assign, Unassign
from ipagent.assign.errors import AgentError, Ec2Unreachable, NoImds, NoPermission
from ipagent.aws.base import SILENT_SECONDS
from ipagent.aws.pod_cloud import PodCloud
from ipagent.signals import Signals, Stop
from tests.doubles import Doubles
from tests.doubles import Fault as Injected
from tests.ipagent import worlds
from tests.ipagent.aws.scripted_imds import scripted_imds
from tests.ipagent.fakes import Lines, Time, ip
from tests.ipagent.worlds import ENI_1, KEY, MAC_1, MAC_2, READER, REGION, SECRET

FOREIGN = "5e:00:00:00:00:01"

Make = Callable[..., PodCloud]


@pytest.fixture
def doubles() -> Iterator[Doubles]:
    with Doubles(worlds.world(secondaries=["10.10.1.60"])) as served:
        yield served


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def make(doubles: Doubles, lines: Lines, monkeypatch: pytest.MonkeyPatch, time: Time) -> Iterator[Make]:
    """Make the agent's cloud with the double's endpoints and more variables; None takes one away."""
    env = {
        "AWS_ENDPOINT_URL_EC2": doubles.ec2_url,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": doubles.imds_url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
    made: list[PodCloud] = []

    def make(credentials: Credentials = Credentials.CHAIN, **more: Any) -> PodCloud:
        given = {name: value for name, value in (env | more).items() if value is not None}
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        for name in set(env) - set(given):
            monkeypatch.delenv(name, raising=False)
        made.append(PodCloud(given, credentials, lines.log, time.timing))
        return made[-1]

    yield make
    for direct in made:
        direct.close()


NO_IMDS = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": REGION}


def test_enis_and_region_come_from_imds_and_addresses_go_to_ec2(
    make: Make, doubles: Doubles, lines: Lines
) -> None:
    direct = make()
    (eni,) = direct.topology({MAC_1}).enis
    assert eni.id == ENI_1
    direct.assign(Assign(ENI_1, (ip("10.10.1.80"),), allow_reassignment=True))
    assert doubles.holder_of("10.10.1.80") == ENI_1
    assert direct.metadata(eni) == frozenset({ip("10.10.1.10"), ip("10.10.1.60"), ip("10.10.1.80")})
    assert direct.describe(ENI_1).secondaries == (ip("10.10.1.60"), ip("10.10.1.80"))
    direct.unassign(Unassign(ENI_1, (ip("10.10.1.80"),)))
    assert doubles.holder_of("10.10.1.80") is None
    (identity,) = lines.of("identity")
    assert identity["message"] == f"Calling EC2 in {REGION} with the credentials of env"


def test_what_is_known_is_not_read_again(make: Make, doubles: Doubles) -> None:
    direct = make()
    direct.topology({MAC_1})
    read = len(doubles.journal())
    direct.topology({MAC_1})
    assert len(doubles.journal()) == read
    assert {eni.mac for eni in direct.topology({MAC_1, MAC_2}).enis} == {MAC_1, MAC_2}
    assert len(direct.topology({MAC_1}, fresh=True).enis) == 4
    read = len(doubles.journal())
    direct.topology({MAC_1, MAC_2})
    assert len(doubles.journal()) == read


def test_a_foreign_mac_is_looked_for_once(make: Make, doubles: Doubles) -> None:
    direct = make()
    assert len(direct.topology({MAC_1, FOREIGN}).enis) == 4
    read = len(doubles.journal())
    assert len(direct.topology({FOREIGN}).enis) == 4
    assert len(doubles.journal()) == read


def test_what_an_earlier_and_smaller_answer_lacks_is_read(make: Make) -> None:
    direct = make()
    for macs in ({MAC_1, FOREIGN}, {MAC_1, MAC_2, FOREIGN}, {MAC_2}, {MAC_1}):
        assert macs - {FOREIGN} <= {eni.mac for eni in direct.topology(macs).enis}


def test_without_imds_the_mac_names_the_eni(make: Make, lines: Lines) -> None:
    direct = make(**NO_IMDS)
    (eni,) = direct.topology({MAC_1}).enis
    assert (eni.id, eni.device_number) == (ENI_1, 1)
    assert direct.metadata(eni) is None
    assert lines.events("warning") == ["no-imds"]


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_of_the_environment_wins(make: Make, doubles: Doubles, name: str) -> None:
    make(**{name: REGION}).topology({MAC_1})
    assert not [call for call in doubles.journal() if "identity" in call.action]


@pytest.mark.parametrize(
    ("macs", "credentials", "env", "says"),
    [
        ({MAC_1}, Credentials.CHAIN, {"AWS_REGION": None}, "switched off"),
        ({MAC_1}, Credentials.NODE, {}, "switched off"),
        ({MAC_1, FOREIGN}, Credentials.CHAIN, {}, f"no ENI with the MAC {FOREIGN}"),
        ({MAC_1}, Credentials.CHAIN, {"AWS_ACCESS_KEY_ID": "AKIAUNKNOWNEXAMPLE00"}, "no credentials"),
        (
            {MAC_1},
            Credentials.CHAIN,
            {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
            "no credentials",
        ),
    ],
    ids=["no region", "the node's role", "a foreign MAC", "wrong credentials", "no credentials"],
)
def test_without_imds_and_another_way_to_the_enis_no_imds_is_the_error(
    make: Make, macs: set[str], credentials: Credentials, env: dict[str, str | None], says: str
) -> None:
    with pytest.raises(NoImds, match=says):
        make(credentials, **{**NO_IMDS, **env}).topology(macs)


@pytest.mark.parametrize(
    ("injected", "kind", "passing"),
    [
        (Injected(error="RequestLimitExceeded"), AgentError, True),
        (Injected(error="UnauthorizedOperation"), NoPermission, False),
        (Injected(error="InternalError"), AgentError, True),
    ],
)
def test_a_lookup_by_mac_that_fails_is_told_as_what_it_is(
    make: Make, doubles: Doubles, injected: Injected, kind: type[AgentError], passing: bool
) -> None:
    doubles.put_faults(injected)
    with pytest.raises(kind) as caught:
        make(**NO_IMDS).topology({MAC_1})
    assert caught.value.passing is passing


def test_an_unreachable_ec2_during_the_lookup(make: Make) -> None:
    with pytest.raises(Ec2Unreachable):
        make(**NO_IMDS, AWS_ENDPOINT_URL_EC2="http://127.0.0.1:1").topology({MAC_1})


def test_imds_that_is_lost_later_shows_nothing_and_is_no_error(make: Make, lines: Lines, time: Time) -> None:
    names = {"": f"{MAC_1}/", "/interface-id": ENI_1, "/device-number": "1"}
    macs = "/latest/meta-data/network/interfaces/macs/"
    values = {(macs + MAC_1 + name if name else macs): value for name, value in names.items()}

    def answer(method: str, path: str, _: dict[str, str]) -> tuple[int, str]:
        return (200, "a-token") if method == "PUT" else (200 if path in values else 404, values.get(path, ""))

    with scripted_imds(answer, keep_alive=False) as service:
        direct = make(AWS_EC2_METADATA_SERVICE_ENDPOINT=service.url, AWS_REGION=REGION)
        (eni,) = direct.topology({MAC_1}).enis
        assert direct.metadata(eni) == frozenset()
    assert direct.metadata(eni) is None
    assert lines.events("debug") == ["imds-failed"]
    # Finding that out takes time: it is left alone for a while, and then asked again.
    assert direct.metadata(eni) is None
    assert lines.events("debug") == ["imds-failed"]
    time.sleep(SILENT_SECONDS)
    assert direct.metadata(eni) is None
    assert lines.events("debug") == ["imds-failed"] * 2


def test_the_readers_key_may_look_but_not_touch(make: Make) -> None:
    direct = make(AWS_ACCESS_KEY_ID=READER)
    assert direct.topology({MAC_1}).enis[0].id == ENI_1
    assert direct.describe(ENI_1).secondaries == (ip("10.10.1.60"),)


def test_a_signal_while_imds_is_silent_tells_that_imds_was_being_waited_for(
    make: Make, doubles: Doubles
) -> None:
    cloud = make()
    doubles.put_faults(Injected("imds", delay_ms=5000))
    with Signals() as signals:
        signals.alarm(0.5)
        with pytest.raises(Stop) as caught:
            cloud.topology([MAC_1])
    assert (caught.value.timed_out, caught.value.waiting_for) == (True, "IMDS")


class InterruptedEc2:
    """EC2 in whose calls the alarm rings."""

    def attached(self, _: str) -> NoReturn:
        raise Stop(14)

    def close(self) -> None:
        pass


def test_a_signal_while_ec2_is_asked_tells_that_ec2_was_being_waited_for(make: Make) -> None:
    cloud = make()
    interrupted: Any = InterruptedEc2()
    cloud._ec2 = interrupted  # noqa: SLF001 - the wire
    with pytest.raises(Stop) as caught:
        cloud.topology([FOREIGN])
    assert caught.value.waiting_for == "EC2"
