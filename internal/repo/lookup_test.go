package repo

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// newArchive is a Repo on tables as an XMPP server's, whose users are numbers that an account's row tells.
func newArchive(tb testing.TB) *Repo {
	tb.Helper()
	url := newLedger(tb)
	execSQL(tb, openPool(tb, url), `create table public.accounts (id serial primary key, name text, host text, unique (host, name));
		create table public.archive (id bigint, owner int, peer text, primary key (owner, id)); create index on public.archive (owner, peer, id);
		insert into accounts (name, host) values ('alice', 'x.org'), ('bob', 'x.org')`)
	p, err := plan.Parse([]byte(`tenant: demo
ids:
  name: {split: user, at: "@", part: 1}
  host: {split: user, at: "@", part: 2}
  owner: {lookup: accounts, where: {host: $host, name: $name}, column: id}
messages: {table: archive, where: {owner: $owner}, conversation: peer, seq: id, sent_at: {column: id, unit: us, shift: 8}}`))
	if err != nil {
		tb.Fatal(err)
	}
	return openRepo(tb, Config{URL: url, Plan: p})
}

// fillArchive gives both users n messages, a minute apart and the last an hour old.
func fillArchive(tb testing.TB, r *Repo, n int) {
	tb.Helper()
	execSQL(tb, r.pool, `insert into archive select (extract(epoch from now() - interval '1 hour' - ($1::int - i) * interval '1 minute')::bigint * 1000000 << 8) | 1, a.id, 'c'
		from accounts a, generate_series(1, $1::int) i`, n)
}

func ofAccount(user, command string) purge.Deletion {
	d := deletion(command, "c")
	d.User = user
	d.Digest = purge.DigestOf(purge.Content{User: user, Device: d.Device, Targets: []purge.Target{{Conversation: "c"}}})
	return d
}

