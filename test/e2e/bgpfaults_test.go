package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/bgp/wire"
	"fairlead.io/fairlead/test/lab"
)

// testBGPBadInput: what is wrong with BGP's objects is refused with a sentence, or said by a condition; the sessions of a peer that is right
// go on, none is opened anew, and no connection is lost.
func testBGPBadInput(t *testing.T) {
	s := newScenario(t)
	o, good := newOutside(s)
	s.web("web", 3, "")
	addr := addresses(s.expose("web", "web"))[0]
	o.routed(addr, "node1", "node2", "node3")
	l := o.load(addr, patientTimeout)
	before := time.Now()

	peer := func(name, address string, edit func(*v1beta1.BGPPeerSpec)) *v1beta1.BGPPeer {
		asn := int64(64513)
		p := &v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: s.pool.Name + "-" + name},
			Spec: v1beta1.BGPPeerSpec{MyASN: 64512, PeerASN: &asn, PeerAddress: address}}
		edit(&p.Spec)
		return p
	}
	advertised := func(name, community string) *v1beta1.BGPAdvertisement {
		return &v1beta1.BGPAdvertisement{ObjectMeta: metav1.ObjectMeta{Name: s.pool.Name + "-" + name}, Spec: v1beta1.BGPAdvertisementSpec{
			AdvertisementSelection: v1beta1.AdvertisementSelection{IPAddressPools: []string{s.pool.Name}}, Communities: []v1beta1.CommunityValue{v1beta1.CommunityValue(community)}}}
	}
	nowhere := o.ext.IPv4.String() // where nobody speaks BGP
	for _, tc := range []struct {
		o    client.Object
		says string
	}{
		{peer("zero", nowhere, func(p *v1beta1.BGPPeerSpec) { p.MyASN = 0 }), "spec.myASN"},
		{peer("large", nowhere, func(p *v1beta1.BGPPeerSpec) { p.MyASN = 1 << 32 }), "spec.myASN"},
		{peer("his-large", nowhere, func(p *v1beta1.BGPPeerSpec) { *p.PeerASN = 1 << 32 }), "spec.peerASN"},
		{peer("hold", nowhere, func(p *v1beta1.BGPPeerSpec) { p.HoldTime = &metav1.Duration{Duration: 2 * time.Second} }), "holdTime must be 3s to 65535s"},
		{peer("both", nowhere, func(p *v1beta1.BGPPeerSpec) {
			p.BFDProfile, p.GracefulRestart = "any", &v1beta1.GracefulRestart{Enabled: true}
		}), "bfdProfile and gracefulRestart contradict each other"},
		{advertised("bad", "1:70000"), "spec.communities[0]"},
	} {
		err := cluster.Create(s.ctx, tc.o)
		s.Expect(err).To(MatchError(ContainSubstring(tc.says)), "what the API server says of %s", tc.o.GetName())
	}

	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: s.pool.Name}, StringData: map[string]string{"password": "not-the-routers"}}
	s.create(secret)
	for _, tc := range []struct {
		o                       client.Object
		condition, reason, says string
	}{
		{peer("twin", o.tor.IPv4.String(), func(*v1beta1.BGPPeerSpec) {}), v1beta1.ConditionAccepted, v1beta1.ReasonDuplicatePeer, good.Name},
		{peer("no-secret", nowhere, func(p *v1beta1.BGPPeerSpec) { p.PasswordSecretRef = &v1beta1.SecretKeyReference{Name: "missing"} }),
			v1beta1.ConditionAccepted, v1beta1.ReasonPasswordNotFound, "there is no Secret missing"},
		{peer("no-profile", nowhere, func(p *v1beta1.BGPPeerSpec) { p.BFDProfile = "missing" }),
			v1beta1.ConditionAccepted, v1beta1.ReasonUnknownBFDProfile, "there is no BFDProfile missing"},
		{advertised("alias", "MISSING"), v1beta1.ConditionAccepted, v1beta1.ReasonUnknownCommunity, "MISSING"},
	} {
		s.create(tc.o)
		s.Eventually(func(g Gomega) {
			s.get(g, tc.o)
			c := condition(tc.o, tc.condition)
			g.Expect(c).NotTo(BeNil(), "condition %s of %s", tc.condition, tc.o.GetName())
			g.Expect(c.Status).To(Equal(metav1.ConditionFalse), "%s of %s", tc.condition, tc.o.GetName())
			g.Expect(c.Reason).To(Equal(tc.reason))
			g.Expect(c.Message).To(ContainSubstring(tc.says), "what %s says of %s", tc.condition, tc.o.GetName())
		}).Should(Succeed())
	}
	// What only the router knows, or does not say at all, each speaker says of its session. These are other addresses of the same router.
	for _, tc := range []struct {
		o    *v1beta1.BGPPeer
		says string
	}{
		{peer("other-asn", o.tor.IPv6.String(), func(p *v1beta1.BGPPeerSpec) { *p.PeerASN = 64999 }), "64513"},
		{peer("password", o.tor.Outside4.String(), func(p *v1beta1.BGPPeerSpec) {
			p.EBGPMultiHop, p.PasswordSecretRef = true, &v1beta1.SecretKeyReference{Name: secret.Name}
			p.ConnectTime = &metav1.Duration{Duration: time.Second} // after which it says so
		}), "MD5 mismatch suspected: no answer to SYN from " + o.tor.Outside4.String()},
	} {
		s.create(tc.o)
		s.Eventually(func(g Gomega) {
			var speakers v1beta1.SpeakerList
			g.Expect(cluster.List(s.ctx, &speakers)).To(Succeed())
			g.Expect(speakers.Items).To(HaveLen(3))
			for i := range speakers.Items {
				at := slices.IndexFunc(speakers.Items[i].Status.BGP, func(x v1beta1.BGPSessionStatus) bool { return x.Peer == tc.o.Name })
				g.Expect(at).To(BeNumerically(">=", 0), "session of %s with %s", speakers.Items[i].Name, tc.o.Name)
				text := speakers.Items[i].Status.BGP[at].LastError
				g.Expect(text).To(ContainSubstring(tc.says), "last error of %s with %s", speakers.Items[i].Name, tc.o.Name)
				g.Expect(text).NotTo(ContainSubstring("not-the-routers"), "a password")
			}
		}).Should(Succeed())
	}

	s.get(s, good)
	s.Expect(good.Status.Established).To(BeEquivalentTo(3), "sessions of %s: %v", good.Name, good.Status.Conditions)
	o.undisturbed(before)
	o.routed(addr, "node1", "node2", "node3")
	s.nothingLost(l, "bad input")
}

