package manager

import (
	"fmt"
	"net/netip"
	"testing"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bfd/udp"
)

// RFC 5880, 6.3 and 6.8.6: the discriminator alone selects the session; RFC 5881, 3: as long as it is not known, the sender, the
// interface and the family do.
func TestFind(t *testing.T) {
	tables := newTables()
	session := func(n uint32, peer, local, ifname string, port uint16) *session {
		k := Key{Peer: netip.MustParseAddr(peer), Interface: ifname, Port: port}
		if local != "" {
			k.Local = netip.MustParseAddr(local)
		}
		machine, err := bfd.NewSession(fast().Config, n, mustRandom(t, &tables), now)
		if err != nil {
			t.Fatal(err)
		}
		s := &session{key: k, machine: machine}
		if ifname != "" {
			s.ifindex.Store(int64(ifname[len(ifname)-1] - '0'))
		}
		tables.insert(s)
		return s
	}
	session(1, "192.0.2.2", "", "", 3784)
	session(2, "192.0.2.2", "", "eth2", 3784)
	session(3, "192.0.2.2", "192.0.2.1", "", 3784)
	session(4, "192.0.2.2", "192.0.2.1", "eth4", 3784)
	session(5, "192.0.2.2", "", "", 4784)
	session(6, "fe80::2", "", "eth1", 3784)
	session(7, "fe80::2", "", "eth2", 3784)
	session(8, "192.0.2.3", "192.0.2.1", "", 3784)
	unopened := session(9, "192.0.2.9", "", "eth9", 3784)
	unopened.ifindex.Store(0)

	for _, c := range []struct {
		source, destination string
		ifindex             int
		port                uint16
		discriminator, want uint32
	}{
		{"192.0.2.2", "192.0.2.7", 1, 3784, 0, 1},
		{"192.0.2.2", "192.0.2.7", 2, 3784, 0, 2},
		{"192.0.2.2", "192.0.2.1", 2, 3784, 0, 3}, // the address is more specific than the interface
		{"192.0.2.2", "192.0.2.1", 4, 3784, 0, 4},
		{"192.0.2.2", "192.0.2.1", 4, 4784, 0, 5},
		{"192.0.2.2", "192.0.2.1", 4, 9793, 0, 0},
		{"fe80::2", "fe80::1", 1, 3784, 0, 6},
		{"fe80::2", "fe80::1", 2, 3784, 0, 7},
		{"fe80::2", "fe80::1", 3, 3784, 0, 0},
		{"192.0.2.3", "192.0.2.1", 1, 3784, 0, 8},
		{"192.0.2.3", "192.0.2.7", 1, 3784, 0, 0},
		{"192.0.2.4", "192.0.2.1", 1, 3784, 0, 0},
		{"192.0.2.9", "192.0.2.1", 9, 3784, 0, 0}, // its interface is not there

		{"198.51.100.1", "192.0.2.1", 9, 3784, 8, 8}, // whatever the source and the interface
		{"198.51.100.1", "192.0.2.1", 9, 4784, 8, 0}, // but a packet for several hops is none for one
		{"198.51.100.1", "192.0.2.1", 9, 4784, 5, 5},
		{"2001:db8::1", "2001:db8::2", 1, 3784, 8, 0}, // RFC 5881, 2: a session has one family
		{"192.0.2.2", "192.0.2.1", 1, 3784, 10, 0},
	} {
		d := udp.Datagram{Source: netip.MustParseAddr(c.source), Destination: netip.MustParseAddr(c.destination), Interface: c.ifindex, Port: c.port}
		var got uint32
		if s := tables.find(&d, &bfd.Packet{YourDiscriminator: c.discriminator}); s != nil {
			got = s.machine.Discriminator()
		}
		if got != c.want {
			t.Errorf("%+v: session %d", c, got)
		}
	}

	leaving := tables.byDiscr[8]
	tables.leave(leaving)
	d := udp.Datagram{Source: leaving.key.Peer, Destination: leaving.key.Local, Port: 3784}
	if tables.find(&d, &bfd.Packet{}) != nil || tables.find(&d, &bfd.Packet{YourDiscriminator: 8}) != leaving {
		t.Error("a session that leaves is to be found by its discriminator alone")
	}
	empty := tables.empty
	for _, s := range tables.byDiscr {
		if tables.byKey[s.key] == s {
			tables.leave(s)
		}
		tables.forget(s)
	}
	if n := len(tables.byKey) + len(tables.leaving) + len(tables.byDiscr) + len(tables.byPeer); n != 0 {
		t.Errorf("%d entries are left", n)
	}
	select {
	case <-empty:
	default:
		t.Error("nobody was told that the last session has gone")
	}
}

func TestKeyString(t *testing.T) {
	for want, k := range map[string]Key{
		"192.0.2.2:3784":                      {Peer: netip.MustParseAddr("192.0.2.2"), Port: 3784},
		"[fe80::2]:3784 on eth0":              {Peer: netip.MustParseAddr("fe80::2"), Port: 3784, Interface: "eth0"},
		"[2001:db8::2]:4784 from 2001:db8::1": {Peer: netip.MustParseAddr("2001:db8::2"), Port: 4784, Local: netip.MustParseAddr("2001:db8::1")},
	} {
		if got := fmt.Sprint(k); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
