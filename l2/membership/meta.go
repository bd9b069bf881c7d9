package membership

import (
	"slices"
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
	// Interfaces are the names of the usable interfaces. Names that do not fit (some 30 always do) are left out, and count for
	// no election, here as little as elsewhere: all speakers decide by what was sent.
	Interfaces []string
}

const (
	metaVersion = 1

	fieldFlags     = 1 // one byte of flags
	fieldInterface = 2 // the name of a usable interface; repeated

	flagDraining       = 1 << 0
	flagStopping       = 1 << 1
	flagDataplaneReady = 1 << 2
)

// Encode gives the wire form in at most limit bytes, the interfaces in order of their names.
func (m Meta) Encode(limit int) []byte {
	var flags byte
	for _, f := range []struct {
		set bool
		bit byte
	}{{m.Draining, flagDraining}, {m.Stopping, flagStopping}, {m.DataplaneReady, flagDataplaneReady}} {
		if f.set {
			flags |= f.bit
		}
	}
	b := append(make([]byte, 0, min(limit, 64)), metaVersion, fieldFlags, 1, flags)
	names := slices.Clone(m.Interfaces)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if len(name) == 0 || len(name) > 255 || len(b)+2+len(name) > limit {
			continue
		}
		b = append(b, fieldInterface, byte(len(name)))
		b = append(b, name...)
	}
	return b
}

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
		case kind == fieldInterface && size >= 1:
			m.Interfaces = append(m.Interfaces, string(value))
		}
		b = b[2+size:]
	}
	return m
}

// Equal reports whether two metas say the same.
func (m Meta) Equal(o Meta) bool {
	return m.Draining == o.Draining && m.Stopping == o.Stopping && m.DataplaneReady == o.DataplaneReady &&
		slices.Equal(m.Interfaces, o.Interfaces)
}
