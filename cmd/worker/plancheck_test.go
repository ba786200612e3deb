package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/internal/plan"
)

// Each of the statements that it prints is run, and then the plan fits.
func TestPlanCheckNamesAllAtOnceAndWhatToRun(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.nats = nil // not needed
	check := func(want int, args ...string) outcome {
		t.Helper()
		env := map[string]string{"DATABASE_URL": s.database}
		o := execute(vars(env), append([]string{"plan", "check"}, args...)...)
		if o.code != want {
			t.Fatalf("exit status %d; want %d\nstdout: %s\nstderr: %s", o.code, want, o.stdout, o.stderr)
		}
		return o
	}
	says := func(o outcome, lines ...string) {
		t.Helper()
		for _, want := range lines {
			if !regexp.MustCompile(`(?m)^` + want).MatchString(o.stdout) {
				t.Errorf("%q printed %s; want a line %s", o.args, o.stdout, want)
			}
		}
	}
	execute1(t, s.database, `create table posts (id bigint, owner text not null, thread text not null, at timestamptz(0) not null default now());
		create table threads (owner text not null, thread text not null)`)
	file := planFile(t, `
tenant: demo
messages: {table: posts, user: owner, conversation: thread, seq: id, sent_at: at}
conversations: {table: threads, user: owner, conversation: thread}
`)
	o := check(exitError, "--plan", file)
	says(o, `problem: line [34]: messages\.seq: column "id" of "public"\."posts" may be null, .*; run: alter table "public"\."posts" alter column "id" set not null$`,
		`problem: line [34]: messages: "public"\."posts" has no btree index .*; run: create index concurrently on "public"\."posts" \("owner", "thread", "id"\)`,
		`problem: line [34]: conversations: "public"\."threads" has no btree index`,
		`warning: line [34]: conversations: several rows of "public"\."threads" may be of one conversation`,
		`warning: line [34]: messages\.sent_at: column "at" of "public"\."posts" keeps times to 1s only`,
		`warning: the worker's own tables are missing; run: worker setup$`)
	if !strings.Contains(o.stderr, "the plan doesn't fit: 3 problems, 4 warnings") {
		t.Errorf("standard error: %s", o.stderr)
	}
	if sql, want := check(exitError, "--plan", file, "--sql"), `alter table "public"."posts" alter column "id" set not null;
create index concurrently on "public"."posts" ("owner", "thread", "id");
create index concurrently on "public"."threads" ("owner", "thread");
`; sql.stdout != want || !strings.Contains(sql.stderr, "3 problems, 4 warnings\n") {
		t.Errorf("--sql printed %s%s; want %s", sql.stdout, sql.stderr, want)
	}
	for line := range strings.Lines(check(exitError, "--plan", file, "--json").stdout) {
		var f planFinding
		if err := json.Unmarshal([]byte(line), &f); err != nil || f.Message == "" || f.Severity != "problem" && f.Severity != "warning" {
			t.Fatalf("%s: %v", line, err)
		}
		if f.Run != "" && f.Run != "worker setup" {
			execute1(t, s.database, f.Run)
		}
		if f.Path != "" && f.Table == "" {
			t.Errorf("%s has no table", line)
		}
	}
	o = check(exitOK, "--plan", file)
	says(o, `warning: line [34]: messages\.sent_at`, `the plan fits: 2 tables, 2 warnings$`)
	if strings.Contains(o.stdout, "problem: ") {
		t.Errorf("after what it said to run: %s", o.stdout)
	}
	// What is somebody's to decide is in no statement, and a table's name is none.
	execute1(t, s.database, `alter table posts add primary key (id);
		create table "a; run: drop table posts; or "  (post bigint not null references posts);
		create table "b'"";
; run: drop table posts;  " (post bigint references posts)`)
	if sql := check(exitError, "--plan", file, "--sql"); sql.stdout != "" || !strings.Contains(sql.stderr, "2 problems, 2 warnings; 2 without a statement: see them without --sql") {
		t.Errorf("--sql printed %s%s; want no statement", sql.stdout, sql.stderr)
	}
	execute1(t, s.database, `drop table "a; run: drop table posts; or ", "b'"";
; run: drop table posts;  "`)
	check(exitError) // the bundled plan's tables aren't there
	says(check(exitError, "--plan", planFile(t, "messages: {table: m}\n")), "problem: line 1: messages.seq is missing")
	check(exitUsage, "--plan", "/nowhere")
	check(exitUsage, "--database-url", "postgres://localhost:1/app")
	check(exitUsage, "--nats-url", "nats://x")
}

func TestPlanDraftIsAPlanOfTheBundledSchema(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	if o := s.command("plan", "draft"); o.code != exitError || !strings.Contains(o.stderr, "no table looks like one of messages") {
		t.Errorf("of an empty database: %d, %s", o.code, o.stderr)
	}
	s.command("setup", "--sample-schema").mustSucceed(t)
	text := s.command("plan", "draft", "--schema", "chat").mustSucceed(t).stdout
	p, err := plan.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	of := func(p plan.Plan) (all []string) {
		for _, e := range p.Entries() {
			all = append(all, fmt.Sprint(e.Table, e.Columns, e.Seq, e.SentAt, e.Unread))
		}
		slices.Sort(all)
		return all
	}
	if got, want := of(p), of(plan.Bundled()); !slices.Equal(got, want) {
		t.Errorf("the draft is about %q; want %q", got, want)
	}
	s.command("plan", "check", "--plan", planFile(t, text)).mustSucceed(t)
	var d planDraft
	if err := json.Unmarshal([]byte(s.command("plan", "draft", "--schema", "chat", "--json").mustSucceed(t).stdout), &d); err != nil || d.Plan != text || d.Questions != 0 {
		t.Errorf("as JSON: %v, %+v", err, d)
	}
	if named := s.command("plan", "draft", "--messages", "chat.messages").mustSucceed(t).stdout; named != text {
		t.Errorf("of the table that is named: %s\nwant %s", named, text)
	}
}
