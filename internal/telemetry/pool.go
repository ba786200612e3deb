package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Pool is the state of the pool of connections to the database.
type Pool struct {
	Used, Idle, Opening, Max int
	// Waits is how often somebody had to wait for a connection, and Waited for how
	// long in all.
	Waits  int64
	Waited time.Duration
}

// WatchPool shows the pool as read returns it, which is called at each scrape.
// A second call panics.
func (m *Metrics) WatchPool(read func() Pool) { m.register.MustRegister(&poolCollector{read}) }

var (
	poolConns  = prometheus.NewDesc("lethe_pool_connections", "Connections to the database: used, idle, or being opened.", []string{"state"}, nil)
	poolMax    = prometheus.NewDesc("lethe_pool_max_connections", "Maximum number of connections to the database: --max-connections.", nil, nil)
	poolWaits  = prometheus.NewDesc("lethe_pool_waits_total", "How often a statement had to wait for a connection.", nil, nil)
	poolWaited = prometheus.NewDesc("lethe_pool_wait_seconds_total", "Time that statements have waited for a connection.", nil, nil)
)

// poolCollector reads the pool once for all its metrics.
type poolCollector struct{ read func() Pool }

// Describe implements [prometheus.Collector].
func (c *poolCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{poolConns, poolMax, poolWaits, poolWaited} {
		descs <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *poolCollector) Collect(metrics chan<- prometheus.Metric) {
	p := c.read()
	for state, n := range map[string]int{"used": p.Used, "idle": p.Idle, "opening": p.Opening} {
		metrics <- prometheus.MustNewConstMetric(poolConns, prometheus.GaugeValue, float64(n), state)
	}
	metrics <- prometheus.MustNewConstMetric(poolMax, prometheus.GaugeValue, float64(p.Max))
	metrics <- prometheus.MustNewConstMetric(poolWaits, prometheus.CounterValue, float64(p.Waits))
	metrics <- prometheus.MustNewConstMetric(poolWaited, prometheus.CounterValue, p.Waited.Seconds())
}
