package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Decide says what a Service would get now, and why. It changes nothing.
//
// For each family: an address that the Service holds stays unless the request asks for another; else the requested address; else,
// of the requested pool or of the pools that are open to the Service in their order, an address that its sharing key has, and then
// the lowest free one. A Service that asks for something else than it holds keeps what it holds until it can have the other,
// unless it can no longer share it.
func (a *Allocator) Decide(req Request) Decision {
	return a.decide(&req, a.services.of(req.Service), false)
}

// decide with what the Service has; nil: nothing. A brief decision does not say which pools were looked at where it gives all that is asked
// for.
func (a *Allocator) decide(req *Request, has *allocation, brief bool) Decision {
	d := Decision{brief: brief}
	if len(req.Families) == 0 {
		d.Complete = true
		d.Reason, d.missing = ReasonNoClusterIP, "the Service has no cluster IP, so that no node would forward to it: it is given no address"
		return d
	}
	invalid := req.Invalid
	for _, want := range req.Addresses {
		if invalid == "" && !slices.Contains(req.Families, FamilyOf(want)) {
			invalid = fmt.Sprintf("the Service asks for %s but has no %s cluster IP", want, FamilyOf(want))
		}
	}

	var few [families]familyResult
	results := append(few[:0], make([]familyResult, len(req.Families))...)
	for i, f := range req.Families {
		if invalid != "" {
			results[i] = a.keepOnly(req, has, f, &d)
		} else {
			results[i] = a.decideFamily(req, has, f, &d)
		}
	}
	if invalid != "" {
		d.Complete = true // only the Service's owner can help, and that is an event of its own
		conclude(&d, results)
		d.Reason, d.missing = ReasonInvalidRequest, invalid
		if len(d.Addresses) > 0 {
			d.missing += "; the Service keeps " + addressTexts(d.Addresses) + " until then"
		}
		return d
	}
	if req.Policy == Require {
		bothOrNone(results)
	}
	if !brief {
		d.agree(results)
	}
	explain(&d, req, results)
	conclude(&d, results)
	return d
}

// DecideAmong decides for one Service of many that are assigned at once, as AssignAll would: those that come before it are assigned. False:
// it is not among them.
func (a *Allocator) DecideAmong(reqs []Request, service Key) (Decision, bool) {
	i := slices.IndexFunc(reqs, func(r Request) bool { return r.Service == service })
	if i < 0 {
		return Decision{}, false
	}
	req := reqs[i]
	a.AssignAll(slices.DeleteFunc(slices.Clone(reqs), func(r Request) bool { return requestOrder(&r, &req) >= 0 }))
	return a.Decide(req), true
}

// familyResult is what one family comes to.
type familyResult struct {
	family Family
	addr   Assigned // the address that the Service has from now on; invalid: none
	kept   bool     // addr was held before
	// instead is what the Service holds and would go on holding if addr, which is new, were not given.
	instead Assigned
	// unmet: addr is not what is asked for. reason and message say why.
	unmet   bool
	reason  Reason
	message string
}

// holdOf the family that the Service may go on holding: it can still share it, if it does.
func (a *Allocator) holdOf(req *Request, has *allocation, f Family, d *Decision) (held Assigned, lost string) {
	if has == nil {
		return Assigned{}, ""
	}
	want, asked := req.wanted(f)
	leaving := false
	for _, h := range has.held {
		if FamilyOf(h.addr) != f {
			continue
		}
		if keeper, why := a.blocks(h.addr, req.Service, req.Sharing, true); why != "" {
			d.waits = append(d.waits, waitKey{addr: h.addr})
			lost = fmt.Sprintf("it can no longer share %s with Service %s: %s", h.addr, keeper, why)
			d.Lost = append(d.Lost, Lost{h.addr, lost})
			continue
		}
		// What is being left is still in the Service's status: staying there after all beats moving, unless it has moved already.
		pool := a.names.of(h.pool)
		better := !held.Addr.IsValid() || leaving && !h.leaving
		switch {
		case !held.Addr.IsValid():
		case asked && (held.Addr == want || h.addr == want):
			better = h.addr == want
		case req.Pool != "" && (held.Pool == req.Pool) != (pool == req.Pool):
			better = pool == req.Pool
		}
		if better {
			held, leaving = Assigned{h.addr, pool}, h.leaving
		}
	}
	return held, lost
}

