"""Where the control plane's programs come from: found, or built from the go.mod and go.sum beside this file.

`python -m tests.cluster.tools [--optional] [NAME…]` finds or builds them; `find_binaries` only finds.
"""

from tests.cluster.tools.binaries import ALL, CHART, CONTROL_PLANE, NODES, Binaries, Missing, find_binaries

__all__ = ["ALL", "CHART", "CONTROL_PLANE", "NODES", "Binaries", "Missing", "find_binaries"]
