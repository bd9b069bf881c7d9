package speaker

import (
	"github.com/prometheus/client_golang/prometheus"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bgp"
)

// bgpMetrics are read from the sessions when they are asked for.
type bgpMetrics struct {
	advertiser                           *advertiser
	up, established, routes, update, bfd *prometheus.Desc
	losses                               *prometheus.Desc
}

func newBGPMetrics(a *advertiser) *bgpMetrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("fairlead_"+name, help, []string{"peer"}, nil)
	}
	return &bgpMetrics{
		advertiser:  a,
		up:          desc("bgp_session_up", "1 while the BGP session with the peer is established."),
		established: desc("bgp_sessions_established_total", "Times that a BGP session with the peer was established."),
		routes:      desc("bgp_routes_advertised", "Routes that are advertised to the peer."),
		update:      desc("bgp_updates_total", "UPDATE messages sent to the peer."),
		bfd:         desc("bfd_session_up", "1 while the BFD session with the peer is up."),
		losses:      desc("bfd_session_losses_total", "Times that the BFD session with the peer was up and went down."),
	}
}

// Describe is part of prometheus.Collector.
func (m *bgpMetrics) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.up, m.established, m.routes, m.update, m.bfd, m.losses} {
		c <- d
	}
}

// Collect is part of prometheus.Collector.
func (m *bgpMetrics) Collect(c chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, peer string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, peer)
	}
	counter := func(d *prometheus.Desc, value uint64, peer string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), peer)
	}
	yes := map[bool]float64{true: 1}
	for _, s := range m.advertiser.current() {
		gauge(m.up, yes[s.State == bgp.Established], s.Peer)
		gauge(m.routes, float64(s.Routes), s.Peer)
		counter(m.established, s.Established, s.Peer)
		counter(m.update, s.Updates, s.Peer)
	}
	for peer, s := range m.advertiser.watch.states() {
		gauge(m.bfd, yes[s.state == bfd.Up.String()], peer)
		counter(m.losses, s.losses, peer)
	}
}
