package chart

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"fairlead.io/fairlead/internal/testenv"
)

const namespace = "fairlead-system"

var update = flag.Bool("update", false, "rewrite the table of values in docs/helm.md")

// home is where tools keep what they know of the server.
var home string

// The API server is started by the first test that needs one: rendering needs none.
var (
	server    *testenv.Env
	startOnce = sync.OnceValue(func() (err error) { server, err = testenv.StartEmpty(); return err })
)

func TestMain(m *testing.M) {
	var err error
	if home, err = os.MkdirTemp("", "fairlead-chart-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if server != nil {
		if err := server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if err := os.RemoveAll(home); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func chartDir(t *testing.T) string {
	t.Helper()
	return filepath.Join(root(t), "charts", "fairlead")
}

// tool runs one of bin/tools, with nothing of this machine's configuration.
func tool(t *testing.T, kubeconfig string, stdin io.Reader, name string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := command(t, kubeconfig, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	if err = cmd.Run(); errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%s is missing: run `make tools`", cmd.Path)
	}
	return out.String(), errs.String(), err
}

func command(t *testing.T, kubeconfig, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(filepath.Join(root(t), "bin", "tools", name), args...)
	cmd.Env = []string{"HOME=" + home, "KUBECONFIG=" + kubeconfig, "PATH=" + os.Getenv("PATH")}
	return cmd
}

// renderText has helm render the chart away from any cluster.
func renderText(t *testing.T, values string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return tool(t, os.DevNull, strings.NewReader(values), "helm", append([]string{"template", "fairlead", chartDir(t), "--namespace=" + namespace, "--values=-"}, args...)...)
}

// render gives the objects.
func render(t *testing.T, values string, args ...string) objects {
	t.Helper()
	out, errs, err := renderText(t, values, args...)
	if err != nil {
		t.Fatalf("helm template with\n%s\n%v: %s", values, err, errs)
	}
	return parse(t, out)
}

// refused renders what must not be rendered, and gives what helm says.
func refused(t *testing.T, values string) string {
	t.Helper()
	out, errs, err := renderText(t, values)
	if err == nil {
		t.Fatalf("the chart takes\n%s\nand renders %d bytes", values, len(out))
	}
	return errs
}

// kustomized gives the objects of a folder of config.
func kustomized(t *testing.T, dir string) objects {
	t.Helper()
	out, errs, err := tool(t, os.DevNull, nil, "kustomize", "build", filepath.Join(root(t), "config", dir))
	if err != nil {
		t.Fatalf("kustomize build config/%s: %v: %s", dir, err, errs)
	}
	return parse(t, out)
}

// objects by kind and name.
type objects map[string]*unstructured.Unstructured

func parse(t *testing.T, text string) objects {
	t.Helper()
	all := objects{}
	for d := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		o := &unstructured.Unstructured{}
		if err := d.Decode(&o.Object); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if len(o.Object) == 0 {
			continue
		}
		key := o.GetKind() + " " + o.GetName()
		if all[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		all[key] = o
	}
}
