package controllers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
)

// temporary creates an object that is deleted when the test ends.
func temporary(t *testing.T, o client.Object) {
	t.Helper()
	create(t, o)
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(kube.Delete(cleanup(), o)); err != nil {
			t.Error(err)
		}
	})
}

func bgpPeer(name, address string, change ...func(*v1beta1.BGPPeerSpec)) *v1beta1.BGPPeer {
	p := &v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.BGPPeerSpec{MyASN: 64512, PeerASN: new(int64(64513)), PeerAddress: address}}
	for _, f := range change {
		f(&p.Spec)
	}
	return p
}

func bgpAdvertisement(name string, change ...func(*v1beta1.BGPAdvertisementSpec)) *v1beta1.BGPAdvertisement {
	a := &v1beta1.BGPAdvertisement{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, f := range change {
		f(&a.Spec)
	}
	return a
}

// says waits until a condition of an object is this, of its present generation.
func says(t *testing.T, o client.Object, kind string, status metav1.ConditionStatus, reason, message string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s %s of %s", kind, reason, o.GetName()), func() string {
		if err := kube.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err.Error()
		}
		var conditions []metav1.Condition
		switch o := o.(type) {
		case *v1beta1.BGPPeer:
			conditions = o.Status.Conditions
		case *v1beta1.BGPAdvertisement:
			conditions = o.Status.Conditions
		case *v1beta1.BFDProfile:
			conditions = o.Status.Conditions
		case *v1beta1.Community:
			conditions = o.Status.Conditions
		}
		c := meta.FindStatusCondition(conditions, kind)
		if c == nil || c.Status != status || c.Reason != reason || !strings.Contains(c.Message, message) || c.ObservedGeneration != o.GetGeneration() {
			return fmt.Sprintf("%+v", conditions)
		}
		return ""
	})
}

func acceptedAs(t *testing.T, o client.Object, reason, message string) {
	t.Helper()
	status := metav1.ConditionFalse
	switch reason {
	case v1beta1.ReasonAccepted, v1beta1.ReasonAliasConflict, v1beta1.ReasonAttributeConflict:
		status = metav1.ConditionTrue
	}
	says(t, o, v1beta1.ConditionAccepted, status, reason, message)
}

func patchSpec(t *testing.T, o client.Object, body string) {
	t.Helper()
	if err := kube.Patch(t.Context(), o, client.RawPatch("application/merge-patch+json", []byte(body))); err != nil {
		t.Fatal(err)
	}
}

// older waits until what is created next is younger: ages are known to the second.
func older(t *testing.T, o client.Object) {
	t.Helper()
	wait := time.Until(o.GetCreationTimestamp().Add(time.Second))
	select {
	case <-time.After(max(wait, 0)):
	case <-t.Context().Done():
	}
}

