// Package speaker makes one node announce what it should: it reads the cluster's state, elects with it, tells the parts of l2
// what follows, and writes the node's Speaker object.
//
// Which node answers for an address is decided by internal/layer2, not here. Once it has read the cluster's state it needs
// the API server no more: announcements and elections go on from what was known last.
package speaker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/bfd/manager"
	"fairlead.io/fairlead/internal/standstill"
	"fairlead.io/fairlead/internal/version"
	"fairlead.io/fairlead/l2/announce"
	"fairlead.io/fairlead/l2/membership"
	"fairlead.io/fairlead/l2/metrics"
	"fairlead.io/fairlead/l2/netif"
)

// Speaker is one node's speaker.
type Speaker struct {
	opts       Options
	mgr        ctrl.Manager
	log        logr.Logger
	engine     *engine
	announcer  *announce.Announcer
	status     *statusWriter
	gate       *gate
	peers      *peers
	advertiser *advertiser
	peerEvents *peerEvents
	bfd        *manager.Manager // of sessions with other speakers and with routers
	watcher    *netif.Watcher
	allRead    chan struct{} // closed when the cluster's state was read once
	firstLook  chan struct{} // closed when the interfaces are known
	keyRead    chan struct{}
	synced     atomic.Bool

	mu         sync.Mutex // guards what follows
	members    *membership.Membership
	keys       rotation
	known      map[string]netip.AddrPort // where the other speakers gossip
	local      membership.Meta           // of which the others are told
	settling   settling
	settle     *time.Timer // looks again if the node has settled
	joined     bool        // the other speakers were looked for
	interfaces []netif.Interface
	missed     map[string]bool // speakers that were missing already when this node was left without an interface
	health     health
	node       *corev1.Node
	stopping   bool
	left       bool // handed over, as far as that went: what is still owned ends with this process
}

