package repo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// atCommit makes a trigger of a table that fires at the commit, with a function of this body.
func atCommit(table, event, body string) string {
	return `create function public.late() returns trigger language plpgsql as $$ begin ` + body + ` return null; end $$;
		create constraint trigger late after ` + event + ` on ` + table + ` deferrable initially deferred for each row execute function public.late();`
}

// afterwards is atCommit for a trigger that fires at the end of the statement.
func afterwards(table, event, body string) string {
	return strings.ReplaceAll(strings.ReplaceAll(atCommit(table, event, body), "constraint trigger", "trigger"), "deferrable initially deferred", "")
}

const backAgain = `if old.conversation_id like 'bad%' then insert into TABLE select (old).*; end if;`

// writtenBack are triggers that write back what is deleted of conversations whose ids begin with bad.
var writtenBack = map[string]struct {
	sql  string
	want purge.Kept
}{
	"messages":    {atCommit("chat.messages", "delete", strings.ReplaceAll(backAgain, "TABLE", "chat.messages")), purge.Kept{Table: `"chat"."messages"`, Rows: 40, Seq: 1}},
	"child rows":  {atCommit("chat.reactions", "delete", strings.ReplaceAll(backAgain, "TABLE", "chat.reactions")), purge.Kept{Table: `"chat"."reactions"`, Rows: 4, Seq: 10}},
	"its row":     {atCommit("chat.conversations", "delete", strings.ReplaceAll(backAgain, "TABLE", "chat.conversations")), purge.Kept{Table: `"chat"."conversations"`, Rows: 1}},
	"one message": {atCommit("chat.conversations", "delete", `if old.conversation_id like 'bad%' then insert into chat.messages values (old.app_id, old.user_id, old.conversation_id, 17); end if;`), purge.Kept{Table: `"chat"."messages"`, Rows: 1, Seq: 17}},
	"in a block": {
		atCommit("chat.messages", "delete", `begin `+strings.ReplaceAll(backAgain, "TABLE", "chat.messages")+` exception when unique_violation then null; end;`),
		purge.Kept{Table: `"chat"."messages"`, Rows: 40, Seq: 1},
	},
	"by way of a table that the plan doesn't have": {
		`create table public.audit (app_id text, user_id text, conversation_id text, seq bigint);
		create function public.note() returns trigger language plpgsql as $$ begin insert into public.audit values (old.app_id, old.user_id, old.conversation_id, old.seq); return null; end $$;
		create trigger note after delete on chat.messages for each row execute function public.note();` +
			atCommit("public.audit", "insert", `if new.conversation_id like 'bad%' then insert into chat.messages values (new.app_id, new.user_id, new.conversation_id, new.seq); end if;`),
		purge.Kept{Table: `"chat"."messages"`, Rows: 40, Seq: 1},
	},
	"when the ledger says done": {
		atCommit("lethe.deletions", "insert or update",
			`if new.state = 'done' and new.conversation_id like 'bad%' then insert into chat.messages values (new.app_id, new.user_id, new.conversation_id, 3) on conflict do nothing; end if;`),
		purge.Kept{Table: `"chat"."messages"`, Rows: 1, Seq: 3},
	},
	"its row, at once": {afterwards("chat.conversations", "delete", strings.ReplaceAll(backAgain, "TABLE", "chat.conversations")), purge.Kept{Table: `"chat"."conversations"`, Rows: 1}},
	"one message with its row, at once": {
		afterwards("chat.conversations", "delete", `if old.conversation_id like 'bad%' then insert into chat.messages values (old.app_id, old.user_id, old.conversation_id, 17); end if;`),
		purge.Kept{Table: `"chat"."messages"`, Rows: 1, Seq: 17},
	},
	"one message before its row, at once": {strings.ReplaceAll(strings.ReplaceAll(afterwards("chat.conversations", "delete", `if old.conversation_id like 'bad%' then insert into chat.messages values (old.app_id, old.user_id, old.conversation_id, 17); end if; return old;`),
		"trigger late after", "trigger late before"), "return old; return null;", "return old;"), purge.Kept{Table: `"chat"."messages"`, Rows: 1, Seq: 17}},
	"when the ledger says done, at once": {
		afterwards("lethe.deletions", "insert or update",
			`if new.state = 'done' and new.conversation_id like 'bad%' then insert into chat.messages values (new.app_id, new.user_id, new.conversation_id, 3) on conflict do nothing; end if;`),
		purge.Kept{Table: `"chat"."messages"`, Rows: 1, Seq: 3},
	},
	"deferred by another trigger": {strings.ReplaceAll(atCommit("chat.messages", "delete", strings.ReplaceAll(backAgain, "TABLE", "chat.messages")), "initially deferred", "") +
		`create function public.defer() returns trigger language plpgsql as $$ begin set constraints all deferred; return null; end $$;
		create trigger defer before delete on chat.messages for each statement execute function public.defer()`, purge.Kept{Table: `"chat"."messages"`, Rows: 40, Seq: 1}},
}

