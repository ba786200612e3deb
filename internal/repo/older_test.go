package repo

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// olderStatements are those that workers before the scopes run on the ledger of the bundled plan,
// word for word: the version before schema version 8. Each has a line "--- name: parameters" in front.
func olderStatements(t *testing.T) statements {
	t.Helper()
	data, err := os.ReadFile("testdata/older.sql")
	if err != nil {
		t.Fatal(err)
	}
	older := statements{}
	for text := range strings.SplitSeq("\n"+string(data), "\n--- ") {
		head, sql, _ := strings.Cut(text, "\n")
		if name, params, found := strings.Cut(head, ":"); found {
			older[name] = &statement{name: name, sql: strings.TrimSpace(sql), params: strings.Fields(params)}
		}
	}
	if len(older) < 25 {
		t.Fatalf("found %d statements; want all", len(older))
	}
	return older
}

// newUpgraded is a Repo on a ledger that older workers have worked on.
func newUpgraded(t *testing.T) *Repo {
	t.Helper()
	url := olderLedger(t)
	if _, err := Setup(t.Context(), url, SetupOptions{}); err != nil {
		t.Fatal(err)
	}
	return openRepo(t, Config{URL: url, Plan: plan.Bundled()})
}

// An older worker's probe plans all of its statements. It can, as long as no command for everyone has come.
func TestOlderWorkersCanUseTheLedger(t *testing.T) {
	t.Parallel()
	r, older := newUpgraded(t), olderStatements(t)
	plans := func(s *statement) error {
		tx := r.begin(false)
		tx.exec(nil, s.explain(), s.nulls())
		return r.commit(t.Context(), tx)
	}
	for _, s := range older.all() {
		if err := plans(s); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
	if err := r.widenKey(t.Context(), purge.ScopeEveryone); err != nil {
		t.Fatal(err)
	}
	for _, s := range older.all() { // docs/operations.md says so
		if err := plans(s); (err != nil) != (s.name == "replay_finish") {
			t.Errorf("with the wide key, %s: %v; want an error of replay_finish alone", s.name, err)
		}
	}
}

// What an older worker has begun or done a newer one goes on with, and the other way round.
func TestOlderAndNewerWorkersShareDeletions(t *testing.T) {
	t.Parallel()
	r, older := newUpgraded(t), olderStatements(t)
	run := func(d purge.Deletion, more args, names ...string) {
		t.Helper()
		tx := r.begin(true)
		a := argsOf(d).with(args{"lease": time.Minute, "each": 100, "rows": 100, "limit": 10}).with(more)
		for _, name := range names {
			if s, found := older[name]; found {
				tx.query(func(pgx.Rows) error { return nil }, s, a)
			} else {
				t.Fatalf("no older statement %s", name)
			}
		}
		if err := r.commit(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
	}
	expired := func() {
		execSQL(t, r.pool, `update lethe.deletions set lease_until = now() - interval '1 s' where state = 'running'`)
	}
	anew := func(d purge.Deletion) purge.Deletion { d.Token = tokens(); return d }
	for _, c := range []struct {
		name  string
		begin func(d purge.Deletion)
		end   func(d purge.Deletion) (rec purge.Record)
	}{
		{"old pending, new", func(d purge.Deletion) { run(d, nil, "enter_command", "enter") }, nil},
		{"old running, new", func(d purge.Deletion) { run(d, nil, "enter_command", "enter", "claim"); expired() }, nil},
		{"old done, new", func(d purge.Deletion) { run(d, nil, "bulk_take_one", "bulk_finish_one") }, nil},
		{"new running, old", func(d purge.Deletion) {
			if _, err := r.Step(t.Context(), d, purge.Part{Claim: true, Limit: 100}); err != nil {
				t.Fatal(err)
			}
			expired()
		}, func(d purge.Deletion) purge.Record {
			run(d, nil, "claim")
			version := queryOne[string](t, r.pool, `select coalesce(string_agg(tableoid || ' ' || xmin, ','), '') from chat.conversations where conversation_id = $1`, d.Conversation)
			run(d, args{"proven": true, "version": version}, "finish_prove", "lock_conversation", "finish")
			res := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}})
			return res.Records[0]
		}},
	} {
		d := deletion(c.name, c.name)
		fillChat(t, r, d.Conversation, 20)
		c.begin(d)
		var rec purge.Record
		if c.end != nil {
			rec = c.end(anew(d))
		} else {
			rec, _ = stepThrough(t, r, anew(d), 7)
		}
		want := purge.Record{
			Key: d.Key, Device: "phone", State: purge.Done, Pinned: true, ThroughSeq: 20, CursorSeq: 20, MessagesDeleted: 20, ConversationRemoved: true, Erased: true,
		}
		rec.CompletedAt, rec.RequestedAt = time.Time{}, time.Time{}
		if rec != want {
			t.Errorf("%s: record = %+v; want %+v", c.name, rec, want)
		}
		if got := rowsLeft(t, r, d.Conversation); got != nothing {
			t.Errorf("%s: left %s", c.name, got)
		}
	}
}
