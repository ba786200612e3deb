package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

func TestSendWithWaitPrintsTheEvent(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	s.startWorking(t)
	s.addConversation(t, "c2c_bob", 7)
	o := s.send("--device", "phone", "--conversation", "c2c_bob", "--command-id", "c1", "--wait", "--json").mustSucceed(t).objects(t)
	if len(o) != 2 {
		t.Fatalf("send printed %v; want the receipt and the event", o)
	}
	for name, want := range map[string]any{"type": "conversation.delete", "command_id": "c1", "stream_sequence": 1} {
		wantField(t, o[0], name, want)
	}
	for name, want := range map[string]any{
		"type": "conversation.deleted", "sequence": 1, "command_id": "c1", "conversation_id": "c2c_bob",
		"through_seq": 7, "messages_deleted": 7, "conversation_removed": true, "origin_device_id": "phone", "id": conversation.DeletedID("demo", "c1", "c2c_bob"),
	} {
		wantField(t, o[1], name, want)
	}
	s.addConversation(t, "c2c_eve", 1)
	text := s.send("--conversation", "c2c_eve", "--wait").mustSucceed(t).stdout
	if !strings.Contains(text, "deleted c2c_eve: 1 message through seq 1; conversation removed; for no device, as the command names none\n") {
		t.Errorf("send printed %q", text)
	}
}

func TestSendGivesEachConversationItsOwnThroughSeq(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	s.startWorking(t)
	for _, id := range []string{"a,b", "-c", "d"} {
		s.addConversation(t, id, 9)
	}
	o := s.send("--conversation", "a,b", "--through-seq", "4", "--conversation=-c", "--conversation", "d", "--through-seq=6", "--wait", "--json")
	events := o.mustSucceed(t).objects(t)[1:]
	want := map[string]string{"a,b": "4", "-c": "9", "d": "6"}
	for _, e := range events {
		wantField(t, e, "through_seq", want[fmt.Sprint(e["conversation_id"])])
	}
	if len(events) != len(want) {
		t.Errorf("%d events, %v; want %d", len(events), events, len(want))
	}
}

func TestSendWithKeepHistoryLeavesTheMessages(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	s.startWorking(t)
	s.addConversation(t, "c2c_bob", 3)
	s.send("--conversation", "c2c_bob", "--keep-history", "--wait").mustSucceed(t)
	if n := s.messages(t, "c2c_bob"); n != 3 {
		t.Errorf("%d messages left; want 3", n)
	}
}

func TestADuplicateThatFinishedLongAgoShowsItsEvent(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	s.startWorking(t)
	s.addConversation(t, "c2c_bob", 3)
	s.send("--conversation", "c2c_bob", "--command-id", "c1", "--wait").mustSucceed(t)
	o := s.send("--conversation", "c2c_bob", "--command-id", "c1", "--wait", "--json").mustSucceed(t).objects(t)
	if len(o) != 2 {
		t.Fatalf("send printed %v; want the receipt and the event", o)
	}
	wantField(t, o[0], "stream_sequence", 2)
	wantField(t, o[1], "messages_deleted", 3)
}

// Whether a command is the same as an earlier one of its id, only a worker knows: the events don't have
// all that the two may differ in.
func TestWithoutAWorkerAnEarlierResultIsNotTheCommandsOwn(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	w := s.startWorking(t)
	s.addConversation(t, "c2c_bob", 3)
	s.send("--conversation", "c2c_bob", "--command-id", "c1", "--wait").mustSucceed(t)
	w.stop(t)
	o := s.send("--conversation", "c2c_bob", "--through-seq", "7", "--keep-conversation", "--command-id", "c1", "--wait", "--timeout", "6s")
	o.mustFail(t, exitError, "not finished within 6s", "an earlier command of this id has ended, and no worker has said yet whether this one is the same")
	if strings.Contains(o.stdout, "deleted ") {
		t.Errorf("send printed %s; want the receipt alone", o.stdout)
	}
	o = s.send("--conversation", "c2c_bob", "--through-seq", "2", "--command-id", "c1", "--wait")
	o.mustFail(t, exitError, `command_id_reused: command c1 has been used before, for "c2c_bob" through seq 3: a new command needs a new --command-id`)
}