// newPutBack is a Repo with such a trigger.
func newPutBack(t *testing.T, sql string) *Repo {
	t.Helper()
	url := newDatabase(t)
	execSQL(t, openPool(t, url), sql)
	return openRepo(t, Config{URL: url, Plan: plan.Bundled(), Target: 10 * time.Second}) // so that a step's time is never over
}

// wantPutBack fails unless err is the deletion's own fault and names what was put back.
func wantPutBack(t *testing.T, what string, err error, want purge.Kept) {
	t.Helper()
	var got purge.Kept
	if fault, _ := purge.FaultOf(err); fault != purge.Command || !errors.As(err, &got) || got != want {
		t.Errorf("%s: %v (%v); want it to say, as the command's fault: %v", what, err, fault, want)
	}
}

// What triggers write back, at the commit or before, makes no deletion done, by any way: it fails, nothing of it is committed, and the others of
// its batch are done.
func TestWhatIsWrittenBackIsNotDeleted(t *testing.T) {
	t.Parallel()
	for name, c := range writtenBack {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newPutBack(t, c.sql)
			for _, id := range []string{"bad1", "bad2", "bad3", "good1", "good2", "good3", "good4"} {
				fillChat(t, r, id, 40)
			}
			before := rowsLeft(t, r, "bad1")
			alone := deletion("1", "bad1")
			if res := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{alone}}); res.Finished[0] || res.Rows != 0 || res.Records[0].State != "" {
				t.Errorf("alone: %+v; want it left for a step", res)
			}
			ds := []purge.Deletion{deletion("2", "good1"), deletion("3", "bad2"), deletion("4", "good2")}
			for i, skip := range []bool{false, true} {
				b := purge.Batch{Deletions: ds, SkipLocked: skip}
				if i > 0 {
					b.Deletions = []purge.Deletion{deletion("5", "good3"), ds[1], deletion("6", "good4")}
				}
				if res := bulk(t, r, b); !res.Finished[0] || res.Finished[1] || !res.Finished[2] || res.Records[1].State != "" || res.Rows != 2*(40+4+2) {
					t.Errorf("batch: %+v; want all done but the second", res)
				}
			}
			_, err := r.Step(t.Context(), alone, purge.Part{Claim: true, Finish: true, Limit: 1000})
			wantPutBack(t, "step", err, c.want)
			if got := queryOne[int](t, r.pool, `select count(*) from lethe.deletions where conversation_id like 'bad%'`); got != 0 {
				t.Errorf("the ledger has %d of them; want none", got)
			}
			for _, id := range []string{"bad1", "bad2", "bad3"} {
				if got := rowsLeft(t, r, id); got != before {
					t.Errorf("%s: %s are left; want %s", id, got, before)
				}
			}
			wantPutBack(t, "long", carryOutLong(t, r, deletion("7", "bad3"), 1000), c.want)
			if got := queryOne[int](t, r.pool, `select count(*) from lethe.deletions where state = 'done' and conversation_id like 'bad%'`); got != 0 {
				t.Errorf("the ledger has %d of them as done; want none", got)
			}
			execSQL(t, r.pool, `drop function public.late() cascade`)
			if rec := carryOut(t, r, alone, 1000); rec.State != purge.Done || rec.MessagesDeleted != 40 {
				t.Errorf("without the trigger: %+v; want it done", rec)
			}
		})
	}
}

