"""Run commands in turns and say what each took: `python -S -m benchmarks.agent.spawn`, the job on stdin.

The job is a JSON object: `turns`, and `commands` by name, each with `argv`, `env` and the file for its
standard error. The answer is one JSON line a run: name, exit code, wall and CPU seconds, peak RSS in bytes.

A process of its own, small, since Linux counts the memory of the one that starts a program into that
program's ru_maxrss: what is below 11 MB can't be told from this one.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    """Run the job."""
    job = json.load(sys.stdin)
    for _ in range(job["turns"]):
        for name, command in job["commands"].items():
            print(json.dumps({"name": name, **_run(**command)}), flush=True)


def _run(argv: list[str], env: dict[str, str], errors: str) -> dict[str, float]:
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, write, 0o666),
        (os.POSIX_SPAWN_OPEN, 2, errors, write, 0o666),
    ]
    begun = time.monotonic()
    pid = os.posix_spawn(argv[0], argv, env, file_actions=actions)
    _, status, used = os.wait4(pid, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - begun,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss * 1024,
    }


if __name__ == "__main__":
    main()
