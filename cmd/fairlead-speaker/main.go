// Command fairlead-speaker announces a node's share of the LoadBalancer addresses. It runs on every node.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/engine"
	"fairlead.io/fairlead/internal/memory"
	"fairlead.io/fairlead/internal/metrics"
	"fairlead.io/fairlead/internal/version"
	"fairlead.io/fairlead/l2/membership"
	"fairlead.io/fairlead/l2/netif"
	"fairlead.io/fairlead/speaker"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "fairlead-speaker:", err)
		os.Exit(1)
	}
}

type flags struct {
	speaker.Options
	gossipBind, exclude string
	gossipProfile       string
	gossipPort, bfdPort uint
	bfdMultiplier       uint
	metrics             metrics.Flags
	healthAddr          string
	showVersion         bool
}

func parse() (*flags, *zap.Options, error) {
	f := &flags{}
	logging := &zap.Options{}
	logging.BindFlags(flag.CommandLine)
	flag.StringVar(&f.NodeName, "node-name", os.Getenv("NODE_NAME"), "name of the Node that this speaker runs on; the environment's NODE_NAME by default")
	flag.StringVar(&f.Namespace, "namespace", "fairlead-system", "namespace of the gossip Secret and of those with passwords of BGPPeers")
	flag.StringVar(&f.Class.Name, "load-balancer-class", v1beta1.DefaultLoadBalancerClass, "spec.loadBalancerClass of the Services that are ours")
	flag.BoolVar(&f.Class.Require, "require-load-balancer-class", false, "leave Services without a class alone")
	flag.StringVar(&f.GossipSecret, "gossip-secret", speaker.DefaultGossipSecret, "Secret with the gossip's key, in the namespace")
	flag.StringVar(&f.gossipBind, "gossip-bind-address", "", "address to gossip on; the Node's first internal address by default")
	flag.UintVar(&f.gossipPort, "gossip-port", 9792, "port to gossip on, TCP and UDP")
	flag.StringVar(&f.gossipProfile, "gossip-profile", string(membership.Fast), "how hard to look for dead speakers: fast (found in 1 s), lan (5 s; hundreds of nodes) or wan (a minute)")
	flag.UintVar(&f.bfdPort, "l2-bfd-port", 9793, "port on which speakers watch each other by BFD, UDP")
	flag.DurationVar(&f.Sessions.Interval, "l2-bfd-interval", 80*time.Millisecond, "time between BFD packets of the node that answers for an address and the one that is next; 0: none, and gossip alone finds dead nodes")
	flag.UintVar(&f.bfdMultiplier, "l2-bfd-multiplier", 3, "how many of them in a row must be missed")
	flag.DurationVar(&f.FailbackDelay, "l2-failback-delay", 10*time.Second, "how long a node that has come back must have been well before addresses return to it; 0: they return at once")
	flag.StringVar(&f.exclude, "interfaces-exclude", netif.DefaultExclude, "regular expression of interface names that are never used; empty: none")
	flag.BoolVar(&f.IgnoreExcludeLabel, "ignore-exclude-lb", false, "let nodes answer that are labelled node.kubernetes.io/exclude-from-external-load-balancers")
	flag.StringVar(&f.DataplaneHealthURL, "dataplane-health-url", speaker.DefaultDataplaneHealthURL, "health endpoint of the node's service proxy; empty: do not ask")
	flag.DurationVar(&f.DrainTime, "drain-time", 10*time.Second, "how long to wait, when stopping, for other nodes to take over, and for BGP peers to find other ways")
	flag.IntVar(&f.Announce.Count, "l2-announce-count", 5, "gratuitous announcements when an address is taken over")
	flag.DurationVar(&f.Announce.Interval, "l2-announce-interval", time.Second, "time between these")
	flag.DurationVar(&f.Announce.Refresh, "l2-refresh-interval", time.Minute, "time between announcements while nothing changes; 0: none")
	flag.Float64Var(&f.Announce.Rate, "l2-announce-rate", 2000, "announcements per second, over all addresses")
	flag.DurationVar(&f.Announce.HandOver, "l2-hand-over-time", 3*time.Second, "how long to answer for an address that another node has won but does not announce")
	f.metrics.Register(flag.CommandLine)
	flag.StringVar(&f.healthAddr, "health-probe-bind-address", "127.0.0.1:9791", "address of /healthz and /readyz; 0: none")
	flag.BoolVar(&f.showVersion, "version", false, "print the version and exit")
	flag.Parse()
	if f.showVersion {
		return f, logging, nil
	}
	var err error
	switch {
	case flag.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q: all options are flags", flag.Arg(0))
	case f.NodeName == "":
		err = errors.New("the node's name is not known: set --node-name or NODE_NAME")
	case f.gossipPort == 0 || f.gossipPort > 65535:
		err = fmt.Errorf("--gossip-port %d is no port: 1 to 65535", f.gossipPort)
	case f.bfdPort == 0 || f.bfdPort > 65535:
		err = fmt.Errorf("--l2-bfd-port %d is no port: 1 to 65535", f.bfdPort)
	case f.bfdMultiplier == 0 || f.bfdMultiplier > 255:
		err = fmt.Errorf("--l2-bfd-multiplier %d is not in 1 to 255", f.bfdMultiplier)
	case f.Sessions.Interval != 0 && (f.Sessions.Interval < 10*time.Millisecond || f.Sessions.Interval > 10*time.Second):
		err = fmt.Errorf("--l2-bfd-interval %s is neither 0 nor in 10ms to 10s", f.Sessions.Interval)
	case f.DrainTime < 0 || f.Announce.Refresh < 0 || f.FailbackDelay < 0:
		err = errors.New("--drain-time, --l2-refresh-interval and --l2-failback-delay must not be negative")
	case f.Announce.Count < 1 || f.Announce.Interval <= 0 || f.Announce.Rate <= 0 || f.Announce.HandOver <= 0:
		err = errors.New("--l2-announce-count, --l2-announce-interval, --l2-announce-rate and --l2-hand-over-time must be positive")
	}
	if err != nil {
		return nil, nil, err
	}
	f.GossipPort, f.Sessions.Port, f.Sessions.Multiplier = uint16(f.gossipPort), uint16(f.bfdPort), uint8(f.bfdMultiplier)
	if f.gossipBind != "" {
		if f.GossipBind, err = netip.ParseAddr(f.gossipBind); err != nil {
			return nil, nil, fmt.Errorf("--gossip-bind-address: %w", err)
		}
	}
	if f.GossipProfile, err = membership.ParseProfile(f.gossipProfile); err != nil {
		return nil, nil, fmt.Errorf("--gossip-profile: %w", err)
	}
	if f.InterfacesExclude, err = netif.ParseExclude(f.exclude); err != nil {
		return nil, nil, fmt.Errorf("--interfaces-exclude: %w", err)
	}
	if err := f.metrics.Check(); err != nil {
		return nil, nil, err
	}
	return f, logging, nil
}

