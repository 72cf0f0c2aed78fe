"""The images' programs, started as a `restricted` pod with a read-only root starts them."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path

import pytest

from common.exit_codes import ExitCode
from common.version import VERSION
from tests.cluster.certificates import Authority
from tests.cluster.waiting import wait_for
from tests.images.container import SMALL, Container, Image, Running
from tests.netns import Node, Pod
from tests.netns_fixtures import node  # noqa: F401 - a fixture

SETTINGS = "agent:\n  image: registry.example/multus-eni-agent:1.0\n"
SERVE = [
    "multus-eni",
    "serve",
    "--config=/conf/settings.yaml",
    "--tls-cert=/conf/tls.crt",
    "--tls-key=/conf/tls.key",
]


@pytest.fixture
def configured(container: Container, tmp_path: Path) -> Container:
    """With a folder /conf, in which the settings and the webhook's certificate are."""
    folder = tmp_path / "conf"
    folder.mkdir()
    authority = Authority()
    pair = authority.issue(["127.0.0.1"], folder)
    for name, content in (
        ("settings.yaml", SETTINGS.encode()),
        ("ca.crt", authority.pem),
        ("tls.crt", pair.public.read_bytes()),
        ("tls.key", pair.private.read_bytes()),
    ):
        (folder / name).write_bytes(content)
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o755)
    container.mounts["/conf"] = folder
    return container


@pytest.mark.parametrize(
    ("which", "argv", "says"),
    [
        ("agent", ["ipagent", "--version"], f"ipagent {VERSION}\n"),
        ("webhook", ["multus-eni", "--version"], f"multus-eni {VERSION}\n"),
        ("agent", ["ipagent", "--help"], "usage: ipagent"),
        ("agent", ["ipagent", "addresses", "--help"], "usage: ipagent addresses"),
        ("webhook", ["multus-eni", "--help"], "usage: multus-eni"),
        ("webhook", ["multus-eni", "serve", "--help"], "usage: multus-eni serve"),
        ("webhook", ["multus-eni", "certs", "run", "--help"], "usage: multus-eni certs run"),
    ],
)
def test_each_image_command_prints_its_version_or_help(
    which: str, argv: list[str], says: str, request: pytest.FixtureRequest, container: Container
) -> None:
    done = container.run(request.getfixturevalue(which), argv)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(says)


def test_the_processes_are_nobody_with_a_root_that_they_cannot_write(
    image: Image, container: Container
) -> None:
    script = "import os; print(os.getuid(), os.getgid()); open('/tmp/it', 'w')"

    done = container.run(image, ["python3", "-I", "-c", script])

    assert done.stdout == "65534 65534\n"
    assert "Read-only file system: '/tmp/it'" in done.stderr


def test_the_agent_refuses_wrong_settings(agent: Image, container: Container) -> None:
    done = container.run(agent, ["ipagent", "init"], env={"MULTUS_ENI_TIMEOUT": "soon"})

    assert done.returncode == ExitCode.USAGE
    assert "MULTUS_ENI_TIMEOUT" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_the_agent_ends_within_its_default_limits_where_there_is_nothing_to_do(
    agent: Image, container: Container
) -> None:
    done = container.run(agent, ["ipagent", "init"], limits=SMALL)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr.splitlines()[-1])["event"] == "done"


def test_the_agent_makes_an_ec2_client_within_its_default_limits(agent: Image, container: Container) -> None:
    script = """
from ipagent.aws.botocore_session import new_session
client = new_session().create_client(
    "ec2", region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")
print(client.meta.endpoint_url)
"""

    done = container.run(agent, ["python3", "-I", "-c", script], limits=SMALL)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "https://ec2.eu-central-1.amazonaws.com\n"


def test_the_webhook_refuses_wrong_settings(webhook: Image, configured: Container) -> None:
    settings = configured.mounts["/conf"] / "settings.yaml"
    settings.chmod(0o644)
    settings.write_text(SETTINGS + "agnet: {}\n", encoding="utf-8")

    done = configured.run(webhook, SERVE)

    assert done.returncode not in {0, 1}
    assert "/conf/settings.yaml" in done.stderr
    assert "agnet" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.netns
def test_the_webhook_serves_until_it_is_told_to_end(
    webhook: Image,
    configured: Container,
    node: Node,  # noqa: F811 - the fixture
) -> None:
    pod = node.pod()
    configured.network = pod.network
    trusted = ssl.create_default_context(cafile=configured.mounts["/conf"] / "ca.crt")

    with configured.running(webhook, [*SERVE, "--host=127.0.0.1", "--drain=0"], limits=SMALL) as running:
        assert wait_for(lambda: _ready(pod, trusted, running), "webhook that is ready", 180)
        done = running.end()

    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert json.loads(done.stderr.splitlines()[-1])["event"] == "stopped"


def _ready(pod: Pod, trusted: ssl.SSLContext, running: Running) -> bool:
    assert running.process.poll() is None, running.wait()
    try:
        plain = pod.connect("127.0.0.1", 8443)
    except OSError:
        return False
    connection = http.client.HTTPSConnection("127.0.0.1", 8443)
    connection.sock = trusted.wrap_socket(plain, server_hostname="127.0.0.1")
    with connection.sock:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
