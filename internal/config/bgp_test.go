package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/bgp"
)

// named is the metadata of an object that was made so many days after the first.
func named(name string, day int) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Date(2026, 1, 1+day, 0, 0, 0, 0, time.UTC))}
}

func aPeer(name string, day int, change ...func(*v1beta1.BGPPeerSpec)) v1beta1.BGPPeer {
	p := v1beta1.BGPPeer{ObjectMeta: named(name, day), Spec: v1beta1.BGPPeerSpec{MyASN: 64512, PeerASN: new(int64(64513)), PeerAddress: "192.168.100.1"}}
	for _, f := range change {
		f(&p.Spec)
	}
	return p
}

func at(address string) func(*v1beta1.BGPPeerSpec) {
	return func(s *v1beta1.BGPPeerSpec) { s.PeerAddress = address }
}

func onRack(rack string) func(*v1beta1.BGPPeerSpec) {
	return func(s *v1beta1.BGPPeerSpec) {
		s.NodeSelectors = append(s.NodeSelectors, metav1.LabelSelector{MatchLabels: map[string]string{"rack": rack}})
	}
}

func routerID(id string) func(*v1beta1.BGPPeerSpec) {
	return func(s *v1beta1.BGPPeerSpec) { s.RouterID = id }
}

func seconds(n float64) *metav1.Duration {
	return &metav1.Duration{Duration: time.Duration(n * float64(time.Second))}
}

func TestCompileBGPPeer(t *testing.T) {
	base := bgp.Peer{Name: "tor", Address: netip.MustParseAddr("192.168.100.1"), Port: 179, LocalASN: 64512, ASN: 64513,
		HoldTime: 90 * time.Second, KeepaliveTime: 30 * time.Second, ConnectTime: 5 * time.Second, IPv4: true, IPv6: true}
	internal, external := v1beta1.DynamicASNInternal, v1beta1.DynamicASNExternal
	for name, tt := range map[string]struct {
		spec func(*v1beta1.BGPPeerSpec)
		want func(*bgp.Peer)
	}{
		"least":            {func(*v1beta1.BGPPeerSpec) {}, func(*bgp.Peer) {}},
		"internal":         {func(s *v1beta1.BGPPeerSpec) { *s.PeerASN = 64512 }, func(p *bgp.Peer) { p.ASN, p.Type = 64512, bgp.Internal }},
		"dynamic internal": {func(s *v1beta1.BGPPeerSpec) { s.PeerASN, s.DynamicASN = nil, &internal }, func(p *bgp.Peer) { p.ASN, p.Type = 0, bgp.Internal }},
		"dynamic external": {func(s *v1beta1.BGPPeerSpec) { s.PeerASN, s.DynamicASN = nil, &external }, func(p *bgp.Peer) { p.ASN = 0 }},
		"unnumbered": {func(s *v1beta1.BGPPeerSpec) { s.PeerAddress, s.Interface = "", "eth1" },
			func(p *bgp.Peer) { p.Address, p.Interface = netip.Addr{}, "eth1" }},
		"addresses": {func(s *v1beta1.BGPPeerSpec) { s.PeerAddress, s.SourceAddress, s.PeerPort = "fd00::1", "fd00::9", 1179 },
			func(p *bgp.Peer) {
				p.Address, p.Source, p.Port = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::9"), 1179
			}},
		"times": {func(s *v1beta1.BGPPeerSpec) {
			s.HoldTime, s.ConnectTime = seconds(11), seconds(1)
		}, func(p *bgp.Peer) {
			p.HoldTime, p.KeepaliveTime, p.ConnectTime = 11*time.Second, 3*time.Second, time.Second
		}},
		"keepalive": {func(s *v1beta1.BGPPeerSpec) { s.HoldTime, s.KeepaliveTime = seconds(3), seconds(3) },
			func(p *bgp.Peer) { p.HoldTime, p.KeepaliveTime = 3*time.Second, 3*time.Second }},
		"graceful restart": {func(s *v1beta1.BGPPeerSpec) { s.GracefulRestart = &v1beta1.GracefulRestart{Enabled: true} },
			func(p *bgp.Peer) { p.RestartTime = 120 * time.Second }},
		"graceful restart disabled": {func(s *v1beta1.BGPPeerSpec) {
			s.GracefulRestart, s.BFDProfile = &v1beta1.GracefulRestart{RestartTime: seconds(1)}, "fast"
		}, func(*bgp.Peer) {}},
		"one family": {func(s *v1beta1.BGPPeerSpec) { s.AddressFamilies = []v1beta1.AddressFamily{"ipv6"} }, func(p *bgp.Peer) { p.IPv4 = false }},
		"multihop":   {func(s *v1beta1.BGPPeerSpec) { s.EBGPMultiHop = true }, func(p *bgp.Peer) { p.MultiHop = true }},
		"GTSM":       {func(s *v1beta1.BGPPeerSpec) { s.TTLSecurity = true }, func(p *bgp.Peer) { p.TTLSecurity = true }},
		"password":   {func(s *v1beta1.BGPPeerSpec) { s.PasswordSecretRef = &v1beta1.SecretKeyReference{Name: "good"} }, func(p *bgp.Peer) { p.Password = "sesame" }},
	} {
		t.Run(name, func(t *testing.T) {
			obj := aPeer("tor", 0, tt.spec)
			got, err := CompileBGPPeer(&obj, map[string]*BFDProfile{"fast": {}}, Secrets{"good": {"password": []byte("sesame")}})
			want := base
			if tt.want(&want); err != nil || got.Peer != want {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
			}
		})
	}
}

