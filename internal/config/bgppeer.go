package config

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bgp"
)

// BGPPeer is a compiled BGPPeer.
type BGPPeer struct {
	// Peer is what all nodes have in common: not the next hops, nor what is drained.
	bgp.Peer
	// RouterID that the peer asks for; invalid: none.
	RouterID netip.Addr
	// BFD session to keep with the peer; nil: none.
	BFD *BFDProfile
	// Maintenance drains the peer.
	Maintenance bool

	nodes     []labels.Selector
	selectors []metav1.LabelSelector // as written
}

// SelectsNode reports whether a node with these labels is to keep a session.
func (p *BGPPeer) SelectsNode(set labels.Set) bool { return selects(p.nodes, set) }

// BFDProfile is a compiled BFDProfile.
type BFDProfile struct {
	Name string
	bfd.Config
	// MinimumTTL of packets, on multihop sessions.
	MinimumTTL uint8
}

// Secrets are the data of the Secrets in Fairlead's namespace, by name. Nil: they are not known. A password is then taken for right, and
// empty, unless the peer's status says otherwise.
type Secrets map[string]map[string][]byte

// MaxPassword is the greatest length of a TCP MD5 password in bytes (Linux, TCP_MD5SIG_MAXKEYLEN).
const MaxPassword = 80

// CompileBFDProfile compiles a profile. An error is always an *Error.
func CompileBFDProfile(p *v1beta1.BFDProfile) (*BFDProfile, error) {
	out := &BFDProfile{Name: p.Name}
	for _, f := range []struct {
		name                       string
		value, least, most, absent int32
		set                        func(int32)
	}{
		{"receiveInterval", p.Spec.ReceiveInterval, 10, 60000, 300, func(n int32) { out.RequiredMinRx = time.Duration(n) * time.Millisecond }},
		{"transmitInterval", p.Spec.TransmitInterval, 10, 60000, 300, func(n int32) { out.DesiredMinTx = time.Duration(n) * time.Millisecond }},
		{"detectMultiplier", p.Spec.DetectMultiplier, 2, 255, 3, func(n int32) { out.DetectMult = uint8(n) }},
		{"minimumTTL", p.Spec.MinimumTTL, 1, 254, 254, func(n int32) { out.MinimumTTL = uint8(n) }},
	} {
		if f.value == 0 { // absent
			f.value = f.absent
		}
		if f.value < f.least || f.value > f.most {
			return nil, invalid("the profile", "spec.%s: %d is out of range: it must be %d to %d", f.name, f.value, f.least, f.most)
		}
		f.set(f.value)
	}
	out.Passive = p.Spec.PassiveMode
	return out, nil
}

