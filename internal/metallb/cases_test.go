package metallb

import "slices"

func fieldCases() []fieldCase {
	return slices.Concat(poolCases(), advertisementCases(), peerCases("v1beta1"), peerCases("v1beta2"), newerPeerCases(), bgpObjectCases(), configMapCases())
}

func poolCases() []fieldCase {
	const pool = "IPAddressPool v1beta1 spec."
	cases := []fieldCase{
		{pool + "addresses", `addresses: [192.168.1.7/24]`, Maps, "", "- 192.168.1.7/24"},
		{pool + "addresses", `addresses: ["10.0.0.1 - 10.0.0.9"]`, Maps, "", "- 10.0.0.1-10.0.0.9"},
		{pool + "addresses", `addresses: ["fd00::/64"]`, Maps, "", "- fd00::/64"},
		{pool + "addresses", `addresses: [10.0.0.1]`, Changes, "want of a prefix length", "- 10.0.0.1"},
		{pool + "addresses", `addresses: [web]`, Broken, "is not an address", ""},
		{pool + "addresses", `addresses: ["10.0.0.9-10.0.0.1"]`, Broken, "reversed", ""},
		{pool + "addresses", `addresses: ["::ffff:10.0.0.1-::ffff:10.0.0.9"]`, Broken, "write it as IPv4", ""},
		{pool + "addresses", `addresses: [224.0.0.0/8]`, Broken, "multicast", ""},
		{pool + "addresses", `addresses: []`, Broken, "missing or empty", ""},
		{pool + "addresses", `addresses: {}`, Broken, "must be a list and is a mapping", ""},
		{pool + "addresses", `addresses: [7]`, Broken, "must be a text and is a number", ""},
		{pool + "autoAssign", `autoAssign: false`, Maps, "", "autoAssign: false"},
		{pool + "autoAssign", `autoAssign: "no"`, Broken, "must be true or false and is a text", ""},
		{pool + "avoidBuggyIPs", `avoidBuggyIPs: true`, Maps, "", "avoidBuggyIPs: true"},
		{pool + "serviceAllocation", `serviceAllocation: {}`, Maps, "", "serviceAllocation: {}"},
		{pool + "serviceAllocation", `serviceAllocation: []`, Broken, "must be a mapping and is a list", ""},
		{pool + "serviceAllocation.priority", `serviceAllocation: {priority: 7}`, Maps, "", "priority: 7"},
		{pool + "serviceAllocation.priority", `serviceAllocation: {priority: -1}`, NoEquivalent, "comes last", "serviceAllocation: {}"},
		{pool + "serviceAllocation.namespaces", `serviceAllocation: {namespaces: [a, b]}`, Maps, "", "- a\n    - b"},
		{pool + "serviceAllocation.namespaces", `serviceAllocation: {namespaces: [a, a]}`, Changes, "twice", "- a\n"},
		{pool + "serviceAllocation.namespaceSelectors", `serviceAllocation: {namespaces: [a], namespaceSelectors: [{matchLabels: {a: b}}]}`, Maps, "", "- matchLabels:\n        a: b"},
		{pool + "serviceAllocation.namespaceSelectors", `serviceAllocation: {namespaceSelectors: [{matchLabels: {a: b}}]}`, Changes, "select no namespace at all", "- matchLabels:\n        a: b"},
		{pool + "serviceAllocation.serviceSelectors", `serviceAllocation: {serviceSelectors: [{}]}`, Maps, "", "serviceSelectors:\n    - {}"},
	}
	for _, version := range []string{"v1alpha1", "v1beta1"} {
		old := "AddressPool " + version + " spec."
		adv := old + "bgpAdvertisements"
		cases = append(cases,
			fieldCase{old + "protocol", `protocol: layer2`, Maps, "", "kind: L2Advertisement"},
			fieldCase{old + "protocol", `protocol: bgp`, Maps, "", "kind: BGPAdvertisement"},
			fieldCase{old + "protocol", `protocol: ospf`, Broken, "must be layer2 or bgp", ""},
			fieldCase{old + "addresses", `addresses: [10.9.0.0/16]`, Maps, "", "- 10.9.0.0/16"},
			fieldCase{old + "autoAssign", `autoAssign: false`, Maps, "", "autoAssign: false"},
			fieldCase{adv, `bgpAdvertisements: [{}, {}]`, Maps, "", "name: x-2"},
			fieldCase{adv, `{protocol: layer2, bgpAdvertisements: [{}]}`, NoEquivalent, "protocol is layer2", "kind: L2Advertisement"},
			fieldCase{adv + ".aggregationLength", `bgpAdvertisements: [{aggregationLength: 24}]`, Maps, "", "aggregationLength: 24"},
			fieldCase{adv + ".aggregationLength", `bgpAdvertisements: [{aggregationLength: 33}]`, Broken, "1 to 32", ""},
			fieldCase{adv + ".aggregationLengthV6", `bgpAdvertisements: [{aggregationLengthV6: 64}]`, Maps, "", "aggregationLengthV6: 64"},
			fieldCase{adv + ".localPref", `bgpAdvertisements: [{localPref: 200}]`, Maps, "", "localPref: 200"},
			fieldCase{adv + ".communities", `bgpAdvertisements: [{communities: [vpn]}]`, Maps, "", "- vpn"},
		)
	}
	return append(cases,
		fieldCase{"AddressPool v1beta1 spec.avoidBuggyIPs", `avoidBuggyIPs: true`, Maps, "", "avoidBuggyIPs: true"})
}

