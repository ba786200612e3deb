package repo

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// keptBack is a function by which a trigger keeps what concerns alice.
const keptBack = `create function log.keep() returns trigger language plpgsql as $$ begin
	if to_jsonb(new) @> '{"who": "alice"}' or to_jsonb(new) @> '{"user_id": "alice"}' then %s end if; return new; end $$;
`

// A trigger that keeps the member's row, or puts the watermark back, fails that member's deletion, and nobody else's. Nothing is written then.
func TestAHideThatATriggerKeepsFails(t *testing.T) {
	t.Parallel()
	before := `create trigger keep before update on log.members for each row execute function log.keep()`
	for name, c := range map[string]struct {
		form, keeps, trigger, table, column string
	}{
		"the row":                       {"numbers", "return null;", before, `"log"."members"`, `"n"`},
		"the watermark":                 {"numbers", "new.n := old.n;", before, `"log"."members"`, `"n"`},
		"a part of the watermark":       {"numbers", "new.n := new.n - 1;", before, `"log"."members"`, `"n"`},
		"a time":                        {"times", "new.at := old.at;", before, `"log"."members"`, `"at"`},
		"the watermark, afterwards":     {"numbers", "update log.members set n = old.n where room = new.room and who = new.who and pg_trigger_depth() < 2;", `create trigger keep after update on log.members for each row execute function log.keep()`, `"log"."members"`, `"n"`},
		"whose row it is":               {"numbers", "new.who := 'nobody'; new.n := old.n;", before, `"log"."members"`, `"n"`},
		"the row, with the unread only": {"numbers_without_a_watermark", "return null;", before, `"log"."members"`, `"unread"`},
		"the ledger's watermark":        {"numbers_and_no_column", "return null;", `create trigger keep before insert or update on lethe.watermarks for each row execute function log.keep()`, "lethe.watermarks", "cleared_through"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newLog(t, c.form, "true")
			fillLog(t, r, 1, 10, "alice", "bob")
			fillLog(t, r, 2, 10, "alice", "bob")
			execSQL(t, r.pool, strings.ReplaceAll(keptBack, "%s", c.keeps)+c.trigger)
			kept := hideOf("c1", "alice", 1, 8)
			b := purge.Batch{Deletions: []purge.Deletion{hideOf("c2", "bob", 1, 8), kept, hideOf("c3", "bob", 2, 8), hideOf("c4", "alice", 2, 8)}}
			res := bulk(t, r, b)
			for i, finished := range res.Finished {
				if want := b.Deletions[i].User == "bob"; finished != want || want != res.Records[i].Final() {
					t.Errorf("deletion %d: finished = %t, %+v; want finished %t", i, finished, res.Records[i], want)
				}
			}
			_, err := r.Step(t.Context(), kept, purge.Part{Claim: true, Finish: true})
			var found purge.Kept
			if fault, _ := purge.FaultOf(err); fault != purge.Command || !errors.As(err, &found) || found != (purge.Kept{Table: c.table, Column: c.column, Rows: 1}) {
				t.Errorf("step: %v (%v); want it to name %s of %s, as the command's fault", err, fault, c.column, c.table)
			}
			if got := queryOne[int](t, r.pool, `select (select count(*) from lethe.deletions where user_id = 'alice') + (select count(*) from lethe.watermarks where user_id = 'alice')
				+ (select count(*) from log.members where who = 'alice' and (n > 0 or at is not null or unread <> 7))`); got != 0 {
				t.Errorf("%d rows of alice have changed; want none", got)
			}
			execSQL(t, r.pool, `drop function log.keep() cascade`)
			if rec := steps(t, r, kept).Records[0]; rec.State != purge.Done || rec.MessagesDeleted != 8 {
				t.Errorf("without the trigger: %+v; want done with 8", rec)
			}
		})
	}
}

