package announced

import (
	"fmt"
	"net/netip"

	"fairlead.io/fairlead/api/v1beta1"
)

// Sentence that says what is, and for a conflict what to do; pool is where the address is from. Empty: no node reports on the address.
func (s State) Sentence(addr netip.Addr, pool string) string {
	switch {
	case s.Conflict != nil:
		return Claim(s.Conflict, s.Node) + "; " + Remedy(pool)
	case s.Announces:
		return fmt.Sprintf("%s is announced by %s (layer 2)", addr, s.Node)
	}
	return ""
}

// Claim says what a conflict is about. Without a node it is the one that reports it, which the reader knows.
func Claim(c *v1beta1.AddressConflict, node string) string {
	by, seen := "", "seen on "+c.Interface
	if node != "" {
		by, seen = " by "+node+" (layer 2)", "seen by "+node+" on "+c.Interface
	}
	if c.Announced {
		return fmt.Sprintf("%s is announced%s, but the host with hardware address %s, %s, uses it too and may get part of its traffic", c.IP, by, c.HardwareAddress, seen)
	}
	return fmt.Sprintf("%s is not announced: the host with hardware address %s, %s, already uses it", c.IP, c.HardwareAddress, seen)
}

// Remedy says what to do about a conflict. An address in use stays with its Service, so that to exclude it from the pool is not enough.
func Remedy(pool string) string {
	if pool == "" {
		pool = "its pool"
	} else {
		pool = "pool " + pool
	}
	return fmt.Sprintf("free the address on that host, or exclude it from %s (spec.excludeAddresses) and let the Service ask for another one (annotation %s)",
		pool, v1beta1.AnnotationLoadBalancerIPs)
}
