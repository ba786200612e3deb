package repo

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/internal/purge"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	l, pool := openLedger(t, url), openPool(t, url)
	execSQL(t, pool, `insert into lethe.deletions (app_id, command_id, conversation_id, user_id, state, stored_at, history_kept)
		select app, '1', conv, 'alice', 'pending', now(), false from (values ('b', 'x'), ('a', 'y'), ('a', 'x'), ('é', '')) v (app, conv)`)
	execSQL(t, pool, `insert into lethe.commands (app_id, command_id, digest)
		values ('a', '1', ''), ('b', '1', ''), ('é', '1', ''), ('a', '2', ''), ('c', '3', ''), ('demo', '4', '')`)
	execSQL(t, pool, `insert into lethe.deletions (app_id, command_id, conversation_id, user_id, origin_device_id, state, requested_through_seq, stored_at,
		through_seq, cursor_seq, messages_deleted, history_kept, conversation_removed, multi_client_sync, requested_at, completed_at, attempts, last_error, lease_until)
		values ('demo', '4', 'c', 'alice', 'phone', 'done', 9, now(), 7, 6, 5, true, true, true, '2026-11-23T09:00:00.123456789+01:00',
		'2026-11-23 09:00:01.5+00', 2, 'oops', now() - interval '1 hour')`)
	for _, c := range []struct{ name, app, command, want string }{
		{"orders all apps that have the command by app and conversation", "", "1", "a/x a/y b/x é/"},
		{"keeps to one app", "a", "1", "a/x a/y"},
		{"knows nothing of another app's command", "b", "2", ""},
		{"knows nothing of a command that is none's", "", "none", ""},
		{"tells no deletion of a command that has none yet", "", "2", ""},
		{"takes an id for what it is", "a' or true --", "1", ""},
	} {
		recs, err := l.Status(t.Context(), c.app, c.command)
		var got []string
		for _, r := range recs {
			got = append(got, r.App+"/"+r.Conversation)
		}
		if s := strings.Join(got, " "); err != nil || s != c.want {
			t.Errorf("%s: %q, %v; want %q", c.name, s, err, c.want)
		}
	}
	statusTellsAll(t, l)
}

// statusTellsAll reads a row in which every column says something.
func statusTellsAll(t *testing.T, l *Ledger) {
	t.Helper()
	recs, err := l.Status(t.Context(), "", "4")
	if err != nil || len(recs) != 1 {
		t.Fatalf("Status = %+v, %v; want one record", recs, err)
	}
	got := recs[0]
	if got.LeaseLeft > -59*time.Minute || got.LeaseLeft < -61*time.Minute {
		t.Errorf("lease left = %v; want an hour ago", got.LeaseLeft)
	}
	requested := time.Date(2026, 11, 23, 8, 0, 0, 123456789, time.UTC)
	if !got.RequestedAt.Equal(requested) {
		t.Errorf("requested at %v; want %v", got.RequestedAt, requested)
	}
	got.LeaseLeft, got.RequestedAt = 0, time.Time{}
	want := purge.Record{
		Key: purge.Key{App: "demo", Command: "4", User: "alice", Conversation: "c"}, Device: "phone", State: purge.Done,
		Pinned: true, ThroughSeq: 7, CursorSeq: 6, MessagesDeleted: 5, HistoryKept: true, ConversationRemoved: true, Erased: true, MultiClientSync: true,
		CompletedAt: time.Date(2026, 11, 23, 9, 0, 1, 500_000_000, time.UTC), Attempts: 2, LastError: "oops",
	}
	if got != want {
		t.Errorf("record = %+v; want %+v", got, want)
	}
}

