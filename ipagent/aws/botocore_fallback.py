"""How a pod calls EC2: without botocore in the usual case, which costs a fifth; by botocore in any other.

botocore takes over for good as soon as something is not as it usually is: a setting, a source that gives no
credentials at once, a server that is not reached or verified. It then tries in its own way, and says in its
own words what is wrong. It never repeats a request that was sent.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock
from functools import partial

from common.lean_typing import cast
from ipagent.assign.errors import Ec2Error
from ipagent.aws.aws_roots import AWS_ROOTS
from ipagent.aws.ec2_failures import no_error_of_ec2, refusal, unreachable, unreadable
from ipagent.aws.ec2_query.client import QueryClient
from ipagent.aws.ec2_query.connection_pool import ConnectionPool, NoAnswerError, NotSentError
from ipagent.aws.ec2_query.credentials import Credentials as QueryCredentials
from ipagent.aws.ec2_query.credentials import NoKeysError
from ipagent.aws.ec2_query.environment import (
    CA_BUNDLE,
    EC2,
    STS,
    Source,
    endpoint_of,
    files_of,
    is_usual,
    source_of,
)
from ipagent.aws.ec2_query.query_protocol import NotAnAnswerError, RefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from mypy_boto3_ec2.client import EC2Client

    from common.agent_settings import Credentials
    from ipagent.assign.ec2_error_codes import Failure
    from ipagent.aws.ec2_client import Connection
    from ipagent.aws.imds import Imds

    Answer = TypeVar("Answer")


class UsualAccess:
    """What is read from a usual environment: where the credentials come from, and how EC2 is reached."""

    def __init__(self, credentials: QueryCredentials, ec2: Callable[[], ConnectionPool]) -> None:
        self.source = credentials.source
        self._credentials = credentials
        self._ec2 = ec2

    @classmethod
    def find(
        cls,
        region: str,
        credentials: Credentials,
        env: Mapping[str, str],
        imds: Callable[[], Imds],
    ) -> UsualAccess | None:
        """Return it, or None where anything is not usual, such as one of the files that botocore reads."""
        source = source_of(env, credentials) if is_usual(env) else None
        ec2, sts = (endpoint_of(env, service, region) for service in (EC2, STS))
        if source is None or ec2 is None or (sts is None and source is Source.WEB_IDENTITY):
            return None
        # As botocore.configloader.raw_config_parse finds them.
        files = (os.path.expanduser(os.path.expandvars(file)) for file in files_of(env))  # noqa: PTH111 - pathlib costs more
        if any(map(os.path.isfile, files)):
            return None
        ca_file = env.get(CA_BUNDLE) or AWS_ROOTS
        ask_sts = partial(ConnectionPool, sts or "", ca_file)
        found = QueryCredentials(source, env, imds=imds, sts=ask_sts, now=time.time)
        return cls(found, partial(ConnectionPool, ec2, ca_file))

    def connect(self, region: str) -> QueryClient:
        """Find the credentials; raises NoKeysError, and OSError where the CA bundle can't be read."""
        if self.source is not Source.WEB_IDENTITY:
            self._credentials.current()
        # Else STS is asked with the first call: its name is looked up, which may hang (`ec2_client`).
        return QueryClient(self._ec2(), region, self._credentials.current)


class PodConnection:
    """A connection to EC2 in one region with one identity, for several threads, too. Raises Ec2Error."""

    def __init__(self, region: str, usual: UsualAccess | None, botocore: Callable[[], Connection]) -> None:
        """Find the credentials; without `usual` by `botocore`, which makes the other connection."""
        self._region = region
        self._botocore = botocore
        self._query: QueryClient | None = None
        self._other: Connection | None = None
        self._taking_over = allocate_lock()
        self._abandoned = False
        try:
            if usual is not None:
                self.identity = usual.source.value
                self._query = usual.connect(region)
        except (NoKeysError, OSError):
            # An OSError tells that the CA bundle can't be read.
            pass
        if self._query is None:
            self._taken_over()

    def call(self, what: str, call: Callable[[EC2Client], Answer]) -> Answer:
        """Make one call; raises Ec2Error."""
        query = self._query
        if query is None:
            return self._taken_over().call(what, call)
        try:
            return call(cast("EC2Client", query))
        except (NoKeysError, NotSentError):
            if self._abandoned:
                # Whoever waited for the answer has been told that there was none.
                raise Ec2Error(unreachable(what, "given up")) from None
        except (RefusedError, NoAnswerError, NotAnAnswerError) as error:
            raise Ec2Error(self._failure(what, error)) from None
        self._query = None
        query.close()
        return self._taken_over().call(what, call)

    def abandon(self) -> None:
        """Leave credentials and connections to the thread that is stuck: the next call is botocore's."""
        self._abandoned = True
        self._query = None

    def close(self) -> None:
        """Close the connections."""
        for each in (self._query, self._other):
            if each is not None:
                each.close()

    def _taken_over(self) -> Connection:
        with self._taking_over:
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
