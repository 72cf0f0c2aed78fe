"""What every program exports beside its own metrics."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from certs.metrics import MetricsAndProbes
from ipagent.controller.observe import metrics as controller
from ipagent.node.observe.metrics import Metrics as NodeMetrics
from ipagent.node.observe.metrics import Snapshot
from webhook.server.metrics import Metrics

PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds"}


@pytest.mark.pure
@pytest.mark.parametrize(
    "registry",
    [
        lambda: Metrics().registry,
        lambda: MetricsAndProbes(lambda: 0.0, 60.0).registry,
        lambda: NodeMetrics(Snapshot).registry,
        lambda: controller.registry(controller.Snapshot),
    ],
    ids=["webhook", "certs", "node agent", "controller"],
)
@pytest.mark.parametrize("text", [generate_latest, generate_openmetrics], ids=["text", "openmetrics"])
def test_each_program_exports_its_process_and_no_created_series(
    registry: Callable[[], CollectorRegistry], text: Callable[[CollectorRegistry], bytes]
) -> None:
    lines = text(registry()).decode().splitlines()
    names = {line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")}
    assert names >= PROCESS
    assert any(name.endswith("_total") for name in names)
    assert not [name for name in names if name.endswith("_created")]
