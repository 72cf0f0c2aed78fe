#!/usr/bin/env bash
# Tests with another Python than that of .venv: `scripts/other-python.sh 3.13 [PART [ARGUMENT...]]` (the images' version).
# The parts: setup, pure (the product's pure layer), started (programs that are started); all of them without one. The
# arguments are pytest's.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$1
part=${2:-all}
venv=.venv-$version
# Otherwise each run rewrites the assertions of its tests anew, and each program compiles what it imports.
unset PYTHONDONTWRITEBYTECODE

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
run() {
  "$venv/bin/python" -m pytest -q "$@"
}
# Examples and schedules are searched by `make test`; another Python is right or wrong for a few, too. Pages are
# compared with sources, whatever the Python.
pure=(--hypothesis-profile=quick -m "pure and (hypothesis or not no_cover)" --ignore-glob='*_docs.py'
  tests/webhook tests/ipagent tests/certs tests/common tests/check tests/multus_eni)
# Where versions differ beyond the language: TLS, processes, signals, the agent's imports.
started=(tests/webhook/server/test_main.py tests/webhook/server/test_cert_watcher.py tests/ipagent/e2e/test_init.py)
case $part in
setup) ;;
pure) run "${pure[@]}" "${@:3}" ;;
started) run "${started[@]}" "${@:3}" ;;
all)
  run "${pure[@]}"
  run "${started[@]}"
  ;;
esac
