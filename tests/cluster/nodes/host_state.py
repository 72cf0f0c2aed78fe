"""What a cluster has changed on a machine, whatever else runs on it meanwhile. Pure.

The machine's mount namespace begins as a private copy of the tests' own (unshare(1)): nobody else mounts
anything in it, so that each new mount is the cluster's. A mount that was copied goes when another process
removes the folder on which it is (rmdir(2) detaches it in all namespaces), as tests and builds of images do
with theirs. One whose folder is still there was unmounted inside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostState:
    """A machine's settings by where they were read, and its mounts: the lines of /proc/self/mounts."""

    settings: Mapping[str, str]
    mounts: tuple[str, ...]


def changes(before: HostState, after: HostState, is_there: Callable[[str], bool]) -> list[str]:
    """Say what differs, a sentence each; `is_there` tells whether a path exists on the machine."""
    found = [
        f"{name}: {before.settings.get(name, '')!r} has become {after.settings.get(name, '')!r}"
        for name in sorted({*before.settings, *after.settings})
        if before.settings.get(name) != after.settings.get(name)
    ]
    old, new = Counter(before.mounts), Counter(after.mounts)
    found += [f"mounted: {line}" for line in (new - old).elements()]
    return found + [f"unmounted: {line}" for line in (old - new).elements() if is_there(_mount_point(line))]


def _mount_point(line: str) -> str:
    """Return the second field, in which blanks and backslashes are octal: fstab(5)."""
    text = line.split(" ")[1]
    for octal, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(octal, character)
    return text
