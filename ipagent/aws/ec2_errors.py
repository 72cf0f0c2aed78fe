"""Errors of botocore, read into our terms: the one place that knows them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

from ipagent.assign.ec2_error_codes import RETRIED, Failure, Fault, meaning
from ipagent.log import printable

MAX_TEXT = 400

# Before "Encoded authorization failure message: …", which is long, and readable by STS alone.
_ENCODED = re.compile(r"\s*Encoded authorization failure message:.*", re.DOTALL)

_TRUST = (
    "The role's trust policy does not let this pod assume it: allow its ServiceAccount there (the condition "
    "on sub is system:serviceaccount:NAMESPACE:NAME), and see that the role's ARN is right."
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
_NO_ANSWER = (aws.HTTPClientError, aws.ConnectionError, TimeoutError)

TRANSLATED = (aws.ClientError, aws.BotoCoreError, ResponseParserError, *_NO_ANSWER)
"""What calls of botocore raise."""


def failure_of(what: str, error: Exception, identity: str, region: str) -> Failure:
    """Return the failure that one of `TRANSLATED` is; `what` was asked with this identity in this region."""
    if isinstance(error, aws.ClientError):
        return _refusal(what, error, identity, region)
    if isinstance(error, ResponseParserError):
        return Failure(Fault.TRANSIENT, _text(what, f"the answer can't be read: {error}"))
    if isinstance(error, _CREDENTIALS):
        return Failure(Fault.NO_CREDENTIALS, _text(what, str(error)))
    fault = Fault.UNREACHABLE if isinstance(error, _NO_ANSWER) else Fault.UNKNOWN
    return Failure(fault, _text(what, str(error)))


def _refusal(what: str, error: aws.ClientError, identity: str, region: str) -> Failure:
    answer: Mapping[str, Mapping[str, object]] = error.response  # type: ignore[assignment] # parts of it
    code = str(answer.get("Error", {}).get("Code", ""))
    message = str(answer.get("Error", {}).get("Message", ""))
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
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
