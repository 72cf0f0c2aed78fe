"""Why caBundle is left out of the chart and applied by certs: upgrades, rollbacks, older versions with Helm.

Instead of the real chart a small one stands here, whose versions differ in their entries: the real one has
the same entries in all versions, and the last test shows why.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from certs.state import MADE_BY, OWN_MODE
from tests.cluster.api import WEBHOOK_CONFIGURATION, Api, ApiError
from tests.cluster.certificates import Authority
from tests.cluster.certs_process import Certs, Place, make_place
from tests.cluster.control_plane import ControlPlane
from tests.cluster.helm import Helm, HelmError
from tests.skipping import programs

pytestmark = pytest.mark.cluster

QUICK = ["--propagation=2s", "--api-propagation=1s"]
TEMPLATE = """\
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata:
  name: {{ .Values.name }}
  annotations: {{ toJson .Values.annotations }}
webhooks:
{{- range .Values.entries }}
  - {{ toJson (merge (dict "timeoutSeconds" (int $.Values.timeout)) .) }}
{{- end }}
{{- with .Values.refused }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: {{ . }}}
{{- end }}
"""
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Release:
    """A release of the small chart."""

    place: Place
    helm: Helm
    chart: Path

    def install(
        self, entries: int, timeout: int = 10, *options: str, bundle: bytes = b"", refused: str = ""
    ) -> None:
        """Install or upgrade, with the first so many entries, and a caBundle as in mode existingSecret.

        `refused` is a name that the API server refuses, of an object that Helm writes later.
        """
        webhooks = self.place.manifest()["webhooks"][:entries]
        for webhook in webhooks:
            del webhook["timeoutSeconds"]
            if bundle:
                webhook["clientConfig"]["caBundle"] = base64.b64encode(bundle).decode("ascii")
        values = {
            "name": self.place.configuration,
            "entries": webhooks,
            "timeout": timeout,
            "annotations": {MADE_BY: "existingSecret" if bundle else OWN_MODE},
            "refused": refused,
        }
        command = ("upgrade", "--install", "it", str(self.chart), "--namespace=default", *options)
        self.helm.run(*command, values=values)

    def rollback(self, revision: int) -> None:
        self.helm.run("rollback", "it", str(revision), "--namespace=default")

    def uninstall(self) -> None:
        self.helm.run("uninstall", "it", "--namespace=default")

    def timeouts(self) -> set[int]:
        found = self.place.api.get(WEBHOOK_CONFIGURATION, self.place.configuration)
        return {webhook["timeoutSeconds"] for webhook in found["webhooks"]}


@pytest.fixture(params=["helm3", "helm4"])
def release(
    request: pytest.FixtureRequest, control_plane: ControlPlane, api: Api, tmp_path: Path
) -> Iterator[Release]:
    """A chart that is not installed yet, in this version of Helm, and a place for certs."""
    program = programs([request.param])[request.param]
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": "it", "version": "1.0.0"}))
    (chart / "templates" / "configuration.yaml").write_text(TEMPLATE, encoding="utf-8")
    place = make_place(control_plane, api, f"certs-helm-{next(_numbers)}", tmp_path)
    helm = Helm(program, tmp_path / "helm", control_plane.kubeconfig(control_plane.admin))
    made = Release(place, helm, chart)
    yield made
    try:
        made.uninstall()
    except HelmError as error:
        if "not found" not in str(error):
            raise


@pytest.fixture
def trusted(release: Release) -> dict[str, bytes]:
    """Three entries of revision 1, in which certs has written; it does not run any more."""
    release.install(3)
    with Certs(release.place, flags=QUICK) as certs:
        certs.until(lambda: release.place.in_order() and release.place.one_authority(), "certificate")
    return release.place.bundles()


def test_an_upgrade_and_a_rollback_keep_the_bundle(release: Release, trusted: dict[str, bytes]) -> None:
    release.install(3, timeout=7)
    assert (release.timeouts(), release.place.bundles()) == ({7}, trusted)
    release.install(3, timeout=7)
    assert release.place.bundles() == trusted
    release.rollback(1)
    assert (release.timeouts(), release.place.bundles()) == ({10}, trusted)


def test_a_new_entry_gets_the_bundle(release: Release, trusted: dict[str, bytes]) -> None:
    release.install(4)
    (new,) = set(release.place.bundles()) - set(trusted)
    assert release.place.bundles() == {**trusted, new: b""}
    with Certs(release.place, flags=QUICK) as certs:
        certs.until(release.place.in_order, "caBundle in the new entry")
    assert len(release.place.bundles()) == 4


def test_uninstalling_leaves_no_configuration(release: Release, trusted: dict[str, bytes]) -> None:
    assert trusted
    with Certs(release.place, flags=QUICK) as certs:
        certs.until(lambda: certs.get("/readyz").status_code == 200, "200 from /readyz")
        release.uninstall()
        certs.until(lambda: certs.get("/readyz").status_code == 503, "503 from /readyz")
    with pytest.raises(ApiError, match="404"):
        release.place.api.get(WEBHOOK_CONFIGURATION, release.place.configuration)


def test_an_entry_that_an_older_version_lacks(release: Release, trusted: dict[str, bytes]) -> None:
    """Helm 3 removes it, and it stays away; Helm 4 can't, and says so: hence the constant entries."""
    if "helm4" in release.helm.program.name:
        with pytest.raises(HelmError, match="sideEffects: Required value"):
            release.install(2)
        assert release.place.bundles() == trusted
        return
    release.install(2)
    kept = dict(list(trusted.items())[:2])
    assert release.place.bundles() == kept
    with Certs(release.place, flags=QUICK) as certs:
        certs.until(lambda: certs.get("/readyz").status_code == 200, "200 from /readyz")
    assert release.place.bundles() == kept


