package e2e

import (
	"testing"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// In a database of whatever encoding, conversations whose ids it can hold go; the
// others are given up at once, each for itself.
func TestIDsInADatabaseOfAnotherEncoding(t *testing.T) {
	t.Parallel()
	for encoding, c := range map[string]struct{ held, not []string }{
		"LATIN1":    {[]string{"c2c_bob", "josé"}, []string{"日本", "😀", "Łódź"}},
		"EUC_JP":    {[]string{"c2c_bob", "日本"}, []string{"😀", "한국"}},
		"SQL_ASCII": {[]string{"c2c_bob", "josé", "日本", "😀"}, nil},
	} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, onDatabase(localtest.DatabaseIn(t, encoding)))
			w := r.start(t)
			for _, id := range c.held {
				r.fill(t, chat{"demo", "alice", id}, 20)
			}
			cmd := chat{"demo", "alice", c.held[0]}.ask(append(c.held[1:], c.not...)...)
			for range 2 { // the second time from the ledger, or found out again
				seq := r.again(t, cmd)
				for _, id := range c.held {
					wantFields(t, r.deleted(t, cmd.CommandID, id), "messages_deleted", 20, "conversation_removed", true)
				}
				for _, id := range c.not {
					wantFields(t, r.failed(t, cmd.CommandID, id), "reason", "incompatible_id", "conversation_id", id)
				}
				if c.not != nil {
					wantLetter(t, r.letter(t, seq), "demo", "incompatible_id", "conversation.delete.demo", "", encode(t, cmd))
				}
				r.settled(t)
			}
			if c.not != nil {
				for what, whole := range map[string]chat{"user": {"demo", c.not[0], "c"}, "app": {c.not[0], "alice", "c"}} {
					other := whole.ask()
					r.again(t, other)
					e := r.awaitStored(t, 1, of(other.CommandID))[0]
					wantFields(t, e, "reason", "incompatible_id")
					if _, told := e.body["conversation_id"]; told {
						t.Errorf("the event for the %s names a conversation; want the whole command", what)
					}
				}
			}
			r.wantEmpty(t)
			if n := one[int](t, r, `select coalesce(sum(attempts), 0)::int from lethe.deletions`); n != 0 {
				t.Errorf("%d attempts are counted; want none", n)
			}
			w.term(t)
		})
	}
}
