"""The registry in which a program keeps its Prometheus metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics


def process_registry() -> CollectorRegistry:
    """Return a registry with the `process_*` metrics: CPU, memory, start time, file descriptors.

    Counters and histograms get no `*_created` series from here on: each would double its samples, and
    `process_start_time_seconds` says the same for a process whose counters start with it.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the package has no types for it
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry
