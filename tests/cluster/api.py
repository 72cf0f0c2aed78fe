"""A thin client of the API server: objects are plain dicts, and warnings come back with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import urllib3

from tests.http_client import HttpClient, succeeded

Manifest = dict[str, Any]

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')


class ApiError(Exception):
    """The API server refused; `message` and `reason` are those of the Status that it sent.

    `warnings` are those that came with it, as kubectl shows them.
    """

    def __init__(self, code: int, reason: str, message: str, warnings: tuple[str, ...] = ()) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.warnings = warnings

    @property
    def not_found(self) -> bool:
        """Whether the object, or its kind, is not there (any more)."""
        return self.code == 404

    @property
    def outdated(self) -> bool:
        """Whether what was read is gone or has changed, as `common.kube.errors.ApiError.outdated`."""
        return self.code in (404, 409)


@dataclass(frozen=True, slots=True)
class Kind:
    """What addresses objects of one kind."""

    api_version: str
    kind: str


NAMESPACE = Kind("v1", "Namespace")
POD = Kind("v1", "Pod")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount")
ENDPOINT_SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice")
DEPLOYMENT = Kind("apps/v1", "Deployment")
RESOURCE_QUOTA = Kind("v1", "ResourceQuota")
WEBHOOK_CONFIGURATION = Kind("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration")


@dataclass(frozen=True, slots=True)
class Answer:
    """An object as the API server has it, and the warnings that came with it, as kubectl shows them."""

    object: Manifest
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Resource:
    plural: str
    namespaced: bool


class Api:
    """Speaks to the API server at `url` with a bearer token, trusting the CA certificate in the file `ca`.

    Which path a kind has is asked of the server (discovery), so that kinds of CRDs work too.
    """

    def __init__(self, url: str, token: str, ca: Path) -> None:
        self._http = HttpClient(url, token=token, ca=ca)
        self._known: dict[str, dict[str, _Resource]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def raw(self, path: str) -> str:
        """Return what a path such as `/readyz` answers; raises ApiError where that is no success."""
        return self._send("GET", path).data.decode()

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> Manifest:
        """Return one object; raises ApiError with code 404 where there is none."""
        return self._answer("GET", self._path(kind, namespace, name)).object

    def list(self, kind: Kind, namespace: str | None = None, labels: str = "") -> list[Manifest]:
        """Return the objects with these labels (a label selector)."""
        parameters = {"labelSelector": labels} if labels else {}
        found = self._answer("GET", self._path(kind, namespace), parameters).object
        items: list[Manifest] = found["items"]
        return items

    def create(self, manifest: Manifest, namespace: str | None = None, *, dry_run: bool = False) -> Answer:
        """Create an object; with `dry_run` it goes through admission and is not stored."""
        path = self._path(_kind_of(manifest), namespace or _namespace_of(manifest))
        return self._answer("POST", path, _dry(dry_run), manifest)

    def apply(
        self,
        manifest: Manifest,
        namespace: str | None = None,
        *,
        manager: str = "tests",
        dry_run: bool = False,
    ) -> Answer:
        """Create or change an object by server-side apply, taking fields over from other managers."""
        path = self._path(
            _kind_of(manifest), namespace or _namespace_of(manifest), manifest["metadata"]["name"]
        )
        parameters = {"fieldManager": manager, "force": "true", **_dry(dry_run)}
        return self._answer("PATCH", path, parameters, manifest, APPLY_PATCH)

    def label(
        self, kind: Kind, name: str, labels: Mapping[str, str | None], namespace: str | None = None
    ) -> Manifest:
        """Set labels, or remove those that are None."""
        body = {"metadata": {"labels": dict(labels)}}
        return self._answer("PATCH", self._path(kind, namespace, name), {}, body, MERGE_PATCH).object

    def patch_status(
        self, kind: Kind, name: str, status: Mapping[str, object], namespace: str | None = None
    ) -> Manifest:
        """Change an object's status by a merge patch, as a kubelet does."""
        path = f"{self._path(kind, namespace, name)}/status"
        return self._answer("PATCH", path, {}, {"status": dict(status)}, MERGE_PATCH).object

    def annotate_pod(self, name: str, namespace: str, annotations: Mapping[str, str]) -> None:
        """Annotate a pod through its subresource `status`, as Multus does."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
        change = {"metadata": {"annotations": dict(annotations)}}
        self._answer("PATCH", path, {"fieldManager": "multus"}, change, MERGE_PATCH)

    def delete(
        self, kind: Kind, name: str, namespace: str | None = None, *, gracefully: bool = False
    ) -> None:
        """Delete an object at once, without its grace period; raises ApiError where there is none.

        With `gracefully` it has its grace period, and what it owns goes later, as with kubectl.
        """
        how = {"propagationPolicy": "Background"} if gracefully else {"gracePeriodSeconds": "0"}
        self._answer("DELETE", self._path(kind, namespace, name), how)

    def delete_all(self, kind: Kind, namespace: str) -> None:
        """Delete all objects of a kind in a namespace at once, without their grace periods."""
        self._answer("DELETE", self._path(kind, namespace), {"gracePeriodSeconds": "0"})

    def logs(self, pod: str, namespace: str, container: str = "") -> str:
        """Return a container's log, by default the only one's; raises ApiError where the kubelet has none."""
        parameters = {"container": container} if container else {}
        return self._send("GET", f"{self._path(POD, namespace, pod)}/log", parameters).data.decode()

    def _path(self, kind: Kind, namespace: str | None, name: str | None = None) -> str:
        resource = self._discover(kind)
        prefix = _group_path(kind.api_version)
        scope = f"/namespaces/{namespace}" if resource.namespaced and namespace else ""
        return f"{prefix}{scope}/{resource.plural}" + (f"/{name}" if name else "")

    def _discover(self, kind: Kind) -> _Resource:
        group = kind.api_version
        # A kind that is not known yet may belong to a CRD that was made meanwhile.
        if kind.kind not in self._known.get(group, {}):
            found = self._answer("GET", _group_path(group)).object["resources"]
            self._known[group] = {
                resource["kind"]: _Resource(resource["name"], resource["namespaced"])
                for resource in found
                if "/" not in resource["name"]
            }
        try:
            return self._known[group][kind.kind]
        except KeyError:
            raise ApiError(404, "NotFound", f"the API server knows no {kind.kind} in {group}") from None

    def _answer(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        media_type: str = "application/json",
    ) -> Answer:
        response = self._send(method, path, parameters, body, media_type)
        return Answer(response.json(), _warnings(response))

    def _send(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        media_type: str = "application/json",
    ) -> urllib3.BaseHTTPResponse:
        response = self._http.request(method, path, parameters=parameters, body=body, media_type=media_type)
        if succeeded(response):
            return response
        raise _error(response)


def _group_path(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _kind_of(manifest: Manifest) -> Kind:
    return Kind(manifest["apiVersion"], manifest["kind"])


def _namespace_of(manifest: Manifest) -> str | None:
    namespace: str | None = manifest.get("metadata", {}).get("namespace")
    return namespace


def _dry(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


def _warnings(response: urllib3.BaseHTTPResponse) -> tuple[str, ...]:
    """Read the `Warning:` headers (RFC 7234, section 5.5); the API server sends code 299, quoted."""
    quoted = (_WARNING.match(header) for header in response.headers.getlist("warning"))
    return tuple(re.sub(r"\\(.)", r"\1", found[1]) for found in quoted if found)


def _error(response: urllib3.BaseHTTPResponse) -> ApiError:
    try:
        status = response.json()
        reason, message = status.get("reason", ""), status.get("message", "")
        return ApiError(response.status, reason, message, _warnings(response))
    except (ValueError, AttributeError):
        text = response.data.decode(errors="replace")
        return ApiError(response.status, response.reason or "", text[:2000])
