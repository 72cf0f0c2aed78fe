"""What a sidecar does about addresses that were taken away."""

from __future__ import annotations

import pytest

from common.agent_settings import Takeover
from common.frozen_dataclass import replace
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import error_of
from tests.ipagent.direct.sidecar_rig import Sidecar
from tests.ipagent.fakes import (
    ENI_1,
    Strike,
    ip,
)

pytestmark = pytest.mark.pure


class TestTakenAway:
    """What the slow check finds, and what comes of it."""

    def test_an_address_that_nobody_holds_any_more_is_assigned_again(self) -> None:
        pod = Sidecar()
        pod.add("2001:db8:1::80")

        def lose() -> None:
            pod.cloud.secondaries["eni-1"].clear()
            pod.let_pass(60)

        pod.script.append(lose)
        pod.run()
        assert pod.cloud.secondaries["eni-1"] == {ip("10.10.1.80"), ip("2001:db8:1::80")}
        assert sorted(line["address"] for line in pod.lines.of("lost")) == ["10.10.1.80", "2001:db8:1::80"]

    def test_an_address_taken_by_another_eni_is_a_conflict_logged_once(self) -> None:
        pod = Sidecar()

        def lose() -> None:
            pod.steal("10.10.1.80")
            pod.let_pass(7200)

        pod.script.append(lose)
        pod.run()
        assert pod.cloud.secondaries["eni-9"] == {ip("10.10.1.80")}
        assert len(pod.cloud.asked("assign")) == 1
        (conflict,) = pod.lines.of("conflict")
        assert conflict["level"] == "error"
        assert "eni-9 (device number 9 of i-9)" in conflict["message"]
        assert pod.lines.of("not-assigned") == []
        assert len(pod.cloud.asked("holders")) < 30

    def test_adding_the_address_anew_takes_it_back(self) -> None:
        pod = Sidecar()

        def lose() -> None:
            pod.steal("10.10.1.80")
            pod.let_pass(60)

        pod.script += [lose, lambda: pod.events.remove("10.10.1.80")]
        pod.run()
        assert pod.cloud.secondaries["eni-1"] == {ip("10.10.1.80")}
        assert [line["address"] for line in pod.lines.of("assigned")] == ["10.10.1.80"]

    @pytest.mark.parametrize("shown", [True, False], ids=["IMDS shows its range", "IMDS does not"])
    @pytest.mark.parametrize("stolen", [True, False], ids=["taken over", "kept"])
    def test_that_nobody_can_tell_its_eni_for_a_while_changes_nothing(
        self, stolen: bool, shown: bool
    ) -> None:
        # A foreign MAC: EC2 is asked again and again whether an ENI has it by now.
        enis = (replace(ENI_1, mac="02:aa:00:00:00:77"),)
        pod = Sidecar(enis=enis)
        held = "eni-9" if stolen else "eni-1"

        def lose() -> None:
            if stolen:
                pod.steal("10.10.1.80")
            pod.let_pass(100)

        def throttle() -> None:
            pod.cloud.doubt = error_of(Failure(Fault.THROTTLED, "RequestLimitExceeded"))
            if not shown:
                # EC2 alone tells the range, or IMDS fails for this ENI alone.
                pod.cloud.enis = ()
            pod.let_pass(3600)

        def recover() -> None:
            pod.cloud.doubt, pod.cloud.enis = None, enis
            pod.let_pass(3600)

        pod.script += [lose, throttle, recover]
        pod.run()
        assert pod.cloud.secondaries[held] == {ip("10.10.1.80")}
        assert len(pod.cloud.asked("assign")) == 1
        assert pod.lines.of("not-assigned") == []

    def test_without_the_right_to_ask_ec2_what_imds_shows_no_more_is_told(self) -> None:
        pod = Sidecar(enis=(replace(ENI_1, mac="02:aa:00:00:00:77"),))

        def detach() -> None:
            pod.cloud.doubt = error_of(Failure(Fault.NO_PERMISSION, "UnauthorizedOperation"))
            pod.cloud.enis = ()
            pod.let_pass(3600)

        pod.script += [lambda: pod.let_pass(100), detach]
        pod.run()
        (told,) = pod.lines.of("not-assigned")
        assert "no ENI of this node is in a subnet that contains it" in told["message"]

    def test_an_address_that_the_other_eni_released_is_assigned_again(self) -> None:
        pod = Sidecar()

        def lose() -> None:
            pod.steal("10.10.1.80")
            pod.let_pass(60)

        def give_up() -> None:
            pod.cloud.secondaries["eni-9"].clear()
            pod.let_pass(2000)

        pod.script += [lose, give_up]
        pod.run()
        assert pod.cloud.secondaries["eni-1"] == {ip("10.10.1.80")}

    def test_with_takeover_never_a_released_address_is_assigned(self) -> None:
        pod = Sidecar()
        pod.cloud.secondaries["eni-9"] = {ip("10.10.1.81")}

        def give_up() -> None:
            pod.cloud.secondaries["eni-9"].clear()
            pod.let_pass(2000)

        pod.script += [lambda: pod.add("10.10.1.81"), give_up]
        pod.run(takeover=Takeover.NEVER)
        assert pod.cloud.secondaries["eni-1"] == {ip("10.10.1.80"), ip("10.10.1.81")}
        assert [line["address"] for line in pod.lines.of("not-assigned")] == ["10.10.1.81"]

    def test_a_conflict_is_not_released(self) -> None:
        pod = Sidecar()

        def lose() -> None:
            pod.steal("10.10.1.80")
            pod.let_pass(60)

        pod.script.append(lose)
        report = pod.run(release_on_exit=True)
        assert "no address to release" in report.message
        assert pod.cloud.secondaries["eni-9"] == {ip("10.10.1.80")}

    def test_an_hour_without_ec2_and_imds_heals_with_few_log_lines(self) -> None:
        pod = Sidecar()

        def outage() -> None:
            faults = (Fault.UNREACHABLE, Fault.NO_CREDENTIALS)
            pod.cloud.struck = [
                Strike(kind, fault) for kind in ("assign", "holders", "describe") for fault in faults * 500
            ]
            pod.cloud.imds = False
            pod.cloud.secondaries["eni-1"].clear()
            pod.let_pass(3600)

        def recover() -> None:
            pod.cloud.struck.clear()
            pod.cloud.imds = True
            pod.let_pass(3600)

        pod.script += [outage, recover]
        pod.run()
        assert pod.cloud.secondaries["eni-1"] == {ip("10.10.1.80")}
        assert pod.lines.events("warning") == ["lost"]
        assert pod.lines.events("error") == []
