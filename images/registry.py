"""Asks a registry before a long build whether it will take what is pushed.

buildah and helm ask it, each with its own login, for a tag that no repository has: nothing is downloaded.
What they print is read here. An answer that is not understood stops nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from images.plan import CHART_REPOSITORY, IMAGES, repository
from images.run import CommandError, ProgramMissingError, output, succeeds
from images.store import Store

NO_SUCH_TAG = "0.0.0-asked-before-push"
_NAME = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*", re.ASCII
)
"""What the chart's schema allows for `image.registry`."""
_ECR = re.compile(r"\d{12}\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?(?:/(.+))?")
_NO_LOGIN = re.compile(
    r"unauthorized|authentication required|no basic auth|credential not found|denied|expired|\b40[13]\b",
    re.IGNORECASE,
)
_NO_REPOSITORY = re.compile(r"name unknown|repository .* does not exist", re.IGNORECASE)
_UNREACHABLE = re.compile(
    r"connection refused|no such host|timeout|timed out|x509|no route to host|network is unreachable"
    r"|HTTP response to HTTPS client|handshake",
    re.IGNORECASE,
)
_NO_TAG = re.compile(r"manifest unknown|not found", re.IGNORECASE)


class RegistryError(CommandError):
    """The registry will refuse the push; the text says what to do about it."""


def read_name(text: str) -> str:
    """Return what a user gives as a registry; raises ValueError, with what to write, where it names none."""
    name = re.sub(r"^[a-z]+://", "", text).rstrip("/")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{text!r} is not a registry such as 111122223333.dkr.ecr.eu-central-1.amazonaws.com"
        )
    if name != text:
        raise ValueError(f"{text!r} is not a registry: write {name}, as image.registry of the chart wants it")
    return name


def require(store: Store, registry: str, helm: str, *, plain_http: bool) -> None:
    """Raise RegistryError if a push to this registry would fail: no way, no login or no repository."""
    verify = f"--tls-verify={'false' if plain_http else 'true'}"
    logged_in = succeeds(store.buildah("login", "--get-login", registry.partition("/")[0]))
    for name in (*map(repository, IMAGES), CHART_REPOSITORY):
        pull = ("pull", "--quiet", "--policy", "always", verify, f"docker://{registry}/{name}:{NO_SUCH_TAG}")
        _check(Question(registry, name, "buildah login", logged_in), store.buildah(*pull))
    show = (helm, "show", "chart", f"oci://{registry}/{CHART_REPOSITORY}", "--version", NO_SUCH_TAG)
    plain = ("--plain-http",) if plain_http else ()
    # helm itself says where it has no login, in words that no registry uses.
    _check(Question(registry, CHART_REPOSITORY, "helm registry login", logged_in=True), [*show, *plain])


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about: a repository of a registry.

    `login`: the command that logs in; `logged_in`: whether a login for the registry is stored.
    """

    registry: str
    name: str
    login: str
    logged_in: bool


def _check(question: Question, argv: Sequence[str]) -> None:
    try:
        output(argv)
    except ProgramMissingError:
        raise
    except CommandError as error:
        # The last line has the registry's words; those before it are of retries.
        answer = str(error).strip().splitlines()[-1]
        if found := diagnose(question, answer):
            raise RegistryError(f"{found}\nNothing was built. The answer: {answer}") from None


def diagnose(question: Question, answer: str) -> str:
    """Return why a push would fail, with the remedy; empty if nothing speaks against it."""
    host, _, path = question.registry.partition("/")
    if _UNREACHABLE.search(answer):
        return f"{host} can't be reached: check the name, the network and a proxy (HTTPS_PROXY)"
    ecr = _ECR.fullmatch(question.registry)
    if _NO_REPOSITORY.search(answer):
        # Other registries make repositories when they are pushed to.
        return _create(ecr[1], f"{path}/{question.name}".lstrip("/")) if ecr else ""
    if _NO_TAG.search(answer) and "credential" not in answer:
        return ""
    if not _NO_LOGIN.search(answer):
        return ""
    # With a login many registries answer "denied" for a repository that the push will make.
    if question.logged_in and ecr is None and "credential not found" not in answer:
        return ""
    return (
        f"log in to {host} first, or again if your login has expired:\n  {_login(question.login, host, ecr)}"
    )


def _create(region: str, name: str) -> str:
    command = f"aws ecr create-repository --region {region} --repository-name {name}"
    return f"the registry has no repository {name}:\n  {command}"


def _login(login: str, host: str, ecr: re.Match[str] | None) -> str:
    if ecr is None:
        return f"{login} {host}"
    password = f"aws ecr get-login-password --region {ecr[1]}"
    return f"{password} | {login} --username AWS --password-stdin {host}"
