package e2e

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
)

// testAddressConflict: an address that a host outside the cluster has is not announced, and everybody is told by whom and why; when he has
// given it up it is. One that a host takes while a node answers for it is kept, and that is told as well.
func testAddressConflict(t *testing.T) {
	s := newScenario(t)
	s.web("web", 1, "")
	stranger := s.host("cp")
	result, err := stranger.Exec(s.ctx, "cat", "/sys/class/net/"+stranger.Interface()+"/address")
	s.Expect(err).NotTo(HaveOccurred())
	mac := result.Stdout[:17]
	take := func(addr netip.Addr) (leave func()) {
		s.Helper()
		prefix := netip.PrefixFrom(addr, addr.BitLen()).String()
		args := []string{"ip", "address", "add", prefix, "dev", stranger.Interface()}
		if addr.Is6() {
			args = append(args, "nodad") // it would find that the address is taken, and do without
		}
		_, err := stranger.Exec(s.ctx, args...)
		s.Expect(err).NotTo(HaveOccurred())
		return s.undo(func() {
			_, err := stranger.Exec(context.Background(), "ip", "address", "delete", prefix, "dev", stranger.Interface())
			s.Expect(err).NotTo(HaveOccurred())
		})
	}
	told := func(g Gomega, svc *corev1.Service) {
		g.Expect(message(svc, v1beta1.ConditionAnnounced)).To(And(ContainSubstring(mac), ContainSubstring(addresses(svc)[0].String())))
		var events eventsv1.EventList
		g.Expect(cluster.List(s.ctx, &events, client.InNamespace(s.namespace))).To(Succeed())
		n := 0
		for _, e := range events.Items {
			if e.Regarding.Name == svc.Name && e.Reason == v1beta1.ReasonAddressConflict {
				n++
			}
		}
		g.Expect(n).To(Equal(1), "events that tell of the conflict over %s", svc.Name)
	}

	for name, v := range map[string]struct {
		addr netip.Addr
		edit func(*corev1.Service)
	}{
		"ipv4": {s.v4.Next(), func(*corev1.Service) {}},
		"ipv6": {s.v6.Next(), ipv6Only},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			leave := take(v.addr)
			svc := s.service("foreign-"+name, "web", v.edit, annotated(v1beta1.AnnotationLoadBalancerIPs, v.addr.String()))
			s.create(svc)
			s.Eventually(func(g Gomega) {
				s.get(g, svc)
				g.Expect(addresses(svc)).To(Equal([]netip.Addr{v.addr}))
				g.Expect(status(svc, v1beta1.ConditionAnnounced)).To(Equal(metav1.ConditionFalse))
				g.Expect(reason(svc, v1beta1.ConditionAnnounced)).To(Equal(v1beta1.ReasonAddressConflict), "Announced says: %s", message(svc, v1beta1.ConditionAnnounced))
				told(g, svc)
			}).Should(Succeed())
			macs, err := claims(v.addr, time.Second)
			s.Expect(err).NotTo(HaveOccurred())
			s.Expect(macs).To(Equal([]string{mac}), "who answers for %s", v.addr)
			leave()
			s.Eventually(func(g Gomega) {
				s.get(g, svc)
				g.Expect(status(svc, v1beta1.ConditionAnnounced)).To(Equal(metav1.ConditionTrue))
				g.Expect(reason(svc, v1beta1.ConditionAnnounced)).To(Equal(v1beta1.ReasonAnnounced))
			}).Should(Succeed())

			leave = take(v.addr)
			s.Eventually(func(g Gomega) {
				// Again and again: the address may just have come to a node that has not seen it.
				g.Expect(stranger.Do(func() error { return use(v.addr, stranger.Interface()) })).To(Succeed())
				s.get(g, svc)
				g.Expect(status(svc, v1beta1.ConditionAnnounced)).To(Equal(metav1.ConditionTrue))
				g.Expect(reason(svc, v1beta1.ConditionAnnounced)).To(Equal(v1beta1.ReasonAddressConflict), "Announced says: %s", message(svc, v1beta1.ConditionAnnounced))
			}).Should(Succeed())
			leave()
		})
	}
}

// use makes a host show that it has an address: by IPv4 it announces it, as hosts do that take one; by IPv6 it looks for a neighbour from it.
func use(addr netip.Addr, ifname string) error {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return err
	}
	if addr.Is6() {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: addr.AsSlice()})
		if err != nil {
			return err
		}
		_, err = conn.WriteTo([]byte{0}, &net.UDPAddr{IP: net.ParseIP("fd00:100::dead"), Port: 9}) // nobody has that, so that he has to ask
		return errors.Join(err, conn.Close())
	}
	c, err := arp.Dial(ifi)
	if err != nil {
		return err
	}
	p, err := arp.NewPacket(arp.OperationRequest, ifi.HardwareAddr, addr, ethernet.Broadcast, addr)
	if err != nil {
		return errors.Join(err, c.Close())
	}
	return errors.Join(c.WriteTo(p, ethernet.Broadcast), c.Close())
}
