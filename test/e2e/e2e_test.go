package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/test/lab"
	"fairlead.io/fairlead/test/router"
)

// system is the namespace that Fairlead is installed in.
const system = "fairlead-system"

// The one lab, its client on the LAN, and a client for its API server, for all tests.
var (
	theLab    *lab.Lab
	lanClient *lab.Host
	cluster   client.Client
	labConfig lab.Config
	labStays  bool // it was up before
	// auditBefore is how long the API server's audit log was then.
	auditBefore int64
)

// TestMain brings the lab up, unless one is up already, installs Fairlead as it is now, and takes down what it brought up.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		err := manyAtATime()
		if err == nil {
			built.dir, err = os.MkdirTemp("", "fairlead-e2e-")
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1
		}
		defer func() { _ = os.RemoveAll(built.dir) }() // it is in the folder for temporary files
		down, err := prepare(ctx)
		defer down()
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1
		}
		beats, stop := context.WithCancel(context.Background())
		defer stop()
		go heart.run(beats)
		return m.Run()
	}())
}

// manyAtATime lets more tests run in parallel than there are processors: what they do is wait. The flag -parallel says otherwise.
func manyAtATime() error {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", "8")
}

// TestE2E is all of the suite: first, in parallel, what breaks nothing; then what needs all pools for itself; then, one after another, what
// breaks something.
func TestE2E(t *testing.T) {
	t.Cleanup(func() { clearStanding(t) })
	settled(t)
	var missing atomic.Int32 // tests that do not run
	runIn := func(t *testing.T, name string, test func(*testing.T)) {
		missing.Add(1)
		t.Run(name, func(t *testing.T) {
			missing.Add(-1)
			test(t)
		})
	}
	run := func(name string, test func(*testing.T)) { runIn(t, name, test) }
	run("Parallel", func(t *testing.T) {
		for _, part := range []struct { // what takes long comes first
			name string
			test func(*testing.T)
		}{
			// One after another: each wants the router's sessions to be its own.
			{"Routed", func(t *testing.T) {
				runIn(t, "BGPBadInput", testBGPBadInput)
				runIn(t, "BGP", testBGP)
				runIn(t, "BGPChanges", testBGPChanges)
			}},
			{"AddressConflict", testAddressConflict},
			{"Local", testLocal},
			{"BadInput", testBadInput},
			{"Delete", testDelete},
			{"Walkthrough", testWalkthrough},
			{"OneAnswer", testOneAnswer},
			{"Build", testBuild},
			{"SessionAffinity", testSessionAffinity},
			{"NoEndpoints", testNoEndpoints},
			{"NoSelector", testNoSelector},
			{"NoNodePorts", testNoNodePorts},
			{"LeftAlone", testLeftAlone},
			{"UDP", testUDP},
			{"Metrics", testMetrics},
		} {
			runIn(t, part.name, func(t *testing.T) {
				t.Parallel()
				part.test(t)
			})
		}
	})
	run("Doctor", testDoctor)
	run("Allocation", testAllocation)
	run("BGPHostilePeer", testHostilePeer)
	run("BGPMoves", testBGPMoves)
	run("BGPFailover", testBGPFailover)
	run("LinkCut", testLinkCut)
	run("GoesHome", testGoesHome)
	run("NothingLost", testNothingLost)
	run("Partition", testPartition)
	run("SpeakerPaused", testSpeakerPaused)
	run("AllAtOnce", testAllAtOnce)
	run("GossipKeyReplaced", testGossipKeyReplaced)
	run("APIServerPaused", testAPIServerPaused)
	run("KillLoop", testKillLoop)
	t.Run("Rights", func(t *testing.T) { testRights(t, missing.Load() == 0) }) // of all that was done until here
	t.Run("Upgrade", testUpgrade)
	t.Run("Uninstall", testUninstall)           // takes the installation off, and puts it back
	t.Run("MigrateMetalLB", testMigrateMetalLB) // stops Fairlead for a while
	t.Run("Kubespray", testKubespray)           // last, because it takes the installation off
}

// settled waits until every node has been well for so long that addresses stay where they are: while nodes settle that have just been
// installed, addresses move.
func settled(t *testing.T) {
	t.Helper()
	newWithT(t).Eventually(func(g Gomega) {
		for _, node := range theLab.Nodes() {
			var speaker v1beta1.Speaker
			g.Expect(cluster.Get(t.Context(), client.ObjectKey{Name: node.Name}, &speaker)).To(Succeed())
			g.Expect(meta.IsStatusConditionTrue(speaker.Status.Conditions, v1beta1.SpeakerSettled)).To(BeTrue(), "%s is settled: %v", node.Name, speaker.Status.Conditions)
		}
	}).Should(Succeed())
}

// prepare brings the lab up, or what is missing of it; down takes it down if it was not up before.
func prepare(ctx context.Context) (down func(), err error) {
	down = func() {}
	ctrl.SetLogger(logr.Discard())
	root, err := filepath.Abs("../..")
	if err != nil {
		return down, err
	}
	labConfig = lab.Config{Name: os.Getenv("FAIRLEAD_LAB"), Root: root, Install: true, Kustomization: filepath.Join(root, "test/e2e/install"), Routers: []router.Kind{router.FRR}}
	switch running, err := lab.Open(labConfig); {
	case errors.Is(err, lab.ErrNotUp):
		down = func() {
			if err := lab.Down(context.Background(), labConfig, os.Stderr); err != nil {
				fmt.Fprintln(os.Stderr, "e2e: take the lab down:", err)
			}
		}
	case err != nil:
		return down, err
	default:
		labStays = true
		labConfig.Nodes, labConfig.ProxyMode = len(running.Nodes()), running.ProxyMode()
		log, err := os.Stat(running.AuditLog())
		if err != nil {
			return down, err
		}
		auditBefore = log.Size()
	}
	// A lab that is up may run what was built before: what is tested is what is in dist/ and config/ now.
	theLab, err = lab.Up(ctx, labConfig, os.Stderr)
	if err != nil {
		return down, err
	}
	if lanClient, err = theLab.Host("client"); err != nil {
		return down, err
	}
	config, err := theLab.RESTConfig()
	if err != nil {
		return down, err
	}
	config.QPS, config.Burst = 200, 400
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1beta1.AddToScheme(scheme)); err != nil {
		return down, err
	}
	cluster, err = client.New(config, client.Options{Scheme: scheme})
	return down, err
}
