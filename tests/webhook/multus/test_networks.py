import json
import re
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.webhook.multus.network_values import CORPUS, lengthened
from webhook.multus.names import GO_SPACE, Refused, read_list_item
from webhook.multus.networks import Network, Networks, expected_interfaces, parse_networks, read_networks

pytestmark = pytest.mark.pure

MAX_REFUSAL = 200
API_SERVER_LIMIT = 256 * 1024  # bytes that a pod's annotations may have together


def test_more_than_kubernetes_allows_is_not_read() -> None:
    found = parse_networks("a," * API_SERVER_LIMIT, "apps")
    assert found.refused_by_parser
    assert "longer than" in (found.refusal or "")


def listed(value: str) -> list[tuple[str, str, str]]:
    """What is read, as namespace, name and interface."""
    parsed = parse_networks(value, "pod-ns")
    assert parsed.refusal is None, parsed.refusal
    return [(network.namespace, network.name, network.interface) for network in parsed.networks]


def refusal(value: str, *, by_parser: bool) -> str:
    parsed = parse_networks(value, "pod-ns")
    assert parsed.networks == ()
    assert parsed.refused_by_parser is by_parser
    assert parsed.refusal is not None
    assert len(parsed.refusal) <= MAX_REFUSAL
    assert parsed.refusal.startswith("k8s.v1.cni.cncf.io/networks cannot be ")
    return parsed.refusal


def test_an_empty_value_is_no_networks() -> None:
    assert parse_networks("", "pod-ns") == Networks((), refusal=None, refused_by_parser=False)


@pytest.mark.parametrize("value", ["[]", " [ ] ", "\n[\t]\r"])
def test_an_empty_json_list_is_no_networks(value: str) -> None:
    assert parse_networks(value, "pod-ns") == Networks(())


@pytest.mark.parametrize(
    ("value", "networks"),
    [
        ("ipvlan-multus", [("pod-ns", "ipvlan-multus", "net1")]),
        ("ns/a", [("ns", "a", "net1")]),
        ("/a", [("pod-ns", "a", "net1")]),
        ("a@x", [("pod-ns", "a", "x")]),
        ("a@", [("pod-ns", "a", "net1")]),
        ("ns/a@x", [("ns", "a", "x")]),
        ("a,b,c", [("pod-ns", "a", "net1"), ("pod-ns", "b", "net2"), ("pod-ns", "c", "net3")]),
        ("a,b@x,c", [("pod-ns", "a", "net1"), ("pod-ns", "b", "x"), ("pod-ns", "c", "net3")]),
        ("a,a", [("pod-ns", "a", "net1"), ("pod-ns", "a", "net2")]),
        (" ns / a @ x , b ", [("ns", "a", "x"), ("pod-ns", "b", "net2")]),
        ("\ta\n,\u00a0b\u2003", [("pod-ns", "a", "net1"), ("pod-ns", "b", "net2")]),
        ("a@my_interface", [("pod-ns", "a", "my_interface")]),
        ("a@123456789012345", [("pod-ns", "a", "123456789012345")]),
        ("a@äöüäöüä", [("pod-ns", "a", "äöüäöüä")]),
        ("null", [("pod-ns", "null", "net1")]),
        ("1", [("pod-ns", "1", "net1")]),
        ("a" * 253, [("pod-ns", "a" * 253, "net1")]),
    ],
)
def test_the_list_form(value: str, networks: list[tuple[str, str, str]]) -> None:
    assert listed(value) == networks


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("a/b/c", "'a/b/c' has more than one /"),
        ("a@b@c", "'a@b@c' has more than one @"),
        ("b,a/b/c", "'a/b/c'"),
        ("A", "'A' is not a name"),
        ("a.b", "'a.b' is not a name"),
        ("-a", "'-a' is not a name"),
        ("a-", "'a-' is not a name"),
        ("a b", "'a b' is not a name"),
        ("Ns/a", "'Ns' is not a name"),
        ("a@b/c", "'a@b' is not a name"),
        ("ä", "'ä' is not a name"),
        ("}", "'}' is not a name"),
        ("\x1ca", r"'\x1ca' is not a name"),
        ("\ud800", "'\ufffd' is not a name"),
        ("a@1234567890123456", "interface name '1234567890123456'"),
        ("a@äöüäöüäö", "interface name 'äöüäöüäö'"),
        ("a@x y", "interface name 'x y'"),
        ('a@"x"', "the JSON is wrong at character 1"),
        ("a" * (API_SERVER_LIMIT - 1) + "-", "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…' is not a name"),
    ],
)
def test_the_list_form_is_refused(value: str, what: str) -> None:
    assert what in refusal(value, by_parser=True)


