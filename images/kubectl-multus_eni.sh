#!/bin/sh
# The plugin of kubectl: runs multus-eni of one release in a Python environment of its own.
set -eu
package='@PACKAGE@'
if command -v uv >/dev/null 2>&1; then
    exec uv tool run --quiet --from "$package" kubectl-multus_eni "$@"
fi
if command -v pipx >/dev/null 2>&1; then
    exec pipx run --quiet --spec "$package" kubectl-multus_eni "$@"
fi
echo 'kubectl multus-eni needs uv (https://docs.astral.sh/uv/) or pipx (https://pipx.pypa.io/), which fetch Python packages: install one of them' >&2
exit 127
