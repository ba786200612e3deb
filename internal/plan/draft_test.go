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
			text, questions, err := Draft(t.Context(), pool, name)
			if name == "nothing" {
				const want = "no table looks like one of messages; nothing.entries has no column of the conversation, such as conversation_id, room_id or peer, " +
					"no name like messages; if it has the messages nevertheless, write the plan by hand: docs/plan.md, examples/plans"
				if !errors.Is(err, ErrNoMessages) || err.Error() != want {
					t.Errorf("%v; want %s", err, want)
				}
				if _, _, err := Draft(t.Context(), pool, "nosuch"); err == nil || !strings.Contains(err.Error(), `there is no schema "nosuch"`) {
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
	text, questions, err := Draft(t.Context(), pool, "")
	if err != nil || questions > 0 || !strings.Contains(text, "sent_at: {column: created, unit: ms}") {
		t.Errorf("%d questions, %v, %s", questions, err, text)
	}
}
