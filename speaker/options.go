package speaker

import (
	"net/netip"
	"regexp"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"fairlead.io/fairlead/internal/service"
	"fairlead.io/fairlead/l2/announce"
	"fairlead.io/fairlead/l2/membership"
	"fairlead.io/fairlead/l2/netif"
)

// DefaultDataplaneHealthURL is where kube-proxy answers by default.
const DefaultDataplaneHealthURL = "http://127.0.0.1:10256/healthz"

// Options of a speaker.
type Options struct {
	// NodeName is the name of the Node that the speaker runs on.
	NodeName string
	// Namespace of the gossip Secret.
	Namespace string
	// Class of the Services that are ours.
	Class service.Class
	// GossipSecret is the name of the Secret with the gossip's keys, under GossipKey and PreviousGossipKey.
	GossipSecret string
	// GossipBind is where to listen for gossip; invalid: the Node's first internal address.
	GossipBind netip.Addr
	// GossipPort to listen on, TCP and UDP.
	GossipPort uint16
	// GossipProfile says how hard to look for dead speakers.
	GossipProfile membership.Profile
	// Sessions says how this node and the next in the order of an address watch each other.
	Sessions Sessions
	// FailbackDelay is how long a node must have been well before addresses come to it from others; 0: they come at once.
	FailbackDelay time.Duration
	// InterfacesExclude are the names of interfaces that are never used; nil: none.
	InterfacesExclude *regexp.Regexp
	// IgnoreExcludeLabel lets nodes answer that are labelled to be excluded from load balancers.
	IgnoreExcludeLabel bool
	// DataplaneHealthURL of the service proxy; empty: it is not asked.
	DataplaneHealthURL string
	// DrainTime bounds the hand-over when the speaker stops.
	DrainTime time.Duration
	// Router speaks BGP; nil: there is no BGP.
	Router OpenRouter
	// Announce says how addresses are announced. Open, Metrics and Log are filled in where they are empty.
	Announce announce.Config
	// Started is called once, when the speaker has taken up what there is; nil: nobody is told.
	Started func()
	// Interfaces replaces netlink in tests; nil: the node's own interfaces.
	Interfaces []netif.Interface
	// Registerer of the metrics.
	Registerer prometheus.Registerer
	Log        logr.Logger
}
