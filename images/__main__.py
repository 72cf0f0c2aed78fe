"""Builds the images, and pushes them with the chart; `make images` and `make push` call it."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from common.version import VERSION
from images import base, registry
from images.archives import build, ready
from images.local_build import local_build
from images.plan import (
    CHART,
    DOCKERFILE_BASE,
    IMAGES,
    LOCAL_BASE,
    PLATFORMS,
    Build,
    base_of,
    install_command,
    is_pinned,
    repository,
)
from images.run import ROOT, CommandError, output, run
from images.store import Store, cache_folder, opened


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 only if all of it was done."""
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "release-ready":
                return _release_ready()
            case "cached":
                _cached(optional=options.optional)
            case _:
                with opened(cache_folder() / "containers") as store:
                    _with_store(store, options)
    except (CommandError, OSError) as error:
        sys.stderr.write(f"images: {error}\n")
        return 1
    return 0


def _release_ready() -> int:
    files = {image: (ROOT / f"Dockerfile.{image}").read_text(encoding="utf-8") for image in IMAGES}
    bases = {base_of(content) for content in files.values()}
    if len(bases) == 1 and all(map(is_pinned, bases)):
        return 0
    sys.stderr.write(
        f"images: a release needs one base with a digest, the Dockerfiles have {', '.join(sorted(bases))}: "
        "merge Renovate's update, or append the @sha256:... that the registry names\n"
    )
    return 1


def _with_store(store: Store, options: argparse.Namespace) -> None:
    if options.command == "base":
        base.make(store)
        print(LOCAL_BASE)
        return
    if options.command == "push":
        registry.require(store, options.registry, _helm(), plain_http=options.plain_http)
    how = local_build(options.base or base.provide(store))
    match options.command:
        case "build":
            _build(store, how, Path(options.into).absolute())
        case "push":
            _push(store, how, options)
        case "bundle":
            _bundle(store, how, options.platforms, options.file.absolute())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("base", help=f"make {LOCAL_BASE} by debootstrap, where no registry can be reached")
    commands.add_parser("release-ready", help="fail unless both Dockerfiles name one base by its digest")
    built = commands.add_parser(
        "build", help="build both images for this machine, as docker archives, with SBOMs"
    )
    built.add_argument("--into", default=ROOT / "dist", metavar="DIR", help="where they go (dist)")
    cached = commands.add_parser("cached", help="the same, but only where the cache has none of these files")
    cached.add_argument("--optional", action="store_true", help="succeed also where they can't be built")
    push = commands.add_parser("push", help="build and push both images and the chart")
    push.add_argument(
        "registry", type=_registry, help="for example 111122223333.dkr.ecr.eu-central-1.amazonaws.com"
    )
    push.add_argument("--digests", type=Path, metavar="FILE", help="write what was pushed, as JSON")
    push.add_argument("--plain-http", action="store_true", help="the registry speaks no TLS")
    bundle = commands.add_parser("bundle", help="write both images and the chart into one file")
    bundle.add_argument("file", nargs="?", type=Path, default=ROOT / f"dist/multus-eni-{VERSION}.tar")
    for command in (push, bundle):
        command.add_argument(
            "--platforms", type=_platforms, default=PLATFORMS, help=f"default: {','.join(PLATFORMS)}"
        )
    for command in (built, push, bundle):
        command.add_argument(
            "--base",
            default="",
            metavar="IMAGE",
            help=f"a Debian 13 to build in ({DOCKERFILE_BASE}; where it can't be pulled, one by debootstrap)",
        )
    return parser


def _registry(text: str) -> str:
    try:
        return registry.read_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _platforms(text: str) -> tuple[str, ...]:
    given = tuple(text.split(","))
    if unknown := set(given) - set(PLATFORMS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: none of {', '.join(PLATFORMS)}")
    return given


def _build(store: Store, how: Build, folder: Path) -> None:
    for image in IMAGES:
        archive = build(store, how, image, folder)
        print(f"{archive.name}\n  docker archive: {archive.file}\n  SBOM: {archive.sbom}", flush=True)


def _cached(*, optional: bool) -> None:
    """Build only what the cache lacks, for the tests."""
    if optional and os.geteuid() != 0:
        sys.stderr.write("images: not built: the tests that start them need root, and are skipped\n")
        return
    try:
        for archive in ready(cache_folder(), local_build()):
            print(f"{archive.name}: {archive.file}")
    except (CommandError, OSError) as error:
        if not optional:
            raise
        sys.stderr.write(f"images: {error}; the tests that need them are skipped\n")


def _push(store: Store, how: Build, options: argparse.Namespace) -> None:
    target: str = options.registry
    with tempfile.TemporaryDirectory(prefix="multus-eni-push-") as folder:
        digests = {}
        for image in IMAGES:
            digests[image] = _push_image(store, how, image, options, Path(folder, image))
        digests["chart"] = _push_chart(target, folder, plain_http=options.plain_http)
    if options.digests:
        options.digests.write_text(json.dumps(digests) + "\n", encoding="utf-8")
    print(f"Pushed. This installs exactly that:\n\n{install_command(target, how.version, digests)}")


def _push_image(store: Store, how: Build, image: str, options: argparse.Namespace, digest_file: Path) -> str:
    target = f"docker://{options.registry}/{repository(image)}:{how.version}"
    verify = f"--tls-verify={'false' if options.plain_http else 'true'}"
    _push_index(store, how, image, options.platforms, [verify, "--digestfile", str(digest_file), target])
    return digest_file.read_text(encoding="utf-8").strip()


def _push_index(store: Store, how: Build, image: str, platforms: Sequence[str], where: Sequence[str]) -> None:
    """Build an image for each platform, and push their index."""
    index = f"localhost/{repository(image)}-index:{how.version}"
    store.drop_index(index)
    try:
        for each in platforms:
            # One by one: built at once, they are in the index in the order in which they end.
            run(store.buildah(*how.argv(image, each, ["--manifest", index])))
        *options, target = where
        run(store.buildah("manifest", "push", "--all", *options, index, target), quiet=True)
    finally:
        # buildah 1.28 can't list the images of a storage that has an index in it.
        store.drop_index(index)


def _push_chart(target: str, folder: str, *, plain_http: bool) -> str:
    package = _package(folder)
    plain = ["--plain-http"] if plain_http else []
    said = output([_helm(), "push", str(package), f"oci://{target}/charts", *plain])
    found = re.search(r"^Digest: (sha256:[0-9a-f]{64})$", said, re.MULTILINE)
    if found is None:
        raise CommandError(f"helm push named no digest:\n{said}")
    return found[1]


def _package(folder: str) -> Path:
    run([_helm(), "package", CHART, "--destination", folder], quiet=True)
    (package,) = Path(folder).glob("*.tgz")
    return package


def _bundle(store: Store, how: Build, platforms: Sequence[str], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=file.parent) as folder:
        content = Path(folder, "content")
        content.mkdir()
        for image in IMAGES:
            target = f"oci:{content / 'images'}:{repository(image)}"
            _push_index(store, how, image, platforms, [target])
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
