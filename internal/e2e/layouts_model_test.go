package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// What is left of all tables, and what was told, follows from the boundaries that were told, whatever users, senders
// and operators do. LETHE_E2E_SEED repeats a run.
func TestLayoutsRandomDeletionsLeaveWhatAModelSays(t *testing.T) {
	t.Parallel()
	forLayouts(t, localtest.Layouts, func(t *testing.T, l localtest.Layout) {
		t.Helper()
		r := newLayoutRig(t, l)
		m := &layoutModel{layoutRig: r, t: t, rnd: random(t)}
		m.w = r.start(t, stageSettings...)
		for range sized(25, 300) {
			m.act()
		}
		m.end()
	})
}

// layoutModel is what one run knows.
type layoutModel struct {
	*layoutRig
	t     *testing.T
	rnd   *rand.Rand
	w     *worker
	asked []*asking
	held  func() // releases the row that is locked
}

// layoutTarget is one user's copy of a conversation.
type layoutTarget struct{ user, id string }

// asking is a command of the model, and each conversation's newest message when it was published first and last.
type asking struct {
	cmd         conversation.Command
	first, last map[string]int64
}

func (m *layoutModel) target() layoutTarget {
	u := m.rnd.IntN(len(m.Users))
	return layoutTarget{m.Users[u], m.IDs[u][m.rnd.IntN(3)]}
}

// seqsOf are all positions that there ever were.
func (m *layoutModel) seqsOf(c layoutTarget) []int64 { return m.Seqs(m.t, "mirror", c.user, c.id) }

// act does one thing that happens.
func (m *layoutModel) act() {
	m.t.Helper()
	switch what := m.rnd.IntN(14); {
	case what < 4:
		c, n := m.target(), 1+m.rnd.IntN(3)
		if m.rnd.IntN(3) == 0 {
			n = 20 + m.rnd.IntN(20)
		}
		m.release() // of the conversation's row, in some layouts
		every := time.Duration(0)
		if m.Name == "mongooseim" {
			every = time.Microsecond // its ids are unique
		}
		m.Say(m.t, c.user, c.id, n, time.Now(), every)
	case what < 9:
		m.publish(m.random())
	case what < 11 && len(m.asked) > 0:
		m.publish(m.asked[m.rnd.IntN(len(m.asked))])
	case what == 11:
		m.release()
		c := m.target()
		m.held = m.hold(m.t, `select layout.hold($1, $2, $3, $4)`, m.App, c.user, c.id, m.rnd.IntN(20))
	case what == 12:
		m.release()
		m.restart()
	default:
		point := []string{"after_pull", "in_batch", "after_commit", "after_publish", "before_ack"}[m.rnd.IntN(5)]
		m.w.kill()
		m.w = m.launch(m.t, append([]string{fmt.Sprintf("LETHE_CRASH_AT=%s:%d", point, 1+m.rnd.IntN(3))}, stageSettings...)...)
	}
}

// random is a new command.
func (m *layoutModel) random() *asking {
	c := m.target()
	cmd := m.ask(m.t, c.user, c.id, 0)
	if m.rnd.IntN(2) == 0 {
		if seqs := m.seqsOf(c); len(seqs) > 0 {
			through := seqs[m.rnd.IntN(len(seqs))]
			cmd.Conversations[0].ThroughSeq = &through
		}
	}
	if other := m.IDs[slices.Index(m.Users, c.user)][m.rnd.IntN(3)]; other != c.id {
		cmd.Conversations = append(cmd.Conversations, m.to(m.t, c.user, other, 0))
	}
	cmd.KeepHistory = !m.OneWay && m.rnd.IntN(5) == 0
	return &asking{cmd: cmd}
}

// publish sends a command, perhaps not for the first time.
func (m *layoutModel) publish(a *asking) {
	m.t.Helper()
	a.last = map[string]int64{}
	for _, id := range targets(a.cmd) {
		a.last[id] = last(m.seqsOf(layoutTarget{a.cmd.UserID, id}))
	}
	if a.first == nil {
		a.first = a.last
		m.asked = append(m.asked, a)
	}
	m.again(m.t, a.cmd)
}

// restart kills the worker and starts another.
func (m *layoutModel) restart() {
	m.t.Helper()
	m.w.kill()
	m.w = m.start(m.t, stageSettings...)
}

func (m *layoutModel) release() {
	if m.held != nil {
		m.held()
		m.held = nil
	}
}

// end waits until all is quiet and compares.
func (m *layoutModel) end() {
	t := m.t
	t.Helper()
	m.release()
	m.restart()
	m.settled(t)
	deleted, purged, left := map[layoutTarget]int{}, map[layoutTarget]int64{}, map[layoutTarget]int64{}
	for _, a := range m.asked {
		m.onlyDeleted(t, a.cmd.CommandID, targets(a.cmd)...)
		for _, target := range a.cmd.Conversations {
			c := layoutTarget{a.cmd.UserID, target.ID}
			e := m.deleted(t, a.cmd.CommandID, target.ID)
			through := number(t, e, "through_seq")
			most := bounded(a.last[target.ID], target.ThroughSeq)
			if target.ThroughSeq != nil {
				most = bounded(last(m.seqsOf(c)), target.ThroughSeq)
			}
			if through > most {
				t.Errorf("%s; want at most %d", e, most)
			}
			if !a.cmd.KeepHistory {
				purged[c] = max(purged[c], through)
			}
			left[c] = max(left[c], through)
			deleted[c] += int(number(t, e, "messages_deleted"))
		}
	}
	for _, a := range m.asked {
		for _, target := range a.cmd.Conversations {
			reached := left
			if !a.cmd.KeepHistory {
				reached = purged
			}
			c := layoutTarget{a.cmd.UserID, target.ID}
			if least := bounded(a.first[target.ID], target.ThroughSeq); reached[c] < least && (m.Grain < time.Millisecond || target.ThroughSeq != nil) {
				t.Errorf("%s: %v is deleted up to %d; want %d", encode(t, a.cmd), c, reached[c], least)
			}
		}
	}
	for c, through := range left {
		before := m.seqsOf(c)
		m.ByHand(t, c.user, c.id, purged[c], "forget")
		if gone := len(before) - len(m.seqsOf(c)); gone != deleted[c] {
			t.Errorf("the events count %d messages of %v; want %d", deleted[c], c, gone)
		}
		m.ByHand(t, c.user, c.id, through, "leave")
	}
	m.Compare(t, true)
	m.noAttempts(t)
	if t.Failed() {
		stored, _, _ := m.seen(typed(conversation.TypeDeleted))
		slices.SortFunc(stored, func(a, b event) int { return a.at.Compare(b.at) })
		t.Logf("events:\n%s", eventLines(stored))
	}
}

// number is a field of an event.
func number(t testing.TB, e event, field string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(e.text(field), 10, 64)
	must(t, err)
	return n
}
