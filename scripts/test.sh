#!/usr/bin/env bash
# All tests, with the branch coverage of the whole and, with a floor, of the pure cores.
# In two lanes side by side: those of the agent and of EC2's double wait more than they work.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
agent=(tests/ipagent tests/doubles_tests tests/test_netns.py)

lane() {
  local name=$1
  shift
  mkdir -p ".coverage-$name"
  COVERAGE_FILE=$PWD/.coverage-$name/data COVERAGE_PROCESS_START=$PWD/pyproject.toml \
    $python -m pytest -p no:cacheprovider --cov --cov-report= "$@"
}

rm -rf .coverage .coverage.* .coverage-*
mkdir -p .coverage-agent
echo "the agent's tests run beside the others; what they say comes after them"
lane agent "${agent[@]}" "$@" >.coverage-agent/log 2>&1 &
beside=$!
trap 'kill $beside 2>/dev/null || true' EXIT
failed=0
lane rest tests "${agent[@]/#/--ignore=}" "$@" || failed=$?
wait $beside || failed=$?
cat .coverage-agent/log
[ "$failed" = 0 ] || exit "$failed"

$python -m coverage combine --quiet .coverage-agent/data .coverage-rest/data
$python -m coverage report --skip-covered --skip-empty
echo "coverage of the pure cores (branches, at least 95 %):"
$python -m coverage report --skip-covered --include="$($python scripts/pure_modules.py)" --fail-under=95
