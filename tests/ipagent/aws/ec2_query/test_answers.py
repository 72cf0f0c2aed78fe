"""Answers as botocore reads them: by hand, as the double writes them, and of any contents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ipagent.aws.describe_enis import details, subnet_ranges
from ipagent.aws.ec2_calls import assigned_addresses
from ipagent.aws.ec2_query.query_protocol import read_answer
from tests.doubles import World, load_world
from tests.doubles.ec2.describe_network import _subnet_structure, interface_structure
from tests.doubles.ec2.query_protocol import answer
from tests.ipagent import worlds
from tests.ipagent.aws.ec2_query.botocore_oracle import answer_of, outcome

pytestmark = pytest.mark.pure

ENIS, SUBNETS = "DescribeNetworkInterfaces", "DescribeSubnets"
IPV4, IPV6 = "AssignPrivateIpAddresses", "AssignIpv6Addresses"
NAMESPACE = 'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'

READERS: dict[str, Callable[[Any], object]] = {
    ENIS: lambda read: ([details(each) for each in read["NetworkInterfaces"]], read.get("NextToken")),
    SUBNETS: lambda read: [(each["SubnetId"], subnet_ranges(each)) for each in read["Subnets"]],
    IPV4: assigned_addresses,
    IPV6: assigned_addresses,
}
"""What callers read in an answer."""


READ = frozenset(
    [
        *("NetworkInterfaces", "NetworkInterfaceId", "PrivateIpAddress", "PrivateIpAddresses"),
        *("Primary", "Ipv6Addresses", "Ipv6Address", "IsPrimaryIpv6", "Attachment", "InstanceId"),
        *("DeviceIndex", "NetworkCardIndex", "Status", "TagSet", "Key", "Value", "Ipv4Prefixes"),
        *("Ipv4Prefix", "Ipv6Prefixes", "Ipv6Prefix", "Description", "MacAddress", "SubnetId"),
        *("VpcId", "InterfaceType", "RequesterManaged", "Operator", "Managed", "Subnets"),
        *("CidrBlock", "Ipv6CidrBlockAssociationSet", "Ipv6CidrBlock", "Ipv6CidrBlockState", "State"),
        *("AssignedPrivateIpAddresses", "AssignedIpv6Addresses", "NextToken"),
    ]
)
"""The names in `describe_enis` and `ec2_calls`."""


def read_parts(read: Any) -> Any:
    """Return the parts of an answer that have one of these names."""
    if isinstance(read, Mapping):
        # Tags have another name in subnets, of which nobody reads them.
        others = READ - {"TagSet"} if "CidrBlock" in read else READ
        return {name: read_parts(value) for name, value in read.items() if name in others}
    return [read_parts(each) for each in read] if isinstance(read, list) else read


def both(operation: str, body: bytes) -> tuple[object, object]:
    """Return an answer's parts and what callers read in them: here, and by botocore."""

    def read(parse: Callable[[], Any]) -> object:
        return outcome(lambda: read_parts(parse())), outcome(lambda: READERS[operation](parse()))

    return read(lambda: read_answer(operation, 200, body)), read(lambda: answer_of(operation, body))


def document(operation: str, contents: str, attributes: str = NAMESPACE) -> bytes:
    text = f"<{operation}Response {attributes}><requestId>r</requestId>{contents}</{operation}Response>"
    return text.encode()


def eni(contents: str) -> bytes:
    item = f"<item><networkInterfaceId>eni-1</networkInterfaceId>{contents}</item>"
    return document(ENIS, f"<networkInterfaceSet>{item}</networkInterfaceSet>")


def subnet(contents: str) -> bytes:
    return document(SUBNETS, f"<subnetSet><item><subnetId>subnet-1</subnetId>{contents}</item></subnetSet>")


def listed(name: str, *items: str) -> str:
    return f"<{name}>{''.join(f'<item>{item}</item>' for item in items)}</{name}>"


