package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

// operationsGuide is the page whose figures and statements are held to here.
const operationsGuide = "../../docs/operations.md"

// block returns the guide's first block of SQL that holds these words.
func block(t testing.TB, words string) string {
	t.Helper()
	for _, m := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(readFile(t, operationsGuide), -1) {
		if strings.Contains(m[1], words) {
			return m[1]
		}
	}
	t.Fatalf("%s has no SQL with %q", operationsGuide, words)
	return ""
}

// figure returns the number in the guide's line that begins with these words.
func figure(t testing.TB, what string) float64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(what) + ` \| ([0-9,]+) \|`).FindStringSubmatch(readFile(t, operationsGuide))
	if m == nil {
		t.Fatalf("%s has no line %q with a number", operationsGuide, what)
	}
	var n float64
	_, err := fmt.Sscan(strings.ReplaceAll(m[1], ",", ""), &n)
	must(t, err)
	return n
}

// streamBytes is the size of a stream.
func (r *rig) streamBytes(t testing.TB, name string) float64 {
	t.Helper()
	s, err := r.js.Stream(t.Context(), name)
	must(t, err)
	return float64(s.CachedInfo().State.Bytes)
}

// uuid makes ids that are as long as those of most chats.
func uuid(kind, n int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", kind, n) }

// What the guide says that a deletion leaves behind, it leaves behind: within a
// quarter, since it is what people size disks by. How full the ledger's pages are
// depends on how many deletions a batch has, and so on the machine.
func TestADeletionLeavesBehindWhatTheGuideSays(t *testing.T) {
	t.Parallel()
	const n = 2000
	r := newRig(t)
	for i := range n {
		cmd := chat{"demo", uuid(1, i), "c2c_" + uuid(1, i+n)}.ask()
		cmd.DeviceID, cmd.RequestedAt = uuid(2, i), time.Now().UTC().Truncate(time.Millisecond)
		r.send(t, cmd)
	}
	got := map[string]float64{"a command, while it waits": r.streamBytes(t, conversation.CommandsStream) / n}
	w := r.start(t)
	r.awaitStored(t, n, typed(conversation.TypeDeleted))
	r.settled(t)
	w.term(t)
	r.exec(t, "vacuum lethe.deletions, lethe.commands")
	got["its event"] = r.streamBytes(t, conversation.EventsStream) / n
	got["its rows in the ledger, with their indexes"] = one[float64](t, r,
		`select (pg_total_relation_size('lethe.deletions') + pg_total_relation_size('lethe.commands'))::float8`) / n
	for what, bytes := range got {
		if want := figure(t, what); bytes < 0.75*want || bytes > 1.25*want {
			t.Errorf("%s: %.0f bytes; the guide says %.0f", what, bytes, want)
		}
	}
}

// The streams are gone, with what waited in them: the ledger still knows what was
// done, so producers may send all of it again.
func TestAfterALossOfAllStreamsProducersMaySendAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	done, waiting := r.crowd(t, "demo", "done", 20, 20), r.crowd(t, "demo", "waiting", 20, 20)
	want := map[deletionKey]int{}
	ask := func(chats []chat) (cmds []conversation.Command) {
		for _, c := range chats {
			cmds = append(cmds, c.ask())
			want[deletionKey{cmds[len(cmds)-1].CommandID, c.id}] = 20
		}
		return cmds
	}
	first, second := ask(done), ask(waiting)
	w := r.start(t)
	r.flood(t, first)
	r.awaitStored(t, len(first))
	r.settled(t)
	r.must(t, "pause")
	readyButPaused(t, w)
	r.flood(t, second)
	for _, name := range []string{conversation.CommandsStream, conversation.EventsStream, conversation.DeadLettersStream} {
		must(t, r.js.DeleteStream(t.Context(), name))
	}
	r.must(t, "resume")
	w.awaitNotReady(t, conversation.CommandsStream+" is missing")
	r.must(t, "setup")
	r.record(t)
	w.awaitReady(t, timeout)
	r.flood(t, append(first, second...))
	r.settled(t)
	if n := len(r.streamMessages(t, conversation.EventsStream)); n != len(want) {
		t.Errorf("the new stream has %d events; want %d", n, len(want))
	}
	eventually(t, timeout, "all of them are recorded", func() bool {
		stored, _, _ := r.seen(typed(conversation.TypeDeleted))
		keys := map[deletionKey]bool{}
		for _, e := range stored {
			keys[keyOf(e)] = true
		}
		return len(keys) == len(want)
	})
	r.told(t, want)
	r.wantEmpty(t)
	r.noAttempts(t)
	w.term(t)
}

// The guide's statement forgets one user: of nobody else anything, and nothing
// that isn't final.
func TestAUserIsForgottenByTheGuidesStatement(t *testing.T) {
	t.Parallel()
	r := newLockedRig(t)
	of := func(user, id string) chat { return chat{"demo", user, id} }
	alice, bob, held := of("alice", "c2c_bob"), of("bob", "c2c_alice"), of("alice", "held")
	for _, c := range []chat{alice, bob, held} {
		r.fill(t, c, 20)
	}
	release := r.hold(t, `select from chat.messages where conversation_id = 'held' for update`)
	r.start(t)
	asked := held.ask()
	r.onlyDeletedOf(t, alice.ask(), 20)
	r.onlyDeletedOf(t, bob.ask(), 20)
	r.send(t, asked)
	eventually(t, timeout, "the held one is known", func() bool { return len(r.state(t, asked.CommandID, held.id)) > 0 })

	r.execAs(t, "lethe_setup", block(t, "delete from lethe.deletions"))
	got := one[string](t, r, `select string_agg(user_id || ' ' || conversation_id, ', ' order by user_id) || ', of ' || (select count(*) from lethe.commands) || ' commands' from lethe.deletions`)
	if want := "alice held, bob c2c_alice, of 2 commands"; got != want {
		t.Errorf("the ledger knows %s; want %s", got, want)
	}
	release()
	wantFields(t, r.deleted(t, asked.CommandID, held.id), "messages_deleted", 20)
	r.execAs(t, "lethe_setup", block(t, "delete from lethe.deletions"))
	if n := one[int](t, r, `select count(*)::int from lethe.deletions where user_id = 'alice'`); n != 0 {
		t.Errorf("the ledger still knows %d deletions of alice's", n)
	}
}
