package arp

import (
	"fmt"
	"net/netip"

	"github.com/go-logr/logr"

	"fairlead.io/fairlead/l2/frames"
	"fairlead.io/fairlead/l2/metrics"
	"fairlead.io/fairlead/l2/netif"
)

// Handler is whom a responder asks and tells. Its methods are called for received frames and must return fast.
type Handler interface {
	// Answers says whether to answer for an address on an interface.
	Answers(ifname string, addr netip.Addr) bool
	// Watches says whether to tell who claims an address on an interface.
	Watches(ifname string, addr netip.Addr) bool
	// Claimed tells that other hardware claims an address that is watched.
	Claimed(ifname string, addr netip.Addr, mac netif.MAC)
	// Failed tells that nothing is received anymore on an interface.
	Failed(ifname string, err error)
}

// Responder answers on one interface. Its methods are safe for concurrent use.
type Responder struct {
	ifi     netif.Interface
	handler Handler
	metrics *metrics.Set
	log     logr.Logger
	conn    *frames.Conn
}

// Listen starts to answer on an interface, which needs no address of its own.
func Listen(ifi netif.Interface, handler Handler, m *metrics.Set, log logr.Logger) (*Responder, error) {
	prog, err := filter()
	if err != nil {
		return nil, err
	}
	r := &Responder{ifi: ifi, handler: handler, metrics: m, log: log.WithValues("interface", ifi.Name)}
	ready := make(chan struct{}) // frames may arrive before conn is set
	conn, err := frames.Listen(ifi, etherType, prog, 128, func(frame []byte) { <-ready; r.handle(frame) },
		func(err error) { handler.Failed(ifi.Name, err) })
	if err != nil {
		return nil, fmt.Errorf("listen for ARP: %w", err)
	}
	r.conn = conn
	close(ready)
	return r, nil
}

func (r *Responder) handle(frame []byte) {
	v := decide(frame, r.ifi.MAC, func(a netip.Addr) bool { return r.handler.Watches(r.ifi.Name, a) },
		func(a netip.Addr) bool { return r.handler.Answers(r.ifi.Name, a) })
	if v.reply != nil {
		r.metrics.Requests.WithLabelValues(metrics.ARP).Inc()
		if err := r.conn.Write(v.reply); err != nil {
			r.log.V(1).Info("ARP answer not sent", "error", err.Error())
		} else {
			r.metrics.Responses.WithLabelValues(metrics.ARP).Inc()
		}
	}
	if v.claimed.IsValid() {
		r.handler.Claimed(r.ifi.Name, v.claimed, v.mac)
	}
}

// Announce sends gratuitous ARP for an IPv4 address, once, in both forms.
func (r *Responder) Announce(addr netip.Addr) error {
	list, err := announcements(r.ifi.MAC, addr)
	if err != nil {
		return fmt.Errorf("make gratuitous ARP for %s: %w", addr, err)
	}
	for _, frame := range list {
		if err := r.conn.Write(frame); err != nil {
			return fmt.Errorf("announce %s: %w", addr, err)
		}
		r.metrics.Gratuitous.WithLabelValues(metrics.ARP).Inc()
	}
	return nil
}

// Probe asks, once, who has an IPv4 address, without a claim to it (RFC 5227, 2.1.1).
func (r *Responder) Probe(addr netip.Addr) error {
	frame, err := probe(r.ifi.MAC, addr)
	if err != nil {
		return fmt.Errorf("make a probe for %s: %w", addr, err)
	}
	if err := r.conn.Write(frame); err != nil {
		return fmt.Errorf("probe for %s: %w", addr, err)
	}
	return nil
}

// Close stops answering.
func (r *Responder) Close() error { return r.conn.Close() }
