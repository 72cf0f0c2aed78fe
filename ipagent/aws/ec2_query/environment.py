"""Whether this process's environment is the usual one of a pod on EKS, and what it says.

An AWS SDK has some hundred settings: variables, files, proxies, partitions. Those that pods on EKS have are
known here. With any other one botocore makes the calls, which knows them all, so no setting is ignored.
"""

from __future__ import annotations

import re
from enum import StrEnum

from common.agent_settings import Credentials
from ipagent.aws.urls import PORTS, split_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMED_FILES = {
    "AWS_CONFIG_FILE": "~/.aws/config",
    "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
}
_OTHER_FILES = ("~/.boto", "/etc/boto.cfg")

_KEY, _SECRET, TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
KEYS = (_KEY, _SECRET)
POD_IDENTITY_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
POD_IDENTITY_TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105 - the name of a variable
ROLE_ARN, WEB_IDENTITY_TOKEN_FILE = "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"
ROLE_SESSION_NAME = "AWS_ROLE_SESSION_NAME"
CA_BUNDLE = "AWS_CA_BUNDLE"
EC2, STS = "ec2", "sts"
_ENDPOINT = "AWS_ENDPOINT_URL"
_STS_ENDPOINTS = "AWS_STS_REGIONAL_ENDPOINTS"
_KNOWN = frozenset(
    {
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
        *KEYS,
        TOKEN,
        POD_IDENTITY_URI,
        POD_IDENTITY_TOKEN_FILE,
        ROLE_ARN,
        WEB_IDENTITY_TOKEN_FILE,
        ROLE_SESSION_NAME,
        CA_BUNDLE,
        *_NAMED_FILES,
        _ENDPOINT,
        *(f"{_ENDPOINT}_{service.upper()}" for service in (EC2, STS)),
        _STS_ENDPOINTS,
    }
)
_MAX_NAME = 255
_LABEL = r"(?!-)[a-z\d-]{1,63}(?<!-)"
_NAME = rf"({_LABEL}\.)*{_LABEL}"
"""A server's name, as botocore takes it (`is_valid_endpoint_url`)."""
_POD_IDENTITY_HOSTS = frozenset({"169.254.170.23", "fd00:ec2::23", "127.0.0.1", "::1", "localhost"})
"""The agent of EKS Pod Identity; botocore sends the token to others, too (`ContainerMetadataFetcher`)."""

# Of the partitions `aws` and `aws-us-gov` in botocore's partitions.json (`regionRegex`).
_AREAS = ("us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx", "us-gov")


class Source(StrEnum):
    """Where credentials come from, by botocore's name for it (`METHOD` in botocore.credentials)."""

    ENV = "env"
    WEB_IDENTITY = "assume-role-with-web-identity"
    POD_IDENTITY = "container-role"
    NODE = "iam-role"


_PAIRS = {Source.ENV: KEYS, Source.WEB_IDENTITY: (ROLE_ARN, WEB_IDENTITY_TOKEN_FILE)}
"""Sources that need both of two variables, in the order in which botocore's chain looks for them."""


def is_usual(env: Mapping[str, str]) -> bool:
    """Return whether everything that botocore would read from these variables is known here."""
    return not any(_is_foreign(name, value) for name, value in env.items())


def _is_foreign(name: str, value: str) -> bool:
    if name.startswith(("AWS_", "BOTO")):
        # An empty one may mean something, too: botocore looks for the profile "".
        return name not in _KNOWN
    # As urllib.request.getproxies finds them.
    return name == "REQUESTS_CA_BUNDLE" or (bool(value) and name.lower().endswith("_proxy"))


def files_of(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the files that botocore reads where they are there (botocore.configprovider, .credentials)."""
    return (*(env.get(name) or path for name, path in _NAMED_FILES.items()), *_OTHER_FILES)


def source_of(env: Mapping[str, str], credentials: Credentials) -> Source | None:
    """Return the source that botocore's chain takes, None where it is not one of those known here."""
    if credentials is Credentials.NODE:
        return Source.NODE
    for source, names in _PAIRS.items():
        given = [bool(env.get(name)) for name in names]
        if any(given):
            return source if all(given) else None
    # Not by the node's role where it is empty: botocore asks nobody else then.
    if POD_IDENTITY_URI in env:
        known = _is_pod_identity(env[POD_IDENTITY_URI]) and env.get(POD_IDENTITY_TOKEN_FILE)
        return Source.POD_IDENTITY if known else None
    return Source.NODE


def _is_pod_identity(uri: str) -> bool:
    try:
        parts = split_url(uri)
        known = parts.scheme == "http" and parts.hostname in _POD_IDENTITY_HOSTS and parts.port != 0
    except ValueError:
        return False
    return known and uri.isprintable()


def endpoint_of(env: Mapping[str, str], service: str, region: str) -> str | None:
    """Return a service's URL in a region, None where botocore has to find it (China, a URL with a path)."""
    if not (region.isascii() and region.replace("-", "").isalnum()):
        return None
    if named := env.get(f"{_ENDPOINT}_{service.upper()}") or env.get(_ENDPOINT):
        return named if _is_plain(named) else None
    if service == STS and env.get(_STS_ENDPOINTS) not in (None, "", "regional"):
        return None
    area, _, number = region.rpartition("-")
    area, _, direction = area.rpartition("-")
    known = area in _AREAS and direction.isalpha() and number.isdecimal()
    return f"https://{service}.{region}.amazonaws.com" if known else None


def _is_plain(url: str) -> bool:
    """Return whether a URL names a server and nothing else."""
    try:
        parts = split_url(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        return False
    if parts.scheme not in PORTS or port == 0 or "@" in parts.netloc or not url.isascii():
        return False
    # Reading leaves out line breaks, and the like.
    if url.removesuffix("/") != f"{parts.scheme}://{parts.netloc}" or len(host) > _MAX_NAME:
        return False
    return ":" in host or bool(re.fullmatch(_NAME, host.removesuffix(".")))
