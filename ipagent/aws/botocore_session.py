"""A session of botocore that costs as little as it can at the start of every pod.

Two things are left out, and nothing that a call to EC2 needs:

- Data. The model of all of EC2 and the endpoints of every service take half of an agent's start and half of
  its memory. `ipagent.aws.trim_botocore` writes the part that the agent uses, once for each botocore.
  Where it is installed, it stands in for botocore's own data; without it everything works as well.
- Handlers for the documentation, and for services that the agent never calls: registering them takes time.

And of the 126 roots in botocore's CA bundle, which OpenSSL reads for each connection, AWS' own come first.
"""

from __future__ import annotations

import os

import botocore
from botocore import handlers
from botocore.credentials import CredentialResolver, InstanceMetadataProvider
from botocore.exceptions import UnknownRegionError
from botocore.hooks import HierarchicalEmitter
from botocore.loaders import Loader
from botocore.session import Session
from botocore.utils import InstanceMetadataFetcher, resolve_imds_endpoint_mode

from common.agent_settings import Credentials
from ipagent.aws.aws_roots import AWS_ROOTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.hooks import BaseEventHooks

SIGNED_BY_AMAZON = frozenset({"aws", "aws-us-gov"})
"""Partitions whose servers have certificates of Amazon Trust Services."""

SERVICES = ("ec2", "signin", "sso", "sso-oidc", "sts")
"""EC2, and what botocore itself calls for credentials."""


def trimmed_data_path() -> str:
    """Where the data for this botocore is kept: beside it, so that it goes where botocore goes.

    Named after the version: the data of another one is never taken.
    """
    packages = os.path.dirname(os.path.dirname(botocore.__file__))  # noqa: PTH120 - pathlib costs more
    return os.path.join(packages, "multus_eni_botocore_data", botocore.__version__)  # noqa: PTH118 - likewise


def new_session(data: str | None = None) -> Session:
    """Make a session that finds the trimmed data in the folder `data`, by default where it is kept.

    If there is no such folder, botocore's own data is used. AWS_DATA_PATH and ~/.aws/models still come first.
    """
    session = Session(event_hooks=_Emitter(), include_builtin_handlers=False)
    _register_handlers(session.get_component("event_emitter"))
    path = data or trimmed_data_path()
    if os.path.isdir(path):  # noqa: PTH112 - likewise
        session.register_component("data_loader", _loader(session, path))
    return session


class _Emitter(HierarchicalEmitter):
    """Takes handlers as they are: that each of them takes keywords is not looked up by `inspect`.

    They are botocore's own and ours, and to import `inspect` and to ask it costs more than a call.
    """

    def _verify_accept_kwargs(self, _func: object) -> bool:
        return True


def _loader(session: Session, path: str) -> Loader:
    """Make the loader that botocore would make, with `path` in the place of botocore's own data.

    To have the folder in AWS_DATA_PATH is not enough: botocore would take the endpoints in it for the user's
    own, and resolve them by rules that it has given up for its own (`resolver_uses_builtin_data` in
    botocore.args). It would also look through the folders of all its services.
    """

    class TrimmedLoader(Loader):
        BUILTIN_DATA_PATH = path

    configured: str = session.get_config_variable("data_path") or ""
    parts = filter(None, configured.split(os.pathsep))
    # As botocore.loaders.create_loader does it.
    extra = [os.path.expanduser(os.path.expandvars(part)) for part in parts]  # noqa: PTH111 - likewise
    return TrimmedLoader(extra_search_paths=extra)


def concerns_us(event: str) -> bool:
    """Whether an event, such as `before-call.s3.PutObject`, can come up in calls to `SERVICES`."""
    kind, _, rest = event.partition(".")
    return kind != "docs" and (not rest or rest.partition(".")[0] in SERVICES)


def _register_handlers(events: BaseEventHooks) -> None:
    """Do what botocore.session.Session does for `include_builtin_handlers`, for fewer of them."""
    register = {handlers.REGISTER_FIRST: events.register_first, handlers.REGISTER_LAST: events.register_last}
    for event, handler, *order in handlers.BUILTIN_HANDLERS:
        if concerns_us(event):
            register.get(order[0] if order else None, events.register)(event, handler)


def prefer_aws_roots(session: Session, region: str) -> bool:
    """Have a session trust AWS' own roots alone; returns False, with nothing changed, where it can't.

    That is where the user names a CA bundle, and in partitions with other roots, as China's. Whoever calls
    this tries once more without it where a server is not verified.
    """
    named = session.get_config_variable("ca_bundle") is not None or "REQUESTS_CA_BUNDLE" in os.environ
    if named:
        return False
    try:
        signed = session.get_partition_for_region(region) in SIGNED_BY_AMAZON
    except UnknownRegionError:
        return False
    if signed:
        session.set_config_variable("ca_bundle", AWS_ROOTS)
    return signed


def session_for(credentials: Credentials) -> Session:
    """Make the session for an identity; raises errors of botocore where its files or variables are wrong."""
    session = new_session()
    # botocore's default is one try of a second; a node that starts is slower than that.
    for name, value in (("metadata_service_num_attempts", 3), ("metadata_service_timeout", 2)):
        if session.get_config_variable(name) == 1:
            session.set_config_variable(name, value)
    if credentials is Credentials.NODE:
        session.register_component("credential_provider", _node_credentials(session))
    return session


def _node_credentials(session: Session) -> CredentialResolver:
    """The node's role by IMDS and nothing else, put together as botocore's own chain does it."""
    fetcher = InstanceMetadataFetcher(
        timeout=session.get_config_variable("metadata_service_timeout"),
        num_attempts=session.get_config_variable("metadata_service_num_attempts"),
        user_agent=session.user_agent(),
        config={
            "ec2_metadata_service_endpoint": session.get_config_variable("ec2_metadata_service_endpoint"),
            "ec2_metadata_service_endpoint_mode": resolve_imds_endpoint_mode(session),
            "ec2_credential_refresh_window": 15 * 60,
            "ec2_metadata_v1_disabled": session.get_config_variable("ec2_metadata_v1_disabled"),
        },
    )
    return CredentialResolver(providers=[InstanceMetadataProvider(iam_role_fetcher=fetcher)])


def profile_region(env: Mapping[str, str]) -> str:
    """Return the region of the AWS environment or profile, empty where there is none."""
    named = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
    return named or new_session().get_config_variable("region") or ""