// What is wrong with an object disables it, and what needs it, until it is put right; the others are in use.
func TestBGPObjectsAccepted(t *testing.T) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead-system", Name: "bgp"}, StringData: map[string]string{"password": "sesame\n"}}
	good, bad := bgpPeer("good", "192.168.100.1"), bgpPeer("bad", "192.168.100.2", func(s *v1beta1.BGPPeerSpec) {
		s.NodeSelectors = []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "rack", Operator: "Sometimes"}}}}
	})
	fast := bgpPeer("fast", "192.168.100.3", func(s *v1beta1.BGPPeerSpec) { s.BFDProfile = "late" })
	locked := bgpPeer("locked", "192.168.100.4", func(s *v1beta1.BGPPeerSpec) { s.PasswordSecretRef = &v1beta1.SecretKeyReference{Name: "bgp"} })
	plain := bgpAdvertisement("plain", func(s *v1beta1.BGPAdvertisementSpec) {
		s.Peers, s.IPAddressPools = []string{"good", "later"}, []string{"later-pool"}
	})
	alias := bgpAdvertisement("alias", func(s *v1beta1.BGPAdvertisementSpec) { s.Communities = []v1beta1.CommunityValue{"VPN"} })
	for _, o := range []client.Object{good, bad, fast, locked, plain, alias} {
		temporary(t, o)
	}
	older(t, alias)
	twin := bgpPeer("twin", "192.168.100.1")
	temporary(t, twin)
	c := run(t)
	acceptedAs(t, good, v1beta1.ReasonAccepted, "the peer is in use as written")
	acceptedAs(t, bad, v1beta1.ReasonInvalidSelector, "spec.nodeSelectors[0]")
	acceptedAs(t, fast, v1beta1.ReasonUnknownBFDProfile, "there is no BFDProfile late")
	acceptedAs(t, locked, v1beta1.ReasonPasswordNotFound, "there is no Secret bgp in Fairlead's namespace")
	acceptedAs(t, twin, v1beta1.ReasonDuplicatePeer, "older BGPPeer good has the address 192.168.100.1 too")
	acceptedAs(t, plain, v1beta1.ReasonAccepted, "these pools do not exist: later-pool; create them or correct spec.ipAddressPools; and these BGPPeers do not exist: later;")
	acceptedAs(t, alias, v1beta1.ReasonUnknownCommunity, `spec.communities[0]: "VPN"`)
	says(t, good, v1beta1.ConditionEstablished, metav1.ConditionFalse, v1beta1.ReasonNoNodes, "0/0 nodes; no node with a speaker is selected")
	says(t, twin, v1beta1.ConditionEstablished, metav1.ConditionFalse, v1beta1.ReasonNotAccepted, "0/0 nodes")

	profile := &v1beta1.BFDProfile{ObjectMeta: metav1.ObjectMeta{Name: "late"}}
	names := func(name, value string) *v1beta1.Community {
		return &v1beta1.Community{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.CommunitySpec{Communities: []v1beta1.CommunityAlias{{Name: "VPN", Value: v1beta1.CommunityValue(value)}}}}
	}
	first, second := names("first", "1:1"), names("second", "1:2")
	for _, o := range []client.Object{profile, first, secret} {
		temporary(t, o)
	}
	acceptedAs(t, profile, v1beta1.ReasonAccepted, "the profile is in use as written")
	acceptedAs(t, fast, v1beta1.ReasonAccepted, "")
	acceptedAs(t, first, v1beta1.ReasonAccepted, "")
	acceptedAs(t, alias, v1beta1.ReasonAccepted, "the advertisement is in use as written")
	acceptedAs(t, locked, v1beta1.ReasonInvalidPassword, "has a line break")
	patchSpec(t, secret, `{"stringData":{"password":"sesame"}}`)
	acceptedAs(t, locked, v1beta1.ReasonAccepted, "")
	older(t, first)
	temporary(t, second)
	acceptedAs(t, second, v1beta1.ReasonAliasConflict, "alias VPN (1:2) has no effect, because older Community first defines it as 1:1")
	patchSpec(t, twin, `{"spec":{"peerAddress":"192.168.100.9"}}`)
	acceptedAs(t, twin, v1beta1.ReasonAccepted, "")
	patchSpec(t, bad, `{"spec":{"nodeSelectors":null}}`)
	acceptedAs(t, bad, v1beta1.ReasonAccepted, "")

	// What did not change was not written again, and nobody sees a password.
	version := good.ResourceVersion
	acceptedAs(t, good, v1beta1.ReasonAccepted, "")
	if good.ResourceVersion != version {
		t.Error("the status of a peer that did not change was written again")
	}
	if strings.Contains(c.out.String(), "sesame") {
		t.Error("the password is in the log")
	}
}

// speakers with the given nodes, labelled with their names, until the test ends.
func nodesWithSpeakers(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		temporary(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}}})
		temporary(t, &v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
}

