package handler

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
)

const (
	// gateDeletions is the gate's cause while different deletions fail one after the other.
	gateDeletions = "deletions"
	// trialFirst and trialMost bound the wait after a deletion on trial that failed.
	// Where the worker was wrong to stop, what would get through waits as long.
	trialFirst, trialMost = 50 * time.Millisecond, 800 * time.Millisecond
	// trialIdle is how long a trial waits for a deletion to try before it ends: by
	// then other workers have finished all that failed here.
	trialIdle = 5 * time.Second
	// examineTimeout ends an examination of a database that doesn't answer.
	// foundFor and cleanFor are how long it holds that one has found something, or
	// nothing: it costs some 100 ms.
	examineTimeout, foundFor, cleanFor = 5 * time.Second, time.Second, 5 * time.Second
	// againAfter is how long a deletion that failed first waits for others to be tried.
	againAfter = 100 * time.Millisecond
	// apartAtOnce is how many suspects are tried at a time, apart from the lanes.
	apartAtOnce = 2
)

// jury says by evidence whose fault an ambiguous error is, and tries deletions one
// by one while it is the infrastructure's. Safe for concurrent use.
type jury struct {
	h     *Handler
	apart chan struct{} // taken by suspects that are tried apart
	busy  atomic.Int64  // rounds under way, and suspects that wait to be tried apart

	mu       sync.Mutex // guards what follows
	evidence purge.Evidence
	over     chan struct{} // closed when the trial ends; nil without a trial
	waiting  []*task       // have failed on trial, and are tried again
	again    bool          // one of those is tried now

	examining sync.Mutex // guards what follows
	looked    time.Time  // the last examination
	found     error      // by it
}

func newJury(h *Handler) *jury { return &jury{h: h, apart: make(chan struct{}, apartAtOnce)} }

// failedTask is a task that has failed alone, and how.
type failedTask struct {
	*task
	err    error
	others purge.Tables // as in [purge.FailedTry]
	began  time.Time    // zero for just now
}

// suspect reports whether a task has failed before, so that it goes apart.
func (j *jury) suspect(t *task) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.evidence.Suspect(t.d.Key)
}

// watch makes a task a suspect that is yet to be tried alone.
func (j *jury) watch(t *task, others purge.Tables) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.evidence.Watch(time.Now(), t.d.Key, others)
}

// succeeded notes that rows of tables went, and that these deletions are finished.
func (j *jury) succeeded(tables purge.Tables, finished ...purge.Key) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.evidence.Empty() {
		j.evidence.Succeeded(time.Now(), tables, finished...)
		if j.endTrial() {
			j.h.cfg.Log.Info("a deletion got through; pulling commands again")
		}
	}
}

