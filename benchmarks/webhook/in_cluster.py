"""Become a program that believes it is in a pod: `in_cluster FOLDER PROGRAM ARGUMENT…`.

client-go's in-cluster settings are files at a fixed path (rest.InClusterConfig): FOLDER, which holds token,
ca.crt and namespace, is put there in a mount namespace of the program's own; nobody else sees it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.netns import kernel

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def main() -> None:
    """Mount, then become the program; exits with a sentence where the system allows no mount namespace."""
    folder, *command = sys.argv[1:]
    files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    try:
        if os.geteuid() == 0:
            kernel.unshare(kernel.CLONE_NEWNS)
        else:
            kernel.new_user_namespace(0, also=kernel.CLONE_NEWNS)
        kernel.make_mounts_private()
        _mount(files)
    except OSError as error:
        sys.exit(f"this system allows no mount namespace: {error}")
    os.execv(command[0], command)  # noqa: S606 - the program that the benchmark measures


def _mount(files: dict[str, bytes]) -> None:
    # /run may lack the folders, and making them there would be seen by all: the whole of it is covered.
    run = os.path.realpath("/var/run")
    kernel.mount("tmpfs", run, "tmpfs", kernel.MS_NOSUID, "mode=755,size=1m")
    ACCOUNT.mkdir(parents=True)
    for name, content in files.items():
        (ACCOUNT / name).write_bytes(content)


if __name__ == "__main__":
    main()