func (a *Allocator) keepOnly(req *Request, has *allocation, f Family, d *Decision) familyResult {
	held, _ := a.holdOf(req, has, f, d)
	return familyResult{family: f, addr: held, kept: held.Addr.IsValid(), unmet: true}
}

func (a *Allocator) decideFamily(req *Request, has *allocation, f Family, d *Decision) familyResult {
	r := familyResult{family: f}
	held, lost := a.holdOf(req, has, f, d)
	want, asked := req.wanted(f)
	if held.Addr.IsValid() && (!asked || held.Addr == want) && (req.Pool == "" || req.Pool == held.Pool) {
		r.addr, r.kept = held, true
		if !d.brief {
			d.Considered = append(d.Considered, used(held, f, howHeld, ""))
		}
		return r
	}
	if asked {
		r.reason, r.message = a.checkWanted(req, want, d)
		if r.message == "" {
			r.addr = Assigned{Addr: want, Pool: a.claimant(want).Name}
		}
	} else {
		r.addr, r.reason, r.message = a.choose(req, f, d)
	}
	if r.addr.Addr.IsValid() {
		r.instead = held
		return r
	}
	r.unmet = true
	if lost != "" {
		r.message += "; " + lost
	}
	if held.Addr.IsValid() {
		r.addr, r.kept = held, true
		r.message += fmt.Sprintf("; the Service keeps %s until then", held.Addr)
	}
	return r
}

// checkWanted says why a Service cannot have the address that it asks for; an empty message: it can.
func (a *Allocator) checkWanted(req *Request, want netip.Addr, d *Decision) (Reason, string) {
	f := FamilyOf(want)
	reason, message := a.whyNot(req, want, d)
	pool := ""
	if p := a.claimant(want); p != nil {
		pool = p.Name
	}
	if message == "" {
		d.Considered = append(d.Considered, used(Assigned{want, pool}, f, howAsked, ""))
	} else {
		d.Considered = append(d.Considered, Considered{Pool: pool, Family: f, Reason: reason, text: message})
	}
	return reason, message
}

func (a *Allocator) whyNot(req *Request, want netip.Addr, d *Decision) (Reason, string) {
	if req.Pool != "" && a.pools[req.Pool] == nil {
		return ReasonUnknownPool, a.unknownPool(req.Pool)
	}
	p := a.claimant(want)
	if p == nil {
		for _, x := range a.choice {
			if x.Invalid == "" && slices.ContainsFunc(x.Exclude, containing(want)) && slices.ContainsFunc(x.Addresses, containing(want)) {
				return ReasonAddressExcluded, fmt.Sprintf("%s is excluded from pool %s (spec.excludeAddresses)", want, x.Name)
			}
		}
		return ReasonAddressNotInPool, fmt.Sprintf("%s is in no pool; %s", want, a.poolList())
	}
	if req.Pool != "" && req.Pool != p.Name {
		return ReasonAddressNotInPool, fmt.Sprintf("%s is in pool %s and not in pool %s, which the Service asks for; pool %s: %s",
			want, p.Name, req.Pool, req.Pool, rangesOf(a.pools[req.Pool].Addresses))
	}
	if reason, why := p.why(p.refuses(req, a.namespaces[req.Service.Namespace()])); why != "" {
		return reason, fmt.Sprintf("%s cannot be given: %s", want, why)
	}
	if p.AvoidBuggyIPs && buggy(want) {
		return ReasonAddressExcluded, fmt.Sprintf("%s is not given out because it ends in .0 or .255 and pool %s avoids these (spec.avoidBuggyIPs)", want, p.Name)
	}
	if keeper, why := a.cannotJoin(req, want, p); why != "" {
		d.waits = append(d.waits, waitKey{addr: want})
		return ReasonAddressInUse, fmt.Sprintf("%s belongs to Service %s and cannot be shared with it: %s", want, keeper, why)
	}
	return "", ""
}

// cannotJoin says why a Service cannot take an address of a pool because of those who are on it; empty: it can.
func (a *Allocator) cannotJoin(req *Request, addr netip.Addr, p *poolState) (keeper Key, why string) {
	if keeper, why = a.blocks(addr, req.Service, req.Sharing, false); why != "" || p.ShareAcrossNamespaces {
		return keeper, why
	}
	a.eachHolder(addr, func(o *allocation) bool {
		if o.service.Namespace() != req.Service.Namespace() {
			keeper = o.service
			why = fmt.Sprintf("it is in another namespace, and pool %s does not allow sharing across namespaces", p.Name)
		}
		return why == ""
	})
	return keeper, why
}