// explain returns how Postgres carries the statement out.
func explain(tb testing.TB, pool *pgxpool.Pool, s *statement, a args) string {
	tb.Helper()
	rows, err := pool.Query(tb.Context(), "explain "+s.sql, s.bind(a)...)
	if err != nil {
		tb.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// fillLedger enters n finished commands of 20 apps, a second older each, the
// newest an hour old.
func fillLedger(tb testing.TB, pool *pgxpool.Pool, n int) {
	tb.Helper()
	execSQL(tb, pool, `insert into lethe.commands (app_id, command_id, digest, created_at)
		select 'app' || i % 20, 'cmd' || i, '', now() - interval '1 hour' - i * interval '1 second' from generate_series(1, $1::int) i`, n)
	execSQL(tb, pool, `insert into lethe.deletions (app_id, command_id, conversation_id, user_id, state, stored_at, through_seq, history_kept, created_at, completed_at)
		select app_id, command_id, 'c', 'alice', 'done', created_at, 1, false, created_at, created_at + interval '1 second' from lethe.commands`)
	execSQL(tb, pool, `analyze lethe.commands`)
	execSQL(tb, pool, `analyze lethe.deletions`)
}

func TestStatusScansNoTable(t *testing.T) {
	t.Parallel()
	pool := openPool(t, newDatabase(t))
	fillLedger(t, pool, 20_000)
	for _, app := range []string{"", "app7"} {
		if plan := explain(t, pool, general.get("status"), args{"app": app, "command": "cmd7"}); strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "Hash") {
			t.Errorf("app %q:\n%s\nwant index scans alone", app, plan)
		}
	}
	if plan := explain(t, pool, general.get("unfinished"), args{"app": "app7", "user": "alice", "command": "", "conversation": "", "limit": 100}); !strings.Contains(plan, "deletions_under_way") {
		t.Errorf("what is under way:\n%s\nwant its index", plan)
	}
	if plan := explain(t, pool, general.get("under_way"), args{"read": 10_000, "limit": 100}); !strings.Contains(plan, "deletions_under_way") || strings.Contains(plan, "Seq Scan") {
		t.Errorf("what isn't final:\n%s\nwant its index", plan)
	}
}

func TestWorkIsWhatIsNotFinalInTheOrderOfAnOperator(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	l, pool := openLedger(t, url), openPool(t, url)
	if w, err := l.Work(t.Context(), 10); err != nil || w.Unfinished != 0 || w.Deletions != nil {
		t.Errorf("of an empty ledger: %+v, %v", w, err)
	}
	execSQL(t, pool, `insert into lethe.deletions (app_id, command_id, conversation_id, user_id, state, stored_at, history_kept, waiting_for, waiting_detail, attempts, lease_until)
		select 'demo', command, 'c', case when command <> '' then 'alice' else '' end, state, now() - age::interval, false, waiting, 'who', attempts, lease
		from (values ('new', 'pending', '1 min', null, 0, null), ('old', 'pending', '9 min', null, 0, null), ('tried', 'pending', '2 min', null, 3, null),
			('blocked', 'pending', '3 min', 'lock', 0, null), ('runs', 'running', '1 min', null, 0, now() + interval '20 s'), ('', 'running', '4 min', null, 0, now() + interval '20 s'),
			('dead', 'running', '2 min', 'lock', 0, now() - interval '1 min'), ('over', 'done', '9 min', null, 0, null), ('lost', 'failed', '9 min', null, 10, null))
			v (command, state, age, waiting, attempts, lease)`)
	if _, _, err := l.Pause(t.Context(), purge.LongLane); err != nil {
		t.Fatal(err)
	}
	w, err := l.Work(t.Context(), 6)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range w.Deletions {
		got = append(got, d.Command+" "+string(d.WaitingFor))
	}
	if s, want := strings.Join(got, ", "), "dead ,  , runs , blocked lock, tried , old "; s != want {
		t.Errorf("deletions: %s; want %s", s, want)
	}
	if w.Unfinished != 7 || w.Running != 3 || time.Since(w.At).Abs() > time.Minute || len(w.Pauses) != 1 || w.Pauses[0].Lane != purge.LongLane {
		t.Errorf("Work = %+v; want 7 unfinished, 3 of them running, and the pause", w)
	}
	if d := w.Deletions[1]; !d.Erasure() || time.Since(d.StoredAt) < 3*time.Minute || d.LeaseLeft <= 0 {
		t.Errorf("the erasure is %+v; want it stored four minutes ago, with a lease", d)
	}
}
