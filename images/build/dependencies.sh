#!/bin/sh
# Installs what uv.lock names for an extra of the project: `dependencies.sh EXTRA ARCH FOLDER`.
set -eu
case $2 in
  amd64) platform=x86_64-manylinux_2_28 ;;
  arm64) platform=aarch64-manylinux_2_28 ;;
  *) echo "the images are made for amd64 and arm64, not for $2" >&2; exit 1 ;;
esac
/uv/bin/uv export --quiet --frozen --no-dev --no-emit-project --extra "$1" --output-file /uv/locked.txt
/uv/bin/uv pip install --quiet --no-cache --no-deps --require-hashes --only-binary :all: \
  --python python3.13 --python-version 3.13 --python-platform "$platform" --link-mode copy --target "$3" -r /uv/locked.txt
rm -rf "$3/bin" "$3/.lock"
