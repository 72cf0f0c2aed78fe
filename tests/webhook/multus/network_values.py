"""Values of the networks annotation for the comparison with Multus: a corpus, made-up values, mutations."""

import json
import random
from collections.abc import Iterable, Iterator

CORPUS = (
    " ",
    ",",
    "a",
    "ipvlan-multus",
    " a , b ",
    "a,",
    "/a",
    "ns/",
    "ns/a@net1",
    " ns / a @ net1 ",
    "@x",
    "a@",
    "a@my_interface",
    "a@abcdefghijklmno",
    "a@abcdefghijklmnop",
    "a@äöüäöüä",
    "a@äöüäöüäö",
    "a@x\u00a0y",
    "a@x y",
    'a@"x"',
    "\u00a0a\u2003",
    "\x1ca",
    "a@b@c",
    "a/b/c",
    "a@b/c",
    "a.b",
    "A",
    "-a",
    "a-",
    "a\n",
    "null",
    "true",
    "1",
    "}",
    "]",
    "\ud800",
    "a@\ud83d\ude00",
    "[]",
    " [ ] ",
    "\ufeff[]",
    "[\u00a0]",
    "{}",
    '"a"',
    "[null]",
    "[null, 1]",
    "[[]]",
    '["a"]',
    "[true]",
    "[1]",
    "[{}]",
    "[{},{}]",
    "[{},]",
    "[{}] x",
    "[{}][]",
    '[{"name":"a"}]',
    '[{"name":"a","name":"b"}]',
    '[{"name":"a","NAME":null}]',
    '[{"name":1,"name":"b"}]',
    '[{"name":"a","namespace":"b","interface":"c"}]',
    '[{"name":"a","interfaceRequest":"c"}]',
    '[{"name":"a","interface":"b","interfaceRequest":"c"}]',
    '[{"name":"a","interface":"","INTERFACEREQUEST":"c"}]',
    '[{"name":"a.b","namespace":"X"}]',
    '[{"name":"\\ud83d\\ude00"}]',
    '[{"name":"\\ud800\\ud83d\\ude00\\udc00"}]',
    '[{"name":"\\ud800x\\u0041"}]',
    '[{"name":"\\ud800\udc00"}]',
    '[{"name":"a\x7f\u2028"}]',
    '[{"name":"a\x1f"}]',
    '[{"name":"a\\u0000"}]',
    '[{"name":"a\\x"}]',
    '[{"name":"a\\\'"}]',
    '[{"name":"a\\/\\b\\f\\n\\r\\t\\\\\\""}]',
    "[{'name':'a'}]",
    '[{name:"a"}]',
    '[{"namE\u017f":1,"i\u0307ps":1}]',
    '[{"name\u017fpace":"long-s"}]',
    '[{"ip\u017f":"long-s"}]',
    '[{"\u212a":1,"na\u212ae":1}]',
    '[{"\u0130ps":1}]',
    '[{"in\ufb01niband-guid":1}]',
    '[{"y"=1}]',
    '[{"y" 1}]',
    '[{"y"}]',
    '[{"y":}]',
    '[{"y":1,}]',
    '[{"y":1 "z":2}]',
    '[{"y":1;"z":2}]',
    "[{1:2}]",
    "[{null:1}]",
    "[{,}]",
    "[{]",
    "[{}}",
    "[{}",
    '[{"x":NaN}]',
    '[{"x":-Infinity}]',
    '[{"x":01}]',
    '[{"x":1.}]',
    '[{"x":.5}]',
    '[{"x":+1}]',
    '[{"x":-}]',
    '[{"x":1e5,"y":-0.0E-1}]',
    '[{"x":0x1}]',
    '[{"x":1_0}]',
    '[{"x":\u0661}]',
    '[{"x":nul}]',
    '[{"x":True}]',
    '[{"x":1e999}]',
    '[{"cni-args":{"x":1e999}}]',
    '[{"cni-args":{"x":[{"y":-1e309}]}}]',
    '[{"cni-args":{"x":1.7976931348623157e308}}]',
    '[{"cni-args":{"x":1.7976931348623159e308}}]',
    '[{"cni-args":{"x":1e-999}}]',
    '[{"cni-args":null}]',
    '[{"cni-args":[]}]',
    '[{"ips":["10.0.0.1","10.0.0.2/24","fd00::1","fd00::1/64"]}]',
    '[{"ips":["1.2.3.4/0000000032","::/0128"]}]',
    '[{"ips":["1.2.3.4/0000000033"]}]',
    '[{"ips":["fd00:::1"]}]',
    '[{"ips":null}]',
    '[{"ips":[]}]',
    '[{"ips":[null]}]',
    '[{"ips":["1.2.3.4"],"ips":[null]}]',
    '[{"ips":["1.2.3.4","x"],"ips":[null]}]',
    '[{"ips":["1.2.3.4","x"],"ips":["1.2.3.4"],"ips":[null,null]}]',
    '[{"ips":["1.2.3.4","x"],"ips":[],"ips":[null]}]',
    '[{"ips":["1.2.3.4"],"ips":null,"ips":[null]}]',
    '[{"ips":"1.2.3.4"}]',
    '[{"ips":[1]}]',
    '[{"mac":"02:00:00:00:00:01","infiniband-guid":"02-00-00-00-00-00-00-01"}]',
    '[{"mac":"x","mac":""}]',
    '[{"portMappings":[{"hostPort":80,"containerPort":8080,"protocol":"tcp","hostIP":"x"},null]}]',
    '[{"portMappings":[{"hostPort":9223372036854775807}]}]',
    '[{"portMappings":[{"hostPort":9223372036854775808}]}]',
    '[{"portMappings":[{"hostPort":-9223372036854775808}]}]',
    '[{"portMappings":[{"hostPort":1.0}]}]',
    '[{"portMappings":[{"hostPort":"80"}]}]',
    '[{"portMappings":{}}]',
    '[{"bandwidth":{"ingressRate":1,"ingressBurst":-0,"egressRate":null,"EGRESSBURST":4}}]',
    '[{"bandwidth":{"ingressRate":1e3}}]',
    '[{"bandwidth":[]}]',
    '[{"deviceID":"x","ipam-claim-reference":1}]',
    '[{"deviceID":1}]',
    '[{"default-route":["10.0.0.1","fd00::1"]}]',
    '[{"default-route":[]}]',
    '[{"default-route":["",null]}]',
    '[{"default-route":["10.0.0.1/24"]}]',
    '[{"default-route":"10.0.0.1"}]',
    '[{"default-route":[[]]}]',
)

