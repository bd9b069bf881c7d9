package controllers

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"fairlead.io/fairlead/ipam"
)

// Metrics of the controller. No label grows with Services.
type Metrics struct {
	addresses   *prometheus.GaugeVec
	allocations *prometheus.CounterVec
	pending     prometheus.Gauge
	accepted    *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		addresses: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "fairlead_ipam_addresses",
			Help: "Addresses of a pool: assigned, available, or outside (assigned, and no longer in the pool's spec)."}, []string{"pool", "family", "state"}),
		allocations: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairlead_ipam_allocations_total",
			Help: "Addresses given (result assigned, by pool) and Services refused (the reason as result, the requested pool if any)."}, []string{"pool", "result"}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairlead_ipam_pending_services", Help: "Services that wait for an address."}),
		accepted: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "fairlead_config_object_accepted",
			Help: "0 if a configuration object is refused, else 1: it is in use, or by its own will it is not."}, []string{"kind", "name"}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.addresses, m.allocations, m.pending, m.accepted} {
		errs = append(errs, r.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return m, nil
}

func (m *Metrics) setPool(name string, s ipam.PoolStatus, accepted bool) {
	for family, c := range map[string]ipam.Counts{"ipv4": s.IPv4, "ipv6": s.IPv6} {
		m.addresses.WithLabelValues(name, family, "assigned").Set(float64(c.Assigned))
		m.addresses.WithLabelValues(name, family, "available").Set(float64(c.Available))
		m.addresses.WithLabelValues(name, family, "outside").Set(float64(c.Outside))
	}
	m.setConfig("IPAddressPool", name, accepted)
}

// setConfig tells if a configuration object is in use.
func (m *Metrics) setConfig(kind, name string, accepted bool) {
	value := 0.0
	if accepted {
		value = 1
	}
	m.accepted.WithLabelValues(kind, name).Set(value)
}

func (m *Metrics) dropConfig(kind, name string) { m.accepted.DeleteLabelValues(kind, name) }

func (m *Metrics) dropPool(name string) {
	m.addresses.DeletePartialMatch(prometheus.Labels{"pool": name})
	m.allocations.DeletePartialMatch(prometheus.Labels{"pool": name})
	m.dropConfig("IPAddressPool", name)
}