func advertisementCases() []fieldCase {
	const l2, adv = "L2Advertisement v1beta1 spec.", "BGPAdvertisement v1beta1 spec."
	var cases []fieldCase
	for _, kind := range []string{l2, adv} {
		cases = append(cases,
			fieldCase{kind + "ipAddressPools", `ipAddressPools: [a, b]`, Maps, "", "ipAddressPools:\n  - a\n  - b"},
			fieldCase{kind + "ipAddressPools", `ipAddressPools: [a, a]`, Changes, "twice", "ipAddressPools:\n  - a\n"},
			fieldCase{kind + "ipAddressPoolSelectors", `ipAddressPoolSelectors: [{matchLabels: {a: b}}]`, Maps, "", "ipAddressPoolSelectors:\n  - matchLabels:\n      a: b"},
			fieldCase{kind + "nodeSelectors", `nodeSelectors: [{matchExpressions: [{key: a, operator: Exists}]}]`, Maps, "", "nodeSelectors:\n  - matchExpressions:\n    - key: a"},
			fieldCase{kind + "serviceSelectors", `serviceSelectors: [{matchLabels: {a: b}}]`, Maps, "", "serviceSelectors:\n  - matchLabels:\n      a: b"},
		)
	}
	return append(cases,
		fieldCase{l2 + "interfaces", `interfaces: [eth0]`, Changes, "is no candidate", "- eth0"},
		fieldCase{l2 + "interfaces", `interfaces: ["eth*"]`, Changes, "very name of an interface", `- eth\*`},
		fieldCase{l2 + "interfaces", `interfaces: [""]`, Broken, "empty name", ""},
		fieldCase{l2 + "preferredNodeSelectors", `preferredNodeSelectors: [{weight: 1, preference: {}}]`, Maps, "", "weight: 1"},
		fieldCase{l2 + "preferredNodeSelectors.weight", `preferredNodeSelectors: [{weight: 100, preference: {}}]`, Maps, "", "weight: 100"},
		fieldCase{l2 + "preferredNodeSelectors.weight", `preferredNodeSelectors: [{weight: 101, preference: {}}]`, Broken, "1 to 100", ""},
		fieldCase{l2 + "preferredNodeSelectors.weight", `preferredNodeSelectors: [{preference: {}}]`, Broken, "missing", ""},
		fieldCase{l2 + "preferredNodeSelectors.preference", `preferredNodeSelectors: [{weight: 1, preference: {matchLabels: {a: b}}}]`, Maps, "", "preference:\n      matchLabels:\n        a: b"},
		fieldCase{adv + "aggregationLength", `aggregationLength: 24`, Maps, "", "aggregationLength: 24"},
		fieldCase{adv + "aggregationLength", `aggregationLength: 0`, Broken, "1 to 32", ""},
		fieldCase{adv + "aggregationLengthV6", `aggregationLengthV6: 64`, Maps, "", "aggregationLengthV6: 64"},
		fieldCase{adv + "aggregationLengthV6", `aggregationLengthV6: 129`, Broken, "1 to 128", ""},
		fieldCase{adv + "localPref", `localPref: 4294967295`, Maps, "", "localPref: 4294967295"},
		fieldCase{adv + "localPref", `localPref: 0`, Changes, "as if it were not set", "kind: BGPAdvertisement"},
		fieldCase{adv + "communities", `communities: [vpn, "64512:007", "large:1:2:3"]`, Maps, "", "- vpn\n  - \"64512:7\"\n  - large:1:2:3"},
		fieldCase{adv + "communities", `communities: [no-export]`, Changes, "Fairlead knows the name", "- no-export"},
		fieldCase{adv + "communities", `communities: [nobody]`, Broken, "neither a well-known name", ""},
		fieldCase{adv + "communities", `communities: ["70000:1"]`, Broken, "is no community", ""},
		fieldCase{adv + "peers", `peers: [a, b]`, Maps, "", "peers:\n  - a\n  - b"},
	)
}

