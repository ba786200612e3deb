package repo

import (
	"bytes"
	"context"
	"crypto/rand"
	"text/template"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// Replayer does deletions again that were done once, as their events tell, on a
// database that has been restored from before them. It deletes nothing that was
// sent after a deletion had finished. Unlike a worker it holds no lease: all that
// it does may be done twice, or by two at once. Safe for concurrent use.
type Replayer struct {
	*Repo
	again replayStatements
}

// Replayer makes the statements of a replay.
func (r *Repo) Replayer() *Replayer {
	return &Replayer{Repo: r, again: makeReplayStatements(r.plan)}
}

// replayStatements is the SQL of a replay with one plan. A worker has no use for it.
type replayStatements struct {
	due, count, start, lock, finish string
	messages                        string // of a plan whose messages are locked first
	children                        []string
}

func makeReplayStatements(s *plan.Checked) replayStatements {
	all := template.Must(template.New("sql").ParseFS(sqlFiles, "sql/*.sql"))
	text := func(name string, c plan.Child) string {
		var b bytes.Buffer
		if err := all.ExecuteTemplate(&b, name+".sql", sqlArgs{Checked: s, Child: c}); err != nil {
			panic("BUG: " + name + ".sql: " + err.Error())
		}
		return b.String()
	}
	plain := func(name string) string { return text(name, plan.Child{}) }
	st := replayStatements{due: plain("replay_due"), count: plain("replay_count"), lock: plain("replay_lock"), finish: plain("replay_finish")}
	perChild := "replay_child"
	if s.Locked {
		st.start, st.messages, perChild = plain("locked_replay_start"), plain("locked_replay_messages"), "locked_replay_child"
	} else {
		st.start = plain("replay_messages")
	}
	for _, c := range s.Children {
		st.children = append(st.children, text(perChild, c))
	}
	return st
}

// all returns every statement, for the tests.
func (s replayStatements) all() []string {
	out := append([]string{s.due, s.count, s.start, s.lock, s.finish}, s.children...)
	if s.messages != "" {
		out = append(out, s.messages)
	}
	return out
}

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
	}, p.again.due, apps, commands, conversations, users, through, completed, kept)
	if err := p.commit(ctx, t); err != nil {
		return nil, err
	}
	return due, nil
}

// Count counts what the next batch of at most limit messages above low would
// delete. It locks and changes nothing.
func (p *Replayer) Count(ctx context.Context, d purge.Record, low int64, limit int) (purge.Redone, error) {
	var high int64
	var found, going int
	t := p.begin(false)
	t.query(func(rows pgx.Rows) error { return rows.Scan(&high, &found, &going) },
		p.again.count, d.App, d.User, d.Conversation, low, d.ThroughSeq, d.CompletedAt, limit)
	if err := p.commit(ctx, t); err != nil {
		return purge.Redone{}, err
	}
	return purge.Redone{Low: high, Messages: going, Rows: going, Full: found >= limit}, nil
}

// Redo deletes the next batch of a deletion that is done again: of at most limit
// messages above low those that the deletion had removed, and what hangs on them,
// in one transaction of one round trip, unless it is held (see [purge.Held]).
// Where finish is set and the batch reaches the boundary, the same transaction
// also proves that nothing is left, removes the conversation's row unless newer
// messages remain, and tells the ledger that the deletion is done, with the
// outcome in d; the result is Done then. The commit doesn't wait for the disk:
// see [Replayer.Sync].
func (p *Replayer) Redo(ctx context.Context, d purge.Record, low int64, limit int, finish bool) (purge.Redone, error) {
	t := p.begin(false)
	turn := p.takeTurn(t, false)
	b := redoBatch{low: low, high: low, limit: limit, counts: make([]int, len(p.again.children))}
	if !d.HistoryKept {
		p.batch(t, d, &b)
	}
	res := purge.Redone{}
	if finish {
		key := []any{d.App, d.User, d.Conversation}
		t.exec(nil, p.again.lock, append(key, d.HistoryKept)...)
		t.query(func(rows pgx.Rows) error { return rows.Scan(&res.Done, &res.RowRemoved) }, p.again.finish,
			append(key, d.Command, d.ThroughSeq, d.CompletedAt, d.HistoryKept, d.Device, d.MessagesDeleted, d.ConversationRemoved,
				d.MultiClientSync, formatTime(d.RequestedAt))...)
	}
	err := p.commit(ctx, t)
	if held := turn.heldBy(err); held.Cause != "" {
		return purge.Redone{Low: low, Held: held, Waited: turn.waited}, nil
	}
	if err != nil {
		return purge.Redone{}, err
	}
	res.Waited, res.Messages = turn.waited, b.gone
	b.sum(&res)
	return res, nil
}

// redoBatch is what the statements of one batch find.
type redoBatch struct {
	low, high   int64
	limit       int
	last        bool // it reaches the boundary
	found, gone int  // messages looked at, and deleted
	going       int  // messages that are to go when nothing hangs on them any more
	counts      []int
}

// batch adds the deletes of one batch, in the order that the plan asks for.
func (p *Replayer) batch(t *transaction, d purge.Record, b *redoBatch) {
	key := []any{d.App, d.User, d.Conversation, b.low}
	with := func(more ...any) []any { return append(append([]any{}, key...), more...) }
	fourth := &b.gone
	if p.plan.Locked {
		fourth = &b.going
	}
	t.query(func(rows pgx.Rows) error { return rows.Scan(&b.high, &b.last, &b.found, fourth) },
		p.again.start, with(d.ThroughSeq, d.CompletedAt, b.limit)...)
	for i, sql := range p.again.children {
		if p.plan.Locked {
			t.exec(&b.counts[i], sql, with(d.CompletedAt, b.limit)...)
		} else {
			t.exec(&b.counts[i], sql, with(b.limit)...)
		}
	}
	if p.plan.Locked {
		t.exec(&b.gone, p.again.messages, with(d.CompletedAt)...)
	}
}

// sum fills in how many rows went, and where to go on.
func (b *redoBatch) sum(res *purge.Redone) {
	res.Low, res.Full, res.Rows = b.high, !b.last && b.found > 0, b.gone
	again := b.gone < b.going
	for _, n := range b.counts {
		res.Rows += n
		again = again || n >= b.limit // more of it may hang on this range
	}
	if again {
		res.Low, res.Full = b.low, true
	}
}

// Sync makes everything durable that was committed before.
func (p *Replayer) Sync(ctx context.Context) error {
	t := p.begin(true)
	id := "replay-" + rand.Text()
	t.exec(nil, probeCommand, id)
	t.exec(nil, probeCommandGone, id)
	return p.commit(ctx, t)
}
