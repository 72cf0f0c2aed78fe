"""A VPC CNI that takes device indexes while others want them: what ipamd does to an instance's interfaces.

Source: `pkg/awsutils/awsutils.go` of amazon-vpc-cni-k8s (AllocENI, attachENI, awsGetFreeDeviceNumber). It
creates an interface, attaches it at the lowest free device index of network card 0, and deletes it where EC2
refuses that.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import TagTypeDef

MAX_INDEXES = 16


class FakeVpcCni:
    """Grabs the lowest free device index of a random instance at random moments, from `with` to its end.

    `instances` maps an instance to the subnet of its primary interface. `pause` bounds the seconds between
    two grabs. `grab` does it once, also without `with`.
    """

    def __init__(
        self,
        ec2: EC2Client,
        instances: Mapping[str, str],
        *,
        pause: tuple[float, float],
    ) -> None:
        self._ec2 = ec2
        self._instances = dict(instances)
        self._random = random.Random(0)
        self._pause = pause
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vpc-cni", daemon=True)
        self._failure: BaseException | None = None
        self.held: dict[str, tuple[str, int]] = {}
        """The interfaces that it has attached -> instance and device index."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(30)
        if self._thread.is_alive() or self._failure:
            raise RuntimeError("the VPC CNI did not end as it should") from self._failure

    def grab(self, instance: str) -> str | None:
        """Attach one more interface to an instance; returns its id, None where EC2 does not let it."""
        eni = self._create(instance)
        device = self._lowest_free_index(instance)
        try:
            self._ec2.attach_network_interface(
                NetworkInterfaceId=eni, InstanceId=instance, DeviceIndex=device, NetworkCardIndex=0
            )
        except ClientError:
            # Another one was faster, or there is no room: ipamd deletes the interface and tries again later.
            self._ec2.delete_network_interface(NetworkInterfaceId=eni)
            return None
        self.held[eni] = (instance, device)
        return eni

    def lost(self) -> Sequence[str]:
        """Return those of its interfaces that are no longer where it attached them."""
        if not self.held:
            return []
        shown = self._ec2.describe_network_interfaces(
            Filters=[{"Name": "network-interface-id", "Values": list(self.held)}]
        )["NetworkInterfaces"]
        places = {
            each["NetworkInterfaceId"]: (each["Attachment"]["InstanceId"], each["Attachment"]["DeviceIndex"])
            for each in shown
            if "Attachment" in each
        }
        return [eni for eni, place in self.held.items() if places.get(eni) != place]

    def _run(self) -> None:
        try:
            while not self._end.wait(self._random.uniform(*self._pause)):
                self.grab(self._random.choice(sorted(self._instances)))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that ends it
            self._failure = error

    def _create(self, instance: str) -> str:
        tags: list[TagTypeDef] = [{"Key": "node.k8s.amazonaws.com/instance_id", "Value": instance}]
        made = self._ec2.create_network_interface(
            SubnetId=self._instances[instance],
            Description=f"aws-K8S-{instance}",
            TagSpecifications=[{"ResourceType": "network-interface", "Tags": tags}],
        )
        return made["NetworkInterface"]["NetworkInterfaceId"]

    def _lowest_free_index(self, instance: str) -> int:
        shown = self._ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        attachments = [each["Attachment"] for each in shown["NetworkInterfaces"]]
        taken = {each["DeviceIndex"] for each in attachments if not each.get("NetworkCardIndex")}
        return next(index for index in range(MAX_INDEXES) if index not in taken)
