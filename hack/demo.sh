#!/usr/bin/env bash
# The walkthrough on a real cluster: a ReplicaSet of three web pods, Services of type LoadBalancer, and curl from a client on the
# nodes' network, by IPv4, by IPv6 and dual stack. Leaves the lab up.
set -euo pipefail
cd "$(dirname "$0")/.."

lab=bin/lab
kubectl() { $lab kubectl "$@"; }
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }
fail() {
	printf 'demo: %s\n' "$1" >&2
	printf 'demo: the lab is still up: look with "bin/lab kubectl describe svc" and "bin/kubectl-fairlead status", take it down with "make lab-down"\n' >&2
	exit 1
}

# until_ok SECONDS WHAT COMMAND...: runs the command until it succeeds.
until_ok() {
	local deadline=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || fail "$what did not happen in time"
		sleep 0.2
	done
}

addresses() { kubectl get svc "$1" -o jsonpath='{.status.loadBalancer.ingress[*].ip}'; }
announced() { [ "$(kubectl get svc "$1" -o jsonpath='{.status.conditions[?(@.type=="fairlead.io/Announced")].status}')" = True ]; }

# curl_all ADDRESS: from the client, until each of the three pods has answered; prints the answers of the first time each is seen.
curl_all() {
	local url=$1 seen=" " answer pod n=0
	[[ $url != *:* ]] || url="[$url]"
	# kube-proxy learns of a new Service on its own time, up to a second after the address is announced.
	until_ok 10 "the first answer at $1" $lab exec client -- curl -s --max-time 1 "http://$url/"
	while [ "$(wc -w <<<"$seen")" -lt 3 ]; do
		n=$((n + 1))
		[ $n -le 60 ] || fail "only these pods answered at $1 in 60 tries:$seen"
		answer=$($lab exec client -- curl -s --max-time 5 "http://$url/") || fail "$1 did not answer"
		pod=$(tail -n 1 <<<"$answer")
		case $seen in *" $pod "*) continue ;; esac
		seen+="$pod "
		printf 'client$ curl %s\n%s\n' "$url" "$answer"
	done
}

say "1. A cluster of three nodes with Fairlead installed"
KUBECONFIG=$($lab up)
export KUBECONFIG
kubectl -n fairlead-system get deployments,daemonsets,pods -o wide

say "2. A pool of addresses, announced on the local network; three web pods and a Service of type LoadBalancer"
show cat config/samples/ipaddresspool.yaml config/samples/l2advertisement.yaml
kubectl apply -f config/samples/ipaddresspool.yaml -f config/samples/l2advertisement.yaml
kubectl apply -f config/samples/walkthrough.yaml
kubectl wait --for=jsonpath='{.status.readyReplicas}'=3 rs/myweb-rs-lb --timeout=120s >/dev/null
until_ok 30 "the announcement of myweb-svc-lb" announced myweb-svc-lb

say "3. The Service has an address"
kubectl get svc,rs,po -o wide
[ "$(addresses myweb-svc-lb)" = 192.168.100.240 ] || fail "myweb-svc-lb has $(addresses myweb-svc-lb), not 192.168.100.240"
printf '\n'
kubectl get ipaddresspools,l2advertisements,speakers
printf '\n'
kubectl get svc myweb-svc-lb -o jsonpath='{range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}'

say "4. A client on the network, which knows nothing of the cluster, reaches all three pods"
curl_all 192.168.100.240

say "5. The same by IPv6, and by one address of each family"
kubectl apply -f config/samples/walkthrough-ipv6.yaml
for svc in myweb-svc-v6 myweb-svc-dual; do until_ok 30 "the announcement of $svc" announced $svc; done
kubectl get svc -o custom-columns='NAME:.metadata.name,CLUSTER-IPS:.spec.clusterIPs[*],EXTERNAL-IPS:.status.loadBalancer.ingress[*].ip'
for address in $(addresses myweb-svc-v6) $(addresses myweb-svc-dual); do
	printf '\n'
	curl_all "$address"
done

say "6. What Fairlead says of it all"
show bin/kubectl-fairlead status

cat <<TXT
The lab stays up. Look around:
  bin/lab status
  bin/lab kubectl get svc,ipaddresspools,speakers
  bin/lab exec client -- curl -s 192.168.100.240
  bin/lab exec client -- ip neigh
  bin/lab fault node1 link-down      and bin/lab fault node1 link-up
Take it down:
  make lab-down
TXT