// sessions that a node's speaker tells of: those with routes are established and advertise so many.
func sessions(t *testing.T, node string, routes map[string]int32) {
	t.Helper()
	var s v1beta1.Speaker
	if err := kube.Get(t.Context(), client.ObjectKey{Name: node}, &s); err != nil {
		t.Fatal(err)
	}
	s.Status.BGP = nil
	for peer, n := range routes {
		x := v1beta1.BGPSessionStatus{Peer: peer, State: "Active"}
		if n >= 0 {
			x.State, x.RoutesAdvertised = "Established", n
		}
		s.Status.BGP = append(s.Status.BGP, x)
	}
	if err := kube.Status().Update(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
}

func ready(t *testing.T, node string, status corev1.ConditionStatus) {
	t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
	body := fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":"%s"}]}}`, status)
	if err := kube.Status().Patch(t.Context(), n, client.RawPatch("application/strategic-merge-patch+json", []byte(body))); err != nil {
		t.Fatal(err)
	}
}

// A peer counts its sessions, on nodes that are ready.
func TestBGPPeerEstablished(t *testing.T) {
	nodesWithSpeakers(t, "n1", "n2", "n3")
	peer := bgpPeer("tor", "192.168.100.1")
	one := bgpPeer("one", "192.168.100.2", func(s *v1beta1.BGPPeerSpec) {
		s.NodeSelectors = []metav1.LabelSelector{{MatchLabels: map[string]string{"name": "n2"}}}
	})
	temporary(t, peer)
	temporary(t, one)
	established := func(p *v1beta1.BGPPeer, up, wanted int32, reason, message string) {
		t.Helper()
		status := metav1.ConditionFalse
		if reason == v1beta1.ReasonAllEstablished {
			status = metav1.ConditionTrue
		}
		says(t, p, v1beta1.ConditionEstablished, status, reason, message)
		if p.Status.Established != up || p.Status.Wanted != wanted {
			t.Errorf("%d/%d, want %d/%d", p.Status.Established, p.Status.Wanted, up, wanted)
		}
	}
	run(t)
	established(peer, 0, 3, v1beta1.ReasonNotEstablished, "0/3 nodes; not from n1, n2, n3: their Speaker objects say why")
	established(one, 0, 1, v1beta1.ReasonNotEstablished, "0/1 nodes; not from n2")
	sessions(t, "n1", map[string]int32{"tor": 0})
	sessions(t, "n2", map[string]int32{"tor": -1, "one": 0})
	sessions(t, "n3", map[string]int32{"tor": 3})
	established(peer, 2, 3, v1beta1.ReasonPartlyEstablished, "2/3 nodes; not from n2:")
	established(one, 1, 1, v1beta1.ReasonAllEstablished, "1/1 nodes")
	sessions(t, "n2", map[string]int32{"tor": 0, "one": 0})
	established(peer, 3, 3, v1beta1.ReasonAllEstablished, "3/3 nodes")
	var n2 v1beta1.Speaker
	if err := kube.Get(t.Context(), client.ObjectKey{Name: "n2"}, &n2); err != nil {
		t.Fatal(err)
	}
	n2.Status.BGP[0].Peer, n2.Status.BGP[1].Peer, n2.Status.BGP[0].LastError = "tor", "one", "routes that are not advertised: 1"
	if err := kube.Status().Update(t.Context(), &n2); err != nil {
		t.Fatal(err)
	}
	established(peer, 3, 3, v1beta1.ReasonAllEstablished, "3/3 nodes; on n2: routes that are not advertised: 1")
	ready(t, "n3", corev1.ConditionUnknown)
	established(peer, 2, 3, v1beta1.ReasonPartlyEstablished, "2/3 nodes; not from n3")
	patchSpec(t, one, `{"spec":{"nodeSelectors":[{"matchLabels":{"name":"n9"}}]}}`)
	established(one, 0, 0, v1beta1.ReasonNoNodes, "0/0 nodes")

	// On the nodes of an older peer with its address, a peer is not; elsewhere it is.
	older(t, one)
	patchSpec(t, one, `{"spec":{"nodeSelectors":[{"matchLabels":{"name":"n2"}}]}}`)
	twin := bgpPeer("twin", "192.168.100.2")
	temporary(t, twin)
	says(t, twin, v1beta1.ConditionAccepted, metav1.ConditionTrue, v1beta1.ReasonDuplicatePeer, "the peer is in use, but not on n2: older BGPPeer one has the address 192.168.100.2 too")
	established(twin, 0, 2, v1beta1.ReasonNotEstablished, "0/2 nodes; not from n1, n3")
}

func endpointsOn(t *testing.T, ns, service string, nodes ...string) *discoveryv1.EndpointSlice {
	t.Helper()
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4}
	for i, n := range nodes {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.0.0.%d", i+1)}, NodeName: &n})
	}
	temporary(t, s)
	return s
}

