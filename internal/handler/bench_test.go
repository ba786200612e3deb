package handler

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/purge"
)

// BenchmarkQueue passes 256 commands of one deletion each through the queue of
// the express lane.
func BenchmarkQueue(b *testing.B) {
	entries := make([]entry, 256)
	for i := range entries {
		j := &job{open: 1}
		entries[i] = entry{job: j, tasks: []*task{{job: j}}}
	}
	q := newQueue()
	b.ReportAllocs()
	for b.Loop() {
		for _, e := range entries {
			q.push(e)
		}
		for left := len(entries); left > 0; {
			left -= len(q.take(func() int { return 256 }))
		}
	}
}

// BenchmarkJob takes a command of 100 deletions to its outcome.
func BenchmarkJob(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		j := &job{open: 100}
		for !j.endFinal(purge.Key{}) {
		}
		if o := j.outcome(); o.Verdict != bus.Done {
			b.Fatalf("outcome = %+v", o)
		}
	}
}

// BenchmarkEvent makes the event of one finished deletion.
func BenchmarkEvent(b *testing.B) {
	j := &job{}
	rec := purge.Record{
		Key: purge.Key{App: "demo", Command: "01JD8Z7K4W3V9Q2M5N6P7R8S9T", User: "alice", Conversation: "c2c_bob"}, Device: "alice-phone",
		State: purge.Done, ThroughSeq: 1200, MessagesDeleted: 1200, ConversationRemoved: true, CompletedAt: time.Now(),
	}
	b.ReportAllocs()
	for b.Loop() {
		if event(j, rec).Deleted == nil {
			b.Fatal("no event")
		}
	}
}

// BenchmarkToken makes the lease token of one deletion.
func BenchmarkToken(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		newToken()
	}
}

// BenchmarkPacer asks for and tells about one express batch.
func BenchmarkPacer(b *testing.B) {
	p := newPacer(purge.Pace{Target: 50 * time.Millisecond, Min: 50, Max: 50_000}, prometheus.NewGauge(prometheus.GaugeOpts{Name: "rows"}))
	b.ReportAllocs()
	for b.Loop() {
		n := p.deletions(256)
		p.took(p.rows(), 40*time.Millisecond, true)
		p.saw(n, 20*n)
	}
}
