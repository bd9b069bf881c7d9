#!/usr/bin/env bash
# Fails when the committed deepcopy functions or CRDs are not what `make generate` would write.
set -euo pipefail
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bin/tools/controller-gen object paths=./api/... output:object:dir="$tmp"
bin/tools/controller-gen crd paths=./api/... output:crd:dir="$tmp/crd"
diff -u api/v1beta1/zz_generated.deepcopy.go "$tmp/zz_generated.deepcopy.go" && diff -ru config/crd/bases "$tmp/crd" || {
	echo "generated files are stale: run 'make generate' and commit the result" >&2
	exit 1
}