@pytest.mark.parametrize("value", ["a\x1d", "\x1ca", "a\x1e/b", "\u200ba"])
def test_white_space_is_what_go_takes_for_it(value: str) -> None:
    refusal(value, by_parser=True)


def test_go_white_space_is_pythons_without_the_separators_of_ascii() -> None:
    python = {character for character in map(chr, range(sys.maxunicode + 1)) if character.isspace()}
    assert set(GO_SPACE) == python - set("\x1c\x1d\x1e\x1f")


@pytest.mark.parametrize("value", ['{"name":"a"}', '"a"', 'a,"b"', "a[", "{", '"', " { } "])
def test_one_json_character_makes_it_json_and_json_must_be_a_list(value: str) -> None:
    refusal(value, by_parser=True)


def element(**fields: object) -> str:
    return json.dumps([{"name": "a", **fields}])


@pytest.mark.parametrize(
    ("value", "networks"),
    [
        ('[{"name":"a"}]', [("pod-ns", "a", "net1")]),
        ('[{"name":"a","namespace":"ns","interface":"x"}]', [("ns", "a", "x")]),
        ('[{"name":"a"},{"name":"a"}]', [("pod-ns", "a", "net1"), ("pod-ns", "a", "net2")]),
        ('[{"name":"a.b"}]', [("pod-ns", "a.b", "net1")]),
        ('[{"name":"a","interfaceRequest":"x"}]', [("pod-ns", "a", "x")]),
        ('[{"name":"a","interfaceRequest":"x","interface":"y"}]', [("pod-ns", "a", "y")]),
        ('[{"name":"a","interfaceRequest":"x","interface":""}]', [("pod-ns", "a", "x")]),
        ('[{"NAME":"a","nameSpace":"ns","InterFace":"x"}]', [("ns", "a", "x")]),
        ('[{"name\u017fpace":"ns","name":"a"}]', [("ns", "a", "net1")]),
        ('[{"\\u006e\\u0061me":"a"}]', [("pod-ns", "a", "net1")]),
        ('[{"name":"a","name":"b"}]', [("pod-ns", "b", "net1")]),
        ('[{"name":"a","NAME":"b","name":"c"}]', [("pod-ns", "c", "net1")]),
        ('[{"name":"a","name":null,"namespace":null}]', [("pod-ns", "a", "net1")]),
        ('[{"name":"a","namespace":""}]', [("pod-ns", "a", "net1")]),
        ('[{"name":"\\u0061"}]', [("pod-ns", "a", "net1")]),
        ('[{"name":"a","interface":"\\ud83d\\ude00"}]', [("pod-ns", "a", "\U0001f600")]),
        ('[{"name":"a","interface":"\\ud800"}]', [("pod-ns", "a", "\ufffd")]),
        ('[{"name":"a","interface":"\\udc00\\ud800"}]', [("pod-ns", "a", "\ufffd\ufffd")]),
        ('[{"name":"a","interface":"\ud800"}]', [("pod-ns", "a", "\ufffd")]),
        ('[{"name":"a","unknown":[1e999,{"name":"b"},true]}]', [("pod-ns", "a", "net1")]),
        ('[{"name":"a","ipam-claim-reference":1}]', [("pod-ns", "a", "net1")]),
        (element(ips=["10.0.0.1", "10.0.0.1/24", "fd00::1", "fd00::1/64", "1.2.3.4/0000024"]), None),
        ('[{"name":"a","ips":["10.0.0.1","x"],"ips":[null]}]', None),
        (element(ips=None, mac=None, portMappings=None, bandwidth=None), None),
        (element(ips=[], mac="", portMappings=[], bandwidth={}), None),
        ('[{"name":"a","ips":["x"],"ips":["10.0.0.1"]}]', None),
        ('[{"name":"a","ips":["10.0.0.1"],"ips":[null]}]', None),
        ('[{"name":"a","mac":"x","mac":"02:00:00:00:00:01"}]', None),
        (element(mac="02-00-00-00-00-01"), None),
        (element(mac="0200.0000.0001"), None),
        (element(mac="020000000001"), None),
        (element(**{"infiniband-guid": "02:00:00:00:00:00:00:01"}), None),
        (element(mac=":".join(["02"] * 20)), None),
        (
            element(
                portMappings=[{"hostPort": 1, "containerPort": -2, "protocol": "tcp", "hostIP": "x"}, None]
            ),
            None,
        ),
        (element(portMappings=[{"hostPort": 2**63 - 1}, {"hostPort": -(2**63)}, {"hostPort": None}]), None),
        (element(bandwidth={"ingressRate": 1, "EgressBurst": 2, "unknown": "x"}), None),
        (element(deviceID="x", **{"cni-args": {"x": [1, 1.5e300, None]}}), None),
    ],
)
def test_the_json_form(value: str, networks: list[tuple[str, str, str]] | None) -> None:
    assert listed(value) == (networks or [("pod-ns", "a", "net1")])


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("[null]", "element 1: null makes Multus crash"),
        ('[{"name":"a"},null]', "element 2: null makes Multus crash"),
        ("[[]]", "element 1: must be an object, not a list"),
        ('["a"]', "element 1: must be an object, not a string"),
        ("[1]", "element 1: must be an object, not the number '1'"),
        ("[true]", "element 1: must be an object, not true or false"),
        ('[{"name":1}]', "'name' must be a string, not the number '1'"),
        ('[{"name":1,"name":"a"}]', "'name' must be a string"),
        ('[{"NaMe":{}}]', "'NaMe' must be a string, not an object"),
        ('[{"name":"a","ips":"10.0.0.1"}]', "'ips' must be a list, not a string"),
        ('[{"name":"a","ips":[1]}]', "'ips' must be a string"),
        ('[{"name":"a","ips":["x"]}]', "'ips': 'x' is neither an IP address nor a CIDR"),
        ('[{"name":"a","ips":[null]}]', "'ips': '' is neither"),
        ('[{"name":"a","ips":["10.0.0.1","x"],"ips":[null,null]}]', "'x' is neither"),
        ('[{"name":"a","ips":["10.0.0.1"],"ips":[],"ips":[null]}]', "'' is neither"),
        (element(ips=["10.0.0.01"]), "10.0.0.01"),
        (element(ips=["10.0.0.1/33"]), "10.0.0.1/33"),
        (element(ips=["fd00::1/129"]), "fd00::1/129"),
        (element(ips=["fd00::1%eth0"]), "fd00::1%eth0"),
        (element(ips=["10.0.0.1/"]), "10.0.0.1/"),
        (element(ips=["10.0.0.1/٢٤"]), "neither"),
        (element(ips=["10.0.0"]), "neither"),
        (element(ips=["fd00:::1"]), "neither"),
        (element(ips=["10.0.0.1/0000000033"]), "neither"),
        (element(mac="02:00:00:00:00"), "'mac': '02:00:00:00:00' is not a hardware address"),
        (element(mac="02:00:00:00:00-01"), "not a hardware address"),
        (element(**{"infiniband-guid": "x"}), "'infiniband-guid': 'x' is not a hardware address"),
        (element(portMappings={}), "'portMappings' must be a list, not an object"),
        (element(portMappings=[{"hostPort": "80"}]), "'portMappings' 'hostPort' must be a whole number"),
        (element(portMappings=[{"hostPort": 1.5}]), "not the number '1.5'"),
        (element(portMappings=[{"hostPort": 2**63}]), "not the number '9223372036854775808'"),
        (element(portMappings=[1]), "'portMappings' must be an object"),
        (element(bandwidth=[]), "'bandwidth' must be an object, not a list"),
        ('[{"name":"a","bandwidth":{"ingressRate":1e3}}]', "not the number '1e3'"),
        (element(deviceID=1), "'deviceID' must be a string"),
        (element(**{"cni-args": []}), "'cni-args' must be an object, not a list"),
        ('[{"name":"a","cni-args":{"x":[1e999]}}]', "not the number '1e999'"),
        (element(**{"default-route": "10.0.0.1"}), "'default-route' must be a list"),
        (element(**{"default-route": ["10.0.0.1/24"]}), "'default-route' has '10.0.0.1/24'"),
        ('[{"name":"a"}]]', "character 15"),
        ('[{"name":"a"},]', "the JSON is wrong"),
        ('[{"name":"a",}]', "the JSON is wrong"),
        ("[{'name':'a'}]", "the JSON is wrong"),
        ('[{"name":"a\tb"}]', "the JSON is wrong"),
        ('[{"x":NaN}]', "NaN is not a JSON number"),
        ('[{"x":-Infinity}]', "-Infinity is not a JSON number"),
        ('[{"x":01}]', "the JSON is wrong"),
        ("[", "the JSON is wrong"),
        ("\ufeff[]", "the JSON is wrong at character 1"),
        ("[\u00a0]", "the JSON is wrong at character 2"),
    ],
)
def test_the_json_form_is_refused(value: str, what: str) -> None:
    assert what in refusal(value, by_parser=True)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (" ", "element 1 has no name"),
        ("a,", "element 2 has no name"),
        ("ns/", "element 1 has no name"),
        ("@x", "element 1 has no name"),
        ("[{}]", "element 1 has no name"),
        ('[{"name":"A"}]', "element 1 names 'A', which cannot name a NetworkAttachmentDefinition"),
        ('[{"name":"a/b"}]', "element 1 names 'a/b'"),
        ('[{"name":"a..b"}]', "element 1 names 'a..b'"),
        ("a" * 254, "element 1 names 'aaa"),
        ('[{"name":"a","namespace":"X"}]', "element 1 names the namespace 'X'"),
        ('[{"name":"a","namespace":"a.b"}]', "element 1 names the namespace 'a.b'"),
        ("n" * 64 + "/a", "element 1 names the namespace 'nnn"),
        ("a,b@net1", "element 2: interface name 'net1' already exists"),
        ("a@net2,b", "element 2: interface name 'net2' already exists"),
        ("a@x,b,c@x", "element 3: interface name 'x' already exists"),
        ("a@eth0", "interface name 'eth0' already exists"),
        ("a@lo", "interface name 'lo' already exists"),
        ("a@x:y", "interface name 'x:y'"),
        ("a@.", "interface name '.'"),
        ("a@..", "interface name '..'"),
        ("a@x\u00a0y", r"interface name 'x\xa0y'"),
        (element(interface="1234567890123456"), "interface name '1234567890123456'"),
        (element(interface="a/b"), "interface name 'a/b'"),
        (element(interface="a b"), "interface name 'a b'"),
        (element(interface="a\0b"), r"interface name 'a\x00b'"),
        (element(**{"default-route": ["10.0.0.1", "10.0.0.2"]}), "more than one default-route"),
        (element(**{"default-route": ["10.0.0.1", "::ffff:10.0.0.2"]}), "more than one default-route"),
        (element(**{"default-route": ["fd00::1", "fd00::2", "10.0.0.1"]}), "more than one default-route"),
        (
            '[{"name":"a","default-route":["10.0.0.1"]},{"name":"b","default-route":["10.0.0.2"]}]',
            "more than one",
        ),
        (element(**{"default-route": [""]}), "an entry without an address"),
        (element(**{"default-route": ["10.0.0.1", None]}), "an entry without an address"),
    ],
)
def test_what_multus_reads_but_fails_on_is_refused_otherwise(value: str, what: str) -> None:
    assert what in refusal(value, by_parser=False)


