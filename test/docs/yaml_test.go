package docs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/internal/testenv"
)

var server *testenv.Env

func TestMain(m *testing.M) {
	os.Exit(testenv.Main(m, func(env *testenv.Env) { server = env }))
}

// notObjects are the words that may follow «yaml» where a block is no Kubernetes object. It has to be YAML all the same.
var notObjects = map[string]string{
	"ansible":    "variables of an Ansible inventory",
	"values":     "values of a Helm chart",
	"prometheus": "configuration of Prometheus",
	"compose":    "a file for Docker Compose",
}

// foreign are the groups of kinds that no API server has by itself, or that are never sent to one.
var foreign = map[string]string{
	"kubeproxy.config.k8s.io":       "a file of kube-proxy's",
	"kubelet.config.k8s.io":         "a file of kubelet's",
	"kubeadm.k8s.io":                "a file of kubeadm's",
	"kustomize.config.k8s.io":       "a file of kustomize's",
	"crd.projectcalico.org":         "Calico's",
	"projectcalico.org":             "Calico's",
	"cilium.io":                     "Cilium's",
	"metallb.io":                    "MetalLB's",
	"purelb.io":                     "PureLB's",
	"network.openelb.kubesphere.io": "OpenELB's",
	"monitoring.coreos.com":         "the Prometheus operator's",
}

// document is one of a block's or a file's, with where it is.
type document struct{ where, text string }

// documents of a text; those that have nothing but comments are left out.
func documents(where, text string) (list []document, err error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for i := 1; ; i++ {
		raw, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		var content any
		if err := yaml.UnmarshalStrict(raw, &content); err != nil {
			return nil, err
		}
		if content != nil {
			list = append(list, document{fmt.Sprintf("%s, document %d", where, i), string(raw)})
		}
	}
}

// objectsOf a page that are to be validated, and what is wrong with it.
func objectsOf(p *page) (list []document, problems []string) {
	for _, b := range p.blocks {
		where := fmt.Sprintf("%s:%d", p.name, b.line)
		language := ""
		if len(b.info) > 0 {
			language = b.info[0]
		}
		if language != "yaml" {
			if strings.HasPrefix(b.text, "apiVersion:") || strings.Contains(b.text, "\napiVersion:") || language == "yml" {
				problems = append(problems, where+": an object must stand between ```yaml and ```, so that it is validated")
			}
			continue
		}
		found, err := documents(where, b.text)
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: it is no YAML: %v", where, err))
			continue
		}
		if len(b.info) == 1 {
			list = append(list, found...)
			continue
		}
		if notObjects[b.info[1]] == "" || len(b.info) > 2 {
			problems = append(problems, fmt.Sprintf("%s: ```%s: a block that is no object is marked by one word: %s", where, strings.Join(b.info, " "), strings.Join(words(), ", ")))
		}
		for _, d := range found {
			if strings.HasPrefix(d.text, "apiVersion:") {
				problems = append(problems, d.where+": it is an object, and marked as none: remove the word "+b.info[1])
			}
		}
	}
	return list, problems
}

func words() (list []string) {
	for w := range notObjects {
		list = append(list, w)
	}
	slices.Sort(list)
	return list
}

// validator sends objects to the API server, which stores none of them.
type validator struct {
	dynamic dynamic.Interface
	mapper  meta.RESTMapper
	core    kubernetes.Interface
}

func newValidator(config *rest.Config) (*validator, error) {
	http, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	v := &validator{}
	if v.mapper, err = apiutil.NewDynamicRESTMapper(config, http); err != nil {
		return nil, err
	}
	if v.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	v.core, err = kubernetes.NewForConfig(config)
	return v, err
}

