package purge

import "time"

// Pace decides how many rows the next statement may touch, so that statements
// take about Target. It holds settings only and is safe to share; the state is
// the limit that the caller keeps.
type Pace struct {
	// Target is how long a statement may hold its locks. Zero or less counts as
	// [DefaultTarget].
	Target time.Duration
	// Slow is how long a batch may take before it counts as slow; see [Pace.SlowBackoff].
	// Zero or less counts as twice the target.
	Slow time.Duration
	// Min and Max bound the limit, in rows. Min below 1 counts as 1, Max below
	// Min as Min.
	Min, Max int
}

// DefaultTarget is short beside what people notice (100 ms) and long beside the
// cost of a statement's round trip and commit (about 1 ms).
const DefaultTarget = 50 * time.Millisecond

// Defaults of Min and Max: what a slow database deletes within the target, and where a
// transaction's WAL and locks end, whatever the target.
const (
	DefaultMinRows = 50
	DefaultMaxRows = 50_000
)

// aim is the part of the target that the pace steers for: batches of equal
// size scatter by a third or so, and a slow one should still keep the target.
const aim = 0.7

// Next returns the row limit for the statement after one that touched up to
// limit rows in took. A statement that was slow shrinks the limit at once, in
// proportion, but at most to a quarter. A quick one that was full raises it, by half
// if it is near the target and by up to four times if it is far from it; a quick one that
// was not full says nothing and keeps it. The result is within [Min, Max] for any input.
func (p Pace) Next(limit int, took time.Duration, full bool) int {
	target := p.Target
	if target <= 0 {
		target = DefaultTarget
	}
	limit = p.Clamp(limit)
	if took <= 0 {
		took = time.Microsecond
	}
	factor := aim * float64(target) / float64(took)
	switch {
	case factor >= 1 && !full:
		return limit
	case factor >= 1:
		factor = min(factor, max(1.5, min(factor/2, 4)))
	default:
		factor = max(factor, 0.25)
	}
	return p.Clamp(int(min(factor*float64(limit)+0.5, float64(maxRows))))
}

// maxRows keeps the arithmetic far away from overflow.
const maxRows = 1 << 30

// Clamp returns limit moved into [Min, Max].
func (p Pace) Clamp(limit int) int {
	lo := max(p.Min, 1)
	hi := max(p.Max, lo)
	return min(max(limit, lo), hi)
}

// maxSlowBackoff bounds what one slow batch costs.
const maxSlowBackoff = 10 * time.Second

// SlowBackoff returns how long the long lane of all workers waits after a batch that touched up to
// limit rows in took, where the one before it took before (0 for none): as long
// as it took, at most ten seconds, if the database is slow, so that it has half
// of the time for others; else 0. A single slow batch only means that the limit
// was too high, which the pace mends; two in a row, or one of hardly any rows,
// mean that the database is slow.
func (p Pace) SlowBackoff(limit int, took, before time.Duration) time.Duration {
	slow := p.Slow
	if slow <= 0 {
		slow = 2 * p.Target
	}
	if slow <= 0 {
		slow = 2 * DefaultTarget
	}
	if took <= slow || before <= slow && limit > 2*p.Clamp(0) {
		return 0
	}
	return min(took, maxSlowBackoff)
}
