// Package monitoring holds the tests of what Fairlead tells Prometheus, and of what Prometheus is told of Fairlead: the metrics that both
// programs really serve, and to whom; docs/metrics.md; and the alerts and the dashboard in config/prometheus.
package monitoring
