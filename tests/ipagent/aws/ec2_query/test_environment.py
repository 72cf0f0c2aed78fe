"""Endpoints, sources of credentials and foreign settings, with botocore's own lists as the oracle."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES
from botocore.credentials import BotoProvider
from botocore.endpoint_provider import EndpointProvider
from botocore.session import Session
from botocore.utils import is_valid_endpoint_url, is_valid_ipv6_endpoint_url
from hypothesis import example, given
from hypothesis import strategies as st

from common.agent_settings import Credentials
from ipagent.aws.ec2_query.environment import EC2, STS, Source, endpoint_of, files_of, is_usual, source_of

pytestmark = pytest.mark.pure

REGION = "eu-central-1"
KEY, SECRET, TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
URI, FILE = "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
SPECIFIC, GENERAL = "AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL"
SPECIFIC_OF_STS, REGIONAL = "AWS_ENDPOINT_URL_STS", "AWS_STS_REGIONAL_ENDPOINTS"
ROLE, WEB_FILE, SESSION = "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_SESSION_NAME"
AGENT = "http://169.254.170.23/v1/credentials"
KNOWN_PARTITIONS = ("aws", "aws-us-gov")


# It remembers what it has read.
LOADER: Any = Session().get_component("data_loader")


@cache
def rules(service: str) -> EndpointProvider:
    return EndpointProvider(
        LOADER.load_service_model(service, "endpoint-rule-set-1"), LOADER.load_data("partitions")
    )


def botocores_endpoint(service: str, region: str) -> str:
    legacy = {"UseGlobalEndpoint": False} if service == STS else {}
    found: Any = rules(service).resolve_endpoint(Region=region, UseDualStack=False, UseFIPS=False, **legacy)
    return str(found.url)


def regions() -> dict[str, str]:
    """Return all regions of botocore's two lists, with their partitions; those without servers left out."""
    listed = {
        region: each["id"]
        for each in LOADER.load_data("partitions")["partitions"]
        for region in each["regions"]
    }
    for each in LOADER.load_data("endpoints")["partitions"]:
        listed |= dict.fromkeys(each["regions"], each["partition"])
    return {region: partition for region, partition in listed.items() if not region.endswith("-global")}


@pytest.mark.parametrize("service", [EC2, STS])
def test_each_region_of_botocores_has_its_endpoint_or_is_left_to_it(service: str) -> None:
    listed = regions()
    assert len(listed) > 45
    here = {region: endpoint_of({}, service, region) for region in listed}
    assert here == {
        region: botocores_endpoint(service, region) if partition in KNOWN_PARTITIONS else None
        for region, partition in listed.items()
    }
    assert set(listed.values()) > set(KNOWN_PARTITIONS)


@pytest.mark.parametrize(
    "region",
    [
        *("", "-", "--", "aws-global", "aws-us-gov-global", "fips-us-east-1", "us-east-1-fips", "us-east"),
        *(
            "US-EAST-1",
            "us-east-",
            "us--1",
            "-east-1",
            "us-east-1 ",
            "us-east-1\n",
            "us-east-\u0661",
            "us-éast-1",
        ),
        *("us-east-1.evil.example/", "us-east-1#", "us-iso-east-1", "cn-north-1", "xx-east-1", "us-east_b-1"),
    ],
)
def test_what_is_no_known_region_is_left_to_botocore(region: str) -> None:
    assert endpoint_of({}, EC2, region) is None
    assert endpoint_of({SPECIFIC: "http://127.0.0.1"}, STS, region) is None


@given(st.from_regex(r"[a-z]{2}(-gov|-iso[bef]?)?-[a-z0-9_]{1,12}-[0-9]{1,3}", fullmatch=True))
@example("us-gov-1")
def test_the_endpoint_of_any_region_is_botocores(region: str) -> None:
    assert endpoint_of({}, EC2, region) in (None, botocores_endpoint(EC2, region))
    assert endpoint_of({}, STS, region) in (None, botocores_endpoint(STS, region))


