"""AWS' own roots are trusted first, then all of botocore's bundle, once; and the user's bundle alone."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import botocore.httpsession
import pytest
from botocore import exceptions as aws
from urllib3.exceptions import ProtocolError, ProxyError, SSLError

from common.agent_settings import Credentials
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.aws import botocore_session
from ipagent.aws.aws_roots import AWS_ROOTS
from ipagent.aws.botocore_errors import failure_of, is_untrusted
from tests.cluster.certificates import Authority
from tests.ipagent import worlds
from tests.ipagent.aws.connections import as_a_pod, by_botocore
from tests.ipagent.worlds import MAC_1, REGION

ANSWER = b"""<DescribeNetworkInterfacesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
<requestId>r</requestId><networkInterfaceSet/></DescribeNetworkInterfacesResponse>"""

CREDENTIALS = b"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>AKIDEXAMPLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
<SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""


class _Aws(BaseHTTPRequestHandler):
    """EC2 without ENIs, and STS."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        answer = CREDENTIALS if b"AssumeRoleWithWebIdentity" in asked else ANSWER
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_CONNECT(self) -> None:
        """Be a proxy, too: pass on what the client and the server that it asks for say."""
        assert isinstance(self.server, _Server)
        self.server.tunnels += 1
        self.close_connection = True
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as asked, suppress(OSError):
            self.send_response(200)
            self.end_headers()
            others = {self.connection: asked, asked: self.connection}
            while True:
                for end in select.select(list(others), [], [])[0]:
                    # More than a TLS record has: OpenSSL keeps nothing that `select` does not see.
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    others[end].sendall(data)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


class _Server(ThreadingHTTPServer):
    """Counts tunnels, and handshakes that fail, where others would be written to stderr."""

    authority: Authority
    failed = 0
    tunnels = 0

    def handle_error(self, *_: object) -> None:
        self.failed += 1


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("theirs")


@pytest.fixture
def server(authority: Authority, tmp_path: Path) -> Iterator[_Server]:
    """EC2 over TLS, with a certificate of `authority`; each handshake is made in its request's thread."""
    pair = authority.issue(["127.0.0.1"], tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.public, pair.private)
    with _Server(("127.0.0.1", 0), _Aws) as made:
        made.authority = authority
        made.socket = context.wrap_socket(made.socket, server_side=True, do_handshake_on_connect=False)
        thread = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def trust(server: _Server, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trust:
    for variable in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", f"https://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", worlds.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", worlds.SECRET)
    return Trust(authority, tmp_path, monkeypatch)


class Trust:
    """Which of the three bundles has the server's root; the others have another one."""

    def __init__(self, authority: Authority, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._theirs, self._other = authority.pem, Authority("another").pem
        self._folder = folder
        self._patch = monkeypatch
        monkeypatch.setattr(botocore_session, "AWS_ROOTS", str(folder / "aws.pem"))

    def aws_roots(self, *, right: bool) -> None:
        self._write(self._folder / "aws.pem", right=right)

    def whole_bundle(self, *, right: bool) -> None:
        path = self._write(self._folder / "whole.pem", right=right)
        self._patch.setattr(botocore.httpsession, "where", lambda: path)

    def users(self, variable: str, *, right: bool) -> None:
        self._patch.setenv(variable, self._write(self._folder / "users.pem", right=right))

    def _write(self, path: Path, *, right: bool) -> str:
        path.write_bytes(self._theirs if right else self._other)
        return str(path)


def call(times: int = 1, region: str = REGION) -> None:
    with closing(by_botocore(region, Credentials.CHAIN)) as client:
        for _ in range(times):
            assert client.by_mac([MAC_1]) == ()


def refused() -> Failure:
    with pytest.raises(Ec2Error) as caught:
        call()
    assert caught.value.failure.fault is Fault.UNREACHABLE
    return caught.value.failure


def test_the_roots_of_aws_are_enough(trust: Trust, server: _Server) -> None:
    trust.aws_roots(right=True)
    trust.whole_bundle(right=False)
    call()
    assert server.failed == 0


def test_the_whole_bundle_is_tried_once_and_then_stays(trust: Trust, server: _Server) -> None:
    trust.aws_roots(right=False)
    trust.whole_bundle(right=True)
    call(times=3)
    assert server.failed == 1


def test_sts_is_asked_again_too(
    trust: Trust, server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust.aws_roots(right=False)
    trust.whole_bundle(right=True)
    (tmp_path / "token").write_text("a token")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"https://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pods")
    call(times=2)
    assert server.failed == 1


def test_a_pod_with_irsa_needs_no_botocore(
    trust: Trust, server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del trust
    (tmp_path / "token").write_text("a token")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"https://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pods")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "theirs.pem"))
    (tmp_path / "theirs.pem").write_bytes(server.authority.pem)
    with closing(as_a_pod(REGION, Credentials.CHAIN, botocore=False)) as client:
        assert client.identity == "assume-role-with-web-identity"
        assert client.by_mac([MAC_1]) == ()