func TestRefusedBGPPeer(t *testing.T) {
	internal, unknown := v1beta1.DynamicASNInternal, v1beta1.DynamicASN("both")
	secret := func(name, key string) func(*v1beta1.BGPPeerSpec) {
		return func(s *v1beta1.BGPPeerSpec) { s.PasswordSecretRef = &v1beta1.SecretKeyReference{Name: name, Key: key} }
	}
	secrets := Secrets{"bgp": {"good": []byte("sesame"), "none": {}, "long": []byte(strings.Repeat("sesame", 14)), "line": []byte("sesame\n"), "most": []byte(strings.Repeat("x", 80))}}
	for _, tt := range []struct {
		change func(*v1beta1.BGPPeerSpec)
		reason string // empty: it is not refused
		words  string
	}{
		{func(s *v1beta1.BGPPeerSpec) { s.MyASN = 0 }, v1beta1.ReasonInvalidSpec, "spec.myASN: 0 is out of range"},
		{func(s *v1beta1.BGPPeerSpec) { s.MyASN = 1 << 32 }, v1beta1.ReasonInvalidSpec, "spec.myASN: 4294967296 is out of range"},
		{func(s *v1beta1.BGPPeerSpec) { *s.PeerASN = 0 }, v1beta1.ReasonInvalidSpec, "spec.peerASN: 0"},
		{func(s *v1beta1.BGPPeerSpec) { s.PeerASN = nil }, v1beta1.ReasonInvalidSpec, "exactly one of peerASN and dynamicASN"},
		{func(s *v1beta1.BGPPeerSpec) { s.DynamicASN = &internal }, v1beta1.ReasonInvalidSpec, "exactly one of peerASN and dynamicASN"},
		{func(s *v1beta1.BGPPeerSpec) { s.PeerASN, s.DynamicASN = nil, &unknown }, v1beta1.ReasonInvalidSpec, `"both" must be internal or external`},
		{at(""), v1beta1.ReasonInvalidSpec, "exactly one of peerAddress and interface"},
		{at("router"), v1beta1.ReasonInvalidSpec, `spec.peerAddress: "router"`},
		{at("fe80::1"), v1beta1.ReasonInvalidSpec, "set interface instead"},
		{at("fe80::1%eth0"), v1beta1.ReasonInvalidSpec, "set interface instead"},
		{at("::ffff:10.0.0.1"), v1beta1.ReasonInvalidSpec, "spec.peerAddress"},
		{at("127.0.0.1"), "", ""},
		{func(s *v1beta1.BGPPeerSpec) { s.PeerAddress, s.Interface = "", "a/b" }, v1beta1.ReasonInvalidSpec, "spec.interface"},
		{func(s *v1beta1.BGPPeerSpec) { s.SourceAddress = "fd00::9" }, v1beta1.ReasonInvalidSpec, "must be of one family"},
		{func(s *v1beta1.BGPPeerSpec) { s.SourceAddress = "x" }, v1beta1.ReasonInvalidSpec, "spec.sourceAddress"},
		{func(s *v1beta1.BGPPeerSpec) { s.PeerAddress, s.Interface, s.SourceAddress = "", "eth0", "fd00::9" }, v1beta1.ReasonInvalidSpec, "no meaning with interface"},
		{func(s *v1beta1.BGPPeerSpec) { s.PeerPort = 65536 }, v1beta1.ReasonInvalidSpec, "spec.peerPort: 65536"},
		{routerID("fd00::1"), v1beta1.ReasonInvalidSpec, "spec.routerID"},
		{routerID("0.0.0.0"), v1beta1.ReasonInvalidSpec, "spec.routerID"},
		{func(s *v1beta1.BGPPeerSpec) { s.HoldTime = seconds(0) }, v1beta1.ReasonInvalidSpec, "spec.holdTime: 0s must be whole seconds, 3s to"},
		{func(s *v1beta1.BGPPeerSpec) { s.HoldTime = seconds(3.5) }, v1beta1.ReasonInvalidSpec, "spec.holdTime: 3.5s must be whole seconds"},
		{func(s *v1beta1.BGPPeerSpec) { s.KeepaliveTime = seconds(91) }, v1beta1.ReasonInvalidSpec, "spec.keepaliveTime: 1m31s must be whole seconds, 1s to 1m30s"},
		{func(s *v1beta1.BGPPeerSpec) { s.ConnectTime = seconds(0.5) }, v1beta1.ReasonInvalidSpec, "spec.connectTime: 500ms"},
		{func(s *v1beta1.BGPPeerSpec) {
			s.GracefulRestart = &v1beta1.GracefulRestart{Enabled: true, RestartTime: seconds(4096)}
		}, v1beta1.ReasonInvalidSpec, "spec.gracefulRestart.restartTime"},
		{func(s *v1beta1.BGPPeerSpec) { s.EBGPMultiHop, *s.PeerASN = true, 64512 }, v1beta1.ReasonInvalidSpec, "spec.ebgpMultiHop is for external peers"},
		{func(s *v1beta1.BGPPeerSpec) { s.EBGPMultiHop, s.PeerASN, s.DynamicASN = true, nil, &internal }, v1beta1.ReasonInvalidSpec, "spec.ebgpMultiHop is for external peers"},
		{func(s *v1beta1.BGPPeerSpec) { s.EBGPMultiHop, s.PeerAddress, s.Interface = true, "", "eth0" }, v1beta1.ReasonInvalidSpec, "cannot go with interface"},
		{func(s *v1beta1.BGPPeerSpec) { s.EBGPMultiHop, s.TTLSecurity = true, true }, v1beta1.ReasonInvalidSpec, "needs a directly connected peer"},
		{func(s *v1beta1.BGPPeerSpec) { s.AddressFamilies = []v1beta1.AddressFamily{"ipv4", "l2vpn"} }, v1beta1.ReasonInvalidSpec, "spec.addressFamilies[1]"},
		{func(s *v1beta1.BGPPeerSpec) {
			s.NodeSelectors = []metav1.LabelSelector{{MatchLabels: map[string]string{"a b": ""}}}
		}, v1beta1.ReasonInvalidSelector, "spec.nodeSelectors[0]"},
		{func(s *v1beta1.BGPPeerSpec) { s.BFDProfile = "fast" }, "", ""},
		{func(s *v1beta1.BGPPeerSpec) { s.BFDProfile = "slow" }, v1beta1.ReasonUnknownBFDProfile, "there is no BFDProfile slow"},
		{func(s *v1beta1.BGPPeerSpec) { s.BFDProfile = "bad" }, v1beta1.ReasonInvalidBFDProfile, "BFDProfile bad is refused"},
		{func(s *v1beta1.BGPPeerSpec) {
			s.BFDProfile, s.GracefulRestart = "fast", &v1beta1.GracefulRestart{Enabled: true}
		}, v1beta1.ReasonBFDWithGracefulRestart, "contradict each other"},
		{secret("bgp", "good"), "", ""},
		{secret("bgp", "most"), "", ""},
		{secret("other", "good"), v1beta1.ReasonPasswordNotFound, "there is no Secret other"},
		{secret("bgp", "key"), v1beta1.ReasonPasswordNotFound, "Secret bgp has no key key"},
		{secret("bgp", ""), v1beta1.ReasonPasswordNotFound, "has no key password"},
		{secret("bgp", "none"), v1beta1.ReasonInvalidPassword, "is empty"},
		{secret("bgp", "long"), v1beta1.ReasonInvalidPassword, "has 84 bytes: TCP MD5 takes at most 80"},
		{secret("bgp", "line"), v1beta1.ReasonInvalidPassword, "line break"},
	} {
		t.Run(tt.words, func(t *testing.T) {
			out := CompileBGP(&BGPObjects{Peers: []v1beta1.BGPPeer{aPeer("other", 0, at("10.0.0.9")), aPeer("tor", 1, tt.change)},
				Profiles: []v1beta1.BFDProfile{{ObjectMeta: named("fast", 0)}, {ObjectMeta: named("bad", 0), Spec: v1beta1.BFDProfileSpec{DetectMultiplier: 1}}}, Secrets: secrets})
			err := out.Refused(KindBGPPeer, "tor")
			if tt.reason == "" {
				if err != nil || len(out.Peers) != 2 {
					t.Error(err)
				}
				return
			}
			if err == nil || err.Reason != tt.reason || !strings.Contains(err.Error(), tt.words) || !strings.HasSuffix(err.Error(), "is not used until then") {
				t.Errorf("%+v", err)
			}
			if err != nil && strings.Contains(err.Error(), "sesame") {
				t.Errorf("it gives the password away: %v", err)
			}
			if len(out.Peers) != 1 || out.Refused(KindBGPPeer, "other") != nil {
				t.Errorf("its neighbour is refused as well: %v", out.Refused(KindBGPPeer, "other"))
			}
		})
	}
	// Where Secrets are not known, they are taken for right unless the status says otherwise.
	obj := aPeer("tor", 0, secret("other", "good"))
	if _, err := CompileBGPPeer(&obj, nil, nil); err != nil {
		t.Error(err)
	}
	for reason, refused := range map[string]bool{v1beta1.ReasonPasswordNotFound: true, v1beta1.ReasonInvalidPassword: true, v1beta1.ReasonInvalidSpec: false} {
		obj.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionAccepted, Status: metav1.ConditionFalse, Reason: reason, Message: "as it says"}}
		if _, err := CompileBGPPeer(&obj, nil, nil); (err != nil) != refused || refused && err.Error() != "as it says" {
			t.Errorf("%s: %v", reason, err)
		}
	}
}

