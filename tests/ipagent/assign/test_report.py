"""The last words: the log's last line and the termination message."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.exit_codes import ExitCode
from ipagent.assign import errors
from ipagent.assign.address_state import Phase, PlannedAddress
from ipagent.assign.ec2_error_codes import RETRIED, Failure, Fault
from ipagent.assign.errors import AgentError, error_of
from ipagent.assign.plan import Plan
from ipagent.assign.report import MAX_LISTED, Ec2View, problems, report
from ipagent.assign.selection import Refusal
from ipagent.assign.topology import EniDetails
from ipagent.startup import MAX_BYTES, write_message
from tests.ipagent.fakes import ip, placement

pytestmark = pytest.mark.pure


def test_nothing_to_do_says_where_it_looked() -> None:
    nothing = report(Plan(RETRIED), (), ("net1", "net2"))
    assert nothing.exit_code == ExitCode.OK
    assert nothing.message == "Nothing to assign: the pod has no addresses that count on net1, net2."


def test_addresses_with_the_same_problem_are_one_sentence_and_remedies_come_once() -> None:
    refused = [Refusal(placement(f"10.10.1.{last}").holding, "no") for last in (80, 81)]
    told = report(Plan(RETRIED), problems(Plan(RETRIED), refused, (), Ec2View(), 120))
    assert told.exit_code == ExitCode.ADDRESS_REFUSED
    assert told.message.startswith("Not assigned: 10.10.1.80 (net1), 10.10.1.81 (net1): no. ")
    assert told.message.count(errors.AddressRefused.remedy) == 1


def test_of_several_problems_the_one_that_stands_before_the_others_gives_the_code() -> None:
    items = tuple(
        PlannedAddress(placement(f"10.10.1.{80 + n}"), Phase.REFUSED, Failure(fault, fault.name))
        for n, fault in enumerate((Fault.REFUSED, Fault.ENI_FULL, Fault.NO_PERMISSION))
    )
    plan = Plan(RETRIED, items=items)
    assert report(plan, problems(plan, (), (), Ec2View(), 120)).exit_code == ExitCode.NO_PERMISSION


def test_an_address_whose_turn_never_came_is_said_so() -> None:
    plan = Plan(RETRIED, items=(PlannedAddress(placement("10.10.1.80")),))
    told = report(plan, problems(plan, (), (), Ec2View(), 120))
    assert told.exit_code == ExitCode.DEADLINE
    assert "10.10.1.80 (net1) on eni-1: EC2 has not been asked yet after 120 s" in told.message


def test_an_address_that_ec2_was_asked_for_and_is_silent_about_is_said_so() -> None:
    plan = Plan(RETRIED, items=(PlannedAddress(placement("10.10.1.80")),))
    told = report(plan, problems(plan, (), (), Ec2View(asked={("eni-1", ip("10.10.1.80"))}), 120))
    assert told.exit_code == ExitCode.EC2_UNREACHABLE
    assert "10.10.1.80 (net1) on eni-1: EC2 has not answered after 120 s" in told.message


def test_a_very_full_eni_is_listed_up_to_a_limit() -> None:
    held = EniDetails("eni-1", None, tuple(ip(f"10.10.2.{n}") for n in range(100)))
    full = PlannedAddress(placement("10.10.1.80"), Phase.REFUSED, Failure(Fault.ENI_FULL, "full"))
    (problem,) = problems(Plan(RETRIED, items=(full,)), (), (), Ec2View({"eni-1": held}), 120)
    assert problem.text.endswith(f"and {100 - MAX_LISTED} more")


@given(st.lists(st.tuples(st.sampled_from(Phase), st.sampled_from(Fault)), max_size=6))
def test_exit_code_0_only_if_every_address_is_confirmed(states: list[tuple[Phase, Fault]]) -> None:
    items = tuple(
        PlannedAddress(
            placement(f"10.10.1.{80 + n}"), phase, None if phase is Phase.CONFIRMED else Failure(fault, "x")
        )
        for n, (phase, fault) in enumerate(states)
    )
    plan = Plan(RETRIED, items=items)
    told = report(plan, problems(plan, (), (), Ec2View(), 120))
    assert (told.exit_code == ExitCode.OK) == all(phase is Phase.CONFIRMED for phase, _ in states)
    for item in items:
        assert str(item.address) in told.message


def test_every_error_has_a_remedy_and_every_fault_an_error() -> None:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AgentError)
    ]
    # The slim agent, which loads none of these, has words of its own for a node agent that does not answer.
    assert {kind.exit_code for kind in kinds} == set(ExitCode) - {
        ExitCode.OK,
        ExitCode.NODE_AGENT_UNREACHABLE,
    }
    assert all(kind.remedy.endswith(".") for kind in kinds)
    assert all(error_of(Failure(fault, "x")).exit_code for fault in Fault)


def test_the_termination_message_replaces_what_was_there(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    log.write_text("an older and longer message")
    write_message(str(log), "all is well")
    assert log.read_text() == "all is well"


@given(text=st.text(max_size=3000) | st.just("é" * 5000) | st.just("\ud800"))
def test_the_termination_message_is_never_longer_than_kubernetes_takes(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    log = tmp_path_factory.getbasetemp() / "termination-log"
    log.touch()
    write_message(str(log), text)
    written = log.read_bytes()
    assert len(written) <= MAX_BYTES
    decoded = written.decode("utf-8")
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        assert " … " in decoded


def test_without_the_file_nothing_is_made(tmp_path: Path) -> None:
    write_message(str(tmp_path / "none"), "text")
    write_message(str(tmp_path), "text")
    assert list(tmp_path.iterdir()) == []
