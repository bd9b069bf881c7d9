package kubespray

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// rendered is what the role makes of one set of variables. A golden file shows all of it but the manifests, which are the product's own
// but for what is in programs; and that only where it is not as without any variable.
type rendered struct {
	Errors    []string                     `json:"errors,omitempty"`
	Warnings  []string                     `json:"warnings,omitempty"`
	Programs  map[string]program           `json:"programs,omitempty"`
	Objects   []*unstructured.Unstructured `json:"objects,omitempty"`
	manifests []*unstructured.Unstructured
}

// program is what variables can change of one.
type program struct {
	Image        string              `json:"image"`
	Args         []string            `json:"args,omitempty"`
	Ports        string              `json:"ports"`
	NodeSelector map[string]string   `json:"nodeSelector"`
	Tolerations  []corev1.Toleration `json:"tolerations"`
}

// cases are the sets of variables: files in testdata, and every YAML block of the guides.
func cases(t *testing.T, root string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	files, err := filepath.Glob(filepath.Join("testdata", "*", "*.yml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.ToSlash(file), ".yml")] = text
	}
	block := regexp.MustCompile("(?ms)^ *```yaml\n(.*?)^ *```$")
	for name, file := range map[string]string{"guide": "docs/kubespray.md", "readme": "config/kubespray/README.md"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range block.FindAllSubmatch(text, -1) {
			out[fmt.Sprintf("testdata/docs/%s-%d", name, i+1)] = b[1]
		}
	}
	return out
}

// book plans all cases, each a host with these variables, in one task, because a task costs a third of a second, and reports what came of
// each in a line that is found in the output. TestRole runs the tasks around that.
const book = `
- hosts: cases
  gather_facts: false
  tasks:
  - ansible.builtin.debug:
      msg: "REPORT {{ lookup('ansible.builtin.template', 'plan.yml.j2') | from_yaml | combine({'case': inventory_hostname,
              'secrets': lookup('ansible.builtin.template', 'secrets.yml.j2') | from_yaml if inventory_hostname is match('samples') else []}) | to_json }}"
`

// plan has the role's templates plan all cases, once for all tests.
func plan(t *testing.T) map[string]*rendered {
	t.Helper()
	planOnce.Do(func() { planResult = planAll(t) })
	if planResult == nil {
		t.Fatal("the cases could not be planned; another test says why")
	}
	return planResult
}

func planAll(t *testing.T) map[string]*rendered {
	t.Helper()
	root, p := project(t)
	for _, dir := range []string{"host_vars", filepath.Join("group_vars", "all")} {
		if err := os.MkdirAll(filepath.Join(p.Dir, dir), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	role := filepath.Join(p.Dir, "roles", "kubernetes-apps", "metallb")
	for from, to := range map[string]string{ // found from a playbook as from within the role
		"templates": "templates", "files": "files", "defaults/main.yml": "group_vars/all/1.yml", "vars/main.yml": "group_vars/all/2.yml",
	} {
		if err := os.Symlink(filepath.Join(role, from), filepath.Join(p.Dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, p, "group_vars/all/3.yml", "metallb_enabled: true\nregistry_host: registry.test\nfairlead_render_only: true\n")
	all := cases(t, root)
	names := map[string]string{}
	hosts := "[cases]\n"
	for name, text := range all {
		host := strings.ReplaceAll(strings.TrimPrefix(name, "testdata/"), "/", "-")
		names[host] = strings.TrimPrefix(name, "testdata/")
		hosts += host + "\n"
		write(t, p, "host_vars/"+host+".yml", string(text))
	}
	write(t, p, "inventory.ini", hosts)
	write(t, p, "book.yml", book)
	result, err := p.Run(t.Context(), "book.yml", "--forks=2")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*rendered{}
	for _, line := range regexp.MustCompile(`(?m)^    "msg": ("REPORT .*")$`).FindAllStringSubmatch(result.Output, -1) {
		var text string
		var report struct {
			Case                        string
			Errors, Warnings            []string
			Manifests, Objects, Secrets []map[string]any
		}
		if err := json.Unmarshal([]byte(line[1]), &text); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(strings.TrimPrefix(text, "REPORT ")), &report); err != nil {
			t.Fatal(err)
		}
		out[names[report.Case]] = &rendered{
			Errors: report.Errors, Warnings: report.Warnings, Programs: programs(t, report.Manifests),
			Objects: objects(append(report.Objects, report.Secrets...)), manifests: objects(report.Manifests),
		}
	}
	if len(out) != len(all) {
		t.Fatalf("%d of %d cases were planned:\n%s", len(out), len(all), result.Output)
	}
	return out
}

// TestRender compares what each set of variables means with what it is known to mean.
func TestRender(t *testing.T) {
	t.Parallel()
	all := plan(t)
	for name, r := range all {
		t.Run(name, func(t *testing.T) {
			got := *r
			if none := "variables/none"; name != none && reflect.DeepEqual(got.Programs, all[none].Programs) {
				got.Programs = nil
			}
			text, err := yaml.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", filepath.FromSlash(name)+".golden")
			if *update {
				if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(text, want) {
				t.Errorf("%s is not what the role gives (go test -update rewrites it):\n%s", file, text)
			}
		})
	}
}

// documents of a file of YAML documents.
func documents(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []*unstructured.Unstructured
	for _, doc := range strings.Split("\n"+string(text), "\n---\n") {
		var u unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if u.Object != nil {
			out = append(out, &u)
		}
	}
	return out
}

func objects(list []map[string]any) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, o := range list {
		out = append(out, &unstructured.Unstructured{Object: o})
	}
	return out
}

// programs among manifests.
func programs(t *testing.T, manifests []map[string]any) map[string]program {
	t.Helper()
	out := map[string]program{}
	for _, m := range objects(manifests) {
		if k := m.GetKind(); k != "Deployment" && k != "DaemonSet" {
			continue
		}
		text, err := m.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var d appsv1.DaemonSet // the parts that are read are alike in both
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		pod := &d.Spec.Template.Spec
		var ports []string
		for _, p := range pod.Containers[0].Ports {
			ports = append(ports, fmt.Sprintf("%s %d", p.Name, p.ContainerPort))
		}
		slices.Sort(ports)
		out[m.GetNamespace()+"/"+m.GetName()] = program{
			Image: pod.Containers[0].Image + ", " + string(pod.Containers[0].ImagePullPolicy), Args: pod.Containers[0].Args,
			Ports: strings.Join(ports, ", "), NodeSelector: pod.NodeSelector, Tolerations: pod.Tolerations,
		}
	}
	return out
}