// testBGPChanges: a peer that comes, changes so that its own sessions must be opened anew, and goes, and advertisements and communities that do the
// same, touch no session of another peer.
func testBGPChanges(t *testing.T) {
	s := newScenario(t)
	o, _ := newOutside(s)
	s.web("web", 1, "")
	addr := addresses(s.expose("web", "web"))[0]
	o.routed(addr, "node1", "node2", "node3")
	before := time.Now()
	carried := func(community string) {
		s.Helper()
		s.Eventually(func(g Gomega) {
			routes, err := o.tor.Routes(s.ctx)
			g.Expect(err).NotTo(HaveOccurred())
			n := 0
			for _, path := range routes[netip.PrefixFrom(addr, addr.BitLen())] {
				if slices.Contains(path.Communities, community) {
					n++
				}
			}
			g.Expect(n).To(BeNumerically(">=", 3), "ways to %s that carry %s", addr, community)
		}).Should(Succeed())
	}
	all := func(p *v1beta1.BGPPeer) {
		s.Helper()
		s.Eventually(func(g Gomega) {
			s.get(g, p)
			g.Expect(p.Status.Established).To(BeEquivalentTo(3), "sessions of %s: %v", p.Name, p.Status.Conditions)
			g.Expect(p.Status.ObservedGeneration).To(Equal(p.Generation))
		}).Should(Succeed())
	}

	asn := int64(64513)
	second := &v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: s.pool.Name + "-second"},
		Spec: v1beta1.BGPPeerSpec{MyASN: 64512, PeerASN: &asn, PeerAddress: o.tor.IPv6.String()}}
	s.create(second)
	all(second)
	names := &v1beta1.Community{ObjectMeta: metav1.ObjectMeta{Name: s.pool.Name}, Spec: v1beta1.CommunitySpec{Communities: []v1beta1.CommunityAlias{{Name: "SITE", Value: "64512:1"}}}}
	s.create(names)
	adv := &v1beta1.BGPAdvertisement{ObjectMeta: metav1.ObjectMeta{Name: s.pool.Name + "-site"}, Spec: v1beta1.BGPAdvertisementSpec{
		AdvertisementSelection: v1beta1.AdvertisementSelection{IPAddressPools: []string{s.pool.Name}}, Communities: []v1beta1.CommunityValue{"SITE"}}}
	s.create(adv)
	carried("64512:1")
	update(s, names, func(c *v1beta1.Community) { c.Spec.Communities[0].Value = "64512:2" })
	carried("64512:2")
	update(s, second, func(p *v1beta1.BGPPeer) { p.Spec.AddressFamilies = []v1beta1.AddressFamily{v1beta1.AddressFamilyIPv4} })
	all(second)
	s.remove(adv)
	s.remove(second)
	s.Eventually(func() (int, error) { return o.established(s.ctx) }).Should(Equal(3), "sessions of the router's")
	o.undisturbed(before)
}