def test_a_bundle_that_the_chart_gives_stays(release: Release, trusted: dict[str, bytes]) -> None:
    """The mode changes to existingSecret: Helm ends certs last, which must not undo what Helm has written."""
    given = Authority("given").pem
    with Certs(release.place, flags=QUICK) as certs:
        certs.until(lambda: certs.get("/readyz").status_code == 200, "200 from /readyz")
        if "helm4" in release.helm.program.name:
            with pytest.raises(HelmError, match=r"(?s)conflict.*multus-eni-certs"):
                release.install(3, bundle=given)
            release.install(3, 10, "--force-conflicts", bundle=given)
        else:
            release.install(3, bundle=given)
        certs.until(lambda: "made by others" in str(certs.events("waiting")[-1:]), "end of its work")
        assert release.place.bundles() == dict.fromkeys(trusted, given)

        release.install(3)
        certs.until(release.place.in_order, "caBundle as before")


def test_a_failed_change_of_the_mode_is_taken_back_by_an_upgrade(
    release: Release, trusted: dict[str, bytes]
) -> None:
    """Helm 3 compares with the last release that did not fail, and keeps what only the failed one has."""
    given = Authority("given").pem
    force = ("--force-conflicts",) if "helm4" in release.helm.program.name else ()
    with pytest.raises(HelmError, match="Not_A_Name"):
        release.install(3, 10, *force, bundle=given, refused="Not_A_Name")
    assert release.place.bundles() == dict.fromkeys(trusted, given)
    release.install(3)
    with Certs(release.place, flags=QUICK) as certs:
        certs.until(release.place.in_order, "caBundle as before")


def test_certs_owns_no_field_but_the_ca_bundle(release: Release, trusted: dict[str, bytes]) -> None:
    """What certs owns is caBundle alone: no tool that compares what the chart says finds a difference."""
    found = release.place.api.get(WEBHOOK_CONFIGURATION, release.place.configuration)
    (ours,) = [each for each in found["metadata"]["managedFields"] if each["manager"] == "multus-eni-certs"]
    owned = ours["fieldsV1"]["f:webhooks"]
    assert {json.loads(key.removeprefix("k:"))["name"] for key in owned} == set(trusted)
    for fields in owned.values():
        assert set(fields) <= {".", "f:name", "f:clientConfig"}
        assert set(fields["f:clientConfig"]) <= {".", "f:caBundle"}
