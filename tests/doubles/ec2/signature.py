"""Who calls: the credentials named by a Signature Version 4 header.

The header's form, credential scope and session token are checked, the signature itself is not: a program that
signs with a real SDK gets it right, and the double guards nothing.
"""

from __future__ import annotations

import re

from tests.doubles.ec2 import errors
from tests.doubles.ec2.iam import AccessKey
from tests.doubles.state.model import World

# "Create a signed AWS API request", IAM user guide: the Authorization header.
_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=(?P<key>\w+)/\d{8}/(?P<region>[a-z0-9-]+)/(?P<service>[a-z0-9-]+)"
    r"/aws4_request, *SignedHeaders=[a-z0-9;-]+, *Signature=[0-9a-f]{64}",
    re.ASCII,
)


def authenticate(world: World, authorization: str | None, session_token: str | None) -> AccessKey:
    """Find the caller's credentials by the headers Authorization and X-Amz-Security-Token.

    Raises `Ec2Error` if there is no signature, or none that EC2 of the world's region would accept.
    """
    if not authorization:
        raise errors.missing_signature()
    match = _HEADER.fullmatch(authorization)
    if not match or match["service"] != "ec2" or match["region"] != world.region:
        raise errors.auth_failure()
    key = world.key(match["key"])
    if key is None or key.token != session_token:
        raise errors.auth_failure()
    return key
