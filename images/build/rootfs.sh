#!/bin/sh
# Unpacks Python and the libraries that it needs into a folder: `rootfs.sh ARCH FOLDER` (Debian's name of the
# architecture). Nothing of the target is run, so an image for arm64 can be made on amd64 and the other way round.
set -eu
arch=$1
root=$2

# Neither shell nor package manager. libgcc-s1: wheels made from Rust need it.
packages='base-files libc6 libgcc-s1 zlib1g libzstd1 libexpat1 libffi8 libbz2-1.0 liblzma5 libuuid1 libssl3t64
  libpython3.13-minimal libpython3.13-stdlib python3.13-minimal'
# Parts of the standard library: those whose libraries are left out, and those for people who write Python.
unsupported='_curses _curses_panel _sqlite3 _dbm _gdbm readline'
unused='curses dbm sqlite3 _pyrepl pydoc_data test turtle.py unittest venv'

dpkg --add-architecture "$arch"
apt-get update -qq
debs=$(mktemp -d)
cd "$debs"
for package in $packages; do
  set -- "$@" "$package:$arch"
done
shift 2
apt-get download -qq -o APT::Sandbox::User=root "$@"

mkdir -p "$root/var/lib/dpkg/status.d" "$root/etc" "$root/tmp"
for deb in *.deb; do
  dpkg-deb -x "$deb" "$root"
  # Where scanners for vulnerabilities look in images without a package manager.
  dpkg-deb -f "$deb" >"$root/var/lib/dpkg/status.d/$(dpkg-deb -f "$deb" Package)"
done
rm -rf "$debs"

cd "$root/usr"
ln -s python3.13 bin/python3
for module in $unsupported '_test*' '_xxtest*' '_ctypes_test' 'xx*'; do
  # Unquoted: some are patterns.
  rm -f lib/python3.13/lib-dynload/$module.*.so
done
for module in $unused; do
  rm -r "lib/python3.13/$module"
done
# A hook for error reports, empty.
rm -r lib/python3.13/sitecustomize.py ../etc/python3.13
# gconv: the C library's converters between character sets, of which Python has its own.
rm -rf lib/*-linux-gnu/gconv
for package in "$root"/var/lib/dpkg/status.d/*; do
  name=${package##*/}
  find share/doc -path "*/$name/*" ! -name copyright ! -type d -delete
done
rm -rf share/man share/lintian share/bug share/info share/applications share/pixmaps share/binfmts lib/binfmt.d
cd "$root"
rm -rf boot home media mnt opt root srv var/backups var/local var/lock var/mail var/opt var/spool
chmod 1777 tmp var/tmp

echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
printf 'root:x:0:0:root:/:/nonexistent\nnobody:x:65534:65534:nobody:/nonexistent:/nonexistent\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
