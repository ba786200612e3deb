package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// objects reads what a call printed with --json: one object a line.
func objects(t testing.TB, out string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(out) {
		var o map[string]any
		d := json.NewDecoder(bytes.NewReader([]byte(line)))
		d.UseNumber()
		if err := d.Decode(&o); err != nil {
			t.Fatalf("not one JSON object a line: %v:\n%s", err, out)
		}
		all = append(all, o)
	}
	return all
}

// state returns the ledger's row of a deletion as text, empty where there is
// none. It reads the table, which is quicker than `worker status`.
func (r *rig) state(t testing.TB, command, id string) map[string]string {
	t.Helper()
	var state string
	var through *int64
	var attempts int
	row := map[string]string{}
	err := r.db.QueryRow(t.Context(), `select state, through_seq, attempts from lethe.deletions where command_id = $1 and conversation_id = $2`, command, id).
		Scan(&state, &through, &attempts)
	if err != nil {
		return row
	}
	row["state"], row["attempts"] = state, fmt.Sprint(attempts)
	if through != nil {
		row["through_seq"] = fmt.Sprint(*through)
	}
	return row
}

// refused asserts that a call has failed with one line on standard error, and
// nothing else.
func refused(t testing.TB, res result, what string, about ...string) {
	t.Helper()
	if res.code == 0 || strings.Count(res.err, "\n") != 1 || !strings.HasSuffix(res.err, "\n") {
		t.Errorf("%s: exit status %d, standard error %q; want another status and one line", what, res.code, res.err)
	}
	for _, word := range about {
		if !strings.Contains(res.err, word) {
			t.Errorf("%s: %q doesn't speak of %q", what, res.err, word)
		}
	}
}

func TestSendPublishesACommandAndWaitsForItsEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, d := chat{"demo", "alice", "c2c_bob"}, chat{"demo", "alice", "-group 42"}
	r.fill(t, c, 10)
	r.fill(t, d, 10)
	base := []string{"send", "--app", "demo", "--user", "alice", "--json"}
	send := func(words ...string) []string { return append(append([]string{}, base...), words...) }

	// Nobody works yet: it is stored, and waiting for it ends in time.
	out := objects(t, r.must(t, send("--conversation=c2c_eve")...))
	if len(out) != 1 || out[0]["type"] != "conversation.delete" || out[0]["command_id"] == "" {
		t.Errorf("send prints %v", out)
	}
	res := r.call(t, send("--conversation=c2c_eve", "--wait", "--timeout=2s")...) // time enough to connect and publish
	refused(t, res, "a timeout", "2s", "c2c_eve")

	r.start(t)
	out = objects(t, r.must(t, send("--device=phone", "--conversation="+d.id, "--through-seq=15", "--conversation", c.id, "--conversation=never", "--through-seq", "7", "--command-id=first", "--wait")...))
	events := map[string]map[string]any{}
	for _, o := range out[1:] {
		events[fmt.Sprint(o["conversation_id"])] = o
	}
	if out[0]["command_id"] != "first" || len(events) != 3 {
		t.Errorf("send --wait prints %v", out)
	}
	for id, want := range map[string]string{d.id: "conversation.deleted phone 15 5 false", c.id: "conversation.deleted phone 10 10 true", "never": "conversation.deleted phone 0 0 true"} {
		o := events[id]
		if got := fmt.Sprint(o["type"], " ", o["origin_device_id"], " ", o["through_seq"], " ", o["messages_deleted"], " ", o["conversation_removed"]); got != want {
			t.Errorf("%s: %s; want %s", id, got, want)
		}
	}
	e := r.deleted(t, "first", c.id)
	if !strings.Contains(r.must(t, send("--device=phone", "--conversation="+d.id, "--through-seq=15", "--conversation", c.id, "--conversation=never", "--through-seq", "7", "--command-id=first", "--wait")...), e.id()) {
		t.Error("the same command again doesn't show the same event")
	}

	// Refused, since the id is used: non-zero, and the reason is printed.
	r.publish(t, "conversation.delete.demo", encode(t, chat{"demo", "alice", "x"}.ask())) // moves the stream on
	reused := chat{"demo", "alice", "other"}.ask()
	reused.CommandID = "second"
	r.again(t, reused)
	r.deleted(t, "second", "other")
	res = r.call(t, send("--conversation=c2c_bob", "--command-id=second", "--wait", "--keep-history")...)
	refused(t, res, "a failure")
	if !strings.Contains(res.out, "command_id_reused") {
		t.Errorf("a failure is shown as %q", res.out)
	}
	res = r.call(t, "send", "--app=demo", "--user=alice", "--conversation=c2c_bob", "--keep-history", "--wait")
	if res.code != 0 || !strings.Contains(res.out, "c2c_bob") || !strings.Contains(res.out, "deleted") {
		t.Errorf("for people: %d %q %q", res.code, res.out, res.err)
	}
}

