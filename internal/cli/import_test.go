package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"fairlead.io/fairlead/internal/metallb"
)

func noCluster(t *testing.T) func() (*rest.Config, error) {
	return func() (*rest.Config, error) {
		t.Helper()
		t.Error("a cluster was asked for")
		return nil, errors.New("no cluster")
	}
}

// Each folder has what is read, and what is made and said of it.
func TestImportFiles(t *testing.T) {
	for name, want := range map[string]error{"configmap": ErrIncomplete, "kubespray-2022": nil, "kubespray": ErrIncomplete, "resources": ErrIncomplete,
		"broken": ErrIncomplete, "services": ErrIncomplete} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join("testdata", "import", name)
			var out, report bytes.Buffer
			o := ImportOptions{Options: metallb.Options{Namespace: "fairlead-system"}, Files: []string{filepath.Join(dir, "in.yaml")}}
			if err := ImportMetalLB(t.Context(), nil, &out, &report, noCluster(t), o); !errors.Is(err, want) {
				t.Errorf("%v", err)
			}
			golden(t, filepath.Join(dir, "out.yaml"), out.Bytes())
			golden(t, filepath.Join(dir, "report.txt"), report.Bytes())
			if strings.Contains(out.String()+report.String(), "correct horse") || strings.Contains(out.String()+report.String(), "changeme") {
				t.Error("a password was printed")
			}
		})
	}
}

func TestImportOutputs(t *testing.T) {
	in := filepath.Join("testdata", "import", "resources", "in.yaml")
	run := func(t *testing.T, change func(*ImportOptions)) (out, errs string) {
		t.Helper()
		o := ImportOptions{Options: metallb.Options{Namespace: "lb"}, Files: []string{in}}
		change(&o)
		var stdout, stderr bytes.Buffer
		if err := ImportMetalLB(t.Context(), nil, &stdout, &stderr, noCluster(t), o); !errors.Is(err, ErrIncomplete) {
			t.Fatal(err)
		}
		return stdout.String(), stderr.String()
	}
	t.Run("secrets", func(t *testing.T) {
		out, _ := run(t, func(o *ImportOptions) { o.ShowSecrets = true })
		if !strings.Contains(out, "password: aHVudGVyMg==") || !strings.Contains(out, "namespace: lb") {
			t.Error(out)
		}
	})
	t.Run("report", func(t *testing.T) {
		out, errs := run(t, func(o *ImportOptions) { o.Output = OutputReport })
		if errs != "" || !strings.Contains(out, "Summary:") || strings.Contains(out, "apiVersion") {
			t.Error(out, errs)
		}
	})
	t.Run("file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "report")
		out, errs := run(t, func(o *ImportOptions) { o.ReportFile = path })
		report, err := os.ReadFile(path)
		if err != nil || errs != "" || !strings.Contains(string(report), "Summary:") || strings.Contains(out, "Summary:") {
			t.Error(string(report), errs, err)
		}
	})
	t.Run("stdin", func(t *testing.T) {
		var out, errs bytes.Buffer
		o := ImportOptions{Files: []string{"-"}}
		json := `{"apiVersion":"metallb.io/v1beta1","kind":"IPAddressPool","metadata":{"name":"web"},"spec":{"addresses":["10.0.0.0/24"]}}`
		if err := ImportMetalLB(t.Context(), strings.NewReader(json), &out, &errs, noCluster(t), o); err != nil || !strings.Contains(out.String(), "name: web") {
			t.Error(err, out.String(), errs.String())
		}
	})
	t.Run("nothing", func(t *testing.T) {
		var out, errs bytes.Buffer
		o := ImportOptions{Files: []string{"-"}}
		if err := ImportMetalLB(t.Context(), strings.NewReader("# nothing\n"), &out, &errs, noCluster(t), o); err != nil || out.Len() > 0 || !strings.Contains(errs.String(), "There is nothing of MetalLB's") {
			t.Error(err, out.String(), errs.String())
		}
	})
	t.Run("no file", func(t *testing.T) {
		err := ImportMetalLB(t.Context(), nil, &bytes.Buffer{}, &bytes.Buffer{}, noCluster(t), ImportOptions{Files: []string{"testdata/none"}})
		if err == nil || errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "read testdata/none") {
			t.Error(err)
		}
	})
}
