"""The next action, state by state."""

from __future__ import annotations

import dataclasses

import pytest

from certs.rotation import (
    MAX_AUTHORITIES,
    Action,
    IssueLeaf,
    MakeAuthority,
    Now,
    PruneAuthorities,
    Settings,
    UpdateCaBundle,
    Wait,
    in_sync,
    next_action,
)
from certs.state import MADE_BY, OWN_MODE, Object, SeenSince, State, read_state
from certs.x509 import Certificate
from tests.certs.builders import (
    DAY,
    NOW,
    SETTINGS,
    Made,
    authority,
    configuration,
    in_order,
    leaf,
    now,
    secret,
    seen,
)

pytestmark = pytest.mark.pure

OLD, NEW, FOREIGN = authority(1), authority(2, made=NOW + 1), authority(3)
SERVED = leaf(OLD)


def decide(state: State, what: SeenSince | None = None, when: Now | None = None) -> Action:
    return next_action(state, what or seen(OLD, NEW, served=SERVED), when or now(), SETTINGS)


def certificates(*made: Made) -> tuple[Certificate, ...]:
    return tuple(each.certificate for each in made)


def test_in_order_it_waits_for_the_first_renewal() -> None:
    found = decide(in_order(OLD, SERVED))
    assert found == Wait(40 * DAY, "until the next renewal")
    assert in_sync(in_order(OLD, SERVED), NOW, SETTINGS)


@pytest.mark.parametrize("held", [None, {}, secret()], ids=["no Secret", "no data", "empty"])
def test_with_nothing_there_ca_and_leaf_are_made_at_once(held: dict[str, object] | None) -> None:
    found = decide(read_state(held, configuration(b"", b"")))
    assert found == MakeAuthority((), with_leaf=True, why="the Secret holds no CA with its key")


def test_a_lost_secret_keeps_what_is_trusted_and_serves_no_new_leaf_yet() -> None:
    found = decide(read_state(None, configuration([OLD], [FOREIGN])))
    assert isinstance(found, MakeAuthority)
    assert not found.with_leaf
    assert set(found.kept) == set(certificates(OLD, FOREIGN))


def test_what_is_trusted_and_expired_holds_up_no_leaf() -> None:
    expired = authority(9, made=NOW - 300 * DAY)
    found = decide(read_state(None, configuration([expired])))
    assert isinstance(found, MakeAuthority)
    assert found.with_leaf


def test_a_ca_that_only_the_secret_holds_holds_up_the_leaf_too() -> None:
    found = decide(read_state(secret(authorities=[OLD]), configuration(b"junk")))
    assert isinstance(found, MakeAuthority)
    assert (found.kept, found.with_leaf) == (certificates(OLD), False)


def test_a_lost_ca_key_keeps_leaf_and_ca() -> None:
    state = read_state(secret(authorities=[OLD], leaf=SERVED), configuration([OLD]))
    found = decide(state)
    assert found == MakeAuthority(
        certificates(OLD), with_leaf=False, why="the Secret holds no CA with its key"
    )


@pytest.mark.parametrize(
    "held", [None, secret(authorities=[OLD], signing=OLD, leaf=SERVED)], ids=["gone", "there"]
)
def test_what_others_make_is_left_alone(held: Object | None) -> None:
    """While Helm changes the mode their caBundle stays, and a removed Secret does not come back."""
    others = {**configuration([FOREIGN]), "metadata": {"annotations": {MADE_BY: "existingSecret"}}}
    assert decide(read_state(held, others)) == Wait(
        SETTINGS.propagation, "the certificate is made by others (existingSecret)"
    )


def test_where_the_mode_is_ours_the_certificate_is_made() -> None:
    ours = {**configuration([FOREIGN]), "metadata": {"annotations": {MADE_BY: OWN_MODE}}}
    assert isinstance(decide(read_state(None, ours)), MakeAuthority)


