package render

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func testNode() Node {
	return Node{
		Name: "node1", Dir: "/var/lib/fairlead-lab/hosts/node1", CNIBin: "/usr/lib/cni", Snapshotter: "native",
		SandboxImage: "docker.io/fairlead-lab/pause:dev", ProxyMode: "nftables",
		Pods4: netip.MustParsePrefix("10.233.64.0/24"), Pods6: netip.MustParsePrefix("fd00:10:233:64::/64"),
		ClusterPods: []netip.Prefix{netip.MustParsePrefix("10.233.64.0/18"), netip.MustParsePrefix("fd00:10:233::/48")},
		DNS:         []netip.Addr{netip.MustParseAddr("10.233.0.3"), netip.MustParseAddr("fd00:10:96::3")},
	}
}

func TestGolden(t *testing.T) {
	iptables := testNode()
	iptables.ProxyMode = "iptables"
	for name, render := range map[string]func() ([]byte, error){
		"kubeconfig.yaml": func() ([]byte, error) {
			return WriteKubeconfig(Kubeconfig{Cluster: "fairlead", Server: "https://192.168.100.10:6443", CACert: []byte("PEM"), User: "admin", Token: "secret"})
		},
		"containerd.toml":       func() ([]byte, error) { return Containerd(testNode()) },
		"kubelet-nftables.yaml": func() ([]byte, error) { return Kubelet(testNode()) },
		"kubelet-iptables.yaml": func() ([]byte, error) { return Kubelet(iptables) },
		"kube-proxy.yaml":       func() ([]byte, error) { return KubeProxy(testNode()) },
		"cni.json":              func() ([]byte, error) { return CNI(testNode()) },
		"tokens.csv": func() ([]byte, error) {
			return Tokens([]User{{Name: "admin", Token: "a", Groups: []string{"system:masters"}}, {Name: "plain", Token: "b"}, {Name: "system:node:node1", Token: "c", Groups: []string{"system:nodes", "other"}}}), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := render()
			if err != nil {
				t.Fatal(err)
			}
			switch filepath.Ext(name) {
			case ".yaml":
				if err := yaml.UnmarshalStrict(got, &map[string]any{}); err != nil {
					t.Errorf("not YAML: %v", err)
				}
			case ".json":
				if !json.Valid(got) {
					t.Error("not JSON")
				}
			}
			golden := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("rendered:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}
