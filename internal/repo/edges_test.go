package repo

import (
	"testing"
)

// A watermark that is ahead of all messages, as an app's clock or its own idea of "all" may set it, says nothing about what is sent later:
// who joins then reads it.
func TestFloorAheadOfTheMessages(t *testing.T) {
	t.Parallel()
	for form, f := range logForms {
		if f.members == "visible_from: from_n" {
			continue
		}
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			r := newLog(t, form, "true")
			fillLog(t, r, 1, 20, "alice", "bob")
			execSQL(t, r.pool, `update log.members set n = 9223372036854775807, at = 'infinity', ms = 9223372036854775807,
				from_n = 9223372036854775807, from_at = 'infinity', from_ms = 9223372036854775807 where who = 'bob'`)
			clearFor(t, r, 1, 20, "alice")
			execSQL(t, r.pool, `update log.members set n = 9223372036854775807, at = 'infinity', ms = 9223372036854775807,
				from_n = 9223372036854775807, from_at = 'infinity', from_ms = 9223372036854775807 where who = 'alice'`)
			if got, want := raise(t, r, 1).Floor, f.position(20); got != want {
				t.Errorf("floor = %d; want the newest message: %d", got, want)
			}
			carryOutErasure(t, r, 1, 7)
			execSQL(t, r.pool, `insert into log.members (room, who) values (1, 'carol')`)
			say(t, r, 1, 21, 25)
			if got := raise(t, r, 1); got.Open {
				t.Errorf("raised = %+v; want what carol reads to stay", got)
			}
			if got, want := logLeft(t, r, 1), "messages 21-25 (5), 2 receipts, 1 attachments, 3 members, 1 pins, 1 rooms"; got != want {
				t.Errorf("%s are left; want %s", got, want)
			}
		})
	}
}
