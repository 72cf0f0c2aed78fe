"""Doubles, real boto3 clients that talk to them, and an environment without the machine's AWS settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config

from tests.doubles import Doubles, ManualClock
from tests.doubles_tests import worlds

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

    Connect = Callable[..., EC2Client]

CONFIG = Config(
    parameter_validation=False,  # the double is to refuse, not botocore before it
    retries={"total_max_attempts": 1, "mode": "standard"},
    connect_timeout=5,
    read_timeout=5,
    proxies={},
)


@pytest.fixture(autouse=True, scope="package")
def no_aws_settings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("AWS_") or name.lower().endswith("_proxy"):
                patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        yield


@pytest.fixture(scope="package")
def session(no_aws_settings: None) -> boto3.Session:  # noqa: ARG001 - a session reads its settings when made
    """One session, so that the service model is read once."""
    return boto3.Session()


@pytest.fixture(scope="module")
def connect(session: boto3.Session) -> Iterator[Connect]:
    """Make boto3 clients of a double, closed at the module's end."""
    clients: dict[tuple[str, str, str], EC2Client] = {}

    def client(doubles: Doubles, key: str = worlds.ADMIN, region: str = worlds.REGION) -> EC2Client:
        wanted = (doubles.ec2_url, key, region)
        if wanted not in clients:
            clients[wanted] = session.client(
                "ec2",
                endpoint_url=doubles.ec2_url,
                region_name=region,
                aws_access_key_id=key,
                aws_secret_access_key=worlds.SECRET,
                config=CONFIG,
            )
        return clients[wanted]

    yield client
    for opened in clients.values():
        opened.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Doubles]:
    """A double for tests that change nothing."""
    with Doubles(worlds.world()) as doubles:
        yield doubles


@pytest.fixture(scope="module")
def reading(shared: Doubles, connect: Connect) -> EC2Client:
    """A client of the shared double."""
    return connect(shared)


@pytest.fixture
def clock() -> ManualClock:
    """The clock of the test's own double."""
    return ManualClock()


@pytest.fixture
def doubles(clock: ManualClock) -> Iterator[Doubles]:
    """A double of the test's own, whose clock stands still."""
    with Doubles(worlds.world(), clock=clock) as doubles:
        yield doubles


@pytest.fixture
def ec2(doubles: Doubles, connect: Connect) -> EC2Client:
    """A client of the test's own double."""
    return connect(doubles)
