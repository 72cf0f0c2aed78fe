"""Who holds an address, in a sentence, and how an IPv6 address may come from there."""

from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.assign import takeover
from ipagent.assign.address_calls import Move, Unassign
from ipagent.assign.addresses import IPAddress
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.holders import OWNER_TAGS, held_elsewhere, holder_of, name, why_immovable, why_not_ours
from ipagent.assign.takeover import MovePlan, after_taking, plan_move
from ipagent.assign.topology import EniDetails
from tests.ipagent.fakes import ip

pytestmark = pytest.mark.pure

A, B, C = ip("2001:db8:1::80"), ip("2001:db8:1::81"), ip("2001:db8:1::82")
IPV4 = ip("10.10.1.80")


def eni(number: int, *held: IPAddress, device: int | None = 1, **more: object) -> EniDetails:
    given_instance = {"instance_id": f"i-{number}", "device_number": device} if device is not None else {}
    fields = {"primary": ip(f"10.10.1.{number}"), "secondaries": held, **given_instance, **more}
    return EniDetails(f"eni-{number}", **fields)  # type: ignore[arg-type] # a test's table


def move(*addresses: IPAddress, takeover: bool = True) -> Move:
    return Move("eni-1", "subnet-1", addresses, allow_reassignment=takeover)


OTHER_TYPES = (
    "trunk",
    "branch",
    "efa",
    "efa-only",
    "lambda",
    "natGateway",
    "nat_gateway",
    "network_load_balancer",
    "gateway_load_balancer",
    "vpc_endpoint",
    "transit_gateway",
    "api_gateway_managed",
    "quicksight",
    "a-type-of-tomorrow",
)
"""InterfaceType in the EC2 API, as it is documented and as it is seen; and one that is not there yet."""


class TestHolders:
    def test_the_holder_is_the_eni_itself_where_ec2_shows_two(self) -> None:
        enis = [eni(0, A), eni(1, A), eni(2, B)]
        assert holder_of(A, "eni-1", enis) == eni(1, A)
        assert holder_of(A, "eni-7", enis) == eni(0, A)
        assert holder_of(C, "eni-1", enis) is None

    @pytest.mark.parametrize(
        ("holder", "says"),
        [
            (eni(9), "eni-9 (device number 1 of i-9)"),
            (eni(9, device=None), "eni-9 (not attached)"),
            (
                eni(9, description="aws-K8S"),
                'eni-9 (device number 1 of i-9, described as "aws-K8S")',
            ),
        ],
        ids=["attached", "not attached", "described"],
    )
    def test_an_eni_is_named_with_what_tells_whose_it_is(self, holder: EniDetails, says: str) -> None:
        assert name(holder) == says

    @pytest.mark.parametrize(
        ("holder", "address", "says"),
        [
            (eni(9, IPV4), IPV4, ""),
            (eni(9, IPV4, device=None), IPV4, ""),
            (eni(9), ip("10.10.1.9"), "a primary address"),
            (eni(9, primary_ipv6=A), A, "a primary address"),
            (eni(9, A, device=0), A, "device number 0"),
            (eni(9, A, device=0, network_card=1), A, ""),
            (eni(9, A, managed=True), A, "AWS service"),
            (eni(9, IPV4, interface_type="trunk"), IPV4, "of the type trunk"),
            (eni(9, IPV4, owner_tag="eks:eni:owner=amazon-vpc-cni"), IPV4, "belongs to the VPC CNI"),
            (eni(9, IPV4, description="aws-K8S-i-0a"), IPV4, "made by the VPC CNI"),
            (eni(9, IPV4, description="aws-K8S-i-0a", no_manage=True), IPV4, ""),
            (eni(9, prefixes=(ip_network("10.10.1.80/28"),)), IPV4, "EC2 moves prefixes as a whole"),
        ],
        ids=[
            "a secondary",
            "left over",
            "primary",
            "primary IPv6",
            "the VPC CNI's",
            "device 0 of another card",
            "managed",
            "a trunk's",
            "the VPC CNI's by its tag",
            "the VPC CNI's by its description",
            "taken away from the VPC CNI",
            "in a prefix",
        ],
    )
    def test_an_immovable_address_is_named_with_the_reason(
        self, holder: EniDetails, address: IPAddress, says: str
    ) -> None:
        assert says in why_immovable(address, holder)
        assert bool(why_immovable(address, holder)) is bool(says)

    @pytest.mark.parametrize("kind", OTHER_TYPES)
    def test_an_eni_of_another_type_is_nobodys_to_give_whatever_its_tags(self, kind: str) -> None:
        shown = eni(9, IPV4, interface_type=kind, no_manage=True)
        assert f"of the type {kind}" in why_immovable(IPV4, shown)
        assert f"of the type {kind}" in why_not_ours(shown, require_tag=False)

    @pytest.mark.parametrize(
        ("tag", "owner"),
        [
            ("cluster.k8s.amazonaws.com/name=prod", "the VPC CNI"),
            ("node.k8s.amazonaws.com/createdAt=2026-01-02T03:04:05Z", "the VPC CNI"),
            ("eks:eni:owner=amazon-vpc-cni", "the VPC CNI"),
            ("eks:eni:owner=eks-vpc-resource-controller", "eks-vpc-resource-controller"),
            ("eks:eni:owner=karpenter", "karpenter"),
            ("vpcresources.k8s.aws/trunk-eni-id=eni-0", "the VPC resource controller"),
            ("vpcresources.k8s.aws/vlan-id=1", "the VPC resource controller"),
            ("io.cilium/cilium-managed=true", "Cilium"),
        ],
    )
    def test_an_eni_that_a_tag_gives_to_another_controller_is_its(self, tag: str, owner: str) -> None:
        key, _, _ = tag.partition("=")
        assert key in OWNER_TAGS
        shown = eni(9, IPV4, owner_tag=tag)
        assert f"belongs to {owner}, as its tag {tag} says" in why_immovable(IPV4, shown)
        assert f"belongs to {owner}, as its tag {tag} says" in why_not_ours(shown, require_tag=False)
        assert why_not_ours(replace(shown, no_manage=True), require_tag=False) == ""

    def test_the_refusal_names_the_holder_and_what_ec2_said(self) -> None:
        failure = held_elsewhere(IPV4, eni(9, IPV4), "move is not allowed")
        assert failure.fault is Fault.HELD_ELSEWHERE
        assert failure.final
        assert (
            failure.text
            == "it is a secondary address of eni-9 (device number 1 of i-9) (move is not allowed)"
        )

    def test_an_address_of_a_prefix_is_refused_with_eni_and_prefix(self) -> None:
        failure = held_elsewhere(IPV4, eni(9, prefixes=(ip_network("10.10.1.80/28"),)))
        assert failure.fault is Fault.IN_PREFIX
        assert failure.text.startswith(
            "it lies in the prefix 10.10.1.80/28, which is delegated to eni-9 (device number 1 of i-9)"
        )

    def test_a_primary_address_is_refused_rather_than_held(self) -> None:
        failure = held_elsewhere(ip("10.10.1.9"), eni(9))
        assert failure.fault is Fault.REFUSED
        assert failure.text.startswith("it is a primary address of eni-9")


