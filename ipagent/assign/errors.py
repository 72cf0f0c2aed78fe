"""Errors that end an agent: each has an exit code and a remedy."""

from __future__ import annotations

from common.exit_codes import ExitCode
from common.pod_keys import CREDENTIALS, INTERFACES, TIMEOUT
from ipagent.assign.ec2_error_codes import RETRIED, Failure, Fault
from ipagent.termination import READ_HELP, REPORT_BUG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, Self

OTHER_POLICIES = (
    "If the message names a service control policy, a permissions boundary or a VPC endpoint policy, that "
    "one has to allow it."
)
_WHERE = "its template, or its own manifest"


class Ec2Error(Exception):
    """A call to EC2 that did not succeed; `failure` says why and whether trying again makes sense."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class AgentError(Exception):
    """A reason to end with `exit_code`; the text says what happened, `remedy` what the user does next."""

    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL
    remedy: str = REPORT_BUG
    transient: bool = False
    """Whether trying again may help within seconds."""
    early: bool = False
    """Whether trying again may help in the first seconds of a pod, and hardly later."""

    def __init__(self, what: str, remedy: str | None = None) -> None:
        super().__init__(what)
        if remedy is not None:
            self.remedy = remedy

    def reworded(self, what: str, remedy: str) -> Self:
        """Return the same error in other words: what may pass by itself still may."""
        made = type(self)(what, remedy)
        made.__dict__ |= {**self.__dict__, "remedy": remedy}
        return made


class BadUsage(AgentError):
    """The agent was started in a way that it does not understand."""

    exit_code = ExitCode.USAGE
    remedy = READ_HELP


class NoImds(AgentError):
    """The instance metadata service can't be used."""

    exit_code = ExitCode.NO_IMDS
    # Names of the API: ModifyInstanceMetadataOptions in the EC2 API reference.
    remedy = (
        "Let pods reach IMDS: let no NetworkPolicy block 169.254.169.254, and raise HttpPutResponseHopLimit "
        "to 2 on the nodes, with an overlay network in between to 3 (aws ec2 "
        "modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2, the launch "
        "template, or Karpenter's EC2NodeClass): then every pod there can use the node's role. Or work "
        "without IMDS: give the agent AWS_REGION and credentials that do not come from the node."
    )


class SilentImds(NoImds):
    """IMDS has not answered once: it may be out of reach for good, or for the first seconds of a pod."""

    early = True


class BadImdsAnswer(NoImds):
    """IMDS answers, but not with what is asked for: it may a moment later.

    `silent`: it has not answered this time, as while it is busy.
    """

    transient = True
    silent: bool = False
    remedy = (
        "IMDS has answered, so the hop limit is not the cause. Check that IMDS is enabled on the node "
        "(HttpEndpoint), and that no proxy or metadata emulation answers in its place. Or do without it: "
        "give the agent AWS_REGION and credentials that do not come from the node."
    )


class NoCredentials(AgentError):
    """There are no AWS credentials, or AWS does not know them."""

    exit_code = ExitCode.NO_CREDENTIALS
    remedy = (
        "Give the pod's ServiceAccount a role (EKS Pod Identity or IRSA) and replace the pod, which gets it "
        "when it is created; or let the agent use the node's role: that needs an instance profile and "
        "HttpPutResponseHopLimit 2, or 3 with an overlay network in between. If the pod has credentials for "
        f"something else, set the annotation {CREDENTIALS}: node."
    )


class NoPermission(AgentError):
    """The identity may not do it."""

    exit_code = ExitCode.NO_PERMISSION
    remedy = (
        "Allow that identity ec2:AssignPrivateIpAddresses and ec2:UnassignPrivateIpAddresses, for IPv6 "
        "ec2:AssignIpv6Addresses and ec2:UnassignIpv6Addresses, and ec2:DescribeNetworkInterfaces. If it has "
        "these rights, tag the ENI as the policy demands (node.k8s.amazonaws.com/no_manage=true). "
        f"{OTHER_POLICIES} If the node's role was meant and the pod's own was used, set the annotation "
        f"{CREDENTIALS}: node."
    )


class NoEni(AgentError):
    """No ENI of this node can carry an address."""

    exit_code = ExitCode.NO_ENI
    remedy = (
        "If the network is not one of the VPC's, leave it out: name the pod's other interfaces in the "
        f"annotation {INTERFACES}, where the pod is made ({_WHERE}). Else check the network's master "
        "interface and range: the address must lie in the subnet of an ENI of this node that is not device "
        "number 0."
    )


class ForeignEni(NoEni):
    """The ENI belongs to an AWS service or to another account."""

    remedy = (
        "That ENI belongs to an AWS service or to another account, which no right of the identity changes: "
        "let the network's master be an ENI of your own account that you have attached for pods."
    )


class NoInterface(AgentError):
    """The pod lacks an interface that its networks promise."""

    exit_code = ExitCode.NO_ENI
    remedy = (
        "If a network of the pod has no kernel interface (DPDK), or is not one of the VPC's, name the pod's "
        f"other interfaces in the annotation {INTERFACES}, where the pod is made ({_WHERE}). Else check that "
        "Multus runs on the node, and that this annotation names interfaces of the pod's networks."
    )