// What an id was used for before never passes for the outcome of another command, whether a
// worker refuses that or none runs.
func TestSendSaysAtOnceThatAnIdIsReused(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	w := s.startWorking(t)
	s.send("--device", "phone", "--conversation", "a", "--command-id", "c1", "--wait").mustSucceed(t)
	s.send("--all-conversations", "--command-id", "all", "--wait").mustSucceed(t)
	others := map[string][]string{
		`for "a"`:                {"--user", "alice", "--device", "phone", "--conversation", "b", "--command-id", "c1"},
		`by the device "phone"`:  {"--user", "alice", "--device", "laptop", "--conversation", "a", "--command-id", "c1"},
		"without --keep-history": {"--user", "alice", "--device", "phone", "--conversation", "a", "--keep-history", "--command-id", "c1"},
		"for all conversations":  {"--user", "alice", "--conversation", "a", "--command-id", "all"},
	}
	unseen := [][]string{ // what no event of the user tells
		{"--user", "bob", "--device", "phone", "--conversation", "a", "--command-id", "c1"},
		{"--user", "alice", "--device", "phone", "--conversation", "a", "--through-seq", "4", "--command-id", "c1"},
		{"--user", "alice", "--device", "phone", "--conversation", "a", "--conversation", "b", "--command-id", "c1"},
		{"--user", "alice", "--device", "phone", "--all-conversations", "--command-id", "c1"},
		{"--user", "alice", "--conversation", "group_1", "--everyone", "--command-id", "c1"},
	}
	send := func(args []string) outcome {
		return s.command(append([]string{"send", "--app", "demo", "--wait", "--timeout", "20s"}, args...)...)
	}
	for _, args := range append(slices.Collect(maps.Values(others)), unseen...) {
		o := send(args).mustFail(t, exitError) // perhaps before a slow worker has said so
		if n := strings.Count(o.stdout, "delete_failed: command_id_reused: ") + strings.Count(o.stderr, "command_id_reused: command "); n != 1 || strings.Contains(o.stdout, "deleted ") {
			t.Errorf("%v: %s%s\nwant the refusal alone", args, o.stdout, o.stderr)
		}
	}
	for range 2 { // the same, and so the outcome of before, whatever was refused since
		o := s.send("--device", "phone", "--conversation", "a", "--command-id", "c1", "--wait").mustSucceed(t)
		if strings.Contains(o.stdout, "delete_failed") || !strings.Contains(o.stdout, "deleted a: ") {
			t.Errorf("the same command again printed %s", o.stdout)
		}
	}
	s.send("--all-conversations", "--command-id", "all", "--wait").mustSucceed(t)
	w.stop(t)
	for used, args := range others {
		o := send(args).mustFail(t, exitError, "command_id_reused: command "+args[len(args)-1]+" has been used before, "+used+": a new command needs a new --command-id")
		if strings.Contains(o.stdout, "deleted ") {
			t.Errorf("%v without a worker: %s", args, o.stdout)
		}
	}
}

func TestSendFailsAtItsTimeoutAndNamesWhatIsOpen(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	o := s.send("--conversation", "c2c_bob", "--conversation", "group_42", "--wait", "--timeout", "500ms")
	o.mustFail(t, exitError, `not finished within 500ms: "c2c_bob", "group_42": the command is stored and continues`)
	if !strings.Contains(o.stdout, "stored at 1\n") {
		t.Errorf("send printed %q; want the receipt", o.stdout)
	}
}

// ending is a writer that ends a context with the first line.
type ending struct {
	*lines
	end context.CancelFunc
}

func (e *ending) Write(p []byte) (int, error) {
	defer e.end()
	return e.lines.Write(p)
}

func TestSendThatIsInterruptedSaysThatTheCommandContinues(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	out := &ending{lines: newLines(), end: cancel}
	log := newLines()
	code := run(ctx, []string{"send", "--app", "demo", "--user", "alice", "--conversation", "c2c_bob", "--wait"}, s.env(), out, log)
	if code != exitError || !strings.HasPrefix(log.String(), `worker: interrupted; not finished: "c2c_bob": the command is stored and continues`) {
		t.Errorf("send = %d %q; want 1 and what is open", code, log)
	}
}

