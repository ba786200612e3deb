package handler

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lethe-im/lethe/internal/purge"
)

// pacer keeps the row limit of the express lane and how many rows its deletions have on
// average.
type pacer struct {
	pace  purge.Pace
	gauge prometheus.Gauge

	mu      sync.Mutex // guards what follows
	limit   int
	average float64 // rows of a deletion
}

const (
	// firstLimit is small enough for 50 ms on a slow disk; the pace finds the right one.
	firstLimit = 2000
	// firstAverage counts as the average of firstSeen deletions before the first batch.
	firstAverage, firstSeen = 30, 64
)

func newPacer(p purge.Pace, gauge prometheus.Gauge) *pacer {
	limit := p.Clamp(firstLimit)
	gauge.Set(float64(limit))
	return &pacer{pace: p, gauge: gauge, limit: limit, average: firstAverage}
}

// rows returns the limit for the next statement.
func (p *pacer) rows() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limit
}

// deletions returns how many deletions fill the limit, between 1 and atMost. What
// the limit cuts off takes a transaction of its own, so none are taken to make sure of filling it.
func (p *pacer) deletions(atMost int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(1, min(atMost, int(float64(p.limit)/p.average)))
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

// saw notes that n deletions had rows together. The more they are, the more they count.
func (p *pacer) saw(n, rows int) {
	if n == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.average = max(1, (firstSeen*p.average+float64(rows))/float64(firstSeen+n))
}

const (
	// firstLongLimit is for a deletion of which nothing is known: its messages may have a
	// megabyte each. It grows quickly.
	firstLongLimit = 200
	// foregroundPart is what part of the target batches aim at while other clients are
	// busy: what these commit meanwhile waits for the log of no more than such a batch. With
	// a twentieth a small command's p99 was 1.4 times what it is alone (bench, S7); with an
	// eighth it was twice as long, and with a fiftieth no shorter.
	foregroundPart = 20
)

// deletionPace is the row limit of one large deletion's batches, ordinary ones and those
// while other clients are busy. Rows of different deletions differ, so that each learns
// its own.
type deletionPace struct {
	gauge            prometheus.Gauge
	full, foreground rowLimit
}

// rowLimit is a row limit and the pace by which it changes.
type rowLimit struct {
	purge.Pace
	limit int
}

func (h *Handler) deletionPace() *deletionPace {
	full, foreground := h.cfg.pace(), h.cfg.pace()
	foreground.Target /= foregroundPart
	return &deletionPace{
		gauge: h.cfg.Metrics.BatchLimit.WithLabelValues(longLane),
		full:  rowLimit{full, full.Clamp(firstLongLimit)}, foreground: rowLimit{foreground, foreground.Clamp(firstLongLimit)},
	}
}

// of returns the limit of a batch that other clients are busy beside, or not.
func (p *deletionPace) of(busy bool) *rowLimit {
	if busy {
		return &p.foreground
	}
	return &p.full
}

// took notes how long a batch of at most limit rows took.
func (p *deletionPace) took(of *rowLimit, limit int, d time.Duration, full bool) {
	of.limit = of.Next(limit, d, full)
	p.gauge.Set(float64(of.limit))
}

// Batches returns in about how many transactions a deletion of so many messages goes, the first of them in the express
// lane, while nothing else happens. perSecond is how many messages go in a second; 0 for as many as the limits on rows allow.
func (c Config) Batches(messages int64, perSecond float64) (n int64) {
	c = c.withDefaults()
	pace := c.pace()
	n, messages = 1, messages-int64(c.PerDeletion)
	for limit := pace.Clamp(firstLongLimit); messages > 0; n++ {
		gone, took := int64(limit), time.Duration(0)
		if perSecond > 0 {
			gone = max(1, min(gone, int64(perSecond*c.Target.Seconds()))) // then the batch ends by the clock
			took = time.Duration(float64(gone) / perSecond * float64(time.Second))
		}
		messages -= gone
		limit = pace.Next(limit, took, true)
	}
	return n
}
