#!/usr/bin/env bash
# The pure layer with its branch coverage: at least 95 % of the pure rooms. Arguments are pytest's.
set -euo pipefail
cd "$(dirname "$0")/.."
export COVERAGE_FILE=$PWD/.coverage
python=.venv/bin/python
$python -m pytest -p no:cacheprovider --durations=15 -m pure tests --ignore=tests/tools_tests --cov --cov-report= "$@"
# A part of the tests has a part of the coverage.
[ "$#" = 0 ] || exit 0
$python -m coverage report --skip-covered --include="$($python scripts/pure_modules.py)" --fail-under=95
