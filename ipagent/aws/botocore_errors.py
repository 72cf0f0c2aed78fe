"""Translates botocore's errors into the project's own: the only module that knows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.aws.ec2_failures import failure_text, no_error_of_ec2, refusal, unreadable
from ipagent.aws.missing_credentials import pod_identity_failure

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse
    from botocore.client import BaseClient
    from botocore.model import OperationModel

_BEGINNING = 1024
"""Bytes in which an answer's element stands."""

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
_WITHOUT_CAUSE = (aws.ProxyConnectionError, aws.EndpointConnectionError, aws.ConnectionClosedError)
"""Errors whose text leaves out the cause."""

_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
"""OpenSSL's name of a certificate that was not to be verified."""
_WHERE_SET = (
    "where EC2 is called: for the agent in pods by agent.env, agent.volumes and agent.volumeMounts, for the "
    "node agent and the controller by their extraEnv, extraVolumes and extraVolumeMounts"
)
_BUNDLE = "The file that AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE or ca_bundle in the profile names"
_UNREADABLE_BUNDLE = f"{_BUNDLE} must be mounted and readable {_WHERE_SET}."
_DATES = (
    "If the node's clock is wrong, set it (chrony): a certificate is valid between two dates. If it is "
    "right, whoever runs that server, a proxy or an endpoint of your own, has to renew its certificate."
)
_OTHER_NAMES = (
    "The server's certificate is for other names, so something else may answer in its place: see "
    "AWS_ENDPOINT_URL_EC2, whose URL needs one of those names, HTTPS_PROXY, and the VPC's DNS records."
)
_TLS_REMEDIES = {
    "certificate has expired": _DATES,
    "certificate is not yet valid": _DATES,
    "doesn't match": _OTHER_NAMES,
    "mismatch": _OTHER_NAMES,
    _UNTRUSTED: (
        "That certificate is of a CA that is not trusted: a proxy in between reads TLS, or the endpoint has "
        "a certificate of your own CA (openssl s_client -showcerts -connect HOST:443 shows the issuer). Let "
        f"AWS_CA_BUNDLE name a file with that CA {_WHERE_SET}. If it is set, its file lacks this CA."
    ),
    "[X509": f"{_BUNDLE} must hold the CA's certificate as PEM.",
}
"""What a failure of TLS says -> what the user does next; the first that fits."""
_PROXY = (
    "Calls go to that proxy because HTTPS_PROXY is set: check its URL (http://, unless the proxy itself "
    "speaks TLS), its login, and that NetworkPolicies and security groups let the agent reach it; or name "
    "EC2 and STS in NO_PROXY if they can be reached without it."
)

TRANSLATED = (aws.ClientError, aws.BotoCoreError, ResponseParserError, *_NO_ANSWER)
"""What calls of botocore raise."""


def failure_of(what: str, error: Exception, identity: str, region: str) -> Failure:
    """Return the failure that one of `TRANSLATED` is; `what` was asked with this identity in this region."""
    if isinstance(error, aws.ClientError):
        return _refusal(what, error, identity, region)
    if isinstance(error, ResponseParserError):
        return unreadable(what, str(error))
    if isinstance(error, _CREDENTIALS):
        text = failure_text(what, str(error))
        return pod_identity_failure(text, error) or Failure(Fault.NO_CREDENTIALS, text)
    if isinstance(error, _NO_ANSWER):
        return _no_answer(what, error)
    return Failure(Fault.UNKNOWN, failure_text(what, str(error)))


def is_untrusted(error: Exception) -> bool:
    """Return whether the certificate of EC2, STS or a proxy was not to be verified."""
    return _UNTRUSTED in f"{error} {_cause(error)}"


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


def register_handlers(client: BaseClient) -> None:
    """Have a client's answers looked at, by `prepare_answer` and `raise_error`."""
    client.meta.events.register("before-parse.ec2", prepare_answer)
    client.meta.events.register("after-call.ec2", raise_error)


def _refusal(what: str, error: aws.ClientError, identity: str, region: str) -> Failure:
    answer: Mapping[str, Mapping[str, object]] = error.response  # type: ignore[assignment] # parts of it
    code = str(answer.get("Error", {}).get("Code", ""))
    message = str(answer.get("Error", {}).get("Message", ""))
    found = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    status = found if isinstance(found, int) else 0
    if status and not code:
        return no_error_of_ec2(what, status)
    return refusal(
        what,
        code,
        message,
        status=status,
        operation=error.operation_name,
        identity=identity,
        region=region,
    )


def _no_answer(what: str, error: Exception) -> Failure:
    cause = _cause(error)
    text = str(error)
    if isinstance(error, _WITHOUT_CAUSE) and cause is not error:
        text = f"{text.rstrip('. ')}: {cause}"
    return Failure(Fault.UNREACHABLE, failure_text(what, text), remedy=_connection_remedy(error, cause))


def _connection_remedy(error: Exception, cause: BaseException) -> str:
    """Return what the user does next; empty where any cause of Fault.UNREACHABLE may be the one."""
    if isinstance(error, aws.SSLError | aws.ProxyConnectionError):
        for part, remedy in _TLS_REMEDIES.items():
            if part in str(cause):
                return remedy
    if isinstance(cause, FileNotFoundError | PermissionError | IsADirectoryError):
        return _UNREADABLE_BUNDLE
    return _PROXY if isinstance(error, aws.ProxyConnectionError) else ""


def _cause(error: BaseException) -> BaseException:
    """Return what a failed connection comes from in the end, below the errors of botocore and urllib3."""
    kwargs = error.kwargs if isinstance(error, aws.BotoCoreError) else {}
    for below in (kwargs.get("error"), *error.args, error.__cause__):
        if isinstance(below, BaseException):
            return _cause(below)
    return error
