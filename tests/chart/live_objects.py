"""All objects of a cluster, and how a live object differs from what was rendered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.api import Api, ApiError

Key = tuple[str, str, str, str]
"""API group and version, plural, namespace, name."""

PASSING = frozenset({"events", "leases", "endpoints"})
"""What comes and goes by itself, and what mirrors something else."""

API_SERVER_METRICS = {
    "apiserver_admission_webhook_rejection_count": {
        "name": "namespace-default.multus-eni.io",
        "error_type": "calling_webhook_error",
    },
    "apiserver_admission_webhook_admission_duration_seconds_bucket": {
        "name": "namespace-default.multus-eni.io"
    },
}
"""What alerts and dashboard ask of the API server's metrics, after a call of the webhook that failed."""


def exported_by(api: Api) -> set[str]:
    """Return those of API_SERVER_METRICS that the API server exports."""
    families = text_string_to_metric_families(api.raw("/metrics"))
    # The parser gives every counter the name that OpenMetrics wants.
    samples = [
        (sample.name.removesuffix("_total"), sample.labels)
        for family in families
        for sample in family.samples
    ]
    return {
        name
        for name, labels in samples
        if name in API_SERVER_METRICS and API_SERVER_METRICS[name].items() <= labels.items()
    }


def objects(api: Api) -> set[Key]:
    """List every object that the API server has, but for those that come and go by themselves."""
    found: set[Key] = set()
    for version, plural in _resources(api):
        path = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        for item in json.loads(api.raw(f"{path}/{plural}"))["items"]:
            metadata = item["metadata"]
            found.add((version, plural, metadata.get("namespace", ""), metadata["name"]))
    return found


def _resources(api: Api) -> Iterator[tuple[str, str]]:
    groups = json.loads(api.raw("/apis"))["groups"]
    for version in ("v1", *(group["preferredVersion"]["groupVersion"] for group in groups)):
        path = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        try:
            resources = json.loads(api.raw(path))["resources"]
        except ApiError as error:
            if not error.not_found:
                raise
            # The group of a CRD that has just been deleted.
            continue
        for resource in resources:
            if (
                "list" in resource["verbs"]
                and "/" not in resource["name"]
                and resource["name"] not in PASSING
            ):
                yield version, resource["name"]


def differences(rendered: Any, live: Any, path: str = "") -> list[str]:
    """Say where a live object has not what was rendered; what it has beside that does not count."""
    if isinstance(rendered, dict):
        if not isinstance(live, dict):
            return [f"{path}: {live!r} for {rendered!r}"] if rendered else []
        return [
            line
            for key, value in rendered.items()
            for line in differences(value, live.get(key), f"{path}.{key}")
        ]
    if isinstance(rendered, list):
        if len(rendered) != len(live or []):
            return [f"{path}: {live!r} for {rendered!r}"]
        pairs = enumerate(zip(rendered, live or [], strict=True))
        return [line for index, pair in pairs for line in differences(*pair, f"{path}[{index}]")]
    return [] if rendered == live else [f"{path}: {live!r} for {rendered!r}"]
