package announce

import (
	"errors"
	"net/netip"

	"github.com/go-logr/logr"

	"fairlead.io/fairlead/l2/arp"
	"fairlead.io/fairlead/l2/metrics"
	"fairlead.io/fairlead/l2/ndp"
	"fairlead.io/fairlead/l2/netif"
)

// OpenPort gives an Opener that answers ARP and NDP on a real interface.
func OpenPort(m *metrics.Set, log logr.Logger) Opener {
	return func(ifi netif.Interface, h Handler) (Port, error) {
		v4, err := arp.Listen(ifi, h, m, log)
		if err != nil {
			return nil, err
		}
		v6, err := ndp.Listen(ifi, h, m, log)
		if err != nil {
			return nil, errors.Join(err, v4.Close())
		}
		return &dualPort{v4, v6}, nil
	}
}

// dualPort answers for IPv4 by ARP and for IPv6 by NDP.
type dualPort struct {
	arp *arp.Responder
	ndp *ndp.Responder
}

func (p *dualPort) Announce(addr netip.Addr) error {
	if addr.Is4() {
		return p.arp.Announce(addr)
	}
	return p.ndp.Announce(addr)
}

func (p *dualPort) Probe(addr netip.Addr) error {
	if addr.Is4() {
		return p.arp.Probe(addr)
	}
	return p.ndp.Probe(addr)
}

// Join matters to IPv6 alone: ARP requests are broadcast.
func (p *dualPort) Join(addr netip.Addr) error {
	if addr.Is4() {
		return nil
	}
	return p.ndp.Join(addr)
}

func (p *dualPort) Leave(addr netip.Addr) error {
	if addr.Is4() {
		return nil
	}
	return p.ndp.Leave(addr)
}

func (p *dualPort) Close() error { return errors.Join(p.arp.Close(), p.ndp.Close()) }
