package main

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/handler"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/repo"
)

// What the start would refuse closes the gate of a worker that runs, and opens it
// when it is mended; what fits in another way lets it start anew.
func TestTablesThatChangeWhileTheWorkerRuns(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change, mend string
		reason       string // "" for none
		logged       string
		anew         bool
	}{
		"a_position_that_may_be_null": {
			`alter table chat.messages drop constraint messages_pkey, alter seq drop not null; create unique index on chat.messages (app_id, user_id, conversation_id, seq)`,
			`alter table chat.messages alter seq set not null`, `run: alter table "chat"."messages" alter column "seq" set not null`, "", false,
		},
		"a_table_without_its_index":         {`alter table chat.reactions drop constraint reactions_pkey`, `create index on chat.reactions (app_id, user_id, conversation_id, seq)`, `has no btree index that leads with`, "", false},
		"a_replica_identity_that_is_lost":   {`create publication p for all tables; alter table chat.attachments replica identity nothing`, `alter table chat.attachments replica identity default`, `run: alter table "chat"."attachments" replica identity full`, "", false},
		"the_ledgers_replica_identity_lost": {`create publication p for all tables; alter table lethe.deletions replica identity nothing`, `alter table lethe.deletions replica identity full`, `run: alter table "lethe"."deletions" replica identity full`, "", false},
		"a_foreign_key_from_outside":        {`create table chat.pins (a text, u text, c text, s bigint, foreign key (a, u, c, s) references chat.messages)`, `drop table chat.pins`, `table "chat"."pins" refers to "chat"."messages"`, "", false},
		"a_rule":                            {`create rule keep as on delete to chat.messages do instead nothing`, `drop rule keep on chat.messages`, `has a rule for update or delete ("keep")`, "", false},
		"a_table_that_is_gone":              {`alter table chat.attachments rename to papers`, `alter table chat.papers rename to attachments`, `there is no table "chat"."attachments"`, "", false},
		"a_collation_of_another_type":       {`alter table chat.messages alter user_id type char(9)`, `alter table chat.messages alter user_id type text`, `in which blanks at the end don't count`, "", false},
		"a_trigger_that_may_keep_rows": {
			`create function chat.keep() returns trigger language plpgsql as $$ begin return null; end $$; create trigger keep before delete on chat.reactions for each row execute function chat.keep()`,
			`select 1`, "", `trigger \"keep\" of \"chat\".\"reactions\"`, false,
		},
		"a_wider_position":          {`alter table chat.attachments alter seq type int`, `select 1`, "", "", false},
		"an_id_with_another_bound":  {`alter table chat.attachments alter user_id type varchar(100)`, `select 1`, "", "", true},
		"times_of_whole_seconds":    {`alter table chat.messages alter sent_at type timestamptz(0)`, `select 1`, "", "", true},
		"a_foreign_key_from_inside": {`alter table chat.reactions add foreign key (app_id, user_id, conversation_id, seq) references chat.messages`, `select 1`, "", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := localtest.Database(t)
			if _, err := repo.Setup(t.Context(), url, repo.SetupOptions{SampleSchema: true}); err != nil {
				t.Fatal(err)
			}
			store, err := repo.Open(t.Context(), repo.Config{URL: url, Plan: plan.Bundled()})
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			log := newLines()
			gate := handler.NewGate(nil)
			check := &recheck{store: store, gate: gate, log: slog.New(slog.NewJSONHandler(log, nil)), identify: func(context.Context) {}}
			look := func(when, reason string, anew bool) {
				t.Helper()
				fits, changed := check.once(t.Context())
				if got := gate.Reason(); !strings.Contains(got, reason) || (got == "") != (reason == "") || fits != (reason == "") || changed != anew {
					t.Errorf("%s: fits %t, changed %t, gate closed by %q; want it to say %q, changed %t", when, fits, changed, got, reason, anew)
				}
			}
			look("before", "", false)
			execute1(t, url, c.change)
			look("changed", c.reason, c.anew)
			look("looked at twice", c.reason, c.anew)
			if !strings.Contains(log.String(), c.logged) || strings.Count(log.String(), "\n") > 1 {
				t.Errorf("the log is %s; want one line at most, with %q", log, c.logged)
			}
			execute1(t, url, c.mend)
			look("mended", "", c.anew)
		})
	}
}

