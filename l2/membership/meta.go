package membership

import (
	"slices"

	"fairlead.io/fairlead/l2/netif"
)

// Meta is what a speaker tells the others of itself, beyond being alive.
//
// On the wire it is one version byte (1) followed by fields of the form: type (1 byte), length (1 byte), value. A reader
// skips types that it does not know, so that a newer speaker may say more, and takes a missing field for the zero value. A
// field never changes its meaning; the version changes only when old readers must not try.
type Meta struct {
	// Draining: the node is cordoned; others should go first.
	Draining bool
	// Stopping: the speaker is shutting down and waits to be relieved.
	Stopping bool
	// DataplaneReady: the node's service proxy is healthy, or there is none to ask.
	DataplaneReady bool
	// Settling: the node has come, or come back, and others should go first until it has been well for a while.
	Settling bool
	// CutOff: the node sees, or saw a short while ago, fewer than half of the others alive. It counts for no election.
	CutOff bool
	// Leaving: the speaker is about to go. Leave says it; memberlist does not tell who left from who died.
	Leaving bool
	// Interfaces are the names of the usable interfaces. Names that do not fit (some 30 always do) are left out, and count for
	// no election, here as little as elsewhere: all speakers decide by what was sent.
	Interfaces []string
	// SettlingInterfaces are those of them that have come back a short while ago.
	SettlingInterfaces []string
	// Hardware has the Ethernet addresses of the interfaces, by which others know the frames of this node.
	Hardware []netif.MAC
}

const (
	metaVersion = 1

	fieldFlags     = 1 // one byte of flags
	fieldInterface = 2 // the name of a usable interface; repeated
	fieldSettling  = 3 // the name of a usable interface that is settling; repeated
	fieldHardware  = 4 // Ethernet addresses, 6 bytes each

	flagDraining       = 1 << 0
	flagStopping       = 1 << 1
	flagDataplaneReady = 1 << 2
	flagSettling       = 1 << 3
	flagCutOff         = 1 << 4
	flagLeaving        = 1 << 5
)

// Encode gives the wire form in at most limit bytes, the interfaces in order of their names.
func (m Meta) Encode(limit int) []byte {
	var flags byte
	for _, f := range []struct {
		set bool
		bit byte
	}{{m.Draining, flagDraining}, {m.Stopping, flagStopping}, {m.DataplaneReady, flagDataplaneReady}, {m.Settling, flagSettling}, {m.CutOff, flagCutOff},
		{m.Leaving, flagLeaving}} {
		if f.set {
			flags |= f.bit
		}
	}
	b := append(make([]byte, 0, min(limit, 64)), metaVersion, fieldFlags, 1, flags)
	if hardware := m.Hardware[:min(len(m.Hardware), mostHardware)]; len(hardware) > 0 && len(b)+2+6*len(hardware) <= limit {
		b = append(b, fieldHardware, byte(6*len(hardware)))
		for _, mac := range hardware {
			b = append(b, mac[:]...)
		}
	}
	names := slices.Clone(m.Interfaces)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if len(name) == 0 || len(name) > 255 || len(b)+2+len(name) > limit {
			continue
		}
		kind := byte(fieldInterface)
		if slices.Contains(m.SettlingInterfaces, name) {
			kind = fieldSettling
		}
		b = append(b, kind, byte(len(name)))
		b = append(b, name...)
	}
	return b
}

// mostHardware addresses are told; nodes with more interfaces to a network are rare, and then know the rest as a foreign host's.
const mostHardware = 16

// DecodeMeta reads the wire form. It never fails: what cannot be read is absent, and a speaker of which nothing can be read
// is one with a healthy data plane and no interface, so it is elected for nothing.
func DecodeMeta(b []byte) Meta {
	m := Meta{DataplaneReady: true}
	if len(b) < 1 || b[0] != metaVersion {
		return m
	}
	for b = b[1:]; len(b) >= 2; {
		kind, size := b[0], int(b[1])
		if len(b) < 2+size {
			break
		}
		value := b[2 : 2+size]
		switch {
		case kind == fieldFlags && size >= 1:
			m.Draining = value[0]&flagDraining != 0
			m.Stopping = value[0]&flagStopping != 0
			m.DataplaneReady = value[0]&flagDataplaneReady != 0
			m.Settling = value[0]&flagSettling != 0
			m.CutOff = value[0]&flagCutOff != 0
			m.Leaving = value[0]&flagLeaving != 0
		case kind == fieldInterface && size >= 1:
			m.Interfaces = append(m.Interfaces, string(value))
		case kind == fieldSettling && size >= 1:
			m.Interfaces = append(m.Interfaces, string(value))
			m.SettlingInterfaces = append(m.SettlingInterfaces, string(value))
		case kind == fieldHardware:
			for ; len(value) >= 6 && len(m.Hardware) < mostHardware; value = value[6:] {
				m.Hardware = append(m.Hardware, netif.MAC(value))
			}
		}
		b = b[2+size:]
	}
	return m
}

// Equal reports whether two metas say the same.
func (m Meta) Equal(o Meta) bool {
	return m.Draining == o.Draining && m.Stopping == o.Stopping && m.DataplaneReady == o.DataplaneReady && m.Settling == o.Settling && m.CutOff == o.CutOff && m.Leaving == o.Leaving &&
		slices.Equal(m.Interfaces, o.Interfaces) && slices.Equal(m.SettlingInterfaces, o.SettlingInterfaces) && slices.Equal(m.Hardware, o.Hardware)
}