// carryOutLong is the way of the long lane: claim, batches, finish. It returns the first error.
func carryOutLong(t *testing.T, r *Repo, d purge.Deletion, limit int) error {
	t.Helper()
	for range 2 { // entered, and claimed
		if _, err := r.Fail(t.Context(), d, purge.Failure{Uncounted: true, MaxAttempts: 5}); err != nil {
			t.Fatal(err)
		}
	}
	if rec, err := r.Claim(t.Context(), d); err != nil || !rec.Mine {
		t.Fatalf("claim = %+v, %v; want it ours", rec, err)
	}
	for low, n := int64(math.MinInt64), 0; ; n++ {
		step, err := r.Step(t.Context(), d, purge.Part{Long: true, Low: low, Limit: limit})
		if err != nil {
			return err
		}
		if low = step.Low; step.Reached {
			break
		}
		if n > 100 {
			t.Fatal("no end after 100 batches")
		}
	}
	rec, err := r.Finish(t.Context(), d)
	if err == nil && rec.State != purge.Done {
		t.Errorf("finish = %+v; want it done", rec)
	}
	return err
}

// A large deletion whose batches are written back fails at the first of them, and doesn't go on for ever.
func TestABatchThatIsWrittenBackFails(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"messages":          writtenBack["messages"].sql,
		"messages, at once": afterwards("chat.messages", "delete", strings.ReplaceAll(backAgain, "TABLE", "chat.messages")),
		"child rows":        writtenBack["child rows"].sql,
		"all of many rows": `create function public.late() returns trigger language plpgsql as $$ begin execute format('insert into %I.%I select ($1).*', tg_table_schema, tg_table_name) using old; return null; end $$;
			create constraint trigger late after delete on chat.messages deferrable initially deferred for each row execute function public.late();
			create trigger late after delete on chat.reactions for each row execute function public.late();
			insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji) select 'demo', 'alice', 'bad', 1, n, '+1' from generate_series(1, 15) n;`,
		"in a block": writtenBack["in a block"].sql,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newPutBack(t, sql)
			fillChat(t, r, "bad", 40)
			before := rowsLeft(t, r, "bad")
			want := purge.Kept{Table: `"chat"."messages"`, Rows: 10, Seq: 1}
			if name == "child rows" {
				want = purge.Kept{Table: `"chat"."reactions"`, Rows: 1, Seq: 10}
			}
			wantPutBack(t, "long", carryOutLong(t, r, deletion("1", "bad"), 10), want)
			if got := rowsLeft(t, r, "bad"); got != before {
				t.Errorf("%s are left; want %s", got, before)
			}
		})
	}
}

// What others write below the boundary between a proof and the next one is no trigger's.
func TestWhatOthersWriteIsNotPutBack(t *testing.T) {
	t.Parallel()
	r := newPutBack(t, `create table public.tries (id serial);`+atCommit("chat.messages", "delete",
		`if nextval('public.tries_id_seq') <= 40 then insert into chat.messages select (old).*; end if;`)) // as long as the first try lasts
	fillChat(t, r, "c", 40)
	if rec := steps(t, r, deletion("1", "c")).Records[0]; rec.State != purge.Done || rec.MessagesDeleted != 40 {
		t.Errorf("record = %+v; want it done at the second try", rec)
	}
}