// announcedAs waits for the condition Announced of a Service.
func announcedAs(t *testing.T, ns, name string, status metav1.ConditionStatus, reason, message string) *corev1.Service {
	t.Helper()
	var svc *corev1.Service
	eventually(t, fmt.Sprintf("%s is %s", name, reason), func() string {
		svc = get(t, ns, name)
		if c := condition(svc, v1beta1.ConditionAnnounced); c.Status != status || c.Reason != reason || !strings.Contains(c.Message, message) {
			return fmt.Sprintf("%+v", c)
		}
		return ""
	})
	return svc
}

// The condition Announced follows endpoints, sessions and advertisements.
func TestAnnouncedByBGP(t *testing.T) {
	ns := namespace(t)
	nodesWithSpeakers(t, "n1", "n2")
	create(t, newPool("web", "192.168.100.240-192.168.100.249"))
	temporary(t, bgpPeer("tor", "192.168.100.1"))
	temporary(t, bgpPeer("tor2", "192.168.100.2"))
	c := run(t)
	create(t, newService(ns, "web"))
	hasAddress(t, ns, "web", "192.168.100.240")
	create(t, newService(ns, "local", func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }))
	hasAddress(t, ns, "local", "192.168.100.241")
	announcedAs(t, ns, "web", metav1.ConditionFalse, v1beta1.ReasonNoAdvertisement, "")
	adv := bgpAdvertisement("all")
	temporary(t, adv)
	announcedAs(t, ns, "web", metav1.ConditionFalse, v1beta1.ReasonNotAnnounced, "check that the Service has a serving endpoint")
	slice := endpointsOn(t, ns, "web", "n1")
	announcedAs(t, ns, "web", metav1.ConditionFalse, v1beta1.ReasonNoSession, "192.168.100.240 is to be advertised to tor, tor2 (BGP), and no session is established")
	sessions(t, "n1", map[string]int32{"tor": -1, "tor2": -1})
	sessions(t, "n2", map[string]int32{"tor": 1})
	svc := announcedAs(t, ns, "web", metav1.ConditionTrue, v1beta1.ReasonAnnounced, "192.168.100.240 is advertised to tor, tor2 (BGP)")

	// Local: only from where the endpoint is.
	endpointsOn(t, ns, "local", "n1")
	announcedAs(t, ns, "local", metav1.ConditionFalse, v1beta1.ReasonNoSession, "192.168.100.241")
	sessions(t, "n1", map[string]int32{"tor2": 2, "tor": -1})
	announcedAs(t, ns, "local", metav1.ConditionTrue, v1beta1.ReasonAnnounced, "192.168.100.241 is advertised")
	ready(t, "n1", corev1.ConditionFalse)
	announcedAs(t, ns, "local", metav1.ConditionFalse, v1beta1.ReasonNoSession, "")
	ready(t, "n1", corev1.ConditionTrue)
	announcedAs(t, ns, "local", metav1.ConditionTrue, v1beta1.ReasonAnnounced, "")
	if now := get(t, ns, "web"); now.ResourceVersion != svc.ResourceVersion {
		t.Error("a Service was written whose addresses are advertised as before")
	}

	// Another controller finds everything as it is, and writes nothing.
	local := get(t, ns, "local")
	c.stop()
	c = run(t)
	leads(t, c)
	create(t, newService(ns, "later"))
	endpointsOn(t, ns, "later", "n2")
	announcedAs(t, ns, "later", metav1.ConditionTrue, v1beta1.ReasonAnnounced, "192.168.100.242 is advertised")
	for _, before := range []*corev1.Service{svc, local} {
		if now := get(t, ns, before.Name); now.ResourceVersion != before.ResourceVersion {
			t.Errorf("%s was written again after a restart: %+v", before.Name, now.Status.Conditions)
		}
	}

	if err := kube.Delete(t.Context(), slice); err != nil {
		t.Fatal(err)
	}
	announcedAs(t, ns, "web", metav1.ConditionFalse, v1beta1.ReasonNotAnnounced, "no speaker reports that it announces 192.168.100.240")
	patchSpec(t, adv, `{"spec":{"communities":["nobody"]}}`)
	announcedAs(t, ns, "later", metav1.ConditionFalse, v1beta1.ReasonNoAdvertisement, "")
	patchSpec(t, adv, `{"spec":{"communities":null,"peers":["tor2"]}}`)
	announcedAs(t, ns, "local", metav1.ConditionTrue, v1beta1.ReasonAnnounced, "is advertised to tor2 (BGP)")

	// Layer 2 as well.
	var s v1beta1.Speaker
	if err := kube.Get(t.Context(), client.ObjectKey{Name: "n2"}, &s); err != nil {
		t.Fatal(err)
	}
	s.Status.Layer2 = []v1beta1.Layer2Address{{IP: "192.168.100.241", Since: metav1.NowMicro()}}
	if err := kube.Status().Update(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	announcedAs(t, ns, "local", metav1.ConditionTrue, v1beta1.ReasonAnnounced, "192.168.100.241 is announced by n2 (layer 2); 192.168.100.241 is advertised to tor2 (BGP)")
}

