package repo

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

const (
	// permitClass is the class of the advisory locks that are the permits of the long lane,
	// "leth" in ASCII. Advisory locks are the database's own.
	permitClass = 0x6c657468
	// messagesTime and childTime are the parts of the target after which a step deletes no more messages,
	// and no more child rows. The rest is for the last row, what is written to the ledger, and the
	// commit.
	messagesTime, childTime = 0.85, 0.95
	// leastTime is the part of the target that messages have in any case, after round trips and
	// locks that took long, so that each step gets on.
	leastTime = 0.2
	// spanFactor is how many rows, for each message of its limit, a batch of pointers passes in search of them: to
	// look whether a row is one of the user's takes a tenth of the time that it takes to delete a message.
	spanFactor = 10
)

// Step deletes one batch of a deletion, as p says, and what belongs to its messages, in one
// transaction of a few round trips. It doesn't wait for a permit, and deletes for no
// longer than the target: what it has left by then is for the next one. Except for what claims or
// finishes, the commit doesn't wait for the disk: a batch that is lost in a crash is done again.
// What hides is done in one.
func (r *Repo) Step(ctx context.Context, d purge.Deletion, p purge.Part) (purge.Step, error) {
	if err := r.widenKey(ctx, d.Scope); err != nil {
		return purge.Step{}, err
	}
	if r.hides(d) {
		return r.hideStep(ctx, d, p)
	}
	s := &step{r: r, d: d, p: p, a: argsOf(d)}
	s.a["completed_at"] = time.Time{}
	step, err := s.run(ctx)
	if err != nil || !p.Claim || !step.Record.Reused {
		return step, err
	}
	if adopted, err := r.adopt(ctx, []purge.Deletion{d}); err != nil || !adopted {
		return step, err
	}
	return s.run(ctx)
}

// step is one step at work. It serves a replay too, which has no lease.
type step struct {
	r      *Repo
	d      purge.Deletion
	p      purge.Part
	a      args            // of its statements
	replay *purge.Reported // what is done again; nil for a worker

	began       time.Time // the transaction, or a little later
	found       batchRange
	historyKept bool  // only the conversation's row goes
	lock        bool  // the batch's messages are locked first
	emptied     int64 // no message above the batch's low and at or below is left
	out         purge.Step
}

// batchRange is what step_range returns.
type batchRange struct {
	ours      bool // the lease is ours
	low, high int64
	crowded   bool    // there are more messages than the batch may have, for the last of them have one position
	first     *int64  // the batch's first message; nil for none
	through   int64   // the boundary
	deleted   int64   // messages, by earlier steps
	positions []int64 // of the batch's messages, ascending, where they are pointers
}

// run runs the step. A foreign key that a child row of this moment violates makes it run
// once more, with the messages locked before the child rows go. So do rows that are there again at the end: perhaps
// somebody else has just written them.
func (s *step) run(ctx context.Context) (purge.Step, error) {
	s.lock = s.r.plan.Loose
	err := s.try(ctx)
	var pg *pgconn.PgError
	if s.r.plan.Locked && errors.As(err, &pg) && pg.Code == foreignKeyViolation {
		s.lock = true
		err = s.try(ctx)
	}
	if isKept(err) {
		s.lock = s.lock || s.r.plan.Locked
		err = s.try(ctx)
	}
	if err != nil {
		return purge.Step{}, err
	}
	if s.p.Long {
		s.r.countLong()
	}
	return s.out, nil
}

const foreignKeyViolation, uniqueViolation = "23503", "23505"

func (s *step) try(ctx context.Context) error {
	s.out, s.found = purge.Step{Low: s.p.Low}, batchRange{}
	t := s.r.begin(s.replay == nil && (s.p.Claim || s.p.Finish))
	if s.p.Timeout > 0 {
		t.limits.statement = min(t.limits.statement, s.p.Timeout)
	}
	if s.p.LockTimeout > 0 {
		t.limits.lock = min(t.limits.lock, s.p.LockTimeout)
	}
	return t.converse(ctx, func(roundTrip func() error) error {
		s.began = time.Now()
		if s.p.Long {
			if err := s.permit(t, roundTrip); err != nil {
				return err
			}
		}
		if err := s.choose(t, roundTrip); err != nil || !s.found.ours {
			return err
		}
		if err := s.delete(t, roundTrip); err != nil {
			return err
		}
		if s.replay == nil {
			s.note(t)
		}
		if s.p.Finish && s.out.Reached {
			if err := s.finish(t, roundTrip); err != nil {
				return err
			}
		}
		if s.p.ForegroundBackoff > 0 && s.r.mayThrottle.Load() {
			t.exec(nil, general.get("foreground_load"), args{"times": s.p.ForegroundBackoff})
		}
		if s.r.triggers.Load() {
			return s.proveAgain(t, roundTrip)
		}
		return nil
	})
}

