// Package doctor examines a cluster and the Fairlead in it for what Fairlead's own objects cannot say, because something around them is wrong:
// kinds of another release, programs that do not run, nodes without a speaker, a namespace that refuses them, kube-proxy or another load
// balancer that answers for the same addresses, pools that overlap the cluster's own networks or that nobody announces.
//
// It is computed from what was read, which may be a part of the cluster: what could not be read is said to be not checked. It reads and writes
// nothing.
package doctor

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/neighbours"
)

// Level of a finding.
type Level string

// The levels.
const (
	// OK: it is as it should be.
	OK Level = "ok"
	// Warning: it works, or may be meant so.
	Warning Level = "warning"
	// Problem: something does not work.
	Problem Level = "problem"
	// NotChecked: what it takes to know could not be read.
	NotChecked Level = "not checked"
)

// Check is a group of findings.
type Check string

// The checks, in the order in which they are made.
const (
	CheckKinds          Check = "kinds"
	CheckNamespace      Check = "namespace"
	CheckController     Check = "controller"
	CheckSpeakers       Check = "speakers"
	CheckPorts          Check = "ports"
	CheckKubeProxy      Check = "kube-proxy"
	CheckOthers         Check = "other load balancers"
	CheckAddresses      Check = "addresses"
	CheckAdvertisements Check = "advertisements"
	CheckServices       Check = "services"
	CheckStatus         Check = "status"
)

// Finding is what was found of an object.
type Finding struct {
	Check Check `json:"check"`
	// Object with its kind, such as "Node node1".
	Object string `json:"object"`
	Level  Level  `json:"level"`
	// Message says what is, and of a problem what to do.
	Message string `json:"message"`
}

// Part is what was read of something.
type Part[T any] struct {
	Is T
	// Unread says why it could not be read, such as "you may not list nodes"; empty: it was read.
	Unread string
}

// Statement of an object on itself.
type Statement struct {
	// Object with its kind; Says is what its condition says.
	Object, Says string
}

// Objects of Fairlead's kinds.
type Objects struct {
	Pools             []v1beta1.IPAddressPool
	L2Advertisements  []v1beta1.L2Advertisement
	BGPAdvertisements []v1beta1.BGPAdvertisement
	BGPPeers          []v1beta1.BGPPeer
	BFDProfiles       []v1beta1.BFDProfile
	Communities       []v1beta1.Community
	Speakers          []v1beta1.Speaker
}

// Input is what was read of a cluster.
type Input struct {
	// Namespace that Fairlead is to be in.
	Namespace string
	// Version of this program, as package version has it.
	Version string
	// Now is when the cluster was read, by the API server's clock.
	Now time.Time
	// Server is the API server's version, such as v1.36.4.
	Server string
	// Kinds are the CustomResourceDefinitions of Fairlead's group; Absent the resources of it that were asked for and are not served.
	Kinds  Part[[]Kind]
	Absent []string
	// OwnNamespace is the Namespace object; nil: there is none.
	OwnNamespace Part[*corev1.Namespace]
	// Programs are Fairlead's Deployments and DaemonSets in its namespace, Pods all pods there.
	Programs Part[[]*unstructured.Unstructured]
	Pods     Part[[]corev1.Pod]
	// Others are all Deployments and DaemonSets, and the pods of kube-system.
	Others Part[[]*unstructured.Unstructured]
	// Lease of the controllers; nil: there is none.
	Lease Part[*coordinationv1.Lease]
	// Gossip has the length in bytes of each entry of the Secret with the gossip's key; nil: there is no Secret.
	Gossip Part[map[string]int]
	Nodes  Part[[]corev1.Node]
	// KubeProxy is the configuration in its ConfigMap; Cilium the settings in its own. Nil: there is none.
	KubeProxy Part[*string]
	Cilium    Part[neighbours.Cilium]
	// ServiceCIDRs as the API server has them; none: it is too old to tell.
	ServiceCIDRs Part[[]netip.Prefix]
	// APIServers are the addresses at which the cluster reaches its API servers.
	APIServers Part[[]netip.Addr]
	Objects    Part[Objects]
	// Services of type LoadBalancer.
	Services Part[[]corev1.Service]
	// Attention is what objects say of themselves that is not as it should be.
	Attention []Statement
}

// Examine says what is found, check by check.
func Examine(in *Input) []Finding {
	e := &examiner{in: in}
	for _, c := range []struct {
		check Check
		make  func()
	}{
		{CheckKinds, e.kinds},
		{CheckNamespace, e.namespace},
		{CheckController, e.controller},
		{CheckSpeakers, e.speakers},
		{CheckPorts, e.ports},
		{CheckKubeProxy, e.kubeProxy},
		{CheckOthers, e.others},
		{CheckAddresses, e.addresses},
		{CheckAdvertisements, e.advertisements},
		{CheckServices, e.services},
		{CheckStatus, e.status},
	} {
		e.check = c.check
		c.make()
	}
	return e.found
}

// Count the findings of a level.
func Count(list []Finding, level Level) int {
	n := 0
	for _, f := range list {
		if f.Level == level {
			n++
		}
	}
	return n
}

type examiner struct {
	in    *Input
	check Check // that is being made
	found []Finding
}

func (e *examiner) find(level Level, object, format string, args ...any) {
	e.found = append(e.found, Finding{e.check, object, level, fmt.Sprintf(format, args...)})
}

// unless reports whether something was read, and tells if it was not.
func (e *examiner) unless(unread, object string) bool {
	if unread != "" {
		e.find(NotChecked, object, "%s", unread)
	}
	return unread == ""
}

// none reports whether the cluster has none of Fairlead's kinds, which is told already.
func (e *examiner) none() bool { return len(e.in.Absent) == len(knownKinds()) }

// quiet reports whether nothing but what is well was found since there were so many findings.
func (e *examiner) quiet(since int) bool {
	return Count(e.found[since:], OK) == len(e.found)-since
}

// status is what objects say of themselves.
func (e *examiner) status() {
	if e.none() || !e.unless(e.in.Objects.Unread, "Fairlead's objects") {
		return
	}
	for _, s := range e.in.Attention {
		e.find(Problem, s.Object, "%s", s.Says)
	}
	if len(e.in.Attention) == 0 {
		e.find(OK, "All objects", "no condition says that something needs attention")
	}
}

// most that are named of many.
const most = 10

// names joins so many of a list as can be read, and says how many more there are.
func names(list []string) string {
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}

// these says which of one kind: "Node a", or "Nodes a, b".
func these(kind string, list []string) string {
	if len(list) == 1 {
		return kind + " " + list[0]
	}
	return kind + "s " + names(list)
}
