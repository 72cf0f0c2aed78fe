"""Translates botocore's errors into the project's own: the only module that knows them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

from ipagent.assign.ec2_error_codes import RETRIED, Failure, Fault, meaning
from ipagent.aws.lost_credentials import pod_identity_failure
from ipagent.log import printable

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse
    from botocore.client import BaseClient
    from botocore.model import OperationModel

MAX_TEXT = 400
_BEGINNING = 1024
"""Bytes in which an answer's element stands."""

# Before "Encoded authorization failure message: …", which is long, and readable by STS alone.
_ENCODED = re.compile(r"\s*Encoded authorization failure message:.*", re.DOTALL)

_TRUST = (
    "The role's trust policy does not let this pod assume it: allow its ServiceAccount there (the condition "
    "on sub is system:serviceaccount:NAMESPACE:NAME), and check that the role's ARN is right."
)

_CREDENTIALS = (
    aws.NoCredentialsError,
    aws.PartialCredentialsError,
    aws.CredentialRetrievalError,
    aws.MetadataRetrievalError,
    aws.TokenRetrievalError,
    aws.NoAuthTokenError,
    aws.UnknownCredentialError,
    aws.ProfileNotFound,
    aws.ConfigParseError,
    aws.InvalidConfigError,
    aws.UnauthorizedSSOTokenError,
)
_NOT_EC2 = (
    "Something else answers in EC2's place, or only a part of the answer arrives: see what is between "
    "the agent and EC2 (AWS_ENDPOINT_URL_EC2, HTTPS_PROXY, a proxy that wants a login, an emulation of EC2). "
    "If nothing does, look at the AWS Health Dashboard for the region."
)

_NO_ANSWER = (aws.HTTPClientError, aws.ConnectionError, TimeoutError)

TRANSLATED = (aws.ClientError, aws.BotoCoreError, ResponseParserError, *_NO_ANSWER)
"""What calls of botocore raise."""


def failure_of(what: str, error: Exception, identity: str, region: str) -> Failure:
    """Return the failure that one of `TRANSLATED` is; `what` was asked with this identity in this region."""
    if isinstance(error, aws.ClientError):
        return _refusal(what, error, identity, region)
    if isinstance(error, ResponseParserError):
        return unreadable(what, str(error))
    if isinstance(error, _CREDENTIALS):
        text = _text(what, str(error))
        return pod_identity_failure(text, error) or Failure(Fault.NO_CREDENTIALS, text)
    fault = Fault.UNREACHABLE if isinstance(error, _NO_ANSWER) else Fault.UNKNOWN
    return Failure(fault, _text(what, str(error)))


def is_untrusted(error: aws.BotoCoreError) -> bool:
    """Return whether the certificate of EC2, STS or a proxy was not to be verified (OpenSSL's name of it)."""
    # The text of ProxyConnectionError leaves out the cause.
    return "CERTIFICATE_VERIFY_FAILED" in f"{error} {error.kwargs.get('error', '')}"


def unreadable(what: str, why: str) -> Failure:
    """Return the failure that an answer is in which EC2's is not to be found."""
    return Failure(Fault.TRANSIENT, _text(what, f"the answer can't be read: {why}"), remedy=_NOT_EC2)


def prepare_answer(operation_model: OperationModel, response_dict: dict[str, Any], **_: object) -> None:
    """Have botocore see what it does not look at: an error with HTTP status 200, and an answer of another.

    For the event `before-parse`. Raises ResponseParserError where the answer is not one of EC2's to this
    operation, such as the page of a proxy: botocore takes each XML document for an answer without contents.
    """
    status, body = response_dict["status_code"], response_dict["body"]
    if status >= 300:
        return
    beginning = body[:_BEGINNING]
    if f"<{operation_model.name}Response".encode() in beginning:
        return
    if b"<Errors>" in beginning:
        # As botocore does it for S3, and by the code it is decided whether to try again.
        response_dict["status_code"] = 400
        return
    raise ResponseParserError(f"with HTTP {status} it begins with {beginning[:40]!r}")


def raise_error(
    http_response: AWSResponse, parsed: dict[str, Any], model: OperationModel, **_: object
) -> None:
    """Raise ClientError for an error that came with HTTP status 200, for the event `after-call`."""
    if http_response.status_code < 300 and "Error" in parsed:
        raise aws.ClientError(parsed, model.name)  # type: ignore[arg-type] # parts of it


def watch(client: BaseClient) -> None:
    """Have a client's answers looked at, by `prepare_answer` and `raise_error`."""
    client.meta.events.register("before-parse.ec2", prepare_answer)
    client.meta.events.register("after-call.ec2", raise_error)


def _refusal(what: str, error: aws.ClientError, identity: str, region: str) -> Failure:
    answer: Mapping[str, Mapping[str, object]] = error.response  # type: ignore[assignment] # parts of it
    code = str(answer.get("Error", {}).get("Code", ""))
    message = str(answer.get("Error", {}).get("Message", ""))
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status and not code:
        return Failure(
            Fault.UNREACHABLE, _text(what, f"HTTP {status} without an error of EC2's"), remedy=_NOT_EC2
        )
    meant = meaning(code, message, status if isinstance(status, int) else 0)
    fault, remedy = meant.fault, meant.remedy
    if error.operation_name.startswith("AssumeRole"):
        # The call for credentials failed, not the call that they were for.
        remedy = _TRUST if fault is Fault.NO_PERMISSION else remedy
        fault = fault if fault in RETRIED else Fault.NO_CREDENTIALS
        what = f"{what}: {error.operation_name}"
    text = _text(what, f"{code}: {_ENCODED.sub('', message)}")
    if fault in (Fault.NO_PERMISSION, Fault.NO_CREDENTIALS):
        text += f" (credentials used: {identity}; region: {region})"
    return Failure(fault, text, remedy=remedy)


def _text(what: str, why: str) -> str:
    return printable(f"{what}: {why}")[:MAX_TEXT].rstrip(". ")