// proveAgain is an error where rows of the batch are there when all triggers have fired, or, of a deletion that it has finished, any rows.
func (s *step) proveAgain(t *transaction, roundTrip func() error) error {
	key, name := s.d.Key, "put_back"
	if s.replay != nil {
		name = "replay_put_back"
		if s.replay.Kind == purge.ReportedErased {
			key = s.r.LogOf(key)
		}
	}
	through := max(s.emptied, s.out.Low)
	all := []emptied{{key: key, above: s.found.low, through: &through}}
	if s.p.Finish && s.out.Reached { // else a scan from the bottom would pass what all batches before have deleted
		all = append(all, emptied{key: key, above: bottom, through: &s.found.through})
	}
	there := s.r.queuePutBack(t, name, all, s.a)
	if err := roundTrip(); err != nil {
		return err
	}
	if s.out.Finished {
		return there[1].err(s.historyKept, s.out.Record.ConversationRemoved || s.out.RowRemoved)
	}
	batch := there[0]
	if s.out.Low < through && batch.history.Table != s.r.plan.Messages.Name { // more child rows than a batch may have
		return nil
	}
	return batch.err(s.historyKept, false)
}

// permit takes a permit of the long lane, and finds out whether anything throttles it. If
// so the transaction ends: it must hold nothing while it waits. Steps that throttle the
// lane for others run one at a time, so that each finds what the one before has noted.
func (s *step) permit(t *transaction, roundTrip func() error) error {
	permits := s.r.cfg.LongConcurrency
	if s.p.ForegroundBackoff > 0 {
		permits = 1
	}
	had := permits <= 0
	if !had {
		t.query(func(pgx.Rows) error { had = true; return nil }, s.r.sql.get("step_permit"), args{"class": permitClass, "permits": permits})
	}
	var found purge.Throttled
	t.query(func(rows pgx.Rows) error {
		var left float64
		err := rows.Scan(&found.Reason, &found.Detail, &left)
		found.Left = seconds(left)
		return err
	}, s.r.sql.get("step_throttles"), nil)
	if err := roundTrip(); err != nil {
		return err
	}
	if !had && found.Reason == "" {
		found.Reason = purge.NoPermit
	}
	if s.out.Throttled = found; found.Reason != "" {
		return errAbandon
	}
	return nil
}

// choose takes the lease if that is asked for, locks the ledger's row and finds out which
// messages the batch has. It may mark dead index entries of earlier batches. If the lease
// isn't ours it reads the record instead.
func (s *step) choose(t *transaction, roundTrip func() error) error {
	sql, name := s.r.sql, "step_range"
	a := s.a.with(args{
		"lease": s.r.cfg.Lease(), "low": s.p.Low, "limit": max(1, s.p.Limit), "claim": s.p.Claim, "dense": !s.p.Sparse,
		"span": spanFactor * max(1, s.p.Limit), "from": s.p.MarkFrom, "to": s.p.MarkTo,
	})
	if s.p.Claim {
		s.r.enter(t, s.d)
		t.exec(nil, sql.get("claim"), a)
	}
	if s.replay != nil {
		name = "replay_range"
		if s.replay.Kind == purge.ReportedErased {
			s.r.lockErasure(t, a)
		}
	}
	f := &s.found
	t.query(func(rows pgx.Rows) error {
		f.ours = true
		into := []any{&f.low, &f.first, &f.high, &f.crowded, &f.through, &s.historyKept, &f.deleted}
		if s.r.plan.Messages.Pointed() {
			into = append(into, &f.positions)
		}
		return rows.Scan(into...)
	}, sql.get(name), a)
	if s.p.MarkTo > s.p.MarkFrom {
		t.exec(nil, sql.get("step_mark"), a)
	}
	if err := roundTrip(); err != nil {
		return err
	}
	if !f.ours {
		t.query(readRecord(s.d, &s.out.Record), sql.get("record"), s.a)
		return nil
	}
	s.out.Low, s.emptied = f.low, f.low
	a["low"], a["high"], a["locked"], s.a = f.low, f.high, s.lock, a
	a["positions"] = slices.Compact(f.positions)
	return nil
}

