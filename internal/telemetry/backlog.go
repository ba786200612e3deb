package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lethe-im/lethe/internal/bus"
)

// Backlog shows the last known [bus.Backlog]. While that isn't known its metrics are
// absent: an old figure would keep alerts silent. Safe for concurrent use.
type Backlog struct {
	commands, oldest, messages, bytes, maxBytes *prometheus.GaugeVec
}

func newBacklog(f factory) *Backlog {
	return &Backlog{
		commands: f.gauge("lethe_backlog_commands", "Commands in the stream over all workers: waiting for a worker, in flight, or stuck and never delivered.", "state"),
		oldest:   f.gauge("lethe_backlog_oldest_seconds", "Age of the oldest command that isn't finished, over all workers; 0 for none."),
		messages: f.gauge("lethe_stream_messages", "Messages in a stream.", "stream"),
		bytes:    f.gauge("lethe_stream_bytes", "Size of a stream.", "stream"),
		maxBytes: f.gauge("lethe_stream_max_bytes", "Maximum size of a stream; absent without one.", "stream"),
	}
}

// Set shows w.
func (b *Backlog) Set(w bus.Backlog) {
	b.commands.WithLabelValues("waiting").Set(float64(w.Waiting))
	b.commands.WithLabelValues("in_flight").Set(float64(w.InFlight))
	b.commands.WithLabelValues("stuck").Set(float64(w.Stuck))
	b.oldest.WithLabelValues().Set(w.Oldest.Seconds())
	for _, s := range w.Streams {
		b.messages.WithLabelValues(s.Name).Set(float64(s.Messages))
		b.bytes.WithLabelValues(s.Name).Set(float64(s.Bytes))
		if s.MaxBytes > 0 {
			b.maxBytes.WithLabelValues(s.Name).Set(float64(s.MaxBytes))
		} else {
			b.maxBytes.DeleteLabelValues(s.Name)
		}
	}
}

// Forget shows nothing until the next Set.
func (b *Backlog) Forget() {
	for _, g := range []*prometheus.GaugeVec{b.commands, b.oldest, b.messages, b.bytes, b.maxBytes} {
		g.Reset()
	}
}
