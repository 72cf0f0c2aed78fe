"""EC2 clients over both connections: botocore's, and that of pods."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from functools import partial

from common.agent_settings import Credentials
from ipagent.assign.retry import Clock
from ipagent.aws.botocore_connection import BotocoreConnection
from ipagent.aws.ec2_client import Ec2Client
from ipagent.aws.imds import Imds
from ipagent.aws.imds_http import endpoint_of
from ipagent.aws.pod_connection import PodConnection

Connect = Callable[[str, Credentials], Ec2Client]


def by_botocore(region: str, credentials: Credentials) -> Ec2Client:
    """Connect by botocore."""
    return Ec2Client(BotocoreConnection(region, credentials))


def as_a_pod(region: str, credentials: Credentials) -> Ec2Client:
    """Connect as a pod does, with this process's environment."""
    timing = Clock(time.monotonic, time.sleep, random.random)
    other = partial(BotocoreConnection, region, credentials)
    env = dict(os.environ)
    return Ec2Client(PodConnection(region, credentials, env, lambda: Imds(endpoint_of(env), timing), other))


CONNECTIONS: dict[str, Connect] = {"botocore": by_botocore, "pod": as_a_pod}
