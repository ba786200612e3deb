package main

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// try runs plan try for a conversation of demo's alice.
func (s stack) try(t *testing.T, conversation string, args ...string) (r tryResult) {
	t.Helper()
	o := execute(vars(map[string]string{"DATABASE_URL": s.database, "LETHE_TARGET": "5s"}),
		append([]string{"plan", "try", "--app", "demo", "--user", "alice", "--json", "--conversation", conversation}, args...)...).mustSucceed(t)
	if err := json.Unmarshal([]byte(o.stdout), &r); err != nil {
		t.Fatal(o.stdout, err)
	}
	return r
}

// wantBatches compares what was said with the transactions in which the worker has deleted.
func wantBatches(t *testing.T, w *service, said tryResult) {
	t.Helper()
	batches := int64(0)
	_, metrics := w.get(t, "/metrics")
	for _, m := range regexp.MustCompile(`(?m)^lethe_batch_seconds_count\{lane="\w+"\} (\d+)`).FindAllStringSubmatch(metrics, -1) {
		n, _ := strconv.ParseInt(m[1], 10, 64)
		batches += n
	}
	if off := max(said.Batches-batches, batches-said.Batches); off > 1 && 10*off > batches {
		t.Errorf("it said %d batches; the worker had %d", said.Batches, batches)
	}
}

// The same of a tree of tables whose messages are ordered by time.
func TestPlanTryOfATreeIsWhatTheWorkerDoes(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	execute1(t, s.database, `
		create table posts (id uuid primary key default gen_random_uuid(), owner text not null, room text not null, at timestamptz not null);
		create index on posts (owner, room, at);
		create table links (id bigserial primary key, post uuid not null references posts, file bigint not null);
		create index on links (post); create index on links (file);
		create table thumbs (id bigserial primary key, link bigint not null references links);
		create index on thumbs (link);
		create table files (id bigint primary key);
		alter table links add foreign key (file) references files;
		insert into posts (owner, room, at) select 'alice', 'group_42', now() - n * interval '1 second' from generate_series(1, 30000) n;
		insert into files select n from generate_series(0, 99) n;
		insert into links (post, file) select id, row_number() over () % 100 from posts limit 3000;
		insert into thumbs (link) select id from links`)
	file := planFile(t, `
tenant: demo
messages: {table: posts, user: owner, conversation: room, seq: at}
children:
  - table: links
    references: {column: post, to: id}
    children: [{table: thumbs, references: {column: link, to: id}}]
    parents: [{table: files, references: {column: file, to: id}}]
`)
	got := s.try(t, "group_42", "--plan", file)
	w := s.startWorking(t, "--target", "5s", "--plan", file)
	s.send("--conversation", "group_42", "--wait").mustSucceed(t)
	wantBatches(t, w, got)
	for _, table := range got.Tables {
		want := map[string]int64{"messages": 30000, "children[0]": 3000, "children[0].children[0]": 3000, "children[0].parents[0]": 100}[table.Path]
		var left int64
		if err := s.connect(t).QueryRow(t.Context(), "select count(*) from "+table.Table).Scan(&left); err != nil {
			t.Fatal(err)
		}
		if table.Deleted != want || left != 0 {
			t.Errorf("%+v, and %d are left; want %d, and none", table, left, want)
		}
	}
}

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
	try := func(conversation string) tryResult { t.Helper(); return s.try(t, conversation) }
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
	wantBatches(t, w, got)
	o := s.command("plan", "try", "--app", "demo", "--user", "alice", "--conversation", "GROUP_42").mustSucceed(t)
	for _, want := range []string{"\nmessages        0\n", "doubts          neither a message nor a row of the conversation", "\"chat\".\"messages\"       0 ", "\nNothing was changed.\n"} {
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

// In a shared log plan try says what becomes hidden, what is erased and who keeps the rest, and status says afterwards what
// is hidden and what is erased.
func TestPlanTryAndStatusOfASharedLog(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	execute1(t, s.database, `
		create table rooms (id text primary key);
		create table members (room text not null references rooms, who text not null, cleared bigint, primary key (room, who));
		create index on members (who, room);
		create index on members (room, cleared);
		create table posts (id bigint primary key, room text not null references rooms, at timestamptz not null default now() - interval '1 hour');
		create index on posts (room, id);
		insert into rooms values ('group_42');
		insert into members values ('group_42', 'alice', null), ('group_42', 'bob', 8);
		insert into posts select n, 'group_42' from generate_series(1, 20) n`)
	file := planFile(t, `
tenant: demo
messages: {table: posts, conversation: room, seq: id, sent_at: at}
members: {table: members, user: who, conversation: room, watermark: cleared}
conversations: {table: rooms, where: {id: $conversation}, keep: false}
`)
	got := s.try(t, "group_42", "--plan", file)
	if log := got.SharedLog; log == nil || log.HiddenMessages != 20 || *log.Floor != 8 || log.Keeping != 1 || got.Messages != 8 || got.ThroughSeq != 20 || got.ConversationRemoved {
		t.Errorf("plan try = %+v; want 20 hidden and 8 erased", got)
	}
	text := execute(vars(map[string]string{"DATABASE_URL": s.database}), "plan", "try", "--app", "demo", "--user", "alice", "--conversation", "group_42", "--plan", file).mustSucceed(t).stdout
	for _, line := range []string{"20 messages from alice, at once\n", "8: what is at or below it is erased\n", "bob has deleted through 8\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("plan try printed\n%s\nwant the line %q", text, line)
		}
	}
	s.startWorking(t, "--plan", file)
	s.send("--conversation", "group_42", "--command-id", "c1", "--wait").mustSucceed(t)
	if o := s.command("status", "c1", "--json").mustSucceed(t).objects(t)[0]; o["state"] != "done" || o["erased"] != false || o["erased_at"] != nil || o["messages_deleted"] != 20.0 {
		t.Errorf("status = %v; want 20 messages hidden", o)
	}
	says := func(want string) {
		t.Helper()
		for line := range strings.Lines(s.command("status", "c1").mustSucceed(t).stdout) {
			if name, is, _ := strings.Cut(line, " "); name == "erased" && strings.TrimSpace(is) != want {
				t.Errorf("status says erased %s; want %s", strings.TrimSpace(is), want)
			}
		}
	}
	says("hidden: other members still have the messages")
	execute1(t, s.database, `update members set cleared = 20 where who = 'bob'`)
	s.command("erase", "--app", "demo", "--conversation", "group_42", "--plan", file).mustSucceed(t)
	s.awaitStatus(t, func(o map[string]any) bool { return o["erased_at"] != nil && o["erased"] == false }, "status", "c1", "--json")
	says("yes, hidden at first")
	if n := s.messagesIn(t, "posts"); n != 0 {
		t.Errorf("%d posts are left; want none", n)
	}
}

