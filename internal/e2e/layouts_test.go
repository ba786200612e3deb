package e2e

import (
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

// forLayouts runs a test for each of these plans of examples/plans; LETHE_E2E_LAYOUTS names some.
func forLayouts(t *testing.T, layouts []localtest.Layout, test func(t *testing.T, r *layoutRig)) {
	t.Helper()
	for _, l := range layouts {
		if only := os.Getenv("LETHE_E2E_LAYOUTS"); only != "" && !slices.Contains(strings.Fields(only), l.Name) {
			continue
		}
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, withoutSetup(), withEnv("LETHE_PLAN="+l.PlanFile()))
			tables := l.Create(t, r.db, l.Schema(t))
			r.must(t, "setup")
			r.record(t)
			test(t, &layoutRig{r, tables})
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
