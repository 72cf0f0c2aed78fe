#!/usr/bin/env bash
# Tests with another Python than that of .venv: `scripts/other-python.sh 3.13` (the images' version).
set -euo pipefail
cd "$(dirname "$0")/.."
version=$1
venv=.venv-$version

find_python() {
  local candidate
  for candidate in "python$version" "$(command -v pyenv >/dev/null && pyenv root)/versions/$version".*/bin/python; do
    if "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "other-python: no Python $version with venv: install it (https://www.python.org/downloads, or pyenv install $version)" >&2
  return 1
}

python=$(find_python)
if [ ! -e "$venv/.synced" ] || [ uv.lock -nt "$venv/.synced" ]; then
  PYTHON=$python VENV=$venv scripts/setup.sh
fi
"$venv/bin/python" -m pytest -q -p no:cacheprovider -m pure
# Where versions differ beyond the language: TLS, processes, signals, the agent's imports.
"$venv/bin/python" -m pytest -q -p no:cacheprovider \
  tests/webhook/server/test_main.py tests/webhook/server/test_cert_watcher.py tests/ipagent/e2e/test_init.py
