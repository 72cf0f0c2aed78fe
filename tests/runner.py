"""All checks and tests side by side, as jobs: `python -m tests.runner [PYTEST-ARGUMENT…]`.

A job is a group of tests, a check, or the build of what tests need. Most wait more than they work, so six
run at a time, the long ones first, but no more than three that start nodes: those need most of two cores, and
some of their tests end at deadlines. Those that only compute run beside them, one on each core while nothing
else wants it: they take what CPU time is left, and delay nobody. Output goes to files in `.test-logs`. A
line is printed when a job ends, and the whole output of those that failed at the end.

With MULTUS_ENI_OTHER_PYTHON=3.13, as in CI, jobs with that Python are among them, see `make other-python`.
With MULTUS_ENI_RERUN_FAILED=1 failed tests run once more when all jobs have ended, one job at a
time, and then what needs them. Those that pass then are *unstable*: they are listed with the output of their
failure, and do not fail the run.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parents[1]
LOGS = ROOT / ".test-logs"
AT_ONCE = 6
COMPUTING, BOOTED = 2, 3
"""How many jobs that compute, one for each core, and that start nodes run at once."""
SLOWEST = 15
"""How many of the slowest tests are listed."""
IDLE = ("chrt", "--idle", "0")
"""Runs a job only while nothing else wants the core (SCHED_IDLE, sched(7)): the kernel takes such a core for
an idle one when another process wakes up."""
LEAST_WEIGHT = "19"
LAST_FAILED = ("--last-failed", "--last-failed-no-failures=none")
AGAIN = ", again"
"""What the name of a second try ends with."""
RERUN_FAILED = "MULTUS_ENI_RERUN_FAILED"
OTHER_PYTHON = "MULTUS_ENI_OTHER_PYTHON"
TESTS_FAILED, NO_TESTS = 1, 5
"""pytest's exit status where it has run all tests and some have failed, and where no test was chosen."""
_DURATION = re.compile(r"^(\d+\.\d+)s (call|setup|teardown) +(\S.*)$", re.MULTILINE)
_SUMMARY = re.compile(r"^=* ?(\d+ (?:passed|failed|skipped|error|deselected).*?) in [\d.]+s.*$", re.MULTILINE)


def ignoring(paths: str) -> str:
    """Return pytest's arguments that leave these paths out."""
    return " ".join(f"--ignore={path}" for path in shlex.split(paths))


_VENV = Path(sys.executable).parent
FAULTS = "tests/ipagent/e2e/test_faults.py tests/ipagent/e2e/test_imds_lag.py"
"""Where the agent waits for its own timeouts and deadlines most of the time."""
TRY_IT = "tests/cluster/nodes/test_try_it.py"
"""A walk on a cluster of its own."""
NODE_AGENT = "tests/cluster/nodes/test_story_capacity.py tests/cluster/nodes/test_story_node.py"
"""The stories of the backend node, on the cluster and with the release that all stories share."""
CENTRAL = "tests/cluster/nodes/test_story_central.py"
"""The same with the backend central, on a cluster whose nodes have no rights."""
NODE_NETWORKS = "tests/cluster/nodes/test_story_controller.py tests/cluster/nodes/test_story_prefixes.py"
"""The stories of node networks, each on a cluster of its own."""
OTHER_STORIES = f"{TRY_IT} {NODE_AGENT} {CENTRAL} {NODE_NETWORKS}"
RELEASES = "tests/chart/test_release.py tests/chart/test_controller_release.py tests/chart/test_versions.py"
"""Install, upgrade, rollback, uninstall by Helm, each on a real API server."""
OTHER_TARGETS = frozenset({"tests/tools_tests", "tests/arm64"})
"""What `make test-tools` and `make test-arm64` run: no job does."""
_LOOPS = "tests/ipagent/controller tests/ipagent/node"
PURE = {
    "pure, rest": f"tests {ignoring(_LOOPS)} --ignore=tests/tools_tests",
    "pure, loops": _LOOPS,
}
"""The halves of the pure layer, which take about as long as each other."""


