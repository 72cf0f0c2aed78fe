"""Another caller of EC2: `python -m tests.ipagent.e2e.external_writer assign|unassign ENI ADDRESS...`."""

import sys
from contextlib import closing

from common.contract import Credentials
from ipagent.assign.calls import Assign, Unassign
from ipagent.assign.selection import parse_address
from ipagent.aws.ec2 import Ec2Client
from tests.ipagent.worlds import REGION

if __name__ == "__main__":
    action, eni, *texts = sys.argv[1:]
    addresses = tuple(map(parse_address, texts))
    with closing(Ec2Client(REGION, Credentials.CHAIN)) as ec2:
        if action == "assign":
            ec2.assign(Assign(eni, addresses, allow_reassignment=True))
        else:
            ec2.unassign(Unassign(eni, addresses))
