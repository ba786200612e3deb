package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

func TestAWorkerWorksWithJustItsUserAndRole(t *testing.T) {
	t.Parallel()
	r := newLockedRig(t)
	const messages = 120_000 // in batches of 30: for more than the second between two reports of progress
	w := r.start(t, "--max-attempts", "1", "max-rows=30", "--express-rows", "100")

	small := chat{"demo", "alice", "c2c_bob"}
	r.fill(t, small, 40)
	r.must(t, append(r.as(t, operatorUser, "lethe_operator"), "send", "--app", "demo", "--user", "alice", "--conversation", small.id, "--wait")...)
	r.wantLeft(t, small, left{})

	newer := chat{"demo", "carol", "c2c_bob"}
	last := r.fill(t, newer, 40)
	r.sayN(t, newer, 3)
	r.onlyDeletedOf(t, newer.through(last), 40)

	long := chat{"demo", "bob", "group_1"}
	r.huge(t, long, messages)
	cmd := long.ask()
	r.send(t, cmd)
	r.awaitHeard(t, 1, typed(conversation.TypeDeleting), func(e event) bool { return e.command() == cmd.CommandID })
	wantFields(t, r.deleted(t, cmd.CommandID, long.id), "messages_deleted", messages, "conversation_removed", true)

	w.term(t)
}

// onlyDeletedOf sends the command and waits for its one event.
func (r *rig) onlyDeletedOf(t testing.TB, cmd conversation.Command, messages int) {
	t.Helper()
	r.send(t, cmd)
	wantFields(t, r.deleted(t, cmd.CommandID, cmd.Conversations[0].ID), "messages_deleted", messages)
}

func TestDeadLettersAreRetriedByTheOperatorAlone(t *testing.T) {
	t.Parallel()
	r := newLockedRig(t)
	operator := r.as(t, operatorUser, "lethe_operator")
	r.start(t, "--max-attempts", "1")
	broken := chat{"demo", "alice", "c2c_bob"}
	r.fill(t, broken, 20)
	mend := r.breakDeletes(t, broken)
	r.exec(t, "grant select on public.broken to lethe_worker") // for the trigger
	cmd := broken.ask()
	letter := r.letter(t, r.send(t, cmd).Sequence)
	mend()
	refused(t, r.call(t, "dead-letters", "retry", fmt.Sprint(letter.seq)), "the worker's user retries", "not allowed to publish", "DEAD_LETTERS")
	if out := r.must(t, append(operator, "dead-letters", "list", "--app", "demo")...); !strings.Contains(out, "attempts_exhausted") {
		t.Errorf("the operator's list: %q; want the letter", out)
	}
	r.must(t, append(operator, "dead-letters", "retry", fmt.Sprint(letter.seq))...)
	r.awaitStored(t, 1, typed(conversation.TypeDeleted), of(cmd.CommandID))
	r.wantLeft(t, broken, left{})
	if out := r.must(t, append(operator, "status", cmd.CommandID)...); !strings.Contains(out, "done") {
		t.Errorf("status as the operator: %q; want done", out)
	}
	r.must(t, append(operator, "settings", "set", "--app", "demo", "--multi-client-sync=true")...)
	if out := r.must(t, append(operator, "settings", "get", "--app", "demo")...); !strings.Contains(out, "true") && !strings.Contains(out, "on") {
		t.Errorf("settings as the operator: %q; want the switch on", out)
	}
}

// What has expired goes with the same role.
func TestAWorkerForgetsWithJustItsRole(t *testing.T) {
	t.Parallel()
	r := newLockedRig(t)
	first := r.start(t)
	c := chat{"demo", "alice", "c2c_bob"}
	r.fill(t, c, 10)
	r.onlyDeletedOf(t, c.ask(), 10)
	first.term(t)
	r.exec(t, `update lethe.deletions set completed_at = completed_at - interval '1 day'; update lethe.commands set created_at = created_at - interval '1 day'`)
	r.start(t, "--ledger-retention", "1h")
	eventually(t, timeout, "the ledger has forgotten", func() bool {
		return one[int](t, r, `select count(*)::int from lethe.commands`)+one[int](t, r, `select count(*)::int from lethe.deletions`) == 0
	})
}
