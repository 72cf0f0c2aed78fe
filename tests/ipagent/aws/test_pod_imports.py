"""What a pod's first call to EC2 imports: the library that its cost comes from is not among it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.doubles import Doubles
from tests.ipagent import worlds
from tests.ipagent.worlds import ENI_1, REGION

FIRST_CALL = """
import json, os, sys
from common.agent_settings import Credentials
from ipagent.direct import main
from ipagent.aws.pod_cloud import PodCloud
from ipagent.log import Log
cloud = PodCloud(os.environ, Credentials.CHAIN, Log("ns", "pod"), main.TIMING)
found = cloud.describe({eni!r}).eni_id
print(json.dumps([found, sorted(sys.modules)]))
"""
LATE = """
from ipagent.lazy_imports import LazyModule
print(json.dumps([name for name, module in sys.modules.items() if type(module) is LazyModule]))
"""
FORBIDDEN = {
    *("argparse", "asyncio", "botocore", "common.kube", "logging", "subprocess", "urllib3"),
    # What http.client imports, and what a server's name is made by if it is a text.
    *("email", "http", "encodings.idna"),
    # For what a few lines do, or a type checker alone reads.
    *("contextlib", "dataclasses", "inspect", "threading", "typing", "urllib"),
    "ipagent.lazy_imports",
}


@pytest.mark.parametrize("role", [True, False], ids=["the node's role", "keys"])
def test_a_pods_first_call_imports_no_botocore(*, role: bool) -> None:
    with Doubles(worlds.world(role="node")) as doubles:
        env = {**worlds.environment(doubles), "AWS_REGION": REGION}
        if role:
            del env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
        command = [sys.executable, "-I", "-c", FIRST_CALL.format(eni=ENI_1)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    found, modules = json.loads(done.stdout)
    assert found == ENI_1
    assert FORBIDDEN & {*modules} == set()
    assert "ipagent.aws.ec2_query.client" in modules


def test_where_botocore_calls_what_it_hardly_uses_is_executed_late() -> None:
    # With a variable that is not usual.
    with Doubles(worlds.world()) as doubles:
        env = {**worlds.environment(doubles), "AWS_REGION": REGION, "AWS_MAX_ATTEMPTS": "1"}
        script = FIRST_CALL.format(eni=ENI_1) + LATE
        command = [sys.executable, "-I", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    (found, modules), late = map(json.loads, done.stdout.splitlines())
    assert found == ENI_1
    assert "botocore" in modules
    assert {"botocore.waiter", "inspect", "shlex"} <= {*late}
