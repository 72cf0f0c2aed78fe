"""The story, step by step."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from common.exit_codes import ExitCode
from demo import api_server, pod, review
from demo.admission import Admitted, Via
from demo.cloud import Cloud, Eni, State, check, cloud, enis
from demo.failure import DemoError
from demo.ipam import pool
from demo.manifests import Manifests
from demo.screen import Screen, diff_style
from demo.show import diff, table
from demo.webhook import Webhook, webhook
from tests.cluster.control_plane import UnsupportedVersion
from tests.cluster.tools import Missing
from tests.netns import Completed, Node, Pod

INTERFACE = "net1"
"""What Multus calls the first attachment that names no interface."""


@dataclass
class Told:
    """What is known so far: the result, once the story is told."""

    via: Via | None = None
    pod: str = ""
    address: str = ""
    eni: str = ""
    agent: Completed | None = None
    before: State = field(default_factory=dict)
    after: State = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """What the story is told with; `timeout` (seconds) is the agent's."""

    world: Path
    manifests: Manifests
    via: Via | None
    timeout: int


class Story:
    """Tells the story in the network namespace that it is in, with its files in `folder`."""

    def __init__(self, options: Options, folder: Path, screen: Screen) -> None:
        self._options = options
        self._manifests = options.manifests
        self._folder = folder
        self._screen = screen
        self.told = Told()

    def tell(self) -> None:
        """Tell it; raises DemoError, or what its parts raise, where a step fails."""
        with ExitStack() as stack:
            node, cloud = self._node(stack)
            webhook = self._webhook(stack, cloud)
            admitted = self._pod(webhook)
            container = self._container(admitted)
            sandbox, eni = self._network(node)
            self._agent(container, admitted, node, sandbox, cloud)
            self._check(cloud, eni)

    def _node(self, stack: ExitStack) -> tuple[Node, Cloud]:
        with self._screen.step(
            "node", "A node with its ENIs; EC2 and IMDS are strict doubles of the real ones"
        ):
            primary = _node_address(self._options.world)
            node = stack.enter_context(Node(primary, here=True))
            doubles = stack.enter_context(cloud(self._options.world, primary, self._folder))
            self.told.before = doubles.state()
            self._screen.detail(table(self.told.before, self.told.before))
        return node, doubles

    def _webhook(self, stack: ExitStack, cloud: Cloud) -> Webhook:
        with self._screen.step("webhook", "The webhook: multus-eni serve, over TLS, with these settings"):
            env = {"AWS_ENDPOINT_URL_EC2": cloud.ec2, "AWS_REGION": self.told.before["region"]}
            served = stack.enter_context(webhook(self._folder, env, self._options.timeout))
            self._screen.detail(served.settings, "dim")
        return served

    def _pod(self, webhook: Webhook) -> Admitted:
        name = self._manifests.deployment["metadata"]["name"]
        with self._screen.step("pod", f"The user applies {name}, which says nothing about EC2"):
            admitted = self._admit(webhook)
            self.told.via = admitted.via
            metadata = admitted.pod["metadata"]
            self.told.pod = f"{metadata['namespace']}/{metadata['name']}"
            self._screen.detail(f"admitted through {admitted.how}")
            self._screen.detail(f"pod {self.told.pod}")
            for warning in admitted.warnings:
                self._screen.detail(f"Warning: {warning}")
        return admitted

    def _admit(self, webhook: Webhook) -> Admitted:
        wanted = self._options.via
        binaries = api_server.find() if wanted is not Via.REVIEW else None
        if isinstance(binaries, Missing):
            if wanted is Via.API_SERVER:
                raise DemoError(str(binaries))
            self._screen.detail(
                "no API server at hand (`make tools` builds one): the demo sends what one would send"
            )
            binaries = None
        if binaries is None:
            return review.create(self._manifests, webhook)
        self._screen.detail(f"a real API server: {binaries['kube-apiserver']}", "dim")
        try:
            return api_server.create(binaries, self._manifests, webhook)
        except UnsupportedVersion as error:
            if wanted is Via.API_SERVER:
                raise
            self._screen.detail(f"{error}: the demo sends what one would send")
            return review.create(self._manifests, webhook)

    def _container(self, admitted: Admitted) -> dict[str, Any]:
        with self._screen.step("container", "What the webhook has added to the pod"):
            container = pod.agent_container(admitted.pod)
            for line in diff(admitted.before, admitted.pod):
                self._screen.detail(line, diff_style(line))
        return container

    def _network(self, node: Node) -> tuple[Pod, Eni]:
        cni = self._manifests.cni
        with self._screen.step(
            "network", f"Multus attaches the pod to {self._network_name()}: {cni['type']}"
        ):
            known = enis(self.told.before)
            eni = _eni_of(known, cni["master"])
            address = pool(cni["ipam"]).first_free(())
            eth0 = _pod_address(known)
            sandbox = node.pod(eth0=f"{eth0}/32")
            # ipvlan gives the pod's interface the MAC of its master.
            sandbox.add_interface(INTERFACE, mac=eni.mac, addresses=[str(address)])
            self.told.address, self.told.eni = str(address.ip), eni.id
            self._screen.detail(f"eth0  {eth0}/32, which the VPC CNI gave it")
            self._screen.detail(
                f"{INTERFACE}  {address}, the first free one of {cni['ipam']['range']}, "
                f"on {cni['master']} with its MAC {eni.mac}"
            )
            self._screen.detail(f"The VPC knows nothing of {address.ip}: nobody can reach the pod there yet.")
        return sandbox, eni

    def _network_name(self) -> str:
        metadata = self._manifests.network["metadata"]
        return f"{metadata['namespace']}/{metadata['name']}"

    def _agent(
        self, container: dict[str, Any], admitted: Admitted, node: Node, sandbox: Pod, cloud: Cloud
    ) -> None:
        command = pod.command(container, admitted.pod, self._placement(node))
        with self._screen.step("agent", f"The injected container runs: {' '.join(command.argv)}"):
            done = pod.run(container, command, sandbox, self._options.timeout + 15)
            self.told.agent = done
            if done.returncode != 0:
                raise _agent_failure(done, cloud)
            self._screen.detail(done.stderr.strip(), "dim")
            for call in cloud.ec2_calls():
                parameters = ", ".join(f"{name}={value}" for name, value in call["params"].items())
                self._screen.detail(f"EC2: {call['action']}({parameters}): {call['result']}")

    def _placement(self, node: Node) -> pod.Placement:
        return pod.Placement(
            node_name=f"ip-{node.address.replace('.', '-')}.{self.told.before['region']}.compute.internal",
            host_ip=node.address,
            pod_ip=_pod_address(enis(self.told.before)),
        )

    def _check(self, cloud: Cloud, eni: Eni) -> None:
        with self._screen.step("check", "EC2, asked afterwards"):
            self.told.after = cloud.state()
            self._screen.detail(table(self.told.before, self.told.after))
            check(self.told.before, self.told.after, eni, self.told.address)


