package metallb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// fieldCase sets a field, and says what is to come of it.
type fieldCase struct {
	// field as testdata/fields.txt has it.
	field string
	// set is YAML that is added to an object that is right.
	set     string
	verdict Verdict
	// says is in the finding's text, gives in the objects as YAML; without gives there is to be none of the kind.
	says, gives string
}

// right objects: each case adds to one of them.
const (
	rightPool    = `{addresses: [10.1.0.0/24]}`
	rightOld     = `{protocol: bgp, addresses: [10.1.0.0/24]}`
	rightPeer    = `{myASN: 64512, peerASN: 64513, peerAddress: 10.0.0.1, holdTime: 90s}`
	rightCMPeer  = `{my-asn: 64512, peer-asn: 64513, peer-address: 10.0.0.1}`
	rightCMPool  = `{name: web, protocol: bgp, addresses: [10.1.0.0/24]}`
	rightCMBFD   = `{name: fast}`
	noFieldsYet  = `{}`
	passwordWord = "hunter2"
)

func rightOf(kind string) string {
	return map[string]string{"IPAddressPool v1beta1": rightPool, "AddressPool v1alpha1": rightOld, "AddressPool v1beta1": rightOld,
		"L2Advertisement v1beta1": noFieldsYet, "BGPAdvertisement v1beta1": noFieldsYet, "BGPPeer v1beta1": rightPeer, "BGPPeer v1beta2": rightPeer,
		"BFDProfile v1beta1": noFieldsYet, "Community v1beta1": noFieldsYet, "ConfigMap peers": rightCMPeer, "ConfigMap bfd-profiles": rightCMBFD,
		"ConfigMap address-pools": rightCMPool, "ConfigMap -": noFieldsYet}[kind]
}

// objectsOf a case: one object with the field set, and what it may refer to.
func objectsOf(t testing.TB, c *fieldCase) []Object {
	t.Helper()
	words := strings.Fields(c.field)
	spec := mapOf(t, rightOf(words[0]+" "+words[1]))
	for k, v := range mapOf(t, c.set) {
		spec[k] = v
	}
	objects := []Object{
		mapOf(t, `{apiVersion: v1, kind: Secret, metadata: {name: tor, namespace: metallb-system}, type: kubernetes.io/basic-auth, stringData: {password: `+passwordWord+`}}`),
	}
	if words[0] == "ConfigMap" {
		config := spec
		if words[1] != "-" {
			config = Object{words[1]: []any{spec}, "bgp-communities": Object{"vpn": "64512:100"}}
			if words[1] == "peers" {
				config["bfd-profiles"] = []any{Object{"name": "fast"}}
			}
		}
		raw, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		return append(objects, Object{"apiVersion": "v1", "kind": "ConfigMap", "metadata": Object{"name": "config", "namespace": "metallb-system"}, "data": Object{"config": string(raw)}})
	}
	if words[0] != "Community" {
		objects = append(objects, mapOf(t, `{apiVersion: metallb.io/v1beta1, kind: Community, metadata: {name: names, namespace: metallb-system}, spec: {communities: [{name: vpn, value: "64512:100"}]}}`))
	}
	if words[0] == "BGPPeer" {
		objects = append(objects, mapOf(t, `{apiVersion: metallb.io/v1beta1, kind: BFDProfile, metadata: {name: fast, namespace: metallb-system}}`))
	}
	return append(objects, Object{"apiVersion": "metallb.io/" + words[1], "kind": words[0], "metadata": Object{"name": "x", "namespace": "metallb-system"}, "spec": spec})
}

func mapOf(t testing.TB, text string) Object {
	t.Helper()
	objects, twice, err := Document([]byte(text))
	if err != nil || twice != nil || len(objects) != 1 {
		t.Fatalf("%s: %v %v", text, twice, err)
	}
	return objects[0]
}

func yamlOf(t testing.TB, r *Result) string {
	t.Helper()
	objects, err := r.Objects()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, o := range objects {
		raw, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "---\n%s", raw)
	}
	return b.String()
}

// Each field that MetalLB's configuration has had is listed, and each that is listed is tried.
func TestFields(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "fields.txt"))
	if err != nil {
		t.Fatal(err)
	}
	tried := map[string]bool{}
	for _, c := range fieldCases() {
		tried[c.field] = true
		t.Run(c.field+" "+c.set, func(t *testing.T) { tryField(t, &c) })
	}
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if !tried[line] {
			t.Errorf("%s has no case", line)
		}
		delete(tried, line)
	}
	for field := range tried {
		t.Errorf("%s has a case and is not listed", field)
	}
}

var index = regexp.MustCompile(`\[[0-9]+\]`)

func tryField(t *testing.T, c *fieldCase) {
	result := Convert(objectsOf(t, c), Options{Namespace: "fairlead-system"})
	field := strings.Fields(c.field)[2]
	var report bytes.Buffer
	if err := result.Report.Write(&report); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, item := range result.Report.Items {
		for _, f := range item.Findings {
			path := index.ReplaceAllString(f.Field, "")
			if strings.HasPrefix(item.Source, "ConfigMap metallb-system/config bgp-communities") {
				path = "bgp-communities"
			}
			at := path == field || strings.HasPrefix(path, field+".") || f.Verdict == Broken && f.Field == ""
			found = found || at && f.Verdict == c.verdict && strings.Contains(f.Text, c.says)
		}
	}
	if !found {
		t.Errorf("the report does not say %q with %q of %s:\n%s", c.verdict, c.says, field, &report)
	}
	if strings.Contains(report.String(), passwordWord) {
		t.Errorf("the report has the password:\n%s", &report)
	}
	out := yamlOf(t, result)
	if c.verdict == Broken {
		return
	}
	if !strings.Contains(out, c.gives) {
		t.Errorf("%q is not in\n%s%s", c.gives, out, &report)
	}
}

func jsonOf(t testing.TB, o Object) string {
	t.Helper()
	raw, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