ADDRESS = "<privateIpAddress>10.0.0.5</privateIpAddress>"
WHOLE = eni(
    "<privateIpAddress>10.0.0.4</privateIpAddress><macAddress>02:AA:00:00:00:01</macAddress>"
    "<subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId><interfaceType>branch</interfaceType>"
    "<description>a &amp; b</description><requesterManaged>false</requesterManaged>"
    "<operator><managed>true</managed><principal>eks</principal></operator>"
    "<attachment><instanceId>i-1</instanceId><deviceIndex>3</deviceIndex><status>detaching</status>"
    "<networkCardIndex>1</networkCardIndex><attachTime>2026-01-02T03:04:05.000Z</attachTime></attachment>"
    "<privateIpAddressesSet><item><privateIpAddress>10.0.0.4</privateIpAddress><primary>true</primary></item>"
    f"<item>{ADDRESS}<association><publicIp>1.2.3.4</publicIp></association></item></privateIpAddressesSet>"
    "<ipv6AddressesSet><item><ipv6Address>2001:db8::4</ipv6Address><isPrimaryIpv6>true</isPrimaryIpv6></item>"
    "<item><ipv6Address>2001:db8::5</ipv6Address><isPrimaryIpv6>false</isPrimaryIpv6></item></ipv6AddressesSet>"
    "<ipv4PrefixSet><item><ipv4Prefix>10.0.0.16/28</ipv4Prefix></item></ipv4PrefixSet>"
    "<ipv6PrefixSet><item><ipv6Prefix>2001:db8:0:0:1::/80</ipv6Prefix></item></ipv6PrefixSet>"
    "<tagSet><item><key>node.k8s.amazonaws.com/no_manage</key><value>true</value></item></tagSet>"
    "<groupSet><item><groupId>sg-1</groupId></item></groupSet>"
)
CASES: dict[str, tuple[str, bytes]] = {
    "all that is read of an ENI": (ENIS, WHOLE),
    "between spaces and line breaks": (ENIS, WHOLE.replace(b"><", b">\n  <")),
    "an ENI alone": (ENIS, eni("")),
    "without contents": (
        ENIS,
        eni("<attachment/><operator/><tagSet/><privateIpAddressesSet/><description/>"),
    ),
    "with empty contents": (
        ENIS,
        eni("<attachment> \n </attachment><tagSet>\n</tagSet><operator></operator>"),
    ),
    "items without contents": (ENIS, eni("<privateIpAddressesSet><item/></privateIpAddressesSet>")),
    "items of spaces": (ENIS, eni(listed("ipv6AddressesSet", "\n"))),
    "tags without contents": (ENIS, eni(listed("tagSet", "", "<key>k</key>", "<value>v</value>"))),
    "texts by reference": (ENIS, eni("<description>&lt;&#38;&#x20AC;&quot;<![CDATA[<b>]]></description>")),
    "a comment in a text": (ENIS, eni("<description>a<!-- c -->b<?p i?>c</description>")),
    "texts beyond ASCII": (ENIS, eni("<description>é € 😀 \u2028</description>")),
    "another declared encoding": (
        ENIS,
        b'<?xml version="1.0" encoding="ISO-8859-1"?>' + eni("<description>é</description>"),
    ),
    "in another encoding": (ENIS, WHOLE.decode().encode("utf-16")),
    "empty names": (ENIS, eni("<macAddress/><interfaceType/><subnetId/><vpcId/><privateIpAddress/>")),
    "truths that are none": (
        ENIS,
        eni("<requesterManaged>True</requesterManaged><operator><managed/></operator>"),
    ),
    "a number that is none": (ENIS, eni("<attachment><deviceIndex>x</deviceIndex></attachment>")),
    "an empty number": (ENIS, eni("<attachment><deviceIndex/></attachment>")),
    "a number with a space": (
        ENIS,
        eni("<attachment><networkCardIndex> 2\n</networkCardIndex></attachment>"),
    ),
    "an address that is none": (ENIS, eni("<privateIpAddress>x</privateIpAddress>")),
    "unknown elements": (
        ENIS,
        eni("<soon><item><primary>x</primary></item></soon><deniedSet><item/></deniedSet>"),
    ),
    "no list": (ENIS, document(ENIS, "")),
    "an empty list and a token": (ENIS, document(ENIS, "<networkInterfaceSet/><nextToken>t=</nextToken>")),
    "an empty token": (ENIS, document(ENIS, "<networkInterfaceSet/><nextToken/>")),
    "without a namespace": (ENIS, document(ENIS, "<networkInterfaceSet/>", "")),
    "a subnet of both families": (
        SUBNETS,
        subnet(
            "<cidrBlock>10.0.0.0/24</cidrBlock>"
            + listed(
                "ipv6CidrBlockAssociationSet",
                "<ipv6CidrBlock>2001:db8::/64</ipv6CidrBlock>"
                "<ipv6CidrBlockState><state>associated</state></ipv6CidrBlockState>",
                "<ipv6CidrBlock>2001:db8:1::/64</ipv6CidrBlock>"
                "<ipv6CidrBlockState><state>disassociated</state></ipv6CidrBlockState>",
                "<ipv6CidrBlock>2001:db8:2::/64</ipv6CidrBlock><ipv6CidrBlockState/>",
            )
        ),
    ),
    "a subnet for IPv6 alone": (SUBNETS, subnet("<ipv6Native>true</ipv6Native><cidrBlock/>")),
    "no subnet": (SUBNETS, document(SUBNETS, "<subnetSet/>")),
    "assigned IPv4 addresses": (
        IPV4,
        document(IPV4, listed("assignedPrivateIpAddressesSet", ADDRESS, ADDRESS)),
    ),
    "an IPv4 item without contents": (IPV4, document(IPV4, listed("assignedPrivateIpAddressesSet", ""))),
    "only true": (IPV4, document(IPV4, "<return>true</return>")),
    "assigned IPv6 addresses": (
        IPV6,
        document(IPV6, listed("assignedIpv6Addresses", "2001:db8::1", "2001:db8::2")),
    ),
    "an IPv6 item without contents": (IPV6, document(IPV6, listed("assignedIpv6Addresses", "", " "))),
    "an IPv6 item with elements": (
        IPV6,
        document(IPV6, listed("assignedIpv6Addresses", "<a>2001:db8::1</a>")),
    ),
}


