"""What people do next where the API server refuses what the rotation wants."""

from __future__ import annotations

REMEDIES = {
    401: "the token was not accepted: is the ServiceAccount there, and its token mounted?",
    403: "grant the ServiceAccount what docs/certificates.md lists under Rights",
    413: "the object is too large: remove what does not belong into it",
    422: "if the Secret is immutable, or holds what is not ours, delete it: it is made again",
}
"""By HTTP code."""
