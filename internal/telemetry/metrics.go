// Package telemetry holds the worker's metrics. Labels are bounded words; an id
// is never a label.
package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/lethe-im/lethe/conversation"
)

// Metrics are the worker's metrics, each registered once. All fields are safe
// for concurrent use.
type Metrics struct {
	Registry *prometheus.Registry
	Backlog  *Backlog

	register prometheus.Registerer // of Registry, with the labels that all have

	Commands                 *prometheus.CounterVec // by outcome: done, retry, reject
	CommandSeconds           prometheus.Histogram   // from when the stream stored a command until it was done or given up
	WaitSeconds              prometheus.Histogram   // from then until a worker took it for the first time
	Redeliveries             prometheus.Counter
	Deletions                *prometheus.CounterVec   // by lane and state (done, failed)
	Doubts                   prometheus.Counter       // deletions that found no message where the conversation's row says that there were some
	Unknown                  prometheus.Counter       // deletions that found neither a message nor the conversation's row
	Messages                 *prometheus.CounterVec   // purged, by lane
	BatchSeconds             *prometheus.HistogramVec // by lane
	BatchRows                *prometheus.HistogramVec // by lane
	BatchLimit               *prometheus.GaugeVec     // by lane
	Target                   prometheus.Gauge         // seconds that a batch may take
	InFlight                 prometheus.Gauge
	OldestSeconds            prometheus.GaugeFunc
	Retries                  *prometheus.CounterVec // by reason
	DeadLetters              *prometheus.CounterVec // by reason
	LettersOmitted           *prometheus.CounterVec // by reason
	PublishSeconds           prometheus.Histogram
	SettleErrors             prometheus.Counter
	LedgerExpired            prometheus.Counter
	Spans                    *prometheus.CounterVec // of traces, by state: ended, exported, failed
	NotPulling               *prometheus.GaugeVec   // by reason: 1 while the worker does not pull because of it
	Altered                  *prometheus.GaugeVec   // by name of a stream or the consumer: properties that aren't as setup makes them
	Throttled                *prometheus.GaugeVec   // by reason: 1 while it throttles
	ForegroundBackoffSeconds prometheus.Counter     // seconds that deletions in the long lane waited because of foreground load
	ForegroundBackoff        prometheus.Gauge       // how many times as long as a batch the long lane waits after it
	ThrottledSeconds         *prometheus.CounterVec // by reason: waited by deletions of the long lane
	FloorsRaised             *prometheus.CounterVec // of shared logs, by what raised them: everyone, hide, sweep
	Erasures                 *prometheus.CounterVec // of shared logs through their floors, by state: done, failed
	ErasuresWaiting          prometheus.Gauge       // that no worker runs
	MessagesHidden           prometheus.Counter     // of shared logs, by each member
	MessagesErased           prometheus.Counter     // of shared logs
	SweepSeconds             prometheus.Histogram   // of the sweeps that this worker has made
	Build                    *prometheus.GaugeVec   // 1, by version and revision
}