@pytest.mark.parametrize(
    ("url", "known"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://127.0.0.1:8080/", True),
        ("https://vpce-1.ec2.eu-central-1.vpce.amazonaws.com", True),
        ("https://ec2.example.", True),
        ("https://EC2.example:443", True),
        ("http://[::1]:8080", True),
        ("http://[::1]", True),
        ("HTTP://127.0.0.1", False),
        ("http://127.0.0.1//", False),
        ("http://127.0.0.1/path", False),
        ("http://127.0.0.1?query", False),
        ("http://127.0.0.1/#fragment", False),
        ("http://user:password@127.0.0.1", False),
        ("http://127.0.0.1:0", False),
        ("http://127.0.0.1:65536", False),
        ("http://127.0.0.1:port", False),
        (" http://127.0.0.1", False),
        ("http://127.0.0.1\n", False),
        ("http://127.0.0.1 ", False),
        ("http://ec2 .example", False),
        ("http://ec2_double:8080", False),
        ("http://a..example", False),
        ("http://-a.example", False),
        (f"http://{'a' * 64}.example", False),
        (f"http://{'a.' * 130}example", False),
        ("http://é.example", False),
        ("http://[::1", False),
        ("http://", False),
        ("ftp://127.0.0.1", False),
        ("127.0.0.1", False),
    ],
)
@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL"])
def test_an_endpoint_of_the_users_names_a_server_alone(url: str, variable: str, *, known: bool) -> None:
    assert endpoint_of({variable: url}, EC2, REGION) == (url if known else None)


