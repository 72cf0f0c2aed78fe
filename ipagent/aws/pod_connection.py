"""How a pod calls EC2: without botocore in the usual case, which costs a fifth; by botocore in any other.

botocore takes over for good as soon as something is not as it usually is: a setting, a source that gives no
credentials at once, a server that is not reached or verified. It then tries in its own way, and says in its
own words what is wrong. It never repeats a request that was sent.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, TypeVar, cast

from ipagent.assign.errors import Ec2Error
from ipagent.aws.aws_roots import AWS_ROOTS
from ipagent.aws.ec2_failures import no_error_of_ec2, refusal, unreachable, unreadable
from ipagent.aws.query.client import NoAnswerError, NotSentError, QueryClient
from ipagent.aws.query.credentials import Credentials as QueryCredentials
from ipagent.aws.query.credentials import NoKeysError
from ipagent.aws.query.environment import CA_BUNDLE, FILES, endpoint_of, is_usual, source_of
from ipagent.aws.query.messages import NotAnAnswerError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mypy_boto3_ec2.client import EC2Client

    from common.agent_settings import Credentials
    from ipagent.assign.ec2_error_codes import Failure
    from ipagent.aws.ec2_client import Connection
    from ipagent.aws.imds import Imds

Answer = TypeVar("Answer")


class NotUsualError(Exception):
    """The environment has something that only botocore knows."""


class PodConnection:
    """A connection to EC2 in one region with one identity, for one thread. Raises Ec2Error."""

    def __init__(
        self,
        region: str,
        credentials: Credentials,
        env: Mapping[str, str],
        imds: Callable[[], Imds],
        botocore: Callable[[], Connection],
    ) -> None:
        """Find the credentials. `botocore` makes the other connection."""
        self._region = region
        self._botocore = botocore
        self._query: QueryClient | None = None
        self._other: Connection | None = None
        try:
            found, endpoint = _usual(region, credentials, env, imds)
            found.current()
            self._query = QueryClient(endpoint, region, found.current, env.get(CA_BUNDLE) or AWS_ROOTS)
        except (NotUsualError, NoKeysError, OSError):
            # An OSError tells that the CA bundle can't be read.
            self._other = botocore()
            self.identity = self._other.identity
        else:
            self.identity = found.source.value

    def call(self, what: str, call: Callable[[EC2Client], Answer]) -> Answer:
        """Make one call; raises Ec2Error."""
        query = self._query
        if query is None:
            return self._taken_over().call(what, call)
        try:
            return call(cast("EC2Client", query))
        except (NoKeysError, NotSentError):
            if self._query is None:
                # Abandoned meanwhile: whoever waited for the answer has been told that there was none.
                raise Ec2Error(unreachable(what, "given up")) from None
        except (RefusedError, NoAnswerError, NotAnAnswerError) as error:
            raise Ec2Error(self._failure(what, error)) from None
        self.abandon()
        query.close()
        return self._taken_over().call(what, call)

    def abandon(self) -> None:
        """Leave the connection to the thread that is stuck in it: the next call is botocore's."""
        self._query = None

    def close(self) -> None:
        """Close the connections."""
        for each in (self._query, self._other):
            if each is not None:
                each.close()

    def _taken_over(self) -> Connection:
        if self._other is None:
            self._other = self._botocore()
            self.identity = self._other.identity
        return self._other

    def _failure(self, what: str, error: RefusedError | NoAnswerError | NotAnAnswerError) -> Failure:
        if isinstance(error, NoAnswerError):
            return unreachable(what, str(error))
        if isinstance(error, NotAnAnswerError):
            return unreadable(what, str(error)) if error.status < 300 else no_error_of_ec2(what, error.status)
        return refusal(
            what,
            error.code,
            error.message,
            status=error.status,
            operation="",
            identity=self.identity,
            region=self._region,
        )


def _usual(
    region: str, credentials: Credentials, env: Mapping[str, str], imds: Callable[[], Imds]
) -> tuple[QueryCredentials, str]:
    """Return the source of credentials and EC2's URL; raises NotUsualError."""
    source, endpoint = source_of(env, credentials), endpoint_of(env, region)
    if source is None or endpoint is None or not is_usual(env):
        raise NotUsualError
    if any(os.path.exists(os.path.expanduser(file)) for file in FILES):  # noqa: PTH110, PTH111 - pathlib costs more
        raise NotUsualError
    return QueryCredentials(source, env, imds, time.time), endpoint