@pytest.mark.parametrize(
    ("days", "why"),
    [
        (-1, "the CA is not valid now"),
        (140, "the CA has less than a third of its life left"),
        (201, "the CA is not"),
    ],
)
def test_a_ca_is_replaced_when_its_time_comes(days: float, why: str) -> None:
    found = decide(in_order(OLD, SERVED), when=now(days))
    assert isinstance(found, MakeAuthority)
    assert why in found.why
    # What replicas serve stays trusted, whatever this clock says.
    assert found.kept == certificates(OLD)


def test_a_new_ca_is_trusted_beside_the_old_one() -> None:
    held = secret(authorities=[NEW, OLD], signing=NEW, leaf=SERVED)
    assert decide(read_state(held, configuration([OLD], [OLD]))) == UpdateCaBundle(
        certificates(NEW, OLD),
        "caBundle is wrong in 2 of 2 entries",
    )


@pytest.mark.parametrize(("seconds", "ready"), [(0.0, False), (299.0, False), (300.0, True)])
def test_it_signs_once_every_api_server_trusts_it(seconds: float, ready: bool) -> None:
    held = secret(authorities=[NEW, OLD], signing=NEW, leaf=SERVED)
    state = read_state(held, configuration([NEW, OLD], [NEW, OLD]))
    found = decide(state, seen(OLD, NEW, served=SERVED, seconds=seconds))
    expected = Wait(300.0 - seconds, "until every API server trusts the new CA")
    assert found == (IssueLeaf(NEW.certificate, "every API server trusts the new CA") if ready else expected)


def test_a_ca_that_was_not_seen_in_every_entry_is_waited_for_from_now_on() -> None:
    held = secret(authorities=[NEW, OLD], signing=NEW, leaf=SERVED)
    state = read_state(held, configuration([NEW, OLD]))
    assert decide(state, seen(OLD, served=SERVED)) == Wait(300.0, "until every API server trusts the new CA")


def test_a_leaf_that_is_about_to_expire_waits_no_longer_than_it_must() -> None:
    ending = leaf(OLD, lifetime=500.0)
    state = read_state(secret(authorities=[NEW, OLD], signing=NEW, leaf=ending), configuration([NEW, OLD]))
    found = decide(state, seen(OLD, NEW, served=ending, seconds=10.0))
    assert isinstance(found, IssueLeaf)


@pytest.mark.parametrize(("seconds", "ready"), [(9.0, False), (10.0, True)])
def test_a_lost_leaf_waits_for_the_api_servers_only(seconds: float, ready: bool) -> None:
    state = read_state(secret(authorities=[OLD], signing=OLD), configuration([OLD]))
    found = decide(state, seen(OLD, seconds=seconds))
    assert isinstance(found, IssueLeaf) == ready


@pytest.mark.parametrize(("no_entries", "ready"), [(9.0, False), (10.0, True)])
def test_without_entries_the_last_api_server_forgets_them_first(no_entries: float, ready: bool) -> None:
    state = read_state(secret(authorities=[OLD], signing=OLD), None)
    found = decide(state, SeenSince(no_entries=1e6 - no_entries))
    assert isinstance(found, IssueLeaf) == ready


@pytest.mark.parametrize(
    ("renewed", "days", "why"),
    [
        (leaf(OLD), 40, "the certificate has less than a third of its life left"),
        (leaf(OLD), 60, "the Secret holds no usable certificate"),
        (leaf(OLD, names=("other.system.svc",)), 0, "the certificate is for other names"),
        (
            leaf(OLD, names=("other.system.svc", "injector.system.svc")),
            0,
            "the certificate is for other names",
        ),
    ],
)
def test_a_leaf_is_renewed_by_the_same_ca_without_waiting(renewed: Made, days: float, why: str) -> None:
    found = decide(in_order(OLD, renewed), seen(OLD, served=renewed), now(days))
    assert found == IssueLeaf(OLD.certificate, why)


