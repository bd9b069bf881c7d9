package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"

	"fairlead.io/fairlead/api/v1beta1"
)

// The kinds that configure BGP.
const (
	KindBGPPeer          = "BGPPeer"
	KindBGPAdvertisement = "BGPAdvertisement"
	KindBFDProfile       = "BFDProfile"
	KindCommunity        = "Community"
)

// BGPObjects are all objects that configure BGP, in any order.
type BGPObjects struct {
	Peers          []v1beta1.BGPPeer
	Advertisements []v1beta1.BGPAdvertisement
	Profiles       []v1beta1.BFDProfile
	Communities    []v1beta1.Community
	Secrets        Secrets
}

// BGP is what the objects that configure BGP come to.
type BGP struct {
	// Peers that are not refused, the oldest first. On a node some of them may be, see On.
	Peers []*BGPPeer
	// PeerNames are the names of all peers, also of those that are refused, in order.
	PeerNames []string
	// Advertisements that are not refused, the oldest first.
	Advertisements []*BGPAdvertisement

	refused map[object]*Error
	notes   map[object][]Note
}

type object struct{ kind, name string }

// Note is what there is to say of an object that is in use.
type Note struct {
	// Reason of the object's condition; empty: it is as if there were no note.
	Reason string
	Text   string
}

// CompileBGP compiles all objects. What is wrong with one of them disables that one, and what needs it.
func CompileBGP(o *BGPObjects) *BGP {
	out := &BGP{refused: map[object]*Error{}, notes: map[object][]Note{}}
	profiles := make(map[string]*BFDProfile, len(o.Profiles))
	for i := range o.Profiles {
		p, err := CompileBFDProfile(&o.Profiles[i])
		if profiles[o.Profiles[i].Name] = p; err != nil {
			out.refuse(KindBFDProfile, o.Profiles[i].Name, asError(err))
		}
	}
	for _, obj := range byAge(o.Peers) {
		out.PeerNames = append(out.PeerNames, obj.Name)
		p, err := CompileBGPPeer(obj, profiles, o.Secrets)
		if err != nil {
			out.refuse(KindBGPPeer, obj.Name, asError(err))
			continue
		}
		if err := out.everywhere(p); err != nil {
			out.refuse(KindBGPPeer, obj.Name, err)
			continue
		}
		out.Peers = append(out.Peers, p)
		if most := p.keepaliveMost(); p.KeepaliveTime > most {
			out.note(KindBGPPeer, obj.Name, "", fmt.Sprintf("spec.keepaliveTime %s counts as %s, a third of holdTime: lower it, or raise spec.holdTime", p.KeepaliveTime, most))
		}
	}
	slices.Sort(out.PeerNames)
	aliases := compileCommunities(byAge(o.Communities), out)
	for _, obj := range byAge(o.Advertisements) {
		a, err := CompileBGPAdvertisement(obj, aliases)
		if err != nil {
			out.refuse(KindBGPAdvertisement, obj.Name, asError(err))
			continue
		}
		out.Advertisements = append(out.Advertisements, a)
		var unknown []string
		for _, name := range a.Peers {
			if _, known := slices.BinarySearch(out.PeerNames, name); !known {
				unknown = append(unknown, name)
			}
		}
		if len(unknown) > 0 {
			out.note(KindBGPAdvertisement, obj.Name, "", fmt.Sprintf("these BGPPeers do not exist: %s; create them or correct spec.peers", strings.Join(unknown, ", ")))
		}
	}
	return out
}

// Refused says why an object is not in use; nil: it is.
func (b *BGP) Refused(kind, name string) *Error { return b.refused[object{kind, name}] }

// Notes are what there is to say of an object that is in use.
func (b *BGP) Notes(kind, name string) []Note { return b.notes[object{kind, name}] }

func (b *BGP) refuse(kind, name string, err *Error) { b.refused[object{kind, name}] = err }

func (b *BGP) note(kind, name, reason, text string) {
	o := object{kind, name}
	b.notes[o] = append(b.notes[o], Note{reason, text})
}

// OnNode are the peers of one node.
type OnNode struct {
	// Peers that the node keeps sessions with, the oldest first.
	Peers []*BGPPeer
	// Refused are those that select the node too, and contradict an older one, by name.
	Refused map[string]*Error
	// RouterID that the peers ask for; invalid: none does.
	RouterID netip.Addr
}

// On gives the peers of a node with these labels.
func (b *BGP) On(set labels.Set) OnNode {
	out := OnNode{Refused: map[string]*Error{}}
	for _, p := range b.Peers {
		if !p.SelectsNode(set) {
			continue
		}
		if err := contradicts(p, out.Peers, "on nodes that both select"); err != nil {
			out.Refused[p.Name] = err
			continue
		}
		out.Peers = append(out.Peers, p)
		if !out.RouterID.IsValid() {
			out.RouterID = p.RouterID
		}
	}
	return out
}

// everywhere says why a peer cannot be had on any node, whatever nodes there are: an older one that it contradicts selects all of its.
func (b *BGP) everywhere(p *BGPPeer) *Error {
	for _, older := range b.Peers {
		if len(older.selectors) == 0 || equality.Semantic.DeepEqual(older.selectors, p.selectors) {
			if err := contradicts(p, []*BGPPeer{older}, "on every node that this one selects"); err != nil {
				return err
			}
		}
	}
	return nil
}

// contradicts says with which of these, all older, a peer cannot be on one node.
func contradicts(p *BGPPeer, older []*BGPPeer, where string) *Error {
	for _, o := range older {
		switch {
		case p.Address.IsValid() && p.Address == o.Address:
			return &Error{v1beta1.ReasonDuplicatePeer, fmt.Errorf("older BGPPeer %s has the address %s too, %s: correct spec.peerAddress, or let spec.nodeSelectors of the two select different nodes", o.Name, p.Address, where)}
		case p.Interface != "" && p.Interface == o.Interface:
			return &Error{v1beta1.ReasonDuplicatePeer, fmt.Errorf("older BGPPeer %s is on interface %s too, %s: correct spec.interface, or let spec.nodeSelectors of the two select different nodes", o.Name, p.Interface, where)}
		case p.RouterID.IsValid() && o.RouterID.IsValid() && p.RouterID != o.RouterID:
			return &Error{v1beta1.ReasonRouterIDConflict, fmt.Errorf("older BGPPeer %s has router ID %s, %s, and this one %s: a node has one; let them have the same, or spec.nodeSelectors select different nodes", o.Name, o.RouterID, where, p.RouterID)}
		}
	}
	return nil
}
