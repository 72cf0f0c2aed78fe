"""Calls EC2 by botocore, with whatever settings and sources of credentials the AWS SDKs have.

botocore reads its own variables from the process's environment (endpoints, CA bundle, proxies, files).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from botocore import exceptions as aws
from botocore.config import Config
from botocore.parsers import ResponseParserError

from common.agent_settings import Credentials
from common.version import VERSION
from ipagent.assign.errors import Ec2Error
from ipagent.aws import ec2_calls
from ipagent.aws.botocore_errors import TRANSLATED, failure_of, is_untrusted, register_handlers
from ipagent.aws.botocore_session import prefer_aws_roots, session_for
from ipagent.aws.missing_credentials import lacks_role, role_failure, with_credentials

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

Answer = TypeVar("Answer")

_LINE_BREAKS = frozenset("\r\n")
_BROKEN = (
    "the access key, the secret key or the session token has a line break, so it can't be sent: write it "
    "without one into the Secret or the variable that it comes from"
)
_ENDPOINT = "AWS_ENDPOINT_URL_EC2, AWS_ENDPOINT_URL, or endpoint_url in the profile"


class BotocoreConnection:
    """A connection to EC2 in one region with one identity; may be used by several threads."""

    def __init__(
        self, region: str, credentials: Credentials, role_status: Callable[[], str] | None = None
    ) -> None:
        """Connect; raises Ec2Error. `role_status` asks IMDS about the node's role (`Imds.role_status`)."""
        self.identity = "unknown"
        self._region = region
        self._role_status = role_status
        self._credentials = credentials
        self._aws_roots_alone = False
        self._client: EC2Client = self._translated("credentials", lambda: self._connect(aws_roots_first=True))

    def call(self, what: str, call: Callable[[EC2Client], Answer]) -> Answer:
        """Make one call; raises Ec2Error."""
        return self._translated(what, partial(self._trusted, partial(self._signed, call)))

    def abandon(self) -> None:
        """Do nothing: each call has a connection of its own."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _connect(self, *, aws_roots_first: bool) -> EC2Client:
        session = session_for(self._credentials)
        aws_roots_alone = aws_roots_first and prefer_aws_roots(session, self._region)
        found = with_credentials(session.get_credentials)
        if found is None:
            raise aws.NoCredentialsError
        self._identified = found
        self.identity = str(found.method)
        config = Config(
            connect_timeout=ec2_calls.CONNECT_SECONDS,
            read_timeout=ec2_calls.READ_SECONDS,
            # One attempt: how often and how long to try is decided in one place, by us.
            retries={"total_max_attempts": 1, "mode": "standard"},
            user_agent_extra=f"multus-eni-injector/{VERSION}",
        )
        try:
            client = session.create_client("ec2", region_name=self._region, config=config)
            # That it has a port that is none comes up with a call.
            _ = urlsplit(client.meta.endpoint_url).port
        except ValueError as error:
            raise aws.EndpointProviderError(msg=f"{error} ({_ENDPOINT})") from None
        register_handlers(client)
        # Last: where there are no credentials now, the next call that needs another root connects anew, too.
        self._aws_roots_alone = aws_roots_alone
        return client  # type: ignore[return-value] # by name

    def _signed(self, call: Callable[[EC2Client], Answer]) -> Answer:
        """Make one call, for which the credentials are there or are renewed now."""
        frozen = with_credentials(self._identified.get_frozen_credentials)
        texts = (frozen.access_key, frozen.secret_key, frozen.token)
        if any(_LINE_BREAKS & set(text or "") for text in texts):
            # botocore's error would quote them.
            raise aws.CredentialRetrievalError(provider=self.identity, error_msg=_BROKEN)
        try:
            return call(self._client)
        except ValueError as error:
            # botocore has read the answer, and a number or a time in it is none.
            raise ResponseParserError(str(error)) from None

    def _trusted(self, call: Callable[[], Answer]) -> Answer:
        """Make a call; where the server's root is none of AWS' own, make it again with all of botocore's."""
        client, narrow = self._client, self._aws_roots_alone
        try:
            return call()
        except (aws.HTTPClientError, aws.ConnectionError) as error:
            # Another thread may have replaced the client meanwhile.
            narrow = narrow or client is not self._client
            if not (narrow and is_untrusted(error)):
                raise
        # Nothing was sent, as the server was not verified.
        if client is self._client:
            self._client = self._connect(aws_roots_first=False)
            client.close()
        return call()

    def _translated(self, what: str, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except TRANSLATED as error:
            failure = failure_of(what, error, self.identity, self._region)
            if self._role_status is not None and lacks_role(error, self.identity):
                failure = role_failure(failure, what, self._role_status)
            raise Ec2Error(failure) from None
