"""Asks the API server what it would make of a Multus pod, storing nothing; fails unless it has the agent."""

import json
import os
import pathlib
import ssl
import sys
import urllib.error
import urllib.request

AGENT = "multus-eni-agent"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "generateName": "multus-eni-injection-test-",
        "labels": {"multus-eni.io/injection": "enabled"},
        "annotations": {"k8s.v1.cni.cncf.io/networks": "injection-test"},
    },
    "spec": {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "app",
                "image": "injection-test.invalid/app",
                "resources": {
                    "requests": {"cpu": "10m", "memory": "16Mi"},
                    "limits": {"cpu": "10m", "memory": "16Mi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    },
}


def main(account: pathlib.Path) -> str:
    """Return what is wrong, or nothing."""
    namespace, token = ((account / name).read_text().strip() for name in ("namespace", "token"))
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    address = f"[{host}]" if ":" in host else host
    request = urllib.request.Request(
        f"https://{address}:{port}/api/v1/namespaces/{namespace}/pods?dryRun=All",
        json.dumps(POD).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=account / "ca.crt")),
    )
    try:
        with opener.open(request, timeout=30) as response:
            pod = json.load(response)
    except urllib.error.HTTPError as error:
        return f"the API server refused the pod: {error.read().decode(errors='replace')[:2000]}"
    except (OSError, ValueError) as error:
        return f"no answer from the API server: {error}"
    names = [container["name"] for container in pod["spec"].get("initContainers", [])]
    if names[:1] != [AGENT]:
        return f"no {AGENT} was injected; init containers: {names}. See `kubectl logs` of the webhook's pods"
    print(f"injected: {pod['metadata']['annotations']['multus-eni.io/status']}")
    return ""


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])) or 0)
