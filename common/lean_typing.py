"""`Protocol`, `Generic` and the like for modules that every container of the agent imports.

The import of `typing` would be a twentieth of what a container with the backend `direct` executes until EC2
answers. Type checkers see `typing`'s own; at run time protocols are plain classes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Generic, Protocol, TypeVar, cast

    __all__ = ["Generic", "Protocol", "TypeVar", "cast"]
else:

    class Protocol:
        """The base of what callers need of an object."""

    class Generic:
        """The base of a class that takes types as parameters, which it does not keep."""

        def __class_getitem__(cls, _):
            return cls

    def TypeVar(name, **_):  # noqa: N802 - typing's name
        """Return what stands for a type."""
        return name

    def cast(_, value):
        """Return the value, which type checkers take for one of the type."""
        return value
