package plan

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExamplesRaiseNoFalseAlarm checks the bundled plan and those of examples/plans, with all tables of their schemas beside them:
// what is said of them is true.
func TestExamplesRaiseNoFalseAlarm(t *testing.T) {
	t.Parallel()
	want := map[string][]string{
		"chatwoot":       {`table "public"."reporting_events" is not in the plan, and its rows stay`},
		"discourse-chat": {`members: by its name, column "following" of "public"."user_chat_channel_memberships" says whether a member has left, and no condition names it`},
		"laravel":        {`commands with keep_history will fail`},
		"prosody":        {`messages.sent_at: column "when" of "public"."prosodyarchive" keeps times to 1s only`},
		"prisma":         {`messages.sent_at: column "createdAt" of "public"."Message" is timestamp(3) without time zone default CURRENT_TIMESTAMP, which is the local time of whoever writes`},
	}
	files, err := filepath.Glob("../../examples/plans/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: no plans", err)
	}
	for _, file := range append(files, "plan.yaml") {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schema := strings.TrimSuffix(file, ".yaml") + ".sql"
			if name == "plan" {
				schema = "../repo/migrations/chat.sql"
			}
			sql, err := os.ReadFile(schema)
			if err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p, err := Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			pool := openPool(t)
			execSQL(t, pool, string(sql))
			var got []string
			for range 2 { // the second time with the indexes that it asked for
				r, err := Inspect(t.Context(), pool, p, Options{Neighbors: true})
				if err != nil {
					t.Fatal(err)
				}
				got = nil
				for _, f := range r.Findings {
					if got = append(got, f.Text); f.Problem && strings.HasPrefix(f.Run, "create index") {
						execSQL(t, pool, f.Run)
					}
				}
			}
			compareLines(t, "findings", got, want[name])
		})
	}
}
