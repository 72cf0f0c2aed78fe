"""The policies of `examples/iam`, with an account's own values in the places of those in the files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.examples.policies import FOLDER

ISSUER = "oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"


@dataclass(frozen=True, slots=True)
class Account:
    """What a template takes from its account and cluster."""

    partition: str = "aws"
    region: str = "eu-west-1"
    account: str = "999988887777"
    cluster: str = "lab"
    vpc: str = "vpc-00000000000000009"
    subnets: tuple[str, ...] = ("subnet-00000000000000001", "subnet-00000000000000002")
    namespace: str = "multus-eni-system"
    issuer: str = ISSUER

    def policy(self, name: str, service_account: str = "") -> Any:
        """Return the policy of a file, with this account's values."""
        return self._own(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")), service_account)

    def _own(self, node: Any, service_account: str) -> Any:
        if isinstance(node, list):
            return [self._own(each, service_account) for each in node]
        if isinstance(node, dict):
            own = {self._text(key, service_account): value for key, value in node.items()}
            return {
                key: self._subnets() if key == "ec2:Subnet" else self._own(value, service_account)
                for key, value in own.items()
            }
        return self._text(node, service_account) if isinstance(node, str) else node

    def _subnets(self) -> list[str]:
        return [f"arn:{self.partition}:ec2:{self.region}:*:subnet/{each}" for each in self.subnets]

    def _text(self, text: str, service_account: str) -> str:
        if text == "prod":
            return self.cluster
        arn = text.split(":", 5)
        if arn[0] == "arn":
            arn[1] = self.partition
            arn[3] = self.region if arn[3] == "eu-central-1" else arn[3]
            arn[4] = self.account if arn[4] == "111122223333" else arn[4]
        return (
            ":".join(arn)
            .replace("/prod", f"/{self.cluster}")
            .replace("vpc-0123456789abcdef0", self.vpc)
            .replace("oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE", self.issuer)
            .replace("NAMESPACE:SERVICEACCOUNT", f"{self.namespace}:{service_account}")
        )


PARTITIONS = {
    "aws": Account(),
    "aws-us-gov": Account("aws-us-gov", "us-gov-west-1"),
    "aws-cn": Account("aws-cn", "cn-north-1"),
}
