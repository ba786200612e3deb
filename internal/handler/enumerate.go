package handler

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/crash"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/retry"
)

// enumeratorStore is what a command needs of the database that names its deletions by a rule.
// See *repo.Repo for what the methods promise.
type enumeratorStore interface {
	// Shared reports whether the plan's messages are a shared log.
	Shared() bool
	Lists(d purge.Deletion) error
	Enumerate(ctx context.Context, d purge.Deletion) (purge.Enumeration, error)
	Restart(ctx context.Context, d purge.Deletion, reasons []string) (bool, error)
	List(ctx context.Context, d purge.Deletion, from purge.Place, limit int) (ids []string, next purge.Place, err error)
	Advance(ctx context.Context, d purge.Deletion, from, to purge.Place, open []string) (moved bool, err error)
	PinBoundary(ctx context.Context, d purge.Deletion) (boundary int64, err error)
	Removes(d purge.Deletion) bool
	RemoveMembers(ctx context.Context, d purge.Deletion, from purge.Place, open []string, limit int) (users []string, to purge.Place, moved bool, err error)
	EraseEveryone(ctx context.Context, d purge.Deletion) error
	Known(ctx context.Context, d purge.Deletion, after purge.Key, limit int) ([]purge.Key, error)
	Complete(ctx context.Context, d purge.Deletion, at purge.Place) (sum purge.Totals, completed bool, err error)
}

const (
	// maxPage is how many deletions a page has at most, maxPages how many pages of one enumeration may be in flight, for those with
	// large deletions wait for these, and maxRounds how many of them may be in their express rounds or wait for these.
	maxPage, maxPages, maxRounds = 512, 4, 2
	// maxRemoved is how many members' rows one transaction removes that deletes a shared log for everyone: as many as the end of an erasure.
	maxRemoved = 10_000
)

// enumeration is a command that names its deletions by a rule, while it is in flight: all conversations of a user, or everyone's
// copy of conversations. It goes along an index from page to page. The ledger has how far it has come and what is open up to there, so that
// whoever continues it publishes what has not been published, and misses nothing. Where two workers do so at a time, the
// one that can't move the ledger's place leaves it to the other.
type enumeration struct {
	h       *Handler
	job     *job
	d       purge.Deletion        // what its deletions have in common
	targets []conversation.Target // of scope everyone

	at       purge.Place // as the ledger has it
	boundary *int64      // of the target, in a shared log

	mu       sync.Mutex // guards what follows
	pages    []*page    // in flight
	left     bool       // by its goroutine, for redelivery: the last page settles the delivery
	deferred bool       // a page couldn't be finished
	delay    time.Duration
	changed  chan struct{} // has a token when a page has changed
}

// enumerate takes up a command that names its deletions by a rule. Where no table says who reads a shared log
// there is one deletion for everyone.
func (h *Handler) enumerate(j *job, cmd conversation.Command) entry {
	store, d := h.cfg.Store, j.deletion(cmd)
	everyone := cmd.Scope == conversation.ScopeEveryone
	if everyone && store.Shared() && !store.Hides() {
		return h.newEntry(j, cmd)
	}
	if everyone && !store.Shared() && slices.ContainsFunc(cmd.Conversations, func(c conversation.Target) bool { return c.ThroughSeq != nil }) {
		return j.refusedAs(conversation.ReasonInvalidCommand,
			`conversations: through_seq with scope "everyone" is for shared logs: each owner's copy has seqs of its own; leave it out, so that the time of the command decides`)
	}
	whole, err := store.Incompatible(d)
	if whole || errors.Is(err, purge.ErrBoundaryRequired) && !everyone {
		return j.refusedAs(refusalOf(err), err.Error())
	}
	if err := store.Lists(d); err != nil {
		return j.refusedAs(refusalOf(err), err.Error())
	}
	return entry{job: j, enumeration: &enumeration{h: h, job: j, d: d, targets: cmd.Conversations, changed: make(chan struct{}, 1)}}
}

// start runs the enumeration in a goroutine of its own, when there is room.
func (e *enumeration) start() {
	e.h.goroutines.Go(func() {
		release, ok := e.h.enumerations.enter(e)
		if !ok {
			e.leave(purge.DeferDelay(retry.Random()))
			return
		}
		e.job.slot.Leave()
		settle := e.run()
		release() // before the same command comes again
		settle()
	})
}

// errLeft and errRefused are why an enumeration ends before all deletions are final: the command must be delivered again, or it is given up.
var errLeft, errRefused = errors.New("the enumeration can't go on"), errors.New("the command is refused")

