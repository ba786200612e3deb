package plan

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each schema has the draft beside it. A draft without questions fits the tables, but for
// indexes; one with questions doesn't, until they are answered.
func TestDraft(t *testing.T) {
	t.Parallel()
	pool := openPool(t)
	files, err := filepath.Glob("testdata/draft/*.sql")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".sql")
		tables, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			execSQL(t, pool, fmt.Sprintf("begin; create schema %s; set local search_path = %[1]s; %s; commit", name, tables))
			text, questions, err := Draft(t.Context(), pool, DraftOptions{Schema: name})
			if name == "nothing" {
				const want = "no table looks like one of messages; nothing.entries has no column of the conversation, such as conversation_id, room_id or peer, " +
					"no name like messages; if it has the messages nevertheless, write the plan by hand: docs/plan.md, examples/plans"
				if !errors.Is(err, ErrNoMessages) || err.Error() != want {
					t.Errorf("%v; want %s", err, want)
				}
				if _, _, err := Draft(t.Context(), pool, DraftOptions{Schema: "nosuch"}); err == nil || !strings.Contains(err.Error(), `there is no schema "nosuch"`) {
					t.Errorf("of a schema that isn't there: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			compareDraft(t, strings.TrimSuffix(file, ".sql")+".yaml", text)
			p, err := Parse([]byte(text))
			if err == nil {
				_, err = Check(t.Context(), pool, p, Options{AnyRole: true, AllowUnindexed: true})
			}
			switch fits := err == nil; {
			case fits && questions > 0:
				t.Errorf("it has %d questions, and passes the check", questions)
			case !fits && questions == 0:
				t.Errorf("it has no question, and the check says %v", err)
			}
		})
	}
}

