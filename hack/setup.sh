#!/usr/bin/env bash
# Checks that this machine can run the lab and the tests, and installs the Debian packages that are missing.
# Everything that is wrong is said at once, before anything is built.
set -euo pipefail
cd "$(dirname "$0")/.."

problems=()
[ "$(uname -s)" = Linux ] || problems+=("this is $(uname -s): the lab needs Linux (network namespaces, AF_PACKET)")
[ "$(id -u)" = 0 ] || problems+=("not root: network namespaces and the node components need it; run as root, for example with sudo -E")

need=$(sed -n 's/^go \([0-9.]*\)$/\1/p' go.mod)
if ! command -v go >/dev/null; then
	problems+=("go is not in PATH: install Go $need or newer")
else
	have=$(GOTOOLCHAIN=local go env GOVERSION | sed 's/^go//; s/[^0-9.].*//')
	[ "$(printf '%s\n%s\n' "$need" "$have" | sort -V | head -n 1)" = "$need" ] || problems+=("Go $have is too old: go.mod asks for $need or newer")
fi
command -v git >/dev/null || problems+=("git is not in PATH")

if [ ${#problems[@]} -gt 0 ]; then
	printf 'setup: %s\n' "${problems[@]}" >&2
	exit 1
fi

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
ours=
trap 'rm -f "$log" $ours' EXIT
missing=()
# The race detector links against C; the rest is what the lab's hosts run.
while read -r package _; do
	case $package in '' | '#'*) continue ;; esac
	dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done < <(printf 'gcc\nlibc6-dev\n' && cat test/lab/internal/preflight/debian-packages.txt)
[ ${#missing[@]} -gt 0 ] || exit 0

echo "setup: installing Debian packages: ${missing[*]}"
# The lab and the tests start routers and containerd themselves, in namespaces: the packages are not to start them on the machine.
if [ ! -e "$policy" ]; then
	ours=$policy
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$log" 2>&1; }
if ! command -v apt-get >/dev/null || ! { install || { apt-get update -qq && install; }; }; then
	[ ! -s "$log" ] || tail -n 5 "$log" >&2
	printf 'setup: could not install these packages; install them by hand and run again: %s\n' "${missing[*]}" >&2
	exit 1
fi
for package in "${missing[@]}"; do
	case $package in
	frr) service=frr ;;
	bird2) service=bird ;;
	gobgpd) service=gobgpd ;;
	prometheus) service=prometheus ;;
	*) continue ;;
	esac
	! [ -d /run/systemd/system ] || systemctl disable --quiet "$service"
done
