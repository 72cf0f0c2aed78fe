"""The exit codes of ipagent: docs/agent.md says what each means and what to do."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Why an agent ended. 0 only if every address is assigned."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    NO_IMDS = 10
    NO_CREDENTIALS = 11
    NO_PERMISSION = 12
    NO_ENI = 13
    ENI_FULL = 14
    HELD_ELSEWHERE = 15
    ADDRESS_REFUSED = 16
    DEADLINE = 17
    EC2_UNREACHABLE = 18
    NODE_AGENT_UNREACHABLE = 19
    NOT_GRANTED = 20
