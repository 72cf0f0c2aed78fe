#!/usr/bin/env bash
# All tests, with the branch coverage of the whole and, with a floor, of the pure cores.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python

rm -f .coverage .coverage.*
COVERAGE_PROCESS_START=$PWD/pyproject.toml $python -m pytest --cov --cov-report= "$@"
$python -m coverage report --skip-covered --skip-empty
echo "coverage of the pure cores (branches, at least 95 %):"
$python -m coverage report --skip-covered --include="$($python scripts/pure_modules.py)" --fail-under=95
