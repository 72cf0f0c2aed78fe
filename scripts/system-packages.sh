#!/usr/bin/env bash
# System packages that the tests need beside what `make setup` and `make tools` bring.
# Nothing happens where all is there. As root on Debian or Ubuntu it installs what is missing, without starting
# its services; elsewhere it says what to install and ends with 0 (tests that need it are skipped and say so), or
# with 1 where --require is given. With --images only what `make images`, `make push` and `make bundle` need; with
# --arm64 also what only `make test-arm64` needs.
set -euo pipefail

# check (a shell command that succeeds where it is there) | Debian package | why
needed='
python3 -c "import venv, ensurepip" | python3-venv | the environment that make setup makes
type -P ip                          | iproute2     | the networks of the nodes
type -P iptables                    | iptables     | the way from pods to the Service of the API server
type -P containerd && type -P ctr   | containerd   | runs the pods of the nodes
type -P runc                        | runc         | starts containers: those of pods, and of the tests of the images
test -x /usr/lib/cni/host-local -o -x /opt/cni/bin/host-local | containernetworking-plugins | the networks of pods
type -P busybox && ! ldd "$(type -P busybox)" | busybox-static | what pods run
type -P docker-registry             | docker-registry | the registry that the tests push to
type -P skopeo                      | skopeo       | pushes a bundle, as its user does
type -P objdump                     | binutils     | which libraries the binaries of the images need
test -x /lib/systemd/systemd-networkd | systemd    | a networkd that reads our files
type -P dbus-daemon                 | dbus-daemon  | the bus by which it is told to read them again
'

for_images='
type -P buildah     | buildah     | builds the images
type -P debootstrap | debootstrap | makes the base image where no registry can be reached
'

for_arm64='
type -P qemu-aarch64-static | qemu-user-static | runs the programs of the arm64 images
'

# Of the packages above: only their programs are wanted.
services='containerd docker-registry'

# Where some of them are, also for users whose PATH lacks it.
PATH=$PATH:/usr/sbin:/sbin

require=0
table=$needed$for_images
for option in "$@"; do
  case "$option" in
    --require) require=1 ;;
    --images) table=$for_images ;;
    --arm64) table=$table$for_arm64 ;;
    *) echo "usage: $0 [--require] [--images] [--arm64]" >&2; exit 2 ;;
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
done <<<"$table"

[ "${#packages[@]}" -gt 0 ] || exit 0

without_services() {
  local service masked=() status=0
  for service in $services; do
    if [[ " ${packages[*]} " == *" $service "* ]] && type -P systemctl >/dev/null; then
      # Until the next boot at the longest.
      if systemctl mask --runtime --quiet "$service"; then masked+=("$service"); fi
    fi
  done
  "$@" || status=$?
  for service in "${masked[@]}"; do
    systemctl unmask --runtime --quiet "$service" && systemctl disable --quiet "$service" || true
  done
  return "$status"
}

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2 ||
    { apt-get update -qq >&2 && apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2; }
}

echo "system packages: missing:" >&2
printf '  %s\n' "${reasons[@]}" >&2
if [ "$(id -u)" = 0 ] && type -P apt-get >/dev/null; then
  echo "system packages: installing ${packages[*]}" >&2
  if without_services install_packages; then
    exit 0
  fi
  echo "system packages: apt-get could not install ${packages[*]}: see its message above" >&2
else
  echo "system packages: install them as root, on Debian and Ubuntu with: apt-get install ${packages[*]}" >&2
fi
exit "$require"
