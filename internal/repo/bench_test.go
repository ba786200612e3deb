package repo

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// benchEach is how many messages a conversation of the benchmarks has.
const benchEach = 20

// BenchmarkExpress measures express batches of several sizes; the unit of the
// figure is one deletion of a conversation with 20 messages.
func BenchmarkExpress(b *testing.B) {
	for _, size := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) { benchExpress(b, newRepo(b), size) })
	}
}

// BenchmarkExpressBehindAPooler is BenchmarkExpress with statements that are prepared
// each time, without a pooler and behind PgBouncer: what that costs, and what the way does.
func BenchmarkExpressBehindAPooler(b *testing.B) {
	for _, size := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("direct/batch=%d", size), func(b *testing.B) {
			benchExpress(b, openRepo(b, Config{URL: newDatabase(b) + "&default_query_exec_mode=cache_describe", Plan: plan.Bundled()}), size)
		})
		b.Run(fmt.Sprintf("pgbouncer/batch=%d", size), func(b *testing.B) {
			benchExpress(b, openRepo(b, Config{URL: localtest.PgBouncer(b, newDatabase(b), nil).URL(), Plan: plan.Bundled()}), size)
		})
	}
}

func benchExpress(b *testing.B, r *Repo, size int) {
	b.Helper()
	batches := (b.N + size - 1) / size
	loadConversations(b, r, batches*size)
	b.ResetTimer()
	for i := range batches {
		res, err := r.Bulk(b.Context(), purge.Batch{
			Deletions: benchDeletions(i*size, size), Budget: purge.Budget{PerDeletion: 1000, Rows: 50_000},
		})
		if err != nil {
			b.Fatal(err)
		}
		if res.Rows != size*benchEach || !res.Finished[0] {
			b.Fatalf("rows = %d, finished = %t; want %d, true", res.Rows, res.Finished[0], size*benchEach)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(batches*size), "ns/deletion")
}

func loadConversations(tb testing.TB, r *Repo, n int) {
	tb.Helper()
	execSQL(tb, r.pool, `insert into chat.conversations (app_id, user_id, conversation_id, last_seq)
		select 'bench', 'user_' || i, 'c2c_friend', $2 from generate_series(0, $1::int - 1) i`, n, benchEach)
	execSQL(tb, r.pool, `insert into chat.messages (app_id, user_id, conversation_id, seq, sender_id, sent_at, body)
		select 'bench', 'user_' || i, 'c2c_friend', s, 'friend', now() - interval '1 hour', jsonb_build_object('text', repeat(md5(random()::text), 6))
		from generate_series(0, $1::int - 1) i, generate_series(1, $2) s`, n, benchEach)
	execSQL(tb, r.pool, `vacuum (analyze)`)
	execSQL(tb, r.pool, `checkpoint`)
}

func benchDeletions(from, n int) []purge.Deletion {
	ds := make([]purge.Deletion, n)
	for i := range ds {
		d := purge.Deletion{
			Key:    purge.Key{App: "bench", Command: fmt.Sprintf("command-%09d", from+i), User: fmt.Sprintf("user_%d", from+i), Conversation: "c2c_friend"},
			Device: "phone", StoredAt: time.Now(), RequestedAt: time.Now(),
		}
		_, _ = rand.Read(d.Token[:])
		d.Digest = purge.DigestOf(purge.Content{User: d.User, Device: d.Device, Targets: []purge.Target{{Conversation: d.Conversation}}})
		ds[i] = d
	}
	return ds
}
