"""EC2 clients over both connections: botocore's, and that of pods."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from common.agent_settings import Credentials
from ipagent.assign.retry import Timing
from ipagent.aws.botocore_connection import BotocoreConnection
from ipagent.aws.botocore_fallback import PodConnection, UsualAccess
from ipagent.aws.ec2_client import Ec2Client
from ipagent.aws.imds import Imds
from ipagent.aws.imds_http import endpoint_of

Connect = Callable[[str, Credentials], Ec2Client]


def by_botocore(region: str, credentials: Credentials) -> Ec2Client:
    """Connect by botocore."""
    return Ec2Client(BotocoreConnection(region, credentials))


def as_a_pod(region: str, credentials: Credentials, *, botocore: bool = True) -> Ec2Client:
    """Connect as a pod does, with this process's AWS variables; where it must do so, without botocore."""
    timing = Timing(time.monotonic, time.sleep, random.random)
    other = partial(BotocoreConnection, region, credentials) if botocore else _refuse
    # A developer's machine may have a proxy, or a CA bundle for everything.
    env = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    asked: list[Imds] = []

    def imds() -> Imds:
        if not asked:
            asked.append(Imds(endpoint_of(env), timing))
        return asked[0]

    usual = UsualAccess.find(region, credentials, env, imds)
    return _OfPod(PodConnection(region, usual, other), asked)


class _OfPod(Ec2Client):
    """Closes the client of IMDS, too, as an agent does."""

    def __init__(self, connection: PodConnection, asked: list[Imds]) -> None:
        super().__init__(connection)
        self._asked_imds = asked

    def close(self) -> None:
        super().close()
        for imds in self._asked_imds:
            imds.close()


def _refuse() -> NoReturn:
    raise AssertionError("botocore was asked to take over")


CONNECTIONS: dict[str, Connect] = {"botocore": by_botocore, "pod": as_a_pod}
