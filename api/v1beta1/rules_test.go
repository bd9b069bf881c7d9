package v1beta1_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	. "fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/testenv"
)

var server client.Client

func TestMain(m *testing.M) {
	os.Exit(testenv.Main(m, func(env *testenv.Env) {
		scheme := runtime.NewScheme()
		err := AddToScheme(scheme)
		if err == nil {
			server, err = client.New(env.Config, client.Options{Scheme: scheme})
		}
		if err != nil {
			panic(err)
		}
	}))
}

// try sends an object to the API server as a dry run; each of words must be in the refusal, and without words it must be accepted.
func try(t *testing.T, obj client.Object, words ...string) {
	t.Helper()
	obj.SetName("x")
	err := server.Create(t.Context(), obj, client.DryRunAll)
	if len(words) == 0 {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	if err == nil {
		t.Errorf("accepted; it should be refused with %q", words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("refused with %q, which does not say %q", err, w)
		}
	}
}

func TestAddressRange(t *testing.T) {
	cases := []struct {
		entry string
		words []string
	}{
		{entry: "192.168.100.240-192.168.100.249"},
		{entry: "192.168.100.240 - 192.168.100.249"},
		{entry: "192.168.9.255-192.168.10.0"},
		{entry: "9.255.255.255-10.0.0.0"},
		{entry: "192.168.100.5-192.168.100.5"},
		{entry: "192.168.100.0/24"},
		{entry: "192.168.100.7/24"},
		{entry: "192.168.100.5"},
		{entry: "0.0.0.0/0"},
		{entry: "fd00:100::f0-fd00:100::ff"},
		{entry: "fd00:100::ff-fd00:100::100"},
		{entry: "::-::1"},
		{entry: "::1-1::"},
		{entry: "fd00:100::-fd00:100:0:0:ffff:ffff:ffff:ffff"},
		{entry: "FD00:100::0A-fd00:100::b"},
		{entry: "1:2:3:4:5:6:7:8-1:2:3:4:5:6:7:9"},
		{entry: "fd00:100::/64"},
		{entry: "fd00:100::5"},
		{"192.168.100.249-192.168.100.240", []string{"'192.168.100.249-192.168.100.240' is reversed", "spec.addresses[1]"}},
		{"10.0.0.0-9.255.255.255", []string{"is reversed"}},
		{"fd00:100::ff-fd00:100::f0", []string{"'fd00:100::ff-fd00:100::f0' is reversed"}},
		{"fd00:100::100-fd00:100::ff", []string{"is reversed"}},
		{"1::-::1", []string{"is reversed"}},
		{"fd00:100::1-192.168.100.1", []string{"mixes IPv4 and IPv6"}},
		{"192.168.100.1-fd00:100::1", []string{"'192.168.100.1-fd00:100::1' mixes IPv4 and IPv6"}},
		{"192.168.100.300", []string{"'192.168.100.300' is not an address"}},
		{"192.168.100.0/33", []string{"is not an address"}},
		{"192.168.100.1-", []string{"is not an address"}},
		{"192.168.100.1-2-3", []string{"is not an address"}},
		{"192.168.100.01", []string{"is not an address"}},
		{"::ffff:192.168.100.1", []string{"is not an address"}},
		{"fe80::1%eth0", []string{"is not an address"}},
		{"banana", []string{"'banana' is not an address"}},
	}
	for _, c := range cases {
		t.Run(c.entry, func(t *testing.T) {
			try(t, &IPAddressPool{Spec: IPAddressPoolSpec{Addresses: []AddressRange{"10.99.0.1", AddressRange(c.entry)}}}, c.words...)
		})
	}
	t.Run("none", func(t *testing.T) { try(t, &IPAddressPool{}, "spec.addresses") })
	t.Run("excluded", func(t *testing.T) {
		try(t, &IPAddressPool{Spec: IPAddressPoolSpec{Addresses: []AddressRange{"10.99.0.0/24"}, ExcludeAddresses: []AddressRange{"10.99.0.9-10.99.0.1"}}},
			"spec.excludeAddresses[0]", "is reversed")
	})
	t.Run("512 entries", func(t *testing.T) {
		entries := make([]AddressRange, 512)
		for i := range entries {
			entries[i] = AddressRange(fmt.Sprintf("fd00:%x:aaaa:bbbb:cccc:dddd:eeee:0-fd00:%x:aaaa:bbbb:cccc:dddd:eeee:ffff", i, i))
		}
		try(t, &IPAddressPool{Spec: IPAddressPoolSpec{Addresses: entries, ExcludeAddresses: entries}})
		try(t, &IPAddressPool{Spec: IPAddressPoolSpec{Addresses: append(entries, "10.99.0.1")}}, "spec.addresses", "512")
	})
}

func TestL2AdvertisementRules(t *testing.T) {
	try(t, &L2Advertisement{})
	try(t, &L2Advertisement{Spec: L2AdvertisementSpec{Interfaces: []string{"eth*"}, PreferredNodeSelectors: []PreferredNodeSelector{{Weight: 100}}}})
	try(t, &L2Advertisement{Spec: L2AdvertisementSpec{PreferredNodeSelectors: []PreferredNodeSelector{{Weight: 101}}}}, "spec.preferredNodeSelectors[0].weight")
}

func TestBGPPeerRules(t *testing.T) {
	ptr := func(n int64) *int64 { return &n }
	duration := func(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
	good := func(edit func(*BGPPeerSpec)) *BGPPeer {
		p := &BGPPeer{Spec: BGPPeerSpec{MyASN: 64512, PeerASN: ptr(64513), PeerAddress: "192.168.100.1"}}
		edit(&p.Spec)
		return p
	}
	external, internal := DynamicASNExternal, DynamicASNInternal
	for name, c := range map[string]struct {
		edit  func(*BGPPeerSpec)
		words []string
	}{
		"least":                      {func(*BGPPeerSpec) {}, nil},
		"greatest ASN":               {func(s *BGPPeerSpec) { s.MyASN = 4294967295 }, nil},
		"ASN 0":                      {func(s *BGPPeerSpec) { s.MyASN = 0 }, []string{"spec.myASN"}},
		"ASN too great":              {func(s *BGPPeerSpec) { s.PeerASN = ptr(4294967296) }, []string{"spec.peerASN"}},
		"dynamic":                    {func(s *BGPPeerSpec) { s.PeerASN, s.DynamicASN = nil, &external }, nil},
		"dynamic and fixed":          {func(s *BGPPeerSpec) { s.DynamicASN = &external }, []string{"exactly one of peerASN and dynamicASN"}},
		"no ASN":                     {func(s *BGPPeerSpec) { s.PeerASN = nil }, []string{"exactly one of peerASN and dynamicASN"}},
		"unnumbered":                 {func(s *BGPPeerSpec) { s.PeerAddress, s.Interface = "", "eth0" }, nil},
		"no peer":                    {func(s *BGPPeerSpec) { s.PeerAddress = "" }, []string{"exactly one of peerAddress and interface"}},
		"bad address":                {func(s *BGPPeerSpec) { s.PeerAddress = "router" }, []string{"'router' is not an IP address"}},
		"bad router ID":              {func(s *BGPPeerSpec) { s.RouterID = "fd00::1" }, []string{"'fd00::1' is not an IPv4 address"}},
		"hold time 0":                {func(s *BGPPeerSpec) { s.HoldTime = duration(0) }, []string{"holdTime must be 3s"}},
		"keepalive":                  {func(s *BGPPeerSpec) { s.HoldTime, s.KeepaliveTime = duration(9*time.Second), duration(3*time.Second) }, nil},
		"keepalive too great":        {func(s *BGPPeerSpec) { s.KeepaliveTime = duration(2 * time.Minute) }, []string{"keepaliveTime must not exceed holdTime"}},
		"GTSM and multihop":          {func(s *BGPPeerSpec) { s.TTLSecurity, s.EBGPMultiHop = true, true }, []string{"ttlSecurity"}},
		"families":                   {func(s *BGPPeerSpec) { s.AddressFamilies = []AddressFamily{"ipv4", "ipv6"} }, nil},
		"unknown family":             {func(s *BGPPeerSpec) { s.AddressFamilies = []AddressFamily{"ipv5"} }, []string{"spec.addressFamilies[0]"}},
		"link-local address":         {func(s *BGPPeerSpec) { s.PeerAddress = "fe80::1" }, []string{"'fe80::1' is not the address of a router", "set interface"}},
		"multicast address":          {func(s *BGPPeerSpec) { s.PeerAddress = "224.0.0.1" }, []string{"is not the address of a router"}},
		"unspecified address":        {func(s *BGPPeerSpec) { s.PeerAddress = "::" }, []string{"is not the address of a router"}},
		"router on the node itself":  {func(s *BGPPeerSpec) { s.PeerAddress = "127.0.0.1" }, nil},
		"no interface name":          {func(s *BGPPeerSpec) { s.PeerAddress, s.Interface = "", "a b" }, []string{"spec.interface"}},
		"source address":             {func(s *BGPPeerSpec) { s.SourceAddress = "192.168.100.9" }, nil},
		"source of another family":   {func(s *BGPPeerSpec) { s.SourceAddress = "fd00::9" }, []string{"must be of one family"}},
		"unspecified source":         {func(s *BGPPeerSpec) { s.SourceAddress = "0.0.0.0" }, []string{"is not an address that a session can have"}},
		"source with interface":      {func(s *BGPPeerSpec) { s.PeerAddress, s.Interface, s.SourceAddress = "", "eth0", "10.0.0.1" }, []string{"sourceAddress has no meaning with interface"}},
		"router ID 0.0.0.0":          {func(s *BGPPeerSpec) { s.RouterID = "0.0.0.0" }, []string{"'0.0.0.0' is not an IPv4 address"}},
		"multihop":                   {func(s *BGPPeerSpec) { s.EBGPMultiHop = true }, nil},
		"multihop, dynamic external": {func(s *BGPPeerSpec) { s.EBGPMultiHop, s.PeerASN, s.DynamicASN = true, nil, &external }, nil},
		"multihop, dynamic internal": {func(s *BGPPeerSpec) { s.EBGPMultiHop, s.PeerASN, s.DynamicASN = true, nil, &internal }, []string{"ebgpMultiHop is for external peers"}},
		"multihop, internal":         {func(s *BGPPeerSpec) { s.EBGPMultiHop, s.PeerASN = true, ptr(64512) }, []string{"ebgpMultiHop is for external peers"}},
		"multihop, unnumbered":       {func(s *BGPPeerSpec) { s.EBGPMultiHop, s.PeerAddress, s.Interface = true, "", "eth0" }, []string{"ebgpMultiHop cannot go with interface"}},
		"hold time in fractions":     {func(s *BGPPeerSpec) { s.HoldTime = duration(3500 * time.Millisecond) }, []string{"holdTime must be whole seconds"}},
		"hold time in minutes":       {func(s *BGPPeerSpec) { s.HoldTime = duration(90 * time.Minute) }, nil},
		"keepalive in fractions":     {func(s *BGPPeerSpec) { s.KeepaliveTime = duration(1500 * time.Millisecond) }, []string{"keepaliveTime must be whole seconds"}},
		"connect time in fractions":  {func(s *BGPPeerSpec) { s.ConnectTime = duration(time.Second + 1) }, []string{"connectTime must be whole seconds"}},
		"BFD":                        {func(s *BGPPeerSpec) { s.BFDProfile, s.GracefulRestart = "fast", &GracefulRestart{} }, nil},
		"BFD and graceful restart": {func(s *BGPPeerSpec) { s.BFDProfile, s.GracefulRestart = "fast", &GracefulRestart{Enabled: true} },
			[]string{"bfdProfile and gracefulRestart contradict each other"}},
		"restart time in fractions": {func(s *BGPPeerSpec) {
			s.GracefulRestart = &GracefulRestart{Enabled: true, RestartTime: duration(90500 * time.Millisecond)}
		}, []string{"restartTime must be whole seconds"}},
		"graceful restart": {func(s *BGPPeerSpec) {
			s.GracefulRestart = &GracefulRestart{Enabled: true, RestartTime: duration(5000 * time.Second)}
		}, []string{"restartTime must be"}},
	} {
		t.Run(name, func(t *testing.T) { try(t, good(c.edit), c.words...) })
	}
}

func TestCommunityRules(t *testing.T) {
	for value, words := range map[CommunityValue][]string{
		"64512:100":            nil,
		"65535:65281":          nil,
		"large:64512:1:2":      nil,
		"no-export":            nil,
		"VPN_ONLY":             nil,
		"70000:1":              {"'70000:1' is no standard community"},
		"large:1:2":            {"'large:1:2' is no large community"},
		"large:1:2:5e9":        {"is no large community"},
		"large:1:2:5000000000": {"is no large community"},
		"a:b":                  {"'a:b' is neither"},

		"large:4294967295:1:2": {"'large:4294967295:1:2' has the reserved AS number 4294967295 (RFC 7300)"},
		"large:4294967294:1:2": nil,
		"no export":            {"is neither"},
	} {
		t.Run(string(value), func(t *testing.T) {
			try(t, &BGPAdvertisement{Spec: BGPAdvertisementSpec{Communities: []CommunityValue{value}}}, words...)
		})
	}
	try(t, &Community{Spec: CommunitySpec{Communities: []CommunityAlias{{Name: "NO_ADVERTISE", Value: "65535:65282"}}}})
	try(t, &Community{Spec: CommunitySpec{Communities: []CommunityAlias{{Name: "a", Value: "no-export"}}}}, "neither asn:value nor large:a:b:c")
	try(t, &Community{Spec: CommunitySpec{Communities: []CommunityAlias{{Name: "a", Value: "large:4294967295:0:0"}}}}, "spec.communities[0].value", "RFC 7300")
	try(t, &BFDProfile{Spec: BFDProfileSpec{ReceiveInterval: 5}}, "spec.receiveInterval")
	try(t, &BFDProfile{})
}
