package main

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// What it prints is what the worker then does, and until then nothing has changed.
func TestPlanTryIsWhatTheWorkerDoes(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	execute1(t, s.database, `insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
			select 'demo', 'alice', 'group_42', n, now() - interval '1 hour' from generate_series(1, 30000) n;
		insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji) select 'demo', 'alice', 'group_42', n, 'bob', '+1' from generate_series(1, 30000, 7) n;
		insert into chat.conversations (app_id, user_id, conversation_id, unread_count) values ('demo', 'alice', 'group_42', 3)`)
	state := func() (sum string) {
		t.Helper()
		if err := s.connect(t).QueryRow(t.Context(), `select pg_catalog.sum(m.xmin::text::bigint + m.xmax::text::bigint)::text from chat.messages m`).Scan(&sum); err != nil {
			t.Fatal(err)
		}
		return sum
	}
	before := state()
	try := func(args ...string) (r tryResult) {
		t.Helper()
		o := execute(vars(map[string]string{"DATABASE_URL": s.database, "LETHE_TARGET": "5s"}),
			append([]string{"plan", "try", "--app", "demo", "--user", "alice", "--json", "--conversation"}, args...)...).mustSucceed(t)
		if err := json.Unmarshal([]byte(o.stdout), &r); err != nil {
			t.Fatal(o.stdout, err)
		}
		return r
	}
	got := try("group_42")
	if got.Lane != "long" || got.Messages != 30000 || got.Tables[1].Deleted != 4286 || got.Tables[0].Bytes < 30000*60 || len(got.Throttled)+len(got.Doubts)+len(got.BlockedBy) > 0 {
		t.Errorf("%+v", got)
	}
	if state() != before {
		t.Error("it has changed the messages")
	}
	s.command("pause", "--lane", "long").mustSucceed(t)
	if th := try("group_42").Throttled; len(th) != 1 || th[0].Reason != "paused" {
		t.Errorf("throttled by %+v; want paused", th)
	}
	s.command("resume", "--lane", "long").mustSucceed(t)
	w := s.startWorking(t, "--target", "5s")
	s.send("--conversation", "group_42", "--wait").mustSucceed(t)
	batches := int64(0)
	_, metrics := w.get(t, "/metrics")
	for _, m := range regexp.MustCompile(`(?m)^lethe_batch_seconds_count\{lane="\w+"\} (\d+)`).FindAllStringSubmatch(metrics, -1) {
		n, _ := strconv.ParseInt(m[1], 10, 64)
		batches += n
	}
	if 10*got.Batches < 9*batches || 10*got.Batches > 11*batches {
		t.Errorf("it said %d batches; the worker had %d", got.Batches, batches)
	}
	o := s.command("plan", "try", "--app", "demo", "--user", "alice", "--conversation", "GROUP_42").mustSucceed(t)
	for _, want := range []string{"\nmessages      0\n", "doubts        neither a message nor a row of the conversation", "\"chat\".\"messages\"       0 ", "\nNothing was changed.\n"} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("of another conversation: %s\nwant %q", o.stdout, want)
		}
	}
	for words, want := range map[string]string{
		"":                              "--app",
		"--app demo --through-seq many": `"many" is not a whole number`,
		"--app demo --through-seq=-1":   "through_seq",
	} {
		o := s.command(append([]string{"plan", "try", "--user", "u", "--conversation", "c"}, strings.Fields(words)...)...)
		if o.code != exitUsage || !strings.Contains(o.stderr, want) {
			t.Errorf("%q: %d, %s; want %s", words, o.code, o.stderr, want)
		}
	}
}

func TestPlanTryAsARoleThatMayNotReadSaysWhichMay(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	between := "?"
	if strings.Contains(s.database, "?") {
		between = "&"
	}
	o := s.command("plan", "try", "--app", "demo", "--user", "alice", "--conversation", "c2c_bob", "--database-url", s.database+between+"role=pg_monitor")
	if o.code != exitError || !strings.Contains(o.stderr, "plan try have the worker's Postgres role") {
		t.Errorf("%d, %s", o.code, o.stderr)
	}
}