// New registers the worker's metrics in a registry of their own, with Go's and
// the process's. Those of a shard's worker all have the label shard. oldest returns the age in seconds of the oldest delivery in
// flight, 0 for none; it is called at each scrape.
func New(n conversation.Names, oldest func() float64) *Metrics {
	all := prometheus.NewRegistry()
	reg := prometheus.Registerer(all)
	if shard := n.Shard(); shard != "" {
		reg = prometheus.WrapRegistererWith(prometheus.Labels{"shard": string(shard)}, reg)
	}
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	f := factory{promauto.With(reg)}
	seconds := prometheus.ExponentialBuckets(0.001, 2, 14) // 1 ms to 8 s; the target is 50 ms
	ages := []float64{0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 300, 900, 3600, 4 * 3600}
	m := &Metrics{
		Registry:       all,
		register:       reg,
		Backlog:        newBacklog(f),
		Commands:       f.counter("lethe_commands_total", "Deliveries of commands settled, by outcome.", "outcome"),
		CommandSeconds: f.histogram("lethe_command_seconds", "Time from when the stream stored a command until it was done or given up.", ages).With(nil).(prometheus.Histogram),
		WaitSeconds:    f.histogram("lethe_command_wait_seconds", "Time that a command waited in the stream until a worker pulled it for the first time.", ages).With(nil).(prometheus.Histogram),
		Redeliveries:   f.counter("lethe_redeliveries_total", "Commands pulled that had been delivered before, here or to another worker.").With(nil),
		Deletions:      f.counter("lethe_deletions_total", "Deletions that became final, by lane and state.", "lane", "state"),
		Doubts:         f.counter("lethe_deletions_doubtful_total", "Deletions that found no message, although the conversation's row had an unread count or a last_seq, or what the plan looks up was missing.").With(nil),
		Unknown:        f.counter("lethe_deletions_unknown_total", "Deletions that found neither a message nor the conversation's row: deleted before, or a command for another shard.").With(nil),
		Messages:       f.counter("lethe_messages_purged_total", "Messages deleted, by lane.", "lane"),
		BatchSeconds:   f.histogram("lethe_batch_seconds", "Duration of a transaction that deletes, by lane.", seconds, "lane"),
		BatchRows:      f.histogram("lethe_batch_rows", "Rows that a transaction deleted, by lane.", prometheus.ExponentialBuckets(1, 4, 10), "lane"),
		BatchLimit:     f.gauge("lethe_batch_limit_rows", "Row limit of the next batch, by lane.", "lane"),
		Target:         f.gauge("lethe_target_seconds", "Target duration of a transaction that deletes: --target.").With(nil),
		InFlight:       f.gauge("lethe_commands_in_flight", "Commands that the worker has pulled and not settled.").With(nil),
		OldestSeconds: f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lethe_oldest_in_flight_seconds", Help: "Age of the oldest command in flight since it was pulled; 0 for none.",
		}, oldest),
		Retries:                  f.counter("lethe_retries_total", "Tries that are repeated, by reason.", "reason"),
		DeadLetters:              f.counter("lethe_dead_letters_total", "Commands given up, by reason.", "reason"),
		LettersOmitted:           f.counter("lethe_dead_letters_omitted_total", "Malformed commands given up without a dead letter, because their stream was half full, by reason.", "reason"),
		PublishSeconds:           f.histogram("lethe_publish_seconds", "Time until the stream had stored a batch of events.", seconds).With(nil).(prometheus.Histogram),
		SettleErrors:             f.counter("lethe_settle_errors_total", "Acknowledgements that could not be sent; the command is redelivered.").With(nil),
		LedgerExpired:            f.counter("lethe_ledger_expired_total", "Commands removed from the ledger after the retention.").With(nil),
		Spans:                    f.counter("lethe_spans_total", "Spans of traces by state: ended, and of these exported or failed; all others wait or were dropped.", "state"),
		NotPulling:               f.gauge("lethe_not_pulling", "1 while the worker pulls no commands for this reason.", "reason"),
		Altered:                  f.gauge("lethe_altered_properties", "Properties of a stream or the consumer that aren't as worker setup makes them.", "name"),
		Throttled:                f.gauge("lethe_throttled", "1 while this reason throttles the long lane, or all lanes if an operator has paused them.", "reason"),
		ThrottledSeconds:         f.counter("lethe_throttled_seconds_total", "Time that deletions in the long lane were throttled, by reason.", "reason"),
		ForegroundBackoff:        f.gauge("lethe_foreground_backoff", "How many times as long as each batch the long lane waits after it, because of foreground load; 0 without.").With(nil),
		ForegroundBackoffSeconds: f.counter("lethe_foreground_backoff_seconds_total", "Time that deletions in the long lane waited between batches because of foreground load.").With(nil),
		FloorsRaised:             f.counter("lethe_floors_raised_total", "Floors of shared logs raised, by what did it: a member who hid messages, a command for everyone, or the sweep for what the app has changed.", "by"),
		Erasures:                 f.counter("lethe_erasures_total", "Erasures of shared logs through their floors that became final, by state.", "state"),
		ErasuresWaiting:          f.gauge("lethe_erasures_waiting", "Erasures of shared logs that no worker runs, over all workers; at most 1000 are counted.").With(nil),
		MessagesHidden:           f.counter("lethe_messages_hidden_total", "Messages of shared logs that members have hidden; one that two members hide counts twice.").With(nil),
		MessagesErased:           f.counter("lethe_messages_erased_total", "Messages of shared logs erased; lethe_messages_purged_total counts them, too.").With(nil),
		SweepSeconds:             f.histogram("lethe_sweep_seconds", "Duration of a sweep for floors that have risen without a command; one worker at a time makes it.", ages).With(nil).(prometheus.Histogram),
		Build:                    f.gauge("lethe_build_info", "1, with the program's version and the revision of its source.", "version", "revision"),
	}
	m.begin(n)
	return m
}

// factory makes metrics and registers them.
type factory struct{ promauto.Factory }

func (f factory) counter(name, help string, labels ...string) *prometheus.CounterVec {
	return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func (f factory) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return f.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}

func (f factory) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return f.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
}