// peerCases are those of both versions.
func peerCases(version string) []fieldCase {
	peer := "BGPPeer " + version + " spec."
	return []fieldCase{
		{peer + "myASN", `myASN: 4294967295`, Maps, "", "myASN: 4294967295"},
		{peer + "myASN", `myASN: 0`, Broken, "spec.myASN: 0 is out of range", ""},
		{peer + "myASN", `myASN: 4294967296`, Broken, "0 to 4294967295", ""},
		{peer + "peerASN", `peerASN: 64512`, Maps, "", "peerASN: 64512"},
		{peer + "peerASN", `peerASN: 0`, Broken, "exactly one of peerASN and dynamicASN", ""},
		{peer + "peerASN", `peerASN: 1.5`, Broken, "whole number", ""},
		{peer + "peerAddress", `peerAddress: "fd00::1"`, Maps, "", "peerAddress: fd00::1"},
		{peer + "peerAddress", `peerAddress: router`, Broken, "is not the address of a host", ""},
		{peer + "peerAddress", `peerAddress: "fe80::1"`, Broken, "set interface instead", ""},
		{peer + "sourceAddress", `sourceAddress: 10.0.0.9`, Maps, "", "sourceAddress: 10.0.0.9"},
		{peer + "sourceAddress", `sourceAddress: "fd00::9"`, Broken, "one family", ""},
		{peer + "peerPort", `peerPort: 1179`, Maps, "", "peerPort: 1179"},
		{peer + "peerPort", `peerPort: 0`, Maps, "", "peerASN: 64513"},
		{peer + "holdTime", `holdTime: 120s`, Maps, "", "holdTime: 2m0s"},
		{peer + "holdTime", `holdTime: 0s`, Changes, "0 is left out", "peerASN: 64513"},
		{peer + "holdTime", `holdTime: null`, Changes, "was 180s with FRR", "peerASN: 64513"},
		{peer + "holdTime", `holdTime: 9500ms`, Changes, "whole number of seconds", "holdTime: 9s"},
		{peer + "holdTime", `holdTime: 2s`, Broken, "3s to", ""},
		{peer + "holdTime", `holdTime: "120"`, Broken, "with its unit", ""},
		{peer + "keepaliveTime", `keepaliveTime: 20s`, Maps, "", "keepaliveTime: 20s"},
		{peer + "keepaliveTime", `{holdTime: null, keepaliveTime: 20s}`, Changes, "thrice as much", "holdTime: 1m0s"},
		{peer + "keepaliveTime", `keepaliveTime: 100s`, Broken, "spec.keepaliveTime", ""},
		{peer + "keepaliveTime", `{holdTime: 65535s, keepaliveTime: 30000s}`, Broken, "1s to 21845s", ""},
		{peer + "routerID", `routerID: 10.0.0.9`, Maps, "", "routerID: 10.0.0.9"},
		{peer + "routerID", `routerID: "fd00::1"`, Broken, "form of an IPv4 address", ""},
		{peer + "nodeSelectors", `nodeSelectors: [{matchLabels: {a: b}, matchExpressions: [{key: c, operator: NotIn, values: [d]}]}]`, Maps, "", "operator: NotIn"},
		{peer + "password", `password: ` + passwordWord, Changes, "Secret fairlead-system/bgp-password-x", "name: bgp-password-x"},
		{peer + "bfdProfile", `bfdProfile: fast`, Maps, "", "bfdProfile: fast"},
		{peer + "bfdProfile", `bfdProfile: gone`, Broken, "there is no BFDProfile gone", ""},
		{peer + "ebgpMultiHop", `ebgpMultiHop: true`, Maps, "", "ebgpMultiHop: true"},
		{peer + "ebgpMultiHop", `ebgpMultiHop: false`, Changes, "several hops all the same", "peerASN: 64513"},
		{peer + "ebgpMultiHop", `{peerASN: 64512, ebgpMultiHop: true}`, Changes, "it is left out", "peerASN: 64512"},
	}
}

