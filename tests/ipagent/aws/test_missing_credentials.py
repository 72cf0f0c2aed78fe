"""What is made of missing credentials: whether there may be some in a moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from botocore import exceptions as aws

from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import BadImdsAnswer, SilentImds
from ipagent.aws.botocore_errors import failure_of
from ipagent.aws.missing_credentials import lacks_role, role_failure, with_credentials

pytestmark = pytest.mark.pure

NONE = Failure(Fault.NO_CREDENTIALS, "credentials: Unable to locate credentials")


def says(status: str | Exception) -> Callable[[], str]:
    def role_status() -> str:
        if isinstance(status, Exception):
            raise status
        return status

    return role_status


def refusal(text: str) -> BadImdsAnswer:
    error = BadImdsAnswer(text)
    error.transient = False
    return error


@pytest.mark.parametrize(
    ("status", "fault", "text"),
    [
        ("", Fault.NO_CREDENTIALS, NONE.text),
        (SilentImds("silent"), Fault.NO_CREDENTIALS, NONE.text),
        (BadImdsAnswer("HTTP 503"), Fault.TRANSIENT, "are not there yet: HTTP 503"),
        (refusal("HTTP 403"), Fault.NO_CREDENTIALS, NONE.text),
        ("Success", Fault.TRANSIENT, "though IMDS has those of a role"),
        ("AssumeRoleUnauthorizedAccess", Fault.NO_CREDENTIALS, "IMDS says AssumeRoleUnauthorizedAccess"),
    ],
    ids=str,
)
def test_what_imds_says_of_the_role_decides(status: str | Exception, fault: Fault, text: str) -> None:
    found = role_failure(NONE, "credentials", says(status))
    assert found.fault is fault
    assert text in found.text
    assert bool(found.remedy) == (found is not NONE)


@pytest.mark.parametrize(
    ("error", "identity", "expected"),
    [
        (aws.NoCredentialsError(), "unknown", True),
        (aws.CredentialRetrievalError(provider="iam-role", error_msg="m"), "iam-role", True),
        (aws.CredentialRetrievalError(provider="container-role", error_msg="m"), "container-role", False),
        (aws.ProfileNotFound(profile="p"), "unknown", False),
    ],
)
def test_imds_is_asked_where_the_role_of_the_node_is_what_is_missing(
    error: Exception, identity: str, expected: bool
) -> None:
    assert lacks_role(error, identity) is expected


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("Received non 200 response 500 from container metadata: x", Fault.TRANSIENT),
        ("Received non 200 response 429 from container metadata: x", Fault.TRANSIENT),
        ("Received error when attempting to retrieve container metadata: refused", Fault.TRANSIENT),
        ("Received non 200 response 404 from container metadata: x", Fault.NO_CREDENTIALS),
        ("Received non 200 response 400 from container metadata: AccessDenied", Fault.NO_CREDENTIALS),
    ],
)
def test_the_agent_of_eks_pod_identity_may_answer_in_a_moment(said: str, fault: Fault) -> None:
    error = aws.CredentialRetrievalError(provider="container-role", error_msg=said)
    found = failure_of("credentials", error, "unknown", "eu-central-1")
    assert found.fault is fault
    assert ("eks-pod-identity-agent" in found.remedy) is (fault is Fault.TRANSIENT)


@pytest.mark.parametrize(
    "raised",
    [
        FileNotFoundError(2, "No such file", "/var/run/secrets/token"),
        KeyError("AccessKeyId"),
        RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
        ValueError("Unsupported host"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_source_raises_is_no_crash(raised: Exception) -> None:
    def read() -> None:
        raise raised

    with pytest.raises(aws.CredentialRetrievalError) as caught:
        with_credentials(read)
    assert type(raised).__name__ in str(caught.value)


def test_botocores_own_errors_stay_what_they_are() -> None:
    def read() -> None:
        raise aws.ConnectTimeoutError(endpoint_url="u", error="e")

    with pytest.raises(aws.ConnectTimeoutError):
        with_credentials(read)
