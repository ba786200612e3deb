package purge

import "time"

const (
	retryFirst = 100 * time.Millisecond
	retryMost  = 10 * time.Second
)

// RetryDelay returns how long a deletion waits after its attempts-th real
// failure: 100 ms, doubling, at most 10 s, so that ten failures take about half
// a minute. spread, in [0, 1), takes up to a fifth off, so that deletions which
// failed together don't come back together; values outside count as its ends.
// The result is always positive.
func RetryDelay(attempts int, spread float64) time.Duration {
	d := retryFirst
	for i := 1; i < attempts && d < retryMost; i++ {
		d *= 2
	}
	return jitter(min(d, retryMost), spread)
}

// ParkDelay returns how long a deletion that waits for its turn (a place in
// the long lane, another worker's lease) stays away: at most five seconds and
// at most what is known to be left, with up to half taken off by spread.
func ParkDelay(left time.Duration, spread float64) time.Duration {
	const least, most = 100 * time.Millisecond, 5 * time.Second
	d := most
	if left > 0 {
		d = min(max(left, least), most)
	}
	return d - time.Duration(clampUnit(spread)*float64(d)/2)
}

func jitter(d time.Duration, spread float64) time.Duration {
	return d - time.Duration(clampUnit(spread)*float64(d)/5)
}

func clampUnit(f float64) float64 {
	if !(f > 0) { // also NaN
		return 0
	}
	return min(f, 1)
}
