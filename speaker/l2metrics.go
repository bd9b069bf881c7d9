package speaker

import (
	"github.com/prometheus/client_golang/prometheus"

	"fairlead.io/fairlead/l2/announce"
)

// l2Metrics are read from the announcer and the other speakers when they are asked for.
type l2Metrics struct {
	conflicts func() []announce.Conflict
	missing   func() []string

	conflicting, absent *prometheus.Desc
}

func newL2Metrics(conflicts func() []announce.Conflict, missing func() []string) *l2Metrics {
	return &l2Metrics{
		conflicts: conflicts, missing: missing,
		conflicting: prometheus.NewDesc("fairlead_l2_conflicting_addresses", "Addresses of this node that a host claims now that runs no speaker.", nil, nil),
		absent:      prometheus.NewDesc("fairlead_l2_speaker_missing", "1 for each speaker that has a Speaker object, and that this one does not hear.", []string{"speaker"}, nil),
	}
}

// Describe is part of prometheus.Collector.
func (m *l2Metrics) Describe(c chan<- *prometheus.Desc) {
	c <- m.conflicting
	c <- m.absent
}

// Collect is part of prometheus.Collector.
func (m *l2Metrics) Collect(c chan<- prometheus.Metric) {
	c <- prometheus.MustNewConstMetric(m.conflicting, prometheus.GaugeValue, float64(len(m.conflicts())))
	for _, name := range m.missing() {
		c <- prometheus.MustNewConstMetric(m.absent, prometheus.GaugeValue, 1, name)
	}
}
