"""Names in a pod: the injected container, its command, its files, its token."""

from __future__ import annotations

CONTAINER_NAME = "multus-eni-agent"
COMMAND = "ipagent"
RUN_VOLUME = "multus-eni-run"
RUN_DIRECTORY = "/run/multus-eni"
STARTED_FILE = RUN_DIRECTORY + "/started"
TERMINATION_LOG = "/dev/termination-log"
TOKEN_VOLUME = "multus-eni-token"  # noqa: S105 - a name
TOKEN_DIRECTORY = "/var/run/secrets/multus-eni.io/node-agent"  # noqa: S105 - a path
TOKEN_NAME = "token"  # noqa: S105 - a file's name
TOKEN_FILE = f"{TOKEN_DIRECTORY}/{TOKEN_NAME}"
"""The projected ServiceAccount token that authenticates the pod to the node agent."""
TOKEN_AUDIENCE = "multus-eni-injector"  # noqa: S105 - a name
"""The audience of that token: nobody else accepts it, not even the API server."""
