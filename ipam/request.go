package ipam

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Key names a Service as namespace/name.
type Key string

// Namespace of the Service.
func (k Key) Namespace() string {
	ns, _, _ := strings.Cut(string(k), "/")
	return ns
}

// Service names a Service by its namespace and name.
func Service(namespace, name string) Key { return Key(namespace + "/" + name) }

// Name of the Service.
func (k Key) Name() string {
	_, name, _ := strings.Cut(string(k), "/")
	return name
}

// Request is what a Service wants.
type Request struct {
	Service Key
	// Created orders Services that wait: older first.
	Created time.Time
	// Labels of the Service, for pools that are limited.
	Labels map[string]string
	// Families wanted, in the order in which the addresses are listed. Empty: the Service cannot be served and gives up what it has.
	Families []Family
	// Policy for more than one family.
	Policy FamilyPolicy
	// Pool that the addresses must come from; empty: any that is open to the Service.
	Pool string
	// Addresses asked for, at most one of each family.
	Addresses []netip.Addr
	// Sharing is how the Service would share an address; nil: not at all.
	Sharing *Sharing
	// Invalid says why the request cannot be read. The Service is given nothing new and keeps what it has.
	Invalid string
}

// FamilyPolicy says what happens when only one of two families can be had.
type FamilyPolicy uint8

const (
	// Prefer gives what there is and completes it later. With one family there is no difference.
	Prefer FamilyPolicy = iota
	// Require gives a Service that has no address both or none.
	Require
)

// explicit requests name an address or a pool; they are served before automatic ones.
func (r *Request) explicit() bool { return r.Pool != "" || len(r.Addresses) > 0 }

// wanted address of the family, if one is asked for.
func (r *Request) wanted(f Family) (netip.Addr, bool) {
	i := slices.IndexFunc(r.Addresses, func(a netip.Addr) bool { return FamilyOf(a) == f })
	if i < 0 {
		return netip.Addr{}, false
	}
	return r.Addresses[i], true
}

// requestOrder is the order in which waiting Services are served: explicit requests before automatic ones, then oldest first.
func requestOrder(a, b *Request) int {
	if a.explicit() != b.explicit() {
		if a.explicit() {
			return -1
		}
		return 1
	}
	return ageOrder(a, b)
}

func ageOrder(a, b *Request) int {
	return cmp.Or(a.Created.Compare(b.Created), strings.Compare(string(a.Service), string(b.Service)))
}

// Sharing is what decides which Services may share an address.
type Sharing struct {
	// Key that both must name.
	Key string
	// Ports that the Service listens on; two Services on one address have none in common.
	Ports []Port
	// Foreign: another implementation gave the Service its addresses, so that nobody can share them.
	Foreign bool
	// Local is the selector's identity where only nodes with an endpoint take traffic (externalTrafficPolicy Local), and empty
	// where all nodes do. It must be equal, because an address is announced from one set of nodes.
	Local string
	// Selector is what Local is made of, without the namespace. Services that share an address already, as other implementations let
	// them where these are equal, go on sharing it.
	Selector string
}

// Port of a protocol.
type Port struct {
	Protocol string
	Port     uint16
}

// conflict says why two Services cannot be on one address, whatever the pool allows; empty: they can. Staying is for two that are on it.
func (s *Sharing) conflict(o *Sharing, staying bool) string {
	switch {
	case s != nil && o != nil && s.Foreign && o.Foreign:
		return "" // what others do among themselves is theirs
	case o != nil && o.Foreign:
		return "it is served by another implementation"
	case s != nil && s.Foreign:
		return "this Service is served by another implementation"
	case s == nil:
		return "this Service names no sharing key"
	case o == nil:
		return "it names no sharing key"
	case s.Key != o.Key:
		return "it names another sharing key"
	case s.Local != o.Local && staying && s.Local != "" && o.Local != "" && s.Selector == o.Selector:
		// adopted like that
	case s.Local != o.Local && (s.Local == "" || o.Local == ""):
		return "the two differ in externalTrafficPolicy"
	case s.Local != o.Local:
		return "both have externalTrafficPolicy Local and their selectors differ"
	}
	for _, p := range s.Ports {
		if slices.Contains(o.Ports, p) {
			return "both have port " + p.String()
		}
	}
	return ""
}

func (s *Sharing) equal(o *Sharing) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.Key == o.Key && s.Foreign == o.Foreign && s.Local == o.Local && slices.Equal(s.Ports, o.Ports)
}
