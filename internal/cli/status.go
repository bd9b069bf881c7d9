package cli

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/allocation"
	"fairlead.io/fairlead/internal/announced"
	"fairlead.io/fairlead/internal/doctor"
)

// PrintStatus prints the state of pools, speakers, BGP sessions and Services as tables, and below them every object that is not as it
// should be, with the sentence of its condition.
func PrintStatus(w io.Writer, s Snapshot) error {
	out := &printer{tabs: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	out.pools(s.Pools)
	out.speakers(s.Speakers)
	out.peers(s.BGPPeers)
	out.sessions(s.Speakers)
	out.services(&s)
	out.attention(s)
	if out.err != nil {
		return fmt.Errorf("print status: %w", out.err)
	}
	return nil
}

// printer remembers the first error, so that the tables read as tables.
type printer struct {
	tabs *tabwriter.Writer
	err  error
}

func (p *printer) row(cells ...string) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.tabs, strings.Join(cells, "\t"))
	}
}

// end closes a table, so that the next one has widths of its own.
func (p *printer) end() {
	p.row()
	if p.err == nil {
		p.err = p.tabs.Flush()
	}
}

func (p *printer) pools(pools []v1beta1.IPAddressPool) {
	if len(pools) == 0 {
		p.row("No IPAddressPool: create one, so that Services can be given addresses.")
		p.end()
		return
	}
	p.row("POOL", "READY", "IPV4 USED", "IPV4 FREE", "IPV6 USED", "IPV6 FREE", "ADDRESSES")
	for i := range pools {
		pool := &pools[i]
		ranges := make([]string, 0, len(pool.Spec.Addresses))
		for _, r := range pool.Spec.Addresses {
			ranges = append(ranges, string(r))
		}
		p.row(pool.Name, conditionCell(pool.Status.Conditions, v1beta1.ConditionReady),
			fmt.Sprint(pool.Status.IPv4.Assigned), fmt.Sprint(pool.Status.IPv4.Available),
			fmt.Sprint(pool.Status.IPv6.Assigned), fmt.Sprint(pool.Status.IPv6.Available), strings.Join(ranges, ", "))
	}
	p.end()
}

func (p *printer) speakers(speakers []v1beta1.Speaker) {
	if len(speakers) == 0 {
		p.row("No Speaker: is the DaemonSet fairlead-speaker running?")
		p.end()
		return
	}
	p.row("SPEAKER", "READY", "DATAPLANE", "INTERFACES", "ADDRESSES ANSWERED", "CONFLICTS")
	for i := range speakers {
		s := &speakers[i]
		names := make([]string, 0, len(s.Status.Interfaces))
		for _, ifi := range s.Status.Interfaces {
			names = append(names, ifi.Name)
		}
		p.row(s.Name, conditionCell(s.Status.Conditions, v1beta1.SpeakerReady), conditionCell(s.Status.Conditions, v1beta1.SpeakerDataplaneReady),
			dash(strings.Join(names, ", ")), fmt.Sprint(len(s.Status.Layer2)), fmt.Sprint(len(s.Status.Conflicts)))
	}
	p.end()
}

func (p *printer) services(s *Snapshot) {
	if len(s.Services) == 0 {
		p.row("No Service of type LoadBalancer.")
		p.end()
		return
	}
	states := statesOf(s.Speakers)
	routed := routedTo(s)
	p.row("SERVICE", "ADDRESSES", "POOL", "ANNOUNCED BY")
	for i := range s.Services {
		svc := &s.Services[i]
		var ips, nodes []string
		for _, in := range svc.Status.LoadBalancer.Ingress {
			ips = append(ips, in.IP)
			if addr, err := netip.ParseAddr(in.IP); err == nil && states[addr].Announces {
				nodes = append(nodes, states[addr].Node)
			}
		}
		slices.Sort(nodes)
		if peers := routed[allocation.Key(svc)]; len(peers) > 0 {
			nodes = append(nodes, "BGP to "+strings.Join(peers, " and "))
		}
		p.row(svc.Namespace+"/"+svc.Name, dash(strings.Join(ips, ", ")), dash(svc.Annotations[v1beta1.AnnotationAllocatedFromPool]),
			dash(strings.Join(slices.Compact(nodes), ", ")))
	}
	p.end()
}

