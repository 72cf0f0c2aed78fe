"""Which interface the route to AWS takes, and what is said of it."""

from ipaddress import ip_network

import pytest

from common.exit_codes import ExitCode
from ipagent.assign.addresses import Route, Snapshot
from ipagent.assign.errors import AgentError
from ipagent.assign.report import Report
from ipagent.direct.route_diagnosis import ANYWHERE, IMDS, interface_to, with_route
from tests.ipagent.fakes import ETH0, NET1, FakeCloud, FakeSource, Lines, Time, agent

pytestmark = pytest.mark.pure

DEFAULT, TO_IMDS = ip_network("0.0.0.0/0"), ip_network("169.254.169.254/32")


class RoutedSource(FakeSource):
    routes: tuple[Route, ...] = ()

    def snapshot(self, *, routes: bool) -> Snapshot:
        seen = super().snapshot(routes=routes)
        return Snapshot(seen.links, seen.addresses, self.routes)


def ended(code: ExitCode, *routes: Route) -> str:
    source = RoutedSource((ETH0, "10.10.0.21"), (NET1, "10.10.1.80"))
    source.routes = routes
    made = agent(source, FakeCloud(Time()), Lines())
    made.read_addresses()
    return with_route(Report(code, "It failed."), made, source).message


def test_the_most_specific_route_decides() -> None:
    seen = Snapshot((ETH0, NET1), (), (Route(NET1.index, DEFAULT), Route(ETH0.index, TO_IMDS)))
    assert interface_to(seen, IMDS) == "eth0"
    assert interface_to(seen, ANYWHERE) == "net1"
    assert interface_to(Snapshot((ETH0,), ()), IMDS) == ""


@pytest.mark.parametrize("code", [ExitCode.NO_IMDS, ExitCode.EC2_UNREACHABLE])
def test_a_default_route_by_a_multus_interface_is_named(code: ExitCode) -> None:
    message = ended(code, Route(NET1.index, DEFAULT), Route(ETH0.index, DEFAULT))
    assert "leaves by net1" in message
    assert "default-route" in message


def test_a_route_by_the_default_interface_and_another_failure_add_nothing() -> None:
    assert ended(ExitCode.NO_IMDS, Route(ETH0.index, DEFAULT)) == "It failed."
    assert ended(ExitCode.NO_ENI, Route(NET1.index, DEFAULT)) == "It failed."
    assert ended(ExitCode.EC2_UNREACHABLE) == "It failed."


def test_a_kernel_that_does_not_answer_adds_nothing() -> None:
    class Silent(RoutedSource):
        def snapshot(self, *, routes: bool) -> Snapshot:
            raise AgentError(f"no answer, routes={routes}")

    made = agent(FakeSource(), FakeCloud(Time()), Lines())
    assert with_route(Report(ExitCode.NO_IMDS, "It failed."), made, Silent()).message == "It failed."
