#!/usr/bin/env bash
# All tests, with the branch coverage of the whole and, with a floor, of the pure cores.
# In lanes side by side: those of the agent, of EC2's double and of the cluster's nodes wait more than they work.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
declare -A tests=(
  [agent]='tests/ipagent tests/doubles_tests tests/tools_tests/test_netns.py'
  [nodes]='tests/images tests/cluster/nodes'
)
lanes=(agent nodes rest)
elsewhere=()
for path in ${tests[agent]} ${tests[nodes]}; do
  elsewhere+=("--ignore=$path")
done

# With coverage, but for the nodes: what is ours runs in containers there.
lane() {
  local name=$1 status=0 coverage=(env)
  local TIMEFORMAT='%R s, of which %U s of CPU and %S s in the kernel'
  shift
  set -- "$python" -m pytest -p no:cacheprovider --durations=15 "$@"
  if [ "$name" != nodes ]; then
    coverage=(env "COVERAGE_FILE=$PWD/.coverage-$name/data" "COVERAGE_PROCESS_START=$PWD/pyproject.toml")
    set -- "$@" --cov --cov-report=
  fi
  { time "${coverage[@]}" "$@" 2>&1 || status=$?; } 2>".coverage-$name/time"
  return "$status"
}

rm -rf .coverage .coverage.* .coverage-*
mkdir -p "${lanes[@]/#/.coverage-}"
echo "the tests of the agent and of the nodes run beside the others; what they say comes after them"
# Each lane a process group of its own, so that it ends as a whole.
set -m
declare -A beside=()
trap 'for group in "${beside[@]}"; do kill -- "-$group" 2>/dev/null || true; done' EXIT
for name in agent nodes; do
  # Unquoted: several paths.
  lane "$name" ${tests[$name]} "$@" >".coverage-$name/log" &
  beside[$name]=$!
done
failed=0
lane rest tests "${elsewhere[@]}" "$@" || failed=$?
# Interrupted: the others end, too.
[ "$failed" != 2 ] || exit 2
for name in agent nodes; do
  wait "${beside[$name]}" || failed=$?
  cat ".coverage-$name/log"
done
for name in "${lanes[@]}"; do
  echo "lane $name: $(tail -n 1 ".coverage-$name/time")"
done
[ "$failed" = 0 ] || exit "$failed"

$python -m coverage combine --quiet .coverage-agent/data .coverage-rest/data
$python -m coverage report --skip-covered --skip-empty
echo "coverage of the pure cores (branches, at least 95 %):"
$python -m coverage report --skip-covered --include="$($python scripts/pure_modules.py)" --fail-under=95