// run takes the enumeration to its end, or as far as it can go, and returns what settles the delivery then.
func (e *enumeration) run() (settle func()) {
	began := time.Now()
	sum, err := e.walk()
	if err == nil {
		err = e.finish(sum, began)
	}
	if err == nil || errors.Is(err, errRefused) {
		return func() { e.h.settle([]*job{e.job}) }
	}
	delay := e.trouble(err)
	return func() { e.leave(delay) }
}

// walk carries out all deletions. It returns an error where the command must be delivered again.
func (e *enumeration) walk() (sum purge.Totals, err error) {
	if err := e.encodable(); err != nil {
		return sum, err
	}
	known, err := storeTry(e, func() (purge.Enumeration, error) { return e.h.cfg.Store.Enumerate(e.h.working, e.d) })
	if err == nil && known.Completed && !known.Reused && e.targets != nil && e.d.Retry != 0 {
		known, err = e.restart(known)
	}
	switch {
	case err != nil:
		return sum, err
	case known.Reused:
		return sum, e.refuse(failure{conversation.ReasonCommandIDReused, reused})
	case known.Completed:
		err = e.repeat()
	default:
		err = e.continueFrom(known)
	}
	if err != nil {
		return sum, err
	}
	completed := false
	_, err = storeTry(e, func() (_ struct{}, err error) {
		sum, completed, err = e.h.cfg.Store.Complete(e.h.working, e.d, e.at)
		return struct{}{}, err
	})
	if err == nil && !completed {
		err = errMoved
	}
	return sum, err
}

// errMoved is that another worker carries the command out, too. Whoever finds that first leaves it to the other one for now.
var errMoved = errors.New("another worker has moved the enumeration")

// encodable refuses the command where the database, and so the ledger, can't store an id of it.
func (e *enumeration) encodable() error {
	found, err := storeTry(e, func() (map[int]purge.Unencodable, error) {
		return e.h.cfg.Store.Unencodable(e.h.working, []purge.Deletion{e.d})
	})
	if u, bad := found[0]; bad {
		return e.refuse(failure{conversation.ReasonIncompatibleID, u.Err.Error()})
	}
	return err
}

// impossibleReasons are those of what the plan can't do.
var impossibleReasons = []string{string(conversation.ReasonUnsupportedScope), string(conversation.ReasonIncompatibleID), string(conversation.ReasonBoundaryRequired)}

// restart begins anew where a conversation's deletion for everyone was impossible when the command came: whose copies are to go was never found
// out.
func (e *enumeration) restart(known purge.Enumeration) (purge.Enumeration, error) {
	restarted, err := storeTry(e, func() (bool, error) { return e.h.cfg.Store.Restart(e.h.working, e.d, impossibleReasons) })
	if err != nil || !restarted {
		return known, err
	}
	return purge.Enumeration{}, nil
}

// repeat goes through the deletions that the ledger knows of a completed command. Their events are published again; with a
// retry, what failed is reopened.
func (e *enumeration) repeat() error {
	for after := (purge.Key{}); ; {
		ks, err := storeTry(e, func() ([]purge.Key, error) { return e.h.cfg.Store.Known(e.h.working, e.d, after, maxPage) })
		if err != nil {
			return err
		}
		if len(ks) == 0 {
			return e.awaitPages()
		}
		after = ks[len(ks)-1]
		if err := e.awaitRoom(); err != nil {
			return err
		}
		ds := make([]purge.Deletion, len(ks))
		for i, k := range ks {
			ds[i] = e.d
			if at := slices.IndexFunc(e.targets, func(c conversation.Target) bool { return c.ID == k.Conversation }); at >= 0 {
				ds[i] = e.target(purge.Place{Target: at})
			}
			ds[i].Key = k
		}
		e.begin(ds)
	}
}

// continueFrom goes on from where the ledger says, to the end.
func (e *enumeration) continueFrom(known purge.Enumeration) error {
	if err := e.resume(known); err != nil {
		return err
	}
	from := e.at
	for e.more(&from) {
		removed, err := e.removeMembers(&from)
		if err != nil {
			return err
		}
		if removed {
			continue
		}
		ids, next, err := e.list(from, maxPage)
		if err != nil {
			return err
		}
		if len(ids) == 0 && !next.Done {
			from = next
			continue
		}
		if err := e.awaitRoom(); err != nil {
			return err
		}
		if err := e.advance(next, ids); err != nil {
			return err
		}
		crash.Point("page_noted")
		from = next
		if err := e.beginNoted(ids); err != nil {
			return err
		}
	}
	return e.awaitPages()
}

