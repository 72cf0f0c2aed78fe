#!/bin/sh
# Puts what builds the images into the build stage: Python 3.13, and the uv of uv.lock in /uv.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends ca-certificates python3.13 python3.13-venv >/dev/null
python3.13 -m venv /uv
python3.13 "$(dirname "$0")/uv_requirement.py" uv.lock >/uv/requirements.txt
/uv/bin/pip install --quiet --disable-pip-version-check --no-cache-dir --require-hashes --only-binary :all: \
  -r /uv/requirements.txt
