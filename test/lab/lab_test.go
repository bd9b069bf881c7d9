//go:build linux

package lab

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/test/lab/plan"
	"fairlead.io/fairlead/test/router"
)

func TestConfigDefaults(t *testing.T) {
	c, err := Config{Root: "/src"}.withDefaults()
	if err == nil {
		c, err = c.withRepository()
	}
	want := Config{
		Name: "fairlead", StateDir: "/var/lib/fairlead-lab", Root: "/src", Executable: "/src/bin/lab",
		Nodes: 3, ProxyMode: "nftables", Kustomization: "/src/config/default",
	}
	if err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("defaults = %+v, %v, want %+v", c, err, want)
	}
	other, err := Config{Name: "other"}.withDefaults()
	if err != nil || other.StateDir != "/var/lib/other-lab" {
		t.Errorf("lab other has its files in %s, %v", other.StateDir, err)
	}
	if _, err := other.withRepository(); err == nil {
		t.Error("a lab without a repository gave no error")
	}
}

func TestConfigRefuses(t *testing.T) {
	for want, c := range map[string]Config{
		"lab name":   {Name: "Über"},
		"digits":     {Name: "two-words"},
		"at most 20": {Name: strings.Repeat("x", 21)},
		"proxy mode": {ProxyMode: "ipvs"},
		"below /run": {StateDir: "/run/lab"},
		"below /var": {StateDir: "/var/log/lab"},
		"absolute":   {StateDir: "lab"},
		"alone":      {StateDir: "/"},
	} {
		if _, err := c.withDefaults(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v gave error %v, want one with %q", c, err, want)
		}
	}
}

func TestOpenWithoutLab(t *testing.T) {
	if _, err := Open(Config{StateDir: t.TempDir()}); !errors.Is(err, ErrNotUp) {
		t.Errorf("error %v, want %v", err, ErrNotUp)
	}
}

