// Package render writes the configuration files of the lab's programs from plain values. It decides no address and
// writes to no disk.
package render

import (
	"bytes"
	"embed"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"text/template"
)

//go:embed templates
var templates embed.FS

// Kubeconfig says how one user reaches the API server.
type Kubeconfig struct {
	Cluster string
	Server  string
	CACert  []byte
	User    string
	Token   string
}

// Node holds what differs between nodes and between labs.
type Node struct {
	Name         string
	Dir          string // the node's own folder, where its other files are
	CNIBin       string // folder of the CNI plugins
	Snapshotter  string
	SandboxImage string
	ProxyMode    string // nftables or iptables
	Pods4, Pods6 netip.Prefix
	// ClusterPods and DNS have one entry per address family.
	ClusterPods []netip.Prefix
	DNS         []netip.Addr
}

// User is one line of the API server's token file.
type User struct {
	Name, Token string
	Groups      []string
}

// WriteKubeconfig renders a kubeconfig with a token.
func WriteKubeconfig(k Kubeconfig) ([]byte, error) { return render("kubeconfig.yaml", k) }

// Containerd renders config.toml for containerd 1.6, as Debian 12 has it.
func Containerd(n Node) ([]byte, error) { return render("containerd.toml", n) }

// Kubelet renders a KubeletConfiguration.
func Kubelet(n Node) ([]byte, error) { return render("kubelet.yaml", n) }

// KubeProxy renders a KubeProxyConfiguration.
func KubeProxy(n Node) ([]byte, error) { return render("kube-proxy.yaml", n) }

// CNI renders the node's network list: a point-to-point link per pod, which needs neither a bridge nor br_netfilter.
func CNI(n Node) ([]byte, error) { return render("cni.conflist", n) }

// Tokens renders a static token file (CSV: token, user, uid, groups).
func Tokens(users []User) []byte {
	var b bytes.Buffer
	for _, u := range users {
		fmt.Fprintf(&b, "%s,%s,%s", u.Token, u.Name, u.Name)
		if len(u.Groups) > 0 {
			fmt.Fprintf(&b, ",%q", strings.Join(u.Groups, ","))
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func render(name string, data any) ([]byte, error) {
	t, err := template.New(name).Funcs(template.FuncMap{"base64": base64.StdEncoding.EncodeToString, "join": join}).ParseFS(templates, "templates/"+name)
	if err != nil {
		return nil, fmt.Errorf("parse the template of %s: %w", name, err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	return b.Bytes(), nil
}

func join(items []netip.Prefix) string {
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = item.String()
	}
	return strings.Join(texts, ",")
}