// Triggers that write nothing back, and foreign keys that are checked at the commit, let a deletion be done as it is without them.
func TestDeferredConstraintsLetDeletionsFinish(t *testing.T) {
	t.Parallel()
	keys := `alter table chat.messages add id bigserial unique;
		alter table chat.conversations add last_message bigint references chat.messages (id) on delete set null deferrable initially deferred; create index on chat.conversations (last_message);`
	trigger := `create table public.outbox (what text);` + atCommit("chat.messages", "delete", `insert into public.outbox values (old.conversation_id);`)
	for name, c := range map[string]struct {
		sql      string
		triggers bool
	}{"keys": {keys, false}, "a trigger": {trigger, true}, "both": {keys + trigger, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newPutBack(t, c.sql)
			if got := r.triggers.Load(); got != c.triggers {
				t.Fatalf("triggers = %t; want %t", got, c.triggers)
			}
			ids := []string{"one", "b1", "b2", "step", "long", "replayed"}
			for _, id := range ids {
				fillChat(t, r, id, 40)
			}
			if strings.Contains(c.sql, keys) {
				execSQL(t, r.pool, `update chat.conversations c set last_message = (select id from chat.messages m where m.conversation_id = c.conversation_id order by seq desc limit 1)`)
			}
			records := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{deletion("1", "one")}}).Records
			records = append(records, bulk(t, r, purge.Batch{Deletions: []purge.Deletion{deletion("2", "b1"), deletion("3", "b2")}}).Records...)
			records = append(records, steps(t, r, deletion("4", "step")).Records...)
			for i, rec := range records {
				if rec.State != purge.Done || rec.MessagesDeleted != 40 || !rec.ConversationRemoved {
					t.Errorf("record %d = %+v; want it done", i, rec)
				}
			}
			if err := carryOutLong(t, r, deletion("5", "long"), 15); err != nil {
				t.Errorf("in several batches: %v", err)
			}
			if n := redo(t, r.Replayer(), told("6", "replayed", 40, time.Now()), 15); n != 40 {
				t.Errorf("replayed %d; want 40", n)
			}
			if got := queryOne[int](t, r.pool, `select (select count(*) from chat.messages) + (select count(*) from chat.conversations)`); got != 0 {
				t.Errorf("%d rows are left; want none", got)
			}
		})
	}
}

// What a replay deletes again, too, is proven after the triggers.
func TestAReplayOfWhatIsWrittenBackFails(t *testing.T) {
	t.Parallel()
	for name, c := range writtenBack {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newPutBack(t, c.sql)
			fillChat(t, r, "bad", 40)
			before := rowsLeft(t, r, "bad")
			_, err := r.Replayer().Redo(t.Context(), told("1", "bad", 40, time.Now().Add(time.Hour)), purge.Part{Low: math.MinInt64, Limit: 100, Finish: true})
			wantPutBack(t, "redo", err, c.want)
			if got := rowsLeft(t, r, "bad"); got != before {
				t.Errorf("%s are left; want %s", got, before)
			}
		})
	}
}

// A message that is written back by the key of a row that has gone is found, by what was looked up.
func TestWhatIsWrittenBackIsFoundByWhatWasLookedUp(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"bulk", "step"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			old := newMembers(t, "", 5)
			execSQL(t, old.pool, atCommit("public.messages", "delete", `insert into public.messages select (old).*;`))
			r := openRepo(t, Config{URL: old.cfg.URL, Plan: old.cfg.Plan})
			d := deletion("1", "c")
			d.User, d.ThroughSeq = "alice@x.org", new(int64)
			*d.ThroughSeq = 100
			if way == "bulk" {
				if res := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}}); res.Finished[0] || res.Rows != 0 {
					t.Errorf("bulk: %+v; want nothing done", res)
				}
				return
			}
			_, err := r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true, Limit: 100})
			wantPutBack(t, "step", err, purge.Kept{Table: `"public"."messages"`, Rows: 5, Seq: 1})
		})
	}
}

// The same of messages that are pointers.
func TestPointersThatAreWrittenBack(t *testing.T) {
	t.Parallel()
	old := newPointers(t, "id")
	execSQL(t, old.pool, atCommit("public.copies", "delete", `insert into public.copies select (old).*;`)+
		`insert into bodies (topic, at) select 1, now() - interval '1 hour' from generate_series(1, 5); insert into copies (owner, body) select o, id from bodies, generate_series(1, 2) o`)
	r := openRepo(t, Config{URL: old.cfg.URL, Plan: old.cfg.Plan})
	d := deletion("1", "1")
	d.User = "1"
	_, err := r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true, Limit: 100})
	wantPutBack(t, "step", err, purge.Kept{Table: `"public"."copies"`, Rows: 5, Seq: 1})
	if got := queryOne[int](t, r.pool, `select count(*) from copies`); got != 10 {
		t.Errorf("%d copies are left; want all", got)
	}
}

