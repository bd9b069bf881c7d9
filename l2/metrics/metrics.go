// Package metrics holds the counters of layer 2. It only counts.
package metrics

import "github.com/prometheus/client_golang/prometheus"

// Protocol labels.
const (
	ARP = "arp"
	NDP = "ndp"
)

// Set is all of layer 2's metrics.
type Set struct {
	Owned      prometheus.Gauge
	Requests   *prometheus.CounterVec
	Responses  *prometheus.CounterVec
	Gratuitous *prometheus.CounterVec
	Failovers  prometheus.Counter
	Conflicts  prometheus.Counter
	// Detection is in seconds.
	Detection prometheus.Histogram
}

// New makes the metrics and registers them.
func New(reg prometheus.Registerer) (*Set, error) {
	perProtocol := func(name, help string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "fairlead", Subsystem: "l2", Name: name, Help: help}, []string{"protocol"})
		v.WithLabelValues(ARP)
		v.WithLabelValues(NDP)
		return v
	}
	s := &Set{
		Owned: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "fairlead", Subsystem: "l2", Name: "owned_addresses",
			Help: "Addresses that this node answers for."}),
		Requests:   perProtocol("requests_received_total", "Requests received for addresses that this node answers for."),
		Responses:  perProtocol("responses_sent_total", "Answers sent."),
		Gratuitous: perProtocol("gratuitous_sent_total", "Gratuitous ARP frames and unsolicited neighbour advertisements sent."),
		Failovers: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "fairlead", Subsystem: "l2", Name: "failovers_total",
			Help: "Addresses that this node has taken over from another."}),
		Conflicts: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "fairlead", Subsystem: "l2", Name: "address_conflicts_total",
			Help: "Times that an address of this node was found to be claimed by a host that runs no speaker."}),
		Detection: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "fairlead", Subsystem: "l2", Name: "failover_detection_seconds",
			Help:    "Time from the last sign of life of another speaker until this one took it for lost, false alarms included.",
			Buckets: []float64{0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.75, 1, 1.5, 2, 5, 10, 30}}),
	}
	for _, c := range []prometheus.Collector{s.Owned, s.Requests, s.Responses, s.Gratuitous, s.Failovers, s.Conflicts, s.Detection} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return s, nil
}
