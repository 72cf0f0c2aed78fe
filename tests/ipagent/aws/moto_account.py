"""An account at a moto server: a node with a Multus ENI, and which addresses that ENI has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.ipagent.worlds import POD_CIDR

PRIMARY = "10.10.1.10"

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client


def node_with_eni(ec2: EC2Client) -> dict[str, Any]:
    """Make a VPC, an instance in it and a second ENI on it; returns what IMDS would tell of the ENI."""
    vpc = ec2.create_vpc(CidrBlock="10.10.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=POD_CIDR)["Subnet"]["SubnetId"]
    image = ec2.describe_images()["Images"][0]["ImageId"]
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, SubnetId=subnet)
    instance = launched["Instances"][0]["InstanceId"]
    # Without an address moto takes a random one, among them those that EC2 reserves.
    eni = ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress=PRIMARY)["NetworkInterface"]
    ec2.attach_network_interface(
        NetworkInterfaceId=eni["NetworkInterfaceId"], InstanceId=instance, DeviceIndex=1
    )
    return {
        "instance": instance,
        "eni": eni["NetworkInterfaceId"],
        "mac": eni["MacAddress"],
        "primary": eni["PrivateIpAddress"],
        "subnet": subnet,
    }


def secondaries(ec2: EC2Client, eni: str) -> list[str]:
    """Return the ENI's secondary addresses."""
    (shown,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"]
    return [each["PrivateIpAddress"] for each in shown["PrivateIpAddresses"] if not each["Primary"]]