// undisturbed checks that all nodes have the session with the router that they had then.
func (o *outside) undisturbed(since time.Time) {
	o.Helper()
	least := time.Since(since).Truncate(time.Second) // before the router says it
	sessions, err := o.tor.Sessions(o.ctx)
	o.Expect(err).NotTo(HaveOccurred())
	for _, node := range theLab.Nodes() {
		up := time.Duration(-1)
		for _, x := range sessions {
			if x.Peer == node.IPv4 && x.Established() {
				up = x.Uptime
			}
		}
		o.Expect(up).To(BeNumerically(">=", least), "since when the router has its session with %s", node.Name)
	}
}

// condition of an object of BGP's; nil: it has none of that type.
func condition(o client.Object, kind string) *metav1.Condition {
	switch o := o.(type) {
	case *v1beta1.BGPPeer:
		return meta.FindStatusCondition(o.Status.Conditions, kind)
	case *v1beta1.BGPAdvertisement:
		return meta.FindStatusCondition(o.Status.Conditions, kind)
	}
	return nil
}

// testHostilePeer: a peer that storms all speakers with routes, sends what is no message, and comes back after each time that it is refused,
// disturbs neither the sessions with another peer nor layer 2: no address moves, and no connection is lost.
func testHostilePeer(t *testing.T) {
	s := newStanding(t)
	o, _ := newOutside(s)
	s.web("web", 3, "")
	svc := s.expose("web", "web")
	addr := addresses(svc)[0]
	owner := s.atHome(addr)
	o.routed(addr, "node1", "node2", "node3")
	speakers := map[string][]int{}
	for _, node := range theLab.Nodes() {
		speakers[node.Name] = s.processes(node.Name, speakerProgram)
	}

	h := s.hostile(lanClient)
	asn := int64(h.asn)
	s.create(&v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: s.pool.Name + "-hostile"}, Spec: v1beta1.BGPPeerSpec{
		MyASN: 64512, PeerASN: &asn, PeerAddress: lanClient.IPv4.String(), ConnectTime: &metav1.Duration{Duration: time.Second}}})
	s.Eventually(h.connections.Load).Should(BeNumerically(">=", 3), "speakers that have connected")
	s.fairly(func(seen Gomega) {
		s.atHome(addr)
		before := time.Now()
		near, far := s.load(addr, patientTimeout), o.load(addr, patientTimeout)
		routes, connections := h.routes.Load()+300_000, h.connections.Load()+30
		s.Eventually(h.routes.Load).Should(BeNumerically(">", routes), "routes sent")
		s.Eventually(h.connections.Load).Should(BeNumerically(">", connections), "connections")
		c := s.nothingLost(near, fmt.Sprintf("to %s on the LAN, while a peer has sent %d routes over %d connections", owner, h.routes.Load(), h.connections.Load()))
		seen.Expect(c.Moves).To(BeZero(), "how often %s moved: %s", addr, c)
		s.nothingLost(far, "the same from outside")
		o.undisturbed(before)
	})
	for _, node := range theLab.Nodes() {
		s.Expect(s.processes(node.Name, speakerProgram)).To(Equal(speakers[node.Name]), "the speaker of %s", node.Name)
	}
	s.Expect(s.atHome(addr)).To(Equal(owner))
}

