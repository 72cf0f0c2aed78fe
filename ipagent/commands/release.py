"""`ipagent release`: takes addresses off an ENI, after it has shown who holds them, and checks the result.

What an init pod got stays on its ENI after the pod; whoever wants the address elsewhere without a takeover,
or the slot, frees it with this. Never a primary address, and never on an ENI that is not ours to touch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from common.exit_codes import ExitCode
from ipagent.assign import executor
from ipagent.assign.address_calls import unassign_calls
from ipagent.assign.addresses import IPAddress
from ipagent.assign.ec2_error_codes import Fault
from ipagent.assign.errors import AddressRefused, AgentError, Deadline, NoEni, error_of
from ipagent.assign.holders import NO_MANAGE, holder_of, name, why_immovable
from ipagent.assign.retry import SOON
from ipagent.assign.topology import EniDetails
from ipagent.commands.context import CommandContext
from ipagent.commands.enis import details_document
from ipagent.commands.render import (
    Cell,
    Palette,
    Style,
    ec2_document,
    error_document,
    holder_document,
    sentence,
    table,
)

PATIENCE = 30.0
"""Seconds in which the addresses have to be seen off the ENI."""

HEADERS = ("ADDRESS", "STATE", "HELD BY")


class State(StrEnum):
    """Where an address is, seen from the ENI that it is to leave."""

    HELD = "held"
    """A secondary address of the ENI."""
    PRIMARY = "primary"
    """A primary address of the ENI, which stays."""
    PREFIX = "prefix"
    """In a prefix of the ENI, which stays as a whole."""
    ABSENT = "absent"
    """It was not on the ENI when the command began."""
    RELEASED = "released"


class NotConfirmed(AgentError):
    """The user was asked and did not agree, or could not be asked."""

    exit_code = ExitCode.USAGE
    remedy = "Answer y on a terminal (kubectl exec -it), or give --yes."


@dataclass(frozen=True)
class AddressStatus:
    """An address and where it is; `holder` is another ENI that holds it."""

    address: IPAddress
    state: State
    holder: EniDetails | None = None


@dataclass(frozen=True)
class Release:
    """The answer of the command; without `error` every address is off the ENI."""

    eni: EniDetails
    statuses: tuple[AddressStatus, ...]
    access: dict[str, str]
    error: AgentError | None = None

    @property
    def exit_code(self) -> int:
        """0 only if every address is off the ENI."""
        return self.error.exit_code if self.error else ExitCode.OK

    @property
    def held(self) -> tuple[IPAddress, ...]:
        """What is still to be taken off."""
        return tuple(one.address for one in self.statuses if one.state is State.HELD)


def address_statuses(
    eni: EniDetails, addresses: Collection[IPAddress], others: Collection[EniDetails]
) -> tuple[AddressStatus, ...]:
    """Return for each address whether it is on the ENI, in which role, and who else holds it."""

    def one(address: IPAddress) -> AddressStatus:
        if address in eni.primaries:
            return AddressStatus(address, State.PRIMARY)
        if address in eni.secondaries:
            return AddressStatus(address, State.HELD)
        if eni.prefix_of(address):
            return AddressStatus(address, State.PREFIX)
        return AddressStatus(address, State.ABSENT, holder_of(address, eni.eni_id, others))

    return tuple(one(address) for address in dict.fromkeys(addresses))


def why_not_released(eni: EniDetails, found: Collection[AddressStatus]) -> AgentError | None:
    """Return why nothing may be taken off; None if all that is there may go."""
    for one in found:
        if one.state is not State.ABSENT and (reason := why_immovable(one.address, eni)):
            text = f"{one.address} must stay on {name(eni)}: {reason}"
            return AddressRefused(text, "Name secondary addresses of ENIs for pods; nothing was taken off.")
    return None


def warnings(eni: EniDetails, found: Collection[AddressStatus], mine: Collection[IPAddress]) -> list[str]:
    """Return what the user should know before they answer yes; `mine` are the addresses of this very pod."""
    sentences = ["A pod that uses one of these addresses loses its traffic in the VPC at once."]
    if used := [str(one.address) for one in found if one.state is State.HELD and one.address in mine]:
        sentences.append(f"This pod itself holds {', '.join(used)}.")
    if not eni.no_manage:
        sentences.append(
            f"{eni.eni_id} lacks the tag {NO_MANAGE}=true: if the VPC CNI manages that ENI, other pods "
            "may use these addresses."
        )
    return sentences


def release_addresses(
    context: CommandContext,
    eni_id: str,
    addresses: Sequence[IPAddress],
    confirm: Callable[[Release, list[str]], bool],
) -> Release:
    """Take the addresses off the ENI if `confirm` agrees. Raises AgentError before anything is changed."""
    eni = _describe(context, eni_id)
    astray = [address for address in addresses if not eni.holds(address)]
    found = address_statuses(eni, addresses, context.holding(astray, eni.vpc_id))
    release = Release(eni, found, context.access(), why_not_released(eni, found))
    if release.error or not release.held:
        return release
    if not confirm(release, warnings(eni, found, _mine(context))):
        return replace(release, error=NotConfirmed("Nothing was taken off: it was not confirmed"))
    return _take_off(context, release)


def _describe(context: CommandContext, eni_id: str) -> EniDetails:
    for eni in context.describe([eni_id]):
        return eni
    text = f"EC2 knows no ENI {eni_id} in {context.access()['region']}"
    raise NoEni(text, "Check the id, the region (AWS_REGION) and the account of the credentials.")


def _mine(context: CommandContext) -> frozenset[IPAddress]:
    try:
        return frozenset(entry.address for entry in context.snapshot().addresses)
    except AgentError:
        # Not in a pod, or netlink is forbidden: nothing to warn of.
        return frozenset()


def _take_off(context: CommandContext, release: Release) -> Release:
    """Call EC2 and look, until all is off, something lasting stands against it, or time is over."""
    timing = context.timing
    until = timing.clock() + PATIENCE
    to_call: Sequence[IPAddress] = release.held
    tries = 0
    while True:
        failed = _unassign(context, release.eni.eni_id, to_call)
        try:
            release = _seen(release, _describe(context, release.eni.eni_id))
        except AgentError as error:
            return replace(release, error=error)
        if not release.held:
            return release
        to_call = [address for address in release.held if address in failed]
        transient = all(failed[address].transient for address in to_call)
        if not transient or timing.clock() >= until:
            return replace(release, error=_worst(release, [failed[address] for address in to_call]))
        timing.sleep(SOON.delay(tries, timing.random()))
        tries += 1


def _unassign(
    context: CommandContext, eni_id: str, addresses: Sequence[IPAddress]
) -> dict[IPAddress, AgentError]:
    """Call EC2 once for each address family, in parts where it refuses some; returns what failed."""
    failed: dict[IPAddress, AgentError] = {}
    for call in unassign_calls((eni_id, address) for address in addresses):
        for outcome in executor.run(call, context.ec2()):
            # What EC2 says is not there, the look decides.
            if outcome.failure and outcome.failure.fault is not Fault.NOT_HELD:
                failed.update(dict.fromkeys(outcome.call.addresses, error_of(outcome.failure)))
    return failed


def _seen(release: Release, eni: EniDetails) -> Release:
    """Update where the addresses are from a new look at the ENI."""

    def after(one: AddressStatus) -> AddressStatus:
        gone = one.state is State.HELD and not eni.holds(one.address)
        return replace(one, state=State.RELEASED) if gone else one

    return replace(release, eni=eni, statuses=tuple(map(after, release.statuses)))


def _worst(release: Release, failed: Sequence[AgentError]) -> AgentError:
    for error in sorted(failed, key=lambda error: error.transient):
        return error
    return Deadline(
        f"EC2 accepted the call, but still shows the addresses on {name(release.eni)} after {PATIENCE:g} s",
        "Run the command again.",
    )


def as_document(release: Release) -> dict[str, Any]:
    """Write the answer for programs."""
    return {
        "eni": {"id": release.eni.eni_id, **(details_document(release.eni) or {})},
        "addresses": [
            {
                "address": str(one.address),
                "state": str(one.state),
                "heldElsewhere": holder_document(one.holder),
            }
            for one in release.statuses
        ],
        "ec2": ec2_document(release.access, None),
        "error": error_document(release.error),
    }


def as_text(release: Release, palette: Palette) -> str:
    """Write the answer for people."""
    parts = [f"{name(release.eni)}, {release.eni.subnet_id} of {release.eni.vpc_id}\n"]
    parts.append(table(HEADERS, [_cells(one, release.eni) for one in release.statuses], palette))
    if release.error:
        text = f"{release.error}. {release.error.remedy}"
        parts.append(sentence("Not done", text, palette, Style.BAD))
    elif off := [str(one.address) for one in release.statuses if one.state is State.RELEASED]:
        text = f"EC2 no longer has {', '.join(off)} on {release.eni.eni_id}"
        parts.append(sentence("Done", text, palette, Style.GOOD))
    elif not release.held:
        parts.append(f"Nothing to do: {release.eni.eni_id} has none of them.\n")
    return "".join(parts)


_STYLES = {
    State.RELEASED: Style.GOOD,
    State.HELD: Style.DOUBTFUL,
    State.PRIMARY: Style.BAD,
    State.PREFIX: Style.BAD,
}


def _cells(one: AddressStatus, eni: EniDetails) -> list[Cell]:
    there = eni if one.state in (State.HELD, State.PRIMARY, State.PREFIX) else one.holder
    state = Cell(str(one.state), _STYLES.get(one.state, Style.PLAIN))
    # Of what was released it is not known who may have got it since.
    nobody = "no ENI of this VPC" if one.state is State.ABSENT else ""
    return [Cell(str(one.address)), state, Cell(name(there) if there else nobody)]