// A look that has waited for a database which doesn't answer must not put off the one
// that finds the tables mended.
func TestTablesAreLookedAtSoonAfterAnOutage(t *testing.T) {
	t.Parallel()
	store, err := repo.Open(t.Context(), repo.Config{URL: newReadyStack(t).database, Plan: plan.Bundled()})
	if err != nil {
		t.Fatal(err)
	}
	store.Close()
	check := &recheck{store: store, gate: handler.NewGate(nil), log: slog.New(slog.DiscardHandler), identify: func(context.Context) {}}
	if fits, changed := check.once(t.Context()); fits || changed || check.gate.Reason() != "" {
		t.Errorf("without a database: fits %t, changed %t, gate closed by %q; want nothing of that", fits, changed, check.gate.Reason())
	}
	for _, c := range []struct {
		fits       bool
		took, want time.Duration
	}{
		{true, time.Millisecond, recheckEvery},
		{true, 200 * time.Millisecond, 10 * time.Second},
		{true, recheckTimeout, recheckMax},
		{false, time.Millisecond, recheckSoon},
		{false, 40 * time.Millisecond, 2 * time.Second},
		{false, recheckTimeout, recheckEvery},
	} {
		if got := waitAfter(c.fits, c.took); got != c.want {
			t.Errorf("after %v, fits %t: %v; want %v", c.took, c.fits, got, c.want)
		}
	}
}

// execute1 runs statements on a connection of their own.
func execute1(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestSetupPrintsWhatAWorkerWouldWarnOf(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	plan := planFile(t, `
messages: {table: chat.messages, app: app_id, user: user_id, conversation: conversation_id, seq: seq, sent_at: sent_at}
conversations: {table: chat.conversations, app: app_id, user: user_id, conversation: conversation_id}
children:
  - {table: chat.reactions, app: app_id, user: user_id, conversation: conversation_id, seq: seq}
  - {table: chat.attachments, app: app_id, user: user_id, conversation: conversation_id, seq: seq}
`)
	print := func(want ...string) {
		t.Helper()
		o := s.command("setup", "--plan", plan).mustSucceed(t)
		for _, w := range want {
			if !strings.Contains(o.stdout, w) {
				t.Errorf("setup printed %s; want %q", o.stdout, w)
			}
		}
	}
	print(plan, " accepted\n")
	execute1(t, s.database, `alter table chat.messages alter sent_at type timestamptz(0)`)
	print("accepted with warnings\n  line 2: messages.sent_at: column \"sent_at\" of \"chat\".\"messages\" keeps times to 1s only")
	execute1(t, s.database, `alter table chat.messages alter sent_at drop not null, alter sent_at drop default`)
	print("refused\n  line 2: messages.sent_at: ")
}

// A row that speaks of messages which nobody finds is told of in the log.
func TestADoubtfulDeletionIsLoggedAndCounted(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	w := s.startWorking(t)
	execute1(t, s.database, `insert into chat.conversations (app_id, user_id, conversation_id, last_seq) values ('demo', 'alice', 'c2c_bob', 20)`)
	s.send("--conversation", "c2c_bob", "--wait").mustSucceed(t)
	w.log.await(t, `"msg":"deletion found no message`, `"found":"last_seq 20"`, `"conversation":"c2c_bob"`)
	if _, metrics := w.get(t, "/metrics"); !strings.Contains(metrics, "lethe_deletions_doubtful_total 1") {
		t.Error("it isn't counted")
	}
}

func TestAWorkerGoesOnWithTablesAsTheyAre(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	w := s.startWorking(t)
	execute1(t, s.database, `create publication p for all tables; alter table chat.messages replica identity nothing`)
	w.wantReady(t, http.StatusServiceUnavailable, `alter table "chat"."messages" replica identity full`)
	execute1(t, s.database, `alter table chat.messages replica identity full`)
	w.wantReady(t, http.StatusOK, "ready")
	execute1(t, s.database, `alter table chat.messages alter user_id type varchar(5)`)
	w.log.await(t, "restarting the worker in place")
	w.log.await(t, `"msg":"stopped"`)
	s.addConversation(t, "c2c_bob", 3)
	s.send("--conversation", "c2c_bob", "--wait").mustSucceed(t)
	if n := s.messages(t, "c2c_bob"); n != 0 {
		t.Errorf("%d messages left; want 0", n)
	}
	if o := s.command("send", "--app", "demo", "--user", "somebody", "--conversation", "c2c_bob", "--wait"); !strings.Contains(o.stdout, "incompatible_id") {
		t.Errorf("an id that is too long now: %s", o.stdout)
	}
}