// choose an address of the family from the requested pool, or from those open to the Service.
func (a *Allocator) choose(req *Request, f Family, d *Decision) (Assigned, Reason, string) {
	candidates := a.choice
	if req.Pool != "" {
		p := a.pools[req.Pool]
		if p == nil {
			return Assigned{}, ReasonUnknownPool, a.unknownPool(req.Pool)
		}
		candidates = []*poolState{p}
	}
	labels := a.namespaces[req.Service.Namespace()]
	if d.brief && req.Sharing == nil {
		for _, p := range candidates {
			if p.leavesOut(req, labels) == admits {
				if addr, ok := p.lowest(f); ok {
					return Assigned{addr, p.Name}, "", ""
				}
			}
		}
	}
	first := len(d.Considered)
	d.Considered = slices.Grow(d.Considered, len(candidates))
	var few [4]*poolState
	open := few[:0]
	for _, p := range candidates {
		c := Considered{Pool: p.Name, Family: f}
		if c.Reason, c.text = p.why(p.leavesOut(req, labels)); c.text == "" {
			open = append(open, p)
		}
		d.Considered = append(d.Considered, c)
	}
	considered := d.Considered[first:]
	// The first that is open and was not looked at.
	next := func() *Considered {
		return &considered[slices.IndexFunc(considered, func(c Considered) bool { return c.Reason == "" })]
	}
	found := func(x Assigned, c Considered) (Assigned, Reason, string) {
		considered[slices.IndexFunc(considered, func(o Considered) bool { return o.Pool == x.Pool })] = c
		d.Considered = d.Considered[:first+len(slices.DeleteFunc(considered, func(c Considered) bool { return c.Reason == "" }))]
		return x, "", ""
	}
	if x, ok := a.sharedAddress(req, f, open); ok {
		return found(x, used(x, f, howShared, req.Sharing.Key))
	}
	had := false
	for _, p := range open {
		if addr, ok := p.lowest(f); ok {
			x := Assigned{addr, p.Name}
			return found(x, used(x, f, howLowest, ""))
		}
		had = had || p.total[f] != (count{})
		c := next()
		c.Reason, c.text = ReasonPoolExhausted, p.exhausted(f)
		d.waits = append(d.waits, waitKey{pool: p.Name, family: f})
	}
	if req.Sharing != nil {
		d.waits = append(d.waits, waitKey{share: req.Sharing.Key})
	}
	return Assigned{}, reasonFor(considered, req, had, len(open)), noneOf(considered, req, f, len(open))
}

// sharedAddress finds the lowest address that Services with the same key have and that this one can join, in the order of the pools.
func (a *Allocator) sharedAddress(req *Request, f Family, open []*poolState) (Assigned, bool) {
	if req.Sharing == nil {
		return Assigned{}, false
	}
	var found Assigned
	place := len(open)
	for _, addr := range a.shared[req.Sharing.Key] {
		p := a.claimant(addr)
		if FamilyOf(addr) != f || p == nil || p.AvoidBuggyIPs && buggy(addr) {
			continue
		}
		i := slices.Index(open[:place], p)
		if i < 0 {
			continue
		}
		if _, why := a.cannotJoin(req, addr, p); why == "" {
			found, place = Assigned{addr, p.Name}, i
		}
	}
	return found, found.Addr.IsValid()
}

// reasonFor a Service that no pool has an address for.
func reasonFor(considered []Considered, req *Request, had bool, open int) Reason {
	switch {
	case open == 0 && req.Pool != "" && len(considered) == 1:
		return considered[0].Reason
	case open == 0 || !had && req.Pool == "":
		return ReasonNoPool
	}
	return ReasonPoolExhausted
}

// noneOf says that no pool has an address, with the answer of each that is open to the Service, or of each where none is.
func noneOf(considered []Considered, req *Request, f Family, open int) string {
	if len(considered) == 0 {
		return "there is no IPAddressPool: create one"
	}
	var full, closed []string
	for _, c := range considered {
		if c.Reason == ReasonPoolExhausted {
			full = append(full, c.text)
		} else {
			closed = append(closed, c.text)
		}
	}
	switch {
	case len(considered) == 1:
		return considered[0].text
	case open == 0 && req.Pool == "":
		return "no pool is open to this Service: " + cutList(closed, "; ")
	}
	text := fmt.Sprintf("no pool that is open to this Service has a free %s address: %s", f, cutList(full, "; "))
	switch len(closed) {
	case 0:
	case 1:
		text += "; and " + closed[0]
	default:
		text += fmt.Sprintf("; %d other pools are not open to it", len(closed))
	}
	return text
}

