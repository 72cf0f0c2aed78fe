"""Write the policies of `examples/iam` into its CloudFormation template: `python -m tests.examples.policies`.

A policy is text there: names of condition keys hold the cluster's name or the OIDC issuer, and CloudFormation
puts a parameter into a key only where it is part of a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "examples" / "iam"
TEMPLATE = FOLDER / "cloudformation.yaml"

_MARK = re.compile(r" *# From (\S+\.json)")
_SUBNETS = re.compile(r'"ec2:Subnet": \[[^]]*\]')
_ISSUER = "oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE"
PLACEHOLDERS = {
    "arn:aws:ec2:eu-central-1:*:": "arn:${AWS::Partition}:ec2:${AWS::Region}:*:",
    "arn:aws:iam::111122223333:": "arn:${AWS::Partition}:iam::${AWS::AccountId}:",
    "arn:aws:": "arn:${AWS::Partition}:",
    "vpc-0123456789abcdef0": "${VpcId}",
    _ISSUER: "${OidcProvider}",
    "NAMESPACE:SERVICEACCOUNT": "${Pods}",
    '"prod"': '"${ClusterName}"',
    'cluster/prod"': 'cluster/${ClusterName}"',
}
"""What stands for an account's own values in the JSON files, and the template's parameter for it."""


def as_substitution(policy: str) -> str:
    """Return the text of a JSON file as one for `Fn::Sub`."""
    text = _SUBNETS.sub('"ec2:Subnet": ["arn:*:ec2:*:*:subnet/${Subnets}"]', policy)
    for placeholder, parameter in PLACEHOLDERS.items():
        text = text.replace(placeholder, parameter)
    return text


def written(template: str) -> str:
    """Return the template with the policies as the JSON files have them now."""
    return "".join(f"{line}\n" for line in _written(template.splitlines()))


def _written(lines: list[str]) -> Iterator[str]:
    waiting = iter(lines)
    policy = None
    for line in waiting:
        yield line
        if found := _MARK.fullmatch(line):
            policy = found[1]
        elif policy and line.endswith("|"):
            indent = " " * (len(line) - len(line.lstrip(" ")) + 2)
            text = as_substitution((FOLDER / policy).read_text(encoding="utf-8"))
            yield from (indent + each for each in text.splitlines())
            policy = None
            for former in waiting:
                if former in (f"{indent}{{}}", f"{indent}}}"):
                    break


def main() -> None:
    TEMPLATE.write_text(written(TEMPLATE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
