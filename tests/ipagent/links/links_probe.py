"""A LinkSetter over the real kernel, asked from another process.

A line on stdin is a list of `WantedLink` as JSON, or `wait` for the next change; a line of JSON on stdout is
its answer.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time

from ipagent.links.apply import LinkSetter
from ipagent.links.kernel import DeviceSocket
from ipagent.links.plan import WantedLink
from ipagent.log import Log


def main() -> None:
    """Answer until stdin ends."""
    never, write = os.pipe()
    with DeviceSocket() as kernel:
        setter = LinkSetter(kernel, time.monotonic, Log())
        for line in sys.stdin:
            if line.strip() == "wait":
                answer: object = kernel.wait(20, never)
            else:
                kernel.drain()
                statuses = setter.apply([WantedLink(**each) for each in json.loads(line)])
                answer = {
                    "statuses": [dataclasses.asdict(each) for each in statuses],
                    "devices": [dataclasses.asdict(each) for each in kernel.devices()],
                }
            print(json.dumps(answer), flush=True)
    os.close(never)
    os.close(write)


if __name__ == "__main__":
    main()
