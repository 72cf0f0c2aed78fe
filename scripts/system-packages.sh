#!/usr/bin/env bash
# System packages that the tests need beside what `make setup` and `make tools` bring.
# Nothing happens where all is there. As root on Debian or Ubuntu it installs what is missing;
# elsewhere it says what to install and ends with 0 (tests that need it are skipped and say so), or with 1
# where --require is given. With --images also what `make images` and `make test-images` need.
set -euo pipefail

# check (a shell command that succeeds where it is there) | Debian package | why
needed='
python3 -c "import venv, ensurepip" | python3-venv | the environment that make setup makes
'

for_images='
type -P buildah         | buildah         | builds the images
type -P debootstrap     | debootstrap     | makes the base image where no registry can be reached
type -P runc            | runc            | starts the images in their tests
type -P skopeo          | skopeo          | pushes a bundle, as its user does
type -P docker-registry | docker-registry | the registry that the tests push to
type -P objdump         | binutils        | which libraries the binaries of the images need
'

require=0
for option in "$@"; do
  case "$option" in
    --require) require=1 ;;
    --images) needed+=$for_images ;;
    *) echo "usage: $0 [--require] [--images]" >&2; exit 2 ;;
  esac
done

packages=()
reasons=()
while IFS='|' read -r check package why; do
  read -r package <<<"$package"
  read -r why <<<"$why"
  if [ -n "$package" ] && ! (eval "$check") >/dev/null 2>&1; then
    reasons+=("$package: $why")
    [[ " ${packages[*]-} " == *" $package "* ]] || packages+=("$package")
  fi
done <<<"$needed"

[ "${#packages[@]}" -gt 0 ] || exit 0

echo "system packages: missing:" >&2
printf '  %s\n' "${reasons[@]}" >&2
if [ "$(id -u)" = 0 ] && type -P apt-get >/dev/null; then
  echo "system packages: installing ${packages[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  if apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2 ||
    { apt-get update -qq >&2 && apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2; }; then
    exit 0
  fi
  echo "system packages: apt-get could not install ${packages[*]}: see its message above" >&2
else
  echo "system packages: install them as root, on Debian and Ubuntu with: apt-get install ${packages[*]}" >&2
fi
exit "$require"