@pytest.mark.parametrize(
    "env",
    [
        {},
        {GENERAL: "http://127.0.0.1:1"},
        {GENERAL: "http://127.0.0.1:1", SPECIFIC: "http://127.0.0.1:2"},
        {GENERAL: "http://127.0.0.1:1", SPECIFIC: ""},
        {GENERAL: "", SPECIFIC: ""},
        {SPECIFIC_OF_STS: "http://127.0.0.1:3"},
        {REGIONAL: "regional"},
        {REGIONAL: ""},
    ],
)
@pytest.mark.parametrize("service", [EC2, STS])
def test_the_endpoint_is_that_of_the_variable_that_botocore_reads(
    env: dict[str, str], service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (SPECIFIC, SPECIFIC_OF_STS, GENERAL):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    session = Session()
    session.register_component("data_loader", LOADER)
    client = session.create_client(service, REGION, aws_access_key_id="a", aws_secret_access_key="b")
    assert endpoint_of(env, service, REGION) == client.meta.endpoint_url


PIECES = st.sampled_from(
    [
        *("http", "https", "://", ":", "/", "//", "a", "-", ".", "ec2", "example", "[", "]", "::1", "%", "@"),
        *("?", "#", "80", "0", " ", "\n", "\\", "é", "_", "127.0.0.1", "a" * 64),
    ]
)


@given(
    st.one_of(
        st.lists(PIECES, max_size=8).map("".join),
        st.lists(PIECES, max_size=6).map("".join).map("http://{}".format),
    )
)
def test_an_endpoint_that_is_known_is_valid_to_botocore(url: str) -> None:
    if url and endpoint_of({SPECIFIC: url}, EC2, REGION) is not None:
        assert is_valid_endpoint_url(url) or is_valid_ipv6_endpoint_url(url)


def variables() -> set[str]:
    """Return all variables that botocore names anywhere: in its table, and in quotes in its modules."""
    table = {name for _, names, *_ in BOTOCORE_DEFAUT_SESSION_VARIABLES.values() for name in _listed(names)}
    texts = [path.read_text(encoding="utf-8") for path in Path(botocore.__file__).parent.glob("*.py")]
    quoted = {
        name for text in texts for name in re.findall(r"""['"]((?:AWS|BOTO)[A-Z]*_[A-Z0-9_]+)['"]""", text)
    }
    read = {
        name for text in texts for name in re.findall(r"""environ(?:\.get)?[\[(]\s*['"](\w+)['"]""", text)
    }
    return table | quoted | read


def _listed(names: object) -> list[str]:
    if names is None:
        return []
    return list(names) if isinstance(names, list) else [str(names)]


BY_SERVICE = {SPECIFIC, SPECIFIC_OF_STS}
"""Whose names botocore puts together."""
USUAL = {
    *("AWS_REGION", "AWS_DEFAULT_REGION", KEY, SECRET, TOKEN, URI, FILE, ROLE, WEB_FILE, SESSION, GENERAL),
    *("AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_CONFIG_FILE", REGIONAL),
    *("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE"),
}
WITHOUT_EFFECT = {
    # In an example of a docstring.
    "FOO",
    # Python's own contexts read it, too.
    "SSLKEYLOGFILE",
    # Beside AWS_LAMBDA_FUNCTION_NAME alone.
    "_X_AMZN_TRACE_ID",
}


def test_each_variable_of_botocores_is_known_or_makes_it_unusual() -> None:
    named = variables() - WITHOUT_EFFECT
    assert {
        "AWS_PROFILE",
        "AWS_USE_FIPS_ENDPOINT",
        "AWS_ROLE_ARN",
        "BOTO_CONFIG",
        "REQUESTS_CA_BUNDLE",
    } < named
    assert {name for name in named if is_usual({name: "x"})} == USUAL
    # An empty one may mean something, too.
    assert {name for name in named if is_usual({name: ""})} == USUAL
    assert is_usual(dict.fromkeys(BY_SERVICE, "x"))


@pytest.mark.parametrize(
    ("env", "usual"),
    [
        ({}, True),
        (
            {"PATH": "/bin", "HOME": "/", "MULTUS_ENI_POD_NAME": "a", "KUBERNETES_SERVICE_HOST": "10.0.0.1"},
            True,
        ),
        # What the webhook of EKS gives a pod with an identity.
        (
            {
                "AWS_STS_REGIONAL_ENDPOINTS": "regional",
                "AWS_DEFAULT_REGION": REGION,
                "AWS_REGION": REGION,
                URI: AGENT,
                FILE: "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token",
            },
            True,
        ),
        ({"HTTPS_PROXY": "http://proxy:3128"}, False),
        ({"https_proxy": "http://proxy:3128"}, False),
        ({"no_proxy": "169.254.169.254"}, False),
        ({"ALL_PROXY": "socks5://proxy"}, False),
        ({"HTTPS_PROXY": "", "NO_PROXY": ""}, True),
        ({"AWS_PROFILE": ""}, False),
        ({"AWS_SOON": "x"}, False),
    ],
)
def test_the_usual_environment(env: dict[str, str], *, usual: bool) -> None:
    assert is_usual(env) is usual


ARN = "arn:aws:iam::123456789012:role/pods"
SOURCES: list[tuple[dict[str, str], Source | None]] = [
    ({}, Source.NODE),
    ({KEY: "", SECRET: "", TOKEN: ""}, Source.NODE),
    ({KEY: "AKID", SECRET: "s"}, Source.ENV),
    ({KEY: "AKID", SECRET: "s", TOKEN: "t"}, Source.ENV),
    ({KEY: "AKID", SECRET: "s", URI: AGENT, FILE: "/token"}, Source.ENV),
    ({KEY: "AKID"}, None),
    ({KEY: "AKID", SECRET: ""}, None),
    ({SECRET: "s"}, None),
    ({ROLE: ARN, WEB_FILE: "/token"}, Source.WEB_IDENTITY),
    ({ROLE: ARN, WEB_FILE: "/token", URI: AGENT, FILE: "/token"}, Source.WEB_IDENTITY),
    ({ROLE: ARN, WEB_FILE: "/token", KEY: "AKID", SECRET: "s"}, Source.ENV),
    ({ROLE: ARN, WEB_FILE: ""}, None),
    ({ROLE: ARN}, None),
    ({WEB_FILE: "/token"}, None),
    ({ROLE: "", WEB_FILE: ""}, Source.NODE),
    ({URI: AGENT, FILE: "/token"}, Source.POD_IDENTITY),
    ({URI: "http://[fd00:ec2::23]/v1/credentials", FILE: "/token"}, Source.POD_IDENTITY),
    ({URI: "http://LOCALHOST:1234", FILE: "/token"}, Source.POD_IDENTITY),
    ({URI: "http://127.0.0.1:1234/?a=b", FILE: "/token"}, Source.POD_IDENTITY),
    ({URI: AGENT}, None),
    ({URI: AGENT, FILE: ""}, None),
    ({URI: "", FILE: "/token"}, None),
    ({URI: ""}, None),
    ({FILE: "/token"}, Source.NODE),
    ({URI: "https://169.254.170.23/", FILE: "/token"}, None),
    ({URI: "http://10.0.0.1/", FILE: "/token"}, None),
    ({URI: "http://169.254.170.23:0/", FILE: "/token"}, None),
    ({URI: "http://169.254.170.23:x/", FILE: "/token"}, None),
    ({URI: "http://[169.254.170.23/", FILE: "/token"}, None),
    ({URI: f"{AGENT}\n", FILE: "/token"}, None),
    ({URI: "http:///v1", FILE: "/token"}, None),
]


@pytest.mark.parametrize(("env", "source"), SOURCES)
def test_the_source_of_an_environment(env: dict[str, str], source: Source | None) -> None:
    assert source_of(env, Credentials.CHAIN) is source
    assert source_of(env, Credentials.NODE) is Source.NODE


DOCUMENT = {"AccessKeyId": "a", "SecretAccessKey": "b", "Token": "c", "Expiration": "2999-01-01T00:00:00Z"}


@pytest.mark.parametrize(("env", "source"), [each for each in SOURCES if each[1] is not None])
def test_the_source_is_the_one_that_botocores_chain_takes(
    env: dict[str, str], source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (*USUAL, *BY_SERVICE, "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "token").write_text("t")
    for name, value in env.items():
        monkeypatch.setenv(name, str(tmp_path / "token") if value == "/token" else value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(
        "botocore.utils.ContainerMetadataFetcher.retrieve_full_uri", lambda *_, **__: DOCUMENT
    )
    role = {"role_name": "node", "access_key": "a", "secret_key": "b", "token": "c"}
    expiring = {**role, "expiry_time": DOCUMENT["Expiration"]}
    monkeypatch.setattr(
        "botocore.utils.InstanceMetadataFetcher.retrieve_iam_role_credentials", lambda _: expiring
    )
    found = Session().get_credentials()
    assert found is not None
    assert found.method == source.value


@pytest.mark.parametrize("value", ["legacy", "LEGACY", "Regional", "x"])
def test_where_sts_is_asked_elsewhere_is_left_to_botocore(value: str) -> None:
    assert endpoint_of({REGIONAL: value}, STS, REGION) is None
    assert endpoint_of({REGIONAL: value}, EC2, REGION) == botocores_endpoint(EC2, REGION)
    assert endpoint_of({REGIONAL: value, GENERAL: "http://127.0.0.1"}, STS, REGION) == "http://127.0.0.1"


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"AWS_CONFIG_FILE": "/config"},
        {"AWS_SHARED_CREDENTIALS_FILE": "/credentials"},
        {"AWS_CONFIG_FILE": "/config", "AWS_SHARED_CREDENTIALS_FILE": "~/credentials"},
    ],
)
def test_the_files_are_those_that_botocore_reads(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    session = Session()
    named = [session.get_config_variable(name) for name in ("config_file", "credentials_file")]
    assert files_of(env) == (*named, *reversed(BotoProvider.DEFAULT_CONFIG_FILENAMES))