def test_the_pods_own_namespace_is_not_judged() -> None:
    assert parse_networks("a", "").networks == (Network("", "a", "net1", default_route=False),)


@pytest.mark.parametrize(
    ("routes", "expected"),
    [('["10.0.0.1"]', True), ('["10.0.0.1","fd00::1"]', True), ("[]", False), ("null", False)],
)
def test_a_default_route_has_an_entry(routes: str, expected: bool) -> None:
    (network,) = parse_networks(f'[{{"name":"a","default-route":{routes}}}]', "pod-ns").networks
    assert network.default_route is expected


@pytest.mark.parametrize(
    ("routes", "expected"),
    [('"default-route":["10.0.0.1"],"default-route":null', False), ('"Default-Route":["fd00::1"]', True)],
)
def test_the_last_default_route_counts(routes: str, expected: bool) -> None:
    (network,) = parse_networks(f'[{{"name":"a",{routes}}}]', "pod-ns").networks
    assert network.default_route is expected


@pytest.mark.parametrize(
    ("value", "expected"), [("", ()), ("a", ("net1",)), ("a,b@x,c", ("net1", "x", "net3")), ("A", ())]
)
def test_expected_interfaces(value: str, expected: tuple[str, ...]) -> None:
    assert expected_interfaces(parse_networks(value, "pod-ns")) == expected


