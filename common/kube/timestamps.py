"""Times as the API server writes them (metav1.Time)."""

from __future__ import annotations

import time


def timestamp(seconds: float | None = None) -> str:
    """Return a time of day in RFC 3339, UTC, in whole seconds: `seconds` since 1970, or now."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
