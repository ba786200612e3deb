package e2e

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

// letterSeqs are the seqs that `dead-letters list --json` prints.
func (r *rig) letterSeqs(t testing.TB, words ...string) []string {
	t.Helper()
	var seqs []string
	for _, o := range objects(t, r.must(t, append([]string{"dead-letters", "list", "--json"}, words...)...)) {
		seqs = append(seqs, fmt.Sprint(o["seq"]))
	}
	return seqs
}

func TestDeadLettersAreListedShownAndDropped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if out := r.must(t, "dead-letters", "list", "--json"); out != "" {
		t.Errorf("without letters, list --json prints %q", out)
	}
	r.must(t, "dead-letters", "list")
	r.start(t)
	binary := "\x00\xff\x1b[31m not a command"
	mismatch := encode(t, chat{"demo", "alice", "g"}.ask())
	commands := []struct{ subject, data, reason, app string }{
		{"conversation.delete", binary, "invalid_command", ""},
		{"conversation.delete.sh%2Eop", string(mismatch), "app_mismatch", "sh.op"},
		{"conversation.delete.demo", body("conversations", "[]"), "invalid_command", "demo"},
		{"conversation.delete.demo", "", "invalid_command", "demo"},
		{"conversation.delete.demo", "second", "invalid_command", "demo"},
	}
	var sequences []uint64
	for _, c := range commands {
		seq := r.publish(t, c.subject, []byte(c.data), "X-Own", "kept", "Status", "503")
		r.letter(t, seq)
		sequences = append(sequences, seq)
	}
	listed := objects(t, r.must(t, "dead-letters", "list", "--json"))
	if len(listed) != len(commands) {
		t.Fatalf("%d letters are listed; want %d", len(listed), len(commands))
	}
	for i, o := range listed {
		c := commands[i]
		if got := fmt.Sprint(o["seq"], o["reason"], o["subject"], o["stream_sequence"]); got != fmt.Sprint(i+1, c.reason, c.subject, sequences[i]) {
			t.Errorf("letter %d is listed as %v", i+1, o)
		}
		shown := objects(t, r.must(t, "dead-letters", "show", "--json", fmt.Sprint(i+1)))
		if len(shown) != 1 || fmt.Sprint(shown[0]["seq"]) != fmt.Sprint(i+1) || shown[0]["reason"] != c.reason {
			t.Errorf("letter %d is shown as %v", i+1, shown)
			continue
		}
		data, _ := shown[0]["body"].(string)
		if coded, found := shown[0]["body_base64"].(string); found {
			raw, err := base64.StdEncoding.DecodeString(coded)
			if err != nil {
				t.Error(err)
			}
			data = string(raw)
		}
		if data != c.data {
			t.Errorf("letter %d is shown with the command %q; want %q", i+1, data, c.data)
		}
		if out := r.must(t, "dead-letters", "show", fmt.Sprint(i+1)); !strings.Contains(out, c.reason) || strings.ContainsAny(out, "\x00\x1b") {
			t.Errorf("letter %d is shown to people as %q", i+1, out)
		}
	}
	if out := r.must(t, "dead-letters", "list"); strings.Count(out, "invalid_command") != 4 || strings.Count(out, "app_mismatch") != 1 {
		t.Errorf("listed for people:\n%s", out)
	}
	if got := r.letterSeqs(t, "--reason=app_mismatch"); fmt.Sprint(got) != "[2]" {
		t.Errorf("of app_mismatch: %v; want 2", got)
	}
	r.must(t, "dead-letters", "drop", "1", "4")
	r.must(t, "dead-letters", "drop", "--reason", "app_mismatch")
	if got := r.letterSeqs(t); fmt.Sprint(got) != "[3 5]" {
		t.Errorf("after three were dropped: %v; want 3 and 5", got)
	}
	for _, words := range [][]string{{"drop", "1"}, {"show", "1"}, {"retry", "1"}, {"show", "99"}, {"retry"}, {"drop"}, {"show"}, {"drop", "x"}, {"retry", "-1"}, {"retry", "3", "--all"}} {
		res := r.call(t, append([]string{"dead-letters"}, words...)...)
		if res.code == 0 || strings.Count(strings.TrimSpace(res.err), "\n") > 0 || res.err == "" {
			t.Errorf("%v: exit status %d; want another and one line on standard error: %q", words, res.code, res.err)
		}
	}
	r.must(t, "dead-letters", "drop", "--all", "--yes")
	if got := r.letterSeqs(t); len(got) > 0 {
		t.Errorf("after all were dropped: %v", got)
	}
}

