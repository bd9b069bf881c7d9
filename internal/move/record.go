package move

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"fairlead.io/fairlead/internal/service"
)

// Record is which addresses Services had, to be compared with what they have later.
type Record []Held

// Held is what a Service had.
type Held struct {
	Namespace, Name string
	// UID tells a Service from another one of its name that was made later.
	UID       string
	Addresses []netip.Addr
}

func (h *Held) label() string { return h.Namespace + "/" + h.Name }

// RecordOf the Services that have addresses.
func RecordOf(services []corev1.Service) Record {
	var r Record
	for i := range services {
		svc := &services[i]
		if addrs := sorted(service.Addresses(svc)); len(addrs) > 0 {
			r = append(r, Held{svc.Namespace, svc.Name, string(svc.UID), addrs})
		}
	}
	slices.SortFunc(r, func(a, b Held) int { return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name)) })
	return r
}

// Text has a line for each Service.
func (r Record) Text() string {
	var b strings.Builder
	for i := range r {
		fmt.Fprintf(&b, "%s %s %s\n", r[i].label(), r[i].UID, join(r[i].Addresses, ","))
	}
	return b.String()
}

// ParseRecord reads what Text wrote.
func ParseRecord(text string) (Record, error) {
	var r Record
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("line %q does not have a Service, its UID and its addresses", strings.TrimSpace(line))
		}
		h := Held{UID: fields[1]}
		h.Namespace, h.Name, _ = strings.Cut(fields[0], "/")
		for a := range strings.SplitSeq(fields[2], ",") {
			addr, err := netip.ParseAddr(a)
			if err != nil {
				return nil, fmt.Errorf("line %q: %w", strings.TrimSpace(line), err)
			}
			h.Addresses = append(h.Addresses, addr)
		}
		r = append(r, h)
	}
	return r, nil
}

// Changed says, a sentence each, which Services have other addresses than they had. Services that are gone, or are no longer of type
// LoadBalancer, are their owners' affair.
func (r Record) Changed(services []corev1.Service) []string {
	var out []string
	r.each(services, func(h *Held, svc *corev1.Service) {
		if has := sorted(service.Addresses(svc)); !slices.Equal(has, h.Addresses) {
			out = append(out, fmt.Sprintf("Service %s had %s and has %s", h.label(), join(h.Addresses, ", "), cmp.Or(join(has, ", "), "no address")))
		}
	})
	return out
}

// Of the Services those that are in the record.
func (r Record) Of(services []corev1.Service) []*corev1.Service {
	var out []*corev1.Service
	r.each(services, func(_ *Held, svc *corev1.Service) { out = append(out, svc) })
	return out
}

func (r Record) each(services []corev1.Service, do func(*Held, *corev1.Service)) {
	byUID := make(map[string]*corev1.Service, len(services))
	for i := range services {
		byUID[string(services[i].UID)] = &services[i]
	}
	for i := range r {
		if svc := byUID[r[i].UID]; svc != nil && svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.DeletionTimestamp.IsZero() {
			do(&r[i], svc)
		}
	}
}

func sorted(addrs []netip.Addr) []netip.Addr {
	addrs = slices.Clone(addrs)
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

func join(addrs []netip.Addr, sep string) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	return strings.Join(texts, sep)
}
