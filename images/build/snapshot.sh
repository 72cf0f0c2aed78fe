#!/bin/sh
# Has apt take Debian's packages from a day's snapshot: `snapshot.sh TIME [ROOT]`, for example 20260101T000000Z. Nothing
# changes without a TIME. Debian's signature is checked all the same; only the date up to which a list is valid is not.
set -eu
[ -n "${1:-}" ] || exit 0
case $1 in
  [0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T[0-9][0-9][0-9][0-9][0-9][0-9]Z) ;;
  *) echo "snapshot: $1 is not a time as 20260101T000000Z" >&2; exit 2 ;;
esac
apt=${2:-}/etc/apt
rm -f "$apt"/sources.list.d/*
{
  for part in 'debian trixie' 'debian trixie-updates' 'debian-security trixie-security'; do
    set -- "$1" $part
    echo "deb [check-valid-until=no signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
      "http://snapshot.debian.org/archive/$2/$1 $3 main"
  done
} >"$apt/sources.list"
