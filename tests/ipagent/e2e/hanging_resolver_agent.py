"""`ipagent` where name servers are silent: `python -m tests.ipagent.e2e.hanging_resolver_agent init`.

Looking up a name never ends, and as one call of C it hears no signal; numeric addresses need no look-up.
"""

import ctypes
import socket
from ipaddress import ip_address
from typing import Any

from ipagent.cli import main

_getaddrinfo = socket.getaddrinfo
# A pthread_mutex_t of zeros is unlocked, on every architecture of Linux; locked twice it waits for ever.
_mutex = ctypes.create_string_buffer(64)
_libc = ctypes.CDLL(None)


def _stuck(host: str | bytes, *arguments: Any, **named: Any) -> Any:
    try:
        ip_address(host.decode() if isinstance(host, bytes) else host)
    except ValueError:
        while True:
            _libc.pthread_mutex_lock(_mutex)
    return _getaddrinfo(host, *arguments, **named)


socket.getaddrinfo = _stuck  # type: ignore[assignment] # all arguments are passed on

if __name__ == "__main__":
    main()