@dataclass(frozen=True, slots=True)
class Job:
    """A command of its own; it starts when the jobs named in `after` have succeeded.

    With `selected`, a user's arguments choose among its tests, and it succeeds where they choose none. One
    that `computes` waits for nothing but the CPU, one that `boots` starts nodes. `rerun` is the command that
    runs what failed once more, where there is one.
    """

    name: str
    argv: tuple[str, ...]
    after: tuple[str, ...] = ()
    selected: bool = False
    computes: bool = False
    boots: bool = False
    rerun: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended: `cpu` are the CPU seconds of all its processes."""

    job: Job
    status: int
    seconds: float
    cpu: float
    log: str

    @property
    def failed(self) -> bool:
        """Whether something in it failed."""
        return self.status != 0 and not (self.job.selected and self.status == NO_TESTS)

    def line(self) -> str:
        """Write it as one line."""
        said = _SUMMARY.findall(self.log)
        verdict = "FAILED" if self.failed else "ok"
        found = f"  {said[-1]}" if said else ""
        return f"{verdict:6}  {self.job.name:13}  {self.seconds:5.0f} s, {self.cpu:5.0f} s of CPU{found}"


def python(*arguments: str) -> tuple[str, ...]:
    """Return a command that this Python runs."""
    return (sys.executable, "-m", *arguments)


def remembering(name: str) -> tuple[str, ...]:
    """Return pytest's options for a job that remembers what failed, and lists what was slow."""
    return ("-o", f"cache_dir={LOGS / 'failed' / name.replace(' ', '-')}", f"--durations={SLOWEST}")


def group(
    name: str, paths: str, arguments: Sequence[str], after: tuple[str, ...] = (), *, boots: bool = False
) -> Job:
    """Make a job of the tests below some paths, but for the pure layer's; `arguments` are a user's."""
    argv = python("pytest", *remembering(name), "-m", "not pure", *shlex.split(paths), *arguments)
    return Job(name, argv, after, selected=bool(arguments), boots=boots, rerun=(*argv, *LAST_FAILED))


def pure(name: str, paths: str, arguments: Sequence[str]) -> Job:
    """Make a job of the pure layer's tests below some paths, with their coverage."""
    chosen = (*remembering(name), *shlex.split(paths), *arguments)
    argv = ("scripts/pure-coverage.sh", "run", name.replace(" ", "-"), *chosen)
    # Not by the script, which would count as covered what these few cover alone.
    again = python("pytest", "-m", "pure", *chosen, *LAST_FAILED)
    return Job(name, argv, selected=bool(arguments), computes=True, rerun=again)


def covered(arguments: Sequence[str]) -> list[Job]:
    """Return the job that looks at the pure layer's coverage: a user's choice of tests has a part of it."""
    report = Job("coverage", ("scripts/pure-coverage.sh", "report"), after=tuple(PURE), computes=True)
    return [] if arguments else [report]


def other_python(version: str) -> list[Job]:
    """Return the jobs with another Python."""
    script, made = ("scripts/other-python.sh", version), f"Python {version}"
    started = f"{version}, started"
    argv = (*script, "started", *remembering(started))
    product = f"{version}, pure"
    tests = (*script, "pure", *remembering(product))
    return [
        Job(made, (*script, "setup"), computes=True),
        Job(started, argv, after=(made,), rerun=(*argv, *LAST_FAILED)),
        Job(product, tests, after=(made,), computes=True, rerun=(*tests, *LAST_FAILED)),
    ]


def jobs(arguments: Sequence[str] = (), version: str = "") -> list[Job]:
    """Return all jobs, the longest first: by measured time, see docs/testing.md.

    `arguments` are pytest's. `version` is that of another Python, beside which nothing is to be chosen.
    """
    plane, image = ("tools",), ("tools", "images")
    others = other_python(version) if version and not arguments else []
    longer = [
        Job("tools", python("tests.cluster.tools", "--optional")),
        Job("images", python("images", "cached", "--optional")),
        # What others wait for is made first.
        *others[:1],
        group("nodes", f"tests/cluster/nodes {ignoring(OTHER_STORIES)}", arguments, after=image, boots=True),
        group("node agent", NODE_AGENT, arguments, after=image, boots=True),
        group("central", CENTRAL, arguments, after=image, boots=True),
        group("node networks", NODE_NETWORKS, arguments, after=image, boots=True),
        group("try it", TRY_IT, arguments, after=image, boots=True),
        *(pure(name, paths, arguments) for name, paths in PURE.items()),
        group("control plane", "tests/cluster --ignore=tests/cluster/nodes", arguments, after=plane),
        group("chart", f"tests/chart {ignoring(RELEASES)}", arguments, after=plane),
        group("agent, faults", FAULTS, arguments),
        # They need no tools, but where these are there at once, longer jobs go first.
        group("agent, e2e", f"tests/ipagent/e2e {ignoring(FAULTS)}", arguments, after=plane),
        group("chart, releases", RELEASES, arguments, after=plane),
        group("agent", "tests/ipagent --ignore=tests/ipagent/e2e", arguments, after=plane),
        *others[1:],
    ]
    shorter = [
        group("built images", "tests/images", arguments, after=image),
        group("double", "tests/doubles_tests", arguments, after=plane),
    ]
    rest = group("rest", " ".join(remaining([*longer, *shorter])), arguments, after=plane)
    return [
        *longer,
        rest,
        *shorter,
        *covered(arguments),
        Job("types", python("tests.typecheck"), computes=True),
        Job("lint", ("bash", "-c", f"{_VENV}/ruff check . && {_VENV}/ruff format --check ."), computes=True),
        Job("imports", (f"{_VENV}/lint-imports",), computes=True),
    ]


