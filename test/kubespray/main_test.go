package kubespray

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/testenv"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The API server is started by the first test that needs one: rendering needs none.
var (
	server     *testenv.Env
	startOnce  = sync.OnceValue(func() (err error) { server, err = testenv.Start(); return err })
	planOnce   sync.Once
	planResult map[string]*rendered
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	code := m.Run()
	if server != nil {
		if err := server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// apiServer gives a client for it.
func apiServer(t *testing.T) client.Client {
	t.Helper()
	if err := startOnce(); err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1beta1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	config := rest.CopyConfig(server.Config)
	config.QPS = -1 // hundreds of objects are tried
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// project with the role in the addon's place.
func project(t *testing.T) (root string, p *Project) {
	t.Helper()
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	if p, err = NewProject(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if err := p.ReplaceAddon(root); err != nil {
		t.Fatal(err)
	}
	return root, p
}

func write(t *testing.T, p *Project, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.Dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
