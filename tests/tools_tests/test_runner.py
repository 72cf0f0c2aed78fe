"""The runner of `make test`: what starts when, what is said at the end, and the exit status."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from pathlib import Path

import pytest

from tests import runner
from tests.cluster.waiting import wait_for
from tests.runner import Ended, Job, Runner, report, startable

PYTEST = """\
============================= slowest 15 durations =============================
12.50s call     tests/test_a.py::test_slow
0.25s setup    tests/test_a.py::test_quick
===================== 1 failed, 7 passed in 13.20s (0:00:13) ====================
"""


def job(name: str, code: str = "", after: tuple[str, ...] = ()) -> Job:
    return Job(name, (sys.executable, "-I", "-S", "-c", code), after)


def test_a_job_starts_when_what_it_needs_has_succeeded_and_a_place_is_free() -> None:
    one, two, other = job("one", after=("build",)), job("two"), job("other")
    assert startable([one, two], [], [], 2) == two
    assert startable([one, two], ["build"], [other], 2) == one
    assert startable([one, two], ["build"], [other, other], 2) is None
    assert startable([one], [], [], 2) is None


def test_a_job_that_computes_for_each_core_runs_beside_those_that_wait() -> None:
    waits, computes = job("waits"), Job("computes", (), computes=True)
    full = [computes] * runner.COMPUTING
    assert startable([waits, computes], [], [waits, waits], 2) == computes
    assert startable([computes, waits], [], full, 2) == waits
    assert startable([computes], [], full, 2) is None


def test_no_more_jobs_start_nodes_than_may() -> None:
    boots, other = Job("boots", (), boots=True), job("other")
    assert startable([boots, other], [], [other, boots], 6) == boots
    assert startable([boots, other], [], [boots] * runner.BOOTED, 6) == other
    assert startable([boots], [], [boots] * runner.BOOTED, 6) is None


def test_places_are_kept_for_jobs_that_start_nodes_until_what_they_need_is_there() -> None:
    boots, other = Job("boots", (), after=("images",), boots=True), job("other")
    free = 6 - runner.BOOTED
    assert startable([boots, other], [], [other] * (free - 1), 6) == other
    assert startable([boots, other], [], [other] * free, 6) is None
    assert startable([boots, other], ["images"], [other] * free, 6) == boots
    assert startable([other], ["images"], [*[other] * free, boots], 6) == other
    assert startable([boots, other], ["images"], [], 1) == boots


def test_jobs_that_compute_run_on_a_core_each_while_nothing_else_wants_it(tmp_path: Path) -> None:
    said = "import os; print(os.sched_getscheduler(0) == os.SCHED_IDLE, len(os.sched_getaffinity(0)))"
    code = (sys.executable, "-I", "-S", "-c", said)
    found = Runner(tmp_path).run([Job("waits", code), Job("computes", code, computes=True)])
    cores = len(os.sched_getaffinity(0))
    idle = os.sched_getscheduler(0) == os.SCHED_IDLE
    assert {each.job.name: each.log for each in found} == {
        "waits": f"{idle} {cores}\n",
        "computes": "True 1\n",
    }


def test_two_jobs_that_compute_share_no_core_where_there_are_two(tmp_path: Path) -> None:
    said = "import os; print(*os.sched_getaffinity(0))"
    marker = tmp_path / "both"
    # Each waits until the other one is there.
    code = f"{said}; open({str(marker)!r}, 'a').write('x')\nwhile len(open({str(marker)!r}).read()) < 2: pass"
    argv = (sys.executable, "-I", "-S", "-c", code)
    found = Runner(tmp_path).run([Job(name, argv, computes=True) for name in ("one", "two")])
    assert len({each.log for each in found}) == min(2, len(os.sched_getaffinity(0)))


AUTOGROUP = Path("/proc/self/autogroup")


@pytest.mark.skipif(  # noqa: TID251 - such a kernel does not need what is tested
    not AUTOGROUP.exists(), reason="this kernel groups no sessions (CONFIG_SCHED_AUTOGROUP)"
)
def test_so_has_its_session_where_the_kernel_shares_the_cpu_among_sessions(tmp_path: Path) -> None:
    # Set once the job has begun.
    code = f"while not open({str(AUTOGROUP)!r}).read().endswith(' nice 19\\n'): pass"
    (ended,) = Runner(tmp_path).run(
        [Job("computes", (sys.executable, "-I", "-S", "-c", code), computes=True)]
    )
    assert not ended.failed


def test_every_job_runs_once_after_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marker = tmp_path / "built"
    build = job("build", f"open({str(marker)!r}, 'x')")
    using = job("using", f"import os, sys; sys.exit(not os.path.exists({str(marker)!r}))", after=("build",))
    found = Runner(tmp_path / "logs", at_once=2).run([using, build, job("other", "print('said')")])
    assert sorted(each.job.name for each in found) == ["build", "other", "using"]
    assert [each.failed for each in found] == [False] * 3
    assert next(each.log for each in found if each.job.name == "other") == "said\n"
    assert report([using, build], found) == 0
    assert "FAILED" not in capsys.readouterr().out


def test_what_failed_is_shown_last_and_what_needs_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = job("broken", "import sys; print('the reason'); sys.exit(3)")
    jobs = [broken, job("good", "print('all is well')"), job("needs it", after=("broken",))]
    found = Runner(tmp_path, at_once=1).run(jobs)
    assert report(jobs, found) == 1
    out = capsys.readouterr().out
    shown = out[out.index("==== broken ====") :]
    assert "the reason" in shown
    assert "FAILED  broken" in shown
    assert "not run, since what they need failed: needs it" in shown
    assert "all is well" not in out


UNSTABLE = """
import os
import re
def test_good():
    pass
