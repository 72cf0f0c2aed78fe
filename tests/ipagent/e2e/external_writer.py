"""Another caller of EC2, for `python -m`: `assign`, `unassign`, `detach` or `move`, then ENI and more.

`assign` and `unassign` take addresses. `move` takes an instance and a device number, and detaches the ENI
before it attaches it there.
"""

import sys
from contextlib import closing

import boto3

from common.agent_settings import Credentials
from ipagent.assign.address_calls import Assign, Unassign
from ipagent.assign.addresses import parse_address
from ipagent.aws.botocore_connection import BotocoreConnection
from ipagent.aws.ec2_client import Ec2Client
from tests.doubles.state.identifiers import attachment_of
from tests.ipagent.worlds import REGION

if __name__ == "__main__":
    action, eni, *more = sys.argv[1:]
    if action in ("detach", "move"):
        ec2 = boto3.client("ec2", REGION)
        ec2.detach_network_interface(AttachmentId=attachment_of(eni))
        if action == "move":
            instance, device = more
            ec2.attach_network_interface(NetworkInterfaceId=eni, InstanceId=instance, DeviceIndex=int(device))
    else:
        addresses = tuple(map(parse_address, more))
        with closing(Ec2Client(BotocoreConnection(REGION, Credentials.CHAIN))) as client:
            if action == "assign":
                client.assign(Assign(eni, addresses, allow_reassignment=True))
            else:
                client.unassign(Unassign(eni, addresses))
