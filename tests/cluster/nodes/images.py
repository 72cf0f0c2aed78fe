"""What the nodes' containerd imports in place of pulling: docker archives of all that the tests use."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.version import VERSION
from images.archives import ready
from images.local_build import local_build
from images.run import CommandError
from images.store import cache_folder

PAUSE = "localhost/pause:1"
"""containerd's `sandbox_image`."""
BUSYBOX = "localhost/busybox:1"
"""What pods run; it has the applets of Debian's busybox-static, in /bin."""
AGENT = f"localhost/multus-eni-agent:{VERSION}"
WEBHOOK = f"localhost/multus-eni-webhook:{VERSION}"

# PID 1 of a pod's sandbox: it ends when it is told to, and takes in the orphans of a shared PID namespace. By
# busybox, so that no compiler is needed.
_PAUSE = 'trap "exit 0" TERM INT; while :; do sleep 2147483647 & wait; done'
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
}
_FOLDERS = {**dict.fromkeys(("bin", "etc", "home", "root", "usr", "usr/bin", "var"), 0o755), "tmp": 0o1777}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PT_INTERP = 3
"""elf(5): the program header that only a dynamically linked program has."""


class ImagesMissingError(Exception):
    """An image can't be had; the text says which, why and what to do."""


def node_images(folder: Path) -> tuple[Path, ...]:
    """Return the archives of PAUSE, BUSYBOX, AGENT and WEBHOOK.

    The first two are written into `folder`. The built ones lie in the cache; the first call after a change of
    what they are made of builds them, which takes from seconds to minutes. Raises ImagesMissingError.
    """
    return (*plumbing(folder), *built())


def built() -> tuple[Path, Path]:
    """Return the archives of AGENT and WEBHOOK. Raises ImagesMissingError."""
    try:
        agent, webhook = ready(cache_folder(), local_build())
    except (CommandError, OSError) as error:
        raise ImagesMissingError(f"the images can't be built here: {error}") from error
    return agent.file, webhook.file


def plumbing(folder: Path) -> tuple[Path, Path]:
    """Write the archives of PAUSE and BUSYBOX. Raises ImagesMissingError."""
    busybox = _static_busybox()
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    layer = _busybox_layer(busybox.read_bytes(), applets)
    pause = _write(
        folder / "pause.tar", PAUSE, layer, {"Entrypoint": ["/bin/sh", "-c", _PAUSE], "Env": [_PATH]}
    )
    return pause, _write(folder / "busybox.tar", BUSYBOX, layer, {"Cmd": ["/bin/sh"], "Env": [_PATH]})


def _static_busybox() -> Path:
    found = shutil.which("busybox")
    if found is None or _is_dynamic(Path(found).read_bytes()):
        raise ImagesMissingError(
            "no statically linked busybox for the pods' images: `make system` installs busybox-static"
        )
    return Path(found)


def _is_dynamic(program: bytes) -> bool:
    """Whether an ELF file for 64 bits, little endian, asks for a dynamic linker: elf(5)."""
    offset, size, count = struct.unpack_from("<Q14xHH", program, 32)
    types = (struct.unpack_from("<I", program, offset + index * size)[0] for index in range(count))
    return _PT_INTERP in types


def _busybox_layer(busybox: bytes, applets: Sequence[str]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as layer:
        for name, mode in _FOLDERS.items():
            _add(layer, name, mode, type=tarfile.DIRTYPE)
        for name, text in _FILES.items():
            _add(layer, name, 0o644, text.encode())
        _add(layer, "bin/busybox", 0o755, busybox)
        for applet in applets:
            if applet != "busybox":
                _add(layer, f"bin/{applet}", 0o755, type=tarfile.LNKTYPE, linkname="bin/busybox")
        # Where manifests name a program by the path that most images have.
        _add(layer, "usr/bin/env", 0o755, type=tarfile.LNKTYPE, linkname="bin/busybox")
    return content.getvalue()


def _write(file: Path, name: str, layer: bytes, config: Mapping[str, Any]) -> Path:
    """Write a docker archive with one layer: the format of `docker save`, docker image specification 1.2."""
    layer_digest = hashlib.sha256(layer).hexdigest()
    image = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "tests"}],
    }
    description = json.dumps(image).encode()
    config_name = f"{hashlib.sha256(description).hexdigest()}.json"
    layer_name = f"{layer_digest}.tar"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [layer_name]}]
    with tarfile.open(file, "w") as archive:
        _add(archive, "manifest.json", 0o644, json.dumps(manifest).encode())
        _add(archive, config_name, 0o644, description)
        _add(archive, layer_name, 0o644, layer)
    return file


def _add(archive: tarfile.TarFile, name: str, mode: int, content: bytes = b"", **more: Any) -> None:
    member = tarfile.TarInfo(name)
    member.mode = mode
    member.size = len(content)
    for key, value in more.items():
        setattr(member, key, value)
    archive.addfile(member, io.BytesIO(content))
