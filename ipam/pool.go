package ipam

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go4.org/netipx"
)

// Pool is a set of addresses and the rules for giving them out.
type Pool struct {
	Name string
	// Created orders pools that overlap: the older keeps the overlap. Equal times: by name.
	Created time.Time
	// Addresses in the order in which they are given out.
	Addresses []netipx.IPRange
	// Exclude are addresses that the pool does not have. Another pool may have them.
	Exclude []netipx.IPRange
	// AvoidBuggyIPs leaves out IPv4 addresses that end in .0 or .255.
	AvoidBuggyIPs bool
	// AutoAssign false: only for Services that ask for the pool or for one of its addresses.
	AutoAssign bool
	// Disabled: no new allocations. Addresses in use stay, and the pool still keeps its addresses from newer pools.
	Disabled bool
	// Deleting: no new allocations, and every other pool is older.
	Deleting bool
	// ShareAcrossNamespaces lets Services of different namespaces share an address.
	ShareAcrossNamespaces bool
	// Limits to some Services; nil: for all, after the pools that have Limits.
	Limits *Limits
	// Invalid says why the pool cannot be read; it then has no addresses. Empty: it can.
	Invalid string
}

// Limits of a pool: Services of the namespaces (by name or by selector; both empty: all) that match a Service selector (empty: all).
type Limits struct {
	// Priority among pools with limits: lower first, 0 is last.
	Priority           int32
	Namespaces         []string
	NamespaceSelectors []Selector
	ServiceSelectors   []Selector
}

// Selector selects by labels. Its text is shown to people, and selectors with equal texts are taken for equal.
type Selector interface {
	Matches(labels map[string]string) bool
	String() string
}

// Overlap is a part of a pool that an older one keeps.
type Overlap struct {
	Range netipx.IPRange
	Older string
}

// poolState is a pool with its space.
type poolState struct {
	Pool
	*space
	// claimed ranges are the pool's alone: its addresses without the excluded ones and those that older pools claim.
	claimed  []netipx.IPRange
	overlaps []Overlap
	// assigned counts the addresses that are attributed to the pool, whether it can still give them out or not.
	assigned [families]int64
}

// precedes orders pools for overlaps.
func precedes(a, b *poolState) int {
	switch {
	case a.Deleting != b.Deleting:
		if b.Deleting {
			return -1
		}
		return 1
	case !a.Created.Equal(b.Created):
		return a.Created.Compare(b.Created)
	}
	return strings.Compare(a.Name, b.Name)
}

// choiceOrder orders pools for a choice: those with limits by priority then name, then the others by name.
func choiceOrder(a, b *poolState) int {
	if (a.Limits == nil) != (b.Limits == nil) {
		if b.Limits == nil {
			return -1
		}
		return 1
	}
	if a.Limits != nil {
		// As unsigned, 0 - 1 is the greatest number: no priority is last.
		if pa, pb := uint32(a.Limits.Priority-1), uint32(b.Limits.Priority-1); pa != pb {
			if pa < pb {
				return -1
			}
			return 1
		}
	}
	return strings.Compare(a.Name, b.Name)
}

// refusal is why a pool gives a Service nothing new. A Service may be refused by many pools before one is open to it, so that this is
// found out without making a text.
type refusal uint8

const (
	admits refusal = iota
	isDeleting
	isDisabled
	isUnreadable
	otherNamespaces
	otherServices
	onRequestOnly
)

// stopped: the pool gives out nothing new at all.
func (p *poolState) stopped() refusal {
	switch {
	case p.Deleting:
		return isDeleting
	case p.Disabled:
		return isDisabled
	case p.Invalid != "":
		return isUnreadable
	}
	return admits
}

// refuses a Service, whose namespace has these labels, the addresses that it asks for by name.
func (p *poolState) refuses(req *Request, namespaceLabels map[string]string) refusal {
	if r := p.stopped(); r != admits || p.Limits == nil {
		return r
	}
	l := p.Limits
	if len(l.Namespaces)+len(l.NamespaceSelectors) > 0 &&
		!slices.Contains(l.Namespaces, req.Service.Namespace()) && !anyMatches(l.NamespaceSelectors, namespaceLabels) {
		return otherNamespaces
	}
	if len(l.ServiceSelectors) > 0 && !anyMatches(l.ServiceSelectors, req.Labels) {
		return otherServices
	}
	return admits
}