func (a *Allocator) unknownPool(name string) string {
	return fmt.Sprintf("there is no pool %s; %s", name, a.poolList())
}

// poolList names the pools and their addresses.
func (a *Allocator) poolList() string {
	if len(a.choice) == 0 {
		return "there are no pools"
	}
	texts := make([]string, len(a.choice))
	for i, p := range a.choice {
		texts[i] = p.Name + " " + rangesOf(p.Addresses)
		if p.Invalid != "" {
			texts[i] = p.Name + " (cannot be used, see its status)"
		}
	}
	slices.Sort(texts)
	return "pools: " + cutList(texts, "; ")
}

// bothOrNone takes back what is new where another family has nothing.
func bothOrNone(results []familyResult) {
	if !slices.ContainsFunc(results, func(r familyResult) bool { return !r.addr.Addr.IsValid() }) {
		return
	}
	for i := range results {
		r := &results[i]
		if !r.unmet && !r.kept {
			r.addr, r.kept, r.unmet = r.instead, r.instead.Addr.IsValid(), true
		}
	}
}

// agree makes what is said of the pools agree with what is given.
func (d *Decision) agree(results []familyResult) {
	for i := range results {
		r := &results[i]
		said := false
		for j := range d.Considered {
			c := &d.Considered[j]
			switch {
			case !c.Used || c.Family != r.family:
			case c.addr == r.addr.Addr:
				said = true
			default:
				c.Used, c.Reason, c.how = false, ReasonPoolExhausted, howNot
				c.text = fmt.Sprintf("%s could be had, but the Service requires both families", c.addr)
			}
		}
		if !said && r.addr.Addr.IsValid() {
			d.Considered = append(d.Considered, used(r.addr, r.family, howHeld, ""))
		}
	}
}

// explain sums the families up.
func explain(d *Decision, req *Request, results []familyResult) {
	var unmet []string
	has := false
	soft := true // what is missing, the Service's policy can do without
	for i := range results {
		r := &results[i]
		has = has || r.addr.Addr.IsValid()
		if !r.unmet {
			continue
		}
		if r.message != "" && !slices.Contains(unmet, r.message) {
			unmet = append(unmet, r.message)
		}
		if r.reason != "" && d.Reason == "" {
			d.Reason = r.reason
		}
		if _, asked := req.wanted(r.family); asked || r.addr.Addr.IsValid() || req.Pool != "" && r.reason != ReasonPoolExhausted {
			soft = false
		}
	}
	d.missing = strings.Join(unmet, "; ")
	switch {
	case len(unmet) == 0 && d.Reason == "":
		d.Satisfied, d.Complete, d.Reason = true, true, ReasonAssigned
	case has && soft && req.Policy == Prefer && len(req.Families) > 1:
		d.Satisfied, d.Reason = true, ReasonAssignedPartially
	case req.Policy == Require && len(req.Families) > 1 && len(unmet) < len(results):
		d.missing += "; the Service requires both families (spec.ipFamilyPolicy RequireDualStack)"
	}
	if d.Reason == ReasonPoolExhausted {
		d.missing += "; add addresses, or delete a Service that has one: this one is waiting"
	}
}

// conclude lists the addresses in the order of the families.
func conclude(d *Decision, results []familyResult) {
	for _, r := range results {
		if r.addr.Addr.IsValid() {
			d.Addresses = append(d.Addresses, r.addr)
		}
	}
}

func assignedText(list []Assigned) string {
	texts := make([]string, len(list))
	for i, x := range list {
		if x.Pool == "" {
			texts[i] = fmt.Sprintf("%s, which is in no pool,", x.Addr)
		} else {
			texts[i] = fmt.Sprintf("%s from pool %s", x.Addr, x.Pool)
		}
	}
	verb := " is assigned"
	if len(texts) > 1 {
		verb = " are assigned"
	}
	return strings.Join(texts, " and ") + verb
}

func addressTexts(list []Assigned) string {
	texts := make([]string, len(list))
	for i, x := range list {
		texts[i] = x.Addr.String()
	}
	return strings.Join(texts, " and ")
}