class EniFull(AgentError):
    """The ENI has no room for another address."""

    exit_code = ExitCode.ENI_FULL
    remedy = (
        "Free addresses that no pod uses (`ipagent release ADDRESS --eni ENI`, or aws ec2 "
        "unassign-private-ip-addresses --network-interface-id ENI --private-ip-addresses ADDRESS), use an "
        "instance type with more addresses for each ENI, or let fewer such pods run on the node. Pods in "
        "init mode never release theirs; those in sidecar mode with release-on-exit do, and node agents "
        "reclaim them (nodeAgent.gc.mode=on)."
    )


class SubnetFull(EniFull):
    """The subnet has no free address left."""

    remedy = (
        "Unassign unused addresses from the subnet's ENIs, delete unused ENIs, or give the "
        "network a larger subnet."
    )


class QuotaExceeded(EniFull):
    """A limit of the account or the instance type is reached."""

    remedy = (
        "Raise that quota of the account (the Service Quotas console), or free some of what counts towards "
        "it. EC2's own message says which it is."
    )


class HeldElsewhere(AgentError):
    """Another ENI has the address, and taking it over is not allowed."""

    exit_code = ExitCode.HELD_ELSEWHERE
    remedy = (
        "If no living pod uses it there, free it with `ipagent release ADDRESS --eni ENI`, with that address "
        "and that ENI, or allow the pod to take it (multus-eni.io/takeover: always). If another pod does, "
        "two nodes hand out the same range: give each its own, or use an IPAM for the whole cluster."
    )


class NotGranted(AgentError):
    """The pod states an address that is neither its own nor granted to its namespace."""

    exit_code = ExitCode.NOT_GRANTED
    remedy = (
        "If the pod is to have it, grant its namespace a CIDR that contains it (the chart's value "
        "nodeAgent.grants); else remove it from the pod's interface."
    )


class AddressRefused(AgentError):
    """An address that can't or must not be assigned."""

    exit_code = ExitCode.ADDRESS_REFUSED
    remedy = (
        "Change the network's range, so that pods get addresses that the VPC can route to them, and replace "
        "the pod: it keeps its addresses for its life."
    )


class NotHeld(AddressRefused):
    """An address was to be unassigned from an ENI that does not have it."""

    remedy = "The ENI does not have the address any more: nothing is left to do there."


class InOtherPrefix(AddressRefused):
    """The address lies in a prefix that is delegated to another ENI."""

    remedy = (
        "EC2 delivers every address of a prefix to the ENI that has the prefix: exclude the prefix from the "
        "network's range and replace the pod, or let the network's master be that ENI."
    )


class Ec2Refused(AddressRefused):
    """EC2 refuses the call for a reason that the agent does not know."""

    remedy = (
        "EC2's own message says why, and its code is explained on the page Error codes for the Amazon EC2 "
        "API. Once that reason is gone, the next start of the container succeeds, or a new pod."
    )


class BadCall(Ec2Refused):
    """EC2 can't read the call."""

    remedy = (
        "Check what answers in EC2's place, and what changes requests on their way: AWS_ENDPOINT_URL_EC2, a "
        "proxy, an emulation of EC2. If there is nothing of that kind, this is a bug in the agent: please "
        "report it and include this message."
    )


class Deadline(AgentError):
    """Not everything was assigned in time."""

    exit_code = ExitCode.DEADLINE
    remedy = f"Allow more time with the annotation {TIMEOUT}."


class Throttled(Deadline):
    """EC2 limits the rate of calls."""

    remedy = (
        "All callers of the account and region share EC2's request limits: start fewer pods at a time, look "
        f"for who calls so often (CloudTrail), and allow more time with the annotation {TIMEOUT}."
    )


class Ec2Failing(Deadline):
    """EC2 can't serve the call at present."""

    remedy = (
        "EC2 itself has trouble with the call: look at the AWS Health Dashboard for the region, and allow "
        f"more time with the annotation {TIMEOUT}."
    )


class Ec2Unreachable(AgentError):
    """EC2 did not answer."""

    exit_code = ExitCode.EC2_UNREACHABLE
    remedy = (
        "Usual causes: a NetworkPolicy that blocks egress, a service mesh that redirects before its own "
        "container runs, a default route on a Multus network, a missing VPC endpoint or NAT, the endpoint's "
        "security group or the pod's own, DNS. A pod without IPv4 needs AWS_USE_DUALSTACK_ENDPOINT=true."
    )


_ERRORS: dict[Fault, type[AgentError]] = {
    Fault.THROTTLED: Throttled,
    Fault.TRANSIENT: Ec2Failing,
    Fault.UNREACHABLE: Ec2Unreachable,
    Fault.NO_PERMISSION: NoPermission,
    Fault.NO_CREDENTIALS: NoCredentials,
    Fault.NO_ENI: NoEni,
    Fault.ENI_FULL: EniFull,
    Fault.SUBNET_FULL: SubnetFull,
    Fault.QUOTA: QuotaExceeded,
    Fault.HELD_ELSEWHERE: HeldElsewhere,
    Fault.CONTENDED: HeldElsewhere,
    Fault.IN_PREFIX: InOtherPrefix,
    Fault.REFUSED: AddressRefused,
    Fault.NOT_HELD: NotHeld,
    Fault.FOREIGN_ENI: ForeignEni,
    Fault.BAD_CALL: BadCall,
    Fault.UNKNOWN: Ec2Refused,
}


def error_of(failure: Failure) -> AgentError:
    """Return the error that a failure amounts to, if it is the last word."""
    error = _ERRORS[failure.fault](failure.text, failure.remedy or None)
    error.transient = failure.fault in RETRIED
    return error
