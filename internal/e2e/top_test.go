package e2e

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// The operator's rights are enough. Those of before, without the one to ask the consumer,
// cost what only the consumer knows.
func TestTopWorksWithTheOperatorsRights(t *testing.T) {
	t.Parallel()
	_, address := ownPostgres(t)
	for _, c := range []struct{ accounts, without, says, problem string }{
		{accountEach, "", "commands: 1 waiting, 0 in flight, the oldest ", ""},
		{oneAccount, "", "commands: 1 waiting, 0 in flight, the oldest ", ""},
		{accountEach, "CONSUMER.INFO.CONVERSATION_COMMANDS.deletion-worker", "commands: 1 unfinished, the oldest ", "not permitted: call it with the operator's credentials"},
	} {
		n := localtest.NATS(t, localstack.NATSOptions{Configure: func(o *server.Options) {
			lockedOptions(t, o, c.accounts, func(_, text string) string {
				var kept []string
				for line := range strings.Lines(text) {
					if c.without == "" || !strings.Contains(line, c.without) {
						kept = append(kept, line)
					}
				}
				return strings.Join(kept, "")
			})
		}})
		r := lockedRigOn(t, n, address)
		r.send(t, chat{"demo", "alice", "c2c_bob"}.ask())
		res := r.call(t, append(r.as(t, operatorUser, "lethe_operator"), "top", "--once", "--interval", "500ms")...)
		if (res.code == 0) != (c.problem == "") || !strings.Contains(res.out, c.says) || !strings.Contains(res.err, c.problem) {
			t.Errorf("%s without %q: exit status %d, %q, %q; want %q and %q", c.accounts, c.without, res.code, res.out, res.err, c.says, c.problem)
		}
		for _, want := range []string{"unfinished deletions: 0 running, 0 pending", "dead letters: 0", "commands by app: demo 1"} {
			if !strings.Contains(res.out, want) {
				t.Errorf("%s without %q: it printed %q; want %q", c.accounts, c.without, res.out, want)
			}
		}
	}
}