def remaining(others: Iterable[Job], root: Path = ROOT) -> list[str]:
    """Return what below tests/ has tests and is in no other job, nor in another target."""
    taken = {word for job in others for word in job.argv} | OTHER_TARGETS
    found = {path.relative_to(root).parts[:2] for path in root.glob("tests/**/test_*.py")}
    return [path for path in sorted("/".join(parts) for parts in found) if path not in taken]


def startable(
    waiting: Sequence[Job], done: Collection[str], running: Collection[Job], at_once: int
) -> Job | None:
    """Return the job that starts next: the first whose needs are met, None where none may start now.

    Places are kept for those that start nodes, which take longest, while any of them waits.
    """
    computing = sum(job.computes for job in running)
    booted = sum(job.boots for job in running)
    kept = BOOTED - booted if any(job.boots for job in waiting) else 0

    def may(job: Job) -> bool:
        if job.computes:
            return computing < COMPUTING
        free = at_once - (len(running) - computing)
        return free > 0 and booted < BOOTED if job.boots else free > kept

    return next((job for job in waiting if may(job) and set(job.after) <= set(done)), None)


@dataclass(frozen=True, slots=True)
class Running:
    """A job that runs; `began` is monotonic, `cpu` the core of one that computes."""

    job: Job
    process: subprocess.Popen[bytes]
    began: float
    cpu: int | None = None


