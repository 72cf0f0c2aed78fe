"""Builds the images, and pushes them with the chart; `make images` and `make push` call it."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from images import base
from images.plan import CHART, IMAGES, LOCAL_BASE, PLATFORMS, Build, install_command, repository
from images.run import CommandError, output, run, succeeds
from multus_eni.version import VERSION

_MACHINES = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}
_CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 only if all of it was done."""
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "base":
                base.make()
                print(LOCAL_BASE)
            case "build":
                _build(_how(options.base), Path(options.sbom))
            case "push":
                _push(_how(options.base), options)
            case "bundle":
                _bundle(_how(options.base), options.platforms, options.file)
    except (CommandError, OSError) as error:
        sys.stderr.write(f"images: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("base", help=f"make {LOCAL_BASE} by debootstrap, where no registry can be reached")
    build = commands.add_parser("build", help="build both images for this machine, with their SBOMs")
    build.add_argument("--sbom", default="dist", metavar="DIR", help="where the SBOMs go (%(default)s)")
    push = commands.add_parser("push", help="build and push both images and the chart")
    push.add_argument("registry", help="for example 111122223333.dkr.ecr.eu-central-1.amazonaws.com")
    push.add_argument("--plain-http", action="store_true", help="the registry speaks no TLS")
    bundle = commands.add_parser("bundle", help="write both images and the chart into one file")
    bundle.add_argument("file", nargs="?", type=Path, default=Path(f"dist/multus-eni-{VERSION}.tar"))
    for command in (push, bundle):
        command.add_argument(
            "--platforms", type=_platforms, default=PLATFORMS, help=f"default: {','.join(PLATFORMS)}"
        )
    for command in (build, push, bundle):
        command.add_argument(
            "--base",
            default="",
            metavar="IMAGE",
            help=f"a Debian 13 to build in (the Dockerfiles' own; {LOCAL_BASE} if it was made)",
        )
    return parser


def _platforms(text: str) -> tuple[str, ...]:
    given = tuple(text.split(","))
    if unknown := set(given) - set(PLATFORMS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: none of {', '.join(PLATFORMS)}")
    return given


def _how(base_image: str) -> Build:
    machine = platform.machine()
    if machine not in _MACHINES:
        raise CommandError(f"images are built on {' and '.join(_MACHINES)}, and this is {machine}")
    if not base_image and succeeds(["buildah", "inspect", "--type", "image", LOCAL_BASE]):
        base_image = LOCAL_BASE
    return Build(
        version=VERSION,
        build_platform=_MACHINES[machine],
        revision=_revision(),
        base=base_image,
        ca=next(filter(None, map(os.environ.get, _CA_VARIABLES)), ""),
        created=os.environ.get("SOURCE_DATE_EPOCH") or _committed(),
    )


def _revision() -> str:
    """The commit, or nothing where there is no git or where the folder differs from the commit."""
    try:
        clean = not output(["git", "status", "--porcelain"])
        return output(["git", "rev-parse", "HEAD"]).strip() if clean else ""
    except CommandError:
        return ""


def _committed() -> str:
    try:
        return output(["git", "log", "-1", "--format=%ct"]).strip()
    except CommandError:
        return ""


def _build(how: Build, sboms: Path) -> None:
    sboms.mkdir(parents=True, exist_ok=True)
    for image in IMAGES:
        name = f"localhost/{repository(image)}:{how.version}"
        run(how.argv(image, how.build_platform, ["--tag", name]))
        sbom = sboms / f"{repository(image)}-{how.version}.cdx.json"
        run([*_uv_export(image), "--output-file", str(sbom)], quiet=True)
        print(f"{name}\n  SBOM: {sbom}", flush=True)


def _uv_export(image: str) -> list[str]:
    uv = str(Path(sys.executable).with_name("uv"))
    formatted = ["--quiet", "--preview-features", "sbom-export", "--format", "cyclonedx1.5"]
    return [uv, "export", "--frozen", "--no-dev", "--extra", image, *formatted]


def _push(how: Build, options: argparse.Namespace) -> None:
    registry: str = options.registry
    with tempfile.TemporaryDirectory(prefix="multus-eni-push-") as folder:
        digests = {}
        for image in IMAGES:
            digests[image] = _push_image(how, image, options, Path(folder, image))
        digests["chart"] = _push_chart(registry, folder, plain_http=options.plain_http)
    print(f"Pushed. This installs exactly that:\n\n{install_command(registry, how.version, digests)}")


def _push_image(how: Build, image: str, options: argparse.Namespace, digest_file: Path) -> str:
    index = _index(how, image, options.platforms)
    target = f"docker://{options.registry}/{repository(image)}:{how.version}"
    verify = f"--tls-verify={'false' if options.plain_http else 'true'}"
    _push_index(index, target, verify, "--digestfile", str(digest_file))
    return digest_file.read_text(encoding="utf-8").strip()


def _index(how: Build, image: str, platforms: Sequence[str]) -> str:
    """Build an image for each platform; returns the name of their index."""
    index = f"localhost/{repository(image)}-index:{how.version}"
    if succeeds(["buildah", "manifest", "inspect", index]):
        run(["buildah", "manifest", "rm", index], quiet=True)
    for each in platforms:
        # One by one: built at once, they are in the index in the order in which they end.
        run(how.argv(image, each, ["--manifest", index]))
    return index


def _push_index(index: str, target: str, *options: str) -> None:
    run(["buildah", "manifest", "push", "--all", *options, index, target], quiet=True)


def _push_chart(registry: str, folder: str, *, plain_http: bool) -> str:
    package = _package(folder)
    plain = ["--plain-http"] if plain_http else []
    said = output([_helm(), "push", str(package), f"oci://{registry}/charts", *plain])
    found = re.search(r"^Digest: (sha256:[0-9a-f]{64})$", said, re.MULTILINE)
    if found is None:
        raise CommandError(f"helm push named no digest:\n{said}")
    return found[1]


def _package(folder: str) -> Path:
    run([_helm(), "package", CHART, "--destination", folder], quiet=True)
    (package,) = Path(folder).glob("*.tgz")
    return package


def _bundle(how: Build, platforms: Sequence[str], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=file.parent) as folder:
        content = Path(folder, "content")
        content.mkdir()
        for image in IMAGES:
            _push_index(_index(how, image, platforms), f"oci:{content / 'images'}:{repository(image)}")
        _package(str(content))
        (content / "VERSION").write_text(f"{how.version}\n", encoding="utf-8")
        shutil.copy(Path(__file__).with_name("push-bundle.sh"), content / "push.sh")
        made = Path(folder, "bundle.tar")
        top = f"s,^\\.,multus-eni-{how.version},"
        run(["tar", "-C", str(content), "--owner=0", "--group=0", "--transform", top, "-cf", str(made), "."])
        made.replace(file)
    print(f"{file}: unpack it where the registry can be reached, and run its push.sh REGISTRY")


def _helm() -> str:
    from tests.cluster.tools.binaries import find_binary  # noqa: PLC0415 - where it is in PATH, no tests are needed

    found = shutil.which("helm") or find_binary("helm4") or find_binary("helm3")
    if found is None:
        raise CommandError(
            "helm is not installed: https://helm.sh/docs/intro/install, or `make tools` builds it"
        )
    return str(found)


if __name__ == "__main__":
    sys.exit(main())