def _node_address(world: Path) -> str:
    """The node's own address, needed before there is anyone to ask: the primary one of device 0."""
    try:
        found = yaml.safe_load(world.read_text(encoding="utf-8"))["instances"][0]["interfaces"]
        address: str = next(eni["primary"] for eni in found if eni["device"] == 0)
    except (OSError, yaml.YAMLError, LookupError, TypeError, StopIteration) as error:
        raise DemoError(f"the world file {world} has no first instance with a device 0: {error!r}") from None
    return address


def _pod_address(known: tuple[Eni, ...]) -> str:
    """A pod's own address: the VPC CNI takes it from the secondary addresses of device 0."""
    if not known[0].secondaries:
        raise DemoError(f"{known[0].id} (device 0) has no secondary address for the pod's eth0")
    return known[0].secondaries[0]


def _eni_of(known: tuple[Eni, ...], master: str) -> Eni:
    for eni in known:
        if eni.interface == master:
            return eni
    names = ", ".join(eni.interface for eni in known)
    raise DemoError(f"the network's master {master} is not one of the node's interfaces {names}")


def _agent_failure(done: Completed, cloud: Cloud) -> DemoError:
    code = done.returncode
    name = ExitCode(code).name if code in set(ExitCode) else "unknown"
    log = f"{done.stderr.strip()}\n\nEC2 and IMDS:\n{cloud.tail()}"
    return DemoError(
        f"the agent ended with {code} ({name})", log=log, remedy=done.termination_message.strip()
    )
