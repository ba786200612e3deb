package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// What the plans of examples/plans promise: the boundary, what goes and what stays of every table,
// the conversation's row, the events, and the same again for the same command.
func TestLayoutsKeepThePromises(t *testing.T) {
	t.Parallel()
	forLayouts(t, localtest.Layouts, func(t *testing.T, l localtest.Layout) {
		t.Helper()
		r := newStrangersRig(t, l)
		u, c := r.Users, r.IDs
		middle := r.Seqs(t, "public", u[0], c[0][1])[5]
		both := r.ask(t, u[1], c[1][0], 0)
		both.Conversations = append(both.Conversations, r.to(t, u[1], r.Unknown, 0))
		kept := r.ask(t, u[2], c[2][2], 0)
		kept.KeepHistory = !r.OneWay
		cmds := []conversation.Command{r.ask(t, u[0], c[0][0], 0), r.ask(t, u[0], c[0][1], middle), both, kept, r.ask(t, r.Nobody, c[0][0], 0)}
		var goes []*fate
		for _, cmd := range cmds {
			goes = append(goes, r.fates(t, cmd)...)
			r.send(t, cmd)
			r.again(t, cmd)
		}
		// After the command's time, as the server's clock has it.
		r.Say(t, u[0], c[0][0], 2, time.Now(), r.Grain)
		r.CopyAgain(t)
		r.carriedOut(t, cmds, goes)

		// The same commands again change nothing, and a new one takes what has come since.
		later := r.ask(t, u[0], c[0][0], last(r.Seqs(t, "public", u[0], c[0][0])))
		w := r.start(t)
		for _, cmd := range cmds {
			r.again(t, cmd)
		}
		r.CopyAgain(t)
		want := r.fates(t, later)[0]
		r.must(t, "send", "--app", r.App, "--user", later.UserID, "--conversation", want.id, "--through-seq", fmt.Sprint(want.through), "--command-id", later.CommandID, "--wait")
		w.kill()
		r.carriedOut(t, append(cmds, later), []*fate{want})
		if r.Bounded {
			r.start(t)
			refused := chat{r.App, u[0], c[0][2]}.ask()
			r.send(t, refused)
			wantFields(t, r.failed(t, refused.CommandID, c[0][2]), "reason", "boundary_required")
			r.Compare(t, false)
		}
	})
}

// fate is what should become of a conversation.
type fate struct {
	cmd     conversation.Command
	id      string
	through int64 // the boundary that is to be pinned
	deleted int
}

// fates is what a command should do, if it were handled at this moment.
func (r *layoutRig) fates(t testing.TB, cmd conversation.Command) []*fate {
	t.Helper()
	var all []*fate
	for _, target := range cmd.Conversations {
		f := &fate{cmd: cmd, id: target.ID}
		if cmd.UserID != r.Nobody && target.ID != r.Unknown {
			seqs := r.Seqs(t, "public", cmd.UserID, target.ID)
			f.through = bounded(last(seqs), target.ThroughSeq)
			f.deleted = reached(seqs, f.through)
		}
		if cmd.KeepHistory {
			f.deleted = 0
		}
		all = append(all, f)
	}
	return all
}

// carriedOut runs a worker, and asserts that it does by itself what fates say, and nothing else.
func (r *layoutRig) carriedOut(t *testing.T, cmds []conversation.Command, goes []*fate) {
	t.Helper()
	w := r.start(t)
	for _, f := range goes {
		e := r.deleted(t, f.cmd.CommandID, f.id)
		known := f.cmd.UserID != r.Nobody && f.id != r.Unknown
		stays := known && (r.Row == localtest.RowStays || r.Row == localtest.RowGoes && last(r.Seqs(t, "mirror", f.cmd.UserID, f.id)) > f.through)
		wantFields(t, e, "app_id", r.App, "user_id", f.cmd.UserID, "through_seq", f.through, "messages_deleted", f.deleted,
			"conversation_removed", !stays, "history_kept", f.cmd.KeepHistory)
		if known {
			functions := []string{"forget", "leave"}
			if f.cmd.KeepHistory {
				functions = functions[1:]
			}
			r.ByHand(t, f.cmd.UserID, f.id, f.through, functions...)
		}
	}
	r.settled(t)
	w.kill()
	for _, cmd := range cmds {
		r.onlyDeleted(t, cmd.CommandID, targets(cmd)...)
	}
	r.Compare(t, false)
	r.noAttempts(t)
}

// A large deletion goes in batches by the long lane. On its way a worker is killed, somebody holds one
// of the rows, and a message that was written long before is committed only now.
func TestLayoutsSurviveWhatHappensToALargeDeletion(t *testing.T) {
	t.Parallel()
	const messages, late = 6000, 3
	settings := []string{"--express-rows", "100", "max-rows=1000"}
	forLayouts(t, localtest.Layouts, func(t *testing.T, l localtest.Layout) {
		t.Helper()
		r := newLayoutRig(t, l)
		user, id := r.Users[1], r.IDs[1][2]
		every := 2 * time.Microsecond
		if r.Grain > time.Microsecond {
			every = r.Grain / 2 // two messages of one time
		}
		first := time.Now().Add(-time.Hour - messages*every)
		r.Say(t, user, id, messages-10, first, every)
		r.CopyAgain(t)
		tx, err := r.db.Begin(t.Context())
		must(t, err)
		defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }() // closed, unless the test has failed
		_, err = tx.Exec(t.Context(), `select layout.say($1, $2, $3, $4, $5, $6, false)`, r.App, user, id, late, first.Add(messages/2*every+time.Microsecond), every)
		must(t, err)
		r.exec(t, `select layout.say($1, $2, $3, 10, $4, $5, false)`, r.App, user, id, first.Add(messages*every), every)
		cmd := r.ask(t, user, id, 0)
		want := r.fates(t, cmd)[0]
		r.send(t, cmd)
		r.exec(t, `select layout.say($1, $2, $3, 2, $4, $5, false)`, r.App, user, id, time.Now(), r.Grain)

		r.crash(t, "in_batch:4", settings...)
		left := r.Seqs(t, "public", user, id)
		if len(left) < messages/10 {
			t.Errorf("%d messages are left after three batches", len(left))
		}
		release := r.hold(t, `select layout.hold($1, $2, $3, $4)`, r.App, user, id, len(left)/2)
		w := r.start(t, settings...)
		eventually(t, timeout, "the worker waits for the message that is held", func() bool { return r.waitsForLock(t) })
		must(t, tx.Commit(t.Context()))
		if stored, _, _ := r.seen(of(cmd.CommandID)); len(stored) > 0 {
			t.Errorf("told although a message is held: %s", stored[0])
		}
		release()
		e := r.deleted(t, cmd.CommandID, id)
		wantFields(t, e, "through_seq", want.through, "messages_deleted", want.deleted+late)
		r.settled(t)
		w.kill()
		r.ByHand(t, user, id, want.through, "forget", "leave")
		r.Compare(t, false)
		r.noAttempts(t)
	})
}
