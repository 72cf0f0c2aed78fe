"""The parts of the images that are machine code: each is one for arm64, and does its work."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.arm64.emulated import EmulatedContainer
from tests.images.container import Image
from tests.tls_in_memory import handshake

PACKAGES = "/usr/local/lib/python3.13/dist-packages"
IMPORT_NATIVE = f"""
import importlib, pathlib, platform
for folder in map(pathlib.Path, ("{PACKAGES}", "/usr/lib/python3.13/lib-dynload")):
    for path in folder.rglob("*.so"):
        name = ".".join((*path.relative_to(folder).parent.parts, path.name.split(".")[0]))
        importlib.import_module(name)
        print(name)
print(platform.machine())
"""
MAKE_CERTIFICATES = """
import time
from certs import issue, x509
authority = issue.make_authority(time.time(), 3600)
read = x509.read_certificate(authority.certificate)
leaf = issue.issue_leaf(read, authority.key, ["it.example"], time.time(), 3600)
print((authority.certificate + leaf.certificate + leaf.key).decode())
"""
LIBRARIES = {
    "agent": {"_ssl", "_hashlib"},
    "webhook": {
        "_cffi_backend",
        "_ssl",
        "cryptography.hazmat.bindings._rust",
        "httptools.parser.parser",
        "msgspec._core",
        "pydantic_core._pydantic_core",
        "uvloop.loop",
        "yaml._yaml",
    },
}


@pytest.mark.parametrize("which", ["agent", "webhook"])
def test_each_extension_module_is_loaded_by_an_arm64_python(
    which: str, request: pytest.FixtureRequest, container: EmulatedContainer
) -> None:
    image: Image = request.getfixturevalue(which)

    done = container.run(image, ["python3", "-I", "-c", IMPORT_NATIVE])

    assert (done.returncode, done.stderr) == (0, "")
    *modules, machine = done.stdout.split()
    assert machine == "aarch64"
    assert set(modules) >= LIBRARIES[which]
    built = {path.name for path in (image.root / PACKAGES.lstrip("/")).rglob("*.so")}
    assert all("aarch64" in name or ".abi3." in name for name in built), built


def test_certificates_that_it_makes_are_those_of_a_tls_server(
    webhook: Image, container: EmulatedContainer, tmp_path: Path
) -> None:
    done = container.run(webhook, ["python3", "-I", "-c", MAKE_CERTIFICATES])

    assert (done.returncode, done.stderr) == (0, "")
    authority, rest = done.stdout.split("-----END CERTIFICATE-----\n", 1)
    pair = tmp_path / "tls.pem"
    pair.write_text(rest)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair)
    client = ssl.create_default_context(cadata=f"{authority}-----END CERTIFICATE-----\n")
    assert handshake(server, client, "it.example").getpeercert()
