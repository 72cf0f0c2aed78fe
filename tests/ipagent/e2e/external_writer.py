"""Another caller of EC2, for `python -m`: `assign`, `unassign` or `detach`, then ENI ADDRESS..."""

import sys
from contextlib import closing

import boto3

from common.contract import Credentials
from ipagent.assign.addresses import parse_address
from ipagent.assign.calls import Assign, Unassign
from ipagent.aws.ec2 import Ec2Client
from tests.doubles.state.identifiers import attachment_of
from tests.ipagent.worlds import REGION

if __name__ == "__main__":
    action, eni, *texts = sys.argv[1:]
    addresses = tuple(map(parse_address, texts))
    with closing(Ec2Client(REGION, Credentials.CHAIN)) as ec2:
        if action == "assign":
            ec2.assign(Assign(eni, addresses, allow_reassignment=True))
        elif action == "detach":
            boto3.client("ec2", REGION).detach_network_interface(AttachmentId=attachment_of(eni))
        else:
            ec2.unassign(Unassign(eni, addresses))