def test_a_proxy_with_another_root_is_asked_again_too(
    trust: Trust, server: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust.aws_roots(right=False)
    trust.whole_bundle(right=True)
    monkeypatch.setenv("HTTPS_PROXY", f"https://127.0.0.1:{server.server_address[1]}")
    call(times=2)
    assert server.tunnels == 1


@pytest.mark.pure
@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] unable to get it"), True),
        (ConnectionRefusedError(111, "Connection refused"), False),
    ],
    ids=["untrusted", "refused"],
)
def test_the_cause_tells_whether_a_proxy_is_trusted(cause: OSError, *, expected: bool) -> None:
    failed = ProxyError("Unable to connect to proxy", cause)
    assert is_untrusted(aws.ProxyConnectionError(proxy_url="https://proxy", error=failed)) is expected


VERIFY = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "


@pytest.mark.pure
@pytest.mark.parametrize(
    ("why", "remedy"),
    [
        ("unable to get local issuer certificate", "AWS_CA_BUNDLE"),
        ("self-signed certificate in certificate chain", "AWS_CA_BUNDLE"),
        ("self-signed certificate", "AWS_CA_BUNDLE"),
        ("certificate has expired", "clock"),
        ("certificate is not yet valid", "clock"),
        ("Hostname mismatch, certificate is not valid for 'ec2.test'", "other names"),
        ("IP address mismatch, certificate is not valid for '10.0.0.1'", "other names"),
    ],
)
@pytest.mark.parametrize("proxy", [False, True], ids=["of EC2", "of a proxy"])
def test_the_remedy_is_that_of_what_openssl_says(why: str, remedy: str, *, proxy: bool) -> None:
    cause = ssl.SSLCertVerificationError(1, f"{VERIFY}{why} (_ssl.c:1006)")
    error: aws.BotoCoreError = aws.SSLError(endpoint_url="https://ec2.test/", error=SSLError(cause))
    if proxy:
        wrapped = ProxyError("Unable to connect to proxy", SSLError(cause))
        error = aws.ProxyConnectionError(proxy_url="https://proxy", error=wrapped)
    failure = failure_of("DescribeSubnets", error, "env", REGION)
    assert failure.fault is Fault.UNREACHABLE
    assert why in failure.text
    assert remedy in failure.remedy
    assert is_untrusted(error)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("error", "text", "remedy"),
    [
        (
            aws.EndpointConnectionError(
                endpoint_url="https://ec2.test/", error=socket.gaierror(-2, "Name or service not known")
            ),
            'the endpoint URL: "https://ec2.test/": [Errno -2] Name or service not known',
            "",
        ),
        (
            aws.ConnectionClosedError(
                endpoint_url="https://ec2.test/",
                error=ProtocolError(
                    "Connection aborted.", ConnectionResetError(104, "Connection reset by peer")
                ),
            ),
            '"https://ec2.test/": [Errno 104] Connection reset by peer',
            "",
        ),
        (
            aws.ProxyConnectionError(
                proxy_url="http://proxy:3128",
                error=ProxyError(
                    "Unable", OSError("Tunnel connection failed: 407 Proxy Authentication Required")
                ),
            ),
            '"http://proxy:3128": Tunnel connection failed: 407 Proxy Authentication Required',
            "login",
        ),
        (aws.ProxyConnectionError(proxy_url="http://proxy:3128"), '"http://proxy:3128"', "NO_PROXY"),
        (TimeoutError("no answer within 30 s"), "no answer within 30 s", ""),
    ],
    ids=["name", "reset", "login", "a proxy without a cause", "timeout"],
)
def test_a_failed_connection_has_its_cause(error: Exception, text: str, remedy: str) -> None:
    failure = failure_of("DescribeSubnets", error, "env", REGION)
    assert failure.fault is Fault.UNREACHABLE
    assert failure.text.endswith(text)
    assert failure.text.count(text) == 1
    assert remedy in failure.remedy
    assert bool(failure.remedy) is bool(remedy)
    assert not is_untrusted(error)


