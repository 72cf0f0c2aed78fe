"""Which resources a Describe call means: by identifiers, by filters, page by page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from tests.doubles.ec2 import errors
from tests.doubles.ec2.query_protocol import Parameters, Structure
from tests.doubles.state.model import World


class Resource(Protocol):
    """What every described resource has."""

    @property
    def id(self) -> str: ...

    @property
    def tags(self) -> Mapping[str, str]: ...


R = TypeVar("R", bound=Resource)


@dataclass(frozen=True)
class Kind(Generic[R]):
    """One kind of resource: where it is kept, how it is asked for, and how it is shown.

    `ids_parameter` is None where nothing is asked for by identifier. `filters` are name -> the values that a
    resource has under it; the filters on tags are common to all that have tags.
    """

    ids_parameter: str | None
    everything: Callable[[World], Mapping[str, R]]
    require: Callable[[World, str], R]
    filters: Mapping[str, Callable[[World, R], Iterable[object]]]
    show: Callable[[World, R], Structure]
    largest_page: int = 1000
    tagged: bool = True


def describe(kind: Kind[R], world: World, parameters: Parameters) -> tuple[list[Structure], str | None]:
    """Return the structures that a Describe call asks for, and the token for the next page.

    Raises `Ec2Error` for unknown identifiers and filters, and for the wrong use of pages; with DryRun always.
    """
    identifiers = parameters.listing(kind.ids_parameter) if kind.ids_parameter else ()
    filters = parameters.filters()
    page_size = _page_size(parameters, kind.largest_page)
    token = parameters.take("NextToken")
    dry_run = parameters.flag("DryRun")
    parameters.finish()
    if dry_run:
        raise errors.dry_run()
    if identifiers and page_size is not None:
        raise errors.excluding_parameters(kind.ids_parameter or "", "MaxResults")
    if identifiers:
        wanted = list({identifier: kind.require(world, identifier) for identifier in identifiers}.values())
    else:
        wanted = list(kind.everything(world).values())
    for name, patterns in filters:
        values = _values_of(kind, name)
        matches = _matcher(patterns)
        wanted = [item for item in wanted if any(matches(_text(value)) for value in values(world, item))]
    seal = _seal(kind.ids_parameter, filters)
    if token is not None:
        wanted = _after(_open_token(token, seal), wanted, kind.everything(world))
    page, following = _page(wanted, page_size, seal)
    return [kind.show(world, item) for item in page], following


def _values_of(kind: Kind[R], name: str) -> Callable[[World, R], Iterable[object]]:
    if name in kind.filters:
        return kind.filters[name]
    if not kind.tagged:
        raise errors.invalid_filter(name)
    if name == "tag-key":
        return lambda _, item: item.tags
    if name == "tag-value":
        return lambda _, item: item.tags.values()
    if name.startswith("tag:"):
        key = name.removeprefix("tag:")
        return lambda _, item: [item.tags[key]] if key in item.tags else []
    raise errors.invalid_filter(name)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Filter values know * and ?, and a backslash before them ("Wildcards", EC2 user guide)."""
    wildcards = {"*": ".*", "?": "."}
    alternatives = []
    for pattern in patterns:
        parts = re.findall(r"\\.|.", pattern, re.DOTALL)
        alternatives.append(
            "".join(wildcards.get(part) or re.escape(part[-1] if len(part) > 1 else part) for part in parts)
        )
    compiled = re.compile("|".join(alternatives) if alternatives else r"(?!)", re.DOTALL)
    return lambda value: compiled.fullmatch(value) is not None


def _page_size(parameters: Parameters, largest: int) -> int | None:
    size = parameters.number("MaxResults")
    if size is not None and size < 5:
        raise errors.invalid_value(size, "maxResults", "Expecting a value greater than 5.")
    if size is not None and size > largest:
        raise errors.invalid_value(size, "maxResults", f"Expecting a value less than {largest}.")
    return size


def _after(last: object, wanted: list[R], everything: Mapping[str, R]) -> list[R]:
    # A page ends with a resource, not with a number: between two pages others may begin or cease to match.
    order = list(everything)
    if last not in order:
        raise errors.invalid_next_token()
    following = set(order[order.index(str(last)) + 1 :])
    return [item for item in wanted if item.id in following]


def _page(wanted: list[R], size: int | None, seal: str) -> tuple[list[R], str | None]:
    if size is None or len(wanted) <= size:
        return wanted, None
    page = wanted[:size]
    following = json.dumps({"after": page[-1].id, "of": seal})
    return page, base64.urlsafe_b64encode(following.encode()).decode()


def _open_token(token: str, seal: str) -> object:
    try:
        content = json.loads(base64.urlsafe_b64decode(token.encode()))
    except ValueError:
        raise errors.invalid_next_token() from None
    if not isinstance(content, dict) or content.get("of") != seal:
        raise errors.invalid_next_token()
    return content.get("after")


def _seal(*selection: object) -> str:
    return hashlib.sha256(json.dumps(selection).encode()).hexdigest()[:16]
