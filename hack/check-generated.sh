#!/usr/bin/env bash
# Fails when the committed deepcopy functions, CRDs, manifests of the Ansible role, files of the chart or pages of docs/reference are not what
# `make generate` would write.
set -euo pipefail
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bin/tools/controller-gen object paths=./api/... output:object:dir="$tmp"
bin/tools/controller-gen crd paths=./api/... output:crd:dir="$tmp/crd"
hack/role-manifests.sh >"$tmp/fairlead.yaml"
hack/chart-files.sh "$tmp/chart"
GOFLAGS=${GOFLAGS--trimpath -buildvcs=false} go run ./hack/reference "$tmp/reference"
diff -u api/v1beta1/zz_generated.deepcopy.go "$tmp/zz_generated.deepcopy.go" && diff -ru config/crd/bases "$tmp/crd" &&
	diff -u config/kubespray/roles/fairlead/files/fairlead.yaml "$tmp/fairlead.yaml" && diff -ruN charts/fairlead/files "$tmp/chart" &&
	diff -ru docs/reference "$tmp/reference" || {
	echo "generated files are stale: run 'make generate' and commit the result" >&2
	exit 1
}