DEEP = tuple(
    f"{before}{'[' * depth}{']' * depth}{after}"
    for depth in (190, 205, 9_997, 9_998, 9_999, 10_000)
    for before, after in (("", ""), ('[{"x":', "}]"), ('[{"name":"a","cni-args":{"x":', "}}]"))
) + tuple('[{"a":' * depth + "1" + "}]" * depth for depth in (120, 4_999, 5_000, 5_001))
"""Around the depth at which Go stops, and the one at which we stop recursing."""

ALPHABET: tuple[str, ...] = (
    *"[]{},:\"'\\/@%.-_+eE019aAzn \t\n\r\v\x00\x1c\x7f\x85\xa0\u2028\u017f\u212a\ufffd\ud800ä",
    '""',
    "null",
    "[null]",
    "{}",
    "[]",
    "1e999",
    "\\u0041",
    "\\ud800",
    "\\udc00",
    "::",
    "/24",
)
KEYS = (
    *("name", "namespace", "ips", "mac", "infiniband-guid", "interface", "interfaceRequest", "portMappings"),
    *("bandwidth", "deviceID", "cni-args", "default-route", "ipam-claim-reference", "x"),
)
INTEGERS = ("hostPort", "containerPort", "ingressRate", "ingressBurst", "egressRate", "egressBurst")
INNER_KEYS = (*INTEGERS, "protocol", "hostIP", "x")
PREFIXES = ("", "", "/24", "/32", "/33", "/128", "/129", "/024", "/", "/-1", "/24/24")
NAMES = ("a", "ipvlan-multus", "a.b", "A", "", "-a", "a-", "kube-system", "net1", "eth0", "lo", "ä", "a" * 16)
LISTED = (*("a", "ipvlan-multus", "kube-system", "0") * 5, "b.c", "A", "", "-a", "a-", "ä")
NUMBERS = ("0", "-0", "80", "1.5", "1e3", "-7", "1e999", "9223372036854775807", "9223372036854775808", "01")


def values(source: random.Random, count: int) -> Iterator[str]:
    """Return count values: the corpus, and then made-up values and the corpus's, mutated."""
    fixed = (*CORPUS, *DEEP, *(lengthened(value) for value in CORPUS if value.startswith("[{")))
    yield from fixed[:count]
    for number in range(count - len(fixed)):
        if number % 3:
            value = _list_form(source) if source.random() < 0.3 else _json_form(source)
            mutations = source.choice((0, 0, 0, 1, 2))
        else:
            value = source.choice(CORPUS)
            mutations = source.randint(1, 3)
        for _ in range(mutations):
            value = _mutated(source, value)
        if value.startswith("[{") and source.random() < 0.05:
            value = lengthened(value)
        yield value


def lengthened(value: str) -> str:
    """Put a field that Multus ignores into the first element, with more brackets than we recurse into."""
    rest = value.removeprefix("[{")
    comma = "" if rest.lstrip(" \t\n\r").startswith("}") else ","
    return f'[{{"long":[{"[]," * 200}[]]{comma}{rest}'


def _mutated(source: random.Random, value: str) -> str:
    start = source.randint(0, len(value))
    end = source.choice((start, start, min(len(value), start + 1), source.randint(start, len(value))))
    kind = source.randrange(5)
    if kind == 0:
        return value[:start] + value[end:]
    if kind == 1:
        return value[:start] + value[start:end] * 2 + value[end:]
    if kind == 2:
        other = source.choice(CORPUS)
        return value[:start] + other[source.randint(0, len(other)) :]
    if kind == 3:
        return value[:start] + value[start:end].swapcase() + value[end:]
    return value[:start] + source.choice(ALPHABET) + value[end:]