func newerPeerCases() []fieldCase {
	const peer = "BGPPeer v1beta2 spec."
	return []fieldCase{
		{peer + "localASN", `localASN: 65410`, Changes, "in place of 64512", "myASN: 65410"},
		{peer + "dynamicASN", `{peerASN: 0, dynamicASN: external}`, Maps, "", "dynamicASN: external"},
		{peer + "dynamicASN", `dynamicASN: internal`, Broken, "exactly one of", ""},
		{peer + "dynamicASN", `{peerASN: 0, dynamicASN: any}`, Broken, "must be internal or external", ""},
		{peer + "interface", `{peerAddress: "", interface: eth1}`, Maps, "", "interface: eth1"},
		{peer + "interface", `interface: eth1`, Broken, "exactly one of peerAddress and interface", ""},
		{peer + "sourceAddress", `{peerAddress: "", interface: eth1, sourceAddress: 10.0.0.9}`, NoEquivalent, "link-local", "interface: eth1"},
		{peer + "connectTime", `connectTime: 10s`, Maps, "", "connectTime: 10s"},
		{peer + "password", `{password: ` + passwordWord + `, passwordSecret: {name: tor}}`, Broken, "refuses both together", ""},
		{peer + "passwordSecret", `passwordSecret: {}`, Maps, "", "peerASN: 64513"},
		{peer + "passwordSecret.name", `passwordSecret: {name: tor}`, Changes, "copied to fairlead-system/tor", "namespace: fairlead-system"},
		{peer + "passwordSecret.name", `passwordSecret: {name: gone}`, NoEquivalent, "create Secret gone", "name: gone"},
		{peer + "passwordSecret.namespace", `passwordSecret: {name: tor, namespace: elsewhere}`, Changes, "whatever stands here", "name: tor"},
		{peer + "passwordSecret.namespace", `passwordSecret: {name: tor, namespace: metallb-system}`, Maps, "", "name: tor"},
		{peer + "enableGracefulRestart", `enableGracefulRestart: true`, Maps, "", "enabled: true"},
		{peer + "enableGracefulRestart", `{enableGracefulRestart: true, bfdProfile: fast}`, Changes, "contradicts bfdProfile", "bfdProfile: fast"},
		{peer + "vrf", `vrf: red`, NoEquivalent, "the whole peer is left out", "kind: BFDProfile"},
		{peer + "vrf", `vrf: ""`, Maps, "", "peerASN: 64513"},
		{peer + "disableMP", `disableMP: true`, Maps, "", "addressFamilies:\n  - ipv4"},
		{peer + "disableMP", `disableMP: false`, Maps, "", "peerASN: 64513"},
		{peer + "disableMP", `{disableMP: true, dualStackAddressFamily: true}`, Changes, "takes its place", "peerASN: 64513"},
		{peer + "dualStackAddressFamily", `dualStackAddressFamily: true`, Maps, "", "peerASN: 64513"},
		{peer + "dualStackAddressFamily", `{peerAddress: "fd00::1", dualStackAddressFamily: false}`, Maps, "", "addressFamilies:\n  - ipv6"},
	}
}

