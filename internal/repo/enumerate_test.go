package repo

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// listAll goes through a list to its end, with pages of limit.
func listAll(t *testing.T, r *Repo, d purge.Deletion, limit int) (ids []string) {
	t.Helper()
	for at := (purge.Place{}); !at.Done; {
		found, next, err := r.List(t.Context(), d, at, limit)
		if err != nil {
			t.Fatal(err)
		}
		if next == at {
			t.Fatalf("the list stays at %+v", at)
		}
		ids, at = append(ids, found...), next
	}
	return ids
}

// A user's conversations are those with a message sent by then, and rows without any, in each type of key, and nobody else's.
func TestListConversations(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	pool := openPool(t, url)
	words, numbers, now := []string{"B", "a", "ä", "b", "c", "dd", "e"}, []string{"-5", "-1", "0", "7", "8", "90", "1000"}, time.Now()
	for i, key := range []struct {
		typ, collation string
		names          []string
	}{
		{"text", "", words},
		{"text", `collate "C"`, words},
		{"text", `collate "und-x-icu"`, words},
		{"varchar(20)", "", words},
		{"bigint", "", numbers},
		{"integer", "", numbers},
		{"uuid", "", uuids(7)},
	} {
		t.Run(key.typ+key.collation, func(t *testing.T) {
			t.Parallel()
			schema := fmt.Sprintf("list_%d", i)
			execSQL(t, pool, fmt.Sprintf(`create schema %[1]s;
				create table %[1]s.posts (owner text, thread %[2]s %[3]s, pos bigint not null, at timestamptz not null default now(), primary key (owner, thread, pos));
				create table %[1]s.threads (owner text, thread %[2]s %[3]s, primary key (owner, thread))`, schema, key.typ, key.collation))
			p, err := plan.Parse(fmt.Appendf(nil, `
tenant: demo
messages: {table: %[1]s.posts, user: owner, conversation: thread, seq: pos, sent_at: at}
conversations: {table: %[1]s.threads, user: owner, conversation: thread}`, schema))
			if err != nil {
				t.Fatal(err)
			}
			r := openRepo(t, Config{URL: url, Plan: p})
			names := queryOne[[]string](t, pool, fmt.Sprintf("select array_agg(n order by n::%s %s) from unnest($1::text[]) n", key.typ, key.collation), key.names)
			insert := func(table string, n int, values string, args ...any) {
				execSQL(t, pool, fmt.Sprintf("insert into %s.%s select o, $1::text::%s%s from unnest(array['alice', 'bob']) o, generate_series(1, %d) i", schema, table, key.typ, values, n), args...)
			}
			for i, name := range names {
				switch i {
				case 1: // newer ones alone
					insert("posts", 3, ", i, $2::timestamptz", name, now.Add(time.Hour))
				case 2: // a row alone
				default:
					insert("posts", 3, ", i, $2::timestamptz", name, now.Add(-time.Hour))
					insert("posts", 3, ", i + 3, $2::timestamptz", name, now.Add(time.Hour))
				}
				if i != 3 { // messages alone
					insert("threads", 1, "", name)
				}
			}
			d := purge.Deletion{Key: purge.Key{App: "demo", Command: schema, User: "alice"}, StoredAt: now, Digest: purge.Digest{1}}
			if e, err := r.Enumerate(t.Context(), d); err != nil || e.Reused || e.At != (purge.Place{}) || e.Completed {
				t.Fatalf("Enumerate = %+v, %v", e, err)
			}
			for _, limit := range []int{1, 2, 3, 100} {
				got := listAll(t, r, d, limit)
				want := slices.Concat(names[:1], names[3:], names[2:3])
				if !slices.Equal(got, want) {
					t.Errorf("%d at a time: %q; want %q", limit, got, want)
				}
			}
		})
	}
}

func uuids(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("%08x-0000-0000-0000-000000000000", i*i))
	}
	return out
}

// What the plan looks up for the user is pinned for the command: its deletions find their messages when the user's row has gone.
func TestListedDeletionsKeepWhatWasLookedUp(t *testing.T) {
	t.Parallel()
	r := newArchive(t)
	execSQL(t, r.pool, `insert into archive select (extract(epoch from now() - interval '1 hour')::bigint * 1000000 << 8) + i, a.id, 'c' || i % 4 from accounts a, generate_series(1, 40) i`)
	d := purge.Deletion{Key: purge.Key{App: "demo", Command: "all", User: "alice@x.org"}, StoredAt: time.Now(), Digest: purge.Digest{1}}
	if _, err := r.Enumerate(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	execSQL(t, r.pool, `delete from accounts where name = 'alice'`)
	ids := listAll(t, r, d, 3)
	if want := []string{"c0", "c1", "c2", "c3"}; !slices.Equal(ids, want) {
		t.Fatalf("listed %q; want %q", ids, want)
	}
	b := purge.Batch{Listed: true, Budget: purge.Budget{PerDeletion: 100, Rows: 1000}}
	for i, id := range ids[:3] {
		one := d
		one.Conversation, one.Token = id, purge.Token{byte(i + 1)}
		b.Deletions = append(b.Deletions, one)
	}
	res, err := r.Bulk(t.Context(), b)
	if err != nil || slices.Contains(res.Finished, false) || res.Records[0].MessagesDeleted != 10 {
		t.Fatalf("%+v, %v", res, err)
	}
	one := d
	one.Conversation, one.Token = ids[3], purge.Token{9}
	step, err := r.Step(t.Context(), one, purge.Part{Claim: true, Finish: true, Limit: 100})
	if err != nil || !step.Finished || step.Record.MessagesDeleted != 10 {
		t.Errorf("alone: %+v, %v", step, err)
	}
	// Taken up by another worker meanwhile, none is taken up twice.
	again, err := r.Bulk(t.Context(), b)
	if err != nil || slices.Contains(again.Finished, true) || again.Records[0].State != purge.Done {
		t.Errorf("again: %+v, %v", again, err)
	}
}

// An enumeration is forgotten with its command, and neither before it is complete.
func TestExpireEnumerations(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	for _, command := range []string{"complete", "open"} {
		d := purge.Deletion{Key: purge.Key{App: "demo", Command: command, User: "alice"}, StoredAt: time.Now(), Digest: purge.Digest{1}}
		if _, err := r.Enumerate(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if command == "complete" {
			if sum, ok, err := r.Complete(t.Context(), d, purge.Place{}); err != nil || !ok || sum.CompletedAt.IsZero() {
				t.Fatal(sum, ok, err)
			}
		}
	}
	execSQL(t, r.pool, `update lethe.commands set created_at = now() - interval '2 hours'; update lethe.enumerations set completed_at = now() - interval '2 hours' where completed_at is not null`)
	if n, err := r.Expire(t.Context(), time.Hour, 100); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if left := queryOne[string](t, r.pool, `select string_agg(c.command_id || e.command_id, ',') from lethe.commands c full join lethe.enumerations e using (app_id, command_id)`); left != "openopen" {
		t.Errorf("left: %s", left)
	}
}
