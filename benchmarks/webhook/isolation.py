"""A network of the benchmark's own: one of the peers can only listen on all addresses."""

from __future__ import annotations

import os

from tests.netns import NamespacesForbidden, kernel
from tests.netns.links import Links
from tests.netns.rights import explain


def leave_network() -> None:
    """Move this process into a network namespace that has only loopback; its children are born there.

    The process must have a single thread. Raises NamespacesForbidden.
    """
    try:
        if os.geteuid() == 0:
            kernel.unshare(kernel.CLONE_NEWNET)
        else:
            kernel.new_user_namespace(0, also=kernel.CLONE_NEWNET)
    except OSError as error:
        raise NamespacesForbidden(explain(error)) from error
    links = Links()
    try:
        links.up("lo")
    finally:
        links.close()
