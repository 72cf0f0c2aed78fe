"""Creates the user's pod without an API server: by the AdmissionReview that one would send to the webhook."""

from __future__ import annotations

import base64
import copy
import secrets
import uuid
from collections.abc import Mapping
from typing import Any

import jsonpatch

from common.pod_keys import INJECTION, MODE, Injection
from demo.admission import Admitted, Via
from demo.failure import DemoError
from demo.manifests import Manifest, Manifests, pod_of
from demo.webhook import Webhook

_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""That of generated names: apimachinery, pkg/util/rand."""


def create(manifests: Manifests, webhook: Webhook) -> Admitted:
    """Post the AdmissionReview that an API server would send, and apply the patch as it would.

    Raises DemoError where the webhook refuses the pod.
    """
    before = with_defaults(pod_of(manifests.deployment))
    path = path_for(manifests.namespace)
    request = review_of(before)
    try:
        response = webhook.review(path, request)["response"]
    except (OSError, ValueError, KeyError) as error:
        raise DemoError(f"the webhook gave no answer: {error}", log=webhook.process.tail()) from None
    if response.get("uid") != request["request"]["uid"]:
        raise DemoError("the webhook's answer has another uid than the review: an API server would refuse it")
    if not response.get("allowed"):
        raise DemoError(f"the webhook refused the pod: {response.get('status', {}).get('message')}")
    pod = copy.deepcopy(before)
    if response.get("patch"):
        pod = jsonpatch.apply_patch(pod, base64.b64decode(response["patch"]).decode())
    named = _named(pod)
    warnings = tuple(response.get("warnings", ()))
    return Admitted(Via.REVIEW, f"an AdmissionReview posted to {webhook.url}{path}", before, named, warnings)


def path_for(namespace: Mapping[str, Any]) -> str:
    """The entry of the MutatingWebhookConfiguration that selects pods of this namespace."""
    labels = namespace["metadata"].get("labels", {})
    if labels.get(INJECTION) != Injection.ENABLED:
        raise DemoError(
            f"the namespace lacks the label {INJECTION}={Injection.ENABLED}: no API server would call"
        )
    return f"/mutate/namespace/{labels.get(MODE, 'default')}"


def review_of(pod: Manifest) -> Manifest:
    """The admission.k8s.io/v1 review of the creation of a pod."""
    resource = {"group": "", "version": "v1", "resource": "pods"}
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": str(uuid.uuid4()),
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "namespace": pod["metadata"]["namespace"],
            "operation": "CREATE",
            "userInfo": {
                "username": "system:serviceaccount:kube-system:replicaset-controller",
                "groups": ["system:serviceaccounts", "system:authenticated"],
            },
            "object": pod,
            "oldObject": None,
            "dryRun": False,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    }


def with_defaults(pod: Manifest) -> Manifest:
    """A pod with the defaults that an API server has set before it calls webhooks (pkg/apis/core/v1)."""
    spec = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
        **copy.deepcopy(pod["spec"]),
    }
    container = {
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    spec["containers"] = [{**container, **given} for given in spec["containers"]]
    return {**copy.deepcopy(pod), "spec": spec}


def _named(pod: Manifest) -> Manifest:
    """What an API server adds after admission."""
    suffix = "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(5))
    metadata = {"name": pod["metadata"]["generateName"] + suffix, "uid": str(uuid.uuid4()), **pod["metadata"]}
    return {**pod, "metadata": metadata}
