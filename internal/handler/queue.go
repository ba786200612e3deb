package handler

import "sync"

// entry is what the express lane takes: a new command with all its deletions,
// one deletion that continues, or a command that was refused and has none.
type entry struct {
	job   *job
	tasks []*task
	// enumeration is what finds the deletions of a command that names them by a rule; nil
	// for all others. It doesn't go through the queue.
	enumeration *enumeration
}

// entryOf returns the entry of one task.
func entryOf(t *task) entry { return entry{job: t.job, tasks: []*task{t}} }

// queue gathers entries while a batch is in the database. It has no bound of
// its own: the broker's slots bound it.
type queue struct {
	mu        sync.Mutex
	filled    *sync.Cond // entries came, or it was closed
	entries   []entry
	closed    bool
	suspended bool // only one returns entries
}

func newQueue() *queue {
	q := &queue{}
	q.filled = sync.NewCond(&q.mu)
	return q
}

// push adds an entry; after close too, for drain.
func (q *queue) push(e entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.entries = append(q.entries, e)
	q.filled.Signal()
}

// take waits for an entry and returns it with those behind it, as long as they
// have at most limit() tasks together; nil once the queue is closed. limit is
// called when there is something to take. It uses no timer: alone, a command
// goes at once; under load, many share a batch.
func (q *queue) take(limit func() int) []entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	for (len(q.entries) == 0 || q.suspended) && !q.closed {
		q.filled.Wait()
	}
	if q.closed {
		return nil
	}
	n, tasks, size := 0, 0, limit()
	for n < len(q.entries) && (n == 0 || tasks+len(q.entries[n].tasks) <= size) {
		tasks += max(1, len(q.entries[n].tasks))
		n++
	}
	taken := append([]entry(nil), q.entries[:n]...)
	left := copy(q.entries, q.entries[n:])
	clear(q.entries[left:])
	q.entries = q.entries[:left]
	if left > 0 {
		q.filled.Signal() // for another loop
	}
	return taken
}

// one returns an entry with at most one task, without waiting; false if the queue is
// empty. It works while the queue is suspended, too.
func (q *queue) one() (entry, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.entries) == 0 || q.closed {
		return entry{}, false
	}
	e := q.entries[0]
	if len(e.tasks) > 1 {
		q.entries[0].tasks = e.tasks[1:]
		e.tasks = e.tasks[:1:1]
		return e, true
	}
	q.entries = append(q.entries[:0], q.entries[1:]...)
	return e, true
}

// empty reports whether the queue has no entries.
func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.entries) == 0
}

// suspend makes take wait, whatever the queue has, or lets it go on.
func (q *queue) suspend(suspended bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.suspended = suspended
	q.filled.Broadcast()
}

// close wakes everybody; nothing is taken any more.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Broadcast()
}

// drain returns what is left after close.
func (q *queue) drain() []entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	left := q.entries
	q.entries = nil
	return left
}
