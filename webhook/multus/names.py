"""Names and addresses in the networks annotation: the list form, and what Go, CNI and Kubernetes accept.

Sources: multus-cni pkg/k8sclient/k8sclient.go (`parsePodNetworkObjectName`); CNI pkg/utils/utils.go
(`ValidateInterfaceName`); net of Go 1.26; Kubernetes documentation, "Object Names and IDs". Checked against
multus-cni 4.3.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address

GO_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""White space by Go's unicode.IsSpace; Python's str.strip() also strips U+001C to U+001F."""

INTERFACES_OF_EVERY_POD = ("lo", "eth0")
"""Names that no Multus network can have."""

MAX_INTERFACE_BYTES = 15
"""IFNAMSIZ - 1 of linux/if.h."""

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(?:\.{_LABEL.pattern})*")
_MAX_LABEL = 63
_MAX_SUBDOMAIN = 253

_NOT_IN_INTERFACE = re.compile(f"[/:\0{GO_SPACE}]")
_NOT_IN_LISTED_INTERFACE = re.compile(r"[ \t\n\v\f\r/]")

_HEX = "[0-9a-fA-F]"
_MAC = re.compile(
    rf"{_HEX}{{2}}([:-]){_HEX}{{2}}(?:\1{_HEX}{{2}}){{4}}(?:(?:\1{_HEX}{{2}}){{2}}(?:(?:\1{_HEX}{{2}}){{12}})?)?"
    rf"|{_HEX}{{4}}(?:\.{_HEX}{{4}}){{2}}(?:\.{_HEX}{{4}}(?:(?:\.{_HEX}{{4}}){{6}})?)?"
    rf"|{_HEX}{{12}}(?:{_HEX}{{4}}(?:{_HEX}{{24}})?)?"
)
"""6, 8 or 20 octets in each of ParseMAC's notations."""
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_PREFIX = re.compile("0*([0-9]{1,3})")

FORM = "an element is [namespace/]name[@interface]"
_MAX_QUOTE = 40


class Refused(ValueError):
    """Multus will refuse a value. The text names the part and the rule that it breaks."""


def quote(text: str) -> str:
    """Quote text for a message: at most about 40 characters, control characters escaped."""
    shown = repr(text[: _MAX_QUOTE + 1])
    return shown if len(shown) <= _MAX_QUOTE + 2 else f"{shown[:_MAX_QUOTE]}…{shown[0]}"


def read_list_item(item: str) -> tuple[str, str, str]:
    """Parse one element of the list form into namespace, name and interface; a missing part is empty.

    Raises Refused. An empty name passes here, as it passes Multus's parser.
    """
    item = item.strip(GO_SPACE)
    namespace, slash, rest = item.partition("/")
    if not slash:
        namespace, rest = "", item
    name, _, interface = rest.partition("@")
    if "/" in rest or "@" in interface:
        raise Refused(f"{quote(item)} has more than one {'/' if '/' in rest else '@'} ({FORM})")
    namespace, name, interface = namespace.strip(GO_SPACE), name.strip(GO_SPACE), interface.strip(GO_SPACE)
    for part in (namespace, name):
        if part and not _LABEL.fullmatch(part):
            raise Refused(f"{quote(part)} is not a name: lower case letters, digits and inner '-' ({FORM})")
    if interface and (_too_long(interface) or _NOT_IN_LISTED_INTERFACE.search(interface)):
        raise Refused(f"interface name {quote(interface)}: at most {MAX_INTERFACE_BYTES} bytes, no space")
    return namespace, name, interface


def is_hardware_address(text: str) -> bool:
    """Return whether Go's net.ParseMAC accepts this."""
    return _MAC.fullmatch(text) is not None


def is_ip(text: str) -> bool:
    """Return whether Go's net.ParseIP accepts this."""
    if _IPV4.fullmatch(text):
        return True
    if ":" not in text or "%" in text:
        return False
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def is_ip_or_cidr(text: str) -> bool:
    """Return whether Go's net.ParseIP, or with a slash net.ParseCIDR, accepts this."""
    address, slash, prefix = text.partition("/")
    if not slash:
        return is_ip(text)
    # Any number of leading zeros is legal: Go reads the prefix digit by digit.
    length = _PREFIX.fullmatch(prefix)
    return length is not None and is_ip(address) and int(length[1]) <= (128 if ":" in address else 32)


def is_object_name(text: str) -> bool:
    """Return whether this can name a NetworkAttachmentDefinition (a DNS subdomain)."""
    return len(text) <= _MAX_SUBDOMAIN and _SUBDOMAIN.fullmatch(text) is not None


def is_namespace(text: str) -> bool:
    """Return whether this can name a namespace (a DNS label)."""
    return len(text) <= _MAX_LABEL and _LABEL.fullmatch(text) is not None


def is_interface(text: str) -> bool:
    """Return whether CNI accepts this interface name (`ValidateInterfaceName`; NUL cannot reach a plugin)."""
    return not (_too_long(text) or text in ("", ".", "..") or _NOT_IN_INTERFACE.search(text))


def _too_long(interface: str) -> bool:
    return len(interface.encode()) > MAX_INTERFACE_BYTES