// attention prints what is not as it should be.
func (p *printer) attention(s Snapshot) {
	list := attentionOf(&s)
	if len(list) == 0 {
		return
	}
	p.row("NEEDS ATTENTION")
	for _, x := range list {
		p.row("  " + x.Object + ": " + x.Says)
	}
	p.end()
}

// attentionOf lists what is not as it should be: conditions that are not in their good state.
func attentionOf(s *Snapshot) []doctor.Statement {
	var list []doctor.Statement
	report := func(kind, name string, conditions []metav1.Condition, good metav1.ConditionStatus, types ...string) {
		for _, t := range types {
			if c := meta.FindStatusCondition(conditions, t); c != nil && c.Status != good {
				list = append(list, doctor.Statement{Object: kind + " " + name, Says: c.Reason + ": " + c.Message})
			}
		}
	}
	for i := range s.Pools {
		// A pool that conflicts with an older one in part is Ready with what is left of it, and has something to tell all the same.
		good := metav1.ConditionTrue
		if c := meta.FindStatusCondition(s.Pools[i].Status.Conditions, v1beta1.ConditionReady); c != nil && c.Reason == v1beta1.ReasonConflict {
			good = ""
		}
		report("pool", s.Pools[i].Name, s.Pools[i].Status.Conditions, good, v1beta1.ConditionReady)
	}
	for i := range s.L2Advertisements {
		report("L2Advertisement", s.L2Advertisements[i].Name, s.L2Advertisements[i].Status.Conditions, metav1.ConditionTrue, v1beta1.ConditionAccepted)
	}
	attentionBGP(s, report)
	for i := range s.Speakers {
		report("speaker", s.Speakers[i].Name, s.Speakers[i].Status.Conditions, metav1.ConditionTrue, v1beta1.SpeakerReady, v1beta1.SpeakerDataplaneReady, v1beta1.SpeakerInterfacesReady)
		report("speaker", s.Speakers[i].Name, s.Speakers[i].Status.Conditions, metav1.ConditionFalse, v1beta1.SpeakerAddressConflict)
	}
	for i := range s.Services {
		svc := &s.Services[i]
		name := svc.Namespace + "/" + svc.Name
		report("Service", name, svc.Status.Conditions, metav1.ConditionTrue, v1beta1.ConditionAddressAssigned)
		good := metav1.ConditionTrue
		if c := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAnnounced); c != nil && c.Reason == v1beta1.ReasonAddressConflict {
			good = "" // it may be announced all the same
		}
		report("Service", name, svc.Status.Conditions, good, v1beta1.ConditionAnnounced)
	}
	return list
}

// statesOf the addresses that the speakers report on.
func statesOf(speakers []v1beta1.Speaker) map[netip.Addr]announced.State {
	reports := map[netip.Addr]map[string]announced.Report{}
	for i := range speakers {
		for addr, r := range announced.Reports(&speakers[i].Status) {
			if reports[addr] == nil {
				reports[addr] = map[string]announced.Report{}
			}
			reports[addr][speakers[i].Name] = r
		}
	}
	states := make(map[netip.Addr]announced.State, len(reports))
	for addr, byNode := range reports {
		states[addr] = announced.Of(byNode)
	}
	return states
}

func conditionCell(conditions []metav1.Condition, conditionType string) string {
	c := meta.FindStatusCondition(conditions, conditionType)
	switch {
	case c == nil:
		return "Unknown"
	case c.Status == metav1.ConditionTrue:
		return "True"
	default:
		return fmt.Sprintf("%s (%s)", c.Status, c.Reason)
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