// CompileBGPPeer compiles a peer. Profiles are those that exist; nil is one that is refused. An error is always an *Error.
func CompileBGPPeer(p *v1beta1.BGPPeer, profiles map[string]*BFDProfile, secrets Secrets) (*BGPPeer, error) {
	out := &BGPPeer{Maintenance: p.Spec.Maintenance, selectors: p.Spec.NodeSelectors}
	out.Name = p.Name
	var err error
	if out.nodes, err = selectors(p.Spec.NodeSelectors, "nodeSelectors", thePeer); err != nil {
		return nil, err
	}
	for _, part := range []func(*v1beta1.BGPPeerSpec) *Error{out.compileASN, out.compileAddresses, out.compileTimes, out.compileOptions} {
		if err := part(&p.Spec); err != nil {
			return nil, err
		}
	}
	if name := p.Spec.BFDProfile; name != "" {
		profile, exists := profiles[name]
		switch {
		case !exists:
			return nil, &Error{v1beta1.ReasonUnknownBFDProfile, fmt.Errorf("spec.bfdProfile: there is no BFDProfile %s: create it, or correct the name; %s is not used until then", name, thePeer)}
		case profile == nil:
			return nil, &Error{v1beta1.ReasonInvalidBFDProfile, fmt.Errorf("spec.bfdProfile: BFDProfile %s is refused, see its status; %s is not used until then", name, thePeer)}
		}
		out.BFD = profile
	}
	if ref := p.Spec.PasswordSecretRef; ref != nil {
		if secrets == nil {
			err = passwordStatus(p)
		} else {
			out.Password, err = password(ref, secrets)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (p *BGPPeer) compileASN(spec *v1beta1.BGPPeerSpec) *Error {
	if spec.MyASN < 1 || spec.MyASN > math.MaxUint32 {
		return invalid(thePeer, "spec.myASN: %d is out of range: it must be 1 to 4294967295", spec.MyASN)
	}
	p.LocalASN = uint32(spec.MyASN)
	switch {
	case (spec.PeerASN == nil) == (spec.DynamicASN == nil):
		return invalid(thePeer, "spec: set exactly one of peerASN and dynamicASN")
	case spec.PeerASN != nil:
		if *spec.PeerASN < 1 || *spec.PeerASN > math.MaxUint32 {
			return invalid(thePeer, "spec.peerASN: %d is out of range: it must be 1 to 4294967295", *spec.PeerASN)
		}
		if p.ASN = uint32(*spec.PeerASN); p.ASN == p.LocalASN {
			p.Type = bgp.Internal
		}
	case *spec.DynamicASN == v1beta1.DynamicASNInternal:
		p.Type = bgp.Internal
	case *spec.DynamicASN != v1beta1.DynamicASNExternal:
		return invalid(thePeer, "spec.dynamicASN: %q must be internal or external", *spec.DynamicASN)
	}
	return nil
}

func (p *BGPPeer) compileAddresses(spec *v1beta1.BGPPeerSpec) *Error {
	if (spec.PeerAddress == "") == (spec.Interface == "") {
		return invalid(thePeer, "spec: set exactly one of peerAddress and interface")
	}
	usable := func(field, text string, to *netip.Addr) *Error {
		if text == "" {
			return nil
		}
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Is4In6() || addr.Zone() != "" || !addr.IsGlobalUnicast() && !addr.IsLoopback() {
			return invalid(thePeer, "spec.%s: %q is not the address of a host; for a link-local peer set interface instead", field, text)
		}
		*to = addr
		return nil
	}
	if err := usable("peerAddress", spec.PeerAddress, &p.Address); err != nil {
		return err
	}
	if err := usable("sourceAddress", spec.SourceAddress, &p.Source); err != nil {
		return err
	}
	switch p.Interface = spec.Interface; {
	case len(p.Interface) > 15 || strings.ContainsFunc(p.Interface, func(r rune) bool { return r == '/' || unicode.IsSpace(r) }):
		return invalid(thePeer, "spec.interface: %q is no name of an interface", p.Interface)
	case p.Source.IsValid() && p.Interface != "":
		return invalid(thePeer, "spec.sourceAddress has no meaning with interface: an unnumbered session uses the link-local address")
	case p.Source.IsValid() && p.Source.Is4() != p.Address.Is4():
		return invalid(thePeer, "spec.sourceAddress %s and peerAddress %s must be of one family: the session runs between them", p.Source, p.Address)
	}
	switch {
	case spec.PeerPort == 0:
		p.Port = 179
	case spec.PeerPort < 0 || spec.PeerPort > math.MaxUint16:
		return invalid(thePeer, "spec.peerPort: %d is out of range: it must be 1 to 65535", spec.PeerPort)
	default:
		p.Port = uint16(spec.PeerPort)
	}
	if spec.RouterID != "" {
		id, err := netip.ParseAddr(spec.RouterID)
		if err != nil || !id.Is4() || id.IsUnspecified() {
			return invalid(thePeer, "spec.routerID: %q must be in the form of an IPv4 address, and not 0.0.0.0", spec.RouterID)
		}
		p.RouterID = id
	}
	return nil
}

func (p *BGPPeer) compileTimes(spec *v1beta1.BGPPeerSpec) *Error {
	seconds := func(field string, from *metav1.Duration, least, most, absent time.Duration, to *time.Duration) *Error {
		if *to = absent; from != nil {
			*to = from.Duration
		}
		if d := *to; d < least || d > most || d%time.Second != 0 {
			return invalid(thePeer, "spec.%s: %s must be whole seconds, %s to %s", field, d, least, most)
		}
		return nil
	}
	const most = math.MaxUint16 * time.Second
	if err := seconds("holdTime", spec.HoldTime, 3*time.Second, most, 90*time.Second, &p.HoldTime); err != nil {
		return err
	}
	// As the API has it: a third of the longest hold time is the most that has an effect.
	if err := seconds("keepaliveTime", spec.KeepaliveTime, time.Second, min(p.HoldTime, most/3), p.keepaliveMost(), &p.KeepaliveTime); err != nil {
		return err
	}
	if err := seconds("connectTime", spec.ConnectTime, time.Second, most, 5*time.Second, &p.ConnectTime); err != nil {
		return err
	}
	if r := spec.GracefulRestart; r != nil && r.Enabled {
		return seconds("gracefulRestart.restartTime", r.RestartTime, time.Second, 4095*time.Second, 120*time.Second, &p.RestartTime)
	}
	return nil
}

// keepaliveMost is the longest time between keepalives that the hold time allows.
func (p *BGPPeer) keepaliveMost() time.Duration { return (p.HoldTime / 3).Truncate(time.Second) }

func (p *BGPPeer) compileOptions(spec *v1beta1.BGPPeerSpec) *Error {
	p.MultiHop, p.TTLSecurity = spec.EBGPMultiHop, spec.TTLSecurity
	switch {
	case p.MultiHop && p.Type == bgp.Internal:
		return invalid(thePeer, "spec.ebgpMultiHop is for external peers: sessions within one AS may cross several hops without it")
	case p.MultiHop && p.Interface != "":
		return invalid(thePeer, "spec.ebgpMultiHop cannot go with interface: an unnumbered peer is on the link itself")
	case p.MultiHop && p.TTLSecurity:
		return invalid(thePeer, "spec.ttlSecurity (RFC 5082) needs a directly connected peer: it cannot go with ebgpMultiHop")
	case spec.BFDProfile != "" && p.RestartTime > 0:
		return &Error{v1beta1.ReasonBFDWithGracefulRestart, fmt.Errorf(
			"spec.bfdProfile and spec.gracefulRestart contradict each other: BFD drops a session that graceful restart is to keep; choose one, %s is not used until then", thePeer)}
	}
	for i, f := range spec.AddressFamilies {
		switch f {
		case v1beta1.AddressFamilyIPv4:
			p.IPv4 = true
		case v1beta1.AddressFamilyIPv6:
			p.IPv6 = true
		default:
			return invalid(thePeer, "spec.addressFamilies[%d]: %q must be ipv4 or ipv6", i, f)
		}
	}
	if len(spec.AddressFamilies) == 0 {
		p.IPv4, p.IPv6 = true, true
	}
	return nil
}

// passwordStatus is what the status of a peer says of its password, to somebody who may not read Secrets.
func passwordStatus(p *v1beta1.BGPPeer) error {
	c := meta.FindStatusCondition(p.Status.Conditions, v1beta1.ConditionAccepted)
	if c == nil || c.Status != metav1.ConditionFalse || c.Reason != v1beta1.ReasonPasswordNotFound && c.Reason != v1beta1.ReasonInvalidPassword {
		return nil
	}
	return &Error{c.Reason, errors.New(c.Message)}
}

// password that a reference means. No error tells anything of it but its length.
func password(ref *v1beta1.SecretKeyReference, secrets Secrets) (bgp.Password, error) {
	key := ref.Key
	if key == "" {
		key = "password"
	}
	data, exists := secrets[ref.Name]
	value, has := data[key]
	fail := func(reason, format string, args ...any) (bgp.Password, error) {
		return "", &Error{reason, fmt.Errorf("spec.passwordSecretRef: "+format+"; %s is not used until then", append(args, thePeer)...)}
	}
	switch {
	case !exists:
		return fail(v1beta1.ReasonPasswordNotFound, "there is no Secret %s in Fairlead's namespace: create it there, or correct the name", ref.Name)
	case !has:
		return fail(v1beta1.ReasonPasswordNotFound, "Secret %s has no key %s: add it, or correct the key", ref.Name, key)
	case len(value) == 0:
		return fail(v1beta1.ReasonInvalidPassword, "key %s of Secret %s is empty: TCP MD5 needs a password of 1 to %d bytes", key, ref.Name, MaxPassword)
	case len(value) > MaxPassword:
		return fail(v1beta1.ReasonInvalidPassword, "key %s of Secret %s has %d bytes: TCP MD5 takes at most %d (RFC 2385 as Linux has it)", key, ref.Name, len(value), MaxPassword)
	case bytes.ContainsAny(value, "\n\r\x00"):
		return fail(v1beta1.ReasonInvalidPassword, "key %s of Secret %s has a line break or a zero byte in it, which no router can be told: make it with kubectl create secret generic --from-literal", key, ref.Name)
	}
	return bgp.Password(value), nil
}