// New makes a speaker that runs with the manager, which must be made with ManagerOptions.
func New(mgr ctrl.Manager, opts Options) (*Speaker, error) {
	m, err := metrics.New(opts.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	s := &Speaker{opts: opts, mgr: mgr, log: opts.Log, allRead: make(chan struct{}), firstLook: make(chan struct{}), keyRead: make(chan struct{}, 1), local: membership.Meta{DataplaneReady: true, Settling: opts.FailbackDelay > 0}, settling: settling{delay: opts.FailbackDelay}}
	s.peers = newPeers(opts.NodeName, opts.Sessions, opts.GossipProfile, s.settled, m, opts.Log.WithName("peers"))
	s.settle = time.AfterFunc(time.Hour, s.settled)
	a := opts.Announce
	if a.Open == nil {
		a.Open = announce.OpenPort(m, opts.Log.WithName("l2"))
	}
	a.Metrics, a.Log = m, opts.Log.WithName("announce")
	a.Speaker, a.Heard = s.peers.node, s.peers.heard
	a.Changed = func() { s.status.changed() }
	a.Broken = s.settled
	s.announcer = announce.New(a)
	s.status = newStatusWriter(mgr.GetClient(), mgr.GetAPIReader(), opts.NodeName, s.nodeUID, s.statusReport, opts.Log.WithName("status"))
	s.engine = newEngine(opts.NodeName, opts.IgnoreExcludeLabel, s.announcer, m, s.status.changed, s.peers.setPairs, opts.Log.WithName("engine"))
	s.peerEvents = &peerEvents{client: mgr.GetClient(), recorder: mgr.GetEventRecorder("fairlead-speaker"), limiters: map[peerEvent]*rate.Limiter{}}
	s.advertiser = newAdvertiser(opts.NodeName, opts.IgnoreExcludeLabel, opts.Router, s.peerEvents.tell, s.status.changed, opts.Log.WithName("bgp"))
	s.advertiser.watch = newWatcher(s.advertiser.drop, s.status.changed, opts.Log.WithName("bfd"))
	if err := errors.Join(opts.Registerer.Register(newBGPMetrics(s.advertiser)),
		opts.Registerer.Register(newL2Metrics(s.announcer.Conflicts, s.peers.missing))); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	s.gate = newGate(opts.DataplaneHealthURL, s.setHealth, opts.Log.WithName("dataplane"))
	s.health = s.gate.state
	s.watcher = netif.NewWatcher(opts.InterfacesExclude, s.setInterfaces, opts.Log.WithName("interfaces"))
	if err := s.setupReconcilers(); err != nil {
		return nil, err
	}
	if err := mgr.Add(s); err != nil {
		return nil, fmt.Errorf("add the speaker to its manager: %w", err)
	}
	return s, nil
}

// NeedLeaderElection is part of manager.LeaderElectionRunnable: every node's speaker works.
func (s *Speaker) NeedLeaderElection() bool { return false }

// Start is part of manager.Runnable; the caches are synced. It returns when the context ends, and answers until then.
func (s *Speaker) Start(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := s.firstSync(ctx); err != nil {
		return err
	}
	close(s.allRead)
	s.bfd = manager.New()
	s.advertiser.watch.use(s.bfd)
	defer func() { // when the rest has ended
		s.advertiser.close()
		last, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		if err := s.bfd.Close(last); err != nil { // the others are told, so that they do not take this node for lost
			s.log.V(1).Info("ending the BFD sessions", "error", err.Error())
		}
	}()
	failed := make(chan error, 2)
	if s.opts.Interfaces != nil {
		s.setInterfaces(s.opts.Interfaces)
	} else {
		wg.Go(func() { failed <- s.watcher.Run(ctx) })
	}
	wg.Go(func() { s.status.run(ctx) })
	s.status.changed()
	select {
	case <-ctx.Done():
		return nil
	case <-s.firstLook:
	}
	s.gate.check(ctx)
	wg.Go(func() { s.gate.run(ctx) })
	s.setLocal(func(*membership.Meta) {})
	wg.Go(func() { s.advertiser.watch.run(ctx) })
	wg.Go(func() { s.advertiser.run(ctx) })

	m, err := s.startGossip(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	wg.Go(func() { failed <- s.announcer.Run(ctx) })
	wg.Go(func() { s.peers.run(ctx) })
	wg.Go(func() { standstill.Watch(ctx, longStandstill, s.stoodStill) })
	s.setLocal(func(*membership.Meta) { s.joined = true })
	wg.Go(func() { s.engine.run(ctx, s.peers) })
	if err := s.engine.ping(ctx); err == nil {
		s.synced.Store(true)
		s.status.changed()
		s.log.Info("speaker is ready", "node", s.opts.NodeName, "version", version.Version)
		if s.opts.Started != nil {
			s.opts.Started()
		}
	}
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cancel()
	wg.Wait()
	s.mu.Lock()
	s.members = nil
	s.settle.Stop()
	s.mu.Unlock()
	return errors.Join(err, m.Close())
}

// startGossip waits for what it takes, joins the peers that are known, and returns a membership that goes on by itself.
func (s *Speaker) startGossip(ctx context.Context) (*membership.Membership, error) {
	keys, err := s.gossipKeys(ctx)
	if err != nil {
		return nil, err
	}
	var m *membership.Membership
	err = retry(ctx, s.log, "gossip cannot start; trying again", func() error {
		bind, err := s.gossipAddress()
		if err != nil {
			return err
		}
		s.mu.Lock()
		local := s.local
		s.mu.Unlock()
		m, err = membership.Start(membership.Config{
			Name: s.opts.NodeName, Bind: netip.AddrPortFrom(bind, s.opts.GossipPort), Keys: keys, Profile: s.opts.GossipProfile,
			Log: s.log.WithName("gossip"),
		}, local)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.peers.use(m)
	if s.opts.Sessions.Interval > 0 {
		s.peers.bfd = s.bfd
	}
	s.mu.Lock()
	s.members = m
	keys, _ = s.keys.at(time.Now()) // they, and what follows, may have changed meanwhile
	err = errors.Join(m.SetKeys(keys), s.peers.setKeys(keys))
	m.SetLocal(s.local)
	m.SetPeers(s.known)
	s.mu.Unlock()
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	s.status.changed()
	s.join(ctx, m, nil)
	return m, nil
}

// join looks for the other speakers until all are members, but not for long: some may be down. Who is alone takes everything over,
// so it comes first. Those in but are tried too, and not waited for. It tries again and again, because just after a link is back a dial
// may fail at once (the kernel has yet to find the neighbour anew), and because who was taken for dead has to refute that.
func (s *Speaker) join(ctx context.Context, m *membership.Membership, but map[string]bool) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for {
		err := m.Join(ctx)
		missing := m.Missing()
		maps.DeleteFunc(missing, func(name string, _ bool) bool { return but[name] })
		if len(missing) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			s.log.Info("not all speakers can be reached; trying again while announcing", "error", err)
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// gossipAddress is where to listen.
func (s *Speaker) gossipAddress() (netip.Addr, error) {
	if s.opts.GossipBind.IsValid() {
		return s.opts.GossipBind, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range nodeAddresses(s.node) {
		if addr, err := netip.ParseAddr(a); err == nil {
			return addr.Unmap(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("node %s has no internal address yet; wait for its kubelet, or set --gossip-bind-address", s.opts.NodeName)
}

// Drain hands this node's addresses over and leaves the gossip, within the drain time. The manager must still be running.
func (s *Speaker) Drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.DrainTime)
	defer cancel()
	s.mu.Lock()
	m := s.members
	s.stopping = true
	s.mu.Unlock()
	s.setLocal(func(meta *membership.Meta) { meta.Stopping = true })
	var bgp sync.WaitGroup
	defer bgp.Wait()
	bgp.Go(func() { s.advertiser.leave(ctx, s.opts.DrainTime) })
	if m == nil {
		return
	}
	if err := s.engine.ping(ctx); err != nil {
		s.log.Info("stopping without a hand-over", "error", err.Error())
		return
	}
	s.log.Info("stopping: waiting for other nodes to take over", "addresses", s.announcer.Yielding())
	if err := s.announcer.WaitYielded(ctx); err != nil {
		s.log.Info("not all addresses were taken over in time", "left", s.announcer.Yielding())
	}
	// Who is drained is still there. Of speakers that all stop one answers meanwhile; had each left, each would find itself alone and answer.
	bgp.Wait()
	if err := m.Leave(time.Second); err != nil {
		s.log.V(1).Info("leaving takes long", "error", err.Error())
	}
	s.mu.Lock()
	s.left = true
	s.mu.Unlock()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := s.status.write(last); err != nil {
		s.log.V(1).Info("the Speaker object does not tell that this speaker stops", "error", err.Error())
	}
}

func (s *Speaker) nodeUID() types.UID {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.node == nil {
		return ""
	}
	return s.node.UID
}

// statusReport is what the Speaker object is to say now.
func (s *Speaker) statusReport() report {
	owned, conflicts, broken := s.announcer.Owned(), s.announcer.Conflicts(), s.announcer.Broken()
	s.mu.Lock()
	defer s.mu.Unlock()
	r := report{
		nodeAddresses: nodeAddresses(s.node), version: version.Version, synced: s.synced.Load(), stopping: s.stopping, dataplane: s.health,
		bgp:      s.advertiser.report(),
		broken:   broken,
		settling: s.local.Settling, healthySince: s.settling.since(), failbackDelay: s.opts.FailbackDelay,
	}
	if s.members != nil {
		r.gossipAddress = s.members.Addr().String()
	}
	for _, i := range s.interfaces {
		r.interfaces = append(r.interfaces, v1beta1.SpeakerInterface{Name: i.Name, HardwareAddress: i.MAC.String(),
			Settling: slices.Contains(s.local.SettlingInterfaces, i.Name)})
	}
	if s.left {
		return r
	}
	for _, o := range owned {
		r.layer2 = append(r.layer2, v1beta1.Layer2Address{IP: o.Addr.String(), Interfaces: o.Interfaces, Since: metav1.NewMicroTime(o.Since)})
	}
	for _, c := range conflicts {
		r.conflicts = append(r.conflicts, v1beta1.AddressConflict{IP: c.Addr.String(), Interface: c.Interface, HardwareAddress: c.MAC.String(),
			Since: metav1.NewMicroTime(c.Since), Announced: c.Announced})
	}
	return r
}

// nodeAddresses are a Node's internal addresses, in their order.
func nodeAddresses(n *corev1.Node) []string {
	if n == nil {
		return nil
	}
	var out []string
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP && !slices.Contains(out, a.Address) {
			out = append(out, a.Address)
		}
	}
	return out
}

// Ready is for /readyz: the cluster's state is read and acted upon.
func (s *Speaker) Ready(*http.Request) error {
	if !s.synced.Load() {
		return errors.New("the speaker is reading the cluster's state, or waits for the gossip's key")
	}
	return nil
}

// Healthy is for /healthz: the loop that decides still turns.
func (s *Speaker) Healthy(r *http.Request) error {
	if !s.synced.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	if err := s.engine.ping(ctx); err != nil {
		return fmt.Errorf("the speaker does not decide anymore: %w", err)
	}
	return nil
}

// RunManager runs the manager until the context ends, then hands over while everything still runs, and stops.
func (s *Speaker) RunManager(stop context.Context) error {
	return s.run(context.WithoutCancel(stop), stop)
}

// run ends without a hand-over when kill does.
func (s *Speaker) run(kill, stop context.Context) error {
	ctx, cancel := context.WithCancel(kill)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.mgr.Start(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-stop.Done():
	}
	if kill.Err() == nil {
		s.Drain(ctx)
	}
	cancel()
	return <-ended
}
