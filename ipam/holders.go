package ipam

import (
	"encoding/binary"
	"net/netip"
)

// holders finds who holds an address first. IPv4 addresses have a map of their own, because a key of four bytes makes it half as large
// and faster.
type holders struct {
	v4 map[uint32]*allocation
	v6 map[netip.Addr]*allocation
}

func newHolders() holders {
	return holders{v4: map[uint32]*allocation{}, v6: map[netip.Addr]*allocation{}}
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// of an address; nil: nobody.
func (h *holders) of(a netip.Addr) *allocation {
	if a.Is4() {
		return h.v4[number(a)]
	}
	return h.v6[a]
}

func (h *holders) set(a netip.Addr, s *allocation) {
	if a.Is4() {
		h.v4[number(a)] = s
	} else {
		h.v6[a] = s
	}
}

func (h *holders) remove(a netip.Addr) {
	if a.Is4() {
		delete(h.v4, number(a))
	} else {
		delete(h.v6, a)
	}
}

func (h *holders) len() int { return len(h.v4) + len(h.v6) }

// poolName stands for the name of a pool, in a quarter of its size. 0 is no pool.
type poolName uint32

// names numbers the names of pools as they come. It never forgets one; there are at most as many as pools and annotations ever named.
type names struct {
	list []string
	ids  map[string]poolName
}

func newNames() names { return names{list: []string{""}, ids: map[string]poolName{"": 0}} }

func (n *names) id(name string) poolName {
	id, ok := n.ids[name]
	if !ok {
		id = poolName(len(n.list))
		n.list = append(n.list, name)
		n.ids[name] = id
	}
	return id
}

func (n *names) of(id poolName) string { return n.list[id] }
