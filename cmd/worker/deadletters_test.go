package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// letters are the sequences and reasons that `dead-letters list` tells.
func (s stack) letters(t *testing.T, args ...string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, l := range s.command(append([]string{"dead-letters", "list", "--json"}, args...)...).mustSucceed(t).objects(t) {
		found[fmt.Sprint(l["seq"])] = fmt.Sprint(l["reason"])
	}
	return found
}

func TestDeadLettersAreListedShownRetriedAndDropped(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	if o := s.command("dead-letters", "list").mustSucceed(t); o.stdout != "no dead letters\n" {
		t.Errorf("list printed %q", o.stdout)
	}
	w := s.startWorking(t)
	garbage := []byte("not JSON \x1b[2J\xff\x00 at all")
	s.publish(t, garbage, nats.Header{"X-Producer": {"gateway"}})
	s.publish(t, []byte(`{"command_id":"c1","app_id":"other","user_id":"u","conversations":[{"id":"x"}]}`), nil)
	w.log.await(t, "command given up", "invalid_command")
	w.log.await(t, "command given up", "app_mismatch")
	got := s.letters(t)
	bad := "1"
	if got["1"] != "invalid_command" {
		bad = "2"
	}
	if len(got) != 2 || got[bad] != "invalid_command" {
		t.Fatalf("letters are %v; want an invalid_command and an app_mismatch", got)
	}
	if only := s.letters(t, "--reason", "invalid_command"); len(only) != 1 || only[bad] == "" {
		t.Errorf("letters of invalid_command are %v; want %s", only, bad)
	}
	text := s.command("dead-letters", "list").mustSucceed(t).stdout
	if !strings.HasPrefix(text, "SEQ  FAILED_AT") || strings.Count(text, "\n") != 3 {
		t.Errorf("list printed %q; want a heading and two rows", text)
	}
	s.wantShown(t, bad, garbage)
	s.command("dead-letters", "show", "99").mustFail(t, exitError, "dead letter 99: no such dead letter")
	// It is as bad as before, so that it comes back with a number of its own.
	s.command("dead-letters", "retry", bad).mustSucceed(t)
	w.log.await(t, "command settled", `"sequence":3`)
	got = s.letters(t)
	if len(got) != 2 || got[bad] != "" || got["3"] != "invalid_command" {
		t.Errorf("after the retry of %s the letters are %v; want 3 in its place", bad, got)
	}
	o := s.command("dead-letters", "drop", "99", "3").mustFail(t, exitError, "dead letter 99: no such dead letter")
	if o.stdout != "dropped 3\n" {
		t.Errorf("drop printed %q; want that 3 is dropped nevertheless", o.stdout)
	}
	if got = s.letters(t); len(got) != 1 {
		t.Errorf("after the drop the letters are %v; want one", got)
	}
}

func TestDeadLettersAreRetriedAndDroppedByReasonAndAltogether(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	w := s.startWorking(t)
	for i := range 3 {
		s.publish(t, []byte("garbage"), nil)
		w.log.await(t, "command settled", fmt.Sprintf(`"sequence":%d,`, i+1))
	}
	w.stop(t)
	s.command("dead-letters", "retry", "--reason", "app_mismatch").mustSucceed(t)
	o := s.command("dead-letters", "retry", "--reason", "invalid_command", "--json").mustSucceed(t).objects(t)
	if len(o) != 3 || len(s.letters(t)) != 0 {
		t.Fatalf("retry printed %v and left %v; want three retried and none left", o, s.letters(t))
	}
	wantField(t, o[0], "result", "retried")
	w = s.startWorking(t)
	w.log.await(t, "command settled", `"sequence":6,`)
	s.command("dead-letters", "drop", "--all").mustFail(t, exitError, "Remove 3 dead letters for good? [y/N]", "add --yes")
	if left := s.letters(t, "--app", "demo"); len(left) != 3 || len(s.letters(t, "--app", "other")) != 0 {
		t.Errorf("letters of demo are %v, of other %v; want all three, and none", left, s.letters(t, "--app", "other"))
	}
	s.command("dead-letters", "drop", "--all", "--app", "other").mustSucceed(t) // nothing to ask about
	if out := s.command("dead-letters", "drop", "--all", "--yes").mustSucceed(t).stdout; !strings.HasSuffix(out, "dropped 3 dead letters\n") || len(s.letters(t)) != 0 {
		t.Errorf("drop --all printed %q and left %v; want all three gone", out, s.letters(t))
	}
}

func (s stack) wantShown(t *testing.T, seq string, body []byte) {
	t.Helper()
	if raw := s.command("dead-letters", "show", seq, "--raw").mustSucceed(t); !bytes.Equal([]byte(raw.stdout), body) {
		t.Errorf("show --raw printed %q; want %q", raw.stdout, body)
	}
	text := s.command("dead-letters", "show", seq).mustSucceed(t).stdout
	for _, want := range []string{"Lethe-Reason           invalid_command\n", "X-Producer             gateway\n", "not UTF-8"} {
		if !strings.Contains(text, want) {
			t.Errorf("show printed %q; want %q in it", text, want)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Errorf("show printed an escape: %q", text)
	}
	o := s.command("dead-letters", "show", seq, "--json").mustSucceed(t).objects(t)[0]
	wantField(t, o, "subject", "conversation.delete.demo")
	wantField(t, o, "body_base64", "bm90IEpTT04gG1sySv8AIGF0IGFsbA==")
	wantField(t, o, "bytes", len(body))
}
