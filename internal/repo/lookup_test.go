package repo

import (
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// newArchive is a Repo on tables as an XMPP server's, whose users are numbers that an account's row tells.
func newArchive(tb testing.TB) *Repo {
	tb.Helper()
	url := localtest.Database(tb)
	if _, err := Setup(tb.Context(), url, SetupOptions{}); err != nil {
		tb.Fatal(err)
	}
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

// An account that is removed while a deletion is under way takes with it what finds the messages: that nothing
// is found then proves nothing.
func TestADeletionWhoseLookupVanishesIsNotDone(t *testing.T) {
	t.Parallel()
	r := newArchive(t)
	fillArchive(t, r, 40)
	d := ofAccount("alice@x.org", "1")
	res, err := r.Bulk(t.Context(), purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: 10, Rows: 10}})
	if err != nil || res.Records[0].State != purge.Running {
		t.Fatalf("record = %+v, %v; want it running", res.Records[0], err)
	}
	execSQL(t, r.pool, `delete from accounts where name = 'alice'`)
	step, err := r.Step(t.Context(), d, purge.Part{Limit: 10, Finish: true})
	if err != nil || step.Finished || step.Record.State != purge.Running {
		t.Fatalf("step = %+v, %v; want it not finished", step, err)
	}
	if rec, err := r.Finish(t.Context(), d); err != nil || rec.State != purge.Running || !rec.Mine {
		t.Fatalf("record = %+v, %v; want it running", rec, err)
	}
	kept, err := r.Kept(t.Context(), d)
	if want := `no row of "public"."accounts" is there any more for this deletion`; err != nil || !kept.Any() || !strings.HasPrefix(kept.Error(), want) {
		t.Errorf("kept = %v, %v; want %s", kept, err, want)
	}
	told := purge.Record{Key: d.Key, User: d.User, ThroughSeq: res.Records[0].ThroughSeq, CompletedAt: time.Now()}
	if n := redo(t, r.Replayer(), told, 10); n != 0 {
		t.Errorf("a replay deletes %d messages; want none, for a restored database has no messages of an account that it lacks", n)
	}
}

// A row that messages refer to can't vanish before them. Here it is the conversation's own, which another deletion removes.
func TestADeletionIsDoneWhenTheRowThatMessagesReferToVanishes(t *testing.T) {
	t.Parallel()
	url := localtest.Database(t)
	if _, err := Setup(t.Context(), url, SetupOptions{}); err != nil {
		t.Fatal(err)
	}
	execSQL(t, openPool(t, url), `create table public.members (id bigserial primary key, usr text, room text, unique (usr, room));
		create table public.messages (id bigserial primary key, member_id bigint not null references public.members on delete cascade);
		create index on public.messages (member_id, id)`)
	p, err := plan.Parse([]byte(`tenant: demo
ids: {member: {lookup: members, where: {usr: $user, room: $conversation}, column: id}}
messages: {table: messages, where: {member_id: $member}, seq: id}
conversations: {table: members, user: usr, conversation: room}`))
	if err != nil {
		t.Fatal(err)
	}
	r := openRepo(t, Config{URL: url, Plan: p})
	execSQL(t, r.pool, `with m as (insert into members (usr, room) values ('alice@x.org', 'c') returning id) insert into messages (member_id) select m.id from m, generate_series(1, 40)`)
	through := int64(40)
	first, second := ofAccount("alice@x.org", "1"), ofAccount("alice@x.org", "2")
	first.ThroughSeq, second.ThroughSeq = &through, &through
	res, err := r.Bulk(t.Context(), purge.Batch{Deletions: []purge.Deletion{first}, Budget: purge.Budget{PerDeletion: 10, Rows: 10}})
	if err != nil || res.Records[0].State != purge.Running {
		t.Fatalf("record = %+v, %v; want it running", res.Records[0], err)
	}
	if rec := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{second}}).Records[0]; rec.State != purge.Done || !rec.ConversationRemoved {
		t.Fatalf("record = %+v; want it done, and the conversation removed", rec)
	}
	step, err := r.Step(t.Context(), first, purge.Part{Limit: 10, Finish: true})
	if err != nil || !step.Finished || step.Record.MessagesDeleted != 10 || !step.Record.ConversationRemoved {
		t.Errorf("step = %+v, %v; want it finished, with the 10 messages of its first batch", step, err)
	}
	third := ofAccount("alice@x.org", "3")
	third.ThroughSeq = &through
	if rec := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{third}}).Records[0]; rec.State != purge.Done || rec.Doubt != "" {
		t.Errorf("record = %+v; want it done without a doubt: a conversation that has gone is none", rec)
	}
}
