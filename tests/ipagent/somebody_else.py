"""Another caller of EC2: `python -m tests.ipagent.somebody_else assign|unassign ENI ADDRESS...`."""

import sys
from contextlib import closing

from multus_eni.contract import Credentials
from multus_eni.ipagent.addresses import parse_address
from multus_eni.ipagent.calls import Assign, Unassign
from multus_eni.ipagent.cloud.ec2 import Ec2Client
from tests.ipagent.worlds import REGION

if __name__ == "__main__":
    action, eni, *texts = sys.argv[1:]
    addresses = tuple(map(parse_address, texts))
    with closing(Ec2Client(REGION, Credentials.CHAIN)) as ec2:
        if action == "assign":
            ec2.assign(Assign(eni, addresses, allow_reassignment=True))
        else:
            ec2.unassign(Unassign(eni, addresses))
