package gobgp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/osrg/gobgp/v4/api"

	"fairlead.io/fairlead/bgp"
)

// exportTo is what a neighbour's routes get beside their attributes.
type exportTo struct {
	// nextHop4 and nextHop6 of the families; invalid: no route of the family is exported.
	nextHop4, nextHop6 netip.Addr
	// drain marks the routes for graceful shutdown (RFC 8326).
	drain bool
}

// policy is a neighbour's export policy: a statement for each of its sets of attributes, which matches the neighbour and the set's
// tag, puts the attributes in the place of the tags, and accepts. What no statement matches is rejected.
//
// The engine has one list of policies for all neighbours and goes through it for each route and neighbour; what is not for the
// neighbour costs it a comparison of addresses.
type policy struct {
	neighbour  neighbour
	generation int
	statements int
}

func (p *policy) name() string { return fmt.Sprintf("%d.%d", p.neighbour.index, p.generation) }

// neighbourSet is the name of the set that has the neighbour alone.
func neighbourSet(index uint16) string { return fmt.Sprintf("neighbour %d", index) }

// tagText is a tag as a community is written.
func tagText(tag uint32) string { return bgp.Community(tag).String() }

// setPolicy gives a neighbour a policy with the sets, in the place of what it has had.
func (e *engine) setPolicy(ctx context.Context, n *neighbour, sets []*attrSet) error {
	old := e.policies[n.index]
	p := &policy{neighbour: *n}
	if old != nil {
		p.generation = old.generation + 1
	} else {
		err := e.server.AddDefinedSet(ctx, &api.AddDefinedSetRequest{Replace: true, DefinedSet: &api.DefinedSet{
			DefinedType: api.DefinedType_DEFINED_TYPE_NEIGHBOR, Name: neighbourSet(n.index), List: []string{netip.PrefixFrom(address(n.index), 32).String()},
		}})
		if err != nil {
			return fmt.Errorf("name the neighbour: %w", err)
		}
	}
	// With all statements at once; the change from the old policy to the new one is one step.
	if err := e.addStatements(ctx, p, sets); err != nil {
		return err
	}
	e.policies[n.index] = p
	if err := e.assign(ctx); err != nil {
		return err
	}
	if old == nil {
		return nil
	}
	return e.deletePolicy(ctx, old)
}

// addStatements adds sets to a policy.
func (e *engine) addStatements(ctx context.Context, p *policy, sets []*attrSet) error {
	out := &api.Policy{Name: p.name()}
	for _, s := range sets {
		st := p.statement(s)
		if st == nil {
			continue
		}
		if err := e.addTag(ctx, s.tag); err != nil {
			return err
		}
		out.Statements = append(out.Statements, st)
	}
	if len(out.Statements) == 0 && p.statements > 0 {
		return nil
	}
	p.statements += len(out.Statements)
	if err := e.server.AddPolicy(ctx, &api.AddPolicyRequest{Policy: out}); err != nil {
		return fmt.Errorf("add a policy: %w", err)
	}
	return nil
}

// extend adds a set to the policy of a neighbour, if it is open.
func (e *engine) extend(ctx context.Context, index uint16, s *attrSet) error {
	if p := e.policies[index]; p != nil {
		return e.addStatements(ctx, p, []*attrSet{s})
	}
	return nil
}

func (e *engine) addTag(ctx context.Context, tag uint32) error {
	if e.sets[tag] {
		return nil
	}
	err := e.server.AddDefinedSet(ctx, &api.AddDefinedSetRequest{Replace: true, DefinedSet: &api.DefinedSet{
		DefinedType: api.DefinedType_DEFINED_TYPE_COMMUNITY, Name: tagText(tag), List: []string{"^" + tagText(tag) + "$"},
	}})
	if err != nil {
		return fmt.Errorf("add a tag: %w", err)
	}
	e.sets[tag] = true
	return nil
}

