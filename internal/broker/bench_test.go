package broker

import (
	"context"
	"log/slog"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

func benchBroker(b *testing.B) (*Broker, jetstream.JetStream) {
	b.Helper()
	n := localtest.NATS(b)
	br, err := Connect(b.Context(), Config{URL: n.URL(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = br.Close() })
	if _, err := br.Setup(b.Context(), SetupOptions{}); err != nil {
		b.Fatal(err)
	}
	return br, br.js
}

// BenchmarkRun pulls and acknowledges one command.
func BenchmarkRun(b *testing.B) {
	br, js := benchBroker(b)
	for range b.N {
		if _, err := js.PublishAsync(conversation.CommandSubject("demo"), make([]byte, 300)); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	stop, cancel := context.WithCancel(b.Context())
	defer cancel()
	ended := make(chan error, 1)
	left := b.N
	b.ReportAllocs()
	b.ResetTimer()
	finished := make(chan struct{})
	go func() {
		ended <- br.Run(stop, func(_ bus.Delivery, p bus.Slot) {
			p.Settle(bus.Outcome{Verdict: bus.Done})
			if left--; left == 0 {
				close(finished)
			}
		})
	}()
	<-finished
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPublish stores 256 events at a time.
func BenchmarkPublish(b *testing.B) {
	br, _ := benchBroker(b)
	as := deletedEvents(256)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		for j := range as {
			as[j].Deleted.MessagesDeleted = int64(i)
			as[j].Deleted.CommandID = as[j].Deleted.CommandID[:1] + string(rune('A'+i%26)) + as[j].Deleted.UserID + string(rune(0x4e00+i/26))
		}
		if err := br.Publish(b.Context(), as); err != nil {
			b.Fatal(err)
		}
	}
}