// hostile is a peer that does its worst with each connection.
type hostile struct {
	asn                 uint32
	id                  netip.Addr
	listener            net.Listener
	connections, routes atomic.Int64
	done                sync.WaitGroup
}

// hostile starts one on a host; it ends with the test.
func (s *scenario) hostile(at *lab.Host) *hostile {
	s.Helper()
	h := &hostile{asn: 64666, id: at.IPv4}
	s.Expect(at.Do(func() (err error) {
		h.listener, err = (&net.ListenConfig{}).Listen(s.ctx, "tcp4", netip.AddrPortFrom(at.IPv4, 179).String())
		return err
	})).To(Succeed())
	ctx, cancel := context.WithCancel(s.ctx)
	h.done.Go(func() {
		for {
			conn, err := h.listener.Accept()
			if err != nil {
				return
			}
			n := h.connections.Add(1)
			h.done.Go(func() {
				stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // the other end may close it as well
				defer stop()
				defer conn.Close()
				h.serve(conn, rand.New(rand.NewPCG(uint64(n), 0)), n)
			})
		}
	})
	s.Cleanup(func() {
		cancel()
		err := h.listener.Close()
		h.done.Wait()
		if err != nil && !errors.Is(err, net.ErrClosed) {
			s.Error(err)
		}
	})
	return h
}

// serve one connection: one in three begins with garbage; the others have a session, storm it with routes that come and go, and end it with
// something that is not well formed. Nothing that fails matters: the other end may refuse all of it.
func (h *hostile) serve(conn net.Conn, random *rand.Rand, n int64) {
	garbage := make([]byte, 1+random.IntN(5000))
	for i := range garbage {
		garbage[i] = byte(random.Uint32())
	}
	if n%3 == 0 {
		_, _ = conn.Write(garbage)
		return
	}
	var drain sync.WaitGroup
	defer drain.Wait()
	drain.Go(func() { // so that nothing of the other end's has to wait
		b := make([]byte, 4096)
		for {
			if _, err := conn.Read(b); err != nil {
				return
			}
		}
	})
	open := &wire.Open{ASN: h.asn, HoldTime: 90 * time.Second, ID: h.id, IPv4: true, FourOctetASN: true, RouteRefresh: true}
	if _, err := conn.Write(append(open.Message(), wire.Keepalive()...)); err != nil {
		return
	}
	const each = 500
	for i := range 100 {
		m := storm(random.Uint32(), each, i%2 == 1)
		if i == 99 || random.IntN(60) == 0 {
			m = m[:wire.HeaderLen+random.IntN(len(m)-wire.HeaderLen)]
			m = append(m, garbage...)
		}
		if _, err := conn.Write(m); err != nil {
			return
		}
		h.routes.Add(each)
		if i%10 == 0 {
			_, _ = conn.Write(wire.RouteRefresh(wire.IPv4))
		}
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// storm is an UPDATE (RFC 4271, 4.3) with n host routes from an address on, or their withdrawal.
func storm(first uint32, n int, withdraw bool) []byte {
	var prefixes []byte
	for i := range n {
		prefixes = binary.BigEndian.AppendUint32(append(prefixes, 32), first+uint32(i))
	}
	m := append([]byte(strings.Repeat("\xff", 16)), 0, 0, byte(wire.TypeUpdate))
	if withdraw {
		m = binary.BigEndian.AppendUint16(m, uint16(len(prefixes)))
		m = append(append(m, prefixes...), 0, 0)
	} else {
		// ORIGIN IGP, AS_PATH 64666, NEXT_HOP 192.0.2.9
		attributes := []byte{0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfc, 0x9a, 0x40, 3, 4, 192, 0, 2, 9}
		m = binary.BigEndian.AppendUint16(append(m, 0, 0), uint16(len(attributes)))
		m = append(append(m, attributes...), prefixes...)
	}
	binary.BigEndian.PutUint16(m[16:], uint16(len(m)))
	return m
}