func bgpObjectCases() []fieldCase {
	const profile, community = "BFDProfile v1beta1 spec.", "Community v1beta1 spec."
	return []fieldCase{
		{profile + "receiveInterval", `receiveInterval: 60000`, Maps, "", "receiveInterval: 60000"},
		{profile + "receiveInterval", `receiveInterval: 9`, Broken, "10 to 60000", ""},
		{profile + "transmitInterval", `transmitInterval: 10`, Maps, "", "transmitInterval: 10"},
		{profile + "detectMultiplier", `detectMultiplier: 255`, Maps, "", "detectMultiplier: 255"},
		{profile + "detectMultiplier", `detectMultiplier: 1`, Broken, "2 to 255", ""},
		{profile + "echoInterval", `echoInterval: 50`, Maps, "", "kind: BFDProfile"},
		{profile + "echoInterval", `{echoMode: true, echoInterval: 50}`, NoEquivalent, "see echoMode", "kind: BFDProfile"},
		{profile + "echoMode", `echoMode: true`, NoEquivalent, "no echo packets", "kind: BFDProfile"},
		{profile + "echoMode", `echoMode: false`, Maps, "", "kind: BFDProfile"},
		{profile + "passiveMode", `passiveMode: true`, Maps, "", "passiveMode: true"},
		{profile + "minimumTtl", `minimumTtl: 1`, Maps, "", "minimumTTL: 1"},
		{profile + "minimumTtl", `minimumTtl: 255`, Broken, "1 to 254", ""},
		{community + "communities", `communities: [{name: a, value: "1:2"}]`, Maps, "", "- name: a\n    value: \"1:2\""},
		{community + "communities", `communities: [7]`, Broken, "must be a mapping", ""},
		{community + "communities.name", `communities: [{name: VPN_ONLY, value: "1:2"}]`, Maps, "", "- name: VPN_ONLY"},
		{community + "communities.name", `communities: [{name: no-export, value: "65535:65281"}]`, Maps, "", "- name: no-export"},
		{community + "communities.name", `communities: [{name: no-export, value: "1:2"}, {name: a, value: "1:2"}]`, Changes, "well-known", "- name: a"},
		{community + "communities.name", `communities: [{name: _a, value: "1:2"}, {name: a, value: "1:2"}]`, Changes, "no name that an alias may have", "- name: a"},
		{community + "communities.name", `communities: [{name: a, value: "1:2"}, {name: a, value: "1:3"}]`, Changes, "defines alias \"a\" too", "1:2"},
		{community + "communities.value", `communities: [{name: a, value: "large:1:2:3"}]`, Maps, "", "large:1:2:3"},
		{community + "communities.value", `communities: [{name: a, value: "1:2"}, {name: b, value: "large:4294967295:2:3"}]`, NoEquivalent, "Alias \"b\" is left out", "- name: a"},
		{community + "communities.value", `communities: [{name: a, value: "1:2"}, {name: b, value: no-export}]`, NoEquivalent, "Alias \"b\" is left out", "- name: a"},
	}
}

