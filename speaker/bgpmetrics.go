package speaker

import (
	"github.com/prometheus/client_golang/prometheus"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bgp"
)

// bgpMetrics are read from the sessions when they are asked for.
type bgpMetrics struct {
	advertiser              *advertiser
	up, routes, update, bfd *prometheus.Desc
}

func newBGPMetrics(a *advertiser) *bgpMetrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("fairlead_"+name, help, []string{"peer"}, nil)
	}
	return &bgpMetrics{
		advertiser: a,
		up:         desc("bgp_session_up", "1 while the BGP session with the peer is established."),
		routes:     desc("bgp_routes_advertised", "Routes that are advertised to the peer."),
		update:     desc("bgp_updates_total", "UPDATE messages sent to the peer."),
		bfd:        desc("bfd_session_up", "1 while the BFD session with the peer is up."),
	}
}

// Describe is part of prometheus.Collector.
func (m *bgpMetrics) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.up, m.routes, m.update, m.bfd} {
		c <- d
	}
}

// Collect is part of prometheus.Collector.
func (m *bgpMetrics) Collect(c chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, peer string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, peer)
	}
	yes := map[bool]float64{true: 1}
	for _, s := range m.advertiser.current() {
		gauge(m.up, yes[s.State == bgp.Established], s.Peer)
		gauge(m.routes, float64(s.Routes), s.Peer)
		c <- prometheus.MustNewConstMetric(m.update, prometheus.CounterValue, float64(s.Updates), s.Peer)
	}
	for peer, s := range m.advertiser.watch.states() {
		gauge(m.bfd, yes[s.state == bfd.Up.String()], peer)
	}
}