// dropTag forgets a tag that no policy has.
func (e *engine) dropTag(ctx context.Context, tag uint32) error {
	if !e.sets[tag] {
		return nil
	}
	delete(e.sets, tag)
	err := e.server.DeleteDefinedSet(ctx, &api.DeleteDefinedSetRequest{All: true, DefinedSet: &api.DefinedSet{
		DefinedType: api.DefinedType_DEFINED_TYPE_COMMUNITY, Name: tagText(tag),
	}})
	if err != nil {
		return fmt.Errorf("delete a tag: %w", err)
	}
	return nil
}

// dropPolicy takes a neighbour's policy away.
func (e *engine) dropPolicy(ctx context.Context, index uint16) error {
	old := e.policies[index]
	if old == nil {
		return nil
	}
	delete(e.policies, index)
	return errors.Join(e.assign(ctx), e.deletePolicy(ctx, old))
}

func (e *engine) deletePolicy(ctx context.Context, p *policy) error {
	if err := e.server.DeletePolicy(ctx, &api.DeletePolicyRequest{Policy: &api.Policy{Name: p.name()}, All: true}); err != nil {
		return fmt.Errorf("delete a policy: %w", err)
	}
	return nil
}

// assign makes the neighbours' policies the ones in force. Import is left as it is, to accept: the engine's import policy judges
// this host's own routes too, and there are no others, because no UPDATE of anybody reaches the engine.
func (e *engine) assign(ctx context.Context) error {
	a := &api.PolicyAssignment{
		Name: "global", Direction: api.PolicyDirection_POLICY_DIRECTION_EXPORT, DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
	}
	for _, p := range e.policies {
		a.Policies = append(a.Policies, &api.Policy{Name: p.name()})
	}
	if err := e.server.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: a}); err != nil {
		return fmt.Errorf("assign policies: %w", err)
	}
	return nil
}

// defaultLocalPref is what routers hold a route to have that has none.
const defaultLocalPref = 100

// statement exports the routes of a set; nil: they are not.
func (p *policy) statement(s *attrSet) *api.Statement {
	n := &p.neighbour
	nextHop := n.nextHop4
	if s.v6 {
		nextHop = n.nextHop6
	}
	if !nextHop.IsValid() {
		return nil
	}
	attrs, localPref := *s.attrs, uint32(defaultLocalPref)
	if attrs.LocalPref != nil {
		localPref = *attrs.LocalPref
	}
	if n.drain {
		attrs.Communities = attrs.Communities.Union(bgp.Communities{Standard: []bgp.Community{bgp.GracefulShutdown}})
		localPref = 0
	}
	actions := &api.Actions{
		RouteAction:    api.RouteAction_ROUTE_ACTION_ACCEPT,
		Community:      &api.CommunityAction{Type: api.CommunityAction_TYPE_REPLACE},
		LargeCommunity: &api.CommunityAction{Type: api.CommunityAction_TYPE_REPLACE},
		LocalPref:      &api.LocalPrefAction{Value: localPref}, // 0 is no action: that is what the route has
		Nexthop:        &api.NexthopAction{Address: nextHop.String()},
	}
	for _, c := range attrs.Communities.Standard {
		actions.Community.Communities = append(actions.Community.Communities, c.String())
	}
	for _, c := range attrs.Communities.Large {
		actions.LargeCommunity.Communities = append(actions.LargeCommunity.Communities, c.String())
	}
	if attrs.MED != nil {
		actions.Med = &api.MedAction{Type: api.MedAction_TYPE_REPLACE, Value: int64(*attrs.MED)}
	}
	if attrs.Prepend > 0 {
		actions.AsPrepend = &api.AsPrependAction{Asn: n.localASN, Repeat: uint32(attrs.Prepend)}
	}
	return &api.Statement{
		Name: p.name() + " " + tagText(s.tag),
		Conditions: &api.Conditions{
			NeighborSet:  &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: neighbourSet(n.index)},
			CommunitySet: &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: tagText(s.tag)},
		},
		Actions: actions,
	}
}
