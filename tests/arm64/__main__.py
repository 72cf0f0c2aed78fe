"""All that is tested of the arm64 images: `python -m tests.arm64 [PYTEST-ARGUMENT…]`, as root.

tests/arm64 starts containers of the images. The suites beside it are those of the product, whose rigs start
the images' programs by the emulator in place of this environment's (tests/programs.py): kernel, servers and
clients are this machine's. Nothing is skipped: what is missing fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from images.archives import ready
from images.local_build import local_build
from images.run import CommandError
from images.store import cache_folder
from tests.arm64.emulated import PLATFORM, PROGRAM, write_programs
from tests.images.container import Image

SUITES = (
    "tests/arm64",
    "tests/ipagent/e2e/test_init.py",
    "tests/ipagent/e2e/test_sidecar.py",
    "tests/ipagent/e2e/test_commands.py::test_enis_shows_the_node_and_marks_what_imds_has_late",
    "tests/ipagent/nodeclient/test_e2e.py",
    "tests/ipagent/netlink/test_namespace.py::TestInAPod",
    # The others give a device a second name (RTM_NEWLINKPROP), which QEMU 7.2 does not pass on to the kernel.
    "tests/ipagent/links/test_kernel.py::test_an_eni_that_is_down_is_renamed",
    "tests/ipagent/test_startup_probe.py::test_the_kernel_wakes_it_when_the_file_appears",
    "tests/cluster/test_node_agent.py",
    "tests/cluster/test_controller.py",
    "tests/cluster/test_certs.py",
    "tests/webhook/server/test_main.py",
    "tests/webhook/server/test_recorded_cases.py",
)

HOP_LIMIT = "tests/ipagent/e2e/test_init.py::TestNamed::test_a_hop_limit_of_1"
LEFT_OUT = (
    # Its deadline is 2 s, most of which an emulated agent needs for its start.
    f"{HOP_LIMIT}[and a deadline before IMDS is given up]",
    # Outside of a pod `multus-eni certs status` uses the official client, which is in no image.
    "tests/cluster/test_certs.py::test_status_says_what_is_and_what_is_next",
    # It starts the program by this environment's Python, to change what its server waits for.
    "tests/webhook/server/test_main.py::test_whoever_is_connected_is_answered_before_it_ends",
)


def main(arguments: Sequence[str]) -> int:
    """Return pytest's exit status."""
    if os.geteuid() != 0 or shutil.which(PROGRAM) is None:
        sys.stderr.write(f"tests.arm64: this needs root, and {PROGRAM}: `make test-arm64` installs it\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="arm64-") as folder:
        try:
            made = write_programs(Path(folder), unpacked(Path(folder)))
        except CommandError as error:
            sys.stderr.write(f"tests.arm64: the images can't be built: {error}\n")
            return 1
        env = os.environ | {"MULTUS_ENI_PROGRAMS": str(made), "MULTUS_ENI_NO_SKIP": "1"}
        pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--durations=15"]
        left_out = [f"--deselect={each}" for each in LEFT_OUT]
        argv = [*pytest, *SUITES, *left_out, *arguments]
        return subprocess.run(argv, env=env, check=False).returncode


def unpacked(folder: Path) -> dict[str, Path]:
    """Return the files of both images, with what a program reads its kubeconfig by."""
    folder.chmod(0o755)
    roots = {}
    for archive in ready(cache_folder(), local_build(platform=PLATFORM)):
        roots[archive.image] = folder / archive.image
        roots[archive.image].mkdir()
        Image(archive, roots[archive.image])
    agent, webhook = (
        roots[image] / "usr/local/lib/python3.13/dist-packages" for image in ("agent", "webhook")
    )
    # The agent's image is for pods, which have a ServiceAccount: neither is in it.
    shutil.copytree(webhook / "yaml", agent / "yaml")
    shutil.copy(webhook / "common/kube/kubeconfig.py", agent / "common/kube")
    return roots


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
