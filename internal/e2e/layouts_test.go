package e2e

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// layoutRig is a rig on the tables of a layout.
type layoutRig struct {
	*rig
	*localtest.LayoutTables
}

// newStrangersRig makes the tables, sets the worker up and does what `worker plan check` says, as whoever
// has nothing but the plan does.
func newStrangersRig(t *testing.T, l localtest.Layout) *layoutRig {
	t.Helper()
	r := newRig(t, withoutSetup(), withEnv("LETHE_PLAN="+l.PlanFile()), withSchema(l.Schema(t)))
	r.must(t, "setup")
	r.record(t)
	for _, statement := range r.advice(t, "problem") {
		r.exec(t, statement)
	}
	if res := r.call(t, "plan", "check"); res.code != 0 {
		t.Fatalf("after its own advice: exit status %d\n%s%s", res.code, res.out, res.err)
	}
	return &layoutRig{r, l.Adopt(t, r.db)}
}

// newLayoutRig makes the tables as the plan's comment says, and sets the worker up.
func newLayoutRig(t *testing.T, l localtest.Layout) *layoutRig {
	t.Helper()
	r := newRig(t, withoutSetup(), withEnv("LETHE_PLAN="+l.PlanFile()))
	tables := l.Create(t, r.db, l.Schema(t))
	r.must(t, "setup")
	r.record(t)
	return &layoutRig{r, tables}
}

// forLayouts runs a test for each of these plans of examples/plans; LETHE_E2E_LAYOUTS names some.
func forLayouts(t *testing.T, layouts []localtest.Layout, test func(t *testing.T, l localtest.Layout)) {
	t.Helper()
	for _, l := range layouts {
		if only := os.Getenv("LETHE_E2E_LAYOUTS"); only != "" && !slices.Contains(strings.Fields(only), l.Name) {
			continue
		}
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			test(t, l)
		})
	}
}

// ask is a new command of a user; through, if not 0, is the boundary. Where every command needs one it is the newest message.
func (r *layoutRig) ask(t testing.TB, user, id string, through int64) conversation.Command {
	t.Helper()
	cmd := chat{r.App, user, id}.ask()
	cmd.Conversations[0] = r.to(t, user, id, through)
	return cmd
}

// to is the conversation of a command.
func (r *layoutRig) to(t testing.TB, user, id string, through int64) conversation.Target {
	t.Helper()
	target := conversation.Target{ID: id}
	if r.Bounded && through == 0 {
		through = last(r.Seqs(t, "public", user, id))
		target.ThroughSeq = &through
	}
	if through > 0 {
		target.ThroughSeq = &through
	}
	return target
}

// targets are a command's conversations.
func targets(cmd conversation.Command) (ids []string) {
	for _, c := range cmd.Conversations {
		ids = append(ids, c.ID)
	}
	return ids
}

// last is the newest message's position, 0 without any.
func last(seqs []int64) int64 {
	if len(seqs) == 0 {
		return 0
	}
	return seqs[len(seqs)-1]
}

// reached counts the messages at or below a position.
func reached(seqs []int64, through int64) int {
	n, _ := slices.BinarySearch(seqs, through+1)
	return n
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
