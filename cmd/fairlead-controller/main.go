// Command fairlead-controller gives Services of type LoadBalancer their addresses. This package holds flags and wiring only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/controllers"
	"fairlead.io/fairlead/internal/memory"
	"fairlead.io/fairlead/internal/metrics"
	"fairlead.io/fairlead/internal/service"
	"fairlead.io/fairlead/internal/version"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "fairlead-controller:", err)
		os.Exit(1)
	}
}

type flags struct {
	kubeconfig    string
	namespace     string
	class         service.Class
	metrics       metrics.Flags
	healthAddr    string
	leaderElect   bool
	leaseName     string
	leaseDuration time.Duration
	renewDeadline time.Duration
	retryPeriod   time.Duration
	letGo         bool
	showVersion   bool
	zap           zap.Options
}

func parse() *flags {
	var f flags
	// A set of our own: packages that are linked in put flags of theirs into the global one.
	set := flag.NewFlagSet("fairlead-controller", flag.ExitOnError)
	set.StringVar(&f.kubeconfig, "kubeconfig", "", "path of a kubeconfig; without it the in-cluster configuration is used")
	set.StringVar(&f.namespace, "namespace", "fairlead-system", "Fairlead's own namespace: the lease and the speakers' gossip key are there")
	set.StringVar(&f.class.Name, "load-balancer-class", v1beta1.DefaultLoadBalancerClass, "the spec.loadBalancerClass that is served")
	set.BoolVar(&f.class.Require, "require-load-balancer-class", false, "leave Services without a spec.loadBalancerClass alone")
	f.metrics.Register(set)
	set.StringVar(&f.healthAddr, "health-probe-bind-address", ":9791", "where /healthz and /readyz are served; 0: nowhere")
	set.BoolVar(&f.leaderElect, "leader-elect", true, "act only while holding the lease; false: there is surely one replica")
	set.StringVar(&f.leaseName, "leader-elect-lease-name", "fairlead-controller", "name of the lease")
	// A standby looks every retry period, with up to 1.2 times as much added at random: 1.7 s after a graceful stop, and 11.7 s after a
	// kill, it has the lease at the latest.
	set.DurationVar(&f.leaseDuration, "leader-elect-lease-duration", 10*time.Second, "how long a lease that is not renewed is respected")
	set.DurationVar(&f.renewDeadline, "leader-elect-renew-deadline", 6*time.Second, "how long the leader tries to renew before it exits")
	set.DurationVar(&f.retryPeriod, "leader-elect-retry-period", 750*time.Millisecond, "time between attempts to get or renew the lease")
	set.BoolVar(&f.letGo, "let-go-of-pools", false, "take the finalizer off all IPAddressPools and exit: for when Fairlead is not installed any more, else it comes back")
	set.BoolVar(&f.showVersion, "version", false, "print the version and exit")
	f.zap.BindFlags(set)
	_ = set.Parse(os.Args[1:]) // ExitOnError: it does not return an error
	return &f
}

func run() error {
	garbage := memory.Start()
	f := parse()
	if f.showVersion {
		fmt.Println("fairlead-controller", version.String())
		return nil
	}
	if os.Getenv("GOMAXPROCS") == "" {
		// It waits for the API server most of the time, and computes for microseconds between: waking threads for that on other cores
		// costs a fifth of all its CPU time, and gains nothing.
		runtime.GOMAXPROCS(1)
	}
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&f.zap)))
	kube, err := restConfig(f.kubeconfig)
	if err != nil {
		return err
	}
	if f.letGo {
		c, err := client.New(controllers.RESTConfig(kube), client.Options{Scheme: controllers.NewScheme()})
		if err != nil {
			return fmt.Errorf("set up: %w", err)
		}
		return controllers.LetGo(ctrl.SetupSignalHandler(), c) //nolint:wrapcheck // it says what failed
	}
	cacheOptions, err := controllers.CacheOptions(f.namespace)
	if err != nil {
		return err //nolint:wrapcheck // it says what failed
	}
	if err := f.metrics.Check(); err != nil {
		return err //nolint:wrapcheck // it says what failed
	}
	if err := metrics.RegisterBuildInfo(ctrlmetrics.Registry); err != nil {
		return err //nolint:wrapcheck // it says what failed
	}
	mgr, err := ctrl.NewManager(controllers.RESTConfig(kube), manager.Options{
		Scheme:                        controllers.NewScheme(),
		Cache:                         cacheOptions,
		Controller:                    config.Controller{EnableWarmup: new(true)}, // a standby's caches are full when it takes over
		Metrics:                       metricsserver.Options{BindAddress: "0"},    // see metrics.Flags.Add
		HealthProbeBindAddress:        f.healthAddr,
		LeaderElection:                f.leaderElect,
		LeaderElectionID:              f.leaseName,
		LeaderElectionNamespace:       f.namespace,
		LeaderElectionReleaseOnCancel: true, // run ends the process right after
		LeaseDuration:                 &f.leaseDuration,
		RenewDeadline:                 &f.renewDeadline,
		RetryPeriod:                   &f.retryPeriod,
	})
	if err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	if err := f.metrics.Add(mgr, ctrlmetrics.Registry); err != nil {
		return err //nolint:wrapcheck // it says what failed
	}
	book, err := controllers.Setup(mgr, controllers.Options{Namespace: f.namespace, Class: f.class, Registerer: ctrlmetrics.Registry})
	if err != nil {
		return err //nolint:wrapcheck // it says what failed
	}
	if err := errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("synced", ready(mgr, book))); err != nil {
		return fmt.Errorf("set up health checks: %w", err)
	}
	if err := mgr.Add(sparing{mgr.GetCache(), garbage}); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	if err := mgr.Start(ctrl.SetupSignalHandler()); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	return nil
}

// sparing makes the program small when all has been read, the leader and the standby.
type sparing struct {
	cache   cache.Cache
	garbage *memory.Collector
}

func (sparing) NeedLeaderElection() bool { return false }

func (s sparing) Start(ctx context.Context) error {
	if s.cache.WaitForCacheSync(ctx) {
		s.garbage.Rest()
	}
	return nil
}

// ready: the leader when it has taken over what is assigned, a standby when it could become the leader.
func ready(mgr manager.Manager, book *controllers.Book) healthz.Checker {
	return func(r *http.Request) error {
		select {
		case <-mgr.Elected():
			select {
			case <-book.Synced():
				return nil
			default:
				return errors.New("what is assigned has not been read yet")
			}
		default:
		}
		if !mgr.GetCache().WaitForCacheSync(r.Context()) {
			return errors.New("the caches are not filled yet")
		}
		return nil
	}
}

func restConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		c, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("read the in-cluster configuration (outside a cluster use --kubeconfig): %w", err)
		}
		return c, nil
	}
	c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read --kubeconfig %s: %w", kubeconfig, err)
	}
	return c, nil
}
