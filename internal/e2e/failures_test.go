package e2e

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/lethe-im/lethe/conversation"
)

// wantLetter asserts a dead letter's place, bytes and headers.
func wantLetter(t testing.TB, l message, app, reason, subject, storedAt string, data []byte) {
	t.Helper()
	if want := "conversation.dead_letter." + app; l.subject != want {
		t.Errorf("dead letter on %s; want %s", l.subject, want)
	}
	if !bytes.Equal(l.data, data) {
		t.Errorf("the dead letter is not the command as it came:\n%.500q; want\n%.500q", l.data, data)
	}
	for name, want := range map[string]string{"Lethe-Reason": reason, "Lethe-Subject": subject} {
		if got := l.header[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s = %q; want %q", name, got, want)
		}
	}
	if got := l.header["Lethe-Error"]; len(got) != 1 || got[0] == "" || len(got[0]) > 1024 {
		t.Errorf("Lethe-Error = %.2000q; want one of 1 to 1024 bytes", got)
	}
	if n, err := strconv.Atoi(l.header.Get("Lethe-Deliveries")); err != nil || n < 1 {
		t.Errorf("Lethe-Deliveries = %q; want a number", l.header["Lethe-Deliveries"])
	}
	recent(t, "Lethe-Failed-At", l.header.Get("Lethe-Failed-At"))
	if got := l.header.Get("Lethe-Stored-At"); storedAt != "" && !parseTime(t, got).Equal(parseTime(t, storedAt)) {
		t.Errorf("Lethe-Stored-At = %s; want %s, when the stream stored it", got, storedAt)
	}
}

// What a trigger writes back at the commit, by way of another table, has never been deleted: the event and the dead letter say that it failed.
func TestRowsThatComeBackAtTheCommitAreNotDeleted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(t, `create table public.audit (app_id text, user_id text, conversation_id text, seq bigint);
		create function public.note() returns trigger language plpgsql as $$ begin insert into public.audit values (old.app_id, old.user_id, old.conversation_id, old.seq); return null; end $$;
		create function public.restore() returns trigger language plpgsql as $$ begin insert into chat.messages values (new.app_id, new.user_id, new.conversation_id, new.seq); return null; end $$;
		create trigger note after delete on chat.messages for each row execute function public.note();
		create constraint trigger restore after insert on public.audit deferrable initially deferred for each row when (new.conversation_id = 'held') execute function public.restore()`)
	r.start(t, "--max-attempts=2")
	held, free := chat{"demo", "alice", "held"}, chat{"demo", "alice", "free"}
	r.fill(t, held, 5)
	r.fill(t, free, 5)
	cmd := held.ask("free")
	seq := r.again(t, cmd)
	r.deleted(t, cmd.CommandID, "free")
	wantFields(t, r.failed(t, cmd.CommandID, "held"), "reason", "attempts_exhausted")
	l := r.letter(t, seq)
	wantLetter(t, l, "demo", "attempts_exhausted", "conversation.delete.demo", "", encode(t, cmd))
	if got := l.header.Get("Lethe-Error"); !strings.Contains(got, `"chat"."messages" keeps 5 rows`) {
		t.Errorf("Lethe-Error = %q; want it to name the table", got)
	}
	r.wantLeft(t, free, nothing)
	if got := r.left(t, held); got.Messages != 5 {
		t.Errorf("%+v is left; want all messages", got)
	}
}

func TestAnInvalidCommandIsADeadLetterWithItsReason(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bad := []byte(`{"command_id":"c","app_id":"demo","user_id":"alice","device_id":"phone","conversations":[{"id":"g","through_seq":-1}]} `)
	c := chat{"demo", "alice", "g"}
	r.fill(t, c, 5)
	seq := r.publish(t, "conversation.delete.demo", bad, "traceparent", traceparent, "X-Own", "one", "X-Own", "two", "x-lower", "",
		"Nats-Msg-Id", "demo.c", "Lethe-Reason", "forged", "Lethe-Error", "forged", "Lethe-Subject", "forged", "Lethe-Stream-Sequence", "1", "Lethe-Stream-Sequence", "2")
	stored := r.storedAt(t, seq)
	r.start(t)
	wantFields(t, r.failed(t, "c", ""), "reason", "invalid_command", "origin_device_id", "phone", "conversation_id", nil)
	l := r.letter(t, seq)
	wantLetter(t, l, "demo", "invalid_command", "conversation.delete.demo", stored, bad)
	if got := l.header["X-Own"]; !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("the producer's header X-Own = %q; want both values", got)
	}
	if got, found := l.header["x-lower"]; !found || len(got) != 1 || got[0] != "" {
		t.Errorf("the producer's empty header x-lower = %q", got)
	}
	if got := l.header["traceparent"]; len(got) != 1 || got[0] != traceparent {
		t.Errorf("traceparent = %q; want the producer's", got)
	}
	if got := l.header["Lethe-Stream-Sequence"]; len(got) != 1 || got[0] != fmt.Sprint(seq) {
		t.Errorf("Lethe-Stream-Sequence = %q; want %d", got, seq)
	}
	if got := l.header.Get("Nats-Msg-Id"); got == "demo.c" {
		t.Error("the dead letter carries the producer's Nats-Msg-Id")
	}
	if !strings.Contains(l.header.Get("Lethe-Error"), "through_seq") {
		t.Errorf("Lethe-Error = %q doesn't name the field", l.header.Get("Lethe-Error"))
	}
	if got := r.left(t, c); got.Messages != 5 {
		t.Errorf("an invalid command has deleted: %+v", got)
	}
	good := c.ask()
	good.CommandID = "c" // an invalid command has not used the id up
	r.again(t, good)
	r.deleted(t, "c", "g")
	r.wantLeft(t, c, nothing)
}