// allot sets until when the next round trip deletes.
func (s *step) allot() {
	target, gone := float64(s.r.cfg.Target), float64(time.Since(s.began))
	messages := max(messagesTime*target, gone+leastTime*target)
	s.a["least"] = time.Duration(leastTime * target)
	s.a["time"], s.a["child_time"] = time.Duration(messages), time.Duration(messages+(childTime-messagesTime)*target)
}

// delete deletes the batch: the messages and then their child rows, or, where foreign keys
// or references tie them together, the child rows first and the messages only if
// no child row is left.
func (s *step) delete(t *transaction, roundTrip func() error) error {
	if s.historyKept {
		s.out.Low, s.out.Reached, s.out.Empty = s.found.high, true, true
		return nil
	}
	n := batchCount{children: make([]tableCount, len(s.r.plan.Children))}
	pointed := s.r.plan.Messages.Pointed()
	if pointed && s.found.first == nil { // nothing can be found without messages
		s.count(n)
		return nil
	}
	if pointed {
		if err := s.lockPointers(t, roundTrip); err != nil {
			return err
		}
	}
	s.allot()
	if s.r.plan.Locked {
		s.queueLocks(t)
		s.queueChildren(t, &n)
		if err := roundTrip(); err != nil {
			return err
		}
		if err := s.keptParent(n.children...); err != nil {
			return err
		}
		n.again = slices.ContainsFunc(n.children, func(c tableCount) bool { return c.gone < c.found || c.found >= s.p.Limit })
		if n.again || s.found.first == nil {
			s.count(n)
			return nil
		}
		s.allot()
	}
	if messages := s.r.sql.get(s.named("step_messages", "replay_messages")); len(s.r.plan.Parents) > 0 {
		n.messages.parents = s.r.plan.Parents
		t.query(n.messages.scan, messages, s.a)
	} else {
		t.exec(&n.messages.gone, messages, s.a)
	}
	t.query(func(rows pgx.Rows) error { return rows.Scan(&n.cut) }, s.r.sql.get("step_late"), args{"late": s.a["time"]})
	if !s.r.plan.Locked && len(n.children) > 0 {
		s.queueChildren(t, &n)
	}
	if err := roundTrip(); err != nil {
		return err
	}
	if err := s.keptParent(n.messages); err != nil {
		return err
	}
	switch {
	case len(s.r.plan.Parents) > 0:
		n.again = n.messages.gone < n.messages.found
	case n.cut:
		s.cut(&n)
	}
	if n.again = n.again || s.found.crowded; !n.again {
		s.emptied = s.found.high
	}
	s.count(n)
	return nil
}

// lockPointers locks the batch's messages, which are pointers, and their parents before them, and notes where the messages are.
func (s *step) lockPointers(t *transaction, roundTrip func() error) error {
	var parts, places []string
	t.exec(nil, s.r.sql.get(s.named("step_lock_parents", "replay_lock_parents")), s.a)
	t.query(func(rows pgx.Rows) error { return rows.Scan(&parts, &places) }, s.r.sql.get(s.named("step_lock", "replay_lock")), s.a)
	if err := roundTrip(); err != nil {
		return err
	}
	s.a["parts"], s.a["places"] = parts, places
	return nil
}

// queueLocks adds the statements that lock the batch's rows, from the messages down: where parents may go with
// them, and all that something refers to where that has turned out to be needed.
func (s *step) queueLocks(t *transaction) {
	sql, of := s.r.sql, s.r.plan
	if len(of.Parents) > 0 && !of.Messages.Pointed() {
		t.exec(nil, sql.get(s.named("step_lock_parents", "replay_lock_parents")), s.a)
	}
	if (s.lock || len(of.Parents) > 0) && !of.Messages.Pointed() {
		t.exec(nil, sql.get(s.named("step_lock", "replay_lock")), s.a)
	}
	if len(of.Parents) > 0 {
		t.exec(nil, sql.get(s.named("step_lock_keepers", "replay_lock_keepers")), s.a)
	}
	for i, c := range slices.Backward(of.Children) {
		if len(c.Parents) > 0 {
			t.exec(nil, sql.child(s.named("child_lock_parents", "child_replay_lock_parents"), i), s.a)
		}
		if len(c.Parents) > 0 || s.lock && len(c.Children) > 0 {
			t.exec(nil, sql.child(s.named("child_lock", "child_replay_lock"), i), s.a)
		}
		if len(c.Parents) > 0 {
			t.exec(nil, sql.child(s.named("child_lock_keepers", "child_replay_lock_keepers"), i), s.a)
		}
	}
}

