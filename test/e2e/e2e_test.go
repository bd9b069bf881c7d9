package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
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
)

// TestMain brings the lab up, unless one is up already, installs Fairlead as it is now, and takes down what it brought up.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		down, err := prepare(ctx)
		defer down()
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1
		}
		return m.Run()
	}())
}

// TestE2E is all of the suite: first, in parallel, what breaks nothing; then what needs all pools for itself; then, one after another, what
// breaks something.
func TestE2E(t *testing.T) {
	t.Run("Parallel", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T){
			"Walkthrough":     testWalkthrough,
			"OneAnswer":       testOneAnswer,
			"NoSelector":      testNoSelector,
			"NoNodePorts":     testNoNodePorts,
			"LeftAlone":       testLeftAlone,
			"SessionAffinity": testSessionAffinity,
			"Local":           testLocal,
			"Delete":          testDelete,
			"UDP":             testUDP,
			"BadInput":        testBadInput,
			"NoEndpoints":     testNoEndpoints,
			"AddressConflict": testAddressConflict,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t)
			})
		}
	})
	t.Run("Allocation", testAllocation)
	t.Run("BGP", testBGP)
	t.Run("BGPMoves", testBGPMoves)
	t.Run("LinkCut", testLinkCut)
	t.Run("GoesHome", testGoesHome)
	t.Run("NothingLost", testNothingLost)
	t.Run("Partition", testPartition)
	t.Run("SpeakerPaused", testSpeakerPaused)
	t.Run("AllAtOnce", testAllAtOnce)
	t.Run("GossipKeyReplaced", testGossipKeyReplaced)
	t.Run("APIServerPaused", testAPIServerPaused)
	t.Run("KillLoop", testKillLoop)
}

// prepare brings the lab up, or what is missing of it; down takes it down if it was not up before.
func prepare(ctx context.Context) (down func(), err error) {
	down = func() {}
	ctrl.SetLogger(logr.Discard())
	root, err := filepath.Abs("../..")
	if err != nil {
		return down, err
	}
	labConfig := lab.Config{Name: os.Getenv("FAIRLEAD_LAB"), Root: root, Install: true, Routers: []router.Kind{router.FRR}}
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
		labConfig.Nodes, labConfig.ProxyMode = len(running.Nodes()), running.ProxyMode()
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
