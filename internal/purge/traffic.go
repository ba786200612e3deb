package purge

import "time"

const (
	// crowd is how many transactions a second of others are worth all of a rest.
	crowd = 100
	// fewest is the part of a crowd below which nobody is there: monitors and
	// pollers.
	fewest = 0.2
	// memory is how long ago a rate has half its weight. Sessions report what they
	// did about once a second, so that two looks in a row say little.
	memory = time.Second
)

// Traffic tells from a counter of others' transactions how busy they keep the
// database. The zero value has seen none. Not safe for concurrent use.
type Traffic struct {
	// Noise is how many of the transactions in a second may be the long lanes of
	// other workers, which are not to rest for each other; see [Pace.Noise].
	Noise float64

	at    time.Time
	count int64
	rate  float64
}

// Note takes in the counter as it was at a moment, which must not be before the
// last one. A counter that has gone down was reset, and says nothing.
func (t *Traffic) Note(at time.Time, count int64) {
	passed := at.Sub(t.at)
	if !t.at.IsZero() && passed > 0 && count >= t.count {
		rate := float64(count-t.count) / passed.Seconds()
		weight := float64(passed) / float64(passed+memory)
		t.rate += weight * (rate - t.rate)
	}
	t.at, t.count = at, count
}

// Rate returns about how many transactions others make in a second, the noise
// among them.
func (t *Traffic) Rate() float64 { return t.rate }

// Share returns how much of a rest the long lane owes others, from 0 (nobody is
// there) to 1.
func (t *Traffic) Share() float64 {
	share := min(1, (t.rate-t.Noise)/crowd)
	if share < fewest {
		return 0
	}
	return share
}

// Noise returns how many transactions a second the long lanes of other workers
// make at the most, where so many batches may run at a time over all workers, each
// of which is one. Without a bound (0) it is as for eight.
func (p Pace) Noise(longTransactions int) float64 {
	target := p.Target
	if target <= 0 {
		target = DefaultTarget
	}
	if longTransactions <= 0 {
		longTransactions = 8
	}
	return float64(longTransactions-1) / (aim * target.Seconds())
}
