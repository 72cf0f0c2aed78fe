"""Command line of the agent: `ipagent init | sidecar | started`.

`started` runs once a second while a sidecar starts: it must import next to nothing, and no mode may import
what it does not need. Hence no argparse, and imports where they are used.
"""

from __future__ import annotations

import os
import sys
import time

from multus_eni import contract
from multus_eni.contract import ExitCode, Mode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENV_STARTED_FILE = contract.ENV_PREFIX + "STARTED_FILE"
ENV_TERMINATION_LOG = contract.ENV_PREFIX + "TERMINATION_LOG"

HELP = f"""\
usage: ipagent init | sidecar | started

Gives a Multus pod's secondary addresses to the ENI of its node that carries them, so that the VPC routes
them.

  init      assign the addresses, confirm them, end
  sidecar   do what init does, report that it has started, then assign every address that appears, until
            SIGTERM
  started   startup probe of the sidecar: exit code 0 once its first assignment is confirmed
  --help    this text
  --version the release

Everything else comes from the environment; the webhook writes it into the pod. Unknown variables are ignored.

  {contract.ENV_CONTRACT:28} contract between webhook and agent, 1 to {contract.CONTRACT}
  {contract.ENV_INTERFACES:28} the pod's Multus interfaces, such as net1,net2; empty: all but the default one
  {contract.ENV_TIMEOUT:28} how long the first assignment may take, such as 90s or 2m (default: 120s)
  {contract.ENV_TAKEOVER:28} always (default) or never: may an address be taken from another ENI
  {contract.ENV_RELEASE_ON_EXIT:28} true or false (default): sidecar: take the addresses off at the end
  {contract.ENV_ALLOWED_CIDRS:28} refuse addresses outside, such as 10.10.0.0/16; empty: none are refused
  {contract.ENV_CREDENTIALS:28} chain (default): as the AWS SDKs find them; node: the node's role only
  {contract.ENV_BACKEND:28} direct (default): the agent calls EC2 itself
  {contract.ENV_LOG_LEVEL:28} debug, info (default), warning or error
  {contract.ENV_LOG_FORMAT:28} json, text, or auto (default): text on a terminal
  {contract.ENV_POD_NAME:28} the pod, named in every log line
  {contract.ENV_POD_NAMESPACE:28} its namespace, likewise
  {contract.ENV_POD_UID:28} the pod's uid, which this release does not use
  {contract.ENV_NODE_NAME:28} its node, likewise
  {contract.ENV_HOST_IP:28} its node's address, likewise
  {ENV_STARTED_FILE:28} where the sidecar says that it has started (default: {contract.STARTED_FILE})
  {ENV_TERMINATION_LOG:28} where the last message goes (default: {contract.TERMINATION_LOG})

The variables of the AWS SDKs hold too: AWS_REGION, AWS_ENDPOINT_URL_EC2, AWS_EC2_METADATA_SERVICE_ENDPOINT,
AWS_EC2_METADATA_DISABLED, AWS_CA_BUNDLE, HTTPS_PROXY, those for credentials, ...

Exit codes; every other than 0 comes with a message that says what to do:
   0  every address is assigned, or there is none
   1  a fault of the agent itself
   2  usage: arguments or environment
  10  IMDS can't be used            11  no credentials
  12  no permission                 13  no ENI or no interface for an address
  14  the ENI is full               15  the address is held by another ENI, and takeover is never
  16  the address is refused        17  not everything in time
  18  EC2 can't be reached          143 ended by SIGTERM before everything was assigned
"""


def main() -> None:
    """Run the agent with this process's arguments and environment; never returns."""
    sys.exit(run(sys.argv[1:], os.environ))


def run(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Do what the arguments say; returns the exit code."""
    begun = time.monotonic()
    started_file = env.get(ENV_STARTED_FILE) or contract.STARTED_FILE
    match arguments:
        case ["started"]:
            return 0 if os.path.exists(started_file) else 1  # noqa: PTH110 - pathlib costs more than the rest
        case [("init" | "sidecar") as mode]:
            if mode == "sidecar":
                # Before the slow imports: the volume outlives a container that starts again.
                _forget(started_file)
            from multus_eni.ipagent.process import Process, work  # noqa: PLC0415 - see the module's docstring

            termination_log = env.get(ENV_TERMINATION_LOG) or contract.TERMINATION_LOG
            return work(Process(Mode(mode), env, begun, started_file, termination_log))
        case ["--help" | "-h" | "help"]:
            sys.stdout.write(HELP)
            return 0
        case ["--version"]:
            from multus_eni.version import VERSION  # noqa: PLC0415 - see the module's docstring

            sys.stdout.write(f"ipagent {VERSION}\n")
            return 0
    given = " ".join(arguments) or "nothing"
    sys.stderr.write(f"ipagent: {given!r} is none of init, sidecar, started, --help, --version\n")
    return ExitCode.USAGE


def _forget(started_file: str) -> None:
    try:
        os.unlink(started_file)  # noqa: PTH108 - see the module's docstring
    except OSError:
        # Not there; or not to be written, which writing it will tell.
        return
