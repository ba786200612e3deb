package repo

import (
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// threadTables are messages, conversations with counters, and rows that go with a conversation.
const threadTables = `create schema c;
	create table c.posts (id uuid primary key default gen_random_uuid(), owner bigint not null, thread text not null, seq bigint not null,
		at timestamptz not null default now() - interval '1 hour', unique (owner, thread, seq));
	create table c.threads (no bigint primary key, owner bigint not null, thread text not null, unread int, latest uuid, posts int, draft text, unique (owner, thread));
	create table c.members (thread bigint references c.threads on delete cascade, who text, primary key (thread, who));
	create table c.mentions (owner bigint, thread text, who text, kind int not null default 1); create index on c.mentions (owner, thread);
	create table c.pins (id bigint primary key, post uuid references c.posts, label text); create index on c.pins (post);
	create function c.fill(n int) returns void language sql as $$
		insert into c.posts (owner, thread, seq) select o, 'a', s from generate_series(1, 2) o, generate_series(1, n) s;
		insert into c.threads select o, o, 'a', 9, null, n, 'draft' from generate_series(1, 2) o;
		insert into c.members select o, 'x' || w from generate_series(1, 2) o, generate_series(1, 3) w;
		insert into c.mentions select o, 'a', 'x', 1 from generate_series(1, 2) o union all select o, 'a', 'y', 2 from generate_series(1, 2) o;
		insert into c.pins select row_number() over (), id, 'label' from c.posts where seq % 2 = 0 $$;`

const threadPlan = `
tenant: solo
messages: {table: c.posts, user: owner, conversation: thread, seq: seq, sent_at: at}
conversations:
  table: c.threads
  user: owner
  conversation: thread
  unread: unread
  set: {latest: $newest.id, posts: $count, draft: null}
  KEEP
children:
  - {table: c.pins, references: {column: post, to: id}, set: {post: null, label: gone}}
`

const threadChildren = `children:
    - {table: c.members, references: {column: thread, to: no}}
    - {table: c.mentions, user: owner, conversation: thread, where: {kind: 1}}
`

func newThreads(tb testing.TB, keep string, n int) *Repo {
	tb.Helper()
	url := newLedger(tb)
	execSQL(tb, openPool(tb, url), threadTables)
	p, err := plan.Parse([]byte(strings.ReplaceAll(threadPlan, "KEEP", keep)))
	if err != nil {
		tb.Fatal(err)
	}
	r := openRepo(tb, Config{URL: url, Plan: p})
	execSQL(tb, r.pool, `select c.fill($1)`, n)
	return r
}

// threadLeft is what owner 1 has left.
func threadLeft(tb testing.TB, r *Repo) string {
	tb.Helper()
	return queryOne[string](tb, r.pool, `select format('%s posts, %s members, %s mentions, %s pins of %s', (select count(*) from c.posts where owner = 1),
			(select count(*) from c.members where thread = 1), (select string_agg(who, '' order by who) from c.mentions where owner = 1),
			(select count(*) from c.pins join c.posts p on p.id = post where owner = 1), (select count(*) || ', ' || count(*) filter (where label = 'gone' and post is null) from c.pins))
		|| coalesce((select format('; unread %s, newest %s, %s posts, draft %s', unread, (select seq from c.posts where id = latest), posts, coalesce(draft, '-'))
			from c.threads where owner = 1), '; no row')`)
}

// What remains decides what the conversation's row says, and what goes with it, by every way that a deletion goes.
func TestWhatHappensToTheConversation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, keep string
		through    int64
		kept       string // what the command keeps
		want       string
	}{
		{"goes_with_its_children", threadChildren, 100, "", "0 posts, 0 members, y mentions, 0 pins of 20, 10; no row"},
		{"stays_with_them", threadChildren, 15, "", "5 posts, 3 members, xy mentions, 3 pins of 20, 7; unread 5, newest 20, 5 posts, draft -"},
		{"goes_and_keeps_the_history", threadChildren, 100, "history", "20 posts, 0 members, y mentions, 10 pins of 20, 0; no row"},
		{"is_kept_with_its_children_by_the_command", threadChildren, 100, "conversation", "0 posts, 3 members, xy mentions, 0 pins of 20, 10; unread 0, newest , 0 posts, draft -"},
		{"is_kept_by_the_command_with_newer_messages", threadChildren, 15, "conversation", "5 posts, 3 members, xy mentions, 3 pins of 20, 7; unread 5, newest 20, 5 posts, draft -"},
		{"is_kept", "keep: true", 100, "", "0 posts, 3 members, xy mentions, 0 pins of 20, 10; unread 0, newest , 0 posts, draft -"},
		{"is_kept_with_newer_messages", "keep: true", 15, "", "5 posts, 3 members, xy mentions, 3 pins of 20, 7; unread 5, newest 20, 5 posts, draft -"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newThreads(t, c.keep, 20)
			for i, way := range []string{"bulk", "bulk of two", "steps", "redo"} {
				if i > 0 {
					execSQL(t, r.pool, `truncate c.posts, c.threads, c.members, c.mentions, c.pins; select c.fill(20)`)
				}
				d := ownersDeletion(way, "a", c.through)
				d.KeepHistory, d.KeepConversation = c.kept == "history", c.kept == "conversation"
				if _, err := r.Incompatible(d); err != nil {
					t.Error(err)
				}
				removed := strings.HasSuffix(c.want, "no row")
				var rec purge.Record
				switch way {
				case "bulk":
					rec = bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}}).Records[0]
				case "bulk of two":
					rec = bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d, ownersDeletion("2", "another", 1)}}).Records[0]
				case "steps":
					rec, _ = stepThrough(t, r, d, 6)
				case "redo":
					d := purge.Reported{Record: purge.Record{Key: d.Key, ThroughSeq: c.through, CompletedAt: time.Now(), HistoryKept: d.KeepHistory, ConversationRemoved: removed}}
					step, err := r.Replayer().Redo(t.Context(), d, purge.Part{Limit: 1000, Finish: true})
					if err != nil || !step.Finished {
						t.Fatalf("Redo = %+v, %v", step, err)
					}
					rec = purge.Record{State: step.Record.State, ConversationRemoved: step.RowRemoved}
				}
				if got := threadLeft(t, r); got != c.want || rec.State != purge.Done || rec.ConversationRemoved != removed || rec.ConversationKept != d.KeepConversation && way != "redo" {
					t.Errorf("by %s: left %s, record = %+v; want %s", way, got, rec, c.want)
				}
			}
		})
	}
}