func TestSendShowsTheProgressOfALongDeletion(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	c := chat{"demo", "alice", "g"}
	r.fill(t, c, 3000)
	release := r.hold(t, `select from chat.messages where seq = 2500 for update`)
	go func() {
		defer release()
		poll(timeout, func() bool {
			_, heard, _ := r.seen(typed("conversation.deleting"), func(e event) bool { return e.body["waiting_for"] == "lock" })
			return len(heard) >= 2
		})
	}()
	types := ""
	for _, o := range objects(t, r.must(t, "send", "--app=demo", "--user=alice", "--conversation=g", "--wait", "--json")) {
		types += fmt.Sprint(o["type"], o["waiting_for"], " ")
	}
	if !strings.Contains(types, "conversation.deletinglock ") || !strings.HasSuffix(types, "conversation.deleted<nil> ") {
		t.Errorf("send --wait shows %s; want progress that waits for a lock, and the end", types)
	}
}

func TestSendRefusesWhatIsNoCommand(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var many []string
	for i := range 101 {
		many = append(many, fmt.Sprintf("--conversation=g%d", i))
	}
	for what, words := range map[string][]string{
		"no app":              {"--user=a", "--conversation=g"},
		"no user":             {"--app=demo", "--conversation=g"},
		"no conversation":     {"--app=demo", "--user=a"},
		"an empty app":        {"--app=", "--user=a", "--conversation=g"},
		"an empty id":         {"--app=demo", "--user=a", "--conversation="},
		"a control character": {"--app=demo", "--user=a\n", "--conversation=g"},
		"bad UTF-8":           {"--app=demo", "--user=\xff", "--conversation=g"},
		"a negative seq":      {"--app=demo", "--user=a", "--conversation=g", "--through-seq=-1"},
		"a seq of letters":    {"--app=demo", "--user=a", "--conversation=g", "--through-seq=x"},
		"a seq too large":     {"--app=demo", "--user=a", "--conversation=g", "--through-seq=9223372036854775808"},
		"a seq before":        {"--app=demo", "--user=a", "--through-seq=1", "--conversation=g"},
		"two seqs":            {"--app=demo", "--user=a", "--conversation=g", "--through-seq=1", "--through-seq=2"},
		"twice the same":      {"--app=demo", "--user=a", "--conversation=g", "--conversation=g"},
		"101 conversations":   append([]string{"--app=demo", "--user=a"}, many...),
		"a long device":       {"--app=demo", "--user=a", "--conversation=g", "--device=" + strings.Repeat("d", 129)},
		"an unknown flag":     {"--app=demo", "--user=a", "--conversation=g", "--force"},
		"a bad timeout":       {"--app=demo", "--user=a", "--conversation=g", "--timeout=5"},
		"no NATS":             {"--app=demo", "--user=a", "--conversation=g", "NATS_URL=nats://127.0.0.1:9"},
	} {
		refused(t, r.call(t, append([]string{"send"}, words...)...), what)
	}
	r.settled(t) // nothing was published
}