// The conversation's children that are written back.
func TestAConversationsChildrenThatAreWrittenBack(t *testing.T) {
	t.Parallel()
	old := newThreads(t, threadChildren, 5)
	execSQL(t, old.pool, atCommit("c.mentions", "delete", `insert into c.mentions select (old).*;`))
	r := openRepo(t, Config{URL: old.cfg.URL, Plan: old.cfg.Plan})
	d := deletion("1", "a")
	d.App, d.User = "solo", "1"
	if res := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}}); res.Finished[0] || res.Rows != 0 {
		t.Errorf("bulk: %+v; want nothing done", res)
	}
	_, err := r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true, Limit: 100})
	wantPutBack(t, "step", err, purge.Kept{Table: `"c"."mentions"`, Rows: 1})
}

// newLateLog is a log with such a trigger.
func newLateLog(t *testing.T, keep, sql string) *Repo {
	t.Helper()
	old := newLog(t, "numbers", keep)
	execSQL(t, old.pool, sql)
	return openRepo(t, Config{URL: old.cfg.URL, Plan: old.cfg.Plan, AllowUnindexed: true})
}

// A watermark that is put back at the commit hides nothing.
func TestAHideThatIsUndoneAtTheCommitFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql  string
		want purge.Kept
	}{
		"the watermark": {
			atCommit("log.members", "update", `if old.who = 'alice' and old.n is null then update log.members set n = old.n where room = old.room and who = old.who; end if;`),
			purge.Kept{Table: `"log"."members"`, Column: `"n"`, Rows: 1},
		},
		"the ledger's": {
			atCommit("lethe.watermarks", "insert", `if new.user_id = 'alice' then delete from lethe.watermarks where user_id = 'alice'; end if;`),
			purge.Kept{Table: "lethe.watermarks", Column: "cleared_through", Rows: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newLateLog(t, "true", c.sql)
			fillLog(t, r, 1, 10, "alice", "bob")
			kept := hideOf("c1", "alice", 1, 8)
			if res := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{hideOf("c2", "bob", 1, 8), kept}}); !res.Finished[0] || res.Finished[1] {
				t.Errorf("bulk: %+v; want bob's done alone", res)
			}
			_, err := r.Step(t.Context(), kept, purge.Part{Claim: true, Finish: true})
			var found purge.Kept
			if fault, _ := purge.FaultOf(err); fault != purge.Command || !errors.As(err, &found) || found != c.want {
				t.Errorf("step: %v (%v); want %v, as the command's fault", err, fault, c.want)
			}
			again := told("c3", "1", 8, time.Now())
			again.Erased = false
			if _, err := r.Replayer().Redo(t.Context(), again, purge.Part{Finish: true}); !errors.As(err, &found) || found != c.want {
				t.Errorf("redo: %v; want %v", err, c.want)
			}
		})
	}
}

// What triggers write else to the member's row stands, in a block with a handler of exceptions, too, which makes it a transaction of its own.
func TestAHideWhoseTriggersTouchItsRow(t *testing.T) {
	t.Parallel()
	const touches = `begin update log.members set unread = 3, ms = 1 where room = old.room and who = old.who and ms is null; exception when unique_violation then null; end;`
	for name, sql := range map[string]string{"at the commit": atCommit("log.members", "update", touches), "at once": afterwards("log.members", "update", touches)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newLateLog(t, "true", sql)
			fillLog(t, r, 1, 10, "alice", "bob")
			if rec := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{hideOf("c1", "alice", 1, 8)}}).Records[0]; rec.State != purge.Done {
				t.Errorf("bulk: %+v; want it done", rec)
			}
			if rec := steps(t, r, hideOf("c2", "bob", 1, 8)).Records[0]; rec.State != purge.Done {
				t.Errorf("step: %+v; want it done", rec)
			}
			if got := queryOne[int](t, r.pool, `select count(*) from log.members where n = 8 and unread = 3 and ms = 1`); got != 2 {
				t.Errorf("%d members have what they cleared, and what the trigger wrote; want 2", got)
			}
		})
	}
}