// messagesIn counts a table's rows.
func (s stack) messagesIn(t *testing.T, table string) (n int) {
	t.Helper()
	if err := s.connect(t).QueryRow(t.Context(), "select count(*) from "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// All conversations of a user are tried one after the other, before setup has run.
func TestPlanTryOfAllConversations(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.nats = nil // not needed
	execute1(t, s.database, `
		create table posts (owner text, room text, n bigint, at timestamptz not null default now() - interval '1 hour', primary key (owner, room, n));
		create table rooms (owner text, room text, primary key (owner, room));
		insert into posts select 'alice', 'r' || r, n from generate_series(1, 3) r, generate_series(1, 1000 * (r - 1)) n;
		insert into posts values ('alice', 'newer', 1, now() + interval '1 hour'), ('bob', 'r1', 1, now());
		insert into rooms values ('alice', 'r1'), ('alice', 'r3'), ('alice', 'newer')`)
	file := planFile(t, `
tenant: demo
messages: {table: posts, user: owner, conversation: room, seq: n, sent_at: at}
conversations: {table: rooms, user: owner, conversation: room}
`)
	try := func(args ...string) outcome {
		return execute(vars(map[string]string{"DATABASE_URL": s.database}), append([]string{"plan", "try", "--plan", file, "--app", "demo", "--user", "alice"}, args...)...)
	}
	var r tryAllResult
	if o := try("--all-conversations", "--json").mustSucceed(t); json.Unmarshal([]byte(o.stdout), &r) != nil {
		t.Fatal(o.stdout)
	}
	if r.Conversations != 3 || r.Large != 2 || r.Messages != 3000 || len(r.Tables) != 2 || r.Tables[0].Deleted != 3000 || r.Tables[1].Deleted != 2 || r.Tables[0].Bytes == 0 {
		t.Errorf("tried %+v", r)
	}
	if o := try("--all-conversations").mustSucceed(t); !strings.Contains(o.stdout, "Nothing was changed") {
		t.Error(o.stdout)
	}
	if o := try("--all-conversations", "--conversation", "r1"); o.code == exitOK || !strings.Contains(o.stderr, "mutually exclusive") {
		t.Errorf("%d: %s", o.code, o.stderr)
	}
}
