"""Why there are no credentials, and whether a retry may find some.

botocore tries each source a few times without a pause, then says that there are no credentials: that IMDS or
the agent of EKS Pod Identity is busy, or has not started on a new node, looks the same as no role at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from botocore import exceptions as aws

from common.pod_keys import TIMEOUT
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import NoImds

Found = TypeVar("Found")

OF_NODE, OF_POD_IDENTITY = "iam-role", "container-role"
"""Names that botocore has for where credentials come from (`METHOD` in botocore.credentials)."""
SUCCESS = "Success"

_ROLE = (
    "IMDS limits how often an instance asks it: see what else on the node asks it (agents of logs and "
    "metrics, pods that start at the same time), and allow more time with the annotation "
    f"{TIMEOUT}. Credentials of EKS Pod Identity or IRSA need no IMDS."
)
_UNREAD = (
    "IMDS has the credentials, and the AWS SDK did not get them: a proxy must not be asked for IMDS "
    "(NO_PROXY with 169.254.169.254). If there is none, allow more time with the annotation "
    f"{TIMEOUT}."
)
_TRUST = (
    "IMDS has no credentials of the node's role: the role's trust policy must let ec2.amazonaws.com assume "
    "it. If another identity was meant, give the ServiceAccount a role (EKS Pod Identity or IRSA)."
)
_POD_IDENTITY = (
    "The EKS Pod Identity agent of the node has no credentials to give at present: see whether it runs there "
    "(the DaemonSet eks-pod-identity-agent in kube-system), let it reach AWS, let no NetworkPolicy block "
    f"169.254.170.23, and allow more time with the annotation {TIMEOUT}."
)
# What the agent of EKS Pod Identity refuses (`Received non 200 response` in botocore.utils), 429 apart.
_REFUSED = re.compile(r"non 200 response 4(?!29)\d\d\b")


def with_credentials(read: Callable[[], Found]) -> Found:
    """Read credentials; whatever their source raises is an error of botocore's afterwards.

    A token's file that is not there, an answer that lacks a key, credentials that have expired though they
    were renewed: botocore lets these through as OSError, KeyError, ValueError, RuntimeError.
    """
    try:
        return read()
    except aws.BotoCoreError:
        raise
    except (OSError, LookupError, ValueError, RuntimeError, TypeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise aws.CredentialRetrievalError(provider="their source", error_msg=why) from None


def lacks_role(error: Exception, identity: str) -> bool:
    """Return whether an error says that the credentials of the node's role are not there."""
    renewing = isinstance(error, aws.CredentialRetrievalError) and identity == OF_NODE
    return renewing or isinstance(error, aws.NoCredentialsError)


def role_failure(failure: Failure, what: str, role_status: Callable[[], str]) -> Failure:
    """Return what IMDS makes of a failure for lack of the node's role: that there is none, or none yet."""
    try:
        status = role_status()
    except NoImds as error:
        if not error.transient:
            return failure
        text = f"{what}: the credentials of the node's role are not there yet: {error}"
        return Failure(Fault.TRANSIENT, text, remedy=_ROLE)
    if not status:
        return failure
    if status == SUCCESS:
        return Failure(Fault.TRANSIENT, f"{failure.text}, though IMDS has those of a role", remedy=_UNREAD)
    return Failure(
        Fault.NO_CREDENTIALS, f"{failure.text}; of the node's role IMDS says {status}", remedy=_TRUST
    )


def pod_identity_failure(text: str, error: Exception) -> Failure | None:
    """Return the failure if the agent of EKS Pod Identity did not answer, or could not ask AWS itself."""
    said = str(error)
    of_pod = isinstance(error, aws.CredentialRetrievalError) and f"from {OF_POD_IDENTITY}" in said
    if not of_pod or _REFUSED.search(said):
        return None
    return Failure(Fault.TRANSIENT, text, remedy=_POD_IDENTITY)
