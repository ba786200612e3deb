package handler

import (
	"fmt"
	"slices"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/purge"
)

// page is a part of an enumeration's deletions, which are in flight together. It has a job of its own.
type page struct {
	e     *enumeration
	job   *job
	round bool // it is in its express rounds
}

// begin begins a page. What was found in one table may be impossible in another one.
func (e *enumeration) begin(ds []purge.Deletion) {
	j := e.job
	p := &page{e: e, round: true, job: &job{
		delivery: j.delivery, trace: j.trace, traceID: j.traceID, storedAt: j.storedAt, app: j.app, user: j.user, command: j.command, device: j.device,
		whole: j, open: len(ds), unfinished: make(map[purge.Key]bool, len(ds)),
	}}
	p.job.slot = pageSlot{p}
	tasks := make([]*task, len(ds))
	for i, d := range ds {
		d.Token = newToken()
		_, impossible := e.h.cfg.Store.Incompatible(d)
		tasks[i] = &task{job: p.job, d: d, since: time.Now(), lane: expressLane, incompatible: impossible}
		if err := nameable(d); err != nil && impossible == nil {
			tasks[i].incompatible = fmt.Errorf("the plan's tables have an id that no event can name: %w", err)
		}
		p.job.unfinished[d.Key] = true
	}
	e.mu.Lock()
	e.pages = append(e.pages, p)
	e.mu.Unlock()
	e.h.goroutines.Go(func() {
		for len(tasks) > 0 {
			n := min(len(tasks), e.h.express.deletions(e.h.cfg.BatchSize))
			e.h.pageRound(entry{job: p.job, tasks: tasks[:n]})
			tasks = tasks[n:]
		}
		e.mu.Lock()
		p.round = false
		e.mu.Unlock()
		e.signal()
	})
}

// pageRound is an express round of a page's deletions, or, while the detector tries deletions one at a time, leaves them to it. One runs
// at a time, over all enumerations: while 100,000 conversations went, small deletions of others took 2.6 ms at the median, as
// without, and with two at a time 17 ms; all in all it took as long.
func (h *Handler) pageRound(e entry) {
	h.pageRounds.Lock()
	defer h.pageRounds.Unlock()
	h.watcher.awaitExpress(h.stopping)
	if h.detector.probes() {
		h.queue.push(e)
		return
	}
	h.detector.busy.Add(1)
	defer h.detector.busy.Add(-1)
	h.expressRound([]entry{e}, false)
}

// nameable returns why no command could have named the deletion.
func nameable(d purge.Deletion) error {
	c := conversation.Command{CommandID: d.Command, AppID: d.App, UserID: d.User, Conversations: []conversation.Target{{ID: d.Conversation}}}
	return c.Validate()
}

// pageSlot is the slot of a page, which nobody waits for but its enumeration.
type pageSlot struct{ *page }

func (pageSlot) Leave() {}

// Settle ends the page.
func (s pageSlot) Settle(o bus.Outcome) {
	e := s.e
	e.mu.Lock()
	e.pages = slices.DeleteFunc(e.pages, func(p *page) bool { return p == s.page })
	if o.Verdict == bus.Retry {
		e.deferred, e.delay = true, max(e.delay, o.Delay)
	}
	last := e.left && len(e.pages) == 0
	delay := e.delay
	e.mu.Unlock()
	e.signal()
	if last {
		e.job.settle(bus.Outcome{Verdict: bus.Retry, Delay: delay})
	}
}

func (e *enumeration) signal() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// open are the ids of deletions in flight.
func (e *enumeration) open() (ids []string) {
	e.mu.Lock()
	pages := slices.Clone(e.pages)
	e.mu.Unlock()
	for _, p := range pages {
		for _, k := range p.job.unfinishedKeys() {
			if e.targets != nil {
				ids = append(ids, k.User)
			} else {
				ids = append(ids, k.Conversation)
			}
		}
	}
	return ids
}

// awaitRoom waits until another page may begin.
func (e *enumeration) awaitRoom() error {
	return e.await(true, func() bool {
		rounds := 0
		for _, p := range e.pages {
			if p.round {
				rounds++
			}
		}
		return rounds < maxRounds && len(e.pages) < maxPages
	})
}

// awaitPages waits until no page is in flight.
func (e *enumeration) awaitPages() error {
	return e.await(false, func() bool { return len(e.pages) == 0 })
}

// await waits for a condition, which is called with mu held, and before another page until no other app's enumeration
// needs the room more. It returns an error where the enumeration can't go on.
func (e *enumeration) await(another bool, done func() bool) error {
	for {
		refused := e.job.isRefused()
		e.mu.Lock()
		ok, deferred := done(), e.deferred
		refused = refused && len(e.pages) == 0
		e.mu.Unlock()
		switch {
		case refused:
			return errRefused
		case e.h.stopping.Err() != nil || deferred:
			return errLeft
		}
		ready := ok && !e.job.isRefused()
		if ready && !another {
			return nil
		}
		switch waited, err := e.h.enumerations.giveWay(e); {
		case err != nil:
			return err
		case waited:
			continue
		case ready:
			return nil
		}
		select {
		case <-e.changed:
		case <-e.h.stopping.Done():
		}
	}
}
