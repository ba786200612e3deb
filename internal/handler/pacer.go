package handler

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lethe-im/lethe/internal/purge"
)

// pacer keeps the row limit of one lane and how many rows its deletions have on
// average.
type pacer struct {
	pace  purge.Pace
	gauge prometheus.Gauge

	mu      sync.Mutex // guards what follows
	limit   int
	average float64 // rows of a deletion
}

// firstLimit is small enough for 50 ms on a slow disk; the pace finds the rest.
const firstLimit = 2000

func newPacer(p purge.Pace, gauge prometheus.Gauge) *pacer {
	limit := p.Clamp(firstLimit)
	gauge.Set(float64(limit))
	return &pacer{pace: p, gauge: gauge, limit: limit, average: 1}
}

// yieldPart is what part of the target batches aim at that yield to others: what
// these commit meanwhile waits for the log of no more than such a batch.
const yieldPart = 5

// pacerFor returns the long lane's pacer, for batches that yield or don't.
func (h *Handler) pacerFor(yield float64) *pacer {
	if yield > 0 {
		return h.modest
	}
	return h.long
}

// rows returns the limit for the next statement.
func (p *pacer) rows() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limit
}

// deletions returns how many deletions fill the limit, between 1 and most. What
// the limit cuts off is done twice, so none are taken to make sure of filling it.
func (p *pacer) deletions(most int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(1, min(most, int(float64(p.limit)/p.average)))
}

// took notes how long a statement with limit rows took.
func (p *pacer) took(limit int, d time.Duration, full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = p.pace.Next(limit, d, full)
	p.gauge.Set(float64(p.limit))
}

// failed notes that a statement with limit rows failed after d. One that ran into
// its timeout counts as a slow one: the next try has fewer rows.
func (p *pacer) failed(limit int, d time.Duration, err error) {
	if _, cause := purge.FaultOf(err); cause == purge.StatementTimeout {
		p.took(limit, d, true)
	}
}

// saw notes that n deletions had rows together.
func (p *pacer) saw(n, rows int) {
	if n == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	const weight = 0.2
	p.average = max(1, (1-weight)*p.average+weight*float64(rows)/float64(n))
}
