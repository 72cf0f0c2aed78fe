"""Whether this process's environment is the usual one of a pod on EKS, and what it says.

An AWS SDK has some hundred settings: variables, files, proxies, partitions. Those that pods on EKS have are
known here. With any other one botocore makes the calls, which knows them all, so no setting is ignored.
"""

from __future__ import annotations

from enum import StrEnum
from urllib.parse import urlsplit

from common.agent_settings import Credentials

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


def is_usual(env: Mapping[str, str]) -> bool:
    """Return whether everything that botocore would read from these variables is known here."""
    return not any(value and _is_foreign(name) for name, value in env.items())


def _is_foreign(name: str) -> bool:
    if name.startswith(("AWS_", "BOTO")):
        return name not in _KNOWN
    # As urllib.request.getproxies finds them.
    return name.lower().endswith("_proxy") or name == "REQUESTS_CA_BUNDLE"


def files_of(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the files that botocore reads where they are there (botocore.configprovider, .credentials)."""
    return (*(env.get(name) or path for name, path in _NAMED_FILES.items()), *_OTHER_FILES)


def source_of(env: Mapping[str, str], credentials: Credentials) -> Source | None:
    """Return the source that botocore's chain takes, None where it is not one of those known here."""
    if credentials is Credentials.NODE:
        return Source.NODE
    if any(env.get(name) for name in KEYS):
        return Source.ENV if all(env.get(name) for name in KEYS) else None
    if any(env.get(name) for name in (ROLE_ARN, WEB_IDENTITY_TOKEN_FILE)):
        both = all(env.get(name) for name in (ROLE_ARN, WEB_IDENTITY_TOKEN_FILE))
        return Source.WEB_IDENTITY if both else None
    if uri := env.get(POD_IDENTITY_URI):
        return Source.POD_IDENTITY if _is_pod_identity(uri) and env.get(POD_IDENTITY_TOKEN_FILE) else None
    return Source.NODE


def _is_pod_identity(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        known = parts.scheme == "http" and parts.hostname in _POD_IDENTITY_HOSTS and parts.port != 0
    except ValueError:
        return False
    return known


def endpoint_of(env: Mapping[str, str], service: str, region: str) -> str | None:
    """Return a service's URL in a region, None where botocore has to find it (China, a URL with a path)."""
    if named := env.get(f"{_ENDPOINT}_{service.upper()}") or env.get(_ENDPOINT):
        return named if _is_plain(named) else None
    if service == STS and env.get(_STS_ENDPOINTS) not in (None, "", "regional"):
        return None
    area, _, number = region.rpartition("-")
    area, _, direction = area.rpartition("-")
    known = area in _AREAS and direction.isascii() and direction.isalpha() and number.isdecimal()
    return f"https://{service}.{region}.amazonaws.com" if known else None


def _is_plain(url: str) -> bool:
    """Return whether a URL names a server and nothing else."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return known and url.isascii() and "@" not in parts.netloc and not (parts.path.strip("/") or parts.query)
