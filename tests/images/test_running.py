"""The images' programs, started as a `restricted` pod with a read-only root starts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from multus_eni.contract import ExitCode
from multus_eni.version import VERSION
from tests.cluster.certificates import Authority
from tests.images.container import Container, Image, Limits

SETTINGS = "agent:\n  image: registry.example/multus-eni-agent:1.0\n"
SERVE = [
    "multus-eni",
    "serve",
    "--config=/conf/settings.yaml",
    "--tls-cert=/conf/tls.crt",
    "--tls-key=/conf/tls.key",
]
SERVED = """
import signal, ssl, subprocess, sys, time, urllib.error, urllib.request
server = subprocess.Popen(sys.argv[1:])
context = ssl.create_default_context(cafile="/conf/ca.crt")
deadline = time.monotonic() + 60
while server.poll() is None:
    try:
        print(urllib.request.urlopen("https://127.0.0.1:8443/readyz", context=context).status)
        break
    except urllib.error.URLError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.05)
server.send_signal(signal.SIGTERM)
sys.exit(server.wait())
"""


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
def test_a_command_says_what_it_is(
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
    done = container.run(agent, ["ipagent", "init"], limits=Limits(cpu=100, memory=64))

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr.splitlines()[-1])["event"] == "done"


def test_the_agent_makes_an_ec2_client_within_its_default_limits(agent: Image, container: Container) -> None:
    script = """
from multus_eni.ipagent.cloud.client import new_session
client = new_session().create_client(
    "ec2", region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")
print(client.meta.endpoint_url)
"""

    done = container.run(agent, ["python3", "-I", "-c", script], limits=Limits(cpu=100, memory=64))

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


def test_the_webhook_serves_until_it_is_told_to_end_within_the_charts_limits(
    webhook: Image, configured: Container
) -> None:
    done = configured.run(
        webhook,
        ["python3", "-I", "-c", SERVED, *SERVE, "--host=127.0.0.1", "--drain=0"],
        limits=Limits(memory=256),
    )

    assert (done.returncode, done.stdout) == (0, "200\n"), done.stderr
    assert json.loads(done.stderr.splitlines()[-1])["event"] == "stopped"
