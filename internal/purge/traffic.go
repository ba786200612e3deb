package purge

import "time"

const (
	// crowd is how many transactions a second of other clients earn the whole foreground backoff.
	crowd = 100
	// minCrowd is the part of a crowd below which nobody is there: monitors and
	// pollers.
	minCrowd = 0.2
	// memory is how long ago a rate has half its weight. Sessions report what they
	// did about once a second, so that two samples in a row say little.
	memory = time.Second
)

// traffic estimates from a counter of other clients' transactions how busy they keep the
// database. The zero value has seen none.
type traffic struct {
	at    time.Time
	count int64
	rate  float64 // transactions a second
}

// note takes in the counter as it was at a moment, which must not be before the
// last one. A counter that has gone down was reset, and says nothing.
func (t *traffic) note(at time.Time, count int64) {
	passed := at.Sub(t.at)
	if !t.at.IsZero() && passed > 0 && count >= t.count {
		rate := float64(count-t.count) / passed.Seconds()
		weight := float64(passed) / float64(passed+memory)
		t.rate += weight * (rate - t.rate)
	}
	t.at, t.count = at, count
}

// share returns how much of the foreground backoff the long lane owes other clients, from
// 0 (nobody is there) to 1. noise is the part of the rate that other workers' long lanes
// make.
func (t *traffic) share(noise float64) float64 {
	share := min(1, (t.rate-noise)/crowd)
	if share < minCrowd {
		return 0
	}
	return share
}

// Noise returns how many transactions a second the long lanes of other workers
// make at most, where so many batches may run at a time over all workers. They must not
// back off for each other. Without a bound (0) it is as for eight.
func (p Pace) Noise(longConcurrency int) float64 {
	target := p.Target
	if target <= 0 {
		target = DefaultTarget
	}
	if longConcurrency <= 0 {
		longConcurrency = 8
	}
	return float64(longConcurrency-1) / (aim * target.Seconds())
}
