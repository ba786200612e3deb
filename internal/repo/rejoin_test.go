package repo

import (
	"slices"
	"testing"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// Who comes back has a new row. Those of before are no members: nothing is hidden from them, and they hold up nothing.
func TestMembersWhoComeBackAsAnotherRow(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	execSQL(t, openPool(t, url), logTables+`alter table log.members drop constraint members_pkey; create unique index on log.members (room, who) where left_at is null;
		create index on log.members (room)`)
	p, err := plan.Parse([]byte(logPlan("numbers", "false")))
	if err != nil {
		t.Fatal(err)
	}
	r := openRepo(t, Config{URL: url, Plan: p, AllowUnindexed: true})
	everyStatementUsesIndexes(t, r)
	fillLog(t, r, 1, 20, "alice", "bob", "carol")
	execSQL(t, r.pool, `update log.members set left_at = now(), n = 3 where who <> 'alice'`)
	execSQL(t, r.pool, `insert into log.members (room, who, left_at) values (1, 'bob', now()), (1, 'bob', null)`)
	if rec := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{hideOf("c1", "bob", 1, 10)}}).Records[0]; rec.State != purge.Done || rec.ConversationRemoved || rec.MessagesDeleted != 10 {
		t.Errorf("bob: %+v; want 10 hidden from the row that counts", rec)
	}
	if rec := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{hideOf("c2", "carol", 1, 10)}}).Records[0]; rec.State != purge.Done || !rec.ConversationRemoved {
		t.Errorf("carol: %+v; want her to be no member", rec)
	}
	if got := queryOne[string](t, r.pool, `select string_agg(who || coalesce(n::text, '-'), ' ' order by who, left_at, n) from log.members`); got != "alice- bob3 bob- bob10 carol3" {
		t.Errorf("watermarks: %s; want bob's last row at 10", got)
	}
	bulk(t, r, purge.Batch{Deletions: []purge.Deletion{hideOf("c3", "alice", 1, 12)}})
	if raised, err := r.RaiseFloor(t.Context(), "demo", "1"); err != nil || raised.Floor != 10 {
		t.Errorf("raised = %+v, %v; want 10", raised, err)
	}
	if told := carryOutErasure(t, r, 1, 5); len(told) != 2 {
		t.Errorf("told %q; want bob and carol", told)
	}
	d := everyoneOf("c4", 1, 20)
	if got := removeMembers(t, r, d); !slices.Equal(got, []string{"alice", "bob"}) {
		t.Errorf("removed %q; want the two who are members", got)
	}
	if err := r.EraseEveryone(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	carryOutErasure(t, r, 1, 100)
	if got := logLeft(t, r, 1); got != "messages - (0), 0 receipts, 0 attachments, 0 members, 0 pins, 0 rooms" {
		t.Errorf("%s are left; want nothing, and none of the rows of before", got)
	}
}
