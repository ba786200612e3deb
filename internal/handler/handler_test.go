package handler_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/handler"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/repo"
)

func TestHandler(t *testing.T) {
	t.Parallel()

	t.Run("acknowledges a command after its events", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		r.fill("c2c_bob", 20)
		if o := r.send("1", "c2c_bob", "c2c_nobody").wait(t); o.Verdict != bus.Done {
			t.Errorf("outcome = %+v; want done", o)
		}
		got := r.pub.summary()
		slices.Sort(got)
		if diff := cmp.Diff([]string{"deleted c2c_bob 20", "deleted c2c_nobody 0"}, got); diff != "" {
			t.Error(diff)
		}
		var warnings []string
		for line := range strings.Lines(r.log.String()) {
			if strings.Contains(line, "level=WARN") {
				warnings = append(warnings, line)
			}
		}
		if len(warnings) != 1 || !strings.Contains(warnings[0], "neither a message nor the conversation's row") || !strings.Contains(warnings[0], "conversation=c2c_nobody") {
			t.Errorf("warnings %q; want one, of the deletion that found nothing", warnings)
		}
	})

	t.Run("refuses what depends on a time that nobody knows", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		r.fill("c", 5)
		for i, c := range []struct {
			target string
			header map[string][]string
			want   bus.Verdict
		}{
			{`{"id":"c"}`, nil, bus.Reject},
			{`{"id":"c"}`, map[string][]string{"Lethe-Stored-At": {"2026-01-01T00:00:00Z"}}, bus.Done},
			{`{"id":"c","through_seq":3}`, nil, bus.Done},
		} {
			p := &place{settled: make(chan bus.Outcome, 2)}
			r.h.Handle(bus.Delivery{
				Subject: "conversation.delete.demo", Header: c.header, Sequence: 1, StoredAt: time.Now(), Undated: true, Deliveries: 3,
				Data: fmt.Appendf(nil, `{"command_id":"%d","app_id":"demo","user_id":"alice","conversations":[%s]}`, i, c.target),
			}, p)
			if o := p.wait(t); o.Verdict != c.want || c.want == bus.Reject && o.Reason != "boundary_required" {
				t.Errorf("%s: outcome = %+v; want %v", c.target, o, c.want)
			}
		}
		if n := r.count(`select count(*) from chat.messages`); n != 2 {
			t.Errorf("%d messages are left; want the 2 after through_seq", n)
		}
	})

	t.Run("refuses a conversation without through_seq where no message has a time", func(t *testing.T) {
		t.Parallel()
		url := localtest.Database(t)
		r := newRigOn(t, url, func(c *handler.Config) {
			p := plan.Bundled()
			p.Messages.SentAt = plan.Reading{}
			store, err := repo.Open(t.Context(), repo.Config{URL: url, Plan: p, Lease: shortLease})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(store.Close)
			c.Store = store
		})
		r.fill("c", 5)
		r.fill("d", 5)
		p := r.deliver("conversation.delete.demo", []byte(`{"command_id":"1","app_id":"demo","user_id":"alice","conversations":[{"id":"c"},{"id":"d","through_seq":3}]}`), nil)
		if o := p.wait(t); o.Verdict != bus.Reject || o.Reason != "boundary_required" {
			t.Errorf("outcome = %+v; want it rejected for the conversation without through_seq", o)
		}
		if n := r.count(`select count(*) from chat.messages where conversation_id = 'c'`); n != 5 {
			t.Errorf("%d messages are left; want all 5", n)
		}
		if n := r.count(`select count(*) from chat.messages where conversation_id = 'd'`); n != 2 {
			t.Errorf("%d messages are left of the other conversation; want 2", n)
		}
		if n := r.count(`select count(*) from lethe.deletions where reason = 'boundary_required' and state = 'failed' and through_seq is null`); n != 1 {
			t.Errorf("the ledger has %d such failures; want 1", n)
		}
	})

	t.Run("a long deletion leaves its place and is finished in batches", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, func(c *handler.Config) { c.PerDeletion, c.MaxRows = 10, 100 })
		r.fill("group", 5000)
		if o := r.send("1", "group").wait(t); o.Verdict != bus.Done {
			t.Errorf("outcome = %+v; want done", o)
		}
		if diff := cmp.Diff([]string{"deleted group 5000"}, r.pub.summary()); diff != "" {
			t.Error(diff)
		}
		if n := r.count(`select count(*) from chat.messages`); n != 0 {
			t.Errorf("%d messages are left", n)
		}
	})

	t.Run("deletions that are a little too long wait their turn and aren't deferred", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, func(c *handler.Config) { c.PerDeletion = 10 })
		var places []*place
		for i := range 30 {
			r.fill(fmt.Sprint("group", i), 30)
		}
		for i := range 30 {
			id := fmt.Sprint("group", i)
			places = append(places, r.send(id, id))
		}
		for i, p := range places {
			if o := p.wait(t); o.Verdict != bus.Done {
				t.Errorf("outcome %d = %+v; want done", i, o)
			}
		}
	})

	t.Run("one bad deletion fails alone, after its attempts, and its neighbours are finished", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, func(c *handler.Config) { c.MaxAttempts = 2 })
		for _, c := range []string{"a", "b", "bad", "c", "d"} {
			r.fill(c, 3)
		}
		r.exec(`create function no() returns trigger language plpgsql as $$begin raise exception 'not this one'; end$$`)
		r.exec(`create trigger no before delete on chat.messages for each row when (old.conversation_id = 'bad') execute function no()`)
		first := r.send("1", "a", "b", "bad", "c", "d").wait(t)
		if first.Verdict != bus.Retry || first.Delay <= 0 || first.Delay > 100*time.Millisecond {
			t.Errorf("first outcome = %+v; want a retry within 100ms", first)
		}
		got := r.pub.summary()
		slices.Sort(got)
		if diff := cmp.Diff([]string{"deleted a 3", "deleted b 3", "deleted c 3", "deleted d 3"}, got); diff != "" {
			t.Errorf("before the last attempt: %s", diff)
		}
		second := r.send("1", "a", "b", "bad", "c", "d").wait(t)
		if second.Verdict != bus.Reject || second.Reason != "attempts_exhausted" {
			t.Errorf("second outcome = %+v; want a reject", second)
		}
		got = r.pub.summary()[4:]
		if got[len(got)-1] != "letter attempts_exhausted" || !slices.Contains(got, "failed bad attempts_exhausted") {
			t.Errorf("announced %q; want the failure, and the letter last", got)
		}
		r.exec(`drop trigger no on chat.messages`)
		retry := map[string][]string{"Lethe-Retry": {"7"}}
		for range 2 { // once for each letter, however often it is delivered
			r.deliver("conversation.delete.demo", []byte(`{"command_id":"1","app_id":"demo","user_id":"alice","device_id":"phone",
				"conversations":[{"id":"d"},{"id":"bad"},{"id":"a"},{"id":"b"},{"id":"c"}]}`), retry).wait(t)
		}
		if got := r.pub.summary(); !slices.Contains(got, "deleted bad 3") {
			t.Errorf("announced %q; want bad deleted after the retry", got)
		}
	})

	t.Run("holds the acknowledgement and closes the gate while events are refused", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		r.fill("c", 1)
		r.pub.setRefuse(errFull)
		p := r.send("1", "c")
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for r.gate.Reason() == "" {
			select {
			case <-tick.C:
			case o := <-p.settled:
				t.Fatalf("settled as %+v while the event was refused", o)
			case <-t.Context().Done():
				t.Fatal("the gate stayed open")
			}
		}
		r.pub.setRefuse(nil)
		if o := p.wait(t); o.Verdict != bus.Done {
			t.Errorf("outcome = %+v; want done", o)
		}
		if reason := r.gate.Reason(); reason != "" {
			t.Errorf("the gate is closed because of %q", reason)
		}
	})

	t.Run("a grant that is missing pauses the worker and fails no command", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, func(c *handler.Config) { c.MaxAttempts = 1 })
		r.fill("c", 1)
		r.exec(`alter table chat.messages rename to hidden`)
		o := r.send("1", "c").wait(t)
		if o.Verdict != bus.Retry || r.gate.Reason() == "" {
			t.Errorf("outcome = %+v, gate %q; want a retry and a closed gate", o, r.gate.Reason())
		}
		r.exec(`alter table chat.hidden rename to messages`)
		if err := r.gate.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if o := r.send("1", "c").wait(t); o.Verdict != bus.Done {
			t.Errorf("outcome = %+v; want done", o)
		}
	})

	t.Run("a stop hands everything back, with its lease", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, func(c *handler.Config) { c.PerDeletion, c.MaxRows = 10, 100 })
		r.fill("group", 20_000)
		p := r.send("1", "group")
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for r.count(`select count(*) from lethe.deletions where cursor_seq > 200`) == 0 {
			<-tick.C
		}
		r.h.Stop()
		if o := p.wait(t); o.Verdict != bus.Retry || o.Delay != 0 {
			t.Errorf("outcome = %+v; want a retry at once", o)
		}
		if n := r.count(`select count(*) from lethe.deletions where state = 'pending' and lease_until is null and cursor_seq > 200`); n != 1 {
			t.Error("the lease was not released")
		}
		if len(r.pub.summary()) != 0 {
			t.Errorf("announced %q", r.pub.summary())
		}
	})

	t.Run("a letter that has no room holds up its command alone", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		r.send("c", "a").wait(t)
		r.pub.setLetters(-1, true)
		before := len(r.pub.summary())
		reused, malformed, good := r.send("c", "b"), r.deliver("conversation.delete.demo", []byte(`{"app_id":"demo","user_id":"alice"}`), nil), r.send("d", "a")
		if o := reused.wait(t); o.Verdict != bus.Retry || o.Delay < 15*time.Second || o.Delay > 30*time.Second {
			t.Errorf("a command that needs a letter: %+v; want it deferred for up to 30 s", o)
		}
		if o := malformed.wait(t); o.Verdict != bus.Reject {
			t.Errorf("a malformed command: %+v; want it rejected without a letter", o)
		}
		if o := good.wait(t); o.Verdict != bus.Done {
			t.Errorf("another command: %+v; want it done", o)
		}
		got := r.pub.summary()[before:]
		slices.Sort(got)
		if diff := cmp.Diff([]string{"deleted a 0", "failed  command_id_reused", "failed  invalid_command"}, got); diff != "" {
			t.Error(diff)
		}
		if reason := r.gate.Reason(); reason != "" || !strings.Contains(r.log.String(), "without a dead letter") {
			t.Errorf("gate closed for %q; want it open, and the letter that is left out logged", reason)
		}
		r.pub.setLetters(0, false)
		if o := r.send("c", "b").wait(t); o.Verdict != bus.Reject {
			t.Errorf("once there is room: %+v; want it rejected", o)
		}
	})

	t.Run("malformed commands have letters as far as there is room for them", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		r.pub.setLetters(1, false)
		if o := r.deliver("conversation.delete.demo", make([]byte, 100), nil).wait(t); o.Verdict != bus.Reject {
			t.Errorf("outcome = %+v; want it rejected", o)
		}
		if got := r.pub.summary(); len(got) != 1 {
			t.Errorf("announced %q; want the letter", got)
		}
	})

	t.Run("refuses what is not a command, and tells whom it can", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		for _, c := range []struct {
			subject, body string
			want          []string
			reason        string
		}{
			{"conversation.delete", `nonsense`, []string{"letter invalid_command"}, "invalid_command"},
			{"conversation.delete", `{"app_id":"demo","user_id":"alice"}`, []string{"failed  invalid_command", "letter invalid_command"}, "invalid_command"},
			{
				"conversation.delete.other", `{"command_id":"1","app_id":"demo","user_id":"alice","conversations":[{"id":"c"}]}`,
				[]string{"failed  app_mismatch", "letter app_mismatch"},
				"app_mismatch",
			},
			{
				"conversation.delete." + strings.Repeat("x", 65), `{"command_id":"1","app_id":"demo","user_id":"alice","conversations":[{"id":"c"}]}`,
				[]string{"letter app_mismatch"},
				"app_mismatch",
			},
			{
				"conversation.delete.demo", `{"command_id":"1","app_id":"demo","user_id":"alice","conversations":[{"id":"c"}],"scope":"everyone"}`,
				[]string{"failed  scope_mismatch", "letter scope_mismatch"},
				"scope_mismatch",
			},
			{
				"conversation.delete", `{"command_id":"1","app_id":"demo","user_id":"alice","conversations":[{"id":"c"}],"scope":"everyone"}`,
				[]string{"failed  scope_mismatch", "letter scope_mismatch"},
				"scope_mismatch",
			},
			{
				"conversation.shard.eu.delete_everyone.demo", `{"command_id":"1","app_id":"demo","user_id":"alice","conversations":[{"id":"c"}],"scope":"self"}`,
				[]string{"failed  scope_mismatch", "letter scope_mismatch"},
				"scope_mismatch",
			},
			{
				"conversation.delete_everyone.other", `{"command_id":"1","app_id":"demo","user_id":"alice","conversations":[{"id":"c"}]}`,
				[]string{"failed  app_mismatch", "letter app_mismatch"},
				"app_mismatch",
			},
		} {
			before := len(r.pub.summary())
			if o := r.deliver(c.subject, []byte(c.body), nil).wait(t); o.Verdict != bus.Reject || string(o.Reason) != c.reason {
				t.Errorf("%s: outcome = %+v; want reject %s", c.body, o, c.reason)
			}
			if diff := cmp.Diff(c.want, r.pub.summary()[before:]); diff != "" {
				t.Errorf("%s: %s", c.body, diff)
			}
		}
	})
}