// advance moves the ledger's place on, and notes that these ids' deletions are open, too.
func (e *enumeration) advance(to purge.Place, ids []string) error {
	moved, err := storeTry(e, func() (bool, error) {
		return e.h.cfg.Store.Advance(e.h.working, e.target(to), e.at, to, append(e.open(), ids...))
	})
	if err == nil && !moved {
		err = errMoved
	}
	if err == nil {
		e.at = to
	}
	return err
}

// resume begins what is open up to where the ledger says.
func (e *enumeration) resume(known purge.Enumeration) error {
	e.at = known.At
	open := e.open()
	return e.beginNoted(slices.DeleteFunc(known.Open, func(id string) bool { return slices.Contains(open, id) }))
}

// beginNoted begins the deletions that the ledger has noted up to the place e.at, and ends the target if that is its end.
func (e *enumeration) beginNoted(ids []string) error {
	for ids := range slices.Chunk(ids, maxPage) {
		if err := e.awaitRoom(); err != nil {
			return err
		}
		if err := e.beginIDs(ids); err != nil {
			return err
		}
	}
	if e.at.Done {
		return e.endTarget()
	}
	return nil
}

// removeMembers removes the members of a shared log that is deleted for everyone with its conversation, all of them at the same moment, before any
// of them is told so, and begins their deletions. It reports false where there are none, or the conversation's row stays.
func (e *enumeration) removeMembers(from *purge.Place) (removed bool, err error) {
	h, d := e.h, e.target(*from)
	if e.targets == nil || *from != (purge.Place{Target: from.Target}) || !e.possible(d) || !h.cfg.Store.Removes(d) {
		return false, nil
	}
	if e.at != *from { // the ledger leaves the boundary of the target before
		if err := e.advance(*from, nil); err != nil {
			return false, err
		}
	}
	if err := e.pin(&d); err != nil {
		return false, err
	}
	type result struct {
		users []string
		to    purge.Place
		moved bool
	}
	r, err := storeTry(e, func() (r result, err error) {
		r.users, r.to, r.moved, err = h.cfg.Store.RemoveMembers(h.working, d, e.at, e.open(), maxRemoved)
		return r, err
	})
	if fault, _ := purge.FaultOf(err); err != nil && fault.MayBeCommand() && h.detector.examine() == nil {
		h.cfg.Log.Error("members of a conversation can't be removed; its row stays", e.job.traced("app", d.App, "command", d.Command, "conversation", d.Conversation, "error", err)...)
		return false, nil
	}
	if err == nil && !r.moved {
		err = errMoved
	}
	if err != nil || len(r.users) == 0 {
		return false, err
	}
	crash.Point("members_removed")
	e.at, *from = r.to, r.to
	return true, e.beginNoted(r.users)
}

// more moves a place at the end of a target to the beginning of the next one. It reports false where there is none.
func (e *enumeration) more(at *purge.Place) bool {
	if at.Done {
		*at = purge.Place{Target: at.Target + 1}
		e.boundary = nil
	}
	return at.Target < max(1, len(e.targets))
}

// target is the command for the conversation that a place is in.
func (e *enumeration) target(at purge.Place) purge.Deletion {
	d := e.d
	if e.targets != nil {
		d.Conversation, d.ThroughSeq = e.targets[at.Target].ID, e.targets[at.Target].ThroughSeq
	}
	return d
}

// possible reports whether everyone's deletion of a conversation is.
func (e *enumeration) possible(d purge.Deletion) bool {
	if e.targets == nil {
		return true
	}
	_, err := e.h.cfg.Store.Incompatible(d)
	return err == nil
}

// list finds the next deletions. Of a conversation whose deletion for everyone is impossible there is one, that fails: of who asks.
func (e *enumeration) list(from purge.Place, limit int) (ids []string, next purge.Place, err error) {
	d := e.target(from)
	if !e.possible(d) {
		from.Done = true
		return []string{d.User}, from, nil
	}
	type listed struct {
		ids  []string
		next purge.Place
	}
	l, err := storeTry(e, func() (l listed, err error) {
		l.ids, l.next, err = e.h.cfg.Store.List(e.h.working, d, from, limit)
		return l, err
	})
	return l.ids, l.next, err
}

// beginIDs begins the deletions of a page of the place e.at.
func (e *enumeration) beginIDs(ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	d := e.target(e.at)
	if e.possible(d) {
		if err := e.pin(&d); err != nil {
			return err
		}
	}
	ds := make([]purge.Deletion, len(ids))
	for i, id := range ids {
		ds[i] = d
		if e.targets != nil {
			ds[i].User = id
		} else {
			ds[i].Conversation = id
		}
	}
	e.begin(ds)
	return nil
}

