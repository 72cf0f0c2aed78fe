#!/bin/sh
# Compiles all Python below a root folder, and makes the command: `finish.sh ROOT COMMAND MODULE`.
set -eu
root=$1
mkdir -p "$root/usr/local/bin"
# -I: nothing from the environment or the working directory is imported. -S: the module site takes a fifth of the
# interpreter's start and finds nothing but that folder.
printf '#!/usr/bin/python3 -IS\nimport sys\n\nsys.path.append("/usr/local/lib/python3.13/dist-packages")\nfrom %s import main\n\nsys.exit(main())\n' \
  "$3" >"$root/usr/local/bin/$2"
chmod 755 "$root/usr/local/bin/$2"
compile() {
  # unchecked-hash: valid whatever time the builder gives to the files of a layer.
  python3.13 -m compileall -q --invalidation-mode unchecked-hash -s "$root" -p / "$@"
}
compile "$root/usr/local/lib/python3.13"
