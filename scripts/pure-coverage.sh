#!/usr/bin/env bash
# The pure layer with its branch coverage: at least 95 % of the pure rooms.
#   pure-coverage.sh run PART ARGUMENT...: the tests of one part; the arguments are pytest's
#   pure-coverage.sh report: whether all parts together cover enough
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
data=$PWD/.coverage-pure
case $1 in
run)
  mkdir -p "$data"
  # What a killed run has left would count as covered.
  rm -f "$data/part.$2"*
  export COVERAGE_FILE=$data/part.$2
  exec $python -m pytest -m pure -p tests.call_coverage "${@:3}"
  ;;
report)
  export COVERAGE_FILE=$data/all
  $python -m coverage combine --quiet --keep "$data"/part.*
  exec $python -m coverage report --skip-covered --include="$($python -m tests.pure_modules)" --fail-under=95
  ;;
esac
