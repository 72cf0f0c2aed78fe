"""`multus-eni certs run` against the real API server, with its own token and exactly its rights."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.kube.client import Client
from common.kube.errors import ApiError
from common.kube.kubeconfig import load_kubeconfig
from tests.cluster.api import WEBHOOK_CONFIGURATION, Api
from tests.cluster.certificates import Authority
from tests.cluster.certs_process import ROLE_BINDING, SECRET, Certs, Place, make_place
from tests.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.cluster

QUICK = ["--propagation=2s", "--api-propagation=1s"]
"""Waits for a single API server and no replicas."""
OVERLAPPING = ["--propagation=10m", "--api-propagation=1s"]
"""An overlap that no test outlives."""
_numbers = itertools.count(1)


@pytest.fixture
def place(control_plane: ControlPlane, api: Api, tmp_path: Path) -> Iterator[Place]:
    """A namespace, rights, and the configuration as the chart makes it."""
    made = make_place(control_plane, api, f"certs-{next(_numbers)}", tmp_path)
    api.create(made.manifest())
    yield made
    made.delete_configuration()


def count(place: Place) -> int:
    return place.data()["ca.crt"].count(b"BEGIN CERTIFICATE")


def settled(place: Place) -> bool:
    """All is in order, and no older CA is left."""
    return place.in_order() and place.one_authority()


def test_it_makes_the_first_certificate(place: Place) -> None:
    with Certs(place, flags=QUICK) as certs:
        certs.until(place.in_order, "certificate that the API server would trust")
        certs.until(lambda: certs.get("/readyz").status_code == 200, "200 from /readyz")
        assert certs.get("/healthz").status_code == 200
    # One CA and one leaf in one write, and the trust in it: there is nobody to wait for.
    assert certs.wrote() == ["MakeAuthority", "UpdateCaBundle"]
    assert place.api.get(SECRET, place.secret, place.namespace)["type"] == "kubernetes.io/tls"


def test_it_fills_the_secret_that_the_chart_made(place: Place) -> None:
    metadata = {"name": place.secret, "namespace": place.namespace, "labels": {"of": "the-chart"}}
    place.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"})
    with Certs(place, flags=QUICK) as certs:
        certs.until(place.in_order, "certificate that the API server would trust")
    found = place.api.get(SECRET, place.secret, place.namespace)
    assert (found["type"], found["metadata"]["labels"]) == ("Opaque", {"of": "the-chart"})


def test_a_second_start_changes_nothing(place: Place) -> None:
    with Certs(place, "first", QUICK) as certs:
        certs.until(place.in_order, "certificate that the API server would trust")
    before = (place.data(), place.bundles())
    with Certs(place, "second", QUICK) as certs:
        certs.until(lambda: certs.get("/readyz").status_code == 200, "200 from /readyz")
    assert certs.wrote() == []
    assert (place.data(), place.bundles()) == before


def test_a_deleted_secret_is_made_again_and_the_old_ca_stays_trusted_meanwhile(place: Place) -> None:
    with Certs(place, flags=OVERLAPPING) as certs:
        certs.until(lambda: settled(place), "first certificate")
        old = place.data()["ca.crt"]
        place.delete_secret()

        def healed() -> bool:
            return place.in_order() and not place.data()["ca.crt"].startswith(old)

        certs.until(healed, "another certificate")
        assert [old in bundle for bundle in place.bundles().values()] == [True] * len(place.bundles())
        assert old in place.data()["ca.crt"]


@pytest.mark.parametrize(
    ("key", "value", "written"),
    [
        ("tls_crt", b"junk", "IssueLeaf"),
        ("tls_key", b"", "IssueLeaf"),
        ("tls_key", None, "IssueLeaf"),
        ("ca_crt", b"junk", "PruneAuthorities"),
        ("ca_key", None, "MakeAuthority"),
    ],
)
def test_a_damaged_secret_is_put_right(place: Place, key: str, value: bytes | None, written: str) -> None:
    place.api.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": place.secret, "namespace": place.namespace},
        }
    )
    with Certs(place, flags=QUICK) as certs:
        certs.until(lambda: settled(place), "first certificate")
        first = len(certs.wrote())
        place.set_data(**{key: value})
        certs.until(lambda: written in certs.wrote()[first:] and settled(place), "repair")
    # What was not damaged was not replaced.
    assert ("MakeAuthority" in certs.wrote()[first:]) == (key == "ca_key")


def test_a_lost_ca_key_leads_to_a_new_ca_beside_the_old_one(place: Place) -> None:
    with Certs(place, flags=OVERLAPPING) as certs:
        certs.until(lambda: settled(place), "first certificate")
        before = place.data()
        place.set_data(ca_key=b"")
        certs.until(lambda: "ca.key" in place.data() and place.in_order() and count(place) == 2, "second CA")
        # The leaf is the old one, until every API server trusts the new CA.
        assert place.data()["tls.crt"] == before["tls.crt"]
        assert place.data()["ca.crt"].endswith(before["ca.crt"])


def test_a_rotation_ends_with_the_new_ca_alone(place: Place) -> None:
    """A removed CA key is also how to ask for a rotation."""
    with Certs(place, flags=QUICK) as certs:
        # What is written is logged a moment later.
        first = ["MakeAuthority", "UpdateCaBundle"]
        certs.until(lambda: settled(place) and certs.wrote() == first, "first certificate")
        before = place.data()
        place.set_data(ca_key=None)
        steps = ["MakeAuthority", "UpdateCaBundle", "IssueLeaf", "PruneAuthorities", "UpdateCaBundle"]
        certs.until(lambda: certs.wrote() == [*first, *steps] and settled(place), "whole rotation")
        after = place.data()
    assert before["ca.crt"] not in after["ca.crt"]
    assert before["tls.crt"] != after["tls.crt"]


def one_empty(bundles: dict[str, bytes]) -> dict[str, bytes]:
    return dict(list(dict.fromkeys(bundles, b"").items())[:1])


@pytest.mark.parametrize(
    "damage",
    [
        one_empty,
        lambda bundles: dict.fromkeys(bundles, b"junk"),
        lambda bundles: dict.fromkeys(bundles, Authority("somebody").pem),
        lambda bundles: {name: text + b"\nand more" for name, text in bundles.items()},
    ],
    ids=["one entry empty", "junk", "another CA", "more beside it"],
)
def test_a_wrong_bundle_is_put_right(
    place: Place, damage: Callable[[dict[str, bytes]], dict[str, bytes]]
) -> None:
    with Certs(place, flags=QUICK) as certs:
        certs.until(lambda: settled(place), "first certificate")
        good, data = place.bundles(), place.data()
        damaged = {**good, **damage(good)}
        place.set_bundles(damaged)
        certs.until(lambda: place.bundles() == good, "caBundle as before")
        assert place.data() == data


def test_a_configuration_that_is_created_again_gets_its_bundle(place: Place) -> None:
    with Certs(place, flags=QUICK) as certs:
        certs.until(lambda: settled(place), "first certificate")
        good = place.bundles()
        place.delete_configuration()
        place.api.create(place.manifest())
        certs.until(lambda: place.bundles() == good, "caBundle as before")


def test_it_waits_for_the_webhook_configuration(place: Place) -> None:
    place.delete_configuration()
    with Certs(place, flags=QUICK) as certs:
        certs.until(lambda: "tls.crt" in place.data(), "certificate")
        assert certs.get("/readyz").status_code == 503
        place.api.create(place.manifest())
        certs.until(lambda: certs.get("/readyz").status_code == 200 and place.in_order(), "caBundle")


def test_a_removed_entry_is_not_restored(place: Place) -> None:
    """With a configuration of another release: fewer entries, and one that is new."""
    with Certs(place, flags=QUICK) as certs:
        certs.until(lambda: settled(place), "first certificate")
        other = place.manifest()
        other["webhooks"] = [{**other["webhooks"][0], "name": "new.multus-eni.io"}, *other["webhooks"][2:]]
        names = [webhook["name"] for webhook in other["webhooks"]]
        found = place.api.get(WEBHOOK_CONFIGURATION, place.configuration)
        kept = {webhook["name"]: webhook for webhook in found["webhooks"]}
        merged = [kept.get(webhook["name"], webhook) for webhook in other["webhooks"]]
        place.replace_webhooks(merged)
        certs.until(lambda: settled(place), "caBundle in the new entry")
        assert list(place.bundles()) == names


def test_two_at_once_make_one_certificate(place: Place) -> None:
    with Certs(place, "one", QUICK) as one, Certs(place, "two", QUICK) as two:

        def done() -> bool:
            return all(each.get("/readyz").status_code == 200 for each in (one, two)) and settled(place)

        def made() -> int:
            return (one.wrote() + two.wrote()).count("MakeAuthority")

        one.until(done, "certificate")
        one.until(made, "line that says so")
        assert made() == 1
        place.delete_secret()
        one.until(lambda: "ca.crt" in place.data() and done(), "another certificate")
        # The line is logged after the write.
        one.until(lambda: made() >= 2, "line that says so")
    assert made() == 2


def test_nothing_secret_is_logged(place: Place) -> None:
    with Certs(place, flags=QUICK) as certs:
        certs.until(lambda: settled(place), "first certificate")
        keys = [place.data()["tls.key"], place.data()["ca.key"]]
        place.delete_secret()
        certs.until(lambda: "ca.crt" in place.data() and settled(place), "another certificate")
        keys += [place.data()["tls.key"], place.data()["ca.key"]]
    log = certs.process.log.read_text(encoding="utf-8")
    token = (place.folder / f"{place.namespace}.token").read_text(encoding="ascii")
    secrets = [line for key in keys for line in key.decode().splitlines() if "-----" not in line]
    assert len(secrets) >= 4 * 3
    assert [each for each in (*secrets, token) if each in log] == []


def test_a_secret_that_nobody_may_change_is_named_with_the_remedy(place: Place) -> None:
    metadata = {"name": place.secret, "namespace": place.namespace}
    place.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "immutable": True})
    with Certs(place, flags=QUICK) as certs:
        (first, *_) = certs.until(lambda: certs.events("failed"), "failure")
        assert "immutable" in first["error"]
        assert "delete it" in first["error"]
        assert certs.get("/healthz").status_code == 200
        place.delete_secret()
        certs.until(place.in_order, "certificate")


def test_rights_that_are_missing_are_named_and_may_come_later(place: Place) -> None:
    binding = place.api.get(ROLE_BINDING, "certs", place.namespace)
    place.api.delete(ROLE_BINDING, "certs", place.namespace)
    with Certs(place, flags=QUICK) as certs:

        def refused() -> bool:
            return any(
                "403" in line["error"] and "Rights" in line["error"] for line in certs.events("failed")
            )

        certs.until(refused, "refusal")
        metadata = {"name": "certs", "namespace": place.namespace}
        place.api.create({**binding, "metadata": metadata})
        certs.until(place.in_order, "certificate")


def test_status_says_what_is_and_what_is_next(place: Place) -> None:
    before = place.status()
    assert (before.returncode, "MakeAuthority" in before.stdout) == (3, True)
    with Certs(place, flags=QUICK) as certs:
        certs.until(lambda: settled(place), "first certificate")
    after = place.status("--output=json")
    assert after.returncode == 0
    found = json.loads(after.stdout)
    assert found["inOrder"] is True
    assert found["certificate"]["names"] == [place.dns_name]
    assert {entry["trustsCertificate"] for entry in found["entries"]} == {True}
    assert "PRIVATE KEY" not in after.stdout
    text = place.status()
    assert found["certificate"]["notAfter"] in text.stdout


def test_its_rights_reach_no_further(place: Place) -> None:
    client = Client(load_kubeconfig([place.kubeconfig()]), "tests")
    secrets = f"/api/v1/namespaces/{place.namespace}/secrets"
    configurations = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    other = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other"}}
    attempts: list[Callable[[], object]] = [
        lambda: client.get(secrets, "list all Secrets"),
        lambda: client.get(f"{secrets}/other", "read another Secret"),
        lambda: client.apply(f"{secrets}/other", "create another", other, manager="tests", force=True),
        lambda: client.get(configurations, "list all configurations"),
        lambda: client.merge(f"{configurations}/other", "change another", {}, manager="tests"),
    ]
    for attempt in attempts:
        with pytest.raises(ApiError) as refused:
            attempt()
        assert refused.value.code == 403