// A folder that is not a lab's is neither used nor removed.
func TestStateDirOfOthers(t *testing.T) {
	dir := t.TempDir()
	if err := ensureStateDir(dir); err != nil {
		t.Fatal(err)
	}
	if ours, err := isStateDir(dir); err != nil || !ours {
		t.Errorf("the folder just made: ours %v, %v", ours, err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "thesis.tex"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := ensureStateDir(other); err == nil {
		t.Error("a folder with another's file was taken")
	}
	if err := Down(t.Context(), Config{Name: "flnone", StateDir: other}, os.Stderr); err == nil {
		t.Error("down of a folder with another's file gave no error")
	}
	if _, err := os.Stat(filepath.Join(other, "thesis.tex")); err != nil {
		t.Errorf("another's file: %v", err)
	}
}

func testLab(t *testing.T) *Lab {
	t.Helper()
	cfg, err := Config{Nodes: 2}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLab(cfg, 1, []routerState{{Kind: router.FRR}, {Kind: router.BIRD}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestHosts(t *testing.T) {
	l := testLab(t)
	if _, err := l.Host("node9"); err == nil || !strings.Contains(err.Error(), "cp, client, node1, node2, tor, tor2, ext") {
		t.Errorf("unknown host gave error %v, want one with the hosts there are", err)
	}
	h, err := l.Host("node2")
	if err != nil || h.Namespace() != "fairlead-node2" || h.Interface() != "eth0" || h.IPv4 != netip.MustParseAddr("192.168.100.12") {
		t.Errorf("node2 = %+v, %v", h, err)
	}
	if n := len(l.Nodes()); n != 2 {
		t.Errorf("%d nodes, want 2", n)
	}
	if got := l.controlPlane().Name; got != "cp" {
		t.Errorf("control plane is %s", got)
	}
}

// Every place that a lab makes is one that it finds again, and nobody else's.
func TestNamespaceNames(t *testing.T) {
	l := testLab(t)
	names := []string{l.lanNamespace(), l.outsideNamespace()}
	for _, h := range l.Hosts() {
		names = append(names, h.Namespace())
	}
	for _, name := range names {
		if place, ok := strings.CutPrefix(name, namespacePrefix(l.Name())); !ok || !places.MatchString(place) {
			t.Errorf("down would not find namespace %s", name)
		}
	}
	for _, place := range []string{"", "l2test", "node", "node1x", "xcp", "torx", "ext2"} {
		if places.MatchString(place) {
			t.Errorf("down would remove another's namespace %s%s", namespacePrefix(l.Name()), place)
		}
	}
}

// The client must not reach pods or services but through the nodes; nodes must reach each other's pods; ext knows the first router, and routers
// what BGP tells them.
func TestRoutes(t *testing.T) {
	l := testLab(t)
	for _, h := range l.Hosts() {
		leg := l.leg(h)
		to := map[string]string{}
		for _, r := range leg.Routes {
			to[r.To.String()] = r.Via.String()
		}
		switch {
		case (h.Role == plan.Client || h.Role == plan.Router) && len(to) != 0:
			t.Errorf("%s has routes: %v", h.Name, to)
		case h.Role == plan.Outside && (len(to) != 2 || to["0.0.0.0/0"] != "192.168.200.1" || to["::/0"] != "fd00:200::1"):
			t.Errorf("routes of ext: %v", to)
		case h.Role == plan.ControlPlane && (len(to) != 6 || to["10.233.65.0/24"] != "192.168.100.12" || to["0.0.0.0/0"] != "192.168.100.1"):
			t.Errorf("routes of the control plane: %v", to)
		case h.Name == "node1" && (len(to) != 4 || to["fd00:10:233:65::/64"] != "fd00:100::12" || to["::/0"] != "fd00:100::1"):
			t.Errorf("routes of node1: %v", to)
		}
		if leg.Forward != (h.Role == plan.Node || h.Role == plan.Router) {
			t.Errorf("%s forwards: %v", h.Name, leg.Forward)
		}
		if outside := h.network() == l.outsideNamespace(); outside != (h.Role == plan.Outside) {
			t.Errorf("%s is on the network behind the routers: %v", h.Name, outside)
		}
	}
}

// Routers that there are keep their places; others come after them; settings are for all.
func TestAddRouters(t *testing.T) {
	bfd := &router.BFD{Interval: 100 * time.Millisecond, Multiplier: 3}
	there := []routerState{{Kind: router.BIRD, Settings: router.Settings{Password: "a"}}}
	for name, tc := range map[string]struct {
		there    []routerState
		kinds    []router.Kind
		settings *router.Settings
		want     []routerState
		fails    string
	}{
		"none":        {},
		"as they are": {there: there, want: there},
		"named again": {there: there, kinds: []router.Kind{router.BIRD}, want: there},
		"one more":    {there: there, kinds: []router.Kind{router.FRR, router.BIRD}, want: []routerState{there[0], {Kind: router.FRR}}},
		"other settings": {there: there, kinds: []router.Kind{router.GoBGP}, settings: &router.Settings{BFD: bfd}, want: []routerState{
			{Kind: router.BIRD, Settings: router.Settings{BFD: bfd}}, {Kind: router.GoBGP},
		}},
		"for nobody": {settings: &router.Settings{}, fails: "--routers"},
		"unknown":    {kinds: []router.Kind{"quagga"}, fails: "frr, bird or gobgp"},
		"impossible": {there: there, settings: &router.Settings{HoldTime: 1}, fails: "hold time"},
	} {
		before := slices.Clone(tc.there)
		got, err := addRouters(tc.there, tc.kinds, tc.settings)
		if tc.fails != "" {
			if err == nil || !strings.Contains(err.Error(), tc.fails) {
				t.Errorf("%s: error %v, want one with %q", name, err, tc.fails)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, tc.want) || !reflect.DeepEqual(tc.there, before) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, tc.want)
		}
	}
}

// What is in test/lab/routers, for routers that are no part of a lab, is what the lab itself would write.
func TestRouterFiles(t *testing.T) {
	p, err := plan.New(3, len(router.Kinds()))
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range p.WithRole(plan.Router) {
		k := router.Kinds()[i]
		want, err := router.Render(k, routerConfig(p, h, router.Settings{}))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("routers", k.FileName())
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the lab writes (%v): run `go test ./test/lab -run TestRouterFiles -update`", file, err)
		}
	}
	raw, err := os.ReadFile(filepath.Join("routers", "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct{ Volumes []string }
	}
	if err := yaml.Unmarshal(raw, &compose); err != nil || len(compose.Services["router"].Volumes) != 3 {
		t.Fatalf("compose.yaml: %+v, %v, want a service router with three volumes", compose, err)
	}
	for _, v := range compose.Services["router"].Volumes {
		from, _, _ := strings.Cut(v, ":")
		if _, err := os.Stat(filepath.Join("routers", from)); err != nil {
			t.Errorf("compose.yaml mounts what is not there: %v", err)
		}
	}
}

var update = flag.Bool("update", false, "rewrite test/lab/routers")

func TestUsers(t *testing.T) {
	got := map[string]string{}
	for _, u := range users(testLab(t).plan) {
		got[u.Name] = strings.Join(u.Groups, ",")
	}
	want := map[string]string{
		"admin": "system:masters", "system:kube-controller-manager": "", "system:kube-scheduler": "", "system:kube-proxy": "",
		"system:node:node1": "system:nodes", "system:node:node2": "system:nodes",
	}
	if len(got) != len(want) {
		t.Errorf("users %v, want %v", got, want)
	}
	for name, groups := range want {
		if g, ok := got[name]; !ok || g != groups {
			t.Errorf("user %s has groups %q (known: %v), want %q", name, g, ok, groups)
		}
	}
}

func TestArchivedImage(t *testing.T) {
	archive := func(name, content string) *bytes.Buffer {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return &b
	}
	for name, tc := range map[string]struct {
		archive      *bytes.Buffer
		name, digest string
		fails        bool
	}{
		"ours":      {archive: archive("index.json", `{"manifests":[{"digest":"sha256:1","annotations":{"io.containerd.image.name":"docker.io/library/a:b"}}]}`), name: "docker.io/library/a:b", digest: "sha256:1"},
		"several":   {archive: archive("index.json", `{"manifests":[{"digest":"sha256:1"},{"digest":"sha256:2"}]}`)},
		"older":     {archive: archive("manifest.json", `[]`)},
		"broken":    {archive: archive("index.json", `{`), fails: true},
		"not a tar": {archive: bytes.NewBufferString(strings.Repeat("x", 1024)), fails: true},
		"nothing":   {archive: &bytes.Buffer{}},
	} {
		image, digest, err := archivedImage(tc.archive)
		if image != tc.name || digest != tc.digest || (err != nil) != tc.fails {
			t.Errorf("%s: %q, %q, %v", name, image, digest, err)
		}
	}
}