// pin decides the boundary of a shared log's target, once for all members.
func (e *enumeration) pin(d *purge.Deletion) error {
	if e.targets == nil || !e.h.cfg.Store.Shared() {
		return nil
	}
	if e.boundary == nil {
		boundary, err := storeTry(e, func() (int64, error) { return e.h.cfg.Store.PinBoundary(e.h.working, *d) })
		if err != nil {
			return err
		}
		e.boundary = &boundary
	}
	d.Boundary = e.boundary
	return nil
}

// endTarget waits for the deletions of a target of everyone, whose ids mean nothing for the next one. In a shared log
// all that the members have hidden is erased then.
func (e *enumeration) endTarget() error {
	if e.targets == nil {
		return nil
	}
	if err := e.awaitPages(); err != nil || !e.h.cfg.Store.Shared() {
		return err
	}
	d := e.target(e.at)
	if !e.possible(d) {
		return nil
	}
	if err := e.pin(&d); err != nil {
		return err
	}
	_, err := storeTry(e, func() (struct{}, error) {
		return struct{}{}, e.h.cfg.Store.EraseEveryone(e.h.working, d)
	})
	if err == nil {
		crash.Point("everyone_opened")
		e.h.eraser.open.push(logOf(d.Key))
	}
	return err
}

// storeTry calls the store, and again for a short while where that may help.
func storeTry[T any](e *enumeration, call func() (T, error)) (T, error) {
	if e.h.stopping.Err() != nil {
		var zero T
		return zero, errLeft
	}
	return retryInPlace(e.h, maxContended, call)
}

// trouble notes why the enumeration can't go on, and returns after what time it may.
func (e *enumeration) trouble(err error) (delay time.Duration) {
	h := e.h
	switch {
	case errors.Is(err, errLeft) || h.stopping.Err() != nil:
		return 0
	case errors.Is(err, errMoved), errors.Is(err, errNoRoom):
		return purge.DeferDelay(retry.Random())
	}
	fault, _ := purge.FaultOf(err)
	if fault.MayBeCommand() {
		if found := h.detector.examine(); found != nil {
			err, fault = found, purge.Infrastructure
		}
	}
	e.job.trouble(err)
	switch fault {
	case purge.Infrastructure:
		h.unavailable(err)
	case purge.Contention:
		return time.Second
	default:
		h.cfg.Log.Error("deletions of a command can't be found; command deferred", e.job.traced("app", e.d.App, "command", e.d.Command, "error", err)...)
	}
	return purge.DeferDelay(retry.Random())
}

// leave returns the command to the stream, once no page is in flight.
func (e *enumeration) leave(delay time.Duration) {
	e.mu.Lock()
	e.left = true
	e.delay = max(e.delay, delay)
	last := len(e.pages) == 0
	delay = e.delay
	e.mu.Unlock()
	if last {
		e.job.settle(bus.Outcome{Verdict: bus.Retry, Delay: delay})
	}
}

// refuse gives up the whole command, and publishes that. It returns errRefused.
func (e *enumeration) refuse(f failure) error {
	e.job.refuse(f)
	if a, ok := refusalEvent(e.job); ok && e.h.announce(announcements{all: []bus.Announcement{a}}) != nil {
		return errLeft // the worker stops
	}
	return errRefused
}

// finish publishes that all deletions of a user's conversations are final. Where some have failed the command has
// one dead letter, with the first failure.
func (e *enumeration) finish(sum purge.Totals, began time.Time) error {
	h := e.h
	crash.Point("enumeration_completed")
	if sum.Failed > 0 {
		e.job.fail(failure{conversation.Reason(sum.Reason), sum.Message})
	}
	h.cfg.Log.Info("command finished", e.job.traced("app", e.d.App, "command", e.d.Command, "user", e.d.User, "scope", e.d.Scope,
		"deletions", sum.Done, "failed", sum.Failed, "messages_deleted", sum.MessagesDeleted, "took", time.Since(began).Round(time.Millisecond))...)
	if e.targets == nil {
		err := h.announce(announcements{all: []bus.Announcement{{Sequence: e.job.delivery.Sequence, Trace: e.job.trace, AllDeleted: &conversation.AllDeleted{
			CommandID: e.d.Command, AppID: e.d.App, UserID: e.d.User, Conversations: sum.Done, Failed: sum.Failed, MessagesDeleted: sum.MessagesDeleted,
			MultiClientSync: sum.MultiClientSync, OriginDeviceID: e.d.Device, RequestedAt: e.d.RequestedAt, CompletedAt: sum.CompletedAt,
		}}}})
		if err != nil {
			return errLeft // the worker stops
		}
		crash.Point("all_deleted_published")
	}
	return nil
}