def test_expected_interfaces_have_no_duplicates() -> None:
    networks = tuple(Network("ns", "a", interface, default_route=False) for interface in ("b", "a", "b"))
    assert expected_interfaces(Networks(networks)) == ("b", "a")


@pytest.mark.parametrize(
    ("value", "by_parser"),
    [
        ("[" * 100_000, True),
        ('{"a":' * 50_000, True),
        ("[" * 10_001 + "]" * 10_001, True),
        ('[{"x":' + "[" * 9_999 + "]" * 9_999 + "}]", True),
        ('[{"x":' + "[" * 9_998 + "]" * 9_998 + "}]", False),
        ('[{"x":' + '{"a":' * 9_998 + "1" + "}" * 9_998 + "}]", False),
        ('[{"cni-args":' + '{"a":' * 9_998 + "1e999" + "}" * 9_998 + "}]", True),
        ("[{}" + " ,{}" * 300 + "x]", True),
        ("[{}" + " ,{}" * 300 + "] x", True),
        ('[{"x":' + "[[]," * 300 + "1" + "]" * 300 + ',"y" "z"}]', True),
        ('[{"x":[' + "[]," * 300 + "1],y:1}]", True),
    ],
)
def test_depth_is_limited_as_by_go_and_never_recursed_into(value: str, by_parser: bool) -> None:
    refusal(value, by_parser=by_parser)