func TestASubjectOfAnotherAppIsAMismatch(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	c := chat{"demo", "alice", "g"}
	r.fill(t, c, 5)
	known := chat{"demo", "alice", "other"}.ask()
	known.DeviceID = "phone"
	r.send(t, known)
	told := r.deleted(t, known.CommandID, "other")

	fresh, reused := c.ask(), known
	reused.Conversations = []conversation.Target{{ID: "g"}} // would be command_id_reused in its own app
	for i, cmd := range []conversation.Command{fresh, known, reused} {
		seq := r.publish(t, "conversation.delete.sh%2Eop", encode(t, cmd))
		var e event
		for _, e = range r.awaitStored(t, i+1, typed("conversation.delete_failed")) {
			wantFields(t, e, "reason", "app_mismatch", "app_id", "sh.op", "user_id", "alice", "conversation_id", nil)
		}
		wantEnvelope(t, e, "conversation.delete_failed", "lethe/sh%2Eop", "")
		if want := "conversation.delete_failed.sh%2Eop.alice"; e.subject != want {
			t.Errorf("told on %s; want %s", e.subject, want)
		}
		wantLetter(t, r.letter(t, seq), "sh%2Eop", "app_mismatch", "conversation.delete.sh%2Eop", "", encode(t, cmd))
	}
	if state := r.state(t, fresh.CommandID, "g"); len(state) > 0 {
		t.Errorf("the ledger has read it: %v", state)
	}
	if got := r.left(t, c); got.Messages != 5 {
		t.Errorf("a mismatched command has deleted: %+v", got)
	}
	r.again(t, known)
	again := r.awaitHeard(t, 2, of(known.CommandID, "other"))
	sameEvent(t, told, again[len(again)-1])

	for _, subject := range []string{"conversation.delete.de%6Do", "conversation.delete.Demo", "conversation.delete.demo%", "conversation.delete._"} {
		cmd := c.ask()
		seq := r.publish(t, subject, encode(t, cmd))
		l := r.letter(t, seq)
		if got := l.header.Get("Lethe-Reason"); got != "app_mismatch" || l.subject == "conversation.dead_letter.demo" {
			t.Errorf("%s: reason %q on %s; want app_mismatch on the subject's app", subject, got, l.subject)
		}
	}
	if got := r.left(t, c); got.Messages != 5 {
		t.Errorf("a mismatched command has deleted: %+v", got)
	}
	trusted := c.ask()
	r.publish(t, "conversation.delete", encode(t, trusted))
	r.deleted(t, trusted.CommandID, "g")
	r.wantLeft(t, c, nothing)
}

func TestAttemptsAreExhaustedByRealFailures(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	broken := chat{"demo", "alice", "g3"}
	cmd, chats := r.bulk(t, "demo", "alice", 6, 10)
	cmd.DeviceID = "phone"
	r.breakDeletes(t, broken)
	neighbour := chat{"demo", "bob", "g"}
	r.fill(t, neighbour, 10)
	seq := r.again(t, cmd)
	stored := r.storedAt(t, seq)
	other := neighbour.ask()
	r.again(t, other)
	r.start(t, "--max-attempts=3")

	wantFields(t, r.deleted(t, other.CommandID, "g"), "messages_deleted", 10)
	e := r.failed(t, cmd.CommandID, "g3")
	wantFields(t, e, "reason", "attempts_exhausted", "conversation_id", "g3", "user_id", "alice", "origin_device_id", "phone")
	if !strings.Contains(e.text("message"), "legal hold") {
		t.Errorf("message %q doesn't tell the cause", e.text("message"))
	}
	wantEnvelope(t, e, "conversation.delete_failed", "lethe/demo", "g3")
	l := r.letter(t, seq)
	wantLetter(t, l, "demo", "attempts_exhausted", "conversation.delete.demo", stored, encode(t, cmd))
	if got := l.header.Get("Lethe-Deliveries"); got != "3" {
		t.Errorf("Lethe-Deliveries = %s; want 3, one for each attempt", got)
	}
	if state := r.state(t, cmd.CommandID, "g3"); state["state"] != "failed" || state["attempts"] != "3" {
		t.Errorf("the ledger says %v; want failed after 3 attempts", state)
	}
	for _, c := range chats {
		if c != broken {
			r.deleted(t, cmd.CommandID, c.id)
			r.wantLeft(t, c, nothing)
		}
	}
	if got := r.left(t, broken); got.Messages != 10 || !got.Row {
		t.Errorf("a failed deletion has taken something: %+v", got)
	}
	if es := r.awaitStored(t, 1, of(cmd.CommandID, "g3")); len(es) != 1 {
		t.Errorf("%d events of one failure", len(es))
	}
	next := chat{"demo", "alice", "g3-not"}.ask()
	r.send(t, next)
	r.deleted(t, next.CommandID, "g3-not")
}

