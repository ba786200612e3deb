package repo

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// Replayer does deletions again that were done once, as their events tell, on a
// database that has been restored from before them. It deletes nothing that was
// sent after a deletion had finished. Unlike a worker it holds no lease: all that
// it does may be done twice, or by two at once. Safe for concurrent use.
type Replayer struct {
	*Repo
}

// Replayer returns the Repo as a replay uses it.
func (r *Repo) Replayer() *Replayer { return &Replayer{Repo: r} }

// Replayable returns why the plan's tables can't have had what an event reports, nil if they can: it may be
// of a time when the tables had another shape. Pure: it asks nobody.
func (p *Replayer) Replayable(d purge.Reported) error {
	log := p.plan.Members != nil
	switch what := "the event reports "; {
	case d.Kind == purge.ReportedErased && !log, d.Kind == purge.ReportedDeleted && !d.Erased && !log:
		return errors.New(what + "a deletion of a shared log with members, and the plan's messages are none")
	case d.Kind == purge.ReportedDeleted && d.Erased && d.MessagesDeleted > 0 && log:
		return errors.New(what + "messages that were deleted at once, and the plan's messages are a shared log, where a deletion only hides them")
	case d.Kind == purge.ReportedDeleted && p.plan.Shared && !log && d.User != d.RequestedBy:
		return errors.New(what + "the deletion of one user's messages, and the plan's messages are a shared log without members, where scope everyone deletes them once")
	}
	as := purge.Deletion{Key: d.Key, ThroughSeq: &d.ThroughSeq, KeepHistory: d.HistoryKept}
	if p.plan.Shared && !log {
		as.Scope, as.RequestedBy = d.Scope, d.RequestedBy
	}
	_, err := p.plan.Incompatible(as)
	return err
}

// dueStatements find of what something is left, by kind.
var dueStatements = map[purge.ReportedKind]string{
	purge.ReportedDeleted: "replay_due", purge.ReportedErased: "replay_erasure_due", purge.ReportedAllDeleted: "replay_command_due",
}

// Due says of what something is left, or not known to the ledger as done. One round trip, which locks nothing.
func (p *Replayer) Due(ctx context.Context, all []purge.Reported) ([]bool, error) {
	due := make([]bool, len(all))
	t := p.begin(false)
	for kind, name := range dueStatements {
		var c reportedColumns
		for i, d := range all {
			if d.Kind == kind {
				c.add(i, p.logKey(d), d)
			}
		}
		if len(c.ords) == 0 {
			continue
		}
		t.query(func(rows pgx.Rows) error {
			var ord int
			if err := rows.Scan(&ord); err != nil {
				return err
			}
			due[ord] = true
			return nil
		}, p.sql.get(name), c.args())
	}
	if err := p.commit(ctx, t); err != nil {
		return nil, err
	}
	return due, nil
}

// reportedColumns are reports as arrays.
type reportedColumns struct {
	ords                                                             []int
	apps, commands, conversations, users, logUsers, logConversations []string
	through                                                          []int64
	at                                                               []time.Time
	kept                                                             []bool
}

func (c *reportedColumns) add(ord int, log [3]string, d purge.Reported) {
	command, user, at := d.Command, d.User, d.CompletedAt
	if d.Kind == purge.ReportedErased {
		command, user, at = "", "", d.ErasedAt
	}
	c.ords, c.apps, c.commands, c.conversations = append(c.ords, ord), append(c.apps, d.App), append(c.commands, command), append(c.conversations, d.Conversation)
	c.users, c.logUsers, c.logConversations = append(c.users, user), append(c.logUsers, log[1]), append(c.logConversations, log[2])
	c.through, c.at, c.kept = append(c.through, d.ThroughSeq), append(c.at, at), append(c.kept, d.HistoryKept)
}

func (c *reportedColumns) args() args {
	return args{
		"ords": c.ords, "apps": c.apps, "commands": c.commands, "conversations": c.conversations, "users": c.users, "log_users": c.logUsers,
		"log_conversations": c.logConversations, "through_seqs": c.through, "completed_at": c.at, "kept": c.kept,
	}
}

// logKey is how lethe.watermarks names the member of a shared log.
func (p *Replayer) logKey(d purge.Reported) [3]string {
	return p.plan.Conversation(purge.Deletion{Key: d.Key})
}

// Count counts what the next batch of at most limit messages above low would
// delete; none of what only hides. It locks and changes nothing.
func (p *Replayer) Count(ctx context.Context, d purge.Reported, low int64, limit int) (purge.Step, error) {
	if p.hidesAgain(d) || d.Kind == purge.ReportedAllDeleted {
		return purge.Step{Low: d.ThroughSeq, Reached: true}, nil
	}
	var step purge.Step
	var found int
	t := p.begin(false)
	t.query(func(rows pgx.Rows) error { return rows.Scan(&step.Low, &found, &step.Messages) }, p.sql.get("replay_count"),
		p.replayArgs(d).with(args{"low": low, "limit": limit, "span": spanFactor * limit}))
	if err := p.commit(ctx, t); err != nil {
		return purge.Step{}, err
	}
	step.Rows, step.Reached = step.Messages, step.Low >= d.ThroughSeq
	step.Full = !step.Reached
	return step, nil
}

