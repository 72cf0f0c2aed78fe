"""What `--help` says: it teaches, with examples that can be copied."""

from __future__ import annotations

from common.agent_container import CONTAINER_NAME, STARTED_FILE, TERMINATION_LOG
from common.agent_settings import (
    CONTRACT,
    DEFAULT_NODE_PORT,
    ENV_ALLOWED_CIDRS,
    ENV_BACKEND,
    ENV_CONTRACT,
    ENV_CREDENTIALS,
    ENV_EIP_WAIT,
    ENV_GUESSED_INTERFACES,
    ENV_HOST_IP,
    ENV_INTERFACES,
    ENV_LOG_FORMAT,
    ENV_LOG_LEVEL,
    ENV_NODE_NAME,
    ENV_NODE_PORT,
    ENV_POD_NAME,
    ENV_POD_NAMESPACE,
    ENV_POD_UID,
    ENV_PREFIX,
    ENV_RELEASE_ON_EXIT,
    ENV_RESTART_POLICY,
    ENV_TAKEOVER,
    ENV_TIMEOUT,
)

_STARTED_FILE = ENV_PREFIX + "STARTED_FILE"
_TERMINATION_LOG = ENV_PREFIX + "TERMINATION_LOG"

HELP = f"""\
usage: ipagent COMMAND [options]        ipagent COMMAND --help has more of each

Assigns the addresses of a pod's Multus interfaces to the right ENI of its node, so that the VPC routes them.

What the webhook puts into a pod:
  init      assign the addresses, confirm them, end
  sidecar   do what init does, report that it has started, then assign every address that appears, until
            SIGTERM
  started   startup probe of the sidecar: exit code 0 if its first assignment is confirmed; with
            --wait=SECONDS also if that happens within this time

What the chart runs; each has its own --help:
  node        the node agent, a DaemonSet: assigns the addresses of its node's pods
  links       sets up the interfaces that NodeNetworks give to its node
  controller  gives nodes the ENIs, prefixes and Elastic IPs that NodeNetworks and pods ask for

Troubleshooting; only `release` changes anything:
  addresses the pod's addresses: which of them count, the ENI of each, and where IMDS and EC2 have it now
  enis      the node's ENIs as IMDS and EC2 show them, differences marked
  init --dry-run, sidecar --dry-run
            the calls that would be made, and how the run would end
  release   take addresses off an ENI: shows who holds them, asks, does it, and checks the result

  --help    this text
  --version the release

Examples, where the agent runs as a sidecar, and in any other pod by an ephemeral container, which works
even while the init container fails:
  kubectl exec POD -c {CONTAINER_NAME} -- ipagent addresses
  kubectl debug POD -it --profile=restricted --image=IMAGE -- ipagent addresses
  kubectl exec POD -c {CONTAINER_NAME} -- ipagent enis --output json
  kubectl debug POD -it --profile=restricted --image=IMAGE -- ipagent init --dry-run
  kubectl exec -it POD -c {CONTAINER_NAME} -- ipagent release 10.0.1.80 --eni eni-0123456789abcdef0
IMAGE is the agent's. An ephemeral container lacks the environment below: give it what it needs with --env.

Everything else comes from the environment; the webhook writes it into the pod. Unknown variables are ignored.

  {ENV_CONTRACT:29} contract between webhook and agent, 1 to {CONTRACT}
  {ENV_INTERFACES:29} the pod's Multus interfaces, such as net1,net2; empty: all but the default one
  {ENV_GUESSED_INTERFACES:29} those that the webhook read from the networks annotation; not a filter
  {ENV_TIMEOUT:29} how long the first assignment may take, such as 90s or 2m (default: 120s)
  {ENV_TAKEOVER:29} always (default) or never: may an address be taken from another ENI
  {ENV_RELEASE_ON_EXIT:29} true or false (default): sidecar: release the addresses at the end
  {ENV_ALLOWED_CIDRS:29} refuse addresses outside, such as 10.10.0.0/16; empty: no address is refused
  {ENV_CREDENTIALS:29} chain (default): as the AWS SDKs find them; node: the node's role only
  {ENV_BACKEND:29} direct (default): the agent calls EC2 itself; node: the node agent does
  {ENV_NODE_PORT:29} node: port of the node agent (default: {DEFAULT_NODE_PORT})
  {ENV_RESTART_POLICY:29} the pod's restart policy: Always, OnFailure or Never
  {ENV_EIP_WAIT:29} interfaces whose Elastic IP the first assignment waits for, such as net1
  {ENV_LOG_LEVEL:29} debug, info (default), warning or error
  {ENV_LOG_FORMAT:29} json, text, or auto (default): text on a terminal
  {ENV_POD_NAME:29} the pod, named in every log line
  {ENV_POD_NAMESPACE:29} its namespace, likewise
  {ENV_POD_UID:29} the pod's uid; backend node: sent to the node agent
  {ENV_NODE_NAME:29} its node, named in messages
  {ENV_HOST_IP:29} its node's address; backend node: where the node agent listens
  {_STARTED_FILE:29} file that the startup probe looks for (default: {STARTED_FILE})
  {_TERMINATION_LOG:29} file of the termination message (default: {TERMINATION_LOG})

The variables of the AWS SDKs apply, too: AWS_REGION, AWS_ENDPOINT_URL_EC2, AWS_EC2_METADATA_SERVICE_ENDPOINT,
AWS_EC2_METADATA_DISABLED, AWS_CA_BUNDLE, HTTPS_PROXY, those for credentials, ...

Exit codes; each but 0 comes with a message that says what to do:
   0  every address is assigned, or there is none
   1  a bug in the agent
   2  usage: arguments or environment; release: not confirmed
  10  IMDS can't be used            11  no credentials
  12  no permission                 13  no ENI or no interface for an address
  14  the ENI or its subnet is full 15  another ENI has the address, which may not be taken over
  16  the address is refused        17  not all assigned in time
  18  EC2 can't be reached          19  the node agent can't be reached
  20  the node agent refuses an address or the pod
 143  ended by SIGTERM before everything was assigned
"""