@pytest.mark.parametrize(("seconds", "dropped"), [(299.0, False), (300.0, True)])
def test_the_old_ca_goes_first_from_the_secret_then_from_the_bundle(seconds: float, dropped: bool) -> None:
    served = leaf(NEW)
    both = read_state(secret(authorities=[NEW, OLD], signing=NEW, leaf=served), configuration([NEW, OLD]))
    found = decide(both, seen(NEW, OLD, served=served, seconds=seconds))
    if not dropped:
        assert found == Wait(300.0 - seconds, "until every replica serves the certificate")
        return
    assert found == PruneAuthorities(certificates(NEW), "older CAs are no longer needed")
    one = read_state(secret(authorities=[NEW], signing=NEW, leaf=served), configuration([NEW, OLD]))
    assert decide(one, seen(NEW, OLD, served=served)) == UpdateCaBundle(
        certificates(NEW),
        "caBundle is wrong in 1 of 1 entries",
    )


def test_a_lost_ca_certificate_is_found_in_the_bundle() -> None:
    state = read_state(secret(signing=OLD, leaf=SERVED, ca_crt=b"junk"), configuration([OLD]))
    assert decide(state) == PruneAuthorities(certificates(OLD), "older CAs are no longer needed")


@pytest.mark.parametrize("bundle", [b"", b"junk", [FOREIGN], [OLD, FOREIGN]], ids=str)
def test_a_wrong_bundle_is_replaced_in_every_entry(bundle: bytes | list[Made]) -> None:
    state = read_state(secret(authorities=[OLD], signing=OLD, leaf=SERVED), configuration([OLD], bundle))
    assert decide(state) == UpdateCaBundle(
        certificates(OLD),
        "caBundle is wrong in 1 of 2 entries",
    )


def test_an_unknown_ca_stays_until_every_replica_serves_ours() -> None:
    state = read_state(
        secret(authorities=[OLD], signing=OLD, leaf=SERVED), configuration([OLD, FOREIGN], [OLD])
    )
    found = decide(state, seen(OLD, served=SERVED, seconds=10.0))
    assert isinstance(found, UpdateCaBundle)
    assert set(found.authorities) == set(certificates(OLD, FOREIGN))


def test_the_number_of_trusted_cas_is_bounded() -> None:
    many = [authority(number, made=NOW - number) for number in range(20, 40)]
    found = decide(read_state(secret(leaf=SERVED), configuration([*many, OLD])))
    assert isinstance(found, MakeAuthority)
    # The issuer of what is served first, then the newest; the new one comes on top.
    assert found.kept == certificates(OLD, *many[: MAX_AUTHORITIES - 2])
    held = secret(authorities=[*many, OLD], signing=many[3], leaf=SERVED)
    kept = decide(read_state(held, configuration([OLD])))
    assert isinstance(kept, PruneAuthorities)
    assert len(kept.authorities) == MAX_AUTHORITIES
    assert {many[3].certificate, OLD.certificate} <= set(kept.authorities)


@pytest.mark.parametrize(
    "state",
    [
        read_state(None, configuration([OLD])),
        read_state(secret(authorities=[OLD], signing=OLD, leaf=SERVED), None),
        read_state(secret(authorities=[OLD], signing=OLD, leaf=SERVED), configuration([OLD], [NEW])),
        in_order(OLD, leaf(OLD, names=("other.system.svc",))),
        in_order(OLD, leaf(OLD, made=NOW - 61 * DAY)),
    ],
    ids=["no Secret", "no configuration", "another CA", "other names", "expired"],
)
def test_a_state_that_differs_is_not_in_sync(state: State) -> None:
    assert not in_sync(state, NOW, SETTINGS)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"propagation": 9.0}, "--propagation is shorter"),
        ({"certificate_lifetime": 3599.0}, "--certificate-lifetime is shorter"),
        ({"ca_lifetime": 179 * DAY}, "--ca-lifetime is shorter"),
    ],
)
def test_lifetimes_have_to_leave_room(change: dict[str, float], problem: str | None) -> None:
    settings: Settings = dataclasses.replace(SETTINGS, **change)  # type: ignore[arg-type] # times only
    found = settings.problem()
    assert found is None if problem is None else problem in str(found)
