#!/usr/bin/env bash
# Runs all Go tests with the race detector: the project's own module and the modules of its tools that have tests.
# The end-to-end tests bring the lab up themselves and take it down again, unless it was up before.
# No result is taken from the cache: much of what is tested (manifests, programs, images) go does not see as an input.
set -euo pipefail
cd "$(dirname "$0")/.."

(cd hack/image && go test -race -count=1 ./...)
failed=0
mapfile -t packages < <(go list ./... | grep -v /test/e2e$)
go test -race -count=1 -timeout 40m "$@" "${packages[@]}" || failed=1
# By itself: it measures for how long connections fail, and other packages' tests keep all processors busy.
go test -race -count=1 -timeout 40m "$@" ./test/e2e || failed=1
exit $failed