class Runner:
    """Runs jobs, `at_once` of them at a time and those that compute, each as a process group of its own."""

    def __init__(
        self, logs: Path = LOGS, at_once: int = AT_ONCE, env: Mapping[str, str] = os.environ
    ) -> None:
        self._logs = logs
        self._at_once = at_once
        # Otherwise every job rewrites the assertions of its tests anew, which takes longer than many of them.
        self._env = {name: value for name, value in env.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._running: dict[int, Running] = {}

    def run(self, all_jobs: Sequence[Job]) -> list[Ended]:
        """Run all; those whose needs failed are left out. Prints a line when one has ended."""
        self._logs.mkdir(exist_ok=True)
        waiting, ended = list(all_jobs), list[Ended]()
        # The jobs end with it however it ends, since they are in sessions of their own.
        before = signal.signal(signal.SIGTERM, _exit)
        try:
            while waiting or self._running:
                done = {each.job.name for each in ended if not each.failed}
                while job := startable(waiting, done, self._jobs(), self._at_once):
                    waiting.remove(job)
                    self._start(job)
                if not self._running:
                    break
                ended.append(self._wait())
                print(ended[-1].line(), flush=True)
        finally:
            self._stop()
            signal.signal(signal.SIGTERM, before)
        return ended

    def log(self, job: Job) -> Path:
        """Return the file with what a job prints."""
        return self._logs / f"{job.name.replace(' ', '-')}.log"

    def _jobs(self) -> list[Job]:
        return [each.job for each in self._running.values()]

    def _start(self, job: Job) -> None:
        cpu = self._free_cpu() if job.computes else None
        # On a core of its own: two of them stay on one core while gaps of the other one pass, which are too
        # short for the kernel to move anything.
        alone = () if cpu is None else (*IDLE, "taskset", "--cpu-list", str(cpu))
        with self.log(job).open("wb") as log:
            process = subprocess.Popen(
                (*alone, *job.argv),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )
        if job.computes:
            _lower_weight_of_session(process.pid)
        self._running[process.pid] = Running(job, process, time.monotonic(), cpu)

    def _free_cpu(self) -> int:
        """Return the core with the fewest jobs that compute."""
        taken = [each.cpu for each in self._running.values()]
        return min(sorted(os.sched_getaffinity(0)), key=taken.count)

    def _wait(self) -> Ended:
        # Not Popen.wait: wait4 returns the CPU time, too, also of all descendants that were waited for.
        pid, status, used = os.wait4(-1, 0)
        found = self._running.pop(pid)
        found.process.returncode = os.waitstatus_to_exitcode(status)
        seconds, cpu = time.monotonic() - found.began, used.ru_utime + used.ru_stime
        log = self.log(found.job).read_text(encoding="utf-8", errors="replace")
        return Ended(found.job, found.process.returncode, seconds, cpu, log)

    def _stop(self) -> None:
        for each in self._running.values():
            os.killpg(each.process.pid, signal.SIGINT)
        for each in self._running.values():
            each.process.wait()


def _lower_weight_of_session(leader: int) -> None:
    # Where each session has an autogroup, a policy counts within it alone (sched(7)).
    with suppress(OSError):
        Path(f"/proc/{leader}/autogroup").write_text(LEAST_WEIGHT, encoding="ascii")


def _exit(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def slowest(ended: Iterable[Ended]) -> list[str]:
    """Return the slowest tests of all jobs, a line each."""
    found = [
        (float(seconds), f"{what:8} {test}")
        for each in ended
        for seconds, what, test in _DURATION.findall(each.log)
    ]
    return [f"{seconds:7.1f} s  {test}" for seconds, test in sorted(found, reverse=True)[:SLOWEST]]


def rerun(all_jobs: Iterable[Job], ended: Collection[Ended]) -> list[Job]:
    """Return the jobs that run the tests that have failed once more, and those left out that need them.

    Where pytest has not come to its end (a file that can't be imported, a signal), some have not run at all.
    """
    failed = [each.job for each in ended if each.status == TESTS_FAILED and each.job.rerun]
    again = {job.name: f"{job.name}{AGAIN}" for job in failed}
    good = {each.job.name for each in ended if not each.failed}
    run = {each.job.name for each in ended}
    return [
        *(
            replace(job, name=again[job.name], argv=job.rerun, after=(), selected=False, computes=False)
            for job in failed
        ),
        *(
            replace(job, after=tuple(again.get(name, name) for name in job.after if name not in good))
            for job in all_jobs
            if job.name not in run and set(job.after) <= good | again.keys()
        ),
    ]


def report(all_jobs: Sequence[Job], ended: Sequence[Ended], again: Sequence[Ended] = ()) -> int:
    """Print what was slow, unstable and failed; returns 0 where all jobs succeeded, or their reruns."""
    print(f"\nthe slowest tests, in seconds on the clock:\n{os.linesep.join(slowest(ended))}")
    stable = {each.job.name.removesuffix(AGAIN) for each in again if not each.failed}
    late = [each for each in again if not each.job.name.endswith(AGAIN)]
    failed = [each for each in (*ended, *late) if each.failed]
    for each in failed:
        unstable = ", unstable: what failed has passed alone" if each.job.name in stable else ""
        print(f"\n==== {each.job.name}{unstable} ====\n{each.log}")
    run = {each.job.name for each in (*ended, *again)}
    left_out = [job.name for job in all_jobs if job.name not in run]
    print(f"\n{os.linesep.join(each.line() for each in (*ended, *again))}")
    if left_out:
        print(f"not run, since what they need failed: {', '.join(left_out)}")
    return 1 if left_out or any(each.job.name not in stable for each in failed) else 0


def main(arguments: Sequence[str]) -> int:
    """Return the exit status."""
    found = jobs(arguments, os.environ.get(OTHER_PYTHON, ""))
    print(
        f"{len(found)} jobs, {AT_ONCE} at a time and {COMPUTING} that compute; "
        f"their output is in {LOGS.relative_to(ROOT)}/",
        flush=True,
    )
    ended = Runner().run(found)
    again = rerun(found, ended) if os.environ.get(RERUN_FAILED) else []
    return report(found, ended, Runner(at_once=1).run(again))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
