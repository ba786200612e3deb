package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
)

// told is an event as the audit reads it.
func told(id, command string, messages int) event {
	return newEvent(message{
		subject: "conversation.deleted.demo.alice",
		header:  nats.Header{"ce-id": {id}, "ce-type": {conversation.TypeDeleted}},
		data:    fmt.Appendf(nil, `{"command_id":%q,"conversation_id":"g","messages_deleted":%d}`, command, messages),
	})
}

// The drills of fleets and clusters are worth as much as what they would notice.
func TestAnAuditNoticesWhatIsWrong(t *testing.T) {
	t.Parallel()
	failed := told("2", "second", 0)
	failed.header["ce-type"] = []string{conversation.TypeDeleteFailed}
	for name, test := range map[string]struct {
		events []event
		want   string // of the only fault; "" for none
	}{
		"all_of_it_and_a_repeat": {[]event{told("1", "first", 7), told("2", "second", 0), told("1", "first", 7)}, ""},
		"a_lost_command":         {[]event{told("1", "first", 7)}, "no event of {command:second conversation:g} is stored"},
		"a_second_id":            {[]event{told("1", "first", 7), told("2", "second", 0), told("3", "first", 7)}, "was told before as 1"},
		"other_words":            {[]event{told("1", "first", 7), told("2", "second", 0), told("1", "first", 6)}, "was told before as 1"},
		"an_id_of_two":           {[]event{told("1", "first", 7), told("1", "second", 0)}, "has the id of"},
		"a_wrong_count":          {[]event{told("1", "first", 6), told("2", "second", 0)}, "of 7 messages"},
		"a_failure":              {[]event{told("1", "first", 7), failed}, "of 0 messages"},
		"what_nobody_asked_for":  {[]event{told("1", "first", 7), told("2", "second", 0), told("3", "third", 0)}, "nobody asked for"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAudit(map[deletionKey]int{{"first", "g"}: 7, {"second", "g"}: 0})
			for _, e := range test.events {
				a.look(e)
			}
			a.lookForLost()
			if wanted := min(1, len(test.want)); a.faults != wanted || !strings.Contains(a.text, test.want) {
				t.Errorf("%d faults:\n%s\nwant %d with %q", a.faults, a.text, wanted, test.want)
			}
		})
	}
}