def test_many_elements_are_read_like_few() -> None:
    value = json.dumps([{"name": f"n{index}", "ips": ["10.0.0.1"]} for index in range(500)])
    assert listed(value) == [("pod-ns", f"n{index}", f"net{index + 1}") for index in range(500)]


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "value",
    [
        "," * API_SERVER_LIMIT,
        "[" + "{}," * (API_SERVER_LIMIT // 3) + "{}]",
        '[{"cni-args":{"x":' + "1" * API_SERVER_LIMIT + "}}]",
        '[{"ips":["10.0.0.1/' + "0" * API_SERVER_LIMIT + 'x"]}]',
        '[{"name":"' + "a." * (API_SERVER_LIMIT // 2) + '"}]',
        "[{" + ",".join(['"ips":[' + ",".join(["null"] * 20_000) + "]"] + ['"ips":[null]'] * 10_000) + "}]",
    ],
    ids=["commas", "elements", "digits", "prefix", "labels", "duplicates"],
)
def test_the_longest_annotations_are_refused_with_a_short_sentence(value: str) -> None:
    parsed = parse_networks(value, "pod-ns")
    assert parsed.networks == ()
    assert 0 < len(parsed.refusal or "") <= MAX_REFUSAL


@pytest.mark.parametrize("key", ["ips", "name"])
def test_keys_fold_as_in_go(key: str) -> None:
    """In Go's folding two characters outside ASCII fold to a letter: U+017F to S, U+212A to K."""
    others = map(chr, [0x130, 0x131, 0x17F, 0x1E9E, 0x212A, *range(0xFF21, 0xFF5B)])
    characters = {*map(chr, range(0x20, 0x80)), *others} - set('"\\')
    for index, letter in enumerate(key):
        same = {letter, letter.upper()} | ({"\u017f"} if letter == "s" else set())
        for character in characters:
            spelled = key[:index] + character + key[index + 1 :]
            refused = parse_networks(f'[{{"{spelled}":false}}]', "pod-ns").refused_by_parser
            assert refused is (character in same), spelled


def test_pythons_lower_case_of_no_other_character_is_ascii() -> None:
    characters = map(chr, range(0x80, sys.maxunicode + 1))
    assert [character for character in characters if character.lower().isascii()] == ["\u212a"]


@given(st.text(), st.text(max_size=5))
@example("[" * 5_000, "")
def test_any_text_is_read_or_refused_with_a_short_sentence(value: str, pod_namespace: str) -> None:
    parsed = parse_networks(value, pod_namespace)
    assert parsed == parse_networks(value, pod_namespace)
    if parsed.refusal is None:
        assert not parsed.refused_by_parser
        assert len(expected_interfaces(parsed)) == len(parsed.networks)
    else:
        assert parsed.networks == ()
        assert len(parsed.refusal) <= MAX_REFUSAL
        assert parsed.refusal.isprintable()


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["name", "ips", "MAC"]), inner)
    ),
)


