#!/bin/sh
# Pushes this bundle's images and chart: `./push.sh REGISTRY [--plain-http]`. Needs skopeo and helm, logged in
# (`skopeo login`, `helm registry login`). Prints the command that installs just what was pushed.
set -eu
cd "$(dirname "$0")"
registry=${1:?"usage: $0 REGISTRY [--plain-http]"}
case "${2:-}" in
  '') skopeo=--dest-tls-verify=true helm='' ;;
  --plain-http) skopeo=--dest-tls-verify=false helm=--plain-http ;;
  *) echo "usage: $0 REGISTRY [--plain-http]" >&2; exit 2 ;;
esac
version=$(cat VERSION)
for image in agent webhook; do
  skopeo copy --quiet --all --preserve-digests "$skopeo" --digestfile "$image.digest" \
    "oci:images:multus-eni-$image" "docker://$registry/multus-eni-$image:$version" >&2
done
# Unquoted: no argument where it is empty.
helm push multus-eni-injector-*.tgz "oci://$registry/charts" $helm >&2
cat <<EOF
helm install multus-eni-injector oci://$registry/charts/multus-eni-injector --version $version \\
  --namespace multus-eni-system --create-namespace \\
  --set image.registry=$registry --set image.tag=$version \\
  --set image.agent.digest=$(cat agent.digest) \\
  --set image.webhook.digest=$(cat webhook.digest)
EOF