// leavesOut is like refuses, for a Service that asks for the pool or for nothing in particular.
func (p *poolState) leavesOut(req *Request, namespaceLabels map[string]string) refusal {
	if r := p.refuses(req, namespaceLabels); r != admits || req.Pool != "" || p.AutoAssign {
		return r
	}
	return onRequestOnly
}

// why says the refusal in a sentence; empty: there is none.
func (p *poolState) why(r refusal) (Reason, string) {
	switch r {
	case isDeleting:
		return ReasonPoolDisabled, fmt.Sprintf("pool %s is being deleted", p.Name)
	case isDisabled:
		return ReasonPoolDisabled, fmt.Sprintf("pool %s is disabled", p.Name)
	case isUnreadable:
		return ReasonPoolDisabled, fmt.Sprintf("pool %s cannot be used: %s", p.Name, p.Invalid)
	case otherNamespaces:
		var limits []string
		if l := p.Limits.Namespaces; len(l) > 0 {
			limits = append(limits, "namespaces "+cutList(l, ", "))
		}
		if l := p.Limits.NamespaceSelectors; len(l) > 0 {
			limits = append(limits, "namespaces with labels "+selectorTexts(l))
		}
		return ReasonPoolNotAllowed, fmt.Sprintf("pool %s is limited to %s", p.Name, strings.Join(limits, " and to "))
	case otherServices:
		return ReasonPoolNotAllowed, fmt.Sprintf("pool %s is limited to Services with labels %s", p.Name, selectorTexts(p.Limits.ServiceSelectors))
	case onRequestOnly:
		return ReasonPoolNotAllowed, fmt.Sprintf("pool %s is only for Services that ask for it (spec.autoAssign is false)", p.Name)
	default:
		return "", ""
	}
}

func anyMatches(selectors []Selector, labels map[string]string) bool {
	return slices.ContainsFunc(selectors, func(s Selector) bool { return s.Matches(labels) })
}

func selectorTexts(selectors []Selector) string {
	texts := make([]string, len(selectors))
	for i, s := range selectors {
		if texts[i] = s.String(); texts[i] == "" {
			texts[i] = "(any)"
		}
	}
	return cutList(texts, " or ")
}

// exhausted says that the pool has no free address of the family.
func (p *poolState) exhausted(f Family) string {
	if p.total[f] == (count{}) {
		if len(p.overlaps) > 0 {
			return fmt.Sprintf("pool %s has no %s address of its own: %s keeps them", p.Name, f, p.overlaps[0].Older)
		}
		return fmt.Sprintf("pool %s has no %s addresses", p.Name, f)
	}
	return fmt.Sprintf("pool %s has no free %s address: %d of %d in use", p.Name, f, p.inUse[f], p.total[f].int64())
}

// sameSpace reports whether two versions of a pool have the same addresses.
func sameSpace(a, b *Pool) bool {
	return a.Created.Equal(b.Created) && a.Deleting == b.Deleting && a.AvoidBuggyIPs == b.AvoidBuggyIPs && a.Invalid == b.Invalid &&
		slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.Exclude, b.Exclude)
}

// sameRules reports whether two versions of a pool give out their addresses by the same rules.
func sameRules(a, b *Pool) bool {
	return a.AutoAssign == b.AutoAssign && a.Disabled == b.Disabled && a.ShareAcrossNamespaces == b.ShareAcrossNamespaces &&
		(a.Limits == nil) == (b.Limits == nil) && (a.Limits == nil || a.Limits.Priority == b.Limits.Priority &&
		slices.Equal(a.Limits.Namespaces, b.Limits.Namespaces) &&
		slices.EqualFunc(a.Limits.NamespaceSelectors, b.Limits.NamespaceSelectors, sameText) &&
		slices.EqualFunc(a.Limits.ServiceSelectors, b.Limits.ServiceSelectors, sameText))
}

func sameText(a, b Selector) bool { return a.String() == b.String() }

// cutList joins a list for a sentence and cuts it where it gets too long to read.
func cutList(list []string, sep string) string {
	const most = 8
	if len(list) <= most {
		return strings.Join(list, sep)
	}
	return fmt.Sprintf("%s%sand %d more", strings.Join(list[:most], sep), sep, len(list)-most)
}

// rangesOf formats a pool's list for a sentence.
func rangesOf(list []netipx.IPRange) string {
	texts := make([]string, len(list))
	for i, r := range list {
		texts[i] = FormatRange(r)
	}
	return cutList(texts, ", ")
}