def _list_form(source: random.Random) -> str:
    return ",".join(_list_item(source) for _ in range(source.choice((1, 1, 2, 3))))


def _list_item(source: random.Random) -> str:
    item = source.choice(LISTED)
    if source.random() < 0.3:
        item = f"{source.choice(LISTED)}/{item}"
    if source.random() < 0.3:
        item = f"{item}@{source.choice(NAMES)}"
    space = source.choice(("", "", "", "", "", " ", "\t\n", "\xa0", "\x1c"))
    return f"{space}{item}{space}"


def _json_form(source: random.Random) -> str:
    return _space(source) + _list(_object(source, KEYS) for _ in range(source.choice((0, 1, 1, 1, 2, 3))))


def _object(source: random.Random, keys: tuple[str, ...]) -> str:
    pairs = []
    for _ in range(source.choice((0, 1, 2, 2, 3, 4))):
        key = source.choice(keys)
        value = _field(source, key) if source.random() < 0.9 else _any(source)
        if source.random() < 0.2:
            key = source.choice((key.upper(), key.title(), key.replace("s", "\u017f"), key.swapcase()))
        pairs.append(f"{_space(source)}{_quoted(source, key)}{_space(source)}:{_space(source)}{value}")
    return f"{{{','.join(pairs)}}}"


def _field(source: random.Random, key: str) -> str:
    """Make a value of the key's own type, mostly a legal one."""
    if source.random() < 0.1:
        return "null"
    made = {
        "ips": lambda: _strings(source, [_ip(source) + source.choice(PREFIXES) for _ in range(2)]),
        "default-route": lambda: _strings(source, [_ip(source) for _ in range(2)]),
        "mac": lambda: json.dumps(_mac(source)),
        "infiniband-guid": lambda: json.dumps(_mac(source)),
        "portMappings": lambda: _list(_object(source, INNER_KEYS) for _ in range(source.randint(0, 2))),
        "bandwidth": lambda: _object(source, INNER_KEYS),
        "cni-args": lambda: f'{{"a":{_any(source)}}}',
        **dict.fromkeys(INTEGERS, lambda: source.choice(NUMBERS)),
    }
    return made[key]() if key in made else _quoted(source, source.choice(NAMES))


def _list(items: Iterable[str]) -> str:
    return f"[{','.join(items)}]"


def _strings(source: random.Random, strings: list[str]) -> str:
    items = [json.dumps(string) if source.random() < 0.9 else "null" for string in strings]
    return _list(items[: source.randint(0, 2)])


def _any(source: random.Random, depth: int = 0) -> str:
    kinds = ["null", "true", "false", source.choice(NUMBERS), _quoted(source, source.choice(NAMES))]
    if depth < 3:
        inner = _list(_any(source, depth + 1) for _ in range(source.randint(0, 2)))
        kinds += [inner, f'{{"k":{_any(source, depth + 1)}}}']
    return source.choice(kinds)


def _ip(source: random.Random) -> str:
    if source.random() < 0.3:
        return source.choice(("10.0.0.1", "::", "::1", "fd00::1", "::ffff:10.0.0.1", "1:2:3:4:5:6:7:8"))
    if source.random() < 0.5:
        octets = (source.choice(("0", "1", "10", "99", "100", "249", "255")) for _ in range(4))
        address = ".".join(octets)
    else:
        groups = [source.choice(("0", "1", "fd00", "FFFF", "abc", "")) for _ in range(source.randint(1, 8))]
        groups += source.choice(([], [], ["1.2.3.4"], ["", ""]))
        address = source.choice(("", "", "::", ":")) + ":".join(groups)
    if source.random() < 0.2:
        at = source.randint(0, len(address))
        address = (
            address[:at] + source.choice((*".:%0g5", "::", "00000", "256", "ä", "٣")) + address[at + 1 :]
        )
    return address


def _mac(source: random.Random) -> str:
    octets = [source.choice(("00", "02", "ff", "Ab")) for _ in range(source.choice((6, 6, 6, 8, 20, 5, 7)))]
    size = source.choice((1, 1, 1, 2))
    groups = ["".join(octets[start : start + size]) for start in range(0, len(octets), size)]
    address = source.choice((":", "-", ".", "")).join(groups)
    if source.random() < 0.2:
        at = source.randint(0, len(address))
        address = address[:at] + source.choice((*":-.0gä", "")) + address[at + 1 :]
    return address


def _quoted(source: random.Random, text: str) -> str:
    """Write a JSON string, at times with each character escaped."""
    if source.random() < 0.9:
        return json.dumps(text, ensure_ascii=source.random() < 0.5)
    return '"' + "".join(f"\\u{ord(character):04x}" for character in text) + '"'


def _space(source: random.Random) -> str:
    return source.choice(("", "", "", "", "", " ", "\n\t\r", "\v" if source.random() < 0.02 else ""))
