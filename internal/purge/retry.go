package purge

import "time"

const (
	retryFirst = 100 * time.Millisecond
	retryMax   = 10 * time.Second
)

// RetryDelay returns how long a deletion waits after its attempts-th real
// failure: 100 ms, doubling, at most 10 s, so that ten failures take about half
// a minute. random, in [0, 1), takes up to a fifth off, so that deletions which
// failed together don't come back together; values outside count as its ends.
// The result is always positive.
func RetryDelay(attempts int, random float64) time.Duration {
	d := retryFirst
	for i := 1; i < attempts && d < retryMax; i++ {
		d *= 2
	}
	return jitter(min(d, retryMax), random)
}

// DeferDelay returns how long a command is deferred whose deletion waits for room in the
// long lane, a lock or another worker's lease: at most five seconds and at most what is
// known to be left, with up to half taken off by random.
func DeferDelay(left time.Duration, random float64) time.Duration {
	const minDelay, maxDelay = 100 * time.Millisecond, 5 * time.Second
	d := maxDelay
	if left > 0 {
		d = min(max(left, minDelay), maxDelay)
	}
	return d - time.Duration(clampUnit(random)*float64(d)/2)
}

func jitter(d time.Duration, random float64) time.Duration {
	return d - time.Duration(clampUnit(random)*float64(d)/5)
}

func clampUnit(f float64) float64 {
	if !(f > 0) { // also NaN
		return 0
	}
	return min(f, 1)
}
