package repo

import (
	"context"
	"crypto/rand"
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

// Due says which of the deletions have something left of what they removed, or
// are not known to the ledger as done. One round trip, which locks nothing.
func (p *Replayer) Due(ctx context.Context, deletions []purge.Record) ([]bool, error) {
	var apps, commands, conversations, users []string
	var through []int64
	var completed []time.Time
	var kept []bool
	for _, d := range deletions {
		apps, commands, conversations = append(apps, d.App), append(commands, d.Command), append(conversations, d.Conversation)
		users, through, kept = append(users, d.User), append(through, d.ThroughSeq), append(kept, d.HistoryKept)
		completed = append(completed, d.CompletedAt)
	}
	due := make([]bool, len(deletions))
	t := p.begin(false)
	t.query(func(rows pgx.Rows) error {
		var ord int
		if err := rows.Scan(&ord); err != nil {
			return err
		}
		due[ord-1] = true
		return nil
	}, p.sql.get("replay_due"), args{
		"apps": apps, "commands": commands, "conversations": conversations, "users": users, "through_seqs": through, "completed_at": completed, "kept": kept,
	})
	if err := p.commit(ctx, t); err != nil {
		return nil, err
	}
	return due, nil
}

// Count counts what the next batch of at most limit messages above low would
// delete. It locks and changes nothing.
func (p *Replayer) Count(ctx context.Context, d purge.Record, low int64, limit int) (purge.Step, error) {
	var step purge.Step
	var found int
	t := p.begin(false)
	t.query(func(rows pgx.Rows) error { return rows.Scan(&step.Low, &found, &step.Messages) }, p.sql.get("replay_count"),
		replayArgs(d).with(args{"low": low, "limit": limit, "span": spanFactor * limit}))
	if err := p.commit(ctx, t); err != nil {
		return purge.Step{}, err
	}
	step.Rows, step.Reached = step.Messages, step.Low >= d.ThroughSeq
	step.Full = !step.Reached
	return step, nil
}

// Redo is [Repo.Step] for a deletion that is done again, as part says: of a batch's
// messages and their child rows it deletes what the deletion had removed. If it finishes, the ledger
// is told that the deletion is done, with the outcome in d. It has no lease. The commit doesn't wait
// for the disk: see [Replayer.Sync].
func (p *Replayer) Redo(ctx context.Context, d purge.Record, part purge.Part) (purge.Step, error) {
	if err := p.widenKey(ctx, d.Scope); err != nil {
		return purge.Step{}, err
	}
	s := &step{r: p.Repo, d: purge.Deletion{Key: d.Key}, p: part, a: replayArgs(d), replay: &d}
	s.p.Claim, s.historyKept = false, d.HistoryKept
	return s.run(ctx)
}

func replayArgs(d purge.Record) args {
	return args{
		"app": d.App, "command": d.Command, "conversation": d.Conversation, "user": d.User, "device": d.Device, "through_seq": d.ThroughSeq,
		"completed_at": d.CompletedAt, "kept": d.HistoryKept, "deleted": d.MessagesDeleted, "removed": d.ConversationRemoved,
		"scope": string(d.Scope), "requested_by": d.RequestedBy,
		"sync": d.MultiClientSync, "requested_at": formatTime(d.RequestedAt),
	}
}

// finishReplay finishes a deletion that is done again.
func (s *step) finishReplay(t *transaction) error {
	s.r.lockConversation(t, s.a)
	t.query(func(rows pgx.Rows) error {
		err := rows.Scan(&s.out.Finished, &s.out.RowRemoved)
		if s.out.Finished {
			s.out.Record.State = purge.Done
		}
		return err
	}, s.r.sql.get("replay_finish"), s.a)
	return nil
}

// Sync makes everything durable that was committed before.
func (p *Replayer) Sync(ctx context.Context) error {
	t := p.begin(true)
	id := "replay-" + rand.Text()
	t.exec(nil, p.sql.get("probe_write"), args{"id": id})
	t.exec(nil, p.sql.get("probe_erase"), args{"id": id})
	return p.commit(ctx, t)
}
