// Package endpoints reads where a Service's serving endpoints are from its EndpointSlices. It decides nothing.
package endpoints

import (
	"iter"
	"maps"
	"net/netip"

	discoveryv1 "k8s.io/api/discovery/v1"
)

// View is where a Service's serving endpoints are, for each family.
type View struct {
	v4, v6 family
}

type family struct {
	nodes map[string]struct{}
	// everywhere: an endpoint has no node name (one made by hand, perhaps outside the cluster). It counts for every node.
	everywhere bool
}

// FromSlices reads the slices of one Service. An endpoint that is terminating but still serving counts; so does one whose
// readiness is unknown, as the API says.
func FromSlices(list []discoveryv1.EndpointSlice) View {
	var v View
	for i := range list {
		s := &list[i]
		var f *family
		switch s.AddressType {
		case discoveryv1.AddressTypeIPv4:
			f = &v.v4
		case discoveryv1.AddressTypeIPv6:
			f = &v.v6
		default: // no address of ours is forwarded to a host name
			continue
		}
		for j := range s.Endpoints {
			e := &s.Endpoints[j]
			switch {
			case !serving(&e.Conditions):
			case e.NodeName == nil || *e.NodeName == "":
				f.everywhere = true
			default:
				if f.nodes == nil {
					f.nodes = map[string]struct{}{}
				}
				f.nodes[*e.NodeName] = struct{}{}
			}
		}
	}
	return v
}

func serving(c *discoveryv1.EndpointConditions) bool {
	if c.Serving != nil {
		return *c.Serving
	}
	return c.Ready == nil || *c.Ready
}

func (v *View) of(addr netip.Addr) *family {
	if addr.Unmap().Is4() {
		return &v.v4
	}
	return &v.v6
}

// Any reports whether there is a serving endpoint of the address's family.
func (v *View) Any(addr netip.Addr) bool {
	f := v.of(addr)
	return f.everywhere || len(f.nodes) > 0
}

// On reports whether there is a serving endpoint of the address's family that counts for a node.
func (v *View) On(addr netip.Addr, node string) bool {
	f := v.of(addr)
	_, ok := f.nodes[node]
	return ok || f.everywhere
}

// Nodes yields the nodes that have a serving endpoint of the address's family. With everywhere there is one that counts for every node.
func (v *View) Nodes(addr netip.Addr) (nodes iter.Seq[string], everywhere bool) {
	f := v.of(addr)
	return maps.Keys(f.nodes), f.everywhere
}

// Equal reports whether two views say the same.
func (v *View) Equal(o *View) bool { return v.v4.equal(&o.v4) && v.v6.equal(&o.v6) }

func (f *family) equal(o *family) bool {
	return f.everywhere == o.everywhere && maps.Equal(f.nodes, o.nodes)
}