def test_unstable():
    assert os.path.exists(MARKER)
"""


@pytest.mark.parametrize("passes_alone", [True, False])
def test_what_failed_runs_once_more_then_what_needs_it_and_is_told_where_it_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, passes_alone: bool
) -> None:
    monkeypatch.setattr(runner, "LOGS", tmp_path)
    marker = tmp_path / "calm"
    (tmp_path / "test_it.py").write_text(UNSTABLE.replace("MARKER", repr(str(marker))))
    tools = job("tools")
    tests = runner.group("tests", f"{tmp_path / 'test_it.py'}", [], after=("tools",))
    jobs = [tools, tests, job("coverage", "print('measured')", after=("tools", "tests"))]
    ended = Runner(tmp_path).run(jobs)
    assert [each.job.name for each in ended] == ["tools", "tests"]
    assert ended[1].line().endswith("1 failed, 1 passed")
    if passes_alone:
        marker.touch()
    again = Runner(tmp_path, at_once=1).run(runner.rerun(jobs, ended))
    assert [each.job.name for each in again] == ["tests, again", *(["coverage"] if passes_alone else [])]
    assert report(jobs, ended, again) == (0 if passes_alone else 1)
    out = capsys.readouterr().out
    assert ("not run, since what they need failed: coverage" in out) is not passes_alone
    assert ("==== tests, unstable: what failed has passed alone ====" in out) is passes_alone
    assert "assert os.path.exists" in out
    assert ("1 passed" if passes_alone else "1 failed") in again[0].line()


def test_what_has_not_failed_or_is_not_pytests_does_not_run_again() -> None:
    lint, tests = Job("lint", ("ruff",)), runner.group("tests", "tests", [])
    ended = [Ended(lint, 1, 1.0, 1.0, ""), Ended(tests, 0, 1.0, 1.0, "")]
    assert runner.rerun([lint, tests], ended) == []


def test_what_was_left_out_and_fails_in_the_end_fails_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = Job("tests", (), rerun=(sys.executable, "-c", ""))
    needs = job("coverage", "import sys; print('too little'); sys.exit(2)", after=("tests",))
    ended = [Ended(failed, runner.TESTS_FAILED, 1.0, 1.0, "")]
    again = Runner(tmp_path).run(runner.rerun([failed, needs], ended))
    assert report([failed, needs], ended, again) == 1
    assert "==== coverage ====\ntoo little" in capsys.readouterr().out


@pytest.mark.parametrize("name", [*runner.PURE, "3.13, pure"])
def test_a_job_of_the_pure_layer_remembers_what_failed(name: str) -> None:
    (job,) = (each for each in runner.jobs(version="3.13") if each.name == name)
    (option,) = (word for word in job.argv if word.startswith("cache_dir="))
    assert option in job.rerun
    assert set(runner.LAST_FAILED) < set(job.rerun)
    assert "scripts/pure-coverage.sh" not in job.rerun


def test_what_can_not_run_keeps_no_place_from_what_runs_again() -> None:
    built, flaky = Job("images", ()), Job("agent", (), rerun=("pytest",))
    boots = Job("nodes", (), after=("images",), boots=True)
    ended = [Ended(built, 2, 1.0, 1.0, ""), Ended(flaky, runner.TESTS_FAILED, 1.0, 1.0, "")]
    again = runner.rerun([built, flaky, boots], ended)
    assert [each.name for each in again] == ["agent, again"]
    assert startable(again, [], [], 1) == again[0]


def test_what_has_not_run_to_its_end_does_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file that can't be imported pytest remembers that file, and runs no other."""
    monkeypatch.setattr(runner, "LOGS", tmp_path)
    (tmp_path / "test_broken.py").write_text("assert False\n")
    (tmp_path / "test_never_run.py").write_text("def test_two(): assert False\n")
    (ended,) = Runner(tmp_path).run([runner.group("tests", str(tmp_path), [])])
    assert ended.failed
    assert runner.rerun([ended.job], [ended]) == []
    killed = Ended(runner.group("tests", "tests", []), -signal.SIGKILL, 1.0, 1.0, "")
    assert runner.rerun([killed.job], [killed]) == []