func TestABulkCommandHasOneDeadLetterWithItsFirstFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t, "LETHE_MAX_ATTEMPTS=2")
	cmd, chats := r.bulk(t, "demo", "alice", 5, 4)
	mend := r.breakDeletes(t, chats[1])
	r.breakDeletes(t, chats[4])
	release := r.hold(t, `select from chat.messages where user_id = 'alice' and conversation_id = 'g2' for update`)
	seq := r.again(t, cmd)
	r.failed(t, cmd.CommandID, "g1")
	r.failed(t, cmd.CommandID, "g4")
	if n := len(r.letters(t)); n > 0 {
		t.Errorf("%d dead letters while a deletion is not final", n)
	}
	release()
	r.deleted(t, cmd.CommandID, "g2")
	wantLetter(t, r.letter(t, seq), "demo", "attempts_exhausted", "conversation.delete.demo", "", encode(t, cmd))

	// A plain duplicate repeats the failure, also when it could succeed now.
	mend()
	first := r.failed(t, cmd.CommandID, "g1")
	dup := r.again(t, cmd)
	es := r.awaitStored(t, 2, of(cmd.CommandID, "g1"))
	if len(es) != 2 || es[1].id() == first.id() {
		t.Errorf("a duplicate's failure has the id %s again", first.id())
	}
	wantFields(t, es[1], "reason", "attempts_exhausted", "message", first.text("message"))
	wantLetter(t, r.letter(t, dup), "demo", "attempts_exhausted", "conversation.delete.demo", "", encode(t, cmd))
	if got := r.left(t, chats[1]); got.Messages != 4 {
		t.Errorf("a plain duplicate has tried again: %+v", got)
	}
	r.onlyDeletedAmong(t, cmd.CommandID, "g0", "g2", "g3")
}

// onlyDeletedAmong is onlyDeleted for some of a command's conversations.
func (r *rig) onlyDeletedAmong(t testing.TB, command string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		stored, heard, _ := r.seen(of(command, id))
		for _, e := range append(stored, heard...) {
			sameEvent(t, r.deleted(t, command, id), e)
		}
	}
}

// Waiting for a lock, and a worker that is killed meanwhile, are no failures.
func TestWaitingIsNoAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := chat{"demo", "alice", "g"}
	r.fill(t, c, 40)
	release := r.hold(t, `select from chat.messages where user_id = 'alice' and seq in (3, 30) for update`)
	cmd := c.ask()
	r.send(t, cmd)
	for i := range 3 {
		w := r.start(t, "--max-attempts=1")
		r.awaitHeard(t, 1+i, typed("conversation.deleting"))
		if i == 1 {
			w.term(t)
		} else {
			w.kill()
		}
	}
	r.start(t, "--max-attempts=1")
	release()
	wantFields(t, r.deleted(t, cmd.CommandID, "g"), "messages_deleted", 40)
	if got := r.state(t, cmd.CommandID, "g")["attempts"]; got != "0" {
		t.Errorf("%s attempts are counted; want none", got)
	}
	r.wantLeft(t, c, nothing)
}

// What a database says may be long and may look like headers.
func TestAnErrorCannotForgeHeaders(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := chat{"demo", "alice", "g"}
	r.fill(t, c, 3)
	r.breakDeletes(t, c)
	r.exec(t, `create or replace function public.refuse() returns trigger language plpgsql as $$
		begin raise exception E'first\r\nLethe-Reason: forged\r\n\r\n{"x":1}\t\x1b[31m%', repeat('ü', 5000); end $$`)
	r.start(t, "--max-attempts=1")
	cmd := c.ask()
	seq := r.again(t, cmd)
	e := r.failed(t, cmd.CommandID, "g")
	wantEnvelope(t, e, "conversation.delete_failed", "lethe/demo", "g")
	l := r.letter(t, seq)
	wantLetter(t, l, "demo", "attempts_exhausted", "conversation.delete.demo", "", encode(t, cmd))
	if got := l.header.Get("Lethe-Error"); strings.ContainsAny(got, "\r\n\x1b") || !utf8.ValidString(got) || !strings.Contains(got, "first") {
		t.Errorf("Lethe-Error = %q; want one line of text", got)
	}
	if out := r.must(t, "dead-letters", "list") + r.must(t, "status", cmd.CommandID); strings.Contains(out, "\x1b") {
		t.Errorf("an escape sequence reaches the terminal: %q", out)
	}
}
