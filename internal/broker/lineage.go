package broker

import (
	"errors"
	"sync"
	"time"
)

// errConsumerGone is why a delivery can't be settled any more.
var errConsumerGone = errors.New("the consumer that delivered it has gone")

// lineage tells what the present consumer has delivered from what one before it
// has. A stream that was deleted and made again counts from 1 again: what a worker
// still has of the old one must not be settled, for it would take a new command
// of the same number off the stream.
type lineage struct {
	mu         sync.Mutex // guards what follows
	generation uint64
	created    time.Time // when the consumer was; zero while that isn't known
	newest     uint64    // its newest delivery here, as it counts them
}

// lost notes that the consumer isn't there any more.
func (l *lineage) lost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next()
}

// found notes when the consumer that is there now was created.
func (l *lineage) found(created time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.created.IsZero() && !l.created.Equal(created) {
		l.next()
	}
	l.created = created
}

// delivered notes a delivery by its consumer's count and returns its generation.
func (l *lineage) delivered(count uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if count <= l.newest { // another consumer has begun to count
		l.next()
	}
	l.newest = count
	return l.generation
}

// next is called with mu held.
func (l *lineage) next() {
	l.generation++
	l.newest = 0
	l.created = time.Time{}
}

// gone returns errConsumerGone for the generation of a consumer that has gone.
func (l *lineage) gone(generation uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if generation != l.generation {
		return errConsumerGone
	}
	return nil
}