ADDRESSES = """\
Lists the pod's addresses: whether each counts, which ENI it belongs on and how that was found (by the MAC of
its interface, or by the subnet), and whether IMDS and EC2 show it there. If another ENI holds an address,
that ENI is named. Changes nothing.

Exit code 0 if the ENIs could be found, otherwise the code of the error; the pod's part is shown anyway."""

ADDRESSES_EPILOG = """\
examples:
  kubectl exec POD -c multus-eni-agent -- ipagent addresses
  kubectl exec POD -c multus-eni-agent -- ipagent addresses -o json | jq '.addresses[] | select(.counts)'
  kubectl debug POD -it --profile=restricted --image=IMAGE --env=AWS_REGION=REGION -- ipagent addresses

The column EC2 needs the right ec2:DescribeNetworkInterfaces; without it the column is empty."""

ENIS = """\
Lists the node's ENIs as IMDS shows them, with EC2's view beside it; without IMDS those with the MACs of the
pod's interfaces. Addresses that only one of the two shows are marked: IMDS lags behind EC2. Changes nothing.

Exit code 0 if the ENIs could be found, otherwise the code of the error."""

ENIS_EPILOG = """\
examples:
  kubectl exec POD -c multus-eni-agent -- ipagent enis
  kubectl exec POD -c multus-eni-agent -- ipagent enis -o json | jq '.enis[] | {id, onlyInImds, onlyInEc2}'

EC2's columns need the right ec2:DescribeNetworkInterfaces; without it they are empty."""

RELEASE = """\
Takes addresses off an ENI that a deleted pod has left there, so that the ENI has room again, or so that a
pod with takeover `never` can have them. It shows who holds each address, asks, takes them off, and checks
that EC2 no longer shows them. It refuses primary addresses, and the ENIs of the VPC CNI and of AWS services.
A running pod that uses such an address loses its traffic.

Exit code 0 only if every address is off the ENI."""

RELEASE_EPILOG = """\
examples:
  kubectl exec -it POD -c multus-eni-agent -- ipagent release 10.0.1.80 --eni eni-0123456789abcdef0
  AWS_REGION=eu-central-1 ipagent release 10.0.1.80 2001:db8::80 --eni eni-0123456789abcdef0 --yes

It runs anywhere with AWS credentials that allow ec2:DescribeNetworkInterfaces and, for IPv4,
ec2:UnassignPrivateIpAddresses, for IPv6 ec2:UnassignIpv6Addresses. The region is AWS_REGION, else that of the
AWS profile, else the node's."""

DRY_RUN = """\
Without --dry-run this is what runs in pods: `ipagent {mode}`, with all settings in the environment.

With --dry-run it lists the calls that would be made and the exit code that the run would end with, and
changes nothing. A full ENI, or a missing right to assign, cannot be seen in advance. Neither the termination
message nor the file of the startup probe is written."""

DRY_RUN_EPILOG = """\
examples:
  kubectl debug POD -it --profile=restricted --image=IMAGE -- ipagent {mode} --dry-run
  kubectl exec POD -c multus-eni-agent -- ipagent {mode} --dry-run --output json

The exit code is the one that {mode} would end with."""
