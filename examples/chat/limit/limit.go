// Package limit bounds how often something may be done, by token buckets in this
// process's memory. Several instances of a service count apart.
package limit

import (
	"math"
	"sync"
	"time"
)

// Rate is a token bucket: it holds at most Burst tokens, is full at first, and
// gains PerSecond tokens each second. Both must be positive.
type Rate struct {
	PerSecond, Burst float64
}

// Bucket is one bucket. The zero value is full. Not safe for concurrent use.
type Bucket struct {
	used float64 // tokens missing from a full bucket at that time
	at   time.Time
}

// Take takes n tokens if they are there. Otherwise it takes none and returns how
// long it takes until they are: for ever, about 290 years, if n exceeds the burst.
func (b *Bucket) Take(now time.Time, r Rate, n float64) time.Duration {
	wait := b.wait(now, r, n)
	if wait == 0 {
		b.used += n
	}
	return wait
}

const forever = time.Duration(1<<63 - 1)

// wait brings the bucket up to now, and returns how long until it has n tokens.
func (b *Bucket) wait(now time.Time, r Rate, n float64) time.Duration {
	if passed := now.Sub(b.at); passed > 0 {
		b.used = max(0, b.used-passed.Seconds()*r.PerSecond)
		b.at = now
	}
	short := b.used + n - r.Burst
	if short <= 0 {
		return 0
	}
	seconds := short / r.PerSecond
	if n > r.Burst || seconds > forever.Seconds() {
		return forever
	}
	return time.Duration(math.Ceil(seconds * float64(time.Second)))
}

// maxKeys is how many keys a generation of a Limiter remembers: some 5 MB for both.
const maxKeys = 10_000

// Limiter has buckets for each key, such as a user, and one that all keys share.
// It remembers the keys of the last 10,000 to 20,000 that were used; a key
// forgotten begins with full buckets. Safe for concurrent use.
type Limiter struct {
	all  Rate
	each []Rate

	mu            sync.Mutex // guards all below
	shared        Bucket
	recent, older map[string][]Bucket // two generations of keys
}

// New returns a limiter: all bounds what all keys take together, each what one
// key takes. With several rates for each, all of them apply.
func New(all Rate, each ...Rate) *Limiter {
	return &Limiter{all: all, each: each, recent: map[string][]Bucket{}}
}

// Take takes n tokens for key, and the same from the shared bucket. If some are
// missing it takes none and returns how long to wait before another try.
func (l *Limiter) Take(now time.Time, key string, n float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.buckets(key)
	wait := l.shared.wait(now, l.all, n)
	for i := range own {
		wait = max(wait, own[i].wait(now, l.each[i], n))
	}
	if wait > 0 {
		return wait
	}
	l.shared.used += n
	for i := range own {
		own[i].used += n
	}
	return 0
}

// buckets returns those of a key. mu is held.
func (l *Limiter) buckets(key string) []Bucket {
	if own, ok := l.recent[key]; ok {
		return own
	}
	own, ok := l.older[key]
	if !ok {
		own = make([]Bucket, len(l.each))
	}
	if len(l.recent) == maxKeys {
		l.older, l.recent = l.recent, map[string][]Bucket{}
	}
	l.recent[key] = own
	return own
}