// A conversation's child that a trigger keeps is no end of a deletion.
func TestAConversationsChildThatIsKeptIsNoEnd(t *testing.T) {
	t.Parallel()
	r := newThreads(t, threadChildren, 5)
	execSQL(t, r.pool, keepRows("c.mentions"))
	d := ownersDeletion("1", "a", 100)
	if rec := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}}).Records[0]; rec.State != purge.Running {
		t.Fatalf("record = %+v; want running", rec)
	}
	for range 2 {
		if step, err := r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true, Limit: 10}); err != nil || step.Finished {
			t.Fatalf("Step = %+v, %v; want it not finished", step, err)
		}
	}
	if kept, err := r.Kept(t.Context(), d); err != nil || kept != (purge.Kept{Table: `"c"."mentions"`, Rows: 1}) {
		t.Errorf("Kept = %+v, %v", kept, err)
	}
	if tables, err := r.Tables(t.Context(), d); err != nil || tables != purge.ConversationsTable {
		t.Errorf("Tables = %b, %v; want the conversation's", tables, err)
	}
	execSQL(t, r.pool, `drop trigger keep on c.mentions`)
	if rec, _ := stepThrough(t, r, d, 10); !rec.ConversationRemoved || rec.State != purge.Done {
		t.Errorf("record = %+v; want done", rec)
	}
}