// failed says whose the failures are, in their order. self is how many of the busy
// the caller is.
func (j *jury) failed(ts []failedTask, self int64) []purge.Verdict {
	tries, company := make([]purge.FailedTry, len(ts)), !j.h.queue.empty() || j.busy.Load() > self
	for i, t := range ts {
		needs, err := j.h.cfg.Store.Tables(j.h.working, t.d)
		if err != nil {
			needs = purge.MessagesTable // as almost every deletion
		}
		tries[i] = purge.FailedTry{Key: t.d.Key, Needs: needs, Others: t.others, Company: company, Began: t.began}
		if t.began.IsZero() {
			tries[i].Began = time.Now()
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	verdicts := j.evidence.Failed(time.Now(), tries...)
	if j.evidence.Shared() {
		j.beginTrial(ts[len(ts)-1].err)
	}
	return verdicts
}

// beginTrial begins a trial, if none is under way, and says why. It is called with
// mu held.
func (j *jury) beginTrial(err error) {
	j.h.cfg.Gate.Close(gateDeletions, fmt.Sprintf("different deletions fail one after the other, and none gets through: %v", err))
	if j.over != nil || j.h.stopping.Err() != nil {
		return
	}
	over := make(chan struct{})
	j.over = over
	j.h.queue.hold(true)
	j.h.cfg.Log.Error("different deletions fail one after the other; not pulling commands, trying one deletion at a time", "error", err)
	j.h.lanes.Go(func() { j.tryNew(over) })
	j.h.lanes.Go(func() { j.tryAgain(over) })
}

// endTrial ends the trial if the evidence says so, and reports whether it did. It is
// called with mu held.
func (j *jury) endTrial() bool {
	if j.over == nil || j.evidence.Shared() {
		return false
	}
	close(j.over)
	j.over = nil
	for _, t := range j.waiting {
		j.h.queue.push(entry{job: t.job, tasks: []*task{t}})
	}
	j.waiting = nil
	j.h.queue.hold(false)
	j.h.cfg.Gate.Open(gateDeletions)
	return true
}

// wait keeps a task in hand that has failed with others, until it is tried again.
func (j *jury) wait(t *task) {
	t.again, t.tries = true, 0
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.over == nil {
		j.h.queue.push(entry{job: t.job, tasks: []*task{t}})
		return
	}
	j.waiting = append(j.waiting, t)
}

// tryNew tries what has not failed yet, one deletion at a time; where there is
// nothing in hand, commands are pulled for it.
func (j *jury) tryNew(over <-chan struct{}) {
	pause, idle := trialFirst, time.Now()
	for j.h.unless(over) {
		e, found := j.h.queue.one()
		if !found {
			j.h.cfg.Gate.Try(gateDeletions)
			if time.Since(idle) > trialIdle {
				j.acquit()
			}
			j.h.pauseUnless(over, trialFirst)
			continue
		}
		j.h.cfg.Gate.Untry(gateDeletions)
		idle = time.Now()
		pause = j.try(e, false, over, pause)
	}
}

// tryAgain tries what has failed on trial, one after the other.
func (j *jury) tryAgain(over <-chan struct{}) {
	pause := trialFirst
	for j.h.unless(over) {
		t := j.nextAgain()
		if t == nil {
			j.h.pauseUnless(over, trialFirst)
			continue
		}
		pause = j.try(entry{job: t.job, tasks: []*task{t}}, true, over, pause)
	}
}

// try tries one deletion, and returns how long to wait after the next one that
// fails. It has waited if this one did.
func (j *jury) try(e entry, apart bool, over <-chan struct{}, pause time.Duration) time.Duration {
	if !j.h.brakes.awaitExpress() {
		j.h.handBack(e)
		return pause
	}
	j.busy.Add(1)
	r := &round{h: j.h, apart: apart, trial: true}
	r.run([]entry{e})
	j.busy.Add(-1)
	if !r.trouble && !apart { // what was tried before may fail later, in the long lane
		return trialFirst
	}
	j.h.pauseUnless(over, pause)
	return min(2*pause, trialMost)
}

func (j *jury) nextAgain() *task {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.again = len(j.waiting) > 0
	if !j.again {
		return nil
	}
	t := j.waiting[0]
	j.waiting = j.waiting[1:]
	return t
}

// acquit ends the trial where nobody is left to be tried.
func (j *jury) acquit() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.again && len(j.waiting) == 0 {
		j.evidence.Acquit()
		if j.endTrial() {
			j.h.cfg.Log.Info("no deletion is left that failed; pulling commands again")
		}
	}
}

// drain returns the tasks that wait, after the lanes have ended.
func (j *jury) drain() []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	left := make([]entry, len(j.waiting))
	for i, t := range j.waiting {
		left[i] = entry{job: t.job, tasks: []*task{t}}
	}
	j.waiting = nil
	return left
}

// tryApart tries a suspect apart from the lanes, where it may take its time, after
// a while.
func (j *jury) tryApart(t *task, after time.Duration) {
	e := entry{job: t.job, tasks: []*task{t}}
	j.busy.Add(1)
	j.h.lanes.Go(func() {
		defer j.busy.Add(-1)
		j.h.pauseFor(after)
		select {
		case j.apart <- struct{}{}:
		case <-j.h.stopping.Done():
			j.h.handBack(e)
			return
		}
		defer func() { <-j.apart }()
		r := &round{h: j.h, apart: true}
		r.run([]entry{e})
	})
}

// examine looks whether any deletion would fail, by what the database says of the
// worker's statements and of the plan; nil if nothing shows. What was found a
// moment ago holds.
func (j *jury) examine() error {
	j.examining.Lock()
	defer j.examining.Unlock()
	if age := time.Since(j.looked); j.found != nil && age < foundFor || j.found == nil && age < cleanFor {
		return j.found
	}
	ctx, cancel := context.WithTimeout(j.h.working, examineTimeout)
	defer cancel()
	j.found = j.h.cfg.Store.Examine(ctx)
	j.looked = time.Now()
	if fault, _ := purge.FaultOf(j.found); fault != purge.Surroundings {
		j.found = nil
	}
	return j.found
}
