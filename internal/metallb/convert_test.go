package metallb

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fairlead.io/fairlead/internal/allocation"
	"fairlead.io/fairlead/internal/config"
)

// convert YAML documents.
func convert(t testing.TB, o Options, documents string) (*Result, string) {
	t.Helper()
	var objects []Object
	for doc := range strings.SplitSeq(documents, "\n---\n") {
		list, _, err := Document([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, list...)
	}
	result := Convert(objects, o)
	check(t, result)
	return result, reportOf(t, result)
}

func reportOf(t testing.TB, r *Result) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Report.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// check what holds of every result: all that is given out compiles, and is in the report.
func check(t testing.TB, r *Result) {
	t.Helper()
	for i := range r.Pools {
		if pool, invalid := allocation.Pool(&r.Pools[i]); invalid != "" {
			t.Errorf("pool %s: %s", pool.Name, pool.Invalid)
		}
	}
	for i := range r.L2Advertisements {
		if _, err := config.CompileL2Advertisement(&r.L2Advertisements[i]); err != nil {
			t.Error(err)
		}
	}
	passwords := config.Secrets{}
	for _, s := range r.Secrets {
		passwords[s.Name] = s.Data
	}
	for _, p := range r.BGPPeers {
		if ref := p.Spec.PasswordSecretRef; ref != nil && passwords[ref.Name] == nil {
			passwords[ref.Name] = map[string][]byte{ref.Key: []byte("to be made")}
		}
	}
	b := config.CompileBGP(&config.BGPObjects{Peers: r.BGPPeers, Advertisements: r.BGPAdvertisements, Profiles: r.BFDProfiles, Communities: r.Communities, Secrets: passwords})
	objects, err := r.Objects()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if err := b.Refused(o.GetKind(), o.GetName()); err != nil {
			t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
		what := o.GetKind() + " " + o.GetName()
		if o.GetKind() != "Secret" && !slices.ContainsFunc(r.Report.Items, func(i *Item) bool { return slices.Contains(i.Becomes, what) }) {
			t.Errorf("nothing is said of %s", what)
		}
		if o.GetLabels()[ManagedByLabel] != ManagedBy || o.GetAnnotations()[ImportedFromAnnotation] == "" || objectName(o.GetName()) != o.GetName() {
			t.Errorf("%v", o.Object["metadata"])
		}
	}
	for _, item := range r.Report.Items {
		for _, f := range item.Findings {
			if f.Verdict != Maps && f.Text == "" {
				t.Errorf("%s: no word on %s", item.Source, f.Field)
			}
		}
	}
}

const anyPool = `
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: web, namespace: lb}
spec: {addresses: [10.0.0.0/24]}
`

func TestNamespace(t *testing.T) {
	const programs = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: metallb-controller, namespace: lb, labels: {app.kubernetes.io/name: metallb}}
`
	for name, tc := range map[string]struct {
		options   Options
		documents string
		pools     int
		says      string
	}{
		"named":            {Options{MetalLBNamespace: "lb"}, anyPool, 1, "becomes IPAddressPool web"},
		"found":            {Options{}, anyPool + "---\n" + programs, 1, "becomes IPAddressPool web"},
		"elsewhere":        {Options{}, anyPool, 0, "name that by --metallb-namespace"},
		"named, elsewhere": {Options{MetalLBNamespace: "x"}, anyPool + "---\n" + programs, 0, "which is x"},
		"several":          {Options{}, anyPool + "---\n" + programs + "---\n" + strings.ReplaceAll(programs, "lb,", "x,"), 1, "in several namespaces: lb, x"},
		"none":             {Options{}, strings.ReplaceAll(anyPool, ", namespace: lb", ""), 1, "becomes IPAddressPool web"},
	} {
		t.Run(name, func(t *testing.T) {
			result, report := convert(t, tc.options, tc.documents)
			if len(result.Pools) != tc.pools || !strings.Contains(report, tc.says) {
				t.Errorf("%d pools\n%s", len(result.Pools), report)
			}
		})
	}
}

// The ConfigMap counts only where there are no custom resources, which MetalLB has read in its place since it had them.
func TestConfigMapBesideResources(t *testing.T) {
	const config = `
apiVersion: v1
kind: ConfigMap
metadata: {name: config, namespace: lb}
data: {config: "address-pools: [{name: old, protocol: layer2, addresses: [10.9.0.0/24]}]"}
`
	o := Options{MetalLBNamespace: "lb"}
	if result, report := convert(t, o, config); len(result.Pools) != 1 || len(result.L2Advertisements) != 1 {
		t.Error(report)
	}
	if result, report := convert(t, o, config+"---\n"+anyPool); len(result.Pools) != 1 || !strings.Contains(report, "a thing of the past") {
		t.Error(report)
	}
	for text, says := range map[string]string{
		`"peers: [7"`:                       "it cannot be read",
		`"peers: []\npeers: []"`:            "it cannot be read, and MetalLB refuses it too",
		`"peers: [7]"`:                      "must be a mapping and is a number",
		`"7"`:                               "it is a number",
		`"# nothing"`:                       "it is empty",
		`"address-pools: [{name: [x]}]"`:    "is missing, or no text",
		`"address-pools: [{cidr: [x]}]"`:    "cidr",
		`"bgp-communities: []"`:             "must be a mapping and is a list",
		`"bgp-communities: {a: [7]}"`:       "must be a text and is a list",
		`"peers: [{peer-address: [x, y]}]"`: "must be a text and is a list",
	} {
		doc := strings.ReplaceAll(config, `"address-pools: [{name: old, protocol: layer2, addresses: [10.9.0.0/24]}]"`, text)
		if _, report := convert(t, o, doc); !strings.Contains(report, says) {
			t.Errorf("%s: %q is not in\n%s", text, says, report)
		}
	}
}

// Two objects that want one name: the one that has it keeps it.
func TestNames(t *testing.T) {
	n := names{}
	long := strings.Repeat("a", 253)
	for _, tc := range [][2]string{{"web", "web"}, {"web", "web-2"}, {"web", "web-3"}, {"Web", "web-4"}, {"a b", "a-b"}, {long, long}, {long, long[:251] + "-2"}} {
		if got := n.take("IPAddressPool", tc[0]); got != tc[1] {
			t.Errorf("%q becomes %q, and not %q", tc[0], got, tc[1])
		}
	}
	for _, s := range []string{"", "ä", "---", strings.Repeat("B", 300), "a.b", "-a-", "日本"} {
		if got := objectName(s); objectName(got) != got {
			t.Errorf("%q becomes %q, which is no name", s, got)
		}
	}
	const adv = `
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: old, namespace: lb, creationTimestamp: "2030-01-01T00:00:00Z"}
---
apiVersion: metallb.io/v1beta1
kind: AddressPool
metadata: {name: old, namespace: lb, creationTimestamp: "2020-01-01T00:00:00Z"}
spec: {protocol: layer2, addresses: [10.9.0.0/24]}
`
	result, report := convert(t, Options{MetalLBNamespace: "lb"}, adv)
	if len(result.L2Advertisements) != 2 || !strings.Contains(report, "becomes IPAddressPool old, L2Advertisement old-2") || !strings.Contains(report, "L2Advertisement old is for all pools") {
		t.Error(report)
	}
}

// Of two peers that contradict each other the older stays; two router IDs are no reason to lose a session.
func TestOlderPeersWin(t *testing.T) {
	const peers = `
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: a-newer, namespace: lb, creationTimestamp: "2022-01-01T00:00:00Z"}
spec: {myASN: 1, peerASN: 1, peerAddress: 10.0.0.1, holdTime: 90s}
---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: b-older, namespace: lb, creationTimestamp: "2021-01-01T00:00:00Z"}
spec: {myASN: 1, peerASN: 1, peerAddress: 10.0.0.1, routerID: 10.0.0.7, holdTime: 90s}
---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: c-other, namespace: lb, creationTimestamp: "2023-01-01T00:00:00Z"}
spec: {myASN: 1, peerASN: 1, peerAddress: 10.0.0.2, routerID: 10.0.0.8, holdTime: 90s}
`
	result, report := convert(t, Options{MetalLBNamespace: "lb"}, peers)
	if len(result.BGPPeers) != 2 || result.BGPPeers[0].Name != "b-older" || result.BGPPeers[1].Spec.RouterID != "" ||
		!strings.Contains(report, "BGPPeer a-newer would be refused: older BGPPeer b-older has the address") || !strings.Contains(report, "spec.routerID: 10.0.0.8 is left out") {
		t.Error(report)
	}
}

// The order in which objects are read does not matter.
func TestOrder(t *testing.T) {
	for _, path := range golden(t) {
		objects := documentsOf(t, path)
		first := Convert(objects, Options{})
		slices.Reverse(objects)
		second := Convert(objects, Options{})
		if filepath.Base(filepath.Dir(path)) == "broken" {
			continue // has an object twice, of which the first counts
		}
		if yamlOf(t, first) != yamlOf(t, second) || reportOf(t, first) != reportOf(t, second) {
			t.Errorf("%s is another when it is read backwards:\n%s\n%s", path, reportOf(t, first), reportOf(t, second))
		}
	}
}

// golden files of the command.
func golden(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("..", "cli", "testdata", "import", "*", "in.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	return paths
}

func documentsOf(t testing.TB, path string) []Object {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []Object
	for doc := range bytes.SplitSeq(raw, []byte("\n---")) {
		if objects, _, err := Document(doc); err == nil {
			out = append(out, objects...)
		}
	}
	return out
}

// In the ConfigMap a profile may have any name.
func TestProfileNames(t *testing.T) {
	const config = `
apiVersion: v1
kind: ConfigMap
metadata: {name: config, namespace: lb}
data: {config: "{bfd-profiles: [{name: Fast One}], peers: [{my-asn: 1, peer-asn: 1, peer-address: 10.0.0.1, bfd-profile: Fast One}]}"}
`
	result, report := convert(t, Options{MetalLBNamespace: "lb"}, config)
	if len(result.BGPPeers) != 1 || result.BGPPeers[0].Spec.BFDProfile != "fast-one" || !strings.Contains(report, "imported as BFDProfile fast-one") {
		t.Error(report)
	}
}