// Of two peers that cannot both be on a node the older is, and the other only where the older one is not.
func TestPeersThatContradict(t *testing.T) {
	rack1, rack2 := labels.Set{"rack": "1"}, labels.Set{"rack": "2"}
	for name, tt := range map[string]struct {
		peers    []v1beta1.BGPPeer
		on1, on2 string // the peers of a node of either rack, and after a slash those that are refused there
		routerID string // on rack 1
		refused  string // everywhere, and why
		words    string
	}{
		"nothing": {[]v1beta1.BGPPeer{aPeer("b", 2, at("10.0.0.2")), aPeer("a", 1)}, "a b/", "a b/", "", "", ""},
		"one address": {[]v1beta1.BGPPeer{aPeer("new", 2), aPeer("old", 1)}, "old/", "old/", "",
			"new " + v1beta1.ReasonDuplicatePeer, "older BGPPeer old has the address 192.168.100.1 too, on every node that this one selects"},
		"of one age": {[]v1beta1.BGPPeer{aPeer("b", 1), aPeer("a", 1)}, "a/", "a/", "", "b " + v1beta1.ReasonDuplicatePeer, "older BGPPeer a has"},
		"one address and the same selectors": {[]v1beta1.BGPPeer{aPeer("new", 2, onRack("1")), aPeer("old", 1, onRack("1"))}, "old/", "/", "",
			"new " + v1beta1.ReasonDuplicatePeer, "older BGPPeer old"},
		"one address on different nodes": {[]v1beta1.BGPPeer{aPeer("new", 2, onRack("1")), aPeer("old", 1, onRack("2"))}, "new/", "old/", "", "", ""},
		"one address on some nodes":      {[]v1beta1.BGPPeer{aPeer("new", 2), aPeer("old", 1, onRack("2"))}, "new/", "old/new", "", "", ""},
		"one interface": {[]v1beta1.BGPPeer{
			aPeer("new", 2, func(s *v1beta1.BGPPeerSpec) { s.PeerAddress, s.Interface = "", "eth0" }),
			aPeer("old", 1, func(s *v1beta1.BGPPeerSpec) { s.PeerAddress, s.Interface = "", "eth0" })}, "old/", "old/", "",
			"new " + v1beta1.ReasonDuplicatePeer, "is on interface eth0 too"},
		"two router IDs": {[]v1beta1.BGPPeer{aPeer("new", 2, at("10.0.0.2"), routerID("2.2.2.2")), aPeer("old", 1, routerID("1.1.1.1"))}, "old/", "old/", "1.1.1.1",
			"new " + v1beta1.ReasonRouterIDConflict, "older BGPPeer old has router ID 1.1.1.1, on every node that this one selects, and this one 2.2.2.2"},
		"two router IDs on some nodes": {[]v1beta1.BGPPeer{aPeer("new", 2, at("10.0.0.2"), routerID("2.2.2.2")), aPeer("old", 1, onRack("2"), routerID("1.1.1.1"))},
			"new/", "old/new", "2.2.2.2", "", ""},
		"one router ID": {[]v1beta1.BGPPeer{aPeer("b", 2, at("10.0.0.2"), routerID("1.1.1.1")), aPeer("a", 1), aPeer("c", 3, at("10.0.0.3"), routerID("1.1.1.1")), aPeer("d", 4, at("10.0.0.4"))},
			"a b c d/", "a b c d/", "1.1.1.1", "", ""},
		"one address, and the older selects all": {[]v1beta1.BGPPeer{aPeer("new", 2, onRack("1")), aPeer("old", 1)}, "old/", "old/", "",
			"new " + v1beta1.ReasonDuplicatePeer, "older BGPPeer old"},
		"who is refused does not refuse others": {[]v1beta1.BGPPeer{aPeer("c", 3, at("10.0.0.3"), routerID("2.2.2.2")), aPeer("b", 2, routerID("2.2.2.2")), aPeer("a", 1)}, "a c/", "a c/", "2.2.2.2",
			"b " + v1beta1.ReasonDuplicatePeer, "older BGPPeer a"},
	} {
		t.Run(name, func(t *testing.T) {
			out := CompileBGP(&BGPObjects{Peers: tt.peers})
			show := func(set labels.Set) string {
				var names, refused []string
				on := out.On(set)
				for _, p := range on.Peers {
					names = append(names, p.Name)
				}
				for n := range on.Refused {
					refused = append(refused, n)
				}
				return strings.Join(names, " ") + "/" + strings.Join(refused, " ")
			}
			if on1, on2 := show(rack1), show(rack2); on1 != tt.on1 || on2 != tt.on2 {
				t.Errorf("on rack 1 %s, on rack 2 %s; want %s and %s", on1, on2, tt.on1, tt.on2)
			}
			if id := out.On(rack1).RouterID; tt.routerID != "" && id.String() != tt.routerID || tt.routerID == "" && id.IsValid() {
				t.Errorf("router ID %s, want %q", id, tt.routerID)
			}
			for _, p := range tt.peers {
				err := out.Refused(KindBGPPeer, p.Name)
				if got := fmt.Sprint(p.Name, " ", reasonOf(err)); (err != nil) != (got == tt.refused) || err != nil && !strings.Contains(err.Error(), tt.words) {
					t.Errorf("%s: %v, want %q", got, err, tt.words)
				}
			}
		})
	}
}