// With a boundary, and without what the messages are looked up by, nothing says that they are hidden, and least of all that they are erased: of a deletion
// that has failed before, and of one for everyone.
func TestAHideWhoseLookupHasVanishedFails(t *testing.T) {
	t.Parallel()
	r := newNamed(t)
	d := hideOf("c1", aliceID, 0, 12)
	d.Conversation = "team"
	if rec, err := r.Fail(t.Context(), d, purge.Failure{Err: "e", MaxAttempts: 5}); err != nil || rec.ThroughSeq == 0 {
		t.Fatalf("fail = %+v, %v; want a boundary", rec, err)
	}
	boundary := logStart.UnixMicro() + 1
	everyone := hideOf("c2", bobID, 0, 12)
	everyone.Conversation, everyone.Scope, everyone.RequestedBy, everyone.Boundary = "team", purge.ScopeEveryone, "boss", &boundary
	unknown, through := hideOf("c3", bobID, 0, 12), int64(5)
	unknown.Conversation, unknown.ThroughSeq = "team", &through
	execSQL(t, r.pool, `update named.rooms set name = 'renamed' where name = 'team'`)
	for _, d := range []purge.Deletion{d, everyone} {
		_, err := r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true})
		var kept purge.Kept
		if fault, _ := purge.FaultOf(err); fault != purge.Command || !errors.As(err, &kept) || !strings.Contains(kept.Missing, "named") {
			t.Errorf("%s: %v (%v); want it to name what is missing", d.Command, err, fault)
		}
	}
	if rec := steps(t, r, unknown).Records[0]; rec.State != purge.Done || rec.ThroughSeq != 0 {
		t.Errorf("%+v; want it done, of a conversation that isn't there", rec)
	}
}

// What a trigger makes of the counter stands, and so does a watermark that it moves further on.
func TestAHideWhoseTriggerWritesMore(t *testing.T) {
	t.Parallel()
	r := newLog(t, "numbers", "true")
	fillLog(t, r, 1, 10, "alice")
	execSQL(t, r.pool, strings.ReplaceAll(keptBack, "%s", "new.n := new.n + 1; new.unread := 5;")+
		`create trigger keep before update on log.members for each row execute function log.keep()`)
	if rec := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{hideOf("c1", "alice", 1, 8)}}).Records[0]; rec.State != purge.Done {
		t.Errorf("record = %+v; want done", rec)
	}
	if got := queryOne[string](t, r.pool, `select format('%s %s', n, unread) from log.members where who = 'alice'`); got != "9 5" {
		t.Errorf("the row has %s; want 9 5", got)
	}
}

// What comes into being while the worker runs: none of it makes a deletion done whose member still reads.
func TestAHideOnATableThatHasChanged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ change, says string }{
		"a rule":                  {`create rule keep as on update to log.members do instead nothing`, "rule"},
		"a rule for some":         {`create rule keep as on update to log.members where new.who = 'alice' do instead nothing`, "keeps column"},
		"row-level security":      {`alter table log.members enable row level security; alter table log.members force row level security`, "row-level security"},
		"a policy":                {`alter table log.members enable row level security; create policy others on log.members using (who <> 'alice')`, "row-level security"},
		"a policy for updates":    {`alter table log.members enable row level security; create policy a on log.members for select using (true); create policy b on log.members for update using (false)`, "row-level security"},
		"a generated column":      {`alter table log.members drop column n; alter table log.members add n bigint generated always as (0) stored`, "can only be updated to DEFAULT"},
		"a second row":            {`alter table log.members drop constraint members_pkey; create table log.more () inherits (log.members); insert into log.more (room, who) values (1, 'alice')`, "keeps column"},
		"a check, which it fails": {`alter table log.members add check (n is null)`, "check"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newDatabase(t)
			admin := openPool(t, url)
			execSQL(t, admin, logTables)
			role, as := newRole(t, url)
			execSQL(t, admin, `grant usage on schema log, lethe to `+pgx.Identifier{role}.Sanitize()+`;
				grant all on all tables in schema log, lethe to `+pgx.Identifier{role}.Sanitize())
			p, err := plan.Parse([]byte(logPlan("numbers", "true")))
			if err != nil {
				t.Fatal(err)
			}
			r := openRepo(t, Config{URL: as, Plan: p, AllowUnindexed: true})
			fillLog(t, &Repo{pool: admin}, 1, 10, "alice", "bob")
			execSQL(t, admin, c.change)
			d := hideOf("c1", "alice", 1, 8)
			_, err = r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("step: %v; want it to say %q", err, c.says)
			}
			if res, err := r.Bulk(t.Context(), purge.Batch{Deletions: []purge.Deletion{d}}); err == nil && res.Finished[0] {
				t.Errorf("bulk: %+v; want it not finished", res.Records[0])
			}
			if got := queryOne[int](t, admin, `select (select count(*) from lethe.deletions) + (select count(*) from lethe.watermarks)`); got != 0 {
				t.Errorf("%d rows in the ledger; want none", got)
			}
		})
	}
}
