package speaker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/config"
)

var errNoNeighbour = errors.New("the neighbour on the interface is not known yet")

// readBGP hands the objects that configure BGP on. Those that are refused are left out; the controller tells of them in their status.
func (s *Speaker) readBGP(ctx context.Context) error {
	c := s.mgr.GetClient()
	var peers v1beta1.BGPPeerList
	var advs v1beta1.BGPAdvertisementList
	var profiles v1beta1.BFDProfileList
	var communities v1beta1.CommunityList
	var secrets corev1.SecretList
	for _, list := range []client.ObjectList{&peers, &advs, &profiles, &communities} {
		if err := c.List(ctx, list); err != nil {
			return fmt.Errorf("read what configures BGP: %w", err)
		}
	}
	if err := c.List(ctx, &secrets, client.InNamespace(s.opts.Namespace)); err != nil {
		return fmt.Errorf("read the Secrets in %s: %w", s.opts.Namespace, err)
	}
	o := config.BGPObjects{Peers: peers.Items, Advertisements: advs.Items, Profiles: profiles.Items, Communities: communities.Items, Secrets: config.Secrets{}}
	for i := range secrets.Items {
		o.Secrets[secrets.Items[i].Name] = secrets.Items[i].Data
	}
	exist := make(map[string]bool, len(peers.Items))
	for i := range peers.Items {
		exist[peers.Items[i].Name] = true
	}
	s.peerEvents.forget(exist)
	s.advertiser.setBGP(config.CompileBGP(&o))
	return nil
}

// The events on BGPPeers.
const (
	reasonEstablished = "SessionEstablished"
	reasonLost        = "SessionLost"
	reasonReset       = "SessionReset"
	actionPeer        = "Peer"
)

// A peer that comes and goes is told of so often, and then once in a while: the object's status has the present state.
const (
	peerEventPause = time.Minute
	peerEventBurst = 10
)

// peerEvents writes events on BGPPeers.
type peerEvents struct {
	client   client.Reader
	recorder events.EventRecorder

	mu sync.Mutex // guards limiters
	// limiters of each reason: a session that comes and goes does not keep it from being said that a change has reset it.
	limiters map[peerEvent]*rate.Limiter
}

type peerEvent struct{ peer, reason string }

func (e *peerEvents) tell(name, reason, message string) {
	e.mu.Lock()
	of := peerEvent{name, reason}
	l := e.limiters[of]
	if l == nil {
		l = rate.NewLimiter(rate.Every(peerEventPause), peerEventBurst)
		e.limiters[of] = l
	}
	allowed := l.Allow()
	e.mu.Unlock()
	if !allowed {
		return
	}
	var peer v1beta1.BGPPeer
	if err := e.client.Get(context.Background(), client.ObjectKey{Name: name}, &peer); err != nil {
		return // it was deleted: there is nothing to write the event on
	}
	kind := corev1.EventTypeNormal
	if reason == reasonLost {
		kind = corev1.EventTypeWarning
	}
	e.recorder.Eventf(&peer, nil, kind, reason, actionPeer, "%s", cut(message))
}

// forget peers that do not exist any more.
func (e *peerEvents) forget(exist map[string]bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.DeleteFunc(e.limiters, func(of peerEvent, _ *rate.Limiter) bool { return !exist[of.peer] })
}