class TestMoves:
    def test_what_nobody_holds_is_free(self) -> None:
        assert plan_move(move(A, B), []) == MovePlan((A, B))

    def test_what_the_eni_has_already_is_taken_from_nobody(self) -> None:
        assert plan_move(move(A), [eni(1, A), eni(2, A)]) == MovePlan((A,))

    def test_each_holder_loses_what_it_has_and_no_more(self) -> None:
        enis = [eni(8, A, C), eni(9, B, device=None)]
        assert plan_move(move(A, B), enis) == MovePlan(
            (A, B), (Unassign("eni-8", (A,)), Unassign("eni-9", (B,)))
        )

    def test_without_takeover_it_stays_there_and_the_rest_is_free(self) -> None:
        found = plan_move(move(A, B, takeover=False), [eni(9, A)])
        assert found.addresses == (B,)
        assert found.unassigns == ()
        (refused,) = found.refused
        assert refused.call.addresses == (A,)
        assert refused.failure == held_elsewhere(A, eni(9, A))

    @pytest.mark.parametrize("holder", [eni(9, A, device=0), eni(9, A, managed=True), eni(9, primary_ipv6=A)])
    def test_what_is_barred_is_never_taken(self, holder: EniDetails) -> None:
        found = plan_move(move(A), [holder])
        assert (found.addresses, found.unassigns) == ((), ())
        assert found.refused[0].failure

    def test_a_refusal_after_taking_says_from_whom_and_is_looked_at_again(self) -> None:
        failure = after_taking(Failure(Fault.REFUSED, "no"), [Unassign("eni-9", (A, B))])
        assert failure.fault is Fault.CONTENDED
        assert failure.text == f"no; the agent took {A}, {B} off eni-9 before"

    def test_a_full_eni_after_a_takeover_is_still_reported_as_full(self) -> None:
        taken = [Unassign("eni-9", (A,))]
        assert after_taking(Failure(Fault.ENI_FULL, "no"), taken).fault is Fault.ENI_FULL

    def test_without_taking_a_refusal_is_as_ec2_said(self) -> None:
        failure = Failure(Fault.REFUSED, "no")
        assert takeover.after_taking(failure, []) is failure


pool = st.sampled_from([ip(f"2001:db8:1::{last:x}") for last in range(6)])
worlds = st.lists(
    st.builds(
        lambda number, held, device, primary, managed: eni(
            number, *sorted(held, key=int), device=device, primary_ipv6=primary, managed=managed
        ),
        st.integers(0, 4),
        st.sets(pool, max_size=4),
        st.sampled_from([None, 0, 1, 2]),
        st.none() | pool,
        st.booleans(),
    ),
    max_size=4,
    unique_by=lambda one: one.eni_id,
)


@given(st.lists(pool, min_size=1, unique=True), worlds, st.booleans())
def test_a_move_takes_only_wanted_addresses_that_may_be_taken(
    wanted: list[IPAddress], enis: list[EniDetails], takeover: bool
) -> None:
    found = plan_move(move(*wanted, takeover=takeover), enis)
    refused = [address for outcome in found.refused for address in outcome.call.addresses]
    assert sorted([*found.addresses, *refused], key=int) == sorted(wanted, key=int)
    by_id = {one.eni_id: one for one in enis}
    for call in found.unassigns:
        assert takeover
        assert call.eni_id != "eni-1"
        holder = by_id[call.eni_id]
        for address in call.addresses:
            assert address in found.addresses
            assert address in holder.secondaries
            assert not why_immovable(address, holder)
            assert "eni-1" not in by_id or not by_id["eni-1"].holds(address)
