package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// Whoever has nothing but a plan of examples/plans and its own tables does what `worker plan check` says, and then deletes.
func TestLayoutsCanBeFollowedByAStranger(t *testing.T) {
	t.Parallel()
	for _, l := range localtest.Layouts {
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, withoutSetup(), withEnv("LETHE_PLAN="+l.PlanFile()), withSchema(l.Schema(t)))
			r.must(t, "setup")
			for _, statement := range r.advice(t, "problem") {
				r.exec(t, statement)
			}
			if res := r.call(t, "plan", "check"); res.code != 0 {
				t.Fatalf("after its own advice: exit status %d\n%s%s", res.code, res.out, res.err)
			}
			r.start(t)
			words := []string{"send", "--app", l.App, "--user", l.Users[0], "--conversation", l.IDs[0][0], "--command-id", "c1", "--wait"}
			if l.Bounded {
				words = append(words, "--through-seq", "100000")
			}
			r.must(t, words...)
			if state, _, deleted, _ := r.ledger(t, "c1", l.IDs[0][0]); state != "done" || deleted != 12 {
				t.Errorf("the ledger says %s, %d messages deleted; want done, 12", state, deleted)
			}
		})
	}
}

// advice are the statements that `worker plan check` tells to run for findings of a severity.
func (r *rig) advice(t testing.TB, severity string) (statements []string) {
	t.Helper()
	for line := range strings.Lines(r.call(t, "plan", "check", "--json").out) {
		var f struct{ Severity, Message, Run string }
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if f.Severity == severity {
			if f.Run == "" {
				t.Errorf("no statement settles it: %s", f.Message)
			}
			statements = append(statements, f.Run)
		}
	}
	return statements
}