// Of two advertisements that want different attributes for one route the newer says so, as long as there is such a route.
func TestBGPAdvertisementsThatDiffer(t *testing.T) {
	ns := namespace(t)
	nodesWithSpeakers(t, "n1")
	create(t, newPool("web", "192.168.100.240-192.168.100.249"))
	temporary(t, bgpPeer("tor", "192.168.100.1"))
	first := bgpAdvertisement("first", func(s *v1beta1.BGPAdvertisementSpec) { s.MED = new(int64(100)) })
	temporary(t, first)
	older(t, first)
	second := bgpAdvertisement("second", func(s *v1beta1.BGPAdvertisementSpec) { s.MED = new(int64(200)) })
	temporary(t, second)
	run(t)
	acceptedAs(t, second, v1beta1.ReasonAccepted, "")
	create(t, newService(ns, "a"))
	acceptedAs(t, second, v1beta1.ReasonAttributeConflict, "med 200 has no effect on 192.168.100.240/32: older BGPAdvertisement first has 100 there")
	create(t, newService(ns, "b"))
	acceptedAs(t, second, v1beta1.ReasonAttributeConflict, "on 192.168.100.240/32 and other routes:")
	acceptedAs(t, first, v1beta1.ReasonAccepted, "in use as written")
	for _, name := range []string{"a", "b"} {
		if err := kube.Delete(t.Context(), get(t, ns, name)); err != nil {
			t.Fatal(err)
		}
	}
	acceptedAs(t, second, v1beta1.ReasonAccepted, "")
	create(t, newService(ns, "c"))
	acceptedAs(t, second, v1beta1.ReasonAttributeConflict, "")
	patchSpec(t, second, `{"spec":{"med":100}}`)
	acceptedAs(t, second, v1beta1.ReasonAccepted, "in use as written")
}
