"""A client of the Kubernetes API for commands on a laptop, with every kubeconfig that kubectl reads.

The official client finds the cluster, by any context, exec plugin and proxy. Only its transport is used:
answers stay JSON, since building its models takes most of its time and memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from common.kube.answers import MAX_MESSAGE, response_time
from common.kube.client import MAX_PAGES, NO_REMEDIES, Answer, Object
from common.kube.errors import ApiError, ClusterError, Unreachable
from common.kube.rest_config import NO_CLUSTER, in_pod, pod_namespace
from common.shorten import shortened
from common.version import VERSION

PAGE = 500
"""Objects in one answer."""
TIMEOUT = 30.0
"""Seconds for an answer."""
JSON = "application/json"
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""Accept header for objects without their content (Kubernetes API Concepts, "Metadata-only fetches")."""


class KubeconfigClient:
    """Speaks to the cluster of a kubeconfig's context; in a pod without one, to the pod's own.

    `kubeconfig` is a file in place of KUBECONFIG or ~/.kube/config, `context` one in place of the current.
    Methods raise ApiError or Unreachable, the construction ClusterError.
    """

    def __init__(
        self,
        program: str,
        kubeconfig: Path | None = None,
        context: str | None = None,
        remedies: Mapping[int, str] = NO_REMEDIES,
    ) -> None:
        self.api = _api_client(kubeconfig, context)
        self.namespace = _namespace(kubeconfig, context)
        """That of the context, `default` where it names none."""
        self._remedies = remedies
        self.api.user_agent = f"{program}/{VERSION}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self.api.close()

    def get(self, path: str, what: str, parameters: Mapping[str, str] | None = None) -> Answer:
        """Read an object; `what` completes "refused to …" in errors."""
        return self._ask("GET", path, what, parameters or {})

    def create(self, path: str, what: str, body: Object, parameters: Mapping[str, str]) -> Answer:
        """Create an object."""
        return self._ask("POST", path, what, parameters, body)

    def items(
        self,
        path: str,
        what: str,
        parameters: Mapping[str, str] | None = None,
        *,
        metadata_only: bool = False,
    ) -> Iterator[Object]:
        """Read all objects of a list, page by page."""
        token = ""
        for _ in range(MAX_PAGES):
            asked = {"limit": str(PAGE), **(parameters or {}), **({"continue": token} if token else {})}
            accept = METADATA if metadata_only else JSON
            found = self._ask("GET", path, what, asked, accept=accept).object
            yield from (each for each in found.get("items") or () if isinstance(each, dict))
            token = str((found.get("metadata") or {}).get("continue") or "")
            if not token:
                return
        raise ApiError(200, "TooLarge", f"the list has more than {MAX_PAGES} pages", what)

    def _ask(  # noqa: PLR0913, PLR0917 - all that a request has
        self,
        method: str,
        path: str,
        what: str,
        parameters: Mapping[str, str],
        body: Object | None = None,
        accept: str = JSON,
    ) -> Answer:
        # Late: it takes a second of CPU, and --help needs none of it.
        from kubernetes.client.exceptions import ApiException, OpenApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        headers = {"Accept": accept, "Content-Type": JSON}
        try:
            _, url, sent, content, _ = self.api.param_serialize(
                method,
                f"{path}?{urlencode(parameters)}",
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            response = self.api.call_api(method, url, sent, content, _request_timeout=TIMEOUT)
            text, status = response.read(), int(response.status)
        except ApiException as error:
            raise Unreachable(f"cannot {what}: {error}") from error
        except (HTTPError, OSError, OpenApiException) as error:
            host = self.api.configuration.host
            text = f"cannot {what}: no answer from the API server at {host}: {_cause(error)}"
            raise Unreachable(f"{text}; does `kubectl version` get one?") from error
        found = _object(text)
        if status >= 300 or found is None:
            texts = (str((found or {}).get(key, "")) for key in ("reason", "message"))
            reason, message = (shortened(each, MAX_MESSAGE) for each in texts)
            remedy = self._remedies.get(status, "")
            message = message or "the answer is not JSON"
            raise ApiError(status, reason or "NotJSON", message, what, remedy=remedy)
        return Answer(found, response_time(response.headers.get("Date")))


def _api_client(kubeconfig: Path | None, context: str | None) -> Any:
    from kubernetes import client, config  # noqa: PLC0415 - see above
    from yaml import YAMLError  # noqa: PLC0415 - the library's own parser

    # The library has no types.
    named = _named(kubeconfig)
    try:
        if named == str(_default()) and not _default().is_file() and context is None:
            if not in_pod():
                raise ClusterError(NO_CLUSTER)
            configuration = client.Configuration()
            config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]  # no types
            return client.ApiClient(configuration)
        return config.new_client_from_config(named, context, persist_config=False)  # type: ignore[no-untyped-call]  # no types
    except (config.ConfigException, OSError, ValueError, YAMLError) as error:
        why = _unusable(named, context) or " ".join(str(error).split())
        raise ClusterError(f"the kubeconfig {named} can't be used: {why}") from error


def _unusable(named: str, context: str | None) -> str:
    """Say what the library does not: that no file is there, or which contexts there are instead."""
    from kubernetes import config  # noqa: PLC0415 - see above
    from yaml import YAMLError  # noqa: PLC0415 - the library's own parser

    files = [Path(each) for each in named.split(os.pathsep) if each]
    if not any(each.exists() for each in files):
        return "there is no such file"
    if context is None:
        return ""
    try:
        every, _ = config.list_kube_config_contexts(named)  # type: ignore[no-untyped-call] # it has no types
    except (config.ConfigException, OSError, ValueError, YAMLError):
        return ""
    names = sorted(str(each["name"]) for each in every)
    return "" if context in names else f"it has no context {context}, but {', '.join(names)}"


def _namespace(kubeconfig: Path | None, context: str | None) -> str:
    from kubernetes import config  # noqa: PLC0415 - see above

    try:
        every, current = config.list_kube_config_contexts(_named(kubeconfig))  # type: ignore[no-untyped-call]  # no types
    except (config.ConfigException, OSError):
        return pod_namespace() or "default"
    chosen = next((each for each in every if each["name"] == context), current)
    return str(chosen["context"].get("namespace") or "default")


def _named(kubeconfig: Path | None) -> str:
    # The library reads KUBECONFIG once, as it is imported.
    return str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG") or str(_default())


def _default() -> Path:
    return Path(os.environ.get("HOME", "/"), ".kube", "config")


def _cause(error: Exception) -> str:
    """Return what went wrong, without urllib3's wrapping of classes, pools and tries."""
    while isinstance(inner := getattr(error, "reason", None), Exception):
        error = inner
    cause = error.__cause__
    return (isinstance(cause, OSError) and cause.strerror) or " ".join(str(error).split())


def _object(text: bytes) -> Object | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