def test_the_summary_and_the_slowest_tests_are_pytests() -> None:
    ended = Ended(job("tests"), 1, 13.4, 9.6, PYTEST)
    assert ended.line() == "FAILED  tests             13 s,    10 s of CPU  1 failed, 7 passed"
    assert runner.slowest([ended]) == [
        "   12.5 s  call     tests/test_a.py::test_slow",
        "    0.2 s  setup    tests/test_a.py::test_quick",
    ]


@pytest.mark.parametrize(("selected", "failed"), [(True, False), (False, True)])
def test_a_job_without_tests_fails_unless_a_user_chose_tests(selected: bool, failed: bool) -> None:
    chosen = Job("tests", (), selected=selected)
    assert Ended(chosen, runner.NO_TESTS, 1.0, 1.0, "").failed is failed


def test_a_new_folder_is_in_the_last_job_and_those_of_other_targets_in_none(tmp_path: Path) -> None:
    for path in (
        "webhook/core/test_a.py",
        "tools_tests/test_b.py",
        "arm64/test_b.py",
        "new/deep/test_c.py",
        "test_d.py",
        "no/e.py",
    ):
        (tmp_path / "tests" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tests" / path).touch()
    webhook = Job("webhook", ("pytest", "tests/webhook"))
    assert runner.remaining([webhook], tmp_path) == ["tests/new", "tests/test_d.py"]


@pytest.mark.parametrize("computes", [True, False])
def test_no_test_is_in_two_jobs(computes: bool) -> None:
    """The pure layer's tests are in jobs that compute, all others in jobs that do not."""
    found = [each for each in runner.jobs() if each.computes is computes]
    paths = {
        each.name: [Path(word) for word in each.argv if word.partition("/")[0] == "tests"] for each in found
    }
    ignored = {
        each.name: [Path(word.removeprefix("--ignore=")) for word in each.argv if "--ignore=" in word]
        for each in found
    }

    def runs(job: str, path: Path) -> bool:
        below = (path, *path.parents)
        return any(each in below for each in paths[job]) and not any(each in below for each in ignored[job])

    everything = {path for each in paths.values() for path in each}
    assert {path: [job for job in paths if runs(job, path)] for path in everything} == {
        path: [job for job in paths if path in paths[job]] for path in everything
    }
    assert all(sum(path in each for each in paths.values()) == 1 for path in everything)


def test_the_pure_layers_coverage_is_that_of_all_its_parts() -> None:
    jobs = {each.name: each for each in runner.jobs()}
    assert set(jobs["coverage"].after) == {name for name, each in jobs.items() if "run" in each.argv}
    # A part of the tests has a part of the coverage.
    assert "coverage" not in {each.name for each in runner.jobs(["-k", "sidecar"])}


def test_the_cpu_time_is_that_of_all_processes(tmp_path: Path) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(10**7))'], check=True)"
    (ended,) = Runner(tmp_path).run([job("busy", code)])
    assert ended.cpu > 0.05


