package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"go4.org/netipx"
	corev1 "k8s.io/api/core/v1"

	"fairlead.io/fairlead/internal/config"
)

// addresses of pools must be nobody else's in the cluster.
func (e *examiner) addresses() {
	if e.none() || !e.unless(e.in.Objects.Unread, "IPAddressPools") || len(e.in.Objects.Is.Pools) == 0 {
		return
	}
	before := len(e.found)
	var taken []owned
	if e.unless(e.in.Nodes.Unread, "Addresses of Nodes") {
		taken = append(taken, ofNodes(e.in.Nodes.Is)...)
	}
	if e.unless(e.in.ServiceCIDRs.Unread, "ServiceCIDRs") {
		for _, p := range e.in.ServiceCIDRs.Is {
			taken = append(taken, owned{p, "of cluster IPs (ServiceCIDR)"})
		}
	}
	ranges := len(e.in.ServiceCIDRs.Is) > 0
	if !ranges {
		taken = append(taken, clusterIPs(e.in.Services.Is)...)
	}
	if e.unless(e.in.APIServers.Unread, "Addresses of API servers") {
		for _, a := range e.in.APIServers.Is {
			if p := netip.PrefixFrom(a, a.BitLen()); !slices.ContainsFunc(taken, func(o owned) bool { return o.prefix == p }) {
				taken = append(taken, owned{p, "of an API server"})
			}
		}
	}
	for i := range e.in.Objects.Is.Pools {
		pool := &e.in.Objects.Is.Pools[i]
		if list := overlaps(config.Ranges(pool), taken); len(list) > 0 {
			e.find(Problem, "IPAddressPool "+pool.Name, "it has addresses that the cluster uses: %s. Take them out of spec.addresses, or name them in spec.excludeAddresses", names(list))
		}
	}
	switch {
	case !e.quiet(before):
	case ranges:
		e.find(OK, "IPAddressPools", "none has an address of a node, of pods, of cluster IPs or of an API server")
	default: // Kubernetes before 1.33
		e.find(OK, "IPAddressPools", "none has an address of a node, of pods or of an API server, nor a cluster IP of a Service of type LoadBalancer; the range of cluster IPs this API server does not tell (--service-cluster-ip-range)")
	}
}

// clusterIPs of Services.
func clusterIPs(list []corev1.Service) []owned {
	var out []owned
	for i := range list {
		for _, text := range list[i].Spec.ClusterIPs {
			if a, err := netip.ParseAddr(text); err == nil { // "None" is none
				out = append(out, owned{netip.PrefixFrom(a, a.BitLen()), fmt.Sprintf("of Service %s/%s (clusterIP)", list[i].Namespace, list[i].Name)})
			}
		}
	}
	return out
}

// owned is what somebody has of the address space.
type owned struct {
	prefix netip.Prefix
	whose  string
}

func overlaps(set *netipx.IPSet, taken []owned) []string {
	var list []string
	for _, o := range taken {
		switch {
		case !set.OverlapsPrefix(o.prefix):
		case o.prefix.IsSingleIP():
			list = append(list, fmt.Sprintf("%s %s", o.prefix.Addr(), o.whose))
		default:
			list = append(list, fmt.Sprintf("some of %s %s", o.prefix, o.whose))
		}
	}
	return list
}

// ofNodes are their addresses, and those that they have for pods.
func ofNodes(nodes []corev1.Node) []owned {
	var list []owned
	seen := map[netip.Addr]bool{}
	for i := range nodes {
		node := &nodes[i]
		for _, a := range node.Status.Addresses {
			if addr, err := netip.ParseAddr(a.Address); err == nil && (a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP) {
				addr = addr.Unmap()
				if !seen[addr] {
					seen[addr] = true
					list = append(list, owned{netip.PrefixFrom(addr, addr.BitLen()), fmt.Sprintf("of Node %s (%s)", node.Name, a.Type)})
				}
			}
		}
		cidrs := node.Spec.PodCIDRs
		if len(cidrs) == 0 && node.Spec.PodCIDR != "" {
			cidrs = []string{node.Spec.PodCIDR}
		}
		for _, c := range cidrs {
			if p, err := netip.ParsePrefix(c); err == nil {
				list = append(list, owned{p.Masked(), fmt.Sprintf("of the pods of Node %s (podCIDR)", node.Name)})
			}
		}
	}
	return list
}