def test_without_credentials_at_that_moment_the_next_call_tries_the_whole_bundle(
    trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust.aws_roots(right=False)
    trust.whole_bundle(right=True)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with closing(by_botocore(REGION, Credentials.CHAIN)) as client:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        with pytest.raises(Ec2Error) as caught:
            client.by_mac([MAC_1])
        assert caught.value.failure.fault is Fault.NO_CREDENTIALS
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", worlds.KEY)
        assert client.by_mac([MAC_1]) == ()


@pytest.mark.parametrize("region", ["cn-north-1", "us-iso-east-1", "nowhere"])
def test_where_aws_has_other_roots_its_own_are_not_tried(trust: Trust, server: _Server, region: str) -> None:
    trust.aws_roots(right=False)
    trust.whole_bundle(right=True)
    call(region=region)
    assert server.failed == 0


def test_a_server_that_neither_bundle_knows_is_not_called(trust: Trust) -> None:
    trust.aws_roots(right=False)
    trust.whole_bundle(right=False)
    failure = refused()
    assert "CERTIFICATE_VERIFY_FAILED" in failure.text
    assert "unable to get local issuer certificate" in failure.text
    assert "AWS_CA_BUNDLE" in failure.remedy


def test_what_is_wrong_with_a_proxys_certificate_is_said(
    trust: Trust, server: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust.aws_roots(right=False)
    trust.whole_bundle(right=False)
    proxy = f"https://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    failure = refused()
    assert f'"{proxy}": [SSL: CERTIFICATE_VERIFY_FAILED]' in failure.text
    assert "AWS_CA_BUNDLE" in failure.remedy


@pytest.mark.usefixtures("trust")
def test_a_proxy_that_refuses_is_not_taken_for_one_without_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        proxy = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    failure = refused()
    assert failure.text.endswith(f'"{proxy}": [Errno 111] Connection refused')
    assert "NO_PROXY" in failure.remedy


def test_a_certificate_for_other_names_is_no_matter_of_the_bundle(
    trust: Trust, server: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust.aws_roots(right=True)
    trust.whole_bundle(right=True)
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", f"https://localhost:{server.server_address[1]}")
    failure = refused()
    assert "hostname 'localhost' doesn't match '127.0.0.1'" in failure.text
    assert "AWS_ENDPOINT_URL_EC2" in failure.remedy


@pytest.mark.parametrize(
    ("content", "part"),
    [(None, "must be mounted and readable"), (b"", "as PEM"), (b"no certificate", "as PEM")],
    ids=["missing", "empty", "no PEM"],
)
@pytest.mark.usefixtures("trust")
def test_a_bundle_that_can_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, part: str
) -> None:
    path = tmp_path / "users.pem"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
    failure = refused()
    assert "AWS_CA_BUNDLE" in failure.remedy
    assert part in failure.remedy


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_the_users_bundle_is_the_only_one(trust: Trust, variable: str) -> None:
    trust.aws_roots(right=True)
    trust.whole_bundle(right=True)
    trust.users(variable, right=False)
    assert "CERTIFICATE_VERIFY_FAILED" in refused().text
    trust.users(variable, right=True)
    trust.aws_roots(right=False)
    trust.whole_bundle(right=False)
    call()


def is_amazons(subject: Mapping[str, str]) -> bool:
    return (
        subject.get("organizationName") == "Amazon"
        # By which it has signed its own for those that do not know them.
        or subject.get("commonName") == "Starfield Services Root Certificate Authority - G2"
    )


def roots(bundle: str) -> dict[str, bytes]:
    """Return the roots of Amazon Trust Services in a CA bundle, in DER, by name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(bundle)
    described: Any = context.get_ca_certs()
    subjects = [dict(pair for names in root["subject"] for pair in names) for root in described]
    found = zip(subjects, context.get_ca_certs(binary_form=True), strict=True)
    return {subject["commonName"]: der for subject, der in found if is_amazons(subject)}


def test_the_roots_are_amazons_in_botocores_bundle_and_no_others() -> None:
    assert roots(AWS_ROOTS) == roots(botocore.httpsession.DEFAULT_CA_BUNDLE)
    assert sorted(roots(AWS_ROOTS)) == [
        "Amazon Root CA 1",
        "Amazon Root CA 2",
        "Amazon Root CA 3",
        "Amazon Root CA 4",
        "Starfield Services Root Certificate Authority - G2",
    ]
    assert Path(AWS_ROOTS).read_text(encoding="ascii").count("BEGIN CERTIFICATE") == 5
