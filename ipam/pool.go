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

// closedTo says why a Service, whose namespace has these labels, may not have an address of the pool, in a sentence; empty: it may.
func (p *poolState) closedTo(req *Request, namespaceLabels map[string]string) string {
	if p.Limits == nil {
		return ""
	}
	l := p.Limits
	if len(l.Namespaces)+len(l.NamespaceSelectors) > 0 &&
		!slices.Contains(l.Namespaces, req.Service.Namespace()) && !anyMatches(l.NamespaceSelectors, namespaceLabels) {
		var limits []string
		if len(l.Namespaces) > 0 {
			limits = append(limits, "namespaces "+cutList(l.Namespaces, ", "))
		}
		if len(l.NamespaceSelectors) > 0 {
			limits = append(limits, "namespaces with labels "+selectorTexts(l.NamespaceSelectors))
		}
		return fmt.Sprintf("pool %s is limited to %s", p.Name, strings.Join(limits, " and to "))
	}
	if len(l.ServiceSelectors) > 0 && !anyMatches(l.ServiceSelectors, req.Labels) {
		return fmt.Sprintf("pool %s is limited to Services with labels %s", p.Name, selectorTexts(l.ServiceSelectors))
	}
	return ""
}

// refuses says why the pool is not among those that a Service is given an address from; empty: it is.
func (p *poolState) refuses(req *Request, namespaceLabels map[string]string) (Reason, string) {
	if reason, why := p.stopped(); why != "" {
		return reason, why
	}
	if why := p.closedTo(req, namespaceLabels); why != "" {
		return ReasonPoolNotAllowed, why
	}
	if req.Pool == "" && !p.AutoAssign {
		return ReasonPoolNotAllowed, fmt.Sprintf("pool %s is only for Services that ask for it (spec.autoAssign is false)", p.Name)
	}
	return "", ""
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

// stopped says why the pool gives out nothing new; empty: it does.
func (p *poolState) stopped() (Reason, string) {
	switch {
	case p.Deleting:
		return ReasonPoolDisabled, fmt.Sprintf("pool %s is being deleted", p.Name)
	case p.Disabled:
		return ReasonPoolDisabled, fmt.Sprintf("pool %s is disabled", p.Name)
	case p.Invalid != "":
		return ReasonPoolDisabled, fmt.Sprintf("pool %s cannot be used: %s", p.Name, p.Invalid)
	}
	return "", ""
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