// What is erased of a shared log, and written back, is not erased.
func TestAnErasureThatIsWrittenBackFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql  string
		want purge.Kept
	}{
		"messages": {atCommit("log.messages", "delete", `insert into log.messages select (old).*;`), purge.Kept{Table: `"log"."messages"`, Rows: 8, Seq: 1}},
		"at its end": {
			atCommit("lethe.deletions", "update", `if new.state = 'done' and new.command_id = '' then insert into log.messages (room, n, at, ms) values (1, 5, now(), 0); end if;`),
			purge.Kept{Table: `"log"."messages"`, Rows: 1, Seq: 5},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newLateLog(t, "true", c.sql)
			fillLog(t, r, 1, 10, "alice")
			if rec := steps(t, r, hideOf("c1", "alice", 1, 8)).Records[0]; rec.State != purge.Done {
				t.Fatalf("%+v; want it hidden", rec)
			}
			if raised, err := r.RaiseFloor(t.Context(), "demo", "1"); err != nil || !raised.Open {
				t.Fatalf("raised = %+v, %v; want it open", raised, err)
			}
			_, err := r.Step(t.Context(), purge.ErasureOf(purge.Key{App: "demo", Conversation: "1"}, tokens()), purge.Part{Claim: true, Finish: true, Limit: 100})
			wantPutBack(t, "step", err, c.want)
			if got := queryOne[string](t, r.pool, `select state || ' ' || (select count(*) from log.messages) from lethe.deletions where command_id = ''`); got != "pending 10" {
				t.Errorf("%s; want it pending, and all messages there", got)
			}
			again := purge.Reported{Kind: purge.ReportedErased, Record: purge.Record{ErasedAt: time.Now(), Key: purge.Key{App: "demo", Command: "x", User: "alice", Conversation: "1"}, ThroughSeq: 8}}
			if strings.HasPrefix(name, "messages") {
				_, err = r.Replayer().Redo(t.Context(), again, purge.Part{Low: math.MinInt64, Limit: 100, Finish: true})
				wantPutBack(t, "redo", err, c.want)
			}
		})
	}
}

// Members that come back at the commit are not removed page by page for ever.
func TestMembersThatAreWrittenBackAreNotRemoved(t *testing.T) {
	t.Parallel()
	r := newLateLog(t, "false", atCommit("log.members", "delete", `insert into log.members select (old).*;`))
	fillLog(t, r, 1, 10, "alice", "bob", "carol")
	d := everyoneOf("c", 1, 10)
	if _, err := r.Enumerate(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	_, _, _, err := r.RemoveMembers(t.Context(), d, purge.Place{}, nil, 2)
	wantPutBack(t, "remove", err, purge.Kept{Table: `"log"."members"`, Rows: 2})
	if got := queryOne[int](t, r.pool, `select count(*) from log.members`); got != 3 {
		t.Errorf("%d members are left; want all", got)
	}
}

// A trigger that comes while the worker runs counts from the next check on, and one that goes doesn't.
func TestATriggerThatComesIsNoticed(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	fillChat(t, r, "bad", 40)
	execSQL(t, r.pool, writtenBack["by way of a table that the plan doesn't have"].sql)
	if _, err := r.Recheck(t.Context()); err != nil {
		t.Fatal(err)
	}
	if res := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{deletion("1", "bad")}}); res.Finished[0] {
		t.Errorf("%+v; want it not done", res.Records[0])
	}
}

