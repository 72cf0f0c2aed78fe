"""Containers of arm64 images on a machine that is none, by QEMU's user mode emulation.

The emulator is a file in the container, and the program that runc starts: nothing is registered in the kernel
(binfmt_misc), so that the machine stays as it is. What the kernel does for a command is then done here: it is
looked up in PATH, and the first line of a script names its interpreter.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.images.container import Container, Image

PLATFORM = "linux/arm64"
PROGRAM = "qemu-aarch64-static"
MOUNTED = "/dev/qemu-aarch64"
"""In a file system that each container has to itself: the image gets no file."""


@dataclass(slots=True)
class EmulatedContainer(Container):
    """Starts programs under the emulator, without limits: it takes much CPU and memory of its own."""

    patience: float = 20.0
    limited: bool = False

    def __post_init__(self) -> None:
        emulator = shutil.which(PROGRAM)
        assert emulator is not None, PROGRAM
        self.mounts[MOUNTED] = Path(emulator)

    def command(self, image: Image, argv: Sequence[str]) -> list[str]:
        """Return what runc starts in place of a command."""
        return [MOUNTED, *resolved(image.root, image.path, argv)]


def resolved(root: Path, folders: Sequence[str], argv: Sequence[str]) -> list[str]:
    """Return a command as the kernel starts it below `root`: a binary, its arguments, perhaps a script's."""
    name, *arguments = argv
    places = [name] if "/" in name else [f"{folder}/{name}" for folder in folders]
    found = next((place for place in places if (root / place.lstrip("/")).exists()), None)
    if found is None:
        raise FileNotFoundError(f"{name} is in none of {', '.join(places)}")
    first, _, _ = (root / found.lstrip("/")).read_bytes().partition(b"\n")
    if not first.startswith(b"#!"):
        return [found, *arguments]
    # One argument at most, with all of its blanks: execve(2).
    interpreter, *option = first[2:].decode().strip().split(maxsplit=1)
    return [interpreter, *option, found, *arguments]


def write_programs(folder: Path, roots: Mapping[str, Path]) -> Path:
    """Write what starts the images' programs without a container, and return the folder they are in.

    The emulator looks below the image's `root` first for each file that a program opens, and else on this
    machine: there are the kernel's, and those of the tests.
    """
    made = folder / "bin"
    made.mkdir()
    # Python has the agent's packages, whose modules are those that tests start in pods.
    for image, name, argv in (
        ("agent", "ipagent", ["ipagent"]),
        ("webhook", "multus-eni", ["multus-eni"]),
        ("agent", "python3", ["/usr/bin/python3"]),
    ):
        root = roots[image]
        binary, *arguments = resolved(root, ["/usr/local/bin"], argv)
        command = [shutil.which(PROGRAM) or PROGRAM, "-L", root, "-0", binary, f"{root}{binary}", *arguments]
        path = made / name
        path.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, command))} "$@"\n', encoding="utf-8")
        path.chmod(0o755)
    return made