def test_its_jobs_end_with_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"import os, time; open({str(pid)!r}, 'w').write(f'{{os.getpid()}}.'); time.sleep(600)"

    def terminate() -> None:
        wait_for(lambda: pid.exists() and pid.read_text().endswith("."), "start of the job")
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=terminate)
    thread.start()
    with pytest.raises(SystemExit) as ended:
        Runner(tmp_path).run([job("endless", code)])
    thread.join()
    assert ended.value.code == 128 + signal.SIGTERM
    assert not Path("/proc", pid.read_text().removesuffix(".")).exists()


def test_another_python_has_jobs_of_its_own_where_it_is_named_and_nothing_is_chosen() -> None:
    named = {each.name: each for each in runner.jobs(version="3.13")}
    added = set(named) - {each.name for each in runner.jobs()}
    assert added == {"Python 3.13", "3.13, pure", "3.13, started"}
    assert {named[each].after for each in added - {"Python 3.13"}} == {("Python 3.13",)}
    assert added.isdisjoint(each.name for each in runner.jobs(["-k", "sidecar"], "3.13"))


FILES = {
    "test_pure.py": "import pytest\npytestmark = pytest.mark.pure\ndef test_one():\n    pass\n",
    "test_both.py": "import pytest\n@pytest.mark.pure\ndef test_two(): pass\ndef test_three(): pass\n",
    "test_other.py": "def test_four():\n    pass\n",
}


@pytest.mark.parametrize(
    ("layer", "found", "imported"),
    [
        ("pure", {"test_one", "test_two"}, {"test_pure", "test_both"}),
        ("not pure", {"test_three", "test_four"}, {"test_both", "test_other"}),
        ("", {"test_one", "test_two", "test_three", "test_four"}, {"test_pure", "test_both", "test_other"}),
    ],
)
def test_files_without_a_test_of_the_layer_are_not_imported(
    tmp_path: Path, layer: str, found: set[str], imported: set[str]
) -> None:
    said = "import builtins\nbuiltins.print('imports', __name__)\n"
    for name, text in FILES.items():
        (tmp_path / name).write_text(said + text)
    options = (
        "-q",
        "-s",
        "--collect-only",
        "-c",
        str(runner.ROOT / "pyproject.toml"),
        "-p",
        "tests.conftest",
    )
    argv = (sys.executable, "-m", "pytest", *options, "-m", layer, str(tmp_path))
    (ended,) = Runner(tmp_path / "logs").run([Job("collect", argv)])
    assert set(re.findall(r"imports (\w+)", ended.log)) == imported
    assert set(re.findall(r"::(\w+)", ended.log)) == found
