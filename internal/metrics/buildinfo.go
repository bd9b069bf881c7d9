package metrics

import (
	"fmt"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"fairlead.io/fairlead/internal/version"
)

// RegisterBuildInfo adds the metric that tells which build runs.
func RegisterBuildInfo(r prometheus.Registerer) error {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "fairlead_build_info", Help: "Always 1; the labels tell which build runs."},
		[]string{"version", "commit", "goversion"})
	info.WithLabelValues(version.Version, version.Commit, runtime.Version()).Set(1)
	if err := r.Register(info); err != nil {
		return fmt.Errorf("register the build's metric: %w", err)
	}
	return nil
}