@given(any_json)
def test_any_json_is_read_or_refused_with_a_short_sentence(value: object) -> None:
    parsed = parse_networks(json.dumps([value]), "pod-ns")
    assert len(parsed.refusal or "") <= MAX_REFUSAL


names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
interfaces = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,14}", fullmatch=True).filter(
    lambda name: name not in ("lo", "eth0") and not re.fullmatch("net[0-9]+", name)
)
spaces = st.sampled_from(["", "", " ", "\t ", "\n"])


@given(st.data())
def test_the_list_form_is_read_as_written(data: st.DataObject) -> None:
    wanted = data.draw(
        st.lists(st.tuples(names, names, interfaces), unique_by=lambda item: item[2], min_size=1)
    )
    parts = []
    for namespace, name, interface in wanted:
        space = data.draw(spaces)
        parts.append(f"{space}{namespace}{space}/{space}{name}{space}@{space}{interface}{space}")
    assert listed(",".join(parts)) == wanted


@given(st.lists(st.tuples(names, names, interfaces), unique_by=lambda item: item[2], min_size=1))
def test_both_forms_say_the_same(wanted: list[tuple[str, str, str]]) -> None:
    as_json = json.dumps(
        [dict(zip(("namespace", "name", "interface"), item, strict=True)) for item in wanted]
    )
    as_list = ",".join(f"{namespace}/{name}@{interface}" for namespace, name, interface in wanted)
    assert parse_networks(as_json, "pod-ns") == parse_networks(as_list, "pod-ns")


@pytest.mark.parametrize("value", [value for value in CORPUS if value.startswith("[{")])
def test_both_decoders_read_the_same(value: str) -> None:
    outcomes: list[object] = []
    for text in (value, lengthened(value)):
        try:
            outcomes.append(read_networks(text, "pod-ns"))
        except Refused:
            outcomes.append("refused")
    assert outcomes[0] == outcomes[1]


def test_a_list_item_keeps_what_is_not_given_empty() -> None:
    assert read_list_item(" a ") == ("", "a", "")