func TestARetryHealsWhatFailed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cmd, chats := r.bulk(t, "demo", "alice", 3, 10)
	broken, fine := chats[1], chats[0]
	mend := r.breakDeletes(t, broken)
	last := r.left(t, broken).Last
	seq := r.publish(t, "conversation.delete.demo", encode(t, cmd), "Nats-Msg-Id", "demo."+cmd.CommandID, "X-Own", "kept", "traceparent", traceparent)
	stored := r.storedAt(t, seq)
	sub, err := r.nc.SubscribeSync("conversation.delete.demo")
	if err != nil {
		t.Fatal(err)
	}
	r.start(t, "--max-attempts=2")
	r.failed(t, cmd.CommandID, "g1")
	letter := r.letter(t, seq)
	told := r.deleted(t, cmd.CommandID, fine.id)

	// What comes after the command survives its retry too.
	r.sayN(t, broken, 4)
	r.sayN(t, fine, 2)
	// Still broken: another letter, with the first one's time.
	r.must(t, "dead-letters", "retry", fmt.Sprint(letter.seq))
	es := r.awaitStored(t, 2, of(cmd.CommandID, "g1"))
	if es[0].id() == es[1].id() || es[1].kind() != conversation.TypeDeleteFailed {
		t.Errorf("the retry's failure is %s; want one with an id of its own", es[1])
	}
	m, err := sub.NextMsg(timeout)
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Data) != string(letter.data) || m.Header.Get("Lethe-Retry") != fmt.Sprint(letter.seq) || len(m.Header["Nats-Msg-Id"]) > 0 ||
		!parseTime(t, m.Header.Get("Lethe-Stored-At")).Equal(parseTime(t, stored)) {
		t.Errorf("retried as %v %s", m.Header, m.Data)
	}
	if got := m.Header.Get("X-Own") + m.Header.Get("traceparent"); got != "kept"+traceparent {
		t.Errorf("the producer's headers are %v on the retry", m.Header)
	}
	r.settled(t)
	left := r.letters(t)
	if len(left) != 1 || left[0].seq == letter.seq {
		t.Fatalf("%d letters; want a new one alone", len(left))
	}
	wantLetter(t, left[0], "demo", "attempts_exhausted", "conversation.delete.demo", stored, letter.data)

	mend()
	r.must(t, "dead-letters", "retry", "--reason=attempts_exhausted")
	e := r.awaitStored(t, 1, of(cmd.CommandID, "g1"), typed(conversation.TypeDeleted))[0]
	wantFields(t, e, "through_seq", last, "messages_deleted", 10, "conversation_removed", false)
	if got := r.left(t, broken); got.Messages != 4 || got.First <= last || !got.Row || got.Unread != 4 {
		t.Errorf("left: %+v; want the 4 messages that came later", got)
	}
	r.settled(t)
	if got := r.letterSeqs(t); len(got) > 0 {
		t.Errorf("letters %v are left after a retry that succeeded", got)
	}
	again := r.awaitHeard(t, 3, of(cmd.CommandID, fine.id))
	sameEvent(t, told, again[2])
	if got := r.left(t, fine); got.Messages != 2 {
		t.Errorf("a retry has deleted again what had finished: %+v", got)
	}
	if got := e.header.Get("traceparent"); got != traceparent {
		t.Errorf("traceparent = %q after a retry", got)
	}
	if state := r.state(t, cmd.CommandID, "g1"); state["state"] != "done" {
		t.Errorf("the ledger says %v", state)
	}
}

// publishRetry publishes a command as `dead-letters retry` does.
func (r *rig) publishRetry(t testing.TB, cmd conversation.Command, letter message) {
	t.Helper()
	r.publish(t, "conversation.delete.demo", encode(t, cmd), "Lethe-Retry", fmt.Sprint(letter.seq), "Lethe-Stored-At", letter.header.Get("Lethe-Stored-At"))
}

func TestARetryReopensOnceForEachLetter(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := chat{"demo", "alice", "g"}
	r.fill(t, c, 10)
	mend := r.breakDeletes(t, c)
	r.start(t, "--max-attempts=1")
	cmd := c.ask()
	first := r.letter(t, r.again(t, cmd))
	failures := func(n int) []event { return r.awaitStored(t, n, of(cmd.CommandID)) }

	r.publishRetry(t, cmd, first) // reopens, and fails again
	failures(2)
	r.settled(t)
	mend()
	r.publishRetry(t, cmd, first) // the second time for this letter
	last := failures(3)[2]
	wantFields(t, last, "reason", "attempts_exhausted")
	r.again(t, cmd) // a plain duplicate
	wantFields(t, failures(4)[3], "reason", "attempts_exhausted", "message", last.text("message"))
	r.settled(t)
	if got := r.left(t, c); got.Messages != 10 {
		t.Errorf("a letter has reopened its command twice: %+v", got)
	}
	distinct := map[string]bool{}
	for _, e := range failures(4) {
		distinct[e.id()] = true
	}
	letters := r.letters(t)
	if len(distinct) != 4 || len(letters) != 4 {
		t.Errorf("4 failures have %d ids and %d letters; want 4 each", len(distinct), len(letters))
	}
	// Any of the other letters reopens it.
	r.must(t, "dead-letters", "retry", fmt.Sprint(letters[3].seq))
	e := r.awaitStored(t, 1, of(cmd.CommandID), typed(conversation.TypeDeleted))[0]
	wantFields(t, e, "messages_deleted", 10, "through_seq", 10)
	r.wantLeft(t, c, nothing)
	// Once it is done, the letters that are left tell the same event.
	r.must(t, "dead-letters", "retry", "--all")
	r.settled(t)
	for _, again := range r.awaitHeard(t, 4, of(cmd.CommandID), typed(conversation.TypeDeleted)) {
		sameEvent(t, e, again)
	}
	if got := r.letterSeqs(t); len(got) > 0 {
		t.Errorf("letters %v are left", got)
	}
}

func TestARetryOfAnInvalidCommandFailsAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	bad := body("conversations", "[]")
	seq := r.publish(t, "conversation.delete", []byte(bad))
	stored := r.letter(t, seq).header.Get("Lethe-Stored-At")
	r.must(t, "dead-letters", "retry", "1")
	r.awaitStored(t, 2, of("c"))
	r.settled(t)
	letters := r.letters(t)
	if len(letters) != 1 || letters[0].seq == 1 {
		t.Fatalf("%d letters; want a new one alone", len(letters))
	}
	wantLetter(t, letters[0], "demo", "invalid_command", "conversation.delete", stored, []byte(bad))
	if got := letters[0].header["Lethe-Stream-Sequence"]; len(got) != 1 || got[0] == fmt.Sprint(seq) {
		t.Errorf("Lethe-Stream-Sequence = %q; want the retry's own", got)
	}
}

// The time of the boundary is the earlier one: a header from the future doesn't
// widen a deletion.
func TestStoredAtMovesTheBoundaryOnlyBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, at := range map[string]string{"future": "2999-01-01T00:00:00Z", "garbage": "tomorrow"} {
		c := chat{"demo", name, "g"}
		r.fill(t, c, 10)
		cmd := c.ask()
		cmd.CommandID = name
		r.publish(t, "conversation.delete.demo", encode(t, cmd), "Lethe-Stored-At", at)
		r.sayN(t, c, 2)
	}
	past := chat{"demo", "past", "g"}
	r.fill(t, past, 10)
	cmd := past.ask()
	cmd.CommandID = "past"
	r.publish(t, "conversation.delete.demo", encode(t, cmd), "Lethe-Stored-At", "2001-01-01T00:00:00Z")
	r.start(t)
	wantFields(t, r.deleted(t, "future", "g"), "through_seq", 10, "messages_deleted", 10, "conversation_removed", false)
	wantFields(t, r.deleted(t, "garbage", "g"), "through_seq", 10, "messages_deleted", 10, "conversation_removed", false)
	wantFields(t, r.deleted(t, "past", "g"), "through_seq", 0, "messages_deleted", 0, "conversation_removed", false)
}

func TestALetterStaysUntilItsRetryIsStored(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.start(t)
	r.letter(t, r.publish(t, "conversation.delete.demo", []byte("x")))
	w.term(t)
	if err := r.js.DeleteStream(t.Context(), conversation.CommandsStream); err != nil {
		t.Fatal(err)
	}
	refused(t, r.call(t, "dead-letters", "retry", "1", "--timeout=2s"), "a retry without a stream")
	if got := r.letterSeqs(t); fmt.Sprint(got) != "[1]" {
		t.Errorf("letters %v; want the one that could not be retried", got)
	}
	r.must(t, "setup")
	r.must(t, "dead-letters", "retry", "1")
	if got := r.letterSeqs(t); len(got) > 0 {
		t.Errorf("letters %v are left", got)
	}
	r.start(t)
	eventually(t, timeout, "it has failed again", func() bool { return fmt.Sprint(r.letterSeqs(t)) == "[2]" })
}

// What failed because of the plan is healed by another plan and a retry.
func TestARetryHealsAnIncompatibleID(t *testing.T) {
	t.Parallel()
	r := newRig(t, withSchema(ownSchema))
	good, bad := chat{"solo", "7", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}, chat{"solo", "7", "group_42"}
	r.fill(t, bad, 10)
	cmd := bad.ask(good.id)
	whole := chat{"solo", "alice", "group_42"}
	r.fill(t, whole, 10)
	other := whole.ask()
	w := r.start(t, "--plan="+writePlan(t, ownPlan))
	r.send(t, cmd)
	r.send(t, other)
	r.failed(t, cmd.CommandID, bad.id)
	r.awaitStored(t, 1, of(other.CommandID), typed(conversation.TypeDeleteFailed))
	r.settled(t)
	w.term(t)
	r.say(t, bad)
	r.start(t)
	r.must(t, "dead-letters", "retry", "--reason=incompatible_id")
	deleted := typed(conversation.TypeDeleted)
	wantFields(t, r.awaitStored(t, 1, of(cmd.CommandID, bad.id), deleted)[0], "through_seq", 10, "messages_deleted", 10, "conversation_removed", false)
	wantFields(t, r.awaitStored(t, 1, of(other.CommandID, whole.id), deleted)[0], "through_seq", 10, "messages_deleted", 10)
	wantFields(t, r.awaitStored(t, 1, of(cmd.CommandID, good.id), deleted)[0], "messages_deleted", 10) // by the first plan
	r.settled(t)
	if got := r.letterSeqs(t); len(got) > 0 {
		t.Errorf("letters %v are left", got)
	}
}
