// Package telemetry holds the worker's metrics. Labels are bounded words; an id
// is never a label.
package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are the worker's metrics, each registered once. All fields are safe
// for concurrent use.
type Metrics struct {
	Registry *prometheus.Registry

	Commands       *prometheus.CounterVec   // by outcome: done, retry, reject
	Deletions      *prometheus.CounterVec   // by lane and state (done, failed)
	Messages       *prometheus.CounterVec   // purged, by lane
	BatchSeconds   *prometheus.HistogramVec // by lane
	BatchRows      *prometheus.HistogramVec // by lane
	BatchLimit     *prometheus.GaugeVec     // by lane
	InHand         prometheus.Gauge
	OldestSeconds  prometheus.GaugeFunc
	Retries        *prometheus.CounterVec // by cause
	DeadLetters    *prometheus.CounterVec // by reason
	PublishSeconds prometheus.Histogram
	SettleErrors   prometheus.Counter
	LedgerExpired  prometheus.Counter
	Paused         *prometheus.GaugeVec   // by cause: 1 while the worker does not pull because of it
	Held           *prometheus.GaugeVec   // by cause: 1 while it holds the worker's lanes back
	HeldSeconds    *prometheus.CounterVec // by cause: waited by deletions of the long lane
}

// New registers the worker's metrics in a registry of their own, with Go's and
// the process's. oldest returns the age in seconds of the oldest delivery in
// hand, 0 for none; it is called at each scrape.
func New(oldest func() float64) *Metrics {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	f := promauto.With(reg)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return f.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, []string{"lane"})
	}
	seconds := prometheus.ExponentialBuckets(0.001, 2, 14) // 1 ms to 8 s; the target is 50 ms
	return &Metrics{
		Registry:     reg,
		Commands:     counter("lethe_commands_total", "Deliveries of commands settled, by outcome.", "outcome"),
		Deletions:    counter("lethe_deletions_total", "Deletions that became final, by lane and state.", "lane", "state"),
		Messages:     counter("lethe_messages_purged_total", "Messages removed, by lane.", "lane"),
		BatchSeconds: histogram("lethe_batch_seconds", "Duration of a purging transaction, by lane.", seconds),
		BatchRows:    histogram("lethe_batch_rows", "Rows that a purging transaction removed, by lane.", prometheus.ExponentialBuckets(1, 4, 10)),
		BatchLimit: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "lethe_batch_limit_rows", Help: "Row limit that the pace allows the next batch, by lane.",
		}, []string{"lane"}),
		InHand: f.NewGauge(prometheus.GaugeOpts{Name: "lethe_in_hand", Help: "Deliveries that the worker has taken and not settled."}),
		OldestSeconds: f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lethe_oldest_in_hand_seconds", Help: "Age of the oldest delivery in hand since it was taken; 0 for none.",
		}, oldest),
		Retries:     counter("lethe_retries_total", "Tries that are repeated, by cause.", "cause"),
		DeadLetters: counter("lethe_dead_letters_total", "Commands given up, by reason.", "reason"),
		PublishSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "lethe_publish_seconds", Help: "Time until the stream had stored a batch of events.", Buckets: seconds,
		}),
		SettleErrors:  f.NewCounter(prometheus.CounterOpts{Name: "lethe_settle_errors_total", Help: "Acknowledgements that could not be sent; the command is redelivered."}),
		LedgerExpired: f.NewCounter(prometheus.CounterOpts{Name: "lethe_ledger_expired_total", Help: "Commands removed from the ledger after the retention."}),
		Paused: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "lethe_paused", Help: "1 while the worker takes no new commands because of this cause.",
		}, []string{"cause"}),
		Held: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "lethe_held", Help: "1 while this cause holds the long lane back, or all lanes if an operator has paused them.",
		}, []string{"cause"}),
		HeldSeconds: counter("lethe_held_seconds_total", "Time that deletions in the long lane were held back, by cause.", "cause"),
	}
}
