package bench

import (
	"testing"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"fairlead.io/fairlead/internal/testnet"
)

// The API server and the programs are in a network namespace of their own, and reach each other over loopback.
func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // what clients of this process would say
	testnet.Main(m)
}
