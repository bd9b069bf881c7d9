package doctor

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.io/fairlead/internal/workload"
)

// What the Secret with the gossip's key has, as controller and speakers have it.
const (
	DefaultGossipSecret = "fairlead-gossip"
	GossipKey           = "key"
	PreviousGossipKey   = "previous"
	leastGossipKey      = 16 // bytes
)

const (
	enforceLabel = "pod-security.kubernetes.io/enforce"
	privileged   = "privileged"
)

// GossipSecret is the name of the Secret with the gossip's key, for speakers of this DaemonSet; nil: there is none.
func GossipSecret(speaker *unstructured.Unstructured) string {
	if speaker != nil {
		if name, given := workload.Option(speaker, "gossip-secret"); given {
			return name
		}
	}
	return DefaultGossipSecret
}

// namespace must let the speakers be, and have the gossip's key.
func (e *examiner) namespace() {
	name := "Namespace " + e.in.Namespace
	if e.unless(e.in.OwnNamespace.Unread, name) {
		ns := e.in.OwnNamespace.Is
		switch {
		case ns == nil:
			e.find(Problem, name, "there is none: install Fairlead by %s; or name its namespace by --namespace", howToInstall)
			return
		case !ns.DeletionTimestamp.IsZero() || ns.Status.Phase == corev1.NamespaceTerminating:
			e.find(Problem, name, "it is being deleted, and Fairlead with it: when it is gone, install it again by %s", howToInstall)
		default:
			e.podSecurity(ns)
		}
	}
	e.gossip()
}

// podSecurity must be privileged for the speakers, which are on the host's network and have NET_RAW.
func (e *examiner) podSecurity(ns *corev1.Namespace) {
	name := "Namespace " + ns.Name
	switch level, has := ns.Labels[enforceLabel]; {
	case !has:
		e.find(OK, name, "no label %s: speakers are let in unless the API server's default is stricter", enforceLabel)
	case level == privileged:
		e.find(OK, name, "%s=%s lets the speakers in", enforceLabel, level)
	default:
		e.find(Problem, name, "%s=%s refuses the speakers, which are on the host's network with NET_RAW: kubectl label namespace %s %s=%s --overwrite", enforceLabel, level, ns.Name, enforceLabel, privileged)
	}
}

// gossip has a key that the speakers can use. Only its length is known here.
func (e *examiner) gossip() {
	secret := GossipSecret(workload.Find(e.in.Programs.Is, workload.DaemonSet))
	name := "Secret " + e.in.Namespace + "/" + secret
	if !e.unless(e.in.Gossip.Unread, name) {
		return
	}
	const remedy = "put 32 random bytes there, or delete the Secret and restart fairlead-controller, which makes a new one"
	length, has := e.in.Gossip.Is[GossipKey]
	previous, both := e.in.Gossip.Is[PreviousGossipKey]
	switch {
	case e.in.Gossip.Is == nil && secret != DefaultGossipSecret:
		e.find(Problem, name, "there is none, and the speakers wait for it (--gossip-secret): make it with 32 random bytes under %s", GossipKey)
	case e.in.Gossip.Is == nil:
		e.find(Problem, name, "there is none, and the speakers wait for it: the controller makes it when it leads, and must be allowed to create Secrets there")
	case !has:
		e.find(Problem, name, "it has no entry %s: %s", GossipKey, remedy)
	case length < leastGossipKey:
		e.find(Problem, name, "its entry %s has %d bytes, fewer than %d, and is not used: %s", GossipKey, length, leastGossipKey, remedy)
	case both && previous < leastGossipKey:
		e.find(Warning, name, "its entry %s has %d bytes, fewer than %d, and is not used: put the old key there, or take it out", PreviousGossipKey, previous, leastGossipKey)
	default:
		e.find(OK, name, "it has a key for the gossip")
	}
}
