"""A pool of prefixes, its addresses, and the interface that it is on."""

from __future__ import annotations

from ipagent.links.plan import LinkStatus
from ipagent.links.pool import Pool

MAC = "02:aa:00:00:00:01"
UP = LinkStatus(MAC, "ens6", up=True, mtu=9001)
V4, V4B, V6 = "10.10.1.16/28", "10.10.1.64/28", "2001:db8:10:1:7::/80"
POOL = Pool("oam", (4,), cidrs=("10.10.1.0/24", "2001:db8:10:1::/64"), active=(V4,), known=(V4,))
LONE = ("10.10.1.7/32", "10.10.1.8/32", "10.10.1.200/32", "2001:db8:10:1::77/128")