// Redo is [Repo.Step] for what is done again, as part says: of a batch's
// messages and their child rows it deletes what had been removed. If it finishes, the ledger
// is told so, with the outcome in d. It has no lease. The commit doesn't wait
// for the disk: see [Replayer.Sync]. In a shared log a deletion hides again, and what has been erased is erased again, and the floor pinned.
func (p *Replayer) Redo(ctx context.Context, d purge.Reported, part purge.Part) (purge.Step, error) {
	if err := p.widenKey(ctx, d.Scope); err != nil {
		return purge.Step{}, err
	}
	s := &step{r: p.Repo, d: purge.Deletion{Key: d.Key}, p: part, a: p.replayArgs(d), replay: &d}
	s.p.Claim, s.historyKept = false, d.HistoryKept
	switch {
	case p.hidesAgain(d):
		return s.redoRows(ctx, func(t *transaction, roundTrip func() error) error { return s.hideAgain(t, roundTrip, p.logKey(d)) })
	case d.Kind == purge.ReportedAllDeleted:
		return s.redoRows(ctx, func(t *transaction, _ func() error) error {
			t.exec(nil, s.r.sql.get("replay_command"), s.a)
			s.out.Finished = true
			return nil
		})
	}
	return s.run(ctx)
}

// hidesAgain reports whether the messages of the deletion were hidden.
func (p *Replayer) hidesAgain(d purge.Reported) bool {
	return d.Kind == purge.ReportedDeleted && p.plan.Members != nil
}

// redoRows runs statements that delete nothing, when nothing throttles it.
func (s *step) redoRows(ctx context.Context, work func(t *transaction, roundTrip func() error) error) (purge.Step, error) {
	t := s.r.begin(false)
	s.out = purge.Step{Low: s.p.Low}
	err := t.converse(ctx, func(roundTrip func() error) error {
		if s.p.Long {
			if err := s.permit(t, roundTrip); err != nil {
				return err
			}
		}
		return work(t, roundTrip)
	})
	if err != nil {
		return purge.Step{}, err
	}
	return s.out, nil
}

// hideAgain moves a member's watermarks on again.
func (s *step) hideAgain(t *transaction, roundTrip func() error, log [3]string) error {
	d := s.replay
	a := s.a.with(args{
		"apps": []string{d.App}, "commands": []string{d.Command}, "conversations": []string{d.Conversation}, "users": []string{d.User}, "fresh": []bool{true},
		"log_user": log[1], "log_conversation": log[2], "log_users": []string{log[1]}, "log_conversations": []string{log[2]},
	})
	t.exec(nil, s.r.sql.get("hide_lock"), a)
	t.query(func(rows pgx.Rows) error { return rows.Scan(&s.out.Finished) }, s.r.sql.get("replay_hide"), a)
	kept := s.r.queueKept(t, a)
	if err := roundTrip(); err != nil {
		return err
	}
	for _, k := range kept {
		if k.Column != "" { // what else was said is no longer to be decided
			return errKept(k)
		}
	}
	return nil
}

func (p *Replayer) replayArgs(d purge.Reported) args {
	a := args{
		"app": d.App, "command": d.Command, "conversation": d.Conversation, "user": d.User, "device": d.Device, "through_seq": d.ThroughSeq,
		"completed_at": d.CompletedAt, "kept": d.HistoryKept, "deleted": d.MessagesDeleted, "removed": d.ConversationRemoved,
		"scope": string(d.Scope), "requested_by": d.RequestedBy, "erased": d.Erased,
		"sync": d.MultiClientSync, "requested_at": formatTime(d.RequestedAt),
	}
	if d.Kind == purge.ReportedErased {
		a = a.with(p.erasureArgs(d.App, d.Conversation)).with(args{"completed_at": d.ErasedAt})
	}
	return a
}

// finishReplay finishes what is done again.
func (s *step) finishReplay(t *transaction) error {
	s.r.lockConversation(t, s.a)
	name := "replay_finish"
	if s.replay.Kind == purge.ReportedErased {
		name = "replay_erased"
	}
	t.query(func(rows pgx.Rows) error {
		err := rows.Scan(&s.out.Finished, &s.out.RowRemoved)
		if s.out.Finished {
			s.out.Record.State = purge.Done
		}
		return err
	}, s.r.sql.get(name), s.a)
	return nil
}

// RedoTold notes of the hidden deletions that the stream has the event of their erasure. It returns those that the ledger
// doesn't know as done.
func (p *Replayer) RedoTold(ctx context.Context, erased []purge.Reported) (unknown []purge.Reported, err error) {
	var apps, commands, users, conversations []string
	var at []time.Time
	for _, d := range erased {
		apps, commands, users, conversations = append(apps, d.App), append(commands, d.Command), append(users, d.User), append(conversations, d.Conversation)
		at = append(at, d.ErasedAt)
	}
	t := p.begin(false)
	t.query(func(rows pgx.Rows) error {
		var ord int
		err := rows.Scan(&ord)
		if err == nil {
			unknown = append(unknown, erased[ord-1])
		}
		return err
	}, p.sql.get("replay_told"), args{"apps": apps, "commands": commands, "users": users, "conversations": conversations, "erased_at": at})
	if err := p.commit(ctx, t); err != nil {
		return nil, err
	}
	return unknown, nil
}

// Sync makes everything durable that was committed before.
func (p *Replayer) Sync(ctx context.Context) error {
	t := p.begin(true)
	id := "replay-" + rand.Text()
	t.exec(nil, p.sql.get("probe_write"), args{"id": id})
	t.exec(nil, p.sql.get("probe_erase"), args{"id": id})
	return p.commit(ctx, t)
}