// validate an object as kubectl apply --server-side --dry-run=server does, with unknown fields refused. False: it is foreign.
func (v *validator) validate(ctx context.Context, text string) (ours bool, err error) {
	var o unstructured.Unstructured
	if err := yaml.UnmarshalStrict([]byte(text), &o.Object); err != nil {
		return false, err
	}
	kind := o.GroupVersionKind()
	if kind.Kind == "" || kind.Version == "" {
		return false, fmt.Errorf("it has no apiVersion and kind: if it is no object, say what it is after ```yaml: %s", strings.Join(words(), ", "))
	}
	if foreign[kind.Group] != "" {
		return false, nil
	}
	mapping, err := v.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return false, fmt.Errorf("the API server does not have it; if that is right, list its group: %w", err)
	}
	var to dynamic.ResourceInterface = v.dynamic.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		namespace := o.GetNamespace()
		if namespace == "" {
			namespace = metav1.NamespaceDefault
		}
		_, err := v.core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return false, err
		}
		to = v.dynamic.Resource(mapping.Resource).Namespace(namespace)
	}
	force := true
	_, err = to.Patch(ctx, o.GetName(), types.ApplyYAMLPatchType, []byte(text), metav1.PatchOptions{
		DryRun: []string{metav1.DryRunAll}, FieldManager: "docs", FieldValidation: metav1.FieldValidationStrict, Force: &force,
	})
	return true, err
}

// TestYAML: the API server takes every object of every page, and of config.
func TestYAML(t *testing.T) {
	v, err := newValidator(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	var all []document
	for _, p := range pages(t) {
		list, problems := objectsOf(p)
		all = append(all, list...)
		for _, text := range problems {
			t.Error(text)
		}
	}
	samples := 0
	for _, name := range files(t, ".yaml") {
		if !strings.HasPrefix(name, "config/") || strings.HasPrefix(name, "config/kubespray/") { // the role's files are Ansible's
			continue
		}
		list, err := documents(name, read(t, name))
		if err != nil {
			t.Errorf("%s: it is no YAML: %v", name, err)
		}
		if all = append(all, list...); strings.HasPrefix(name, "config/samples/") {
			samples += len(list)
		}
	}
	ours := 0
	for _, d := range all {
		sent, err := v.validate(t.Context(), d.text)
		if err != nil {
			t.Errorf("%s: %v", d.where, err)
		}
		if sent {
			ours++
		}
	}
	t.Logf("%d of %d objects were sent to the API server, %d of them samples", ours, len(all), samples)
	if ours < 20 || samples < 5 {
		t.Errorf("only %d objects and %d samples were found", ours, samples)
	}
}

// TestYAMLRefused: what is to be found is found.
func TestYAMLRefused(t *testing.T) {
	v, err := newValidator(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"an unknown field":       {"apiVersion: fairlead.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: x}\nspec: {addresses: [192.0.2.1], autoassign: true}\n", "autoassign"},
		"a rule of the kind":     {"apiVersion: fairlead.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: x}\nspec: {addresses: [192.0.2.9-192.0.2.1]}\n", "reversed"},
		"a field twice":          {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: b}\ndata: {a: c}\n", "already set"},
		"a core kind's field":    {"apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {type: LoadBalancer, port: 80}\n", "port"},
		"an unknown kind":        {"apiVersion: fairlead.io/v1beta1\nkind: Pool\nmetadata: {name: x}\n", "does not have it"},
		"neither kind nor group": {"spec: {addresses: [192.0.2.1]}\n", "no apiVersion"},
	} {
		if _, err := v.validate(t.Context(), c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, which does not say %q", name, err, c.want)
		}
	}
	for markdown, want := range map[string]string{
		"```yaml\na: b: c\n```\n":                       "no YAML",
		"```yaml something\na: b\n```\n":                "marked by one word",
		"```yaml ansible\napiVersion: v1\nkind: X\n```": "marked as none",
		"```\napiVersion: v1\nkind: X\n```\n":           "must stand between",
		"text\n\n    apiVersion: v1\n    kind: X\n":     "must stand between",
	} {
		if _, problems := objectsOf(parse("x.md", markdown)); len(problems) != 1 || !strings.Contains(problems[0], want) {
			t.Errorf("%q: %q, and should be one that says %q", markdown, problems, want)
		}
	}
	if list, problems := objectsOf(parse("x.md", "1. In a list\n\n   ```yaml\n   apiVersion: v1\n   ---\n   apiVersion: v2\n   ```\n")); len(list) != 2 || len(problems) > 0 {
		t.Errorf("in a list: %+v, %q", list, problems)
	}
}
