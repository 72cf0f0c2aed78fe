#!/usr/bin/env bash
# Puts uv and everything that uv.lock names into .venv (or VENV). Needs Python >= 3.11 with venv; PYTHON names one.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
venv=${VENV:-.venv}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "setup: Python >= 3.11 is needed, '$python' is not: install it (Debian: apt-get install python3 python3-venv) or name it: make PYTHON=python3.13 ..." >&2
  exit 1
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
  echo "setup: '$python' lacks venv: install it (Debian: apt-get install python3-venv; Fedora: it is part of python3)" >&2
  exit 1
fi

uv_version=$(sed -n '/^name = "uv"$/{n;s/^version = "\(.*\)"$/\1/p}' uv.lock)
if [ ! -x $venv/bin/uv ] || [ "$($venv/bin/uv --version | cut -d' ' -f2)" != "$uv_version" ]; then
  echo "setup: uv $uv_version into $venv"
  "$python" -m venv --clear "$venv"
  $venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
fi
echo "setup: what uv.lock names into $venv"
# Compiled here and once: tests and benchmarks start hundreds of programs, each of which would compile anew where
# PYTHONDONTWRITEBYTECODE is set.
UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=$venv \
  $venv/bin/uv sync --quiet --locked --all-extras --compile-bytecode --python $venv/bin/python
$venv/bin/python -m compileall -q certs check common ipagent multus_eni webhook demo benchmarks images tests
echo "setup: the part of botocore's data that the agent uses"
$venv/bin/python -m ipagent.aws.trim_botocore
touch $venv/.synced
