package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const keep = "helm.sh/resource-policy"

// ours takes Helm's annotation off the CRDs, which all of them and nothing else must have.
func ours(t *testing.T, all objects) objects {
	t.Helper()
	for key, o := range all {
		annotations := o.GetAnnotations()
		if kept := annotations[keep] == "keep"; kept != (o.GetKind() == "CustomResourceDefinition") {
			t.Errorf("%s is kept when the release is uninstalled: %v", key, kept)
		}
		delete(annotations, keep)
		o.SetAnnotations(annotations)
	}
	return all
}

// TestSameAsConfig: the chart and config are two ways to one thing. Of what Helm adds there is the annotation that keeps the CRDs, and the hook
// that lets go of the pools afterwards.
func TestSameAsConfig(t *testing.T) {
	for _, c := range []struct {
		name, values, config string
		want                 []string
	}{
		{"default", "", "default", []string{"Namespace fairlead-system: there -> none"}},
		{"with namespace", "namespace: {create: true}", "default", nil},
		{"held", "{held: true, namespace: {create: true}}", "held", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := kustomized(t, c.config)
			if len(want) < 18 {
				t.Fatalf("config/%s has %d objects", c.config, len(want))
			}
			same(t, differences(want, ours(t, render(t, c.values, "--no-hooks"))), c.want)
		})
	}
}

// TestUninstallHook: what takes the finalizers off in the end runs where the controller does, from the same image, and is a hook as a whole.
func TestUninstallHook(t *testing.T) {
	const values = `
image: {repository: registry.test/fairlead, tag: v1, pullPolicy: Always, pullSecrets: [{name: a}]}
controller: {nodeSelector: {lb: 'true'}, tolerations: [{operator: Exists}], resources: {limits: {memory: 1Gi}}}
`
	all := render(t, values)
	job := all["Job fairlead-uninstall"]
	for _, kind := range []string{"Job", "ServiceAccount", "ClusterRole", "ClusterRoleBinding"} {
		o := all[kind+" fairlead-uninstall"]
		if o == nil || o.GetAnnotations()["helm.sh/hook"] != "post-delete" || o.GetAnnotations()["helm.sh/hook-delete-policy"] != "before-hook-creation,hook-succeeded,hook-failed" {
			t.Fatalf("%s fairlead-uninstall is no hook that goes by itself: %v", kind, o)
		}
	}
	pod := func(o *unstructured.Unstructured) map[string]string {
		fields := map[string]string{}
		walk("", o.Object, fields)
		return fields
	}
	hook, controller := pod(job), pod(all["Deployment fairlead-controller"])
	for field, value := range controller {
		for _, part := range []string{"containers[0].image", "containers[0].resources", "containers[0].securityContext", "imagePullSecrets", "nodeSelector", "tolerations", "securityContext"} {
			if strings.HasPrefix(field, "spec.template.spec."+part) && hook[field] != value {
				t.Errorf("the hook has %s %q, the controller %q", field, hook[field], value)
			}
		}
	}
}

// TestNamespace: every object, and every name of the namespace in one, follows the release's.
func TestNamespace(t *testing.T) {
	const all = "{namespace: {create: true}, podMonitor: {enabled: true}, prometheusRule: {enabled: true}, dashboard: {enabled: true}}"
	out, errs, err := renderText(t, all, "--namespace=elsewhere")
	if err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	if strings.Count(out, "fairlead-system") > 0 {
		t.Errorf("fairlead-system is in what is rendered for namespace elsewhere:\n%s", out)
	}
	same(t, differences(parse(t, strings.ReplaceAll(out, "elsewhere", namespace)), render(t, all)), []string{
		"controller container.args[0]: --namespace=fairlead-system -> none",
		"speaker container.args[0]: --namespace=fairlead-system -> none",
	})
}

// TestSubchart: another chart can depend on this one, with a condition.
func TestSubchart(t *testing.T) {
	parent := t.TempDir()
	if err := os.CopyFS(filepath.Join(parent, "charts", "fairlead"), os.DirFS(chartDir(t))); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(parent, "Chart.yaml"), "apiVersion: v2\nname: parent\nversion: 1.0.0\ndependencies:\n- {name: fairlead, version: '*', condition: fairlead.enabled}\n")
	write(t, filepath.Join(parent, "values.yaml"), "global: {x: 1}\nfairlead: {enabled: true, namespace: {create: true}}\n")
	out, errs, err := tool(t, os.DevNull, nil, "helm", "template", "parent", parent, "--namespace="+namespace)
	if err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	same(t, differences(render(t, "namespace: {create: true}"), parse(t, out)), nil)
}

// TestPackage: the version of a packaged chart is the image's tag.
func TestPackage(t *testing.T) {
	dir := t.TempDir()
	if _, errs, err := tool(t, os.DevNull, nil, "helm", "package", chartDir(t), "--destination", dir, "--version=1.2.3", "--app-version=v1.2.3"); err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	out, errs, err := tool(t, os.DevNull, nil, "helm", "template", "fairlead", filepath.Join(dir, "fairlead-1.2.3.tgz"), "--namespace="+namespace)
	if err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	same(t, differences(render(t, ""), parse(t, out)), []string{
		"Job fairlead-uninstall container.image: fairlead:dev -> fairlead:v1.2.3",
		"controller container.image: fairlead:dev -> fairlead:v1.2.3",
		"speaker container.image: fairlead:dev -> fairlead:v1.2.3",
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// same fails with what is missing and what is too much.
func same(t *testing.T, got, want []string) {
	t.Helper()
	left := map[string]int{}
	for _, line := range want {
		left[line]++
	}
	for _, line := range got {
		if left[line]--; left[line] < 0 {
			t.Errorf("differs: %s", line)
		}
	}
	for line, n := range left {
		if n > 0 {
			t.Errorf("does not differ: %s", line)
		}
	}
}
