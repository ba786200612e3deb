package e2e

import (
	"bufio"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
)

// sized is the size of a test: small enough for every run, or, with
// LETHE_E2E_LONG=1, large enough to find what is rare.
func sized(usual, long int) int {
	if os.Getenv("LETHE_E2E_LONG") == "1" {
		return long
	}
	return usual
}

// random is a source that a failed test can be repeated with: LETHE_E2E_SEED.
func random(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if v := os.Getenv("LETHE_E2E_SEED"); v != "" {
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("LETHE_E2E_SEED: %v", err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("to repeat: LETHE_E2E_SEED=%d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// between is a random duration.
func between(rnd *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rnd.Int64N(int64(most-least)))
}

// pause lets the world go on for a while: not to wait for something, but to act at
// a moment of the test's choice.
func pause(t testing.TB, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// huge gives the user n messages of one conversation in one statement, and its row.
func (r *rig) huge(t testing.TB, c chat, n int) {
	t.Helper()
	r.exec(t, `insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
		select $1, $2, $3, s, now() - interval '1 hour' from generate_series(1, $4::bigint) s`, c.app, c.user, c.id, n)
	r.exec(t, `insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji)
		select $1, $2, $3, s, 'somebody', '👍' from generate_series(1, $4::bigint, 1000) s`, c.app, c.user, c.id, n)
	r.exec(t, `insert into chat.counters (app_id, user_id, last_seq) values ($1, $2, $3)`, c.app, c.user, n)
	r.exec(t, upsertRow, c.app, c.user, c.id, n, n)
}

// crowd gives n users, u0 to u(n-1) with this prefix, one conversation g of some
// messages each, all at once.
func (r *rig) crowd(t testing.TB, app, prefix string, n, messages int) []chat {
	t.Helper()
	r.exec(t, crowdSQL, app, prefix, n, messages)
	chats := make([]chat, n)
	for i := range chats {
		chats[i] = chat{app, prefix + strconv.Itoa(i), "g"}
	}
	return chats
}

const crowdSQL = `with u as (select $2 || i as id from generate_series(0, $3::int - 1) i),
m as (insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
	select $1, u.id, 'g', s, now() - interval '1 hour' from u, generate_series(1, $4::bigint) s),
k as (insert into chat.counters (app_id, user_id, last_seq) select $1, u.id, $4 from u)
insert into chat.conversations (app_id, user_id, conversation_id, last_seq, unread_count)
select $1, u.id, 'g', $4, $4::int from u`

// flood publishes commands without waiting for each.
func (r *rig) flood(t testing.TB, cmds []conversation.Command) {
	t.Helper()
	js, err := r.nc.JetStream(nats.PublishAsyncMaxPending(len(cmds) + 1))
	if err != nil {
		t.Fatal(err)
	}
	futures := make([]nats.PubAckFuture, len(cmds))
	for i, cmd := range cmds {
		if futures[i], err = js.PublishAsync(r.names.CommandSubject(cmd.AppID), encode(t, cmd)); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			t.Fatalf("publish: %v", err)
		case <-time.After(timeout):
			t.Fatal("publish: no answer")
		}
	}
}

// deletionKey names a deletion in a test's expectations.
type deletionKey struct{ command, conversation string }

func keyOf(e event) deletionKey { return deletionKey{e.command(), e.conversation()} }

// told checks every event that was ever published: each expected deletion has one
// distinct event, the same to the byte however often it was told, with the
// expected count of messages (any, where it is below 0), and there is none that
// nobody expects.
func (r *rig) told(t testing.TB, want map[deletionKey]int) {
	t.Helper()
	stored, heard, _ := r.seen(func(e event) bool { return e.kind() != conversation.TypeDeleting })
	first := map[deletionKey]event{}
	isStored := map[deletionKey]bool{}
	for i, e := range append(stored, heard...) {
		k := keyOf(e)
		isStored[k] = isStored[k] || i < len(stored)
		n, expected := want[k]
		seen, again := first[k]
		switch {
		case again:
			sameEvent(t, seen, e)
			continue
		case !expected:
			t.Errorf("nobody asked for %s", e)
		case e.kind() != conversation.TypeDeleted:
			t.Errorf("event %s; want %s", e, conversation.TypeDeleted)
		case n >= 0 && e.text("messages_deleted") != strconv.Itoa(n):
			t.Errorf("%s; want messages_deleted %d", e, n)
		}
		first[k] = e
	}
	missing := 0
	for k := range want {
		if !isStored[k] {
			if missing++; missing <= 5 {
				t.Errorf("no event of %+v is stored", k)
			}
		}
	}
	if missing > 5 {
		t.Errorf("%d events are missing in all", missing)
	}
}

// metric sums the values of a metric, over all its labels that contain the given
// text, over some workers.
func metric(t testing.TB, name, labels string, ws ...*worker) float64 {
	t.Helper()
	sum := 0.0
	for _, w := range ws {
		code, body := w.get(t, "/metrics")
		if code != 200 {
			t.Fatalf("/metrics: %d", code)
		}
		for lines := bufio.NewScanner(strings.NewReader(body)); lines.Scan(); {
			series, value, _ := strings.Cut(lines.Text(), " ")
			base, rest, _ := strings.Cut(series, "{")
			if base != name || !strings.Contains(rest, labels) {
				continue
			}
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatalf("%s: %v", lines.Text(), err)
			}
			sum += v
		}
	}
	return sum
}

// ledger returns how far a deletion is, by its row.
func (r *rig) ledger(t testing.TB, command, id string) (state string, cursor, deleted int64, attempts int) {
	t.Helper()
	err := r.db.QueryRow(t.Context(), `select coalesce(max(state), ''), coalesce(max(cursor_seq), 0), coalesce(max(messages_deleted), 0), coalesce(max(attempts), 0)
		from lethe.deletions where command_id = $1 and conversation_id = $2`, command, id).Scan(&state, &cursor, &deleted, &attempts)
	if err != nil {
		t.Fatal(err)
	}
	return state, cursor, deleted, attempts
}

// noAttempts asserts that no deletion was charged with a failure, and that there
// is no dead letter: for tests in which nothing is a command's own fault.
func (r *rig) noAttempts(t testing.TB) {
	t.Helper()
	if got := one[string](t, r, `select coalesce(string_agg(command_id || ' ' || conversation_id || ': ' || attempts || ' ' || coalesce(last_error, ''), '; '), '')
		from (select * from lethe.deletions where attempts > 0 limit 5) d`); got != "" {
		t.Errorf("counted as failures: %s", got)
	}
	if letters := r.letters(t); len(letters) > 0 {
		t.Errorf("%d dead letters; want none; the first: %s %s", len(letters), letters[0].header.Get("Lethe-Reason"), letters[0].header.Get("Lethe-Error"))
	}
}

// wantEmpty asserts that chat has no row of these users' left, but for counters.
func (r *rig) wantEmpty(t testing.TB) {
	t.Helper()
	if got := one[string](t, r, `select concat_ws(' ', (select count(*) from chat.messages), (select count(*) from chat.conversations),
		(select count(*) from chat.reactions), (select count(*) from chat.attachments))`); got != "0 0 0 0" {
		t.Errorf("messages, conversations, reactions and attachments left: %s; want none", got)
	}
}

// workOnce asserts that messages were deleted no more than once, aborted tries
// included, but for some. Postgres counts what a connection did when it ends, or
// some seconds later: all workers should have ended.
func (r *rig) workOnce(t testing.TB, messages, more int) {
	t.Helper()
	var got int
	eventually(t, timeout, "Postgres has counted the deleted rows", func() bool {
		got = one[int](t, r, `select n_tup_del::int from pg_stat_user_tables where schemaname = 'chat' and relname = 'messages'`)
		return got >= messages
	})
	if got > messages+more {
		t.Errorf("%d messages were deleted, tries that were rolled back included; want %d, and %d more at most", got, messages, more)
	}
}