@pytest.mark.parametrize(("operation", "body"), CASES.values(), ids=CASES)
def test_an_answer_is_read_as_botocore_reads_it(operation: str, body: bytes) -> None:
    here, by_botocore = both(operation, body)
    assert here == by_botocore


def test_all_that_is_read_of_an_eni_is_found() -> None:
    (found,) = (details(each) for each in read_answer(ENIS, 200, WHOLE)["NetworkInterfaces"])
    assert (found.instance_id, found.device_number, found.network_card) == ("i-1", 3, 1)
    assert [str(each) for each in (found.primary, found.primary_ipv6, *found.secondaries)] == [
        "10.0.0.4",
        "2001:db8::4",
        "10.0.0.5",
        "2001:db8::5",
    ]
    assert [str(each) for each in found.prefixes] == ["10.0.0.16/28", "2001:db8:0:0:1::/80"]
    assert (found.description, found.mac, found.interface_type) == ("a & b", "02:aa:00:00:00:01", "branch")
    assert (found.managed, found.no_manage, found.detaching) == (True, True, True)


@pytest.fixture(scope="module")
def world() -> World:
    return load_world(worlds.world(ipv6=True, secondaries=["10.10.1.60"], ipv6s=["2001:db8:1::60"]))


def test_what_the_double_shows_of_enis_and_subnets_is_read_alike(world: World) -> None:
    enis = [interface_structure(world, each) for each in world.interfaces.values()]
    subnets = [_subnet_structure(world, each) for each in world.subnets.values()]
    for operation, name, shown in ((ENIS, "networkInterfaceSet", enis), (SUBNETS, "subnetSet", subnets)):
        here, by_botocore = both(operation, answer(operation, {name: shown}, "r"))
        assert here == by_botocore
        assert isinstance(here, tuple)
        assert ValueError not in here


XML = st.characters(
    exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff", include_characters="\t\n\r"
)
TEXTS = st.one_of(
    st.sampled_from(["", " ", "true", "false", "TRUE", "1", " 7 ", "-1", "10.0.0.5", "2001:db8::5"]),
    st.sampled_from(
        ["10.0.0.16/28", "2001:db8::/80", "associated", "detaching", "eni-1", "02:AA:00:00:00:01"]
    ),
    st.sampled_from(["node.k8s.amazonaws.com/no_manage", "cluster.k8s.amazonaws.com/name", "x" * 200]),
    st.text(XML, max_size=20),
)
SPACES = st.sampled_from(["", "", " ", "\n    "])


@st.composite
def element(draw: st.DrawFn, name: str, contents: st.SearchStrategy[str]) -> str:
    """Return an element; one without contents is written in both ways."""
    inner = draw(contents)
    if not inner and draw(st.booleans()):
        return f"<{name}/>"
    return f"<{name}>{inner}</{name}>"