// keptParent is an error where a trigger or a rule keeps a parent: what refers to it must not go then, for
// nothing would lead to it any more.
func (s *step) keptParent(counts ...tableCount) error {
	for _, c := range counts {
		for i, p := range c.parents {
			if n := c.due[i] - c.went[i]; n > 0 {
				return errKept(purge.Kept{Table: p.Name, Rows: n})
			}
		}
	}
	return nil
}

// cut finds out how far a batch has come whose messages' time was over. In one table they go in the
// order of their positions; if no two have the same one, at least as many positions as messages
// have gone are behind it. Otherwise the next batch scans the range again.
func (s *step) cut(n *batchCount) {
	if m := s.r.plan.Messages; m.UniqueSeq && !m.Partitioned && s.found.first != nil {
		s.found.high = min(s.found.high, *s.found.first-1+int64(n.messages.gone))
	} else {
		n.again = true
	}
}

func (s *step) named(worker, replay string) string {
	if s.replay != nil {
		return replay
	}
	return worker
}

// batchCount is what a batch has done.
type batchCount struct {
	messages tableCount
	children []tableCount
	cut      bool // time was over before all messages had gone
	late     bool // and before all child rows had
	again    bool // the same range once more: more of it may be left
}

// tableCount is how many rows of a table a batch has found, and how many went; and of each of its parents,
// how many were to go with them and went.
type tableCount struct {
	found, gone int
	parents     []*plan.Parent
	due, went   []int
}

func (c *tableCount) scan(rows pgx.Rows) error {
	if len(c.parents) == 0 {
		return rows.Scan(&c.found, &c.gone)
	}
	return rows.Scan(&c.found, &c.gone, &c.due, &c.went)
}

func (s *step) queueChildren(t *transaction, n *batchCount) {
	for i, c := range s.r.plan.Children {
		n.children[i].parents = c.Parents
		t.query(n.children[i].scan, s.r.sql.child(s.named("child_step", "child_replay"), i), s.a)
	}
	t.query(func(rows pgx.Rows) error { return rows.Scan(&n.late) }, s.r.sql.get("step_late"), args{"late": s.a["child_time"]})
}

// count fills in what the batch has done.
func (s *step) count(n batchCount) {
	f, out := &s.found, &s.out
	out.Messages, out.Rows = n.messages.gone, n.messages.gone
	if out.Messages > 0 {
		out.Tables = purge.MessagesTable
	}
	overflow := false
	for i, c := range n.children {
		out.Rows += c.gone
		overflow = overflow || c.found >= s.p.Limit || n.late && c.gone < c.found
		if c.gone > 0 {
			out.Tables |= childTable(i)
		}
	}
	parent := len(n.children)
	for _, c := range append([]tableCount{n.messages}, n.children...) {
		for _, went := range c.went {
			out.Rows += went
			if went > 0 {
				out.Tables |= childTable(parent)
			}
			parent++
		}
	}
	again := n.again || overflow
	out.Late = n.cut || n.late && overflow
	passed := f.high < f.through && s.r.plan.Messages.Pointed() // as many as it may, so that its time measures that
	out.Passed = passed && f.first == nil
	out.Empty = f.first == nil && out.Rows == 0 && !again && !passed
	out.Reached = !again && !n.cut && f.high >= f.through
	out.Full = out.Late || overflow || passed || 5*n.messages.gone >= 4*s.p.Limit
	out.Sparse = s.sparse(n)
	if !again {
		out.Low = f.high
	}
}

// sparse says whether the next batch should count its messages off, instead of taking as many
// positions as the limit.
func (s *step) sparse(n batchCount) bool {
	switch f := s.found; {
	case n.cut || f.first == nil || f.high >= f.through:
		return s.p.Sparse
	case s.p.Sparse:
		return float64(f.high)-float64(*f.first) > 1.25*float64(s.p.Limit)
	default:
		return 2*n.messages.gone < s.p.Limit
	}
}

// note writes to the ledger what the batch has done.
func (s *step) note(t *transaction) {
	t.query(readRecord(s.d, &s.out.Record), s.r.sql.get("step_note"), s.a.with(args{"deleted": s.out.Messages, "cursor": s.out.Low}))
}

// finish proves that nothing is left and finishes the deletion.
func (s *step) finish(t *transaction, roundTrip func() error) error {
	if s.replay != nil {
		return s.finishReplay(t)
	}
	return s.r.finish(t, s.d, s.a, roundTrip, &s.out.Record, &s.out.Finished)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