func TestSendFailsWhenTheDeletionDoes(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	s.startWorking(t)
	first := s.follow(t)
	s.publish(t, []byte(`{"command_id":"c1","app_id":"demo","user_id":"alice","conversations":[{"id":"x"}]}`), nil)
	first.awaitDeleted(t)
	o := s.send("--conversation", "c2c_bob", "--command-id", "c1", "--wait").mustFail(t, exitError, "1 of 1 conversation failed")
	if !strings.Contains(o.stdout, "delete_failed: command_id_reused: ") {
		t.Errorf("send printed %q; want the failure and its reason", o.stdout)
	}
}

func TestSendWithoutNATSOrStreamsSaysWhatToDo(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.send("--conversation", "c").mustFail(t, exitError, "run `worker setup`")
	if err := s.nats.Stop(); err != nil {
		t.Fatal(err)
	}
	s.send("--conversation", "c").mustFail(t, exitError, "connect to NATS at "+s.nats.URL())
}

func TestStatusTellsWhatTheLedgerKnows(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	s.startWorking(t)
	s.addConversation(t, "c2c_bob", 7)
	s.command("status", "c1").mustFail(t, exitError, "the ledger has no command c1")
	s.send("--device", "phone", "--conversation", "c2c_bob", "--command-id", "c1", "--wait").mustSucceed(t)
	o := s.command("status", "c1", "--json").mustSucceed(t).objects(t)
	if len(o) != 1 {
		t.Fatalf("status printed %v; want one object", o)
	}
	for name, want := range map[string]any{
		"app_id": "demo", "command_id": "c1", "user_id": "alice", "conversation_id": "c2c_bob", "state": "done",
		"through_seq": 7, "messages_deleted": 7, "history_kept": false, "conversation_removed": true, "multi_client_sync": false,
		"origin_device_id": "phone", "attempts": 0, "cursor_seq": 7,
	} {
		wantField(t, o[0], name, want)
	}
	for _, name := range []string{"completed_at", "requested_at"} {
		if o[0][name] == nil {
			t.Errorf("status has no %s: %v", name, o[0])
		}
	}
	text := s.command("status", "c1", "--app", "demo").mustSucceed(t).stdout
	for _, line := range []string{"state                 done\n", "messages_deleted      7\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("status printed %q; want the line %q", text, line)
		}
	}
	s.command("status", "c1", "--app", "other").mustFail(t, exitError, "the ledger has no command c1 of app other")
}

func TestStatusOfABulkCommandHasARowForEachConversation(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	s.startWorking(t)
	s.send("--conversation", "a", "--conversation", "b", "--command-id", "c1", "--wait").mustSucceed(t)
	if n := len(s.command("status", "c1", "--json").mustSucceed(t).objects(t)); n != 2 {
		t.Errorf("status --json printed %d objects; want 2", n)
	}
	text := s.command("status", "c1").mustSucceed(t).stdout
	if n := strings.Count(text, "\n"); n != 3 || !strings.HasPrefix(text, "APP_ID  USER_ID  CONVERSATION_ID  STATE") {
		t.Errorf("status printed %q; want a heading and two rows", text)
	}
}

func TestSettingsAreOffByDefaultAndEffectiveWithoutARestart(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	s.startWorking(t)
	get := func(want bool) {
		t.Helper()
		wantField(t, s.command("settings", "get", "--app", "demo", "--json").mustSucceed(t).objects(t)[0], "multi_client_sync", want)
	}
	get(false)
	for _, on := range []bool{true, false} {
		o := s.command("settings", "set", "--app", "demo", fmt.Sprintf("--multi-client-sync=%t", on)).mustSucceed(t)
		if want := fmt.Sprintf("demo: multi-client-sync=%t\n", on); o.stdout != want {
			t.Errorf("settings set printed %q; want %q", o.stdout, want)
		}
		get(on)
		e := s.send("--conversation", "c2c_bob", "--wait", "--json").mustSucceed(t).objects(t)[1]
		wantField(t, e, "multi_client_sync", on)
	}
}

func TestTheEndOfAHostileIDCannotPaintTheTerminal(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	s.startWorking(t)
	const id = "\u202eeve\u2066"
	o := s.send("--conversation", id, "--command-id", id, "--wait").mustSucceed(t)
	all := o.stdout + s.command("status", id).mustSucceed(t).stdout
	if strings.Contains(all, "\u202e") || !strings.Contains(all, `\u202eeve\u2066`) {
		t.Errorf("printed %q; want the id escaped", all)
	}
}