func reasonOf(e *Error) string {
	if e == nil {
		return ""
	}
	return e.Reason
}

func TestCompileBFDProfile(t *testing.T) {
	p, err := CompileBFDProfile(&v1beta1.BFDProfile{ObjectMeta: named("plain", 0)})
	if err != nil || p.RequiredMinRx != 300*time.Millisecond || p.DesiredMinTx != 300*time.Millisecond || p.DetectMult != 3 || p.MinimumTTL != 254 || p.Passive || p.Validate() != nil {
		t.Errorf("%+v, %v", p, err)
	}
	p, err = CompileBFDProfile(&v1beta1.BFDProfile{Spec: v1beta1.BFDProfileSpec{ReceiveInterval: 10, TransmitInterval: 60000, DetectMultiplier: 255, PassiveMode: true, MinimumTTL: 1}})
	if err != nil || p.RequiredMinRx != 10*time.Millisecond || p.DesiredMinTx != time.Minute || p.DetectMult != 255 || p.MinimumTTL != 1 || !p.Passive {
		t.Errorf("%+v, %v", p, err)
	}
	for field, spec := range map[string]v1beta1.BFDProfileSpec{
		"receiveInterval": {ReceiveInterval: 9}, "transmitInterval": {TransmitInterval: 60001}, "detectMultiplier": {DetectMultiplier: 1}, "minimumTTL": {MinimumTTL: 255},
	} {
		if _, err := CompileBFDProfile(&v1beta1.BFDProfile{Spec: spec}); err == nil || !strings.HasPrefix(err.Error(), "spec."+field+": ") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func anAdvertisement(name string, day int, change ...func(*v1beta1.BGPAdvertisementSpec)) v1beta1.BGPAdvertisement {
	a := v1beta1.BGPAdvertisement{ObjectMeta: named(name, day)}
	for _, f := range change {
		f(&a.Spec)
	}
	return a
}

func with(communities ...v1beta1.CommunityValue) func(*v1beta1.BGPAdvertisementSpec) {
	return func(s *v1beta1.BGPAdvertisementSpec) { s.Communities = communities }
}

func TestCompileBGPAdvertisement(t *testing.T) {
	plain := anAdvertisement("plain", 0)
	a, err := CompileBGPAdvertisement(&plain, nil)
	if err != nil || a.Attributes.String() != "" || !a.Names("tor") || !a.Created.Equal(plain.CreationTimestamp.Time) {
		t.Errorf("%+v, %v", a, err)
	}
	for addr, want := range map[string]string{"10.0.0.1": "10.0.0.1/32", "fd00::1": "fd00::1/128"} {
		if got := a.Prefix(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s is advertised as %s", addr, got)
		}
	}
	full := anAdvertisement("full", 0, with("no-export", "64512:9", "large:1:2:3", "alias"), func(s *v1beta1.BGPAdvertisementSpec) {
		s.AggregationLength, s.AggregationLengthV6 = new(int32(24)), new(int32(64))
		s.LocalPref, s.MED, s.ASPathPrepend = new(int64(0)), new(int64(1<<32-1)), 10
		s.Peers, s.NodeSelectors = []string{"tor2", "tor"}, []metav1.LabelSelector{match("rack", "1")}
	})
	a, err = CompileBGPAdvertisement(&full, Aliases{"alias": {Standard: []bgp.Community{5}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Attributes.String(); got != "localPref 0, MED 4294967295, AS prepended 10 times, communities 0:5 64512:9 65535:65281 large:1:2:3" {
		t.Error(got)
	}
	if !a.Names("tor") || !a.Names("tor2") || a.Names("tor3") || !a.SelectsNode(labels.Set{"rack": "1"}) || a.SelectsNode(nil) {
		t.Errorf("%+v", a)
	}
	for addr, want := range map[string]string{"10.0.0.1": "10.0.0.0/24", "fd00::1": "fd00::/64"} {
		if got := a.Prefix(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s is advertised as %s", addr, got)
		}
	}
	for _, tt := range []struct {
		change func(*v1beta1.BGPAdvertisementSpec)
		reason string
		words  string
	}{
		{with("no-export", "nobody"), v1beta1.ReasonUnknownCommunity, `spec.communities[1]: "nobody" is neither a well-known name`},
		{with("70000:1"), v1beta1.ReasonInvalidCommunity, `spec.communities[0]: "70000:1"`},
		{with("large:4294967295:1:1"), v1beta1.ReasonInvalidCommunity, "(RFC 7300): choose another one"},
		{with("+1:1"), v1beta1.ReasonInvalidCommunity, `"+1:1"`},
		{func(s *v1beta1.BGPAdvertisementSpec) { s.AggregationLength = new(int32(33)) }, v1beta1.ReasonInvalidSpec, "spec.aggregationLength: 33"},
		{func(s *v1beta1.BGPAdvertisementSpec) { s.AggregationLengthV6 = new(int32(0)) }, v1beta1.ReasonInvalidSpec, "spec.aggregationLengthV6: 0"},
		{func(s *v1beta1.BGPAdvertisementSpec) { s.LocalPref = new(int64(-1)) }, v1beta1.ReasonInvalidSpec, "spec.localPref: -1"},
		{func(s *v1beta1.BGPAdvertisementSpec) { s.MED = new(int64(1 << 32)) }, v1beta1.ReasonInvalidSpec, "spec.med: 4294967296"},
		{func(s *v1beta1.BGPAdvertisementSpec) { s.ASPathPrepend = 11 }, v1beta1.ReasonInvalidSpec, "spec.asPathPrepend: 11"},
		{func(s *v1beta1.BGPAdvertisementSpec) { s.ServiceSelectors = []metav1.LabelSelector{match("a b", "")} }, v1beta1.ReasonInvalidSelector, "spec.serviceSelectors[0]"},
	} {
		out := CompileBGP(&BGPObjects{Advertisements: []v1beta1.BGPAdvertisement{anAdvertisement("bad", 0, tt.change), anAdvertisement("good", 1)}})
		err := out.Refused(KindBGPAdvertisement, "bad")
		if err == nil || err.Reason != tt.reason || !strings.Contains(err.Error(), tt.words) || !strings.HasSuffix(err.Error(), "the advertisement is not used until then") {
			t.Errorf("%s: %+v", tt.words, err)
		}
		if len(out.Advertisements) != 1 || out.Advertisements[0].Name != "good" {
			t.Errorf("%s: its neighbour is refused as well", tt.words)
		}
	}
}

// A keepalive time that is too long for the hold time is said to count for less, and one that the API refuses is refused here.
func TestKeepaliveTime(t *testing.T) {
	keepalive := func(hold, keepalive float64) func(*v1beta1.BGPPeerSpec) {
		return func(s *v1beta1.BGPPeerSpec) { s.HoldTime, s.KeepaliveTime = seconds(hold), seconds(keepalive) }
	}
	out := CompileBGP(&BGPObjects{Peers: []v1beta1.BGPPeer{
		aPeer("third", 0, keepalive(30, 10)), aPeer("long", 1, at("10.0.0.1"), keepalive(30, 20)), aPeer("endless", 2, at("10.0.0.2"), keepalive(65535, 21846)),
		aPeer("longest", 3, at("10.0.0.3"), keepalive(65535, 21845)),
	}})
	for name, want := range map[string][]Note{
		"third": nil, "longest": nil, "endless": nil,
		"long": {{Text: "spec.keepaliveTime 20s counts as 10s, a third of holdTime: lower it, or raise spec.holdTime"}},
	} {
		if got := out.Notes(KindBGPPeer, name); !reflect.DeepEqual(got, want) || (out.Refused(KindBGPPeer, name) != nil) != (name == "endless") {
			t.Errorf("%s: %+v, %v", name, got, out.Refused(KindBGPPeer, name))
		}
	}
}

// An advertisement may name peers that are to come.
func TestUnknownPeers(t *testing.T) {
	out := CompileBGP(&BGPObjects{
		Peers:          []v1beta1.BGPPeer{aPeer("tor", 0), aPeer("refused", 0, at("x"))},
		Advertisements: []v1beta1.BGPAdvertisement{anAdvertisement("adv", 0, func(s *v1beta1.BGPAdvertisementSpec) { s.Peers = []string{"tor9", "tor", "refused", "tor8"} })},
	})
	want := []Note{{Text: "these BGPPeers do not exist: tor8, tor9; create them or correct spec.peers"}}
	if got := out.Notes(KindBGPAdvertisement, "adv"); !reflect.DeepEqual(got, want) || out.Refused(KindBGPAdvertisement, "adv") != nil {
		t.Errorf("%+v", got)
	}
}

func TestCommunities(t *testing.T) {
	obj := func(name string, day int, pairs ...string) v1beta1.Community {
		c := v1beta1.Community{ObjectMeta: named(name, day)}
		for i := 0; i < len(pairs); i += 2 {
			c.Spec.Communities = append(c.Spec.Communities, v1beta1.CommunityAlias{Name: pairs[i], Value: v1beta1.CommunityValue(pairs[i+1])})
		}
		return c
	}
	all := []v1beta1.Community{
		obj("new", 2, "VPN", "1:2", "own", "1:3"),
		obj("old", 1, "VPN", "1:1"),
		obj("well-known", 1, "no-export", "65535:65281", "nopeer", "65535:65284"),
		obj("redefines", 1, "no-export", "1:1"),
		obj("bad", 0, "VPN", "9:9", "lost", "99999:1"),
		obj("reserved", 0, "mine", "large:4294967295:1:1"),
		obj("named", 0, "mine", "no-export"),
	}
	out := CompileBGP(&BGPObjects{Communities: all, Advertisements: []v1beta1.BGPAdvertisement{
		anAdvertisement("a", 0, with("VPN", "own", "no-export")), anAdvertisement("b", 0, with("lost")),
	}})
	if len(out.Advertisements) != 1 || !slices.Equal(out.Advertisements[0].Attributes.Communities.Strings(), []string{"1:1", "1:3", "65535:65281"}) {
		t.Errorf("%+v", out.Advertisements)
	}
	for name, words := range map[string]string{
		"old": "", "well-known": "",
		"new":       "alias VPN (1:2) has no effect, because older Community old defines it as 1:1",
		"redefines": "alias no-export (1:1) has no effect, because the name is well-known and means 65535:65281",
	} {
		notes := out.Notes(KindCommunity, name)
		if out.Refused(KindCommunity, name) != nil || (words == "") != (len(notes) == 0) ||
			words != "" && (len(notes) != 1 || notes[0].Reason != v1beta1.ReasonAliasConflict || !strings.HasPrefix(notes[0].Text, words)) {
			t.Errorf("%s: %+v, %v", name, notes, out.Refused(KindCommunity, name))
		}
	}
	for name, words := range map[string]string{
		"bad": `spec.communities[1].value (lost): "99999:1"`, "reserved": "RFC 7300", "named": `"no-export" is neither asn:value nor large:a:b:c`,
	} {
		if err := out.Refused(KindCommunity, name); err == nil || err.Reason != v1beta1.ReasonInvalidCommunity || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := out.Refused(KindBGPAdvertisement, "b"); reasonOf(err) != v1beta1.ReasonUnknownCommunity {
		t.Errorf("an alias of a refused object is known: %v", err)
	}
}
