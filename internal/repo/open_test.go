package repo

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

func TestResolveTellsWhatMayHeal(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		before, cause string
		want          []string
	}{
		"without_the_ledger": {`drop schema lethe cascade`, "configuration", []string{`there is no table "lethe"."commands"; run: worker setup`}},
		"without_any_grant": {"", "permission", []string{
			`may not use schema "social"; run: grant usage on schema "social" to`,
			`may not select, update, delete on "social"."Post"; run: grant select, update, delete on "social"."Post" to`,
			`grant select, update, delete on "social"."thread_members"`, `grant select, update, delete on "social"."likes"`,
			`grant select, update, delete on "social"."files"`, `grant select, update, delete on "social"."mentions"`,
			`grant usage on schema "lethe"`, `grant select, insert, delete on "lethe"."commands"`,
			`grant select, insert, update, delete on "lethe"."deletions"`, `grant select, insert, update, delete on "lethe"."enumerations"`,
			`grant select, insert, update on "lethe"."watermarks"`, `grant select on "lethe"."apps"`,
		}},
		"without_the_right_to_set_unread": {
			`grant usage on schema social, lethe to worker; grant all on all tables in schema social, lethe to worker; revoke update on social.thread_members from worker;
			grant update (thread) on social.thread_members to worker`,
			"permission",
			[]string{`may not update "unseen" of "social"."thread_members"; run: grant update ("unseen") on "social"."thread_members" to`},
		},
		"without_the_right_to_read_some_columns": {
			`grant usage on schema social, lethe to worker; grant all on all tables in schema social, lethe to worker;
			revoke select on social."Post" from worker; grant select (ctid, tableoid, owner, thread, "sent.at") on social."Post" to worker`,
			"permission",
			[]string{`may not select "xmax", "position", "id" of "social"."Post"; run: grant select ("xmax", "position", "id") on "social"."Post" to`},
		},
		"with_row_level_security": {
			`grant usage on schema social, lethe to worker; grant all on all tables in schema social, lethe to worker; alter table social.files enable row level security`,
			"permission",
			[]string{`row-level security hides rows of "social"."files" from`},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newLedger(t)
			admin := openPool(t, url)
			role, as := newRole(t, url)
			execSQL(t, admin, socialTables+strings.ReplaceAll(c.before, "worker", role))
			if c.cause == "configuration" {
				as = url
			}
			social, _ := plan.Parse([]byte(socialPlan))
			_, err := Open(t.Context(), Config{URL: as, Plan: social})
			if fault, cause := purge.FaultOf(err); fault != purge.Infrastructure || cause != c.cause {
				t.Errorf("the error is %v, %s; want infrastructure, %s", fault, cause, c.cause)
			}
			compareLines(t, "error", errorLines(err), c.want)
			if c.cause == "configuration" {
				return
			}
			for _, m := range mend.FindAllStringSubmatch(err.Error(), -1) {
				execSQL(t, admin, m[1])
			}
			r, err := Open(t.Context(), Config{URL: as, Plan: social})
			if err != nil {
				t.Fatalf("after what the error said to run: %v", err)
			}
			defer r.Close()
			fillSocial(t, &Repo{pool: admin}, 20, 7)
			if rec := carryOut(t, r, removal("c1", nil), 7); rec.State != purge.Done || rec.MessagesDeleted != 20 {
				t.Errorf("record = %+v; want 20 messages deleted", rec)
			}
		})
	}
}

func TestOpenAsksForGrantsThatAreEnough(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openPool(t, url)
	_, as := newRole(t, url)
	_, err := Open(t.Context(), Config{URL: as, Plan: plan.Bundled()})
	for _, m := range mend.FindAllStringSubmatch(fmt.Sprint(err), -1) {
		execSQL(t, admin, m[1])
	}
	fillChat(t, &Repo{pool: admin}, "c", 30)
	r := openRepo(t, Config{URL: as, Plan: plan.Bundled()})
	if err := r.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	for _, skip := range []bool{false, true} {
		bulk(t, r, purge.Batch{Deletions: []purge.Deletion{deletion(fmt.Sprint(skip), "d")}, SkipLocked: skip})
	}
	if rec := carryOut(t, r, deletion("c", "c"), 7); rec.State != purge.Done || rec.MessagesDeleted != 30 {
		t.Errorf("record = %+v; want 30 messages deleted", rec)
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	t.Run("tells_a_plan_that_does_not_fit_from_what_may_heal", func(t *testing.T) {
		t.Parallel()
		url := localtest.Database(t)
		_, err := Open(t.Context(), Config{URL: url, Plan: plan.Bundled()}) // neither chat nor lethe is there
		if fault, cause := purge.FaultOf(err); fault != purge.Command || cause != "plan" || len(errorLines(err)) != 5 {
			t.Errorf("Open = %v (%v, %s); want own, plan, five lines", err, fault, cause)
		}
	})
	t.Run("refuses_the_zero_plan", func(t *testing.T) {
		t.Parallel()
		_, err := Open(t.Context(), Config{URL: localtest.Database(t)})
		if fault, cause := purge.FaultOf(err); fault != purge.Command || cause != "plan" {
			t.Errorf("Open = %v (%v, %s); want own, plan", err, fault, cause)
		}
	})
	t.Run("calls_a_server_that_is_away_infrastructure", func(t *testing.T) {
		t.Parallel()
		_, err := Open(t.Context(), Config{URL: "postgres://127.0.0.1:1/none?connect_timeout=1", Plan: plan.Bundled()})
		if fault, cause := purge.FaultOf(err); fault != purge.Infrastructure || cause != "connection" {
			t.Errorf("Open = %v (%v, %s); want infrastructure, connection", err, fault, cause)
		}
	})
	t.Run("says_that_it_was_stopped", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := Open(ctx, Config{URL: localtest.Database(t), Plan: plan.Bundled()})
		if fault, _ := purge.FaultOf(err); fault != purge.Stopping {
			t.Errorf("Open = %v (%v); want stopping", err, fault)
		}
	})
	t.Run("keeps_warnings", func(t *testing.T) {
		t.Parallel()
		url := newDatabase(t)
		execSQL(t, openPool(t, url), `alter table chat.reactions drop constraint reactions_pkey`)
		r := openRepo(t, Config{URL: url, Plan: plan.Bundled(), AllowUnindexed: true})
		compareLines(t, "warnings", r.Warnings(), []string{`"chat"."reactions" has no btree index`})
	})
	t.Run("has_nothing_to_say_of_the_bundled_schema", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		if r.Warnings() != nil || r.plan.Locked {
			t.Errorf("warnings %q, locked %t; want none", r.Warnings(), r.plan.Locked)
		}
	})
}