func compareDraft(t *testing.T, file, text string) {
	t.Helper()
	want, err := os.ReadFile(file)
	if *update {
		err = os.WriteFile(file, []byte(text), 0o600)
		want = []byte(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, []byte(text)) {
		t.Errorf("the draft isn't %s any more; if it should be as it is now, run: go test ./internal/plan -run %s -update\n%s", file, t.Name(), text)
	}
}

// The size of a number tells its unit, where there are statistics.
func TestDraftReadsUnitsFromStatistics(t *testing.T) {
	t.Parallel()
	for unit, value := range map[string]int64{"s": 1750000000, "ms": 1750000000000, "us": 1750000000000000, "ns": 1750000000000000000} {
		r := &relation{columns: map[string]column{"timestamp": {name: "timestamp", typ: 20}}}
		d := &draft{numbers: map[*relation]map[string]int64{r: {"timestamp": value}}}
		if got := d.unitOf(r, "timestamp"); got != unit {
			t.Errorf("unit of %d = %q; want %q", value, got, unit)
		}
	}
	pool := openPool(t)
	execSQL(t, pool, `create table messages (user_id bigint not null, room_id bigint not null, id bigserial primary key, body text, created bigint not null);
		create index on messages (user_id, room_id, id);
		insert into messages select 1, 1, n, 'x', 1750000000000 + n from generate_series(1, 1000) n; analyze messages`)
	text, questions, err := Draft(t.Context(), pool, DraftOptions{})
	if err != nil || questions > 0 || !strings.Contains(text, "sent_at: {column: created, unit: ms}") {
		t.Errorf("%d questions, %v, %s", questions, err, text)
	}
}

// The words of other tables' names are no reason to pass a table over that has them in its own.
func TestDraftTakesTablesByTheirWholeWords(t *testing.T) {
	t.Parallel()
	pool := openPool(t)
	for log, members := range map[string]string{
		"thread_messages": "thread_users", "threadmessages": "threadmembers", "threads_msgs": "thread_participants", "starting_messages": "reading_members",
		"startingmessages": "spreadsheet_people", "shipping_messages": "shipping_users", "profile_messages": "profile_users", "chatmessages": "chatmembers",
	} {
		t.Run(log, func(t *testing.T) {
			t.Parallel()
			execSQL(t, pool, fmt.Sprintf(`begin; create schema s_%[1]s; set local search_path = s_%[1]s;
				create table %[1]s (id bigserial primary key, thread_id bigint not null, sender_id bigint not null, body text, created_at timestamptz not null default now());
				create index on %[1]s (thread_id, id);
				create table thread_reads (thread_id bigint not null, user_id bigint not null, primary key (thread_id, user_id));
				create table %[2]s (thread_id bigint not null, user_id bigint not null, primary key (thread_id, user_id)); commit`, log, members))
			text, questions, err := Draft(t.Context(), pool, DraftOptions{Schema: "s_" + log})
			if err != nil || questions > 0 {
				t.Fatalf("%d questions, %v:\n%s", questions, err, text)
			}
			for _, want := range []string{fmt.Sprintf("\nmessages:\n  table: s_%s.%[1]s\n", log), fmt.Sprintf("\nmembers:\n  table: s_%s.%s\n", log, members)} {
				if !strings.Contains(text, want) {
					t.Errorf("it has no %q:\n%s", want, text)
				}
			}
		})
	}
}

// A table that is passed over by its name may be named.
func TestDraftOfANamedTable(t *testing.T) {
	t.Parallel()
	pool := openPool(t)
	execSQL(t, pool, `create table pinned_messages (id bigserial primary key, room_id bigint not null, sender_id bigint not null, body text); create index on pinned_messages (room_id, id);
		create schema other; create table other.things (id bigserial primary key); create table things (id bigserial primary key, body text)`)
	for _, c := range []struct {
		opts DraftOptions
		want string // of the error; "" for a draft
	}{
		{DraftOptions{}, `no table looks like one of messages; public.pinned_messages has "pin" in its name, as tables beside the messages do, no column of the owner, such as owner_id or username; ` +
			"if it has the messages nevertheless, name it, --messages public.pinned_messages, or write the plan by hand: docs/plan.md, examples/plans"},
		{DraftOptions{Messages: "public.pinned_messages"}, ""},
		{DraftOptions{Messages: `"pinned_messages"`}, ""},
		{DraftOptions{Messages: "things"}, "there are other.things and public.things: name one of them"},
		{DraftOptions{Messages: "things", Schema: "public"}, "public.things has no column of the conversation, such as conversation_id, room_id or peer; write the plan by hand: docs/plan.md, examples/plans"},
		{DraftOptions{Messages: "public.Things"}, "there is no table public.Things that this role can see; name it in just the case that it has"},
		{DraftOptions{Messages: "a.b.c"}, `--messages is "a.b.c": expected a table: more than schema.table; put double quotes around a name with a dot in it`},
	} {
		text, _, err := Draft(t.Context(), pool, c.opts)
		switch {
		case c.want == "" && (err != nil || !strings.Contains(text, "\nmessages:\n  table: public.pinned_messages\n")):
			t.Errorf("of %+v: %v\n%s", c.opts, err, text)
		case c.want != "" && (err == nil || err.Error() != c.want):
			t.Errorf("of %+v: %v\nwant %s", c.opts, err, c.want)
		}
	}
}

// The README has its readers try the sample in the database in which their own tables are.
func TestDraftPassesTheSampleOver(t *testing.T) {
	t.Parallel()
	pool := openPool(t)
	sample, err := os.ReadFile("../repo/migrations/chat.sql")
	if err != nil {
		t.Fatal(err)
	}
	execSQL(t, pool, string(sample))
	draft := func(messages string) string {
		t.Helper()
		text, _, err := Draft(t.Context(), pool, DraftOptions{Messages: messages})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	const own, others = "\nmessages:\n  table: public.messages\n", "\nmessages:\n  table: chat.messages\n"
	if text := draft(""); !strings.Contains(text, others) || strings.Contains(text, "sample") {
		t.Errorf("without other tables it is\n%s", text)
	}
	execSQL(t, pool, `create table people (id bigserial primary key)`)
	if text := draft(""); !strings.Contains(text, others) ||
		!strings.Contains(strings.ReplaceAll(text, "\n#  ", ""), "# chat.messages is taken for the sample that worker setup --sample-schema makes. No other table looks like messages: --messages TABLE names one.") {
		t.Errorf("where no other table looks like messages, it is\n%s", text)
	}
	execSQL(t, pool, `create table messages (id bigserial primary key, app_id text not null, conversation_id text not null, sender_id bigint not null, body text, created_at timestamptz not null default now());
		create index on messages (app_id, conversation_id, id)`)
	text := draft("")
	if _, plan, _ := strings.Cut(text, "\nmessages:"); !strings.Contains(text, own) || strings.Contains(plan, "chat.") ||
		!strings.Contains(strings.ReplaceAll(text, "\n#  ", ""), "# chat.messages is taken for the sample that worker setup --sample-schema makes, and is passed over: --messages chat.messages drafts it.") {
		t.Errorf("beside other tables it is\n%s", text)
	}
	if text := draft("chat.messages"); !strings.Contains(text, others) || !strings.Contains(text, "chat.conversations") {
		t.Errorf("of the sample, where that is named, it is\n%s", text)
	}
	if text := draft("public.messages"); strings.Contains(text, "chat.") {
		t.Errorf("of the other table, where that is named, it is\n%s", text)
	}
	execSQL(t, pool, `alter table chat.messages add mood text`)
	if text := draft(""); !strings.Contains(text, others) {
		t.Errorf("where the sample has become an app's own tables, it is\n%s", text)
	}
}