// oneProcessor lets one thread at a time run Go code, unless the environment's GOMAXPROCS says otherwise: a speaker is mostly woken for a
// packet, and each time Go would wake another thread as well, to look for more work. What a speaker computes takes milliseconds, and seldom.
func oneProcessor() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
}

func run() error {
	oneProcessor()
	garbage := memory.Start()
	f, logging, err := parse()
	if err != nil {
		return err
	}
	if f.showVersion {
		fmt.Println("fairlead-speaker", version.String())
		return nil
	}
	log := zap.New(zap.UseFlagOptions(logging))
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	f.Log = log
	f.Registerer = ctrlmetrics.Registry
	f.Started = garbage.Rest
	f.Router = func(_ context.Context, routerID netip.Addr) (bgp.Router, error) {
		return engine.New(routerID, log.WithName("bgp"))
	}

	// The first signal hands over and stops, the second stops at once.
	stop, cancelStop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancelStop()
	context.AfterFunc(stop, cancelStop)
	cfg, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w; set --kubeconfig outside of a cluster", err)
	}
	cfg.QPS = -1 // the API server's priority and fairness limits us
	opts, err := speaker.ManagerOptions(stop, cfg, &f.Options)
	if err != nil {
		return err
	}
	opts.Metrics.BindAddress = "0" // see metrics.Flags.Add
	if err := metrics.RegisterBuildInfo(ctrlmetrics.Registry); err != nil {
		return err
	}
	opts.HealthProbeBindAddress = f.healthAddr
	mgr, err := ctrl.NewManager(cfg, opts)
	if err != nil {
		return fmt.Errorf("make the manager: %w", err)
	}
	if err := f.metrics.Add(mgr, ctrlmetrics.Registry); err != nil {
		return err
	}
	s, err := speaker.New(mgr, f.Options)
	if err != nil {
		return err
	}
	if err := errors.Join(mgr.AddHealthzCheck("loops", s.Healthy), mgr.AddReadyzCheck("synced", s.Ready)); err != nil {
		return fmt.Errorf("add health checks: %w", err)
	}
	return s.RunManager(stop)
}
