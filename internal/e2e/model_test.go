package e2e

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lethe-im/lethe/conversation"
)

// What is left and what was told follows from very little, whatever happens in
// between: see epoch.check. To repeat: -rapid.seed, which a failure names.
func TestRandomDeletionsLeaveAndTellWhatAModelSays(t *testing.T) {
	rapidDefaults(t, map[string]string{
		"rapid.checks": fmt.Sprint(sized(4, 200)), "rapid.shrinktime": "45s", "rapid.nofailfile": "true",
	})
	t.Parallel()
	for lane := range 3 {
		t.Run(fmt.Sprint(lane), func(t *testing.T) {
			t.Parallel()
			s := &stage{t: t, r: newRig(t)}
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("the last check did:\n%s", strings.Join(s.trace, "\n"))
				}
			})
			rapid.Check(t, s.play)
		})
	}
}

// rapidDefaults sets rapid's flags but for those of the command line. It must be
// called before the test is parallel.
func rapidDefaults(t *testing.T, defaults map[string]string) {
	t.Helper()
	flag.Visit(func(f *flag.Flag) { delete(defaults, f.Name) })
	for name, value := range defaults {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
}

// stage is where the checks of one lane play, one after the other.
type stage struct {
	t      *testing.T
	r      *rig
	w      *worker // the one that runs, or has crashed
	armed  bool    // it is to crash
	checks int
	trace  []string
}

// Small batches, so that little is much; the same for all workers.
var stageSettings = []string{"--express-rows", "10", "max-rows=8", "min-rows=4"}

// A check has always as many steps, but what fails is shrunk to less to do.
const steps = 30

var weighted = []string{
	"nothing", "say", "say", "say", "talk", "talk", "delete", "delete", "delete", "delete",
	"duplicate", "duplicate", "clash", "hold", "release", "settle", "restart", "crash",
}

// play is one check.
func (s *stage) play(rt *rapid.T) {
	s.checks++
	s.trace = nil
	m := &model{stage: s, rt: rt, app: fmt.Sprintf("app%d", s.checks), held: map[string]func(){}, chats: map[chat]*account{}}
	rt.Cleanup(m.release)
	for _, user := range []string{"alice", "bob"} {
		for _, id := range []string{"a", "b", "c"} {
			c := chat{m.app, user, id}
			m.chats[c] = &account{}
			m.names = append(m.names, c)
		}
	}
	if m.w == nil || m.armed {
		m.restart(false)
	}
	actions := map[string]func(*rapid.T){
		"say": m.say, "talk": m.talk, "delete": m.delete, "duplicate": m.duplicate, "clash": m.clash,
		"hold": m.hold, "release": func(*rapid.T) { m.release() }, "settle": func(*rapid.T) { m.settle() },
		"restart": func(rt *rapid.T) { m.restart(rapid.Bool().Draw(rt, "clean")) }, "crash": m.crash,
	}
	for range steps {
		if do := actions[rapid.SampledFrom(weighted).Draw(rt, "action")]; do != nil {
			do(rt)
		}
	}
	m.settle()
}

// account is the model of one chat.
type account struct {
	said    []int64 // seqs of all messages that there ever were
	purged  int64   // the greatest boundary of a deletion that doesn't keep history
	removed int64   // the greatest boundary of any
}

// newest is the last seq, 0 if there is none.
func (a *account) newest() int64 {
	if len(a.said) == 0 {
		return 0
	}
	return a.said[len(a.said)-1]
}

// newer are the messages above a boundary.
func (a *account) newer(than int64) []int64 {
	i, _ := slices.BinarySearch(a.said, than+1)
	return a.said[i:]
}

// left is what must be left.
func (a *account) left() left {
	l := left{Messages: len(a.newer(a.purged)), Row: a.newest() > a.removed}
	for _, seq := range a.newer(a.purged) {
		if l.First == 0 {
			l.First = seq
		}
		l.Last = seq
		if seq%3 == 0 {
			l.Reactions++
		}
	}
	if l.Row {
		l.Unread = len(a.newer(a.removed))
	}
	return l
}

// asked is what was published under one command id.
type asked struct {
	contents []*content // the first one, and others that clash with it
	winner   *content   // once it is known
	checked  bool
}

// content is one content of a command.
type content struct {
	cmd    conversation.Command
	copies int              // stored in the stream
	first  map[string]int64 // each conversation's newest message when the first copy was stored
	last   map[string]int64 // and the last copy
}

// model is what one check knows.
type model struct {
	*stage
	rt    *rapid.T
	app   string
	names []chat
	chats map[chat]*account
	asked []*asked
	held  map[string]func() // locks
}

func (m *model) logf(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf(format, args...))
	m.rt.Logf(format, args...)
}

func (m *model) account(c chat) *account {
	if a := m.chats[c]; a != nil {
		return a
	}
	return &account{}
}

func (m *model) draw(rt *rapid.T) chat { return rapid.SampledFrom(m.names).Draw(rt, "chat") }
