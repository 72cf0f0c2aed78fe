"""CNI plugins for the nodes: the standard ones of the machine, and Multus and whereabouts from a folder."""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

FOLDER = "MULTUS_ENI_CNI_DIR"
"""Environment variable: a folder with multus and whereabouts (or .xz of them) and their CRDs in YAML."""
STANDARD = ("bridge", "host-device", "host-local", "loopback", "macvlan", "portmap", "static", "tuning")
PLACES = ("/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin")
ADDED = ("multus", "whereabouts")


class PluginsMissing(Exception):
    """A plugin was not found; the text says which one and what to do."""


def plugins(env: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """Return the programs by the names that nodes know them by.

    What is compressed is unpacked into the cache once. Raises PluginsMissing.
    """
    places = [*env.get("CNI_PATH", "").split(":"), *PLACES]
    found = {name: shutil.which(name, path=":".join(filter(None, places))) for name in STANDARD}
    if missing := [name for name, path in found.items() if path is None]:
        raise PluginsMissing(
            f"CNI plugins not found in {', '.join(places)}: {', '.join(missing)}; `make system` installs "
            "them (Debian: containernetworking-plugins), or let CNI_PATH name their folder"
        )
    standard = {name: Path(path) for name, path in found.items() if path}
    folder = _folder(env)
    return standard | {name: _added(folder, name, env) for name in ADDED}


def crds(env: Mapping[str, str] = os.environ) -> list[Path]:
    """Return the files of Multus's and whereabouts' CRDs. Raises PluginsMissing."""
    folder = _folder(env)
    found = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    if not found:
        raise PluginsMissing(f"no CRDs of Multus and whereabouts (*.yaml) in {folder}")
    return found


def _folder(env: Mapping[str, str]) -> Path:
    if not env.get(FOLDER):
        raise PluginsMissing(
            f"let {FOLDER} name a folder with the programs `multus` and `whereabouts` (or .xz of them) and "
            "the YAML of their CRDs, from the releases of those projects"
        )
    return Path(env[FOLDER])


def _added(folder: Path, name: str, env: Mapping[str, str]) -> Path:
    if (folder / name).is_file():
        return folder / name
    packed = folder / f"{name}.xz"
    if not packed.is_file():
        raise PluginsMissing(f"neither {name} nor {name}.xz in {folder}, which {FOLDER} names")
    content = packed.read_bytes()
    cache = env.get("XDG_CACHE_HOME") or Path(env.get("HOME") or Path.home(), ".cache")
    target = Path(cache, "multus-eni-injector", "cni", hashlib.sha256(content).hexdigest()[:20], name)
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{name}.{os.getpid()}")
        unfinished.write_bytes(lzma.decompress(content))
        unfinished.chmod(0o755)
        unfinished.replace(target)
    return target
