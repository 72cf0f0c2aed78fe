"""Record how EC2 words its refusals, and compare them with the double's: `make test-aws`.

Environment: MULTUS_ENI_AWS_SUBNET is a subnet of the caller's; two interfaces are made in it, and deleted
at the end. MULTUS_ENI_AWS_ENI, if set, is an interface in it that is attached: it is asked for more
addresses than it can have, and not changed. Region and credentials are those of the AWS SDKs. The one
argument is the file to write.

Exit code 0 if it was recorded, whatever differs; 1 if not.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.aws.record_refusals import DESCRIPTION, WITH_IPV6, Refusal, record
from tests.doubles import Doubles
from tests.doubles.config.credentials import DEFAULT_KEY_ID, DEFAULT_SECRET

SUBNET, ENI = "MULTUS_ENI_AWS_SUBNET", "MULTUS_ENI_AWS_ENI"
RIGHTS = (
    "ec2:CreateNetworkInterface, ec2:DeleteNetworkInterface, ec2:Describe*, ec2:AssignPrivateIpAddresses, "
    "ec2:UnassignPrivateIpAddresses, ec2:AssignIpv6Addresses, ec2:UnassignIpv6Addresses"
)
FAILED = f"""\
test-aws: {{error}}
It needs the rights {RIGHTS}.
The interfaces that it makes have the description {DESCRIPTION!r}: delete those that are left."""
DOUBLES_SUBNET, DOUBLES_ENI = "subnet-0a000000000000001", "eni-0a000000000000001"


def main(arguments: Sequence[str], env: Mapping[str, str] = os.environ) -> int:
    """Return the exit code."""
    if not env.get(SUBNET) or len(arguments) != 1:
        print(f"usage: {SUBNET}=subnet-... [{ENI}=eni-...] python -m tests.aws FILE", file=sys.stderr)
        return 1
    attached = env.get(ENI, "")
    try:
        with closing(boto3.client("ec2", config=Config(retries={"mode": "standard"}))) as ec2:
            found = record(ec2, env[SUBNET], attached)
            region = ec2.meta.region_name
    except (ClientError, BotoCoreError, ValueError, KeyError) as error:
        print(FAILED.format(error=error), file=sys.stderr)
        return 1
    path = Path(arguments[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document(region, found), indent=2) + "\n", encoding="utf-8")
    ipv6 = any(each.case in WITH_IPV6 for each in found)
    said = of_the_double(ipv6=ipv6, attached=bool(attached))
    print("\n".join(differences(found, said)) or "EC2 answers as the double does")
    print(f"recorded {len(found)} refusals in {path}")
    return 0


def document(region: str, found: Sequence[Refusal]) -> dict[str, object]:
    """Write what was recorded, without the account's identifiers and addresses."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"recorded": today, "region": region, "refusals": [asdict(each) for each in found]}


def of_the_double(*, ipv6: bool, attached: bool) -> list[Refusal]:
    """Make the same calls of the double."""
    with (
        Doubles(world(ipv6=ipv6)) as doubles,
        closing(
            boto3.client(
                "ec2",
                region_name="eu-central-1",
                endpoint_url=doubles.ec2_url,
                aws_access_key_id=DEFAULT_KEY_ID,
                aws_secret_access_key=DEFAULT_SECRET,
                config=Config(proxies={}),
            )
        ) as ec2,
    ):
        return record(ec2, DOUBLES_SUBNET, DOUBLES_ENI if attached else "")


def world(*, ipv6: bool) -> dict[str, object]:
    """Make the double's world: a subnet with an attached interface."""
    vpc = "vpc-0a000000000000001"
    subnet = {"id": DOUBLES_SUBNET, "vpc": vpc, "cidr": "10.0.1.0/24", "az": "eu-central-1a"}
    interface = {"id": DOUBLES_ENI, "device": 0, "subnet": DOUBLES_SUBNET, "primary": "10.0.1.10"}
    return {
        "region": "eu-central-1",
        "account": "123456789012",
        "subnets": [subnet | ({"ipv6_cidr": "2001:db8:1::/64"} if ipv6 else {})],
        "instances": [
            {
                "id": "i-0a000000000000001",
                "type": "m5.xlarge",
                "host_addresses": ["127.0.0.1"],
                "sources": [],
                "interfaces": [interface | {"mac": "02:aa:00:00:00:01"}],
            }
        ],
    }


def differences(ec2: Sequence[Refusal], double: Sequence[Refusal]) -> list[str]:
    """Write where EC2 and the double answer differently, three lines for each case."""
    said = {each.case: each for each in double}
    return [
        line
        for each in ec2
        if (other := said.get(each.case)) != each
        for line in (f"{each.case}:", f"  EC2:    {_text(each)}", f"  double: {_text(other)}")
    ]


def _text(refusal: Refusal | None) -> str:
    return f"{refusal.status} {refusal.code}: {refusal.message}" if refusal else "no answer"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
