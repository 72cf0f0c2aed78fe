#!/usr/bin/env bash
# Puts uv and everything that uv.lock names into .venv (or VENV). Needs Python >= 3.11 with venv; PYTHON names one.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}

# Of the same version the distribution's build is taken: it is optimized by profiles (PGO) and at link time, which
# saves all tests and programs a quarter of their CPU time beside one that pyenv has built.
default_python() {
  local own=/usr/bin/python3 version='import sys, venv, ensurepip; print(*sys.version_info[:2])' found
  if found=$($own -c "$version" 2>/dev/null) && [ "$found" = "$(python3 -c "$version" 2>/dev/null)" ]; then
    echo $own
  else
    echo python3
  fi
}
python=${PYTHON:-$(default_python)}

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
UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=$venv \
  $venv/bin/uv sync --quiet --locked --all-extras --python $venv/bin/python
# Compiled here and once: tests and benchmarks start hundreds of programs, each of which would compile anew where
# PYTHONDONTWRITEBYTECODE is set. Packages that only tests import are half of all, and compiled when they are.
tests_only='/(aiohttp|moto|mpmath|mypy|mypyc|mypy_boto3_ec2|networkx|oauthlib|pip|pkg_resources|pygments|rich|setuptools|sympy)/'
# Some packages have files for other versions of Python: they can't be compiled, and are never imported.
$venv/bin/python -m compileall -qq -j 2 -x "$tests_only" $venv/lib/python3*/site-packages || true
$venv/bin/python -m compileall -q certs check common ipagent multus_eni webhook demo benchmarks images tests
echo "setup: the part of botocore's data that the agent uses"
$venv/bin/python -m ipagent.aws.trim_botocore
touch $venv/.synced
