package e2e

import (
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

// holdFor is how long somebody keeps a row.
const holdFor = 8 * time.Second

// Everything that a writer, a lender of rows or a hung transaction may hold, each
// for one deletion, all at the same time.
func TestRowsThatOthersHoldForSecondsHoldUpNobodyElse(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cases := map[string]struct {
		lock string
		n    int
	}{
		"message":           {`select from chat.messages where user_id = 'message' and seq = 20 for update`, 40},
		"message_shared":    {`select from chat.messages where user_id = 'message_shared' and seq = 1 for key share`, 40},
		"message_changed":   {`update chat.messages set body = '{}' where user_id = 'message_changed' and seq = 40`, 40},
		"last_message":      {`select from chat.messages where user_id = 'last_message' and seq = 40 for update`, 40},
		"reaction":          {`select from chat.reactions where user_id = 'reaction' and seq = 10 for update`, 40},
		"attachment":        {`select from chat.attachments where user_id = 'attachment' and seq = 20 for update`, 40},
		"row":               {`select from chat.conversations where user_id = 'row' for update`, 40},
		"row_changed":       {`update chat.conversations set pinned = true where user_id = 'row_changed'`, 40},
		"row_shared":        {`select from chat.conversations where user_id = 'row_shared' for key share`, 40},
		"message_of_many":   {`select from chat.messages where user_id = 'message_of_many' and seq = 2500 for update`, 6000},
		"row_of_many":       {`select from chat.conversations where user_id = 'row_of_many' for update`, 6000},
		"reaction_of_many":  {`select from chat.reactions where user_id = 'reaction_of_many' and seq = 3000 for update`, 6000},
		"everything_of_all": {`select from chat.messages where user_id = 'everything_of_all' for update`, 40},
	}
	want := map[deletionKey]int{}
	held := map[string]conversation.Command{}
	var cmds []conversation.Command
	var releases []func()
	began := time.Now()
	for user, c := range cases {
		ch := chat{"demo", user, "g"}
		r.fill(t, ch, c.n)
		releases = append(releases, r.hold(t, c.lock))
		held[user] = ch.ask()
		want[deletionKey{held[user].CommandID, "g"}] = c.n
		cmds = append(cmds, held[user])
	}
	free := map[string]bool{}
	for _, c := range r.crowd(t, "demo", "free", 60, 20) {
		cmd := c.ask()
		free[cmd.CommandID] = true
		want[deletionKey{cmd.CommandID, "g"}] = 20
		cmds = append(cmds, cmd)
	}
	big := chat{"demo", "big", "g"}
	r.huge(t, big, 20_000)
	bigCmd := big.ask()
	want[deletionKey{bigCmd.CommandID, "g"}] = 20_000
	w := r.start(t)
	sent := time.Now()
	r.flood(t, cmds)
	r.awaitStored(t, len(free), func(e event) bool { return free[e.command()] })
	if took := time.Since(sent); took > holdFor/2 {
		t.Errorf("the neighbours of locked rows took %v, and those are held for %v; want half of it at most", took, holdFor)
	}
	r.send(t, bigCmd)

	pause(t, holdFor-time.Since(began))
	stored, _, _ := r.seen(func(e event) bool { return !free[e.command()] && e.command() != bigCmd.CommandID })
	for _, e := range stored {
		t.Errorf("told while its row was held: %s", e)
	}
	r.deleted(t, bigCmd.CommandID, "g") // others that wait for rows don't keep the long lane for themselves
	r.noAttempts(t)
	for _, release := range releases {
		release()
	}
	for user, cmd := range held {
		soon(t, r, cmd.CommandID, 10*time.Second)
		r.wantLeft(t, chat{"demo", user, "g"}, nothing)
	}
	r.settled(t)
	r.told(t, want)
	r.wantEmpty(t)
	r.noAttempts(t)
	w.term(t)
}

// A lock on a whole table, as a migration of the chat's takes, holds up
// everything, and costs nothing but time.
func TestATableThatIsLockedCostsTimeAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	want := map[deletionKey]int{}
	var cmds []conversation.Command
	for _, c := range r.crowd(t, "demo", "u", 100, 20) {
		cmd := c.ask()
		want[deletionKey{cmd.CommandID, "g"}] = 20
		cmds = append(cmds, cmd)
	}
	c := chat{"demo", "alice", "g"}
	r.huge(t, c, 50_000)
	cmd := c.ask()
	want[deletionKey{cmd.CommandID, "g"}] = 50_000
	r.start(t, "max-rows=500")
	r.send(t, cmd)
	eventually(t, timeout, "the long deletion is under way", func() bool { _, cursor, _, _ := r.ledger(t, cmd.CommandID, "g"); return cursor > 0 })
	for i, table := range []string{"chat.messages", "chat.conversations", "chat.reactions", "lethe.deletions", "lethe.commands"} {
		release := r.hold(t, `lock table `+table+` in access exclusive mode`)
		r.flood(t, cmds[i*20:(i+1)*20])
		pause(t, 700*time.Millisecond)
		release()
	}
	r.awaitStored(t, len(want))
	r.settled(t)
	r.told(t, want)
	r.wantEmpty(t)
	r.noAttempts(t)
}
