// Package announced puts together what the speakers report of one address on the local network: which node announces it, and which
// other host uses it as well. The Service's condition, the Speaker's and kubectl-fairlead say the same, in the same words.
//
// It reads reports alone; which node ought to announce an address is the subject of layer2.
package announced

import (
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"fairlead.io/fairlead/api/v1beta1"
)

// Report is what one speaker says of an address.
type Report struct {
	// Announces: the node answers for the address, since Since.
	Announces bool
	Since     time.Time
	// Conflict with another host; nil: none.
	Conflict *v1beta1.AddressConflict
}

// Reports that a speaker makes, by address. Nil makes none.
func Reports(s *v1beta1.SpeakerStatus) map[netip.Addr]Report {
	reports := map[netip.Addr]Report{}
	if s == nil {
		return reports
	}
	for _, l := range s.Layer2 {
		if addr, err := netip.ParseAddr(l.IP); err == nil {
			reports[addr] = Report{Announces: true, Since: l.Since.Time}
		}
	}
	for _, c := range s.Conflicts {
		addr, err := netip.ParseAddr(c.IP)
		if err != nil {
			continue
		}
		r := reports[addr]
		if c.Announced && !r.Announces {
			continue // it has given the address up, and the conflict with it
		}
		c.Announced = r.Announces
		r.Conflict = &c
		reports[addr] = r
	}
	return reports
}

// Equal reports whether two reports say the same.
func (r Report) Equal(o Report) bool {
	return r.Announces == o.Announces && r.Since.Equal(o.Since) && equality.Semantic.DeepEqual(r.Conflict, o.Conflict)
}

// since is when the node began to announce the address, or to refrain from it.
func (r Report) since() time.Time {
	if !r.Announces && r.Conflict != nil {
		return r.Conflict.Since.Time
	}
	return r.Since
}

// State of an address.
type State struct {
	// Node whose report counts; empty: there is none.
	Node string
	Report
}

// Of several nodes that report on an address the one that took it up last counts: several do while it is handed over, and for as long as
// a node is dead, because nobody takes back what its speaker said last.
func Of(reports map[string]Report) State {
	var last State
	for node, r := range reports {
		if c := r.since().Compare(last.since()); last.Node == "" || c > 0 || c == 0 && node < last.Node {
			last = State{node, r}
		}
	}
	return last
}
