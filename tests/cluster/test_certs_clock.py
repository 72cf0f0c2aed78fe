"""Years on the real API server: the loop with its own token, and a clock that is moved on in steps."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from certs.controller import Controller
from certs.metrics import MetricsAndProbes
from certs.rotation import Now, Settings
from certs.store import Names, Store
from common.kube.client import Answer, Client
from common.kube.errors import ApiError
from common.kube.kubeconfig import load_kubeconfig
from common.log import JsonLog
from tests.cluster.api import Api
from tests.cluster.certs_process import make_place
from tests.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.cluster

DAY = 86400.0
YEARS = 3 * 365 * DAY
STEP = 20 * DAY


class MovedOn(Client):
    """The API server as it would be so much later: its answers carry a later time. It is the clock, too."""

    later = 0.0

    def now(self) -> Now:
        """Return the time."""
        return Now(time.time() + self.later, time.monotonic() + self.later)

    def get(self, path: str, what: str, parameters: Mapping[str, str] | None = None) -> Answer:
        """Read."""
        try:
            answer = super().get(path, what, parameters)
        except ApiError as error:
            error.time = None if error.time is None else error.time + self.later
            raise
        return Answer(answer.object, None if answer.time is None else answer.time + self.later)


def test_over_years_every_leaf_is_trusted_when_it_is_served(
    control_plane: ControlPlane, api: Api, tmp_path: Path
) -> None:
    place = make_place(control_plane, api, "certs-years", tmp_path)
    api.create(place.manifest())
    client = MovedOn(load_kubeconfig([place.kubeconfig()]), "tests")
    settings = Settings(frozenset({place.dns_name}), 90 * DAY, 365 * DAY, 300.0, 10.0)
    names = Names(place.namespace, place.secret, place.configuration)
    log = io.BytesIO()
    metrics = MetricsAndProbes(lambda: client.now().steady, STEP)
    loop = Controller(Store(client, names), settings, client, JsonLog(log), metrics)
    loop.tick = STEP
    leaves: list[bytes] = []
    authorities: list[bytes] = []
    while client.later < YEARS:
        client.later += loop.turn()
        if loop.turn() > 0:
            # Nothing is left to be done at this instant: both objects are as they should be.
            assert place.disagreement(client.now().wall) is None, log.getvalue()[-2000:]
            assert metrics.ready
        data = place.data()
        leaves += [data["tls.crt"]] if data["tls.crt"] not in leaves else []
        authorities += [data["ca.crt"]] if data["ca.crt"] not in authorities else []
        assert b'"failed"' not in log.getvalue()
    # Renewed with a third left: every 60 days, and every 243.
    assert len(leaves) >= YEARS / (60 * DAY)
    alone = [each for each in authorities if each.count(b"BEGIN CERTIFICATE") == 1]
    assert len(alone) >= YEARS / (244 * DAY)
    # Between two that stand alone there was an overlap.
    assert len(authorities) == 2 * len(alone) - 1
    assert place.one_authority()
    place.delete_configuration()
