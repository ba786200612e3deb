package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A small deletion and a large one whose rows somebody has locked: status says so,
// by command and by user, and so does the log; and who it is.
func TestStatusSaysWhoseLockADeletionWaitsFor(t *testing.T) {
	t.Parallel()
	const row = `select from chat.messages where seq = 20 for update`
	for _, c := range []struct {
		name, lock string
		settings   []string
	}{
		{"express", row, nil},
		{"long", row, []string{"--express-rows", "5", "LETHE_TEST_LIMITS=slow-batch=1m max-rows=10 min-rows=10"}},
		{"the conversation's row", `select from chat.conversations for update`, nil},
		{"the conversation's row of a long one", `select from chat.conversations for update`, []string{"--express-rows", "5", "LETHE_TEST_LIMITS=slow-batch=1m max-rows=10 min-rows=10"}},
		{"a child's row", `select from chat.reactions for update`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newReadyStack(t)
			s.addConversation(t, "c2c_bob", 30)
			if _, err := s.connect(t).Exec(t.Context(), `insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji) values ('demo', 'alice', 'c2c_bob', 7, 'bob', '+')`); err != nil {
				t.Fatal(err)
			}
			w := s.startWorking(t, c.settings...)
			s.send("--conversation", "nothing", "--wait").mustSucceed(t)
			tx, err := s.connect(t).Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(t.Context(), `set local application_name = 'report'`); err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(t.Context(), c.lock); err != nil {
				t.Fatal(err)
			}
			s.send("--conversation", "c2c_bob", "--command-id", "c1").mustSucceed(t)
			s.awaitStatus(t, func(o map[string]any) bool {
				return o["waiting_for"] == "lock" && strings.Contains(fmt.Sprint(o["waiting_detail"]), "application report), in a transaction since 20")
			}, "status", "c1", "--json")
			list := s.command("status", "--app", "demo", "--user", "alice").mustSucceed(t).stdout
			if !strings.Contains(list, "c1 ") || !strings.Contains(list, "lock") || !strings.Contains(list, "application report") {
				t.Errorf("status --user printed %q; want the command, and what it waits for", list)
			}
			if log := w.log.String(); !strings.Contains(log, `"deletion waits for a lock"`) || !strings.Contains(log, "application report") {
				t.Errorf("the log doesn't say that the deletion is blocked, and by whom:\n%s", log)
			}
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			done := s.awaitStatus(t, func(o map[string]any) bool { return o["state"] == "done" }, "status", "c1", "--json")
			if done["waiting_for"] != nil || done["waiting_detail"] != nil {
				t.Errorf("status = %v; want a deletion that is done to wait for nothing", done)
			}
			if out := s.command("status", "--app", "demo", "--user", "alice").mustSucceed(t).stdout; out != "user alice of app demo has no unfinished deletions\n" {
				t.Errorf("status --user printed %q; want no unfinished deletions", out)
			}
		})
	}
}

// awaitStatus repeats a command until the first object that it prints is right.
func (s stack) awaitStatus(t *testing.T, right func(map[string]any) bool, args ...string) map[string]any {
	t.Helper()
	end := time.Now().Add(timeout)
	for {
		o := s.command(args...)
		if o.code == exitOK {
			if got := o.objects(t); len(got) > 0 && right(got[0]) {
				return got[0]
			}
		}
		if time.Now().After(end) {
			t.Fatalf("%v printed %q %q in the end", args, o.stdout, o.stderr)
		}
	}
}

func TestStatusListsWhatIsUnderWayOfAUser(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	if _, err := s.connect(t).Exec(t.Context(), `
		insert into lethe.deletions (app_id, command_id, conversation_id, user_id, state, stored_at, history_kept)
		select app, 'cmd' || to_char(i, 'FM000'), 'c', usr, case when i % 2 = 0 then 'pending' else 'running' end, now(), false
		from generate_series(1, 150) i, (values ('demo', 'alice'), ('other', 'alice')) v (app, usr)
		union all values ('demo', 'x', 'c', 'bob', 'running', now(), false), ('demo', 'y', 'c', 'alice', 'done', now(), false)`); err != nil {
		t.Fatal(err)
	}
	of := []string{"status", "--app", "demo", "--user", "alice"}
	for _, c := range []struct {
		args  []string
		lines int
		has   string
	}{
		{nil, 102, "\nmore: --page 2\n"},
		{[]string{"--page", "2"}, 51, "\ncmd150 "},
		{[]string{"--json"}, 150, `"command_id":"cmd150"`},
	} {
		out := s.command(append(of, c.args...)...).mustSucceed(t).stdout
		if n := strings.Count(out, "\n"); n != c.lines || !strings.Contains(out, c.has) {
			t.Errorf("status %v printed %d lines; want %d and %q:\n%s", c.args, n, c.lines, c.has, out)
		}
	}
	s.command(append(of, "--page", "3")...).mustFail(t, exitError, "there is no page 3: the last one is 2")
	s.command("status", "cmd001", "--app", "demo", "--user", "bob").mustFail(t, exitError, "the ledger has no command cmd001 of user bob of app demo")
	s.command("status").mustFail(t, exitUsage, "neither a command id nor --user is given")
	s.command("status", "--user", "alice").mustFail(t, exitUsage, "--app")
	s.command("status", "c1", "--page", "2").mustFail(t, exitUsage, "--page")
}

// Whoever holds the advisory locks that are the permits of the long lane stops large
// deletions: the worker says so everywhere, and goes on when that ends. A small
// deletion doesn't feel it.
func TestWhoeverHoldsThePermitsIsNamed(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	s.addConversation(t, "group_1", 500)
	other := s.connect(t)
	if _, err := other.Exec(t.Context(), `set application_name = 'cron'; select pg_advisory_lock(1818588264, n) from generate_series(1, 64) n`); err != nil {
		t.Fatal(err)
	}
	w := s.startWorking(t, "--express-rows", "5", "LETHE_TEST_LIMITS=slow-batch=1m max-rows=50 min-rows=50")
	s.send("--conversation", "group_1", "--command-id", "large").mustSucceed(t)
	s.awaitStatus(t, func(o map[string]any) bool {
		return o["waiting_for"] == "permits_held" && strings.Contains(fmt.Sprint(o["waiting_detail"]), "application cron), connected since 20")
	}, "status", "large", "--json")
	if code, body := w.get(t, "/readyz"); code != 200 || !strings.Contains(body, "permits_held (pid ") {
		t.Errorf("/readyz = %d %q; want it ready, and who holds the permits", code, body)
	}
	if log := w.log.String(); !strings.Contains(log, "permits_held") || !strings.Contains(log, "application cron") {
		t.Errorf("the log doesn't name the holder:\n%s", log)
	}
	s.addConversation(t, "c2c_bob", 3)
	s.send("--conversation", "c2c_bob", "--wait").mustSucceed(t)
	if _, err := other.Exec(t.Context(), `select pg_advisory_unlock_all()`); err != nil {
		t.Fatal(err)
	}
	s.awaitStatus(t, func(o map[string]any) bool { return o["state"] == "done" }, "status", "large", "--json")
}
