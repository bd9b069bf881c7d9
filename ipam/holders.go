package ipam

import (
	"encoding/binary"
	"net/netip"
)

// holders finds who holds an address first. Addresses that are next to each other, as most are, share a page: that is smaller than
// a map of addresses, and a look at it touches less memory.
type holders struct {
	v4 map[uint32]*page     // by the address without its last bits
	v6 map[netip.Addr]*page // by the address with its last bits zero
	n  int
}

// page is 32 addresses that differ in their last five bits.
type page struct {
	at [1 << pageBits]*allocation
	n  int
}

const pageBits = 5

func newHolders() holders {
	return holders{v4: map[uint32]*page{}, v6: map[netip.Addr]*page{}}
}

// v4Key and v6Key are an address's page and its place there.
func v4Key(a netip.Addr) (key uint32, slot int) {
	b := a.As4()
	n := binary.BigEndian.Uint32(b[:])
	return n >> pageBits, int(n & (1<<pageBits - 1))
}

func v6Key(a netip.Addr) (key netip.Addr, slot int) {
	b := a.As16()
	slot = int(b[15] & (1<<pageBits - 1))
	b[15] &^= 1<<pageBits - 1
	return netip.AddrFrom16(b), slot
}

func (h *holders) page(a netip.Addr) (p *page, slot int) {
	if a.Is4() {
		key, slot := v4Key(a)
		return h.v4[key], slot
	}
	key, slot := v6Key(a)
	return h.v6[key], slot
}

// of an address; nil: nobody.
func (h *holders) of(a netip.Addr) *allocation {
	p, slot := h.page(a)
	if p == nil {
		return nil
	}
	return p.at[slot]
}

func (h *holders) set(a netip.Addr, s *allocation) {
	p, slot := h.page(a)
	if p == nil {
		p = &page{}
		if a.Is4() {
			key, _ := v4Key(a)
			h.v4[key] = p
		} else {
			key, _ := v6Key(a)
			h.v6[key] = p
		}
	}
	if p.at[slot] == nil {
		p.n++
		h.n++
	}
	p.at[slot] = s
}

func (h *holders) remove(a netip.Addr) {
	p, slot := h.page(a)
	if p == nil || p.at[slot] == nil {
		return
	}
	p.at[slot] = nil
	p.n--
	h.n--
	if p.n > 0 {
		return
	}
	if a.Is4() {
		key, _ := v4Key(a)
		delete(h.v4, key)
	} else {
		key, _ := v6Key(a)
		delete(h.v6, key)
	}
}

func (h *holders) len() int { return h.n }

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
