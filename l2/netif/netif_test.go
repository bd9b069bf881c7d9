package netif

import (
	"net"
	"slices"
	"testing"
)

func TestDefaultExclude(t *testing.T) {
	re, err := ParseExclude(DefaultExclude)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lo", "docker0", "br-0123456789ab", "veth12ab", "cali0123", "cilium_host", "cilium_net", "lxc_health", "flannel.1", "cni0",
		"virbr0", "vnet3", "kube-ipvs0", "nodelocaldns", "dummy0", "tunl0", "vxlan.calico", "antrea-gw0", "wg0", "tailscale0", "tun0", "ifb0"} {
		if !re.MatchString(name) {
			t.Errorf("%s is not excluded", name)
		}
	}
	for _, name := range []string{"eth0", "ens3", "enp1s0f0", "eno1", "bond0", "bond0.100", "br0", "br-lan", "vlan100", "team0", "wlan0", "vmbr0", "lan"} {
		if re.MatchString(name) {
			t.Errorf("%s is excluded", name)
		}
	}
	if re, err := ParseExclude(""); re != nil || err != nil {
		t.Error("an empty expression excludes something")
	}
	if _, err := ParseExclude("("); err == nil {
		t.Error("a broken expression was accepted")
	}
}

func TestUsable(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	good := func(name string, index int, change ...func(*link)) link {
		l := link{name: name, index: index, mac: mac, kind: "device", ethernet: true, up: true}
		for _, f := range change {
			f(&l)
		}
		return l
	}
	part := func(of int) func(*link) { return func(l *link) { l.master = of } }
	kind := func(k string) func(*link) { return func(l *link) { l.kind = k } }
	re, err := ParseExclude(DefaultExclude)
	if err != nil {
		t.Fatal(err)
	}
	got := usable([]link{
		good("lo", 1, func(l *link) { l.loopback = true }), good("loop", 30, func(l *link) { l.loopback = true }),
		good("eth1", 3), good("eth0", 2),
		good("bond0", 4, kind("bond")), good("eth2", 5, part(4)),
		good("br0", 6, kind("bridge")), good("eth3", 7, part(6)),
		good("vrf-red", 8, kind("vrf")), good("eth4", 9, part(8)),
		good("bond0.100", 10, kind("vlan")),
		good("eth5", 11, func(l *link) { l.up = false }),
		good("ppp0", 12, func(l *link) { l.ethernet = false }),
		good("ib0", 13, func(l *link) { l.mac = make(net.HardwareAddr, 20) }),
		good("veth1234", 14, kind("veth")), good("lan", 15, kind("veth")),
		good("test", 16, kind("dummy")),
		good("eth6", 17, part(99)), // of something in another namespace
	}, re)
	if names, want := Names(got), []string{"bond0", "bond0.100", "br0", "eth0", "eth1", "eth4", "lan"}; !slices.Equal(names, want) {
		t.Errorf("usable are %v, want %v", names, want)
	}
}
