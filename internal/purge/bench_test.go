package purge

import (
	"strconv"
	"testing"
	"time"
)

// BenchmarkDigestOf makes the digest of one command.
func BenchmarkDigestOf(b *testing.B) {
	hundred := Content{User: "alice", Device: "alice-phone"}
	for i := range 100 {
		hundred.Targets = append(hundred.Targets, Target{Conversation: "c2c_" + strconv.Itoa(100-i), ThroughSeq: seq(int64(i))})
	}
	one := Content{User: "alice", Device: "alice-phone", Targets: hundred.Targets[:1]}
	for name, c := range map[string]Content{"1 conversation": one, "100 conversations": hundred} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				DigestOf(c)
			}
		})
	}
}

// BenchmarkPaceNext decides the rows of one batch.
func BenchmarkPaceNext(b *testing.B) {
	p := Pace{Target: 50 * time.Millisecond, Min: 50, Max: 50_000}
	limit := 2000
	b.ReportAllocs()
	for b.Loop() {
		limit = p.Next(limit, 40*time.Millisecond, true)
	}
}

// BenchmarkRetryDelay decides one delay.
func BenchmarkRetryDelay(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		retryDelay(5, 0.5)
	}
}