func TestStatusSaysWhatTheLedgerKnows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := chat{"demo", "alice", "c2c_bob"}
	r.fill(t, c, 10)
	held, broken := chat{"demo", "alice", "held"}, chat{"demo", "alice", "broken"}
	r.fill(t, held, 10)
	r.fill(t, broken, 10)
	r.breakDeletes(t, broken)
	cmd := c.ask(held.id, broken.id)
	cmd.DeviceID, cmd.CommandID = "phone", "the command"
	refused(t, r.call(t, "status", cmd.CommandID), "an unknown command", cmd.CommandID)
	refused(t, r.call(t, "status"), "no command")
	r.send(t, cmd)
	release := r.hold(t, `select from chat.messages where conversation_id = 'held' for update`)
	r.start(t, "--max-attempts=2")
	e := r.deleted(t, cmd.CommandID, c.id)
	failed := r.failed(t, cmd.CommandID, broken.id)

	rows := map[string]map[string]any{}
	for _, o := range objects(t, r.must(t, "status", cmd.CommandID, "--app=demo", "--json")) {
		rows[fmt.Sprint(o["conversation_id"])] = o
	}
	if len(rows) != 3 {
		t.Fatalf("status knows %v; want three deletions", rows)
	}
	for name, want := range e.body {
		if got, found := rows[c.id][name]; !found || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("status: %s = %v; want the event's %v", name, got, want)
		}
	}
	for name, want := range failed.body {
		if got, found := rows[broken.id][name]; !found || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("status: %s = %v; want the event's %v", name, got, want)
		}
	}
	states := fmt.Sprint(rows[c.id]["state"], rows[broken.id]["state"])
	if now := rows[held.id]["state"]; states != "donefailed" || now != "pending" && now != "running" {
		t.Errorf("states %v and %v; want done, failed, and pending or running", states, now)
	}
	release()
	r.deleted(t, cmd.CommandID, held.id)
	if out := r.must(t, "status", cmd.CommandID); strings.Count(out, "done") != 2 || strings.Count(out, "failed") != 1 || !strings.Contains(out, "attempts_exhausted") {
		t.Errorf("for people:\n%s", out)
	}
	refused(t, r.call(t, "status", cmd.CommandID, "--app=other"), "another app")
	refused(t, r.call(t, "status", cmd.CommandID, "--json", "--app=other"), "another app as JSON")
	// The same id in another app.
	other := chat{"a pp", "bob", "g"}.ask()
	other.CommandID = cmd.CommandID
	r.send(t, other)
	r.awaitStored(t, 1, of(cmd.CommandID, "g"))
	if got := len(objects(t, r.must(t, "status", "--json", cmd.CommandID))); got != 4 {
		t.Errorf("without an app: %d deletions; want 4", got)
	}
	one := objects(t, r.must(t, "status", "--json", cmd.CommandID, "--app", "a pp"))
	if len(one) != 1 || one[0]["user_id"] != "bob" || one[0]["state"] != "done" {
		t.Errorf("of the other app: %v", one)
	}
}

func TestSettingsAreShownAndChanged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	get := func(app string) string {
		o := objects(t, r.must(t, "settings", "get", "--app", app, "--json"))
		if len(o) != 1 || o[0]["app_id"] != app {
			t.Fatalf("settings get prints %v", o)
		}
		return fmt.Sprint(o[0]["multi_client_sync"])
	}
	if got := get("demo"); got != "false" {
		t.Errorf("by default: %s; want false", got)
	}
	for _, v := range []string{"true", "true", "false", "true"} {
		r.must(t, "settings", "set", "--app", "demo", "--multi-client-sync="+v)
		if got := get("demo") + get("d'emo"); got != v+"false" {
			t.Errorf("set to %s for demo: it and another are %s", v, got)
		}
	}
	if out := r.must(t, "settings", "get", "--app=demo"); !strings.Contains(out, "true") {
		t.Errorf("for people: %q", out)
	}
	refused(t, r.call(t, "settings", "get"), "no app")
	refused(t, r.call(t, "settings", "set", "--app=demo"), "no switch")
	refused(t, r.call(t, "settings", "set", "--app=demo", "--multi-client-sync=perhaps"), "no truth", "perhaps")
	refused(t, r.call(t, "settings", "set", "--app="+strings.Repeat("a", 65), "--multi-client-sync=true"), "a long app")
	if got := get("demo"); got != "true" {
		t.Errorf("a refused call has changed it to %s", got)
	}
}
