#!/usr/bin/env bash
# Runs all Go tests with the race detector: the project's own module and the modules of its tools that have tests.
# The end-to-end tests bring the lab up themselves and take it down again, unless it was up before.
set -euo pipefail
cd "$(dirname "$0")/.."

(cd hack/image && go test -race ./...)
exec go test -race -timeout 40m "$@" ./...