// What the worker writes, or its commit, fires these triggers, and not those. Nothing else costs a proof more.
func TestWhichTriggersCount(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	execSQL(t, r.pool, `create function public.does() returns trigger language plpgsql as $$ begin return null; end $$;
		create table public.others (id int primary key, same int unique deferrable initially deferred, other int references public.others (id) deferrable initially deferred)`)
	const does = ` execute function public.does();`
	for sql, want := range map[string]bool{
		``: false,
		`create trigger one after delete on public.others for each row` + does:                                                                                                                false,
		`create trigger one before insert or update on chat.messages for each row` + does:                                                                                                     false,
		`create trigger one after truncate on chat.messages` + does:                                                                                                                           false,
		`create trigger one after delete on chat.messages` + does + `alter table chat.messages disable trigger one`:                                                                           false,
		`create constraint trigger one after insert on public.others deferrable for each row` + does + `alter table public.others disable trigger one`:                                        false,
		`create trigger one after delete on chat.messages for each row` + does:                                                                                                                true,
		`create trigger one before delete on chat.reactions` + does:                                                                                                                           true,
		`create trigger one after update on chat.conversations for each row` + does:                                                                                                           true,
		`create trigger one after insert on lethe.deletions for each row` + does:                                                                                                              true,
		`create constraint trigger one after insert on public.others deferrable initially deferred for each row` + does:                                                                       true,
		`create constraint trigger one after insert on public.others deferrable for each row` + does:                                                                                          true,
		`create trigger one after delete on chat.messages` + does + `alter table chat.messages enable always trigger one`:                                                                     true,
		`create table public.part () inherits (chat.attachments); create index on public.part (app_id, user_id, conversation_id, seq); create trigger one after delete on public.part` + does: true,
	} {
		execSQL(t, r.pool, `select 1;`+sql)
		checked, err := r.check(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		if checked.Triggers != want {
			t.Errorf("%s: %t; want %t", sql, checked.Triggers, want)
		}
		execSQL(t, r.pool, `drop function public.does cascade; drop table if exists public.part;
			create function public.does() returns trigger language plpgsql as $$ begin return null; end $$`)
	}
}

// What a trigger raises before the commit is whose it is at the commit.
func TestWhatADeferredTriggerRaises(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]purge.Fault{"P0001": purge.Ambiguous, "53100": purge.Ambiguous, "40P01": purge.Contention} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			r := newPutBack(t, atCommit("chat.messages", "delete", fmt.Sprintf(`raise exception 'no' using errcode = '%s';`, code)))
			fillChat(t, r, "c", 5)
			for what, call := range map[string]func(context.Context) error{
				"bulk": func(ctx context.Context) error {
					_, err := r.Bulk(ctx, purge.Batch{Deletions: []purge.Deletion{deletion("1", "c")}, Budget: wide})
					return err
				},
				"step": func(ctx context.Context) error {
					_, err := r.Step(ctx, deletion("2", "c"), purge.Part{Claim: true, Finish: true, Limit: 100})
					return err
				},
			} {
				if fault, _ := purge.FaultOf(call(t.Context())); fault != want {
					t.Errorf("%s: %v; want %v", what, fault, want)
				}
			}
		})
	}
}

// A replay in a plan whose child rows go first spares those that have no message, also where triggers make it prove again.
func TestAReplayWithTriggersSparesOrphans(t *testing.T) {
	t.Parallel()
	r := newPutBack(t, `alter table chat.reactions add foreign key (app_id, user_id, conversation_id, seq) references chat.messages;
		create table public.audit (what text);`+afterwards("chat.messages", "delete", `insert into public.audit values (old.conversation_id);`))
	if !r.plan.Locked || !r.triggers.Load() {
		t.Fatalf("locked = %t, triggers = %t; want both", r.plan.Locked, r.triggers.Load())
	}
	fillChat(t, r, "c", 40)
	execSQL(t, r.pool, `delete from chat.reactions where seq = 20; delete from chat.messages where seq = 20`) // its attachment stays
	if n := redo(t, r.Replayer(), told("1", "c", 40, time.Now()), 15); n != 39 {
		t.Errorf("replayed %d; want 39", n)
	}
	if got := queryOne[int](t, r.pool, `select count(*) from chat.messages`); got != 0 {
		t.Errorf("%d messages are left; want none", got)
	}
	if got := queryOne[int](t, r.pool, `select count(*) from chat.attachments`); got != 1 {
		t.Errorf("%d attachments are left; want the one without a message", got)
	}
}
