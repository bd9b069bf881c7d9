// Package neighbours knows what runs in a cluster beside Fairlead and has to do with the same addresses: kube-proxy and what replaces it, and
// other programs that announce addresses of Services.
//
// It reads objects and settings as they are given, and says what they are; what follows is for who asks to decide.
package neighbours

import (
	"errors"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/internal/workload"
)

// Sentences that say what to do about a neighbour.
const (
	WithoutStrictARP       = "kube-proxy runs in mode ipvs without strict ARP, so that every node would answer for every address: set ipvs.strictARP: true in ConfigMap kube-system/kube-proxy (config.conf) and restart it by kubectl -n kube-system rollout restart daemonset kube-proxy"
	WithoutServiceLB       = "it serves every Service without a class: start k3s with --disable=servicelb"
	WithoutAnotherFairlead = "remove it, or name its namespace by --namespace if it is the one that is meant"
)

// KubeProxy is what kube-proxy's configuration says of the addresses of Services.
type KubeProxy struct {
	// Mode that it runs in; empty: the one that is usual on its system, iptables on Linux.
	Mode string
	// StrictARP keeps a node's kernel from answering for what it has on another interface; it matters in mode ipvs.
	StrictARP bool
}

// ReadKubeProxy reads kube-proxy's configuration (config.conf in its ConfigMap). An error is one line.
func ReadKubeProxy(text string) (KubeProxy, error) {
	var c struct {
		Mode string `json:"mode"`
		IPVS struct {
			StrictARP bool `json:"strictARP"`
		} `json:"ipvs"`
	}
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		return KubeProxy{}, errors.New(strings.Join(strings.Fields(err.Error()), " "))
	}
	return KubeProxy{Mode: c.Mode, StrictARP: c.IPVS.StrictARP}, nil
}

// Answers reports whether every node answers for every address: in mode ipvs each has them all on an interface.
func (k KubeProxy) Answers() bool { return k.Mode == "ipvs" && !k.StrictARP }

// Cilium is the settings in its ConfigMap; nil: there is none.
type Cilium map[string]string

// Announces reports whether Cilium is set to announce addresses of Services.
func (c Cilium) Announces() bool {
	return c["enable-l2-announcements"] == "true" || c["enable-bgp-control-plane"] == "true"
}

// ReplacesKubeProxy reports whether Cilium forwards in kube-proxy's place; strict is how releases before 1.16 say so.
func (c Cilium) ReplacesKubeProxy() bool {
	return c["kube-proxy-replacement"] == "true" || c["kube-proxy-replacement"] == "strict"
}

// What announces addresses of Services.
const (
	KubeVIP         = "kube-vip for Services"
	PureLB          = "PureLB"
	OpenELB         = "OpenELB"
	ServiceLB       = "the ServiceLB of k3s"
	AnotherFairlead = "another Fairlead"
)

// Announcer is a program that announces addresses of Services.
type Announcer struct {
	// What it is, one of the constants.
	What string
	// Program that was the first to be found of it.
	Program *unstructured.Unstructured
	// ByClass: it serves no Service without a class.
	ByClass bool
}

// Announcers among Deployments, DaemonSets and pods, by what they run; one of each. MetalLB is not among them: see package metallb. A Fairlead
// is one if it is in another namespace than the one given.
func Announcers(list []*unstructured.Unstructured, namespace string) []Announcer {
	var found []Announcer
	seen := map[string]bool{}
	find := func(o *unstructured.Unstructured, what string, byClass bool) {
		if !seen[what] {
			seen[what] = true
			found = append(found, Announcer{what, o, byClass})
		}
	}
	for _, o := range list {
		if o.GetKind() != workload.Pod && !workload.Runs(o) {
			continue
		}
		for _, c := range workload.Containers(o) {
			image, _ := c["image"].(string)
			switch {
			case strings.Contains(image, "kube-vip"):
				if envTrue(c, "svc_enable") || contains(c, "--services") {
					find(o, KubeVIP, envTrue(c, "lb_class_only"))
				}
			case strings.Contains(image, "purelb/"):
				find(o, PureLB, false)
			case strings.Contains(image, "openelb"), strings.Contains(image, "kubesphere/porter"): // its former name; an exporter is none
				find(o, OpenELB, false)
			case strings.Contains(image, "klipper-lb"):
				find(o, ServiceLB, false)
			}
		}
		if IsFairlead(o) && o.GetNamespace() != namespace {
			find(o, AnotherFairlead, false)
		}
	}
	return found
}

// IsFairlead reports whether a Deployment or DaemonSet is one of Fairlead's.
func IsFairlead(o *unstructured.Unstructured) bool {
	return o.GetKind() != workload.Pod && o.GetLabels()["app.kubernetes.io/name"] == "fairlead"
}

// RunsKubeProxy reports whether one of the programs or pods is kube-proxy, and has a node to run on: who replaces it may leave it there with
// a selector that no node has.
func RunsKubeProxy(list []*unstructured.Unstructured) bool {
	for _, o := range list {
		if o.GetNamespace() == "kube-system" && strings.HasPrefix(o.GetName(), "kube-proxy") && workload.Runs(o) {
			if n, told, _ := unstructured.NestedInt64(o.Object, "status", "desiredNumberScheduled"); !told || n > 0 {
				return true
			}
		}
	}
	return false
}

func envTrue(container map[string]any, name string) bool {
	list, _ := container["env"].([]any)
	for _, e := range list {
		if m, ok := e.(map[string]any); ok && m["name"] == name {
			return m["value"] == "true"
		}
	}
	return false
}

func contains(container map[string]any, arg string) bool {
	list, _ := container["args"].([]any)
	for _, a := range list {
		if a == arg {
			return true
		}
	}
	return false
}