func TestWhatIsLookedUp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		user     string
		messages int64
		doubt    string
	}{
		"finds_the_messages":    {"alice@x.org", 40, ""},
		"finds_no_such_account": {"alice@y.org", 0, `no row of "public"."accounts"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newArchive(t)
			fillArchive(t, r, 40)
			others := ofAccount("carol@x.org", "0")
			for _, res := range []purge.Result{
				bulk(t, r, purge.Batch{Deletions: []purge.Deletion{ofAccount(c.user, "1")}}),
				bulk(t, r, purge.Batch{Deletions: []purge.Deletion{ofAccount(c.user, "2"), others}}),
				steps(t, r, ofAccount(c.user, "3")),
			} {
				rec := res.Records[0]
				if rec.State != purge.Done || rec.MessagesDeleted != c.messages || rec.Doubt != c.doubt || (rec.ThroughSeq != 0) != (c.messages > 0) {
					t.Errorf("record = %+v; want done with %d messages, doubt %q", rec, c.messages, c.doubt)
				}
				c.messages = 0 // the second time
			}
			if n := queryOne[int](t, r.pool, `select count(*) from archive where owner = 2`); n != 40 {
				t.Errorf("%d messages of another account are left; want 40", n)
			}
		})
	}
	t.Run("refuses_a_user_without_the_parts", func(t *testing.T) {
		t.Parallel()
		r := newArchive(t)
		for _, user := range []string{"alice", "a@b@c", "@x.org", "alice@"} {
			whole, err := r.Incompatible(ofAccount(user, "1"))
			if want := `user_id must have 2 parts with "@" between them`; !whole || err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: Incompatible = %t, %v; want the whole command refused: %s", user, whole, err, want)
			}
		}
	})
}

// beginnings are what pins a deletion's boundary, and leaves messages.
var beginnings = map[string]func(t *testing.T, r *Repo, d purge.Deletion){
	"alone": func(t *testing.T, r *Repo, d purge.Deletion) {
		t.Helper()
		if rec := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: 10, Rows: 10}}).Records[0]; rec.State != purge.Running {
			t.Fatalf("record = %+v; want it running", rec)
		}
	},
	"in_a_batch": func(t *testing.T, r *Repo, d purge.Deletion) {
		t.Helper()
		b := purge.Batch{Deletions: []purge.Deletion{ofAccount("carol@x.org", "0"), d}, Budget: purge.Budget{PerDeletion: 10, Rows: 10}}
		if rec := bulk(t, r, b).Records[1]; rec.State != purge.Running {
			t.Fatalf("record = %+v; want it running", rec)
		}
	},
	"passing_over_locks": func(t *testing.T, r *Repo, d purge.Deletion) {
		t.Helper()
		b := purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: 10, Rows: 10}, SkipLocked: true}
		if rec := bulk(t, r, b).Records[0]; rec.State != purge.Running {
			t.Fatalf("record = %+v; want it running", rec)
		}
	},
	"by_a_step": func(t *testing.T, r *Repo, d purge.Deletion) {
		t.Helper()
		if step, err := r.Step(t.Context(), d, purge.Part{Claim: true, Limit: 10, Sparse: true}); err != nil || step.Messages != 10 {
			t.Fatalf("step = %+v, %v; want 10 messages gone", step, err)
		}
	},
	"by_a_failure": func(t *testing.T, r *Repo, d purge.Deletion) {
		t.Helper()
		if rec, err := r.Fail(t.Context(), d, purge.Failure{MaxAttempts: 3}); err != nil || !rec.Pinned {
			t.Fatalf("record = %+v, %v; want it pinned", rec, err)
		}
	},
}

// sparseSteps take a deletion to its end, whose positions are far apart.
func sparseSteps(t *testing.T, r *Repo, d purge.Deletion) (rec purge.Record) {
	t.Helper()
	for range 20 {
		step, err := r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true, Limit: 10, Sparse: true})
		if err != nil {
			t.Fatal(err)
		}
		if rec = step.Record; step.Finished {
			break
		}
	}
	return rec
}

// What is looked up is pinned with the boundary: whatever becomes of the account's row in the middle of a deletion, the messages
// of that account go, and no others.
func TestWhatWasLookedUpIsPinned(t *testing.T) {
	t.Parallel()
	for beginning, begin := range beginnings {
		for name, middle := range map[string]string{
			"removed":                `delete from accounts where name = 'alice'`,
			"renamed":                `update accounts set name = 'zoe' where name = 'alice'`,
			"renamed_and_used_again": `update accounts set name = 'zoe' where name = 'alice'; update accounts set name = 'alice' where name = 'bob'`,
		} {
			t.Run(beginning+"/"+name, func(t *testing.T) {
				t.Parallel()
				r := newArchive(t)
				fillArchive(t, r, 40)
				d := ofAccount("alice@x.org", "1")
				begin(t, r, d)
				execSQL(t, r.pool, middle)
				if kept, err := r.Kept(t.Context(), d); err != nil || kept.Any() {
					t.Errorf("kept = %v, %v; want nothing to be missing", kept, err)
				}
				if rec := sparseSteps(t, r, d); rec.State != purge.Done || rec.MessagesDeleted != 40 || rec.Doubt != "" {
					t.Errorf("record = %+v; want done with 40 messages", rec)
				}
				if left := queryOne[string](t, r.pool, `select coalesce(string_agg(distinct owner::text, ' '), '') || ': ' || count(*) from archive`); left != "2: 40" {
					t.Errorf("messages are left of %s; want 2: 40", left)
				}
			})
		}
	}
}

// A worker that knew nothing of pins, or had another plan, has pinned a boundary. What the plan looks up is looked up now; where nothing is found,
// nothing is proven.
func TestABoundaryWithoutWhatWasLookedUp(t *testing.T) {
	t.Parallel()
	for name, as := range map[string]string{"of_an_older_worker": "null", "of_another_plan": "array['another', '2']"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newArchive(t)
			fillArchive(t, r, 40)
			d := ofAccount("alice@x.org", "1")
			beginnings["alone"](t, r, d)
			execSQL(t, r.pool, `update lethe.deletions set looked_up = `+as)
			execSQL(t, r.pool, `update accounts set name = 'zoe' where name = 'alice'`)
			step, err := r.Step(t.Context(), d, purge.Part{Claim: true, Limit: 10, Finish: true})
			if err != nil || step.Finished || step.Messages > 0 || step.Record.State != purge.Running {
				t.Fatalf("step = %+v, %v; want it not finished", step, err)
			}
			if rec, err := r.Finish(t.Context(), d); err != nil || rec.State != purge.Running || !rec.Mine {
				t.Fatalf("record = %+v, %v; want it running", rec, err)
			}
			kept, err := r.Kept(t.Context(), d)
			if want := `no row of "public"."accounts" is there any more for this deletion`; err != nil || !kept.Any() || !strings.HasPrefix(kept.Error(), want) {
				t.Errorf("kept = %v, %v; want %s", kept, err, want)
			}
			execSQL(t, r.pool, `update accounts set name = 'alice' where name = 'zoe'`)
			if rec := sparseSteps(t, r, d); rec.State != purge.Done || rec.MessagesDeleted != 40 {
				t.Errorf("record = %+v; want done with 40 messages once the row is there again", rec)
			}
		})
	}
}

// A restored database may lack the account, and with it the messages. The ledger doesn't know the deletion.
func TestAReplayLooksUpAnew(t *testing.T) {
	t.Parallel()
	r := newArchive(t)
	fillArchive(t, r, 40)
	for user, want := range map[string]int{"alice@x.org": 40, "carol@x.org": 0} {
		through := queryOne[int64](t, r.pool, `select max(id) from archive`)
		rec := purge.Reported{Record: purge.Record{Key: ofAccount(user, user).Key, ThroughSeq: through, CompletedAt: time.Now()}}
		if due := isDue(t, r.Replayer(), rec); !due {
			t.Errorf("%s: the replay isn't due", user)
		}
		if n := redo(t, r.Replayer(), rec, 10); n != want {
			t.Errorf("%s: the replay deletes %d messages; want %d", user, n, want)
		}
	}
}

// newMembers is a Repo on tables whose messages belong to the conversation's row, as a member's, with n messages of
// alice and of bob.
func newMembers(t *testing.T, references string, n int) *Repo {
	t.Helper()
	url := newLedger(t)
	execSQL(t, openPool(t, url), fmt.Sprintf(`create table public.members (id bigserial primary key, usr text, room text, unique (usr, room));
		create table public.messages (id bigserial primary key, member_id bigint not null %s); create index on public.messages (member_id, id);
		insert into members (usr, room) values ('alice@x.org', 'c'), ('bob@x.org', 'c');
		insert into messages (member_id) select m.id from members m, generate_series(1, %d)`, references, n))
	p, err := plan.Parse([]byte(`tenant: demo
ids: {member: {lookup: members, where: {usr: $user, room: $conversation}, column: id}}
messages: {table: messages, where: {member_id: $member}, seq: id}
conversations: {table: members, user: usr, conversation: room}`))
	if err != nil {
		t.Fatal(err)
	}
	return openRepo(t, Config{URL: url, Plan: p})
}

// Two deletions of one conversation, whose row is what is looked up, are both done, whichever removes the row.
func TestTwoDeletionsOfTheRowThatIsLookedUp(t *testing.T) {
	t.Parallel()
	const n = 60
	for key, references := range map[string]string{"by_a_foreign_key": "references public.members on delete cascade", "by_nothing": ""} {
		of := func(command string) purge.Deletion {
			d := ofAccount("alice@x.org", command)
			d.ThroughSeq = new(int64(2 * n))
			return d
		}
		check := func(t *testing.T, r *Repo, recs ...purge.Record) {
			t.Helper()
			deleted := int64(0)
			for _, rec := range recs {
				if deleted += rec.MessagesDeleted; rec.State != purge.Done || !rec.ConversationRemoved || rec.Doubt != "" {
					t.Errorf("record = %+v; want it done, and the conversation removed", rec)
				}
			}
			if left := queryOne[int](t, r.pool, `select count(*) from messages`); deleted != n || left != n {
				t.Errorf("%d messages deleted, %d left; want %d, and as many of another member", deleted, left, n)
			}
		}
		for beginning, begin := range beginnings {
			t.Run(key+"/in_turn_after_one_begun_"+beginning, func(t *testing.T) {
				t.Parallel()
				r := newMembers(t, references, n)
				first, second, third := of("1"), of("2"), of("3")
				begin(t, r, first)
				between := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{second}}).Records[0]
				check(t, r, between, sparseSteps(t, r, first), bulk(t, r, purge.Batch{Deletions: []purge.Deletion{third}}).Records[0])
			})
		}
		t.Run(key+"/at_once", func(t *testing.T) {
			t.Parallel()
			r := newMembers(t, references, n)
			recs := make([]purge.Record, 6)
			var all sync.WaitGroup
			for i := range recs {
				all.Go(func() {
					d := of(fmt.Sprint(i))
					if i%2 == 0 {
						recs[i] = carryOut(t, r, d, 10)
						return
					}
					for done := false; !done; {
						step, err := r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true, Limit: 10})
						if fault, _ := purge.FaultOf(err); err != nil && fault != purge.Contention {
							t.Error(err)
							return
						}
						recs[i], done = step.Record, err == nil && step.Finished
					}
				})
			}
			all.Wait()
			check(t, r, recs...)
		})
	}
}

// Where messages are found by the conversation's own row, another row may have come in its place meanwhile: a member who has
// come back. It stays, with its messages, which a foreign key may let go with it.
func TestARowInPlaceOfTheOneThatWasLookedUpStays(t *testing.T) {
	t.Parallel()
	url := newLedger(t)
	execSQL(t, openPool(t, url), `create table public.members (id int generated always as identity primary key, person text, room text, unread int not null default 9,
			unique (person, room));
		create table public.posts (id int primary key, member int not null references members on delete cascade); create index on public.posts (member, id);
		insert into members (person, room) values ('alice', 'c'); insert into posts select i, 1 from generate_series(1, 20) i`)
	p, err := plan.Parse([]byte(`tenant: demo
ids:
  member: {lookup: members, where: {person: $user, room: $conversation}, column: id}
messages: {table: posts, where: {member: $member}, seq: id}
conversations: {table: members, user: person, conversation: room, unread: unread}`))
	if err != nil {
		t.Fatal(err)
	}
	r := openRepo(t, Config{URL: url, Plan: p})
	d, through := deletion("1", "c"), int64(20)
	d.ThroughSeq = &through
	beginnings["alone"](t, r, d)
	execSQL(t, r.pool, `delete from members; insert into members (person, room) values ('alice', 'c'); insert into posts select i, 2 from generate_series(21, 30) i`)
	rec := steps(t, r, d).Records[0]
	if rec.State != purge.Done || rec.ConversationRemoved {
		t.Errorf("record = %+v; want done, and the conversation not removed", rec)
	}
	if n := queryOne[string](t, r.pool, `select count(*) || ' ' || (select string_agg(id || ' ' || unread, ',') from members) from posts`); n != "10 2 9" {
		t.Errorf("messages, member, unread: %s; want 10 2 9", n)
	}
}
