"""AWS as the agent in a pod uses it, with rights of its own: topology by IMDS or by MAC."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from common.agent_settings import ENV_HOST_IP, Credentials
from common.frozen_dataclass import replace
from ipagent.assign.addresses import IPAddress, parse_address
from ipagent.assign.ec2_error_codes import Fault
from ipagent.assign.errors import AgentError, Ec2Error, NoCredentials, NoEni, NoImds, error_of
from ipagent.assign.holders import why_not_ours
from ipagent.assign.retry import Timing
from ipagent.assign.topology import Eni, EniDetails, Topology
from ipagent.aws.aws_access import RANGES_SECONDS, AwsAccess, Cidrs
from ipagent.aws.combined_topology import corrected_by_ec2, merged, with_ranges
from ipagent.aws.describe_enis import as_eni
from ipagent.aws.imds import Imds
from ipagent.interrupting_signals import StopSignal
from ipagent.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipagent.aws.ec2_client import Connection

_NOT_THE_NODES = (
    f"Check that AWS_REGION is the node's own region, and that {ENV_HOST_IP} is the node's address (by the "
    "downward API, status.hostIP). Or let the pod reach IMDS, which tells which instance this is."
)


class WaitingFor:
    """Lets a signal that comes meanwhile tell who was being waited for."""

    def __init__(self, whom: str) -> None:
        self._whom = whom

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, StopSignal):
            error.waiting_for = error.waiting_for or self._whom


class PodCloud(AwsAccess):
    """The agent's own way to AWS."""

    def __init__(self, env: Mapping[str, str], credentials: Credentials, log: Log, timing: Timing) -> None:
        super().__init__(env, credentials, log, timing)
        self._topology: Topology | None = None
        self._looked_for: frozenset[str] = frozenset()
        self._instance_id = ""
        self._host = _address(env.get(ENV_HOST_IP, ""))
        # ENIs that EC2 has shown attached here, and nobody else's; where it can't be asked, those of IMDS.
        self._verified: frozenset[str] = frozenset()
        self._warned_unverified = False
        self._ranges: Cidrs = {}
        self._ranges_until = 0.0

    def _connection(self) -> Connection:
        from ipagent.aws.botocore_fallback import PodConnection, UsualAccess  # noqa: PLC0415 - without addresses not needed

        usual = UsualAccess.find(self._region, self._credentials, self._env, self._answering)
        return PodConnection(self._region, usual, self._by_botocore)

    def _by_botocore(self) -> Connection:
        from ipagent import lazy_imports  # noqa: PLC0415 - most pods need neither

        lazy_imports.install()
        return super()._connection()

    def topology(self, macs: Collection[str], *, fresh: bool = False) -> Topology:
        """Return the node's ENIs by IMDS, or without it those that carry the pod's MACs; raises AgentError.

        Where IMDS does not show the ENI of a MAC, EC2 is asked: IMDS lags behind, and a MAC that it lacks may
        be that of an ENI that was attached a moment ago. What was read once serves again, unless a MAC was
        never looked for, more may appear, or `fresh` is asked for.
        """
        known = None if fresh else self.cached(macs)
        if known is not None:
            return known
        try:
            imds = self._service()
            with WaitingFor("IMDS"):
                read = imds.topology_as_shown(None if fresh else macs)
                self._region = self._region or imds.region()
            self._imds = imds
        except NoImds as error:
            with WaitingFor("EC2"):
                read = self._without_imds(macs, error)
            self._verified |= {eni.id for eni in read.enis if not eni.barred}
        else:
            # Without its subnet the holders of an address would be looked for in every VPC of the region.
            if missing := frozenset(macs) - {eni.mac for eni in read.enis if eni.subnet_id}:
                with WaitingFor("EC2"):
                    read = self._checked(read, missing, imds)
        return self._remember(read, macs)

    def cached(self, macs: Collection[str]) -> Topology | None:
        """Return what was read last, if nobody has to be asked for more for these MACs."""
        read = self._topology
        if read is None or not read.complete or not self._looked_for.issuperset(macs):
            return None
        return self._rated(read, macs)

    def known(self, mac: str) -> Eni | None:
        """Return the verified ENI with a MAC by what was read last, without asking anybody."""
        enis = () if self._topology is None else self._topology.enis
        return next((eni for eni in enis if mac and eni.mac == mac and eni.id in self._verified), None)

    def verified(self, shown: Topology, macs: Collection[str]) -> Topology:
        """Return what IMDS has shown, with EC2's word on the ENIs that have these MACs; raises AgentError.

        IMDS knows neither types nor owners, and shows an ENI for a while after its detach. Without the right
        to ask EC2 its answer has to do.
        """
        try:
            with WaitingFor("IMDS"):
                self._identify()
            with WaitingFor("EC2"):
                found = tuple(map(self._located, self._by_mac(macs)))
        except NoImds as error:
            # Without it an ENI that another instance has by now is not told from one of this instance.
            read = self._pending(shown, macs, error)
        except Ec2Error as error:
            read = self._unverified(shown, macs, error)
        else:
            read = corrected_by_ec2(shown, macs, found)
        self._verified |= {eni.id for eni in read.enis if eni.mac in macs and not eni.barred}
        return self._remember(read, macs)

    def _remember(self, read: Topology, macs: Collection[str]) -> Topology:
        self._topology = read
        # What EC2 alone has shown lacks ranges: for another interface IMDS is read again.
        self._looked_for = frozenset((*macs, *(eni.mac for eni in read.enis if eni.subnet_cidrs)))
        return self._rated(read, macs)

    def _rated(self, read: Topology, macs: Collection[str]) -> Topology:
        """Complete it by whether the ENIs with these MACs are verified: what EC2 has barred needs no more."""
        mine = (eni for eni in read.enis if eni.mac in macs)
        return replace(read, verified=all(eni.id in self._verified or eni.barred for eni in mine))

    def _unverified(self, shown: Topology, macs: Collection[str], error: Ec2Error) -> Topology:
        """Return what is known where EC2 does not answer: it is asked again, unless it never will answer."""
        doubt = self._not_asked(error)
        if not doubt.transient:
            if not self._warned_unverified:
                self._warned_unverified = True
                text = (
                    "EC2 can't be asked who owns the pod's ENIs, and whether they are attached here; they "
                    f"are used as IMDS shows them: {error.failure.text}"
                )
                self._log.warning("eni-unverified", message=text)
            return shown
        return self._pending(shown, macs, doubt)

    def _pending(self, shown: Topology, macs: Collection[str], doubt: AgentError) -> Topology:
        """Return what is known without the ENIs with these MACs that EC2 has not verified yet."""
        pending = {
            eni.mac: f"IMDS alone has shown {eni.id}, which has the MAC of its interface"
            for eni in shown.enis
            if eni.mac in macs and eni.id not in self._verified
        }
        enis = tuple(eni for eni in shown.enis if eni.mac not in pending)
        return replace(shown, enis=enis, partial={**shown.partial, **pending}, doubt=doubt)

    def ranged(self, shown: Topology, macs: Collection[str]) -> Topology:
        """Return it with EC2's word on the ranges of subnets, as far as EC2 tells; raises AgentError.

        IMDS shows late that a subnet has a range of IPv6, or has another one.
        """
        subnets = {eni.subnet_id for eni in shown.enis if eni.usable and eni.subnet_id}
        now = self._timing.clock()
        if now >= self._ranges_until or not subnets <= self._ranges.keys():
            with WaitingFor("EC2"):
                self._ranges = self._ranges_by_ec2(subnets) if subnets else {}
            self._ranges_until = now + RANGES_SECONDS
        enis = tuple(with_ranges(eni, self._ranges) for eni in shown.enis)
        return self._remember(replace(shown, enis=enis), macs)

    def _identify(self) -> None:
        """Find out which instance this is, where IMDS is there; raises NoImds."""
        if not self._instance_id and self._imds is not None:
            self._instance_id = self._imds.instance_id()

    def _own_instance(self) -> str:
        try:
            self._identify()
        except NoImds as error:
            self._log.debug("imds-failed", message=str(error))
        return self._instance_id

    def elastic_ips(self, mac: str) -> dict[str, str]:
        """Return which public addresses stand for private ones of an ENI, by IMDS; raises NoImds."""
        return self._service().elastic_ips(mac)

    def _checked(self, shown: Topology, missing: Collection[str], imds: Imds) -> Topology:
        """Return the ENIs that EC2 has attached here, for MACs that IMDS lacks or shows in part.

        Without an answer of EC2 those of IMDS, and why the others are not known.
        """
        try:
            instance_id = self._instance_id = self._instance_id or imds.instance_id()
            attached = self._client().attached(instance_id)
            unknown = frozenset(missing) - {each.mac for each in attached if each.mac}
            others = self._by_mac(unknown)
        except NoImds as error:
            return replace(shown, doubt=error)
        except Ec2Error as error:
            return replace(shown, doubt=self._not_asked(error))
        if not attached:
            text = f"EC2 shows no ENI of this instance, {instance_id}, in {self._region}"
            return replace(shown, doubt=NoEni(text, "Check that AWS_REGION is the node's own region."))
        read = merged(shown, attached, others, {})
        self._verified |= {eni.id for eni in read.enis if not eni.barred}
        if not unknown - {each.mac for each in others}:
            # An ENI has each of the MACs, so no address goes by the range of a subnet.
            return replace(read, unranged=())
        if read.unranged:
            subnets = {eni.subnet_id for eni in read.enis if eni.id in read.unranged}
            read = merged(shown, attached, others, self._ranges_by_ec2(subnets))
        return read

    def _by_mac(self, macs: Collection[str]) -> tuple[EniDetails, ...]:
        """Find ENIs by MAC; an interface that is no Ethernet device has an empty one. Raises Ec2Error."""
        real = [mac for mac in macs if mac]
        return self._client().by_mac(real) if real else ()

    def _not_asked(self, error: Ec2Error) -> AgentError:
        found = error_of(error.failure)
        if isinstance(found, NoCredentials):
            # Nothing can be assigned either.
            raise found from None
        text = f"EC2 can't be asked whether an ENI of this node has it: {found}"
        doubt = type(found)(text, found.remedy)
        doubt.transient = found.transient
        return doubt

    def _without_imds(self, macs: Collection[str], reason: NoImds) -> Topology:
        """Find the ENIs by MAC: that needs a region, an identity, and no foreign MAC."""
        if not self._region or not macs or self._credentials is Credentials.NODE:
            raise reason
        try:
            known = self._on_node(self._client().by_mac(macs))
        except Ec2Error as error:
            failure = error.failure
            if failure.fault is Fault.NO_CREDENTIALS:
                text = f"{reason}; and there are no credentials without it: {failure.text}"
                raise reason.reworded(text, reason.remedy) from None
            refused = error_of(failure)
            refused.transient, refused.early = refused.transient or reason.transient, reason.early
            raise refused from None
        found = [eni for eni in known if not eni.why_not_here]
        named = {eni.mac for eni in found}
        if gone := [f"{eni.eni_id} is {eni.why_not_here}" for eni in known if eni.mac not in named]:
            absent = NoEni(f"{reason}; and in EC2 {', '.join(gone)}")
            absent.transient = True
            raise absent
        if foreign := set(macs) - named:
            listed = ", ".join(sorted(foreign))
            text = f"{reason}; and EC2 knows no ENI with the MAC {listed}, so only IMDS could name it"
            raise reason.reworded(text, reason.remedy)
        if len(found) > len(named):
            listed = " and ".join(sorted(eni.eni_id for eni in found))
            text = f"{reason}; and in EC2 {listed} share a MAC, so only IMDS could name the one of this node"
            raise reason.reworded(text, reason.remedy)
        self._log.warning("no-imds", message=f"{reason}; the ENI was found by its MAC instead")
        return Topology(tuple(as_eni(eni, (), why_not_ours(eni, require_tag=False)) for eni in found))

    def _on_node(self, found: Sequence[EniDetails]) -> tuple[EniDetails, ...]:
        """Complete ENIs that were found by MAC by whether this node has them; raises AgentError, Ec2Error.

        MACs are unique in a VPC, and yet an interface may carry that of another node's ENI: one that was set
        by hand, a bond's, that of a virtual machine that has moved here. Without IMDS the node's address
        tells which instance this is, unless an earlier answer of IMDS has told.
        """
        if found and not self._instance_id and self._host is not None:
            holders = self._client().holders({self._host}, "")
            nodes = {eni.instance_id for eni in holders if eni.instance_id}
            if not nodes:
                raise NoEni(
                    f"EC2 shows no ENI with the node's address {self._host}, so it is not known whether "
                    f"{', '.join(sorted(eni.eni_id for eni in found))}, with the MAC of the pod's interface, "
                    "is attached to this node",
                    _NOT_THE_NODES,
                )
            # Another VPC may use the same range.
            nodes = nodes & {eni.instance_id for eni in found} or nodes
            if len(nodes) > 1:
                return tuple(replace(eni, elsewhere=eni.instance_id not in nodes) for eni in found)
            (self._instance_id,) = nodes
        return tuple(map(self._located, found))


def _address(text: str) -> IPAddress | None:
    """Read the node's address; None for anything else, such as the empty text of an older webhook."""
    try:
        return parse_address(text)
    except ValueError:
        return None