func configMapCases() []fieldCase {
	const peers, bfd, pools, adv = "ConfigMap peers ", "ConfigMap bfd-profiles ", "ConfigMap address-pools ", "ConfigMap address-pools bgp-advertisements"
	return []fieldCase{
		{peers + "my-asn", `my-asn: 1`, Maps, "", "myASN: 1"},
		{peers + "peer-asn", `peer-asn: 2`, Maps, "", "peerASN: 2"},
		{peers + "peer-address", `peer-address: "fd00::1"`, Maps, "", "name: peer-fd00--1"},
		{peers + "source-address", `source-address: 10.0.0.9`, Maps, "", "sourceAddress: 10.0.0.9"},
		{peers + "peer-port", `peer-port: 1179`, Maps, "", "peerPort: 1179"},
		{peers + "hold-time", `hold-time: 9s`, Maps, "", "holdTime: 9s"},
		{peers + "hold-time", `hold-time: 9`, Broken, "with its unit", ""},
		{peers + "keepalive-time", `{hold-time: 9s, keepalive-time: 1s}`, Maps, "", "keepaliveTime: 1s"},
		{peers + "router-id", `router-id: 10.0.0.9`, Maps, "", "routerID: 10.0.0.9"},
		{peers + "node-selectors", `node-selectors: [{match-labels: {a: b}, match-expressions: [{key: c, operator: In, values: [d]}]}]`, Maps, "", "matchLabels:\n      a: b"},
		{peers + "node-selectors", `node-selectors: [{matchLabels: {a: b}}]`, Broken, "a selector has no such field", ""},
		{peers + "password", `password: ` + passwordWord, Changes, "bgp-password-peer-10-0-0-1", "passwordSecretRef:"},
		{peers + "password", `password: 123`, Changes, "put it in quotes", "passwordSecretRef:"},
		{peers + "bfd-profile", `bfd-profile: fast`, Maps, "", "bfdProfile: fast"},
		{peers + "ebgp-multihop", `ebgp-multihop: true`, Maps, "", "ebgpMultiHop: true"},
		{bfd + "name", `name: slow`, Maps, "", "name: slow"},
		{bfd + "name", `name: null`, Broken, "missing", ""},
		{bfd + "receive-interval", `receive-interval: 100`, Maps, "", "receiveInterval: 100"},
		{bfd + "transmit-interval", `transmit-interval: 100`, Maps, "", "transmitInterval: 100"},
		{bfd + "detect-multiplier", `detect-multiplier: 5`, Maps, "", "detectMultiplier: 5"},
		{bfd + "echo-interval", `echo-interval: 50`, Maps, "", "kind: BFDProfile"},
		{bfd + "echo-mode", `echo-mode: true`, NoEquivalent, "no echo packets", "kind: BFDProfile"},
		{bfd + "passive-mode", `passive-mode: true`, Maps, "", "passiveMode: true"},
		{bfd + "minimum-ttl", `minimum-ttl: 200`, Maps, "", "minimumTTL: 200"},
		{pools + "protocol", `protocol: layer2`, Maps, "", "kind: L2Advertisement"},
		{pools + "name", `name: blue`, Maps, "", "name: blue"},
		{pools + "name", `name: "Blue Pool"`, Changes, "imported as IPAddressPool blue-pool", "name: blue-pool"},
		{pools + "addresses", `addresses: [10.9.0.0/24]`, Maps, "", "- 10.9.0.0/24"},
		{pools + "avoid-buggy-ips", `avoid-buggy-ips: true`, Maps, "", "avoidBuggyIPs: true"},
		{pools + "auto-assign", `auto-assign: false`, Maps, "", "autoAssign: false"},
		{adv, `bgp-advertisements: [{}]`, Maps, "", "kind: BGPAdvertisement"},
		{adv + ".aggregation-length", `bgp-advertisements: [{aggregation-length: 24}]`, Maps, "", "aggregationLength: 24"},
		{adv + ".localpref", `bgp-advertisements: [{localpref: 7}]`, Maps, "", "localPref: 7"},
		{adv + ".communities", `bgp-advertisements: [{communities: [vpn]}]`, Maps, "", "- vpn"},
		{"ConfigMap - bgp-communities", `bgp-communities: {a: "1:2"}`, Maps, "", "name: bgp-communities"},
		{"ConfigMap - peer-autodiscovery", `{bgp-communities: {a: "1:2"}, peer-autodiscovery: {from-labels: []}}`, NoEquivalent, "write a BGPPeer for each router", "- name: a"},
	}
}