def text(name: str, values: st.SearchStrategy[str] = TEXTS) -> st.SearchStrategy[str]:
    plain = values.map(escape)
    by_number = values.map(lambda value: "".join(f"&#{ord(each)};" for each in value))
    return element(name, st.one_of(plain, plain, by_number))


@st.composite
def structure(draw: st.DrawFn, *members: st.SearchStrategy[str]) -> str:
    """Return some of the members, each once, in any order."""
    chosen = draw(st.permutations(members))[: draw(st.integers(0, len(members)))]
    return draw(SPACES).join(["", *map(draw, chosen), ""])


def items(name: str, item: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(element("item", item), max_size=4)
    return element(name, st.tuples(SPACES, several).map(lambda both: both[0].join(["", *both[1], ""])))


NUMBERS = st.one_of(st.integers().map(str), st.sampled_from(["", "x", " 3\n", "1_0", "٣"]))
TIMES = st.just("2026-01-02T03:04:05.000Z")
ENI = structure(
    *map(text, ("networkInterfaceId", "privateIpAddress", "ipv6Address", "macAddress", "subnetId", "vpcId")),
    *map(text, ("interfaceType", "description", "requesterManaged", "status", "sourceDestCheck", "later")),
    element("operator", structure(text("managed"), text("principal"))),
    element(
        "attachment",
        structure(
            *map(text, ("instanceId", "status", "attachmentId")),
            *(text(name, NUMBERS) for name in ("deviceIndex", "networkCardIndex")),
            text("attachTime", TIMES),
        ),
    ),
    items(
        "privateIpAddressesSet",
        structure(
            text("privateIpAddress"),
            text("primary"),
            element("association", structure(text("publicIp"), text("ipOwnerId"))),
        ),
    ),
    items("ipv6AddressesSet", structure(text("ipv6Address"), text("isPrimaryIpv6"))),
    items("ipv4PrefixSet", structure(text("ipv4Prefix"))),
    items("ipv6PrefixSet", structure(text("ipv6Prefix"))),
    items("tagSet", structure(text("key"), text("value"))),
    items("groupSet", structure(text("groupId"), text("groupName"))),
)
SUBNET = structure(
    *map(text, ("subnetId", "cidrBlock", "vpcId", "ipv6Native")),
    items(
        "ipv6CidrBlockAssociationSet",
        structure(text("ipv6CidrBlock"), element("ipv6CidrBlockState", structure(text("state")))),
    ),
)
CONTENTS: Mapping[str, st.SearchStrategy[str]] = {
    ENIS: structure(items("networkInterfaceSet", ENI), text("nextToken")),
    SUBNETS: structure(items("subnetSet", SUBNET), text("nextToken")),
    IPV4: structure(
        text("networkInterfaceId"),
        items("assignedPrivateIpAddressesSet", structure(text("privateIpAddress"))),
        items("assignedIpv4PrefixSet", structure(text("ipv4Prefix"))),
    ),
    IPV6: structure(text("networkInterfaceId"), items("assignedIpv6Addresses", TEXTS.map(escape))),
}


@pytest.mark.parametrize("operation", CONTENTS)
@given(st.data())
def test_any_answer_is_read_as_botocore_reads_it(operation: str, data: st.DataObject) -> None:
    here, by_botocore = both(operation, document(operation, data.draw(CONTENTS[operation])))
    assert here == by_botocore


NAMES = st.sampled_from(
    [
        *("item", "networkInterfaceSet", "networkInterfaceId", "attachment", "deviceIndex", "status"),
        *("tagSet", "key", "value", "operator", "managed", "privateIpAddressesSet"),
        *("privateIpAddress", "primary", "ipv6AddressesSet", "ipv6Address", "ipv4PrefixSet"),
        *("ipv4Prefix", "description", "macAddress", "subnetId", "Errors", "Error", "Code"),
        *("nextToken",),
    ]
)
TREES = st.recursive(
    TEXTS.map(escape),
    lambda inner: st.lists(
        st.tuples(NAMES, inner).map(lambda pair: f"<{pair[0]}>{pair[1]}</{pair[0]}>"), max_size=5
    ).map("".join),
    max_leaves=20,
)


@given(TREES)
@example(
    "<networkInterfaceSet><item><description><key/></description><tagSet>x</tagSet></item></networkInterfaceSet>"
)
def test_elements_in_wrong_places_raise_nothing_that_is_not_translated(contents: str) -> None:
    outcome(lambda: READERS[ENIS](read_answer(ENIS, 200, document(ENIS, contents))))
