#!/usr/bin/env bash
# Writes into a folder what the Helm chart takes from config/ as it is: the CRDs, the rights, and what Prometheus
# and Grafana need. The chart's templates put it into a release.
set -euo pipefail
to=$(realpath -m "$1")
cd "$(dirname "$0")/.."
rm -rf "$to"
mkdir -p "$to/crds" "$to/rbac" "$to/prometheus/grafana"
cp config/crd/bases/*.yaml "$to/crds/"
cp config/prometheus/grafana/*.json "$to/prometheus/grafana/"
for dir in rbac prometheus; do
	for file in config/$dir/*.yaml; do
		[ "$(basename "$file")" = kustomization.yaml ] || cp "$file" "$to/$dir/"
	done
done
