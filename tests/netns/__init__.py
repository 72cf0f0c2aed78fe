"""Network namespaces for tests and the demo: a node, its pods, and processes in them.

::

    from tests.netns import Node

    with Node() as node:                                    # the node's side, a namespace of its own
        ec2 = node.popen([sys.executable, "-m", "tests.doubles", "--world", world,
                          "--ec2", f"{node.address}:8080", "--imds", "169.254.169.254:80"])
        pod = node.pod(eth0="10.10.0.21/32")                # eth0, default route through the node
        pod.add_interface("net1", mac="02:00:0a:0a:01:0a", addresses=["10.10.1.80/24"])
        done = pod.run(["ipagent", "init"], env={"PATH": ..., "AWS_ENDPOINT_URL_EC2": ...})
        assert done.returncode == 0, done.stderr
        state = json.loads(node.http("GET", f"http://{node.address}:8080/_double/state").body)

As a pytest fixture: ``from tests.netns_fixtures import node`` (see there).

It works as root and as an ordinary user whose system allows unprivileged user namespaces; nothing on
the host changes, and everything is gone when the node is closed or the process ends, however it ends:
the namespaces live only in processes that end with it. It needs no `ip` command and no other package
of the system.

A process in a pod runs as a container with the `restricted` Pod Security profile does: uid and gid 65534,
no capabilities, no_new_privs. This is done by a user namespace of its own in which 65534 stands for the
user who runs the tests, so it can read (and write) the same files as that user, and supplementary groups
stay; where even that is forbidden and the tests run as root, by setresuid, and files need to be readable
to uid 65534. A process on the node's side has the rights of root in the node's namespace.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.netns.namespace import Completed, Response
    from tests.netns.node import GATEWAY, IMDS, Node, Pod, available, require
    from tests.netns.rights import NamespacesForbidden

__all__ = [
    "GATEWAY",
    "IMDS",
    "Completed",
    "NamespacesForbidden",
    "Node",
    "Pod",
    "Response",
    "available",
    "require",
]


def __getattr__(name: str) -> object:
    """Import a name when it is asked for: `enter` and `holder`, a process each, need next to nothing."""
    if name not in __all__:
        raise AttributeError(name)
    from importlib import import_module  # noqa: PLC0415 - costs more than the rest of this module

    for module in ("namespace", "rights", "node"):
        found = import_module(f"{__name__}.{module}")
        if hasattr(found, name):
            return getattr(found, name)
    raise AttributeError(name)
